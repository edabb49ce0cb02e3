"""What the JSON of `benchmarks/run.py` says: speed-ups, geometric means, Markdown tables, a plot.

A speed-up is the median time of the best dense peer over that of sparsenet. Where no dense peer is installed the dense
form of sparsenet takes its place, under its own name.
"""

from statistics import geometric_mean
from typing import NamedTuple

PEER, OWN = "over_best_dense", "over_own_dense"
BUSY = 0.05  # share of a CPU that an idle engine may use without a remark


class Target(NamedTuple):
    """What cases of some groups are to reach at one sparsity: geometric mean and lowest of their speed-ups.

    `ending` is how the names of the cases end: those of blocks.
    """

    what: str
    groups: tuple[str, ...]
    sparsity: float
    mean: float
    lowest: float = 0.0
    ending: str = ""


def _targets(what, groups, means, lowest=(0,) * 5, ending=""):
    return [
        Target(what, groups, *numbers, ending)
        for numbers in zip((0.7, 0.8, 0.9, 0.95, 0.97), means, lowest, strict=True)
    ]


TARGETS = [
    *_targets("convolutions", ("conv",), (2.0, 3.0, 5.0, 8.0, 10.0), (1.2, 1.6, 2.5, 3.5, 4.5)),
    *_targets("4x1 blocks", ("blocks",), (2.3, 3.8, 7.0, 11.0, 14.0), ending="blocks of 4x1"),
    *_targets("networks", ("networks", "branches"), (1.3, 2.0, 3.5, 5.0, 6.0)),
    Target("dense in a plan", ("dense",), 0.0, 0.95, 0.85),
    Target("unstructured", ("dense",), 0.5, 1.3),
    Target("2x1 blocks", ("blocks",), 0.5, 1.7, ending="blocks of 2x1"),
    Target("break-even", ("breakeven",), 0.25, 1.0),
    Target("depthwise", ("depthwise",), 0.7, 1.0),
    Target("fully connected, 2 to 16 samples", ("few samples",), 0.7, 1.0),
]


def measured(results, *roles):
    """The results of these roles that were timed."""
    return [result for result in results if result["role"] in roles and "median_us" in result]


def summarize(results):
    """{"baseline": the best dense engine, "speedups": one row per sparsity} of a case's results."""
    own = measured(results, "our dense")
    best = min(measured(results, "dense peer") or own, key=lambda result: result["median_us"], default=None)
    rows = []
    for ours in measured(results, "ours"):
        row = {"sparsity": ours["sparsity"], "median_us": ours["median_us"]}
        for name, dense in ((PEER, best), (OWN, own[0] if own else None)):
            row[name] = dense["median_us"] / ours["median_us"] if dense else None
        rows.append(row)
    baseline = {"engine": best["engine"], "median_us": best["median_us"]} if best else None
    return {"baseline": baseline, "speedups": rows}


def theory(sparsity):
    """What the arithmetic alone would give."""
    return 1 / (1 - sparsity)


def faster_from(rows):
    """The lowest measured sparsity from which on sparsenet is the faster at every one, or None."""
    found = None
    for row in sorted(rows, key=lambda row: -row["sparsity"]):
        if row[PEER] is None or row[PEER] < 1:
            break
        found = row["sparsity"]
    return found


def means(cases):
    """A row per group and sparsity: geometric mean, lowest and highest speed-up of its cases, and in theory."""
    keys = sorted({(case["group"], row["sparsity"]) for case in cases for row in case["speedups"]})
    rows = []
    for group, sparsity in keys:
        found = [row for c in cases if c["group"] == group for row in c["speedups"] if row["sparsity"] == sparsity]
        peer, own = ([row[name] for row in found if row[name] is not None] for name in (PEER, OWN))
        if peer:
            rows.append(
                {
                    "group": group,
                    "sparsity": sparsity,
                    "cases": len(peer),
                    "theory": theory(sparsity),
                    PEER: geometric_mean(peer),
                    "lowest": min(peer),
                    "highest": max(peer),
                    OWN: geometric_mean(own) if own else None,
                }
            )
    return rows


def percent(fraction):
    return f"{round(100 * fraction, 1):g} %"


