#!/usr/bin/env python3
"""Plots a sweep journal: tokens per second by depth, decode and prefill side by side.

    plot.py JOURNAL OUT        writes OUT.png and OUT.svg

Points are medians over the samples by the device's clock (time and gap), whiskers run from the least to the greatest. Only checked cells are
drawn; software devices are labelled. Depth 0 is drawn at the left edge of a logarithmic axis. Exit status: 0 drawn,
1 nothing to draw, 2 usage, 3 the journal is unusable or matplotlib is missing.
"""

import json
import statistics
import sys

SCHEMA, VERSION = "tandem-sweep", 1
PHASES = ("decode", "prefill")


def read_cells(path):
    """The last row of every cell that is done and checked."""
    cells = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a crash
            if not isinstance(row, dict) or row.get("schema") != SCHEMA or row.get("row") != "cell":
                continue
            if row.get("version") != VERSION:
                raise ValueError(f"{path} has rows of schema version {row.get('version')}, this program reads {VERSION}")
            cells[row["key"]] = row
    return [r for r in cells.values()
            if r["status"] == "done" and r.get("device_ns") and r["phase"] in PHASES and r["stamp"]["ok"]]


def rates(row):
    gaps = row.get("gap_ns", [0] * len(row["device_ns"]))
    return [row["n_token"] * 1e9 / (ns + gap) for ns, gap in zip(row["device_ns"], gaps) if ns + gap > 0]


def series_label(row, several_models):
    device = row["device"]
    kind = "" if device["kind"] == "gpu" else f" [{device['kind']}]"
    fill = " (synthetic cache)" if row["fill"] == "synthetic" else ""
    model = f"{row['model']['name']}: " if several_models else ""
    return f"{model}{row['plugin']['name']}{kind}, {row['kv']} cache, {row['precision']}{fill}"


def depth_ticks(depths):
    ticks = [d for d in depths if d > 0]
    names = [f"{d // 1024}K" if d % 1024 == 0 else str(d) for d in ticks]
    return ticks, names


def draw_phase(axes, cells, phase, left, labels):
    """One panel. `left` stands for depth 0 on the logarithmic axis; a series has one colour in every panel."""
    groups = {}
    for row in cells:
        if row["phase"] == phase:
            groups.setdefault(row["label"], {})[row["depth"]] = row
    for index, label in enumerate(labels):
        if label not in groups:
            axes.plot([], [], color=f"C{index}", marker="o", markersize=4, label=label)
            continue
        depths = sorted(groups[label])
        xs = [d if d > 0 else left for d in depths]
        samples = [rates(groups[label][d]) for d in depths]
        middle = [statistics.median(s) for s in samples]
        low = [m - min(s) for m, s in zip(middle, samples)]
        high = [max(s) - m for m, s in zip(middle, samples)]
        axes.errorbar(xs, middle, yerr=[low, high], marker="o", markersize=4, linewidth=1.4, capsize=3,
                      color=f"C{index}", label=label)
    head = "head included" if phase == "decode" else "head not run"
    axes.set_title(f"{phase} ({head})")
    axes.set_ylabel("tokens per second")
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)


def draw(cells, out):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    models = sorted({r["model"]["name"] for r in cells})
    for row in cells:
        row["label"] = series_label(row, len(models) > 1)
    labels = sorted({r["label"] for r in cells})
    phases = [p for p in PHASES if any(r["phase"] == p for r in cells)]
    depths = sorted({r["depth"] for r in cells})
    ticks, tick_names = depth_ticks(depths)
    left = min(ticks) / 4 if ticks else 1
    legend_rows = (len(labels) + 1) // 2
    below = 0.5 + 0.19 * legend_rows  # inches: legend and device line
    height = 4.2 + below
    figure, panels = plt.subplots(1, len(phases), figsize=(6.2 * len(phases), height), squeeze=False)
    for axes, phase in zip(panels[0], phases):
        draw_phase(axes, cells, phase, left, labels)
        axes.set_xscale("log", base=2)
        axes.set_xticks(([left] if 0 in depths else []) + ticks, (["0"] if 0 in depths else []) + tick_names)
        axes.minorticks_off()
        axes.set_xlabel("depth (positions in the cache)")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.suptitle(models[0] if len(models) == 1 else f"{len(models)} models", fontsize=11)
    devices = sorted({f"{r['device']['name']} ({r['plugin']['name']}, {r['device']['driver']})" for r in cells})
    figure.legend(handles, names, loc="lower center", ncol=min(len(labels), 2), fontsize=8, frameon=False,
                  bbox_to_anchor=(0.5, 0.25 / height))
    figure.text(0.5, 0.08 / height, "; ".join(devices), ha="center", fontsize=7, color="0.35")
    figure.tight_layout(rect=(0, below / height, 1, 1))
    for suffix in ("png", "svg"):
        figure.savefig(f"{out}.{suffix}", dpi=150)


def main(arguments):
    if len(arguments) != 2 or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    journal, out = arguments
    try:
        cells = read_cells(journal)
    except (OSError, ValueError, KeyError) as error:
        print(f"plot.py: {error}", file=sys.stderr)
        return 3
    if not cells:
        print(f"plot.py: {journal} has no checked cell to draw.", file=sys.stderr)
        return 1
    try:
        draw(cells, out)
    except ImportError as error:
        print(f"plot.py: {error}", file=sys.stderr)
        return 3
    print(f"{out}.png {out}.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
