"""Reports as text: the table of costs, and one plain sentence on what was gained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .costs import CostReport, Costs

HEADER = ("layer", "parameters", "kept", "MACs", "kept", "bytes", "pruned", "dense", "masked", "compact", "sparse")


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned columns: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_costs(report: "CostReport") -> str:
    """The costs layer by layer and in total: counts, file bytes, microseconds, theoretical and measured speed-up."""
    rows = [(*HEADER, "theory", "measured")]
    rows += [_row(name, costs) for name, costs in report.layers.items()]
    rows.append(_row("total", report.total))
    threads = f"{report.threads} thread{'s' * (report.threads != 1)}"
    spread = "; ".join(
        f"{form} {latency.median_us:,.0f} ({latency.low_us:,.0f} to {latency.high_us:,.0f})"
        for form, latency in report.total.latency.items()
    )
    chosen = ", ".join(f"{name} {form}" for name, form in report.forms.items())
    return "\n".join(
        [
            f"microseconds per batch of {report.batch}, {threads}; speed-up of the sparse form over the dense one",
            format_table(rows),
            f"whole network, median (quartiles), us: {spread}",
            f"the sparse form runs: {chosen}",
        ]
    )


def _row(name: str, costs: "Costs") -> tuple[str, ...]:
    theory = f"{costs.theoretical_speedup:.1f}x" if costs.macs else ""
    return (
        name,
        *(f"{n:,}" if n else "" for n in (costs.parameters, costs.nonzeros, costs.macs, costs.macs_kept)),
        *(f"{n:,}" if n else "" for n in (costs.bytes_dense, costs.bytes_sparse)),
        *(f"{latency.median_us:,.0f}" for latency in costs.latency.values()),
        theory,
        f"{costs.speedup():.2f}x",
    )


def describe_gain(report: "CostReport", sparsity: float, accuracy_dense: float, accuracy_pruned: float) -> str:
    """One sentence on what pruning gained, or lost, in the faster of its two forms."""
    total = report.total
    form = max(("sparse", "compacted"), key=total.speedup)
    speedup = total.speedup(form)
    faster = f"{speedup:.2f} times as fast as" if speedup >= 1 else f"slower than ({speedup:.2f} times the speed of)"
    return (
        f"With {100 * sparsity:.1f} % of the weights gone, the network in its {form} form is {faster} the dense one on "
        f"this machine (the arithmetic alone would give {total.theoretical_speedup:.1f}), its file is "
        f"{100 * total.bytes_sparse / total.bytes_dense:.0f} % of the size, and its test accuracy went from "
        f"{100 * accuracy_dense:.2f} % to {100 * accuracy_pruned:.2f} %."
    )
