"""What `auto_prune` and `sensitivity` found, as parts of a page."""

from collections.abc import Callable, Mapping, Sequence

from ..auto_prune import AutoPruneReport, Try
from ..budget import describe_cost
from ..cost_table import short_name
from ..sensitivity import Sensitivity
from ..tables import describe_batch
from .figures import Picture
from .page import Markup, bar, join, lines, row, section, table, tag
from .plots import draw_sensitivity_accuracy, draw_sensitivity_time


def search_section(
    search: AutoPruneReport, figures: Mapping[str, Markup], show: Callable[[float], str]
) -> tuple[str, Markup]:
    """The tries of a search with prediction beside measurement, its choice, what each layer alone loses and costs."""
    kind = search.budget.kind
    said = (
        f"The budget: {search.budget}. How much of each layer goes was found from what pruning takes from it and "
        f"from what it costs here, as measured. It stopped: {search.stopped}."
    )
    head = ("try", "asked for", "predicted", "measured", "drift", "ratio", "validation", "within it")
    rows = [_try(kind, show, number, each) for number, each in enumerate(search.tries, 1)]
    caption = (
        f"What was tried. Before it the validation data gave {show(search.accuracy_before)}. The drift is how much "
        "slower the machine was than for the tables, the ratio that of measured to predicted without it."
    )
    parts = [lines(said), table(head, rows, caption)]
    if search.chosen:
        chosen = [(short_name(name), bar(s, f"{100 * s:.1f} %")) for name, s in search.chosen.sparsities.items()]
        parts.append(table(("layer", "sparsity"), chosen, "What was chosen", narrow=True))
    return section("The search for the budget", *parts, sensitivity_parts(search.sensitivity, figures))


def _try(kind: str, show: Callable[[float], str], number: int, each: Try) -> tuple[object, ...]:
    costs = (describe_cost(kind, cost) for cost in (each.asked, each.predicted, each.measured))
    judged = "" if each.accuracy is None else show(each.accuracy)
    within = "yes" if each.kept else tag("strong", "no", class_="loss")
    return (number, *costs, f"{each.drift:.2f}", f"{each.ratio:.3f}", judged, within)


def sensitivity_pictures(report: Sensitivity) -> dict[str, Picture]:
    """Its two figures, by name."""
    conditions = f"a {describe_batch(report.costs.batch, report.costs.threads)}"
    most = 100 * report.sparsities[-1]
    worst = min(report.accuracy, key=lambda name: report.accuracy[name][-1])
    slowest = max(report.costs.units, key=lambda name: report.costs.units[name][0].latency_us)
    return {
        "sensitivity": Picture(
            lambda: draw_sensitivity_accuracy(report),
            f"Lines: {report.metric} with one layer pruned against its sparsity. At {most:g} % {worst} costs the most.",
            f"{report.metric.capitalize()} with this one pruned, and nothing trained after it.",
        ),
        "costs": Picture(
            lambda: draw_sensitivity_time(report),
            f"Lines: the measured time of each layer against its sparsity. Dense, {slowest} takes the longest.",
            f"What each takes: {conditions}.",
        ),
    }


def sensitivity_parts(report: Sensitivity, figures: Mapping[str, Markup]) -> Markup:
    """The figures and tables of a sensitivity."""
    accuracy = {name: [value - each[0] for value in each] for name, each in report.accuracy.items()}
    loss = {name: [value - each[0] for value in each] for name, each in report.loss.items()}
    costs = {
        kind: {name: [getattr(cost, kind) for cost in each] for name, each in report.costs.units.items()}
        for kind in ("latency_us", "size_bytes", "macs")
    }
    conditions = f"a {describe_batch(report.costs.batch, report.costs.threads)}"
    tables = (
        (f"Change of {report.unit}, with one pruned", accuracy, report.show_change),
        ("Change of loss, with one pruned", loss, lambda value: f"{value:+.3f}"),
        (f"Microseconds; {conditions}", costs["latency_us"], lambda value: f"{value:,.1f}"),
        ("Bytes in the file", costs["size_bytes"], lambda value: f"{value:,.0f}"),
        ("Multiply-adds of a sample", costs["macs"], lambda value: f"{value:,.0f}"),
    )
    shown = (figures.get(name, "") for name in ("sensitivity", "costs"))
    return join([row(*shown), row(*(_table(report, *each) for each in tables))])


def _table(
    report: Sensitivity, caption: str, rows: Mapping[str, Sequence[float]], tell: Callable[[float], str]
) -> Markup:
    head = ("layer", *(f"{100 * sparsity:g} %" for sparsity in report.sparsities))
    return table(head, [(short_name(name), *map(tell, each)) for name, each in rows.items()], caption)
