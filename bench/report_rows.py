"""Rows of journals: merged, judged, named, and put beside each other."""

import json
import os
import pathlib

SCHEMA, VERSION = "tandem-sweep", 1
PHASES = ("decode", "prefill", "decode-no-head")


class Refusal(ValueError):
    """A sentence for the user about a journal, an output or a row."""


# ---- what a row must be for the report to read it ----
# Members by kind, and of what type; "?": may be missing; a list [shape]: any number of these; a dict {"*": shape}: any names.
# Less than bench/schema.json asks for: rows of a newer program, with more members, and of an older one are read as well.

def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e308 < value < 1e308  # no NaN either


def is_positive(value):
    """A rate, or a size: within what any machine has, so that ratios are numbers."""
    return is_number(value) and 1e-30 < value < 1e30


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_error(value):
    return value is None or is_number(value)


def is_text(value):
    return isinstance(value, str)


def is_flag(value):
    return isinstance(value, bool)


RATE = {"median": is_positive, "low?": is_positive, "high?": is_positive, "n?": is_count}
PLUGIN = {"name": is_text, "git": is_text}
DEVICE = {"name": is_text, "kind": is_text, "uuid": is_text}
TERMS = {"plugin": PLUGIN, "device": DEVICE, "model": {"name": is_text}, "kv": is_text, "precision": is_text, "phase": is_text, "depth": is_count,
         "batch": is_count}
LADDER = {"sizes": [{"size": is_positive, "rate": RATE}], "reason?": is_text}
SIDE = {"model": is_text, "plugin": is_text, "kv": is_text, "precision": is_text}
SHAPES = {
    "cell": {
        **TERMS, "status": is_text, "fill": is_text, "plugin": {**PLUGIN, "toolchain": is_text, "shaders": is_text},
        "device": {**DEVICE, "driver": is_text}, "model": {"name": is_text, "routing?": is_text, "expert_memory?": is_text}, "rate?": RATE,
        "reason?": is_text, "no_rate?": is_text, "discarded?": [{}], "memory?": {"total": is_count, "at_depth?": is_count},
        "stamp?": {"method": is_text, "ok": is_flag, "worst_error?": is_error, "why?": is_text, "top1_equal?": is_count, "n?": is_count,
                   "probe?": [{"what": is_text, "error": is_number, "ok": is_flag}], "left_out?": [{"what": is_text, "layer": is_count}],
                   "hash?": {"n": is_count, "unequal": is_count}},
        "profile?": [{"op": is_text, "ns": is_count, "bytes": is_count, "flops?": is_count}], "kernels?": {"*": is_count},
        "card?": {"throttle?": [is_text], "watts?": is_number, "pcie?": is_text},
        "energy?": {"watts": is_number, "tokens_per_joule": is_number}},
    "drift": {**TERMS, "ratio?": is_number},
    "bias": {**TERMS, "ratio?": is_number},
    "accuracy": {"a": SIDE, "b?": SIDE, "n": is_count, "perplexity": is_number, "against_perplexity?": is_number, "kl_mean?": is_number,
                 "kl_worst?": is_number, "same_top?": is_number},
    "peaks": {"plugin": PLUGIN, "device": DEVICE, "read_bytes_per_s?": is_positive, "copy_bytes_per_s?": is_positive,
              "f32_flops_per_s?": is_positive, "f16_flops_per_s?": is_positive, "q8_flops_per_s?": is_positive,
              "dispatch_ns?": is_number, "step_ns?": is_number, "submit_ns?": is_number,
              **dict.fromkeys(("read", "copy", "f32", "f16", "q8"), LADDER)},
    "compare": {"a": {"plugin": PLUGIN, "device": DEVICE}, "b": {"plugin": PLUGIN, "device": DEVICE}, "model": {"name": is_text},
                "phase": is_text, "depth": is_count, "kv": is_text, "precision": is_text, "verdict": is_text, "explanation?": is_text,
                "ratio?": {"median": is_positive, "low": is_positive, "high": is_positive}, "smallest?": is_number,
                "reasons?": [{"reason": is_text}]},
    "reference": {},
    "journal": {},
}


def fault(value, shape, where=""):
    """What is wrong with a value, or None."""
    if callable(shape):
        return None if shape(value) else f"{where} is {json.dumps(value)[:40]}"
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next(filter(None, (fault(v, shape[0], f"{where}[{i}]") for i, v in enumerate(value))), None)
    if not isinstance(value, dict):
        return f"{where or 'it'} is no object"
    if "*" in shape:
        return next(filter(None, (fault(v, shape["*"], f"{where}.{k}") for k, v in value.items())), None)
    for key, inner in shape.items():
        name = key.rstrip("?")
        path = f"{where}.{name}" if where else name
        if name not in value:
            if key == name:
                return f"{path} is missing"
            continue
        found = fault(value[name], inner, path)
        if found:
            return found
    return None


def row_fault(row):
    kind = row.get("row")
    if not is_text(kind) or not is_text(row.get("key")):
        return "row or key is missing"
    found = fault(row, SHAPES.get(kind, {}))
    if not found and kind == "accuracy" and "b" in row:
        found = next((f"{name} is missing" for name in ("kl_mean", "against_perplexity") if name not in row), None)
    if found or kind not in ("cell", "compare"):
        return found
    if row["precision"] not in ("exact", "f16", "q8"):
        return f"precision is {row['precision'][:40]!r}"
    rate, stamp = row.get("rate", {}), row.get("stamp", {})
    if kind == "cell" and ("low" in rate) != ("high" in rate):
        return "rate has half an interval"
    if kind == "cell" and row["status"] == "done" and not stamp:
        return "stamp is missing"
    if kind == "cell" and stamp.get("ok") and stamp["method"] != "self" and not is_number(stamp.get("worst_error")):
        return "stamp.worst_error is missing"
    return None


def parse(line):
    """The object of a line, or None: torn by a crash, or something else."""
    try:
        row = json.loads(line)
        if "\\ud" in line.lower():  # halves of characters, which no file and no picture takes
            row = json.loads(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or row.get("schema") != SCHEMA:
        return None
    row.pop("quality", None)  # the report's own
    for step in row["profile"] if isinstance(row.get("profile"), list) else ():
        if isinstance(step, dict):
            step.pop("roofline_ns", None)
    return row


def read_journal(path):
    """The last row of every kind and key. Refused: what is no journal (the first line says), has rows of another version (nothing is
    mixed), or a row that lacks what its kind has."""
    if not os.path.isfile(path):
        raise Refusal(f"{path} is no file" if os.path.exists(path) else f"{path} is not there")
    rows = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            row = parse(line)
            if row is None and number == 1:
                raise Refusal(f"{path} is no journal: its first line is no row of the schema {SCHEMA}")
            if row is None:
                continue
            if row.get("version") != VERSION:
                raise Refusal(f"{path} has rows of schema version {str(row.get('version'))[:40]}, this program reads {VERSION}")
            found = row_fault(row)
            if found:
                raise Refusal(f"{path}, line {number}: a row of kind {str(row.get('row'))[:40]} is broken: {found}")
            rows[row["row"], row["key"]] = row
    if not rows:
        raise Refusal(f"{path} is empty")
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
