#!/usr/bin/env python3
"""One page of what journals say: tables, plots, stamps.

    report.py JOURNAL... -o OUT      writes OUT.html (self-contained), OUT-*.png and OUT-*.svg

Reads the journals of `tandem sweep` and `tandem perplexity --journal` (bench/SCHEMA.md); several, also of several machines,
make one page. Only checked cells are drawn, as median with 95 % interval; what was refused, failed or is wrong stands in the
table. Software devices are marked, simulated ones have no speed to draw. Exit status: 0 written, 1 nothing to show, 2 usage,
3 a journal is unusable (another schema version) or matplotlib is missing.
"""

import argparse
import base64
import html
import io
import json
import sys

SCHEMA, VERSION = "tandem-sweep", 1
PHASES = ("decode", "prefill", "decode-no-head")
COLOURS = ("#0b6e99", "#d1495b", "#3b8c4a", "#7b5ea7", "#c77d12", "#4a4e69", "#00897b", "#a23e6b")
MARKERS = "osD^vP*X"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } td, th { padding: .2rem .6rem; border-bottom: 1px solid #eee; }
th { text-align: left; background: #f5f6f8; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; } img { max-width: 100%; } .note { color: #666; font-size: 13px; }
.bad { color: #b00020; font-weight: 600; } .mark { background: #fff3cd; padding: 0 .3rem; border-radius: 3px; }
.warning { background: #fff3cd; border-left: 4px solid #e0a800; padding: .5rem 1rem; }
"""


# ---- rows ----

def read_rows(paths):
    """The last row of every kind and key. A journal of another version is refused: nothing is mixed."""
    rows = {}
    for path in paths:
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


def of_kind(rows, kind):
    return [row for (k, _), row in rows.items() if k == kind]


def is_checked(row):
    return row["status"] == "done" and row.get("stamp", {}).get("ok") is True


def is_drawn(row):
    return is_checked(row) and "rate" in row


def depth_name(depth):
    return f"{depth // 1024}K" if depth and depth % 1024 == 0 else str(depth)


def series_label(row, several):
    """What tells a curve from the others on the page."""
    device, kind = row["device"], row["device"]["kind"]
    parts = [row["plugin"]["name"] + ("" if kind == "gpu" else f" [{kind}]")]
    if several["device"]:
        parts.append(device["name"][:32])
    if several["git"]:
        parts[0] += f" {row['plugin']['git'][:7]}"
    parts += [f"{row['kv']} cache", row["precision"]]
    if several["batch"]:
        parts.append(f"chunks of {row['batch']}")
    if several["experts"]:
        parts.append(f"experts: {row['model'].get('expert_memory', 'device')}")
    if row["fill"] == "synthetic":
        parts.append("synthetic fill")
    return ", ".join(parts)


def name_series(cells):
    several = {"device": len({r["device"]["uuid"] for r in cells}) > 1,
               "git": len({(r["plugin"]["name"], r["plugin"]["git"]) for r in cells}) > len({r["plugin"]["name"] for r in cells}),
               "batch": len({r["batch"] for r in cells}) > 1,
               "experts": len({r["model"].get("expert_memory") for r in cells}) > 1}
    for row in cells:
        row["series"] = series_label(row, several)


# ---- drawing ----

class Page:
    def __init__(self, out):
        import matplotlib
        matplotlib.use("Agg")
        matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                                    "grid.alpha": .25, "font.size": 10, "axes.titlesize": 11, "svg.hashsalt": "tandem"})
        import matplotlib.pyplot as plt
        self.plt, self.out, self.files, self.body = plt, out, [], []

    def add(self, text):
        self.body.append(text)

    def save(self, figure, name, caption):
        for suffix in ("png", "svg"):
            path = f"{self.out}-{name}.{suffix}"
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)
            self.files.append(path)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=110, format="png")
        self.plt.close(figure)
        data = base64.b64encode(picture.getvalue()).decode()
        self.add(f'<p><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}"></p>'
                 f'<p class="note">{html.escape(caption)}</p>')

    def table(self, headings, lines, numeric=()):
        head = "".join(f"<th>{html.escape(h)}</th>" for h in headings)
        self.add(f'<div class="scroll"><table><tr>{head}</tr>')
        for line in lines:
            cells = "".join(f'<td class="{"n" if h in numeric else ""}">{c}</td>' for h, c in zip(headings, line))
            self.add(f"<tr>{cells}</tr>")
        self.add("</table></div>")


def place_depths(axes, depths):
    """Evenly spaced in powers of two, depth 0 at the left edge. Returns depth -> x."""
    import math
    positive = [d for d in depths if d > 0]
    least = math.log2(min(positive)) if positive else 0
    x = {d: math.log2(d) if d else least - 1.2 for d in depths}
    axes.set_xticks([x[d] for d in depths], [depth_name(d) for d in depths],
                    rotation=45 if len(depths) > 9 else 0, ha="right" if len(depths) > 9 else "center")
    axes.set_xlabel("depth (positions in the cache)")
    if len(depths) > 1:
        axes.set_xlim(min(x.values()) - .4, max(x.values()) + .4)
    return x


def mark_device(axes, rows):
    kinds = {r["device"]["kind"] for r in rows} & {"software", "simulated"}
    if kinds:
        axes.text(.5, .5, f"{' and '.join(sorted(kinds))} device", transform=axes.transAxes, ha="center", va="center",
                  fontsize=24, color="#b00020", alpha=.13, rotation=18, zorder=0)


def style_of(index):
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "markersize": 5.5,
            "linewidth": 1.7, "linestyle": "-" if index < len(COLOURS) else "--"}


def draw_lines(axes, rows, labels, value, interval=None):
    depths = sorted({r["depth"] for r in rows})
    x = place_depths(axes, depths)
    for index, label in enumerate(labels):
        points = sorted((r for r in rows if r["series"] == label), key=lambda r: r["depth"])
        if not points:
            continue
        xs, ys = [x[r["depth"]] for r in points], [value(r) for r in points]
        axes.plot(xs, ys, label=label, **style_of(index))
        if interval:
            low, high = zip(*(interval(r) for r in points))
            axes.fill_between(xs, low, high, color=COLOURS[index % len(COLOURS)], alpha=.18, linewidth=0)
            axes.vlines(xs, low, high, color=COLOURS[index % len(COLOURS)], linewidth=1.2)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.04)
    mark_device(axes, rows)


def interval_of(row):
    rate = row["rate"]
    return rate.get("low", rate["median"]), rate.get("high", rate["median"])


def finish(figure, axes, title, n_label):
    """Title above, one legend below."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if n_label > 1 and figure.get_figwidth() > 10 and max(map(len, names)) < 70 else 1
    rows = (n_label + columns - 1) // columns
    height = figure.get_figheight()
    figure.suptitle(title, fontsize=12, x=.01, ha="left", fontweight="bold")
    figure.tight_layout(rect=(0, (.12 + .22 * rows) / height, 1, 1))
    figure.legend(handles, names, loc="lower center", ncol=columns, fontsize=9, frameon=False)


def draw_panels(page, name, title, caption, panels, value, interval=None, level=None):
    """panels: [(title, y label, rows)]; level: a line across."""
    panels = [p for p in panels if p[2]]
    if not panels:
        return
    labels = sorted({r["series"] for _, _, rows in panels for r in rows})
    figure, axes = page.plt.subplots(1, len(panels), figsize=(max(9, 5.8 * len(panels)), 4.4 + .22 * len(labels)),
                                     squeeze=False)
    for (heading, unit, rows), a in zip(panels, axes[0]):
        draw_lines(a, rows, labels, value, interval)
        a.set_title(heading)
        a.set_ylabel(unit)
        if level is not None:
            a.axhline(level, color="#222", linewidth=1, linestyle=":")
    full = max(axes[0], key=lambda a: len(a.get_legend_handles_labels()[0]))
    finish(figure, full, title, len(labels))
    page.save(figure, name, caption)


def draw_rates(page, model, cells, slug):
    heads = {"decode": "decode (head included)", "prefill": "prefill (head not run)", "decode-no-head": "decode without head"}
    panels = [(heads[p], "tokens per second", [r for r in cells if r["phase"] == p]) for p in PHASES]
    draw_panels(page, f"{slug}-rate", model, "Tokens per second by depth: median by the device's clock, 95 % interval.",
                panels, lambda r: r["rate"]["median"], interval_of)


def draw_memory(page, model, cells, slug):
    rows = {}
    for r in cells:
        if r.get("memory", {}).get("at_depth"):
            rows.setdefault((r["series"], r["depth"]), dict(r))
    rows = list(rows.values())
    panels = [("weights, cache and workspace by depth, predicted", "GiB", rows)]
    draw_panels(page, f"{slug}-memory", model, "Memory that a context of this depth needs, by plan; what a column really allocated, "
                "for its deepest cell, stands in the table.", panels, lambda r: r["memory"]["at_depth"] / 2**30)


def ratio_rows(cells):
    """CUDA over Vulkan where one card ran both under equal terms."""
    sides = {}
    for r in cells:
        terms = (r["device"]["uuid"], r["model"]["name"], r["model"].get("routing"), r["model"].get("expert_memory"), r["kv"],
                 r["precision"], r["fill"], r["batch"], r["phase"], r["depth"])
        sides.setdefault(terms, {})[r["plugin"]["name"]] = r
    out = []
    for both in sides.values():
        if "cuda" in both and "vulkan" in both:
            c, v = both["cuda"], both["vulkan"]
            row = dict(c, series=f"{c['kv']} cache, {c['precision']}, chunks of {c['batch']}")
            row["ratio"] = c["rate"]["median"] / v["rate"]["median"]
            row["ratio_low"] = interval_of(c)[0] / interval_of(v)[1]
            row["ratio_high"] = interval_of(c)[1] / interval_of(v)[0]
            out.append(row)
    return out


def draw_ratio(page, model, cells, slug):
    rows = ratio_rows(cells)
    draw_panels(page, f"{slug}-ratio", model, "CUDA over Vulkan on one card: above 1 CUDA is faster. The band is the widest that both "
                "intervals allow; `tandem compare` measures the pair interleaved.",
                [(f"{p}: CUDA / Vulkan", "ratio of tokens per second", [r for r in rows if r["phase"] == p]) for p in PHASES],
                lambda r: r["ratio"], lambda r: (r["ratio_low"], r["ratio_high"]), level=1)


def draw_energy(page, model, cells, slug):
    rows = [r for r in cells if "energy" in r]
    panels = [(f"{p}: tokens per joule", "tokens per joule", [r for r in rows if r["phase"] == p]) for p in PHASES[:2]]
    draw_panels(page, f"{slug}-energy", model, "Tokens per joule, by the card's own power reading.", panels,
                lambda r: r["energy"]["tokens_per_joule"])
    powers = [(f"{p}: power", "watts", [r for r in rows if r["phase"] == p]) for p in PHASES[:2]]
    draw_panels(page, f"{slug}-power", model, "Mean power of the card while it was measured.", powers,
                lambda r: r["energy"]["watts"])


def draw_profile(page, model, cells, slug):
    """Device time by op at the least and the greatest depth of each column, decode."""
    chosen = {}
    for r in cells:
        if r.get("profile") and r["phase"] == "decode":
            low, high = chosen.get(r["series"], (r, r))
            chosen[r["series"]] = (min(low, r, key=lambda q: q["depth"]), max(high, r, key=lambda q: q["depth"]))
    bars = []
    for label in sorted(chosen):
        low, high = chosen[label]
        bars += [(label, row) for row in ([low] if low is high else [low, high])]
    if not bars:
        return
    ops = []
    for _, row in bars:
        ops += [s["op"] for s in row["profile"] if s["op"] not in ops]
    totals = {op: sum(s["ns"] for _, row in bars for s in row["profile"] if s["op"] == op) for op in ops}
    ops = sorted(ops, key=totals.get, reverse=True)
    figure, axes = page.plt.subplots(figsize=(11.6, 1.9 + .42 * len(bars)))
    palette = page.plt.get_cmap("tab20").colors
    for y, (label, row) in enumerate(bars):
        left = 0
        times = {s["op"]: s for s in row["profile"]}
        for k, op in enumerate(ops):
            step = times.get(op)
            if not step:
                continue
            width = step["ns"] * 1e-6
            axes.barh(y, width, left=left, color=palette[k % 20], edgecolor="white", linewidth=.6,
                      label=op if op not in axes.get_legend_handles_labels()[1] else None)
            left += width
    for y, (label, row) in enumerate(bars):
        total = sum(s["ns"] for s in row["profile"]) * 1e-6
        bound = sum(s.get("roofline_ns", 0) for s in row["profile"]) * 1e-6
        if bound:
            axes.plot([bound, bound], [y - .4, y + .4], color="black", linewidth=2)
            axes.text(total, y, f"  {100 * bound / total:.0f} % of the roofline", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [f"{label}, at {depth_name(row['depth'])}" for label, row in bars], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("milliseconds of one decoded token, by op (profile run: every step timed alone)")
    mark_device(axes, [row for _, row in bars])
    figure.suptitle(model, fontsize=12, x=.01, ha="left", fontweight="bold")
    figure.tight_layout(rect=(0, 0, .86, 1))
    figure.legend(*axes.get_legend_handles_labels(), loc="center right", fontsize=8, frameon=False)
    page.save(figure, f"{slug}-ops", "Device time by op, of one decoded token. Black lines: bytes over measured bandwidth, where "
              "the device's peaks are in the journal.")


def add_rooflines(rows, cells):
    """Time that a step's bytes take at the read bandwidth measured through the same plugin."""
    peaks = {(r["plugin"]["name"], r["device"]["uuid"]): r.get("read_bytes_per_s") for r in of_kind(rows, "peaks")}
    for cell in cells:
        rate = peaks.get((cell["plugin"]["name"], cell["device"]["uuid"]))
        for step in cell.get("profile", []) if rate else []:
            step["roofline_ns"] = step["bytes"] * 1e9 / rate


# ---- tables ----

def number(value, form=".4g"):
    return format(value, form) if isinstance(value, (int, float)) else ""


def check_text(row):
    stamp = row.get("stamp", {})
    if row["status"] != "done":
        return f'<span class="bad">{html.escape(row["status"])}</span>'
    if stamp.get("method") == "none":
        return '<span class="bad">UNCHECKED</span>'
    if not stamp.get("ok"):
        return '<span class="bad">WRONG</span>'
    return "is the reference" if stamp["method"] == "self" else f"ok {stamp['worst_error']:.0e}"


def rate_text(row):
    rate = row.get("rate")
    if not rate or not is_checked(row):
        return "", ""
    return number(rate["median"]), f"{rate['low']:.4g} … {rate['high']:.4g}" if "low" in rate else "too few"


def add_results(page, model, cells):
    lines = []
    for r in sorted(cells, key=lambda r: (r["series"], r["phase"], r["depth"])):
        median, interval = rate_text(r)
        gone = len(r.get("discarded", []))
        remark = html.escape(r.get("reason") or r.get("no_rate") or "") + (f" {gone} samples discarded" if gone else "")
        lines.append([html.escape(r["series"]), r["phase"], depth_name(r["depth"]), median, interval,
                      number(r.get("rate", {}).get("n")), number(r.get("memory", {}).get("total", 0) / 2**30, ".3f") if "memory" in r else "",
                      check_text(r), remark])
    page.table(("column", "phase", "depth", "tokens/s", "95 % interval", "samples", "GiB", "check", "remark"), lines,
               ("depth", "tokens/s", "95 % interval", "samples", "GiB"))


def probe_text(stamp):
    probes = stamp.get("probe") or []
    return "; ".join(f"{p['what']} {p['error']:.0e}" + ("" if p["ok"] else " <span class=bad>WRONG</span>") for p in probes)


def add_stamps(page, cells):
    page.add("<h2>Stamps</h2>")
    lines = []
    for r in sorted((c for c in cells if c["status"] == "done"), key=lambda r: (r["series"], r["phase"], r["depth"])):
        s = r["stamp"]
        hashes = s.get("hash")
        card = r.get("card", {})
        lines.append([html.escape(r["series"]), r["phase"], depth_name(r["depth"]), check_text(r),
                      f"{s.get('top1_equal', '')}/{s.get('n', '')}" if s["method"] == "prefix" else "",
                      probe_text(s), f"{hashes['n'] - hashes['unequal']}/{hashes['n']} equal" if hashes else "",
                      html.escape(", ".join(card.get("throttle", []))) if card else "", number(card.get("watts"))])
    page.table(("column", "phase", "depth", "prefix", "likeliest equal", "probe at depth", "hash of ids", "throttled", "watts"),
               lines, ("depth",))
    seen = {}
    for r in cells:
        seen.setdefault((r["plugin"]["name"], r["plugin"]["git"], r["device"]["uuid"], r["device"]["driver"]), r)
    page.add("<h2>Plugins and devices</h2>")
    page.table(("plugin", "commit", "toolchain", "shaders", "device", "kind", "driver", "link"),
               [[html.escape(str(t)) for t in (p["name"], p["git"], p["toolchain"], p["shaders"], d["name"], d["kind"], d["driver"],
                                               r.get("card", {}).get("pcie", ""))]
                for r in seen.values() for p, d in [(r["plugin"], r["device"])]])
    kernels = {}
    for r in cells:
        for name, count in (r.get("kernels") or {}).items():
            kernels.setdefault((r["plugin"]["name"], r["precision"], r["kv"], r["phase"]), {})[name] = count
    if kernels:
        page.add("<h2>Paths: kernels of a run</h2>")
        page.table(("plugin", "precision", "kv", "phase", "kernels (launches)"),
                   [[html.escape(t) for t in key] + [html.escape(", ".join(f"{k} ({n})" for k, n in sorted(v.items())))]
                    for key, v in sorted(kernels.items())])


def add_accuracy(page, rows):
    rows = of_kind(rows, "accuracy")
    if not rows:
        return
    page.add("<h2>Accuracy</h2>")

    def side(s):
        return html.escape(f"{s['model']}, {s['plugin']}, {s['kv']} cache, {s['precision']}")
    page.table(("measured", "against", "tokens", "perplexity", "against's", "KL divergence", "worst", "same likeliest token"),
               [[side(r["a"]), side(r["b"]) if "b" in r else "", number(r["n"]), number(r["perplexity"], ".4f"),
                 number(r.get("against_perplexity"), ".4f"), number(r.get("kl_mean"), ".2e"), number(r.get("kl_worst"), ".2e"),
                 number(100 * r["same_top"], ".2f") + " %" if "same_top" in r else ""] for r in rows],
               ("tokens", "perplexity", "against's", "KL divergence", "worst", "same likeliest token"))


def add_extras(page, rows):
    lines = [[row["row"], html.escape(f"{row['plugin']['name']}, {row['kv']} cache, {row['precision']}, {row['phase']}"),
              f"{100 * (row['ratio'] - 1):+.1f} %",
              "depth 0 at the end against the beginning" if row["row"] == "drift" else
              f"synthetic against real fill at depth {row['depth']}"]
             for kind in ("drift", "bias") for row in of_kind(rows, kind) if "ratio" in row]
    if lines:
        page.add("<h2>Drift, and bias of the synthetic fill</h2>")
        page.table(("", "column", "difference", "what"), lines, ("difference",))


# ---- the page ----

def slug_of(model, index):
    kept = "".join(c if c.isalnum() else "-" for c in model.split(" ")[0].lower()).strip("-")
    return f"{kept or 'model'}{index or ''}"


def add_model(page, model, cells, index):
    slug, drawn = slug_of(model, index), [r for r in cells if is_drawn(r)]
    page.add(f"<h2>{html.escape(model)}</h2>")
    for draw in (draw_rates, draw_ratio, draw_memory, draw_profile, draw_energy):
        draw(page, model, drawn, slug)
    add_results(page, model, cells)


def build(rows, out):
    cells = of_kind(rows, "cell")
    name_series(cells)
    add_rooflines(rows, cells)
    page = Page(out)
    page.add("<h1>tandem: throughput by depth</h1>")
    odd = {r["device"]["kind"] for r in cells} & {"software", "simulated"}
    if odd:
        page.add(f'<p class="warning">Some of these devices are {" or ".join(sorted(odd))}: their figures prove that the '
                 "measurement works and say nothing about a GPU.</p>")
    for index, model in enumerate(sorted({r["model"]["name"] for r in cells})):
        add_model(page, model, [r for r in cells if r["model"]["name"] == model], index)
    add_accuracy(page, rows)
    add_extras(page, rows)
    if cells:
        add_stamps(page, cells)
    path = f"{out}.html"
    with open(path, "w", encoding="utf-8") as file:
        file.write('<!doctype html><html lang="en"><meta charset="utf-8"><title>tandem</title>'
                   f"<style>{STYLE}</style><body>\n" + "\n".join(page.body) + "\n</body></html>\n")
    return [path] + page.files


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("journals", nargs="+", metavar="JOURNAL")
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="page and pictures are OUT.html, OUT-*.png, OUT-*.svg")
    options = parser.parse_args(arguments)
    try:
        rows = read_rows(options.journals)
    except (OSError, ValueError, KeyError) as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 3
    if not of_kind(rows, "cell") and not of_kind(rows, "accuracy"):
        print("report.py: there is nothing to show in " + ", ".join(options.journals) + ".", file=sys.stderr)
        return 1
    try:
        print("\n".join(build(rows, options.out)))
    except ImportError as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
