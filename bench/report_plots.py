"""Pictures of a report, and the page that they stand on."""

import base64
import contextlib
import errno
import html
import io
import math
import os
import warnings

from report_rows import PHASES, depth_name, interval_of, name_series, of_kind, ratio_rows

COLOURS = ("#0b6e99", "#d1495b", "#3b8c4a", "#7b5ea7", "#c77d12", "#4a4e69", "#00897b", "#a23e6b")
MARKERS = "osD^vP*X"


@contextlib.contextmanager
def replacing(path):
    """A file, open for bytes, that takes the place of `path` when it is complete; after a failure the old one is there still.
    Links are followed; what is no regular file is refused."""
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(errno.EEXIST, "it is no regular file", path)
    temporary = f"{target}.partial-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


class Page:
    def __init__(self, out):
        import matplotlib
        matplotlib.use("Agg")
        matplotlib.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
                                    "grid.alpha": .25, "font.size": 10, "axes.titlesize": 11, "svg.hashsalt": "tandem",
                                    "text.parse_math": False})  # names of devices and files are no formulas
        warnings.filterwarnings("ignore", message="Glyph .* missing|Attempting to set identical")
        import matplotlib.pyplot as plt
        self.plt, self.out, self.files, self.body = plt, out, [], []

    def add(self, text):
        self.body.append(text)

    def save(self, figure, name, caption):
        for suffix in ("png", "svg"):
            path = f"{self.out}-{name}.{suffix}"
            metadata = {"Date": None} if suffix == "svg" else None
            with replacing(path) as file:
                figure.savefig(file, dpi=150, metadata=metadata, format=suffix)
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


# ---- lines over depth ----

def place_depths(axes, depths):
    """Evenly spaced in powers of two, depth 0 at the left edge. Returns depth -> x."""
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
                  fontsize=24, color="#b00020", alpha=.13, rotation=18, zorder=5)


def colour_of(index):
    return COLOURS[index % len(COLOURS)]


def style_of(index):
    return {"color": colour_of(index), "marker": MARKERS[index % len(MARKERS)], "markersize": 5.5,
            "linewidth": 1.7, "linestyle": "-" if index < len(COLOURS) else "--"}


def draw_lines(axes, rows, labels, value, interval=None):
    x = place_depths(axes, sorted({r["depth"] for r in rows}))
    for index, label in enumerate(labels):
        points = sorted((r for r in rows if r["series"] == label), key=lambda r: r["depth"])
        if not points:
            continue
        xs, ys = [x[r["depth"]] for r in points], [value(r) for r in points]
        axes.plot(xs, ys, label=label, **style_of(index))
        if interval:
            low, high = zip(*(interval(r) for r in points))
            axes.fill_between(xs, low, high, color=colour_of(index), alpha=.18, linewidth=0)
            axes.vlines(xs, low, high, color=colour_of(index), linewidth=1.2)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.04)
    mark_device(axes, rows)


def head(figure, title):
    """title: (what it is, what all of it has in common)."""
    figure.text(.012, 1 - .1 / figure.get_figheight(), title[0], fontsize=12, ha="left", va="top", fontweight="bold")
    figure.text(.012, 1 - .33 / figure.get_figheight(), title[1], fontsize=9, color="#555", ha="left", va="top")


def finish(figure, axes, title):
    """Title above, one legend below."""
    handles, names = axes.get_legend_handles_labels()
    columns = 2 if len(names) > 1 and figure.get_figwidth() > 10 and max(map(len, names)) < 70 else 1
    rows = (len(names) + columns - 1) // columns
    height = figure.get_figheight()
    head(figure, title)
    figure.tight_layout(rect=(0, (.12 + .22 * rows) / height, 1, 1 - .5 / height))
    figure.legend(handles, names, loc="lower center", ncol=columns, fontsize=9, frameon=False)


