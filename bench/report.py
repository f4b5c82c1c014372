#!/usr/bin/env python3
"""One page of what journals say: tables, plots, stamps.

    report.py JOURNAL... -o OUT      writes OUT.html (self-contained), OUT-*.png and OUT-*.svg

Reads the journals of `tandem sweep`, `peaks`, `compare` and `perplexity --journal` (bench/SCHEMA.md); several, also of several
machines, make one page. Only checked cells are drawn, as median with 95 % interval; what was refused, failed or is wrong stands
in the table. Software devices are marked, simulated ones have no speed to draw. Exit status: 0 written, 1 nothing to show,
2 usage, 3 a journal is unusable (no journal, another schema version, a broken row), the page cannot be written, or matplotlib is
missing; with one sentence. Files of a page are replaced one by one when they are complete.
"""

import argparse
import html
import os
import signal
import sys

from report_plots import (Page, replacing, draw_energy, draw_memory, draw_peaks, draw_quality, draw_rates, draw_ratio, draw_rooflines,
                          draw_shares)
from report_rows import Refusal, add_quality, add_rooflines, is_drawn, name_series, of_kind, ratio_rows, read_rows  # noqa: F401
from report_tables import add_accuracy, add_comparisons, add_extras, add_peaks, add_results, add_stamps

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .2rem .6rem; border-bottom: 1px solid #eee; }
th { text-align: left; background: #f5f6f8; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } img { max-width: 100%; } .note { color: #666; font-size: 13px; }
.bad { color: #b00020; font-weight: 600; } .mark { background: #fff3cd; padding: 0 .3rem; border-radius: 3px; }
.warning { background: #fff3cd; border-left: 4px solid #e0a800; padding: .5rem 1rem; }
"""


def slug_of(model, index):
    kept = "".join(c if c.isalnum() else "-" for c in model.split(" ")[0].lower()).strip("-")
    return f"{kept[:80] or 'model'}{index or ''}"


def add_model(page, model, cells, index):
    common = name_series(cells)
    slug, drawn = slug_of(model, index), [r for r in cells if is_drawn(r)]
    page.add(f"<h2>{html.escape(model)}</h2>")
    for draw in (draw_rates, draw_ratio, draw_memory, draw_shares, draw_rooflines, draw_energy):
        draw(page, (model, common), drawn, slug)
    add_results(page, common, cells)


def build(rows, out):
    cells = of_kind(rows, "cell")
    add_rooflines(rows, cells)
    add_quality(rows, cells)
    page = Page(out)
    page.add("<h1>tandem: throughput by depth</h1>")
    odd = {r["device"]["kind"] for r in cells + of_kind(rows, "peaks")} & {"software", "simulated"}
    if odd:
        page.add(f'<p class="warning">Some of these devices are {" or ".join(sorted(odd))}: their figures prove that the '
                 "measurement works and say nothing about a GPU.</p>")
    for index, model in enumerate(sorted({r["model"]["name"] for r in cells})):
        add_model(page, model, [r for r in cells if r["model"]["name"] == model], index)
    add_comparisons(page, rows)
    add_accuracy(page, rows)
    draw_quality(page, [dict(r) for r in cells if is_drawn(r)])
    add_peaks(page, rows)
    draw_peaks(page, rows)
    add_extras(page, rows)
    if cells:
        add_stamps(page, cells)
    path = f"{out}.html"
    with replacing(path) as file:
        file.write(('<!doctype html><html lang="en"><meta charset="utf-8"><title>tandem</title>'
                   f"<style>{STYLE}</style><body>\n" + "\n".join(page.body) + "\n</body></html>\n").encode("utf-8", "replace"))
    return [path] + page.files


def refuse(error):
    """One line, whatever is in it; a path before the reason."""
    text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename and error.strerror else str(error)
    print("report.py: " + " ".join(text.split()) + ".", file=sys.stderr)
    return 3


def check_out(out, journals):
    """Before anything is drawn: that there is a folder, and that no output is a journal."""
    folder = os.path.dirname(out) or "."
    if not os.path.isdir(folder):
        raise Refusal(f"{out}.html cannot be written: there is no folder {folder}")
    for journal in journals:
        if os.path.exists(f"{out}.html") and os.path.samefile(journal, f"{out}.html"):
            raise Refusal(f"{out}.html is one of the journals")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("journals", nargs="+", metavar="JOURNAL")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="page and pictures are OUT.html, OUT-*.png, OUT-*.svg")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.journals)
        check_out(options.out, options.journals)
    except (OSError, Refusal) as error:
        return refuse(error)
    if not any(of_kind(rows, kind) for kind in ("cell", "accuracy", "peaks", "compare")):
        print("report.py: there is nothing to show in " + ", ".join(options.journals) + ".", file=sys.stderr)
        return 1
    try:
        files = build(rows, options.out)
    except (OSError, ImportError) as error:
        return refuse(error)
    try:
        print("\n".join(files), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left for it is not tried again
        return refuse(f"standard output cannot be written: {error.strerror}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # past what removes half a file
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