def ratio(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def markdown(header, rows):
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def group_table(cases):
    """The cases of one group: best dense engine, and sparsenet at each sparsity with its speed-up."""
    sparsities = sorted({sparsity for case in cases for sparsity in case["sparsities"]})
    header = ["case", "batch", "best dense peer", "µs", "own dense form, µs"]
    header += [f"{percent(s)}: µs (speed-up)" for s in sparsities]
    header += ["faster from", f"best sparse peer at {percent(sparsities[-1])}, µs"]
    return markdown(header, [case_cells(case, sparsities) for case in cases])


def case_cells(case, sparsities):
    results, base = case["results"], case["baseline"]
    cells = [case["name"], str(case["batch"]), *([base["engine"], f"{base['median_us']:,.0f}"] if base else "--")]
    cells.append(", ".join(f"{own['median_us']:,.0f}" for own in measured(results, "our dense")) or "-")
    rows = {row["sparsity"]: row for row in case["speedups"]}
    for sparsity in sparsities:
        row = rows.get(sparsity)
        cells.append(f"{row['median_us']:,.0f} ({ratio(row[PEER])})" if row else "-")
    start = faster_from(case["speedups"])
    cells.append("never" if start is None else percent(start))
    rivals = [r for r in measured(results, "sparse peer") if r["sparsity"] == sparsities[-1]]
    best = min(rivals, key=lambda result: result["median_us"], default=None)
    return [*cells, f"{best['engine']} {best['median_us']:,.0f}" if best else "-"]


def means_table(cases):
    header = ["group", "sparsity", "cases", "arithmetic", "geometric mean", "lowest", "highest", "over own dense form"]
    rows = [
        [
            row["group"],
            percent(row["sparsity"]),
            str(row["cases"]),
            *(ratio(row[name]) for name in ("theory", PEER, "lowest", "highest", OWN)),
        ]
        for row in means(cases)
    ]
    return markdown(header, rows)


def targets_table(cases):
    """What is to be reached, beside what was; for the targets of which there are cases."""
    header = ["what", "sparsity", "cases", "geometric mean", "to reach", "lowest", "to reach", "reached"]
    rows = []
    for target in TARGETS:
        found = [
            row[PEER]
            for case in cases
            if case["group"] in target.groups and case["name"].endswith(target.ending)
            for row in case["speedups"]
            if row["sparsity"] == target.sparsity and row[PEER] is not None
        ]
        if found:
            mean, lowest = geometric_mean(found), min(found)
            reached = "yes" if mean >= target.mean and lowest >= target.lowest else "no"
            least = ratio(target.lowest) if target.lowest else "-"
            goals = [ratio(mean), ratio(target.mean), ratio(lowest), least, reached]
            rows.append([target.what, percent(target.sparsity), str(len(found)), *goals])
    return markdown(header, rows)


def remarks(result):
    """What was skipped, what failed, and who kept a CPU busy while the others were timed."""
    for name, engine in result["engines"].items():
        if engine["skipped"]:
            yield f"- {name} skipped: {engine['skipped']}"
        elif "failed" in engine:
            yield f"- {name} failed: {engine['failed']}"
        elif engine["idle_cpu_s"] > BUSY * engine["idle_s"]:
            yield f"- {name} used {percent(engine['idle_cpu_s'] / engine['idle_s'])} of a CPU while it should be idle"
    for case in result["cases"]:
        for each in case["results"]:
            if "failed" in each:
                where = f"{case['name']}, batch {case['batch']}: {each['engine']} at {percent(each['sparsity'])}"
                yield f"- {where} failed: {each['failed']}"


def cpu_of(environment):
    """The processor and, where that was recorded, its kind and how wide it multiplies."""
    bits = {True: "512 bits at once", False: "512 bits in halves", None: "no 512 bits"}
    known = [environment["cpu"], bits[environment["whole_512"]]] if "cpu" in environment else []
    return ", ".join([environment["processor"], *known])


def report(result):
    """All tables of a result, and the remarks."""
    cases = result["cases"]
    clock = ", CPU time" if result.get("clock") == "cpu" else ""
    parts = [f"## {result['threads']} thread{'s' * (result['threads'] > 1)}, {cpu_of(result['environment'])}{clock}"]
    for group in dict.fromkeys(case["group"] for case in cases):
        parts += [f"### {group}", group_table([case for case in cases if case["group"] == group])]
    parts += ["### speed-up of sparsenet over the best dense peer", means_table(cases)]
    parts += ["### to reach", targets_table(cases)]
    return "\n\n".join([*parts, *filter(None, ["\n".join(remarks(result))])]) + "\n"


def draw(result, path):
    """Speed-up against sparsity: a thin line per case, a thick one per group's geometric mean, and the arithmetic's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes, averages = figure.add_subplot(), means(result["cases"])
    for number, group in enumerate(dict.fromkeys(row["group"] for row in averages)):
        rows, color = [row for row in averages if row["group"] == group], f"C{number}"
        axes.plot([100 * r["sparsity"] for r in rows], [r[PEER] for r in rows], "o-", color=color, lw=2.5, label=group)
        for case in (case for case in result["cases"] if case["group"] == group):
            points = [(100 * row["sparsity"], row[PEER]) for row in case["speedups"] if row[PEER] is not None]
            axes.plot(*zip(*points, strict=True), color=color, lw=0.7, alpha=0.5)
    highest = max(row["sparsity"] for row in averages)
    steps = [highest * step / 100 for step in range(101)]
    axes.plot([100 * s for s in steps], [theory(s) for s in steps], "k--", label="arithmetic, 1 / (1 - sparsity)")
    axes.axhline(1, color="grey", label="break-even")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel("speed-up over the best dense peer")
    axes.set_title(f"{cpu_of(result['environment'])}, threads: {result['threads']}; thick: geometric means")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