def draw_panels(page, name, title, caption, panels, value, interval=None, level=None):
    """panels: [(title, y label, rows)]; level: a line across."""
    panels = [p for p in panels if p[2]]
    if not panels:
        return
    labels = sorted({r["series"] for _, _, rows in panels for r in rows})
    figure, axes = page.plt.subplots(1, len(panels), figsize=(max(9, 5.8 * len(panels)), 4.6 + .22 * len(labels)),
                                     squeeze=False)
    for (heading, unit, rows), a in zip(panels, axes[0]):
        draw_lines(a, rows, labels, value, interval)
        a.set_title(heading)
        a.set_ylabel(unit)
        if level is not None:
            a.axhline(level, color="#222", linewidth=1, linestyle=":")
    full = max(axes[0], key=lambda a: len(a.get_legend_handles_labels()[0]))
    finish(figure, full, title)
    page.save(figure, name, caption)


def draw_rates(page, title, cells, slug):
    heads = {"decode": "decode (head included)", "prefill": "prefill (head not run)", "decode-no-head": "decode without head"}
    panels = [(heads[p], "tokens per second", [r for r in cells if r["phase"] == p]) for p in PHASES]
    draw_panels(page, f"{slug}-rate", title, "Tokens per second by depth: median by the device's clock, 95 % interval.",
                panels, lambda r: r["rate"]["median"], interval_of)


def draw_memory(page, title, cells, slug):
    """By plan, so whatever the plugin."""
    rows = {}
    for r in cells:
        if r.get("memory", {}).get("at_depth"):
            rows.setdefault((r["kv"], r["batch"], r["model"].get("expert_memory"), r["depth"]), dict(r))
    rows = list(rows.values())
    common = name_series(rows, ("kv", "batch", "experts"))
    most = max((r["memory"]["at_depth"] for r in rows), default=0)
    unit, size = ("GiB", 2**30) if most >= 2**30 else ("MiB", 2**20)
    draw_panels(page, f"{slug}-memory", (title[0], common), "Memory that a context of this depth needs, by plan; what a column really "
                "allocated, for its deepest cell, stands in the table.",
                [("weights, cache and workspace by depth, predicted", unit, rows)], lambda r: r["memory"]["at_depth"] / size)


def draw_ratio(page, title, cells, slug):
    rows = ratio_rows(cells)
    common = name_series(rows, ("device", "journal", "kv", "precision", "batch", "experts", "fill"))
    draw_panels(page, f"{slug}-ratio", (title[0], common), "CUDA over Vulkan on one card: above 1 CUDA is faster. The band is the widest that both "
                "intervals allow; `tandem compare` measures the pair interleaved.",
                [(f"{p}: CUDA / Vulkan", "ratio of tokens per second", [r for r in rows if r["phase"] == p]) for p in PHASES],
                lambda r: r["ratio"], lambda r: (r["ratio_low"], r["ratio_high"]), level=1)


def draw_energy(page, title, cells, slug):
    rows = [r for r in cells if "energy" in r]
    panels = [(f"{p}: tokens per joule", "tokens per joule", [r for r in rows if r["phase"] == p]) for p in PHASES[:2]]
    draw_panels(page, f"{slug}-energy", title, "Tokens per joule, by the card's own power reading.", panels,
                lambda r: r["energy"]["tokens_per_joule"])
    powers = [(f"{p}: power", "watts", [r for r in rows if r["phase"] == p]) for p in PHASES[:2]]
    draw_panels(page, f"{slug}-power", title, "Mean power of the card while it was measured.", powers,
                lambda r: r["energy"]["watts"])


# ---- where the time goes ----

def profiled(cells):
    """[(depth, rows)] of the least and the greatest depth that decode was profiled at, rows by series."""
    rows = [r for r in cells if r.get("profile") and r["phase"] == "decode"]
    depths = sorted({r["depth"] for r in rows})
    return [(d, sorted((r for r in rows if r["depth"] == d), key=lambda r: r["series"])) for d in
            (depths if len(depths) < 2 else (depths[0], depths[-1]))]


def ops_of(rows):
    """Names of ops, the most expensive first."""
    totals = {}
    for row in rows:
        for step in row["profile"]:
            totals[step["op"]] = totals.get(step["op"], 0) + step["ns"]
    return sorted(totals, key=totals.get, reverse=True)


