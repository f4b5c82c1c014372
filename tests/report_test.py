#!/usr/bin/env python3
"""What bench/report.py makes of journals: merging, names, rooflines, quality, and, where matplotlib is, the page."""

import contextlib
import copy
import importlib.util
import io
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "bench"))
import report  # noqa: E402
import report_plots  # noqa: E402
import report_rows  # noqa: E402
import report_tables  # noqa: E402


def cell(plugin="vulkan", kv="f16", depth=0, uuid="a" * 8, rate=10.0, kind="gpu", name="Card", **more):
    row = {"schema": "tandem-sweep", "version": 1, "time": "2026-01-01T00:00:00Z", "row": "cell", "status": "done", "phase": "decode",
           "depth": depth, "key": f"{plugin}|{uuid}|{kv}|{depth}", "kv": kv, "precision": "exact", "fill": "real", "batch": 64, "head": True,
           "plugin": {"name": plugin, "git": "abcdef0", "toolchain": "", "shaders": ""}, "model": {"name": "model"},
           "device": {"name": name, "kind": kind, "uuid": uuid, "driver": "1"}, "rate": {"median": rate, "low": rate * .9, "high": rate * 1.1, "n": 9},
           "memory": {"at_depth": 2**20 * (depth + 1), "total": 2**20}, "stamp": {"method": "prefix", "ok": True, "worst_error": 1e-9},
           "profile": [{"op": "ffn", "n": 1, "ns": 4000, "bytes": 1000, "flops": 100}]}
    row.update(more)
    return row


def peaks(plugin="vulkan", uuid="a" * 8):
    ladder = {"sizes": [{"size": 2**20 * s, "rate": {"median": 5e8 / s, "n": 9}, "kernel": "k", "error": 0} for s in (1, 4)]}
    return {"schema": "tandem-sweep", "version": 1, "row": "peaks", "key": f"{plugin}|{uuid}", "plugin": {"name": plugin, "git": "abcdef0"},
            "device": {"name": "Card", "kind": "gpu", "uuid": uuid, "driver": "1"}, "read_bytes_per_s": 1e9, "f32_flops_per_s": 2e8,
            "read": ladder, "copy": ladder, "f32": ladder, "f16": {"sizes": [], "reason": "none"}, "q8": ladder}


def accuracy():
    side = {"model": "model", "plugin": "vulkan", "device": "x", "device_kind": "gpu", "precision": "exact"}
    return {"schema": "tandem-sweep", "version": 1, "row": "accuracy", "key": "text", "text": "t", "a": dict(side, kv="f16"),
            "b": dict(side, kv="q8_0"), "n": 100, "perplexity": 7.0, "standard_error": .1, "against_perplexity": 7.1, "kl_mean": .01,
            "kl_worst": .1, "same_top": .99}


def compare():
    side = {"plugin": {"name": "vulkan", "git": "abcdef0"}, "device": {"name": "Card", "kind": "gpu", "uuid": "a" * 8, "driver": "1"}}
    return {"schema": "tandem-sweep", "version": 1, "row": "compare", "key": "pair", "a": side, "b": side, "model": {"name": "model"},
            "phase": "decode", "depth": 0, "kv": "f16", "precision": "exact", "verdict": "faster", "ratio": {"median": 2., "low": 1.9, "high": 2.1},
            "smallest": .01, "reasons": [{"reason": "r"}]}


