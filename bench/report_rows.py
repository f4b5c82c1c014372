"""Rows of journals: merged, judged, named, and put beside each other."""

import json
import pathlib

SCHEMA, VERSION = "tandem-sweep", 1
PHASES = ("decode", "prefill", "decode-no-head")


def read_journal(path):
    """The last row of every kind and key. A journal of another version is refused: nothing is mixed."""
    rows = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a crash
            if not isinstance(row, dict) or row.get("schema") != SCHEMA:
                continue
            if row.get("version") != VERSION:
                raise ValueError(f"{path} has rows of schema version {row.get('version')}, this program reads {VERSION}")
            rows[row["row"], row["key"]] = row
    return rows


def read_rows(paths):
    """Rows of all journals. One that is in several is one row; rows of one key that differ (software devices of two machines
    have one UUID) all stay, each named after its journal."""
    rows = {}
    for path in paths:
        for key, row in read_journal(path).items():
            same = [other for other in rows.setdefault(key, []) if {**other, "journal": None} == {**row, "journal": None}]
            if not same:
                rows[key].append(dict(row, journal=str(path)))
    merged = {}
    names = journal_names(paths)
    for (kind, key), several in rows.items():
        for row in several:
            row["journal"] = names[row["journal"]] if len(several) > 1 else ""
            merged[kind, key, row["journal"]] = row
    return merged


def journal_names(paths):
    """What tells the files apart: their names, with folders where those are equal."""
    stems = [pathlib.Path(p).stem for p in paths]
    return {str(p): stem if stems.count(stem) == 1 else str(p) for p, stem in zip(paths, stems)}


def of_kind(rows, kind):
    return [row for key, row in rows.items() if key[0] == kind]


def is_checked(row):
    return row["status"] == "done" and row.get("stamp", {}).get("ok") is True


def is_drawn(row):
    return is_checked(row) and "rate" in row


def depth_name(depth):
    return f"{depth // 1024}K" if depth and depth % 1024 == 0 else str(depth)


def interval_of(row):
    rate = row["rate"]
    return rate.get("low", rate["median"]), rate.get("high", rate["median"])


# ---- names ----

def plugin_name(row):
    kind = row["device"]["kind"]
    return row["plugin"]["name"] + ("" if kind == "gpu" else f" [{kind}]")


def short_uuid(uuid, twins):
    """As much of it as tells it from those of cards with the same name."""
    if len(twins) < 2:
        return ""
    parts = [slice(0, 8), slice(-8, None), slice(None)]
    return next(uuid[p] for p in parts if len({t[p] for t in twins}) == len(twins))


def label_parts(row, cells):
    """All that may tell a curve from the others on the page."""
    name = row["device"]["name"]
    twins = {r["device"]["uuid"] for r in cells if r["device"]["name"] == name}
    parts = [("device", f"{name[:32]} {short_uuid(row['device']['uuid'], twins)}".rstrip()), ("journal", row.get("journal", "")),
             ("git", row["plugin"]["git"][:7]), ("kv", f"{row['kv']} cache"), ("precision", row["precision"]),
             ("batch", f"chunks of {row['batch']}")]
    if row["model"].get("expert_memory", "device") != "device":
        parts.append(("experts", f"experts in host memory: {row['model']['expert_memory']}"))
    if row["fill"] == "synthetic":
        parts.append(("fill", "synthetic fill"))
    return dict(parts)


def name_series(cells, members=None):
    """Sets each row's `series` to what tells it from the others; returns what all have in common. members: of label_parts,
    and no plugin."""
    labels = [{k: v for k, v in label_parts(r, cells).items() if not members or k in members} for r in cells]
    plugins = {}
    for r, parts in zip(cells, labels):
        plugins.setdefault((plugin_name(r), parts.get("device")), set()).add(r["plugin"]["git"])
    one_build = all(len(gits) == 1 for gits in plugins.values())
    common = [v for k, v in (labels[0].items() if labels else ()) if v and k != "git" and all(p.get(k) == v for p in labels)]
    for r, parts in zip(cells, labels):
        shown = [v for k, v in parts.items() if v and v not in common and not (k == "git" and one_build)]
        r["series"] = ", ".join(([] if members else [plugin_name(r)]) + shown) or common[0]
    return ", ".join(common)


# ---- beside each other ----

def ratio_rows(cells):
    """CUDA over Vulkan where one card ran both under equal terms."""
    sides = {}
    for r in cells:
        terms = (r["device"]["uuid"], r.get("journal"), r["model"]["name"], r["model"].get("routing"), r["model"].get("expert_memory"), r["kv"],
                 r["precision"], r["fill"], r["batch"], r["phase"], r["depth"])
        sides.setdefault(terms, {})[r["plugin"]["name"]] = r
    out = []
    for both in sides.values():
        if "cuda" in both and "vulkan" in both:
            c, v = both["cuda"], both["vulkan"]
            row = dict(c)
            row["ratio"] = c["rate"]["median"] / v["rate"]["median"]
            row["ratio_low"] = interval_of(c)[0] / interval_of(v)[1]
            row["ratio_high"] = interval_of(c)[1] / interval_of(v)[0]
            out.append(row)
    return out


def add_rooflines(rows, cells):
    """The least time of a step by the peaks measured through the same plugin: its bytes at the read bandwidth, or its
    multiply-adds at the rate of its precision, whichever takes longer."""
    peaks = {(r["plugin"]["name"], r["device"]["uuid"], r["journal"]): r for r in of_kind(rows, "peaks")}
    for cell in cells:
        name, uuid = cell["plugin"]["name"], cell["device"]["uuid"]
        peak = peaks.get((name, uuid, cell.get("journal", ""))) or peaks.get((name, uuid, ""), {})
        rate = peak.get("read_bytes_per_s")
        flops = peak.get({"exact": "f32", "f16": "f16", "q8": "q8"}[cell["precision"]] + "_flops_per_s")
        for step in cell.get("profile", []) if rate else []:
            work = step.get("flops", 0) / flops if flops else 0
            step["roofline_ns"] = 1e9 * max(step["bytes"] / rate, work)


def side_name(side):
    return f"{side['model']}, {side['kv']} cache, {side['precision']}"


def add_quality(rows, cells):
    """What is known of a cell's accuracy: its KL divergence from each better side that it was compared with (`against`: {side:
    nats}), and its perplexity. A side fits the cells of the same model, cache type and precision, whatever the device: all
    of them were checked against the reference."""
    known = {}
    for row in of_kind(rows, "accuracy"):
        a, b = row["a"], row.get("b")
        better = known.setdefault((a["model"], a["kv"], a["precision"]), {"against": {}})
        better["perplexity"] = row["perplexity"]
        if b:
            better["against"].setdefault(side_name(a), 0)
            other = known.setdefault((b["model"], b["kv"], b["precision"]), {"against": {}})
            other["against"][side_name(a)] = row["kl_mean"]
            other.setdefault("perplexity", row["against_perplexity"])
    for cell in cells:
        found = known.get((cell["model"]["name"], cell["kv"], cell["precision"]))
        if found:
            cell["quality"] = found