def draw_shares(page, title, cells, slug):
    """A stacked bar a column: device time by op of one token."""
    panels = profiled(cells)
    if not panels:
        return
    ops = ops_of([r for _, rows in panels for r in rows])
    palette = page.plt.get_cmap("tab20").colors
    labels = sorted({r["series"] for _, rows in panels for r in rows})
    n_bar = len(labels)
    figure, axes = page.plt.subplots(1, len(panels), figsize=(11.6, 2.3 + .42 * n_bar), squeeze=False)
    for panel, (a, (depth, rows)) in enumerate(zip(axes[0], panels)):
        of_label = {r["series"]: r for r in rows}
        for y, label in enumerate(labels):
            row, left = of_label.get(label), 0
            if not row:
                a.text(0, y, "  not measured", va="center", fontsize=8, color="#777")
                continue
            times = {s["op"]: s["ns"] * 1e-6 for s in row["profile"]}
            for k, op in enumerate(ops):
                if times.get(op):
                    a.barh(y, times[op], left=left, color=palette[k % 20], edgecolor="white", linewidth=.5, label=op)
                    left += times[op]
            bound = sum(s.get("roofline_ns", 0) for s in row["profile"]) * 1e-6
            if bound and left:
                a.plot([bound, bound], [y - .42, y + .42], color="black", linewidth=2)
                a.text(left, y, f"  {100 * bound / left:.0f} %", va="center", fontsize=8)
        a.set_yticks(range(n_bar), labels if panel == 0 else [""] * n_bar, fontsize=8)
        a.set_ylim(n_bar - .4, -.6)
        a.set_xlim(0, a.get_xlim()[1] * 1.12)
        a.grid(axis="y", visible=False)
        a.set_title(f"at depth {depth_name(depth)}")
        a.set_xlabel("milliseconds a token")
        mark_device(a, rows)
    legend = {name: handle for a in axes[0] for handle, name in zip(*a.get_legend_handles_labels())}
    head(figure, title)
    figure.tight_layout(rect=(0, 0, .87, 1 - .5 / figure.get_figheight()))
    figure.legend([legend[o] for o in ops if o in legend], [o for o in ops if o in legend], loc="center right", fontsize=8,
                  frameon=False)
    page.save(figure, f"{slug}-ops", "Device time of one decoded token by op, every step timed alone. Black lines and per cent: the roofline, "
              "what the peaks measured on the device through this plugin allow at best, where they are in the journal; above 100 %: "
              "out of a cache.")


def draw_rooflines(page, title, cells, slug):
    """A line an op and column, from its roofline to its time."""
    panels = profiled(cells)
    rows = [r for r in (panels[-1][1] if panels else []) if any("roofline_ns" in s and s["ns"] for s in r["profile"])][:6]
    if not rows:
        return
    ops = ops_of(rows)[:9]
    pitch = .8 / len(rows)
    figure, a = page.plt.subplots(figsize=(11.6, 2 + .17 * len(ops) * (len(rows) + 1)))
    for i, row in enumerate(rows):
        steps = {s["op"]: s for s in row["profile"]}
        for y, op in enumerate(ops):
            step = steps.get(op)
            if not step or not step["ns"]:
                continue
            at, time, bound = y - .4 + pitch * (i + .5), step["ns"] * 1e-6, step["roofline_ns"] * 1e-6
            a.plot([time], [at], marker="o", markersize=5.5, color=colour_of(i), linestyle="none", label=row["series"])
            if not bound:
                continue
            a.plot([bound, time], [at, at], color=colour_of(i), linewidth=2, alpha=.6)
            a.plot([bound, bound], [at - pitch * .4, at + pitch * .4], color="black", linewidth=1.8)
            a.annotate(f"{100 * bound / time:.0f} %", (max(time, bound), at), xytext=(7, 0), textcoords="offset points", va="center",
                       fontsize=7, color="#444")
    a.set_xscale("log")
    least = min(s["ns"] for r in rows for s in r["profile"] if s["ns"] and s["op"] in ops) * 1e-6
    a.set_xlim(left=max(a.get_xlim()[0], least / 30))
    a.set_yticks(range(len(ops)), ops, fontsize=9)
    a.set_ylim(len(ops) - .45, -.55)
    a.set_xlim(a.get_xlim()[0], a.get_xlim()[1] * 1.5)
    a.set_xlabel(f"milliseconds of one decoded token at depth {depth_name(panels[-1][0])}, logarithmic")
    for y in range(1, len(ops)):
        a.axhline(y - .5, color="#ddd", linewidth=.8)
    a.grid(axis="y", visible=False)
    mark_device(a, rows)
    handles = dict(zip(*reversed(a.get_legend_handles_labels())))
    head(figure, title)
    columns = 2 if len(handles) > 1 else 1
    lines = (len(handles) + columns - 1) // columns
    figure.tight_layout(rect=(0, (.12 + .22 * lines) / figure.get_figheight(), 1, 1 - .5 / figure.get_figheight()))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=columns, fontsize=9, frameon=False)
    page.save(figure, f"{slug}-roofline", "The dearest ops at the greatest depth: dots are times, black lines the least times by measured peaks (the bytes that an "
              "op must read at the read bandwidth, or its arithmetic at the rate of its precision), per cent the share reached.")