class Paper(report_plots.Page):
    """A page without pictures."""
    def __init__(self, out):
        self.out, self.files, self.body = out, [], []


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.folder.cleanup()

    def journal(self, name, *rows):
        path = pathlib.Path(self.folder.name) / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"torn', encoding="utf-8")
        return str(path)

    def read(self, *paths):
        return report_rows.of_kind(report.read_rows(paths), "cell")

    def test_why_a_result_is_wrong_stands_beside_it(self):
        text = report_tables.check_text(cell(stamp={"method": "prefix", "ok": False, "worst_error": 1, "why": "a < b"}))
        self.assertEqual(text, '<span class="bad">WRONG</span> a &lt; b')
        self.assertEqual(report_tables.check_text(cell(stamp={"method": "prefix", "ok": False})), '<span class="bad">WRONG</span>')

    def test_the_last_row_of_a_key_counts(self):
        self.assertEqual([r["rate"]["median"] for r in self.read(self.journal("a.jsonl", cell(rate=1), cell(rate=2)))], [2])

    def test_a_row_in_two_journals_is_one(self):
        rows = self.read(self.journal("a.jsonl", cell()), self.journal("b.jsonl", cell(), cell(depth=64)))
        self.assertEqual([r["journal"] for r in rows], ["", ""])

    def test_machines_that_cannot_be_told_apart_by_uuid_are_by_journal(self):
        rows = self.read(self.journal("one/a.jsonl", cell(rate=1)), self.journal("two/a.jsonl", cell(rate=2)))
        self.assertEqual(len(rows), 2)
        report.name_series(rows)
        self.assertEqual(len({r["series"] for r in rows}), 2)

    def test_a_journal_of_another_version_is_refused(self):
        good, bad = self.journal("a.jsonl", cell()), self.journal("b.jsonl", dict(cell(), version=2))
        with self.assertRaisesRegex(ValueError, "schema version 2"):
            report.read_rows([good, bad])
        self.assertEqual(report.main([good, bad, "-o", self.folder.name + "/x"]), 3)

    def test_names_say_what_differs_and_no_more(self):
        rows = [cell(kv="f16"), cell(kv="q8_0"), cell(plugin="cuda")]
        self.assertEqual(report.name_series(rows), "Card, exact, chunks of 64")
        self.assertEqual([r["series"] for r in rows], ["vulkan, f16 cache", "vulkan, q8_0 cache", "cuda, f16 cache"])

    def test_cards_of_one_name_are_told_apart(self):
        for a, b in (("11111111-0-00000001", "22222222-0-00000001"), ("11111111-0-00000001", "11111111-0-00000002")):
            rows = [cell(uuid=a), cell(uuid=b)]
            report.name_series(rows)
            self.assertNotEqual(rows[0]["series"], rows[1]["series"])

    def test_the_roofline_is_the_slower_of_bytes_and_arithmetic(self):
        rows = report.read_rows([self.journal("a.jsonl", cell(), cell(plugin="cuda"), peaks())])
        cells = report_rows.of_kind(rows, "cell")
        report.add_rooflines(rows, cells)
        bounds = {r["plugin"]["name"]: r["profile"][0].get("roofline_ns") for r in cells}
        self.assertEqual(bounds, {"vulkan": 1000, "cuda": None})  # 1000 bytes at 1 GB/s; peaks of another plugin do not count
        many = copy.deepcopy(cells[0])
        many["profile"][0]["flops"] = 1000
        report.add_rooflines(rows, [many])
        self.assertEqual(many["profile"][0]["roofline_ns"], 5000)  # 1000 at 0.2 Gflop/s

    def test_quality_stands_beside_the_speed_that_it_is_the_price_of(self):
        rows = report.read_rows([self.journal("a.jsonl", cell(), cell(kv="q8_0"), cell(kv="f32"), accuracy())])
        cells = report_rows.of_kind(rows, "cell")
        report.add_quality(rows, cells)
        found = {r["kv"]: r.get("quality", {}).get("against") for r in cells}
        better = "model, f16 cache, exact"
        self.assertEqual(found, {"f16": {better: 0}, "q8_0": {better: .01}, "f32": None})

    def test_a_ratio_needs_equal_terms_on_one_card(self):
        rows = [cell("cuda", rate=12), cell("vulkan", rate=10), cell("cuda", kv="q8_0"), cell("vulkan", uuid="b" * 8)]
        ratios = report.ratio_rows(rows)
        self.assertEqual([round(r["ratio"], 6) for r in ratios], [1.2])
        self.assertAlmostEqual(ratios[0]["ratio_low"], 12 * .9 / 11)

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not there")
    def test_a_column_that_ends_early_has_no_bar_under_anothers_name(self):
        import report_plots
        page = report_plots.Page(self.folder.name + "/bars")
        cells = [cell(kv="f16"), cell(kv="q8_0"), cell(kv="q8_0", depth=1024)]
        report.name_series(cells)
        kept = []
        page.save = lambda figure, name, caption: kept.append(figure)
        report_plots.draw_shares(page, ("model", ""), cells, "model")
        shallow, deep = kept[0].axes
        self.assertEqual([t.get_text() for t in shallow.get_yticklabels()], ["vulkan, f16 cache", "vulkan, q8_0 cache"])
        self.assertEqual([round(p.get_y() + p.get_height() / 2) for p in deep.patches], [1])
        self.assertIn("not measured", [t.get_text().strip() for t in deep.texts])

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not there")
    def test_a_page_has_every_picture_that_the_rows_allow(self):
        rows = [cell(p, kv, d) for p in ("cuda", "vulkan") for kv in ("f16", "q8_0") for d in (0, 1024)]
        for r in rows:
            r["energy"] = {"watts": 100.0, "tokens_per_joule": .1}
        rows.append(cell("vulkan", depth=4096, status="crash", reason="signal 9"))
        out = self.folder.name + "/page"
        self.assertEqual(report.main([self.journal("a.jsonl", *rows, peaks(), peaks("cuda"), accuracy()), "-o", out]), 0)
        for name in ("model-rate", "model-ratio", "model-memory", "model-ops", "model-roofline", "quality", "model-energy",
                     "model-power", "peaks"):
            for suffix in ("png", "svg"):
                self.assertGreater(pathlib.Path(f"{out}-{name}.{suffix}").stat().st_size, 2000, name)
        page = pathlib.Path(out + ".html").read_text(encoding="utf-8")
        self.assertIn("crash", page)
        self.assertIn("not offered", page)
        self.assertNotIn("software device", page)
        self.assertEqual(report.main([self.journal("b.jsonl", cell(kind="software")), "-o", out]), 0)
        self.assertIn("say nothing about a GPU", pathlib.Path(out + ".html").read_text(encoding="utf-8"))

    # ---- bad inputs: one sentence, whatever they are ----

    def run_report(self, *arguments, **more):
        report_py = pathlib.Path(report.__file__)
        return subprocess.run([sys.executable, str(report_py), *map(str, arguments)], capture_output=True, text=True, timeout=120, **more)

    def check_sentence(self, done, code, words):
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("report.py: ") and done.stderr.endswith(".\n"), done.stderr)
        self.assertIn(words, done.stderr)

    def test_what_is_no_journal_is_one_sentence(self):
        folder = pathlib.Path(self.folder.name)
        out = folder / "page"
        os.mkfifo(folder / "fifo")
        for name, content in (("text", b"notes\n"), ("binary", b"GGUF\x03\0\0\0" + bytes(range(256))), ("other", b'{"schema":"other"}\n'),
                              ("list", b"[1]\n"), ("deep", b"[" * 100000), ("torn", b'{"schema":"tandem-sw')):
            (folder / name).write_bytes(content)
            self.check_sentence(self.run_report(folder / name, "-o", out), 3, "is no journal")
        (folder / "empty").touch()
        for name, words in (("empty", "is empty"), ("missing", "is not there"), ("fifo", "is no file"), ("", "is no file")):
            self.check_sentence(self.run_report(folder / name, "-o", out), 3, words)
        self.check_sentence(self.run_report("/dev/null", "-o", out), 3, "is no file")
        self.assertEqual([p.name for p in folder.iterdir() if p.name.startswith("page")], [])

    def test_a_head_alone_is_nothing_to_show(self):
        head = {"schema": "tandem-sweep", "version": 1, "time": "2026-01-01T00:00:00Z", "row": "journal", "key": ""}
        self.assertEqual(report.main([self.journal("a.jsonl", head), "-o", self.folder.name + "/x"]), 1)

    def test_a_journal_with_a_head_shows_what_one_without_does(self):
        head = {"schema": "tandem-sweep", "version": 1, "time": "2026-01-01T00:00:00Z", "row": "journal", "key": ""}
        self.assertEqual(len(self.read(self.journal("a.jsonl", head, cell()))), 1)

    def mutants(self, value, path=()):
        """Every member and element of a row: its path."""
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, sub in inner:
            yield path + (key,)
            yield from self.mutants(sub, path + (key,))

    def test_no_broken_row_gets_past_its_check(self):
        """Each member removed, and set to what it is not: refused with a sentence, or the whole page is drawn but for the pictures."""
        rows = {"cell": dict(cell(), energy={"watts": 9.0, "tokens_per_joule": .1}, kernels={"k": 1}, card={"throttle": ["hot"], "watts": 9.0},
                             discarded=[{}]),
                "peaks": peaks(), "accuracy": accuracy(), "compare": compare(), "drift": dict(cell(), row="drift", ratio=1.0)}
        n = 0
        with mock.patch.multiple(report, Page=Paper, **{name: lambda *a: None for name in dir(report) if name.startswith("draw_")}), \
                contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            for kind, row in rows.items():
                for path in self.mutants(row):
                    for value in (None, "text", -1, 1e400, [], {}, True, 0, "gone"):
                        broken = copy.deepcopy(row)
                        at = broken
                        for key in path[:-1]:
                            at = at[key]
                        if value == "gone":
                            del at[path[-1]]
                        else:
                            at[path[-1]] = value
                        n += 1
                        with self.subTest(kind=kind, path=path, value=value):
                            code = report.main([self.journal("a.jsonl", cell(depth=7), broken), "-o", self.folder.name + "/x"])
                            self.assertIn(code, (0, 3))
        self.assertGreater(n, 500)

    def test_a_broken_row_is_named(self):
        broken = cell(depth=64)
        del broken["kv"]
        done = self.run_report(self.journal("a.jsonl", cell(), broken), "-o", self.folder.name + "/x")
        self.check_sentence(done, 3, "a.jsonl, line 2: a row of kind cell is broken: kv is missing")

    def test_a_page_that_cannot_be_written_is_one_sentence(self):
        good, folder = self.journal("a.jsonl", cell()), pathlib.Path(self.folder.name)
        self.check_sentence(self.run_report(good, "-o", folder / "missing" / "page"), 3, "there is no folder")
        same = folder / "same.html"
        same.write_bytes(pathlib.Path(good).read_bytes())
        self.check_sentence(self.run_report(same, "-o", folder / "same"), 3, "is one of the journals")
        self.assertEqual(same.read_bytes(), pathlib.Path(good).read_bytes())

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not there")
    def test_a_full_disk_keeps_the_old_page(self):
        good, folder = self.journal("a.jsonl", cell()), pathlib.Path(self.folder.name)
        (folder / "page.html").write_text("old")
        self.run_report(good, "-o", folder / "warm")  # matplotlib writes its list of fonts once

        def small():  # files of 1000 bytes stand for a full disk
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        self.check_sentence(self.run_report(good, "-o", folder / "page", preexec_fn=small), 3, "page")
        self.assertEqual((folder / "page.html").read_text(), "old")
        self.assertEqual([p.name for p in folder.iterdir() if "partial" in p.name], [])
        (folder / "kind.html").mkdir()
        self.check_sentence(self.run_report(good, "-o", folder / "kind"), 3, "no regular file")
        with open("/dev/full", "w") as full:
            done = subprocess.run([sys.executable, report.__file__, good, "-o", str(folder / "page")], stdout=full, stderr=subprocess.PIPE,
                                  text=True)
        self.check_sentence(done, 3, "standard output")

    @unittest.skipUnless(importlib.util.find_spec("matplotlib"), "matplotlib is not there")
    def test_names_are_no_formulas_and_figures_may_be_nothing(self):
        odd = [cell(name="$x^{\\frac$ _\ud800 <b>"), cell(depth=64, name="_hidden", profile=[{"op": "$", "n": 1, "ns": 0, "bytes": 9}])]
        done = self.run_report(self.journal("a.jsonl", *odd, peaks()), "-o", self.folder.name + "/odd")
        self.assertEqual((done.returncode, done.stderr), (0, ""))


if __name__ == "__main__":
    unittest.main()
