"""Reports as text: the tables of costs and of break-even sparsities, and plain sentences on what was gained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .break_even import Calibration, LayerCalibration
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


def count_threads(threads: int) -> str:
    """1 thread, 2 threads."""
    return f"{threads} thread{'s' * (threads != 1)}"


def format_costs(report: "CostReport") -> str:
    """The costs layer by layer and in total: counts, file bytes, microseconds, theoretical and measured speed-up."""
    rows = [(*HEADER, "theory", "measured")]
    rows += [_row("+".join([name, *report.together.get(name, ())]), costs) for name, costs in report.layers.items()]
    rows.append(_row("total", report.total))
    spread = "; ".join(
        f"{form} {latency.median_us:,.0f} ({latency.low_us:,.0f} to {latency.high_us:,.0f})"
        for form, latency in report.total.latency.items()
    )
    chosen = ", ".join(f"{name} {form}" for name, form in report.forms.items())
    conditions = f"batch of {report.batch}, {count_threads(report.threads)}"
    return "\n".join(
        [
            f"microseconds per {conditions}; speed-up of the sparse form over the dense one",
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


def format_calibration(calibration: "Calibration") -> str:
    """Layer by layer the dense time, the measured speed-up at each sparsity, and the break-even sparsity."""
    percents = (f"{100 * sparsity:g} %" for sparsity in calibration.sparsities)
    rows = [("layer", "dense, us", *percents, "break-even")]
    for name, layer in calibration.layers.items():
        speedups = (f"{layer.speedup(sparsity):.2f}x" for sparsity in calibration.sparsities)
        rows.append((name, f"{layer.dense.median_us:,.0f}", *speedups, describe_break_even(layer.break_even)))
    rows.append(("theory", "", *(f"{1 / (1 - sparsity):.2f}x" for sparsity in calibration.sparsities), ""))
    conditions = f"batch of {calibration.batch}, {count_threads(calibration.threads)}"
    return f"speed-up of the sparse form over the dense one, by sparsity; {conditions}\n{format_table(rows)}"


def describe_break_even(sparsity: float | None) -> str:
    """A percentage; in a word where the sparse form is faster at every sparsity, or at none."""
    return "never" if sparsity is None else f"{100 * sparsity:.0f} %" if sparsity else "always"


def describe_layer(layer: "LayerCalibration") -> str:
    """One line on the break-even sparsity of a layer."""
    highest = max(layer.sparse)
    faster = {None: "nowhere", 0.0: "everywhere"}.get(layer.break_even, f"from {describe_break_even(layer.break_even)}")
    return (
        f"{layer.shape.name}: {layer.dense.median_us:,.0f} us dense ({layer.dense_form}), the sparse form is faster "
        f"{faster}, and {layer.speedup(highest):.2f}x at {100 * highest:g} %"
    )