def draw_peaks(page, rows):
    """Read bandwidth by size: the cache's plateau, and memory's."""
    peaks = [r for r in of_kind(rows, "peaks") if r["read"]["sizes"]]
    if not peaks:
        return
    figure, a = page.plt.subplots(figsize=(9, 4.2 + .22 * len(peaks)))
    for i, r in enumerate(peaks):
        sizes = [p["size"] / 2**20 for p in r["read"]["sizes"]]
        rates = [p["rate"]["median"] * 1e-9 for p in r["read"]["sizes"]]
        low, high = zip(*((interval_of(p)[0] * 1e-9, interval_of(p)[1] * 1e-9) for p in r["read"]["sizes"]))
        kind = r["device"]["kind"]
        a.plot(sizes, rates, label=", ".join(filter(None, (r["plugin"]["name"] + ("" if kind == "gpu" else f" [{kind}]"), r["device"]["name"],
                                                           r["journal"]))), **style_of(i))
        a.fill_between(sizes, low, high, color=colour_of(i), alpha=.18, linewidth=0)
    a.set_xscale("log", base=2)
    ticks = sorted({p["size"] / 2**20 for r in peaks for p in r["read"]["sizes"]})
    a.set_xticks(ticks, [f"{t:g}" for t in ticks])
    a.set_xlabel("MiB of the matrix")
    a.set_ylabel("GB/s")
    a.set_ylim(0, a.get_ylim()[1] * 1.04)
    mark_device(a, peaks)
    finish(figure, a, ("Read bandwidth by size", "one-row f32 products; the largest size counts"))
    page.save(figure, "peaks", "Read bandwidth that `tandem peaks` measured through each plugin: small matrices come out of a cache, the largest "
              "does not.")


# ---- speed beside its price ----

def draw_quality(page, cells):
    """Decode speed at the least depth against KL divergence, a picture for each better side."""
    sides = sorted({side for r in cells for side in r.get("quality", {}).get("against", {})})
    for index, side in enumerate(sides):
        rows = [r for r in cells if r["phase"] == "decode" and side in r.get("quality", {}).get("against", {})]
        depth = min((r["depth"] for r in rows), default=0)
        rows = sorted((r for r in rows if r["depth"] == depth), key=lambda r: r["quality"]["against"][side])
        several = len({r["model"]["name"] for r in rows}) > 1
        common = name_series(rows) if rows else ""
        if len({r["quality"]["against"][side] for r in rows}) < 2:
            continue
        figure, a = page.plt.subplots(figsize=(9, 4.6 + .22 * len(rows)))
        for i, r in enumerate(rows):
            kl, (low, high) = r["quality"]["against"][side], interval_of(r)
            label = ", ".join(([r["model"]["name"]] if several else []) + [r["series"]])
            a.plot([kl], [r["rate"]["median"]], label=label, **dict(style_of(i), linestyle="none", markersize=8))
            a.vlines([kl], [low], [high], color=colour_of(i), linewidth=1.4)
        most = max(r["quality"]["against"][side] for r in rows)
        a.set_xlabel("KL divergence of the next-token distribution, nats (left is better)")
        a.set_ylabel(f"decode at depth {depth_name(depth)}, tokens per second")
        a.set_xlim(-.04 * most, 1.08 * most)
        a.set_ylim(0, a.get_ylim()[1] * 1.08)
        mark_device(a, rows)
        finish(figure, a, (f"Speed beside its price: divergence from {side}", common))
        page.save(figure, f"quality{index or ''}", "What `tandem perplexity --against-...` found of the same model, cache type and precision, and how fast that is.")
