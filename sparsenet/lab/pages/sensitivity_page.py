"""The report of `sparsenet sensitivity` as a page."""

from collections.abc import Mapping

from ..sensitivity import Sensitivity
from ..task import describe_metric
from .page import Markup, page, section
from .repeat import command_line, repeat
from .search_page import sensitivity_parts


def sensitivity_page(
    report: Sensitivity,
    network: str,
    arguments: Mapping[str, object],
    figures: Mapping[str, Markup],
    note: str = "",
) -> str:
    """The page: what was asked, which layer is the most sensitive, figures, tables, how to repeat it."""
    most, start = report.sparsities[-1], next(iter(report.accuracy.values()))[0]
    falls = {name: start - values[-1] for name, values in report.accuracy.items()}
    worst, least = max(falls, key=falls.get), min(falls, key=falls.get)
    points = " points" if report.metric == "accuracy" else ""
    headline = (
        f"Pruned alone to {100 * most:g} % by {report.criterion}, without retraining, {worst} costs the most "
        f"{report.metric}: {report.show_change(-falls[worst])}{points} from {describe_metric(report.metric, start)}; "
        f"{least} the least: {report.show_change(-falls[least])}{points}."
    )
    sections = [
        section("What each layer can spare, and what it costs", sensitivity_parts(report, figures)),
        section("To repeat it", repeat(command_line("sensitivity", arguments, network), report.costs.environment)),
    ]
    return page(f"Sensitivity of the layers of {network}", headline, sections, note=note)
