"""Tables of a report."""

import html

from report_rows import depth_name, is_checked, of_kind, plugin_name

DRIFT_MOST = .05  # as in the sweep's verdict

def number(value, form=".4g"):
    return format(value, form) if isinstance(value, (int, float)) else ""


def check_text(row):
    stamp = row.get("stamp", {})
    if row["status"] != "done":
        return f'<span class="bad">{html.escape(row["status"])}</span>'
    if stamp.get("method") == "none":
        return '<span class="bad">UNCHECKED</span>'
    if not stamp.get("ok"):
        return f'<span class="bad">WRONG</span> {html.escape(stamp.get("why", ""))}'.rstrip()
    return "is the reference" if stamp["method"] == "self" else f"ok {stamp['worst_error']:.0e}"


def rate_text(row):
    rate = row.get("rate")
    if not rate or not is_checked(row):
        return "", ""
    return number(rate["median"]), f"{rate['low']:.4g} … {rate['high']:.4g}" if "low" in rate else "too few"


def quality_text(row):
    """KL divergence (from the farthest better side) and perplexity, where they are known."""
    quality = row.get("quality", {})
    side, kl = max(quality.get("against", {}).items(), key=lambda item: item[1], default=("", None))
    text = f'<span title="{html.escape("from " + side)}">{kl:.2g}</span>' if kl is not None else ""
    return text, number(quality.get("perplexity"), ".3f")


def add_results(page, common, cells):
    lines = []
    page.add(f'<p class="note">All columns: {html.escape(common)}.</p>' if common else "")
    for r in sorted(cells, key=lambda r: (r["series"], r["phase"], r["depth"])):
        median, interval = rate_text(r)
        gone = len(r.get("discarded", []))
        remark = html.escape(r.get("reason") or r.get("no_rate") or "") + (f" {gone} samples discarded" if gone else "")
        lines.append([html.escape(r["series"]), r["phase"], depth_name(r["depth"]), median, interval,
                      number(r.get("rate", {}).get("n")), *quality_text(r), number(r.get("memory", {}).get("total", 0) / 2**30, ".3f") if "memory" in r else "",
                      check_text(r), remark])
    page.table(("column", "phase", "depth", "tokens/s", "95 % interval", "samples", "KL", "perplexity", "GiB", "check", "remark"), lines,
               ("depth", "tokens/s", "95 % interval", "samples", "KL", "perplexity", "GiB"))


def probe_text(stamp):
    """The worst error of each kind, what is wrong, and what was left out."""
    worst = {}
    for p in stamp.get("probe") or []:
        worst[p["what"]] = max(worst.get(p["what"], p), p, key=lambda q: (not q["ok"], q["error"]))
    parts = [f"{p['what']} {p['error']:.0e}" + ("" if p["ok"] else " <span class=bad>WRONG</span>") for p in worst.values()]
    left_out = [f"{p['what']} of layer {p['layer']}" for p in stamp.get("left_out", [])]
    return "; ".join(parts + (["left out for time: " + ", ".join(left_out)] if left_out else []))


def add_stamps(page, cells):
    page.add("<h2>Stamps</h2>")
    lines = []
    for r in sorted((c for c in cells if c["status"] == "done"), key=lambda r: (r["model"]["name"], r["series"], r["phase"], r["depth"])):
        s = r["stamp"]
        hashes = s.get("hash")
        card = r.get("card", {})
        lines.append([html.escape(r["model"]["name"]), html.escape(r["series"]), r["phase"], depth_name(r["depth"]), check_text(r),
                      f"{s.get('top1_equal', '')}/{s.get('n', '')}" if s["method"] == "prefix" else "",
                      probe_text(s), f"{hashes['n'] - hashes['unequal']}/{hashes['n']} equal" if hashes else "",
                      html.escape(", ".join(card.get("throttle", []))) if card else "", number(card.get("watts"))])
    page.table(("model", "column", "phase", "depth", "prefix", "likeliest equal", "probe at depth", "hash of ids", "throttled", "watts"),
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
    lines = []
    for kind in ("drift", "bias"):
        for row in of_kind(rows, kind):
            if "ratio" not in row:
                continue
            drifted = kind == "drift" and abs(row["ratio"] - 1) > DRIFT_MOST
            percent = f"{100 * (row['ratio'] - 1):+.1f} %"
            column = (plugin_name(row), row["device"]["name"], row.get("journal"), f"{row['kv']} cache", row["precision"], row["phase"],
                      f"chunks of {row['batch']}")
            lines.append([kind, html.escape(row["model"]["name"]), html.escape(", ".join(filter(None, column))),
                          f'<span class="bad">{percent}</span>' if drifted else percent,
                          "depth 0 at the end against the beginning" if kind == "drift" else
                          f"synthetic against real fill at depth {row['depth']}"])
    if lines:
        page.add("<h2>Drift, and bias of the synthetic fill</h2>")
        page.table(("", "model", "column", "difference", "what"), lines, ("difference",))


def add_peaks(page, rows):
    peaks = of_kind(rows, "peaks")
    if not peaks:
        return
    page.add("<h2>Peaks of the devices</h2>")

    def rate(row, name, scale):
        value = row.get(name + ("_bytes_per_s" if name in ("read", "copy") else "_flops_per_s"))
        why = html.escape(row[name].get("reason", ""))
        return number(value * scale) if value else f'<span title="{why}">not offered</span>'
    page.table(("plugin", "device", "read GB/s", "copy GB/s", "f32 Tflop/s", "f16 Tflop/s", "q8 Tflop/s", "launch us", "dependent step us",
                "run us"),
               [[html.escape(plugin_name(r)), html.escape(", ".join(filter(None, (r["device"]["name"], r["journal"]))))]
                + [rate(r, n, 1e-9) for n in ("read", "copy")] + [rate(r, n, 1e-12) for n in ("f32", "f16", "q8")]
                + [number(r[n] * 1e-3) if n in r else "" for n in ("dispatch_ns", "step_ns", "submit_ns")] for r in peaks],
               ("read GB/s", "copy GB/s", "f32 Tflop/s", "f16 Tflop/s", "q8 Tflop/s", "launch us", "dependent step us", "run us"))


def add_comparisons(page, rows):
    """What `tandem compare` found."""
    lines = []
    for r in of_kind(rows, "compare"):
        a, b = (f"{r[s]['plugin']['name']} [{r[s]['device']['kind']}]" for s in "ab")
        ratio = r.get("ratio")
        why = r.get("explanation") or "; ".join(x["reason"] for x in r.get("reasons", []))
        lines.append([html.escape(r["model"]["name"]), html.escape(a), html.escape(b), r["phase"], depth_name(r["depth"]),
                      f"{r['kv']}, {r['precision']}", f'<b>{r["verdict"]}</b>', number(ratio["median"], ".3f") if ratio else "",
                      f"{ratio['low']:.3f} … {ratio['high']:.3f}" if ratio else "",
                      f"{100 * r['smallest']:.1f} %" if "smallest" in r else "", html.escape(why)])
    if lines:
        page.add("<h2>Comparisons</h2>")
        page.table(("model", "A", "B", "phase", "depth", "terms", "B against A", "ratio", "95 % interval", "smallest seen", "why"), lines,
                   ("depth", "ratio", "95 % interval", "smallest seen"))
