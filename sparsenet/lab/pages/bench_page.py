"""The report of `sparsenet bench` as a page."""

from collections.abc import Mapping

from ..break_even import BreakEvenReport, LayerLatency, describe_break_even, theoretical_speedup
from ..tables import describe_batch
from .figures import Picture
from .page import TIMES, Markup, lines, page, section, speedup, table
from .plots import draw_break_even
from .repeat import command_line, repeat


def bench_pictures(report: BreakEvenReport) -> dict[str, Picture]:
    """Its figure, by name."""
    told = "; ".join(f"{name}: {describe_break_even(layer.break_even)}" for name, layer in report.layers.items())
    return {
        "break-even": Picture(
            lambda: draw_break_even(report),
            f"Lines: the speed-up of each layer over its dense form against sparsity. It is faster from: {told}.",
            f"{_conditions(report).capitalize()}. Above the line at 1 the sparse form is the faster one.",
        )
    }


def bench_page(
    report: BreakEvenReport, arguments: Mapping[str, object], figures: Mapping[str, Markup], note: str = ""
) -> str:
    """The page: from which sparsity on each layer gains, the figure, the speed-ups, how to repeat it."""
    found = [layer.break_even for layer in report.layers.values()]
    gains = [value for value in found if value is not None]
    latest = f"from {describe_break_even(max(gains))} on at the latest" if any(gains) else "at every sparsity"
    faster = f"{len(gains)} of {len(found)} layers are faster in their sparse form on this machine"
    headline = f"{faster}, {latest}." if gains else f"{faster}."
    sections = [_measured(report, figures), _again(report, arguments)]
    return page("Break-even sparsity of layers", headline, sections, note=note)


def _measured(report: BreakEvenReport, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    head = ("layer", "dense form", "dense µs", "faster from", *(f"{100 * s:g} %" for s in report.sparsities))
    rows = [_row(name, layer) for name, layer in report.layers.items()]
    rows.append(("theory", "", "", "", *(f"{theoretical_speedup(s):.2f}{TIMES}" for s in report.sparsities)))
    caption = f"Speed-up of the sparse form over the dense one by sparsity: {_conditions(report)}"
    return section(
        "Dense against sparse",
        lines(
            "Each layer was timed in its dense form and, for every sparsity, in its sparse one, all in turn. In theory "
            "it is 1 / (1 - s) times as fast at the sparsity s. What is slower than dense is in red, and says so."
        ),
        figures.get("break-even", ""),
        table(head, rows, caption, last=True),
    )


def _conditions(report: BreakEvenReport) -> str:
    return f"a {describe_batch(report.batch, report.threads)}"


def _row(name: str, layer: LayerLatency) -> tuple[object, ...]:
    dense = f"{layer.dense.median_us:,.1f}"
    shown = (speedup(layer.speedup(sparsity)) for sparsity in layer.sparse)
    return (name, layer.dense_form, dense, describe_break_even(layer.break_even), *shown)


def _again(report: BreakEvenReport, arguments: Mapping[str, object]) -> tuple[str, Markup]:
    return section("To repeat it", repeat(command_line("bench", arguments), report.environment))
