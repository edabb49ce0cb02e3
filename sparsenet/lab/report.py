"""Sentences: what pruning gained, and from which sparsity on a layer gains."""

from .break_even import LayerLatency, describe_break_even
from .costs import CostReport
from .task import CLASSIFICATION, Task


def describe_gain(
    report: CostReport,
    sparsity: float,
    accuracy_dense: float,
    accuracy_pruned: float,
    task: Task = CLASSIFICATION,
) -> str:
    """One sentence on what pruning gained, or lost, in the faster of its two forms."""
    total = report.total
    form = max(("sparse", "compacted"), key=total.speedup)
    speedup = total.speedup(form)
    faster = f"{speedup:.2f} times as fast as" if speedup >= 1 else f"slower than ({speedup:.2f} times the speed of)"
    return (
        f"With {100 * sparsity:.1f} % of the weights gone, the network in its {form} form is {faster} the dense one on "
        f"this machine (the arithmetic alone would give {total.theoretical_speedup:.1f}), its file is "
        f"{100 * total.bytes_sparse / total.bytes_dense:.0f} % of the size, and its test {task.name} went from "
        f"{task.show(accuracy_dense)} to {task.show(accuracy_pruned)}."
    )


def describe_layer(layer: LayerLatency) -> str:
    """One line on the break-even sparsity of a layer."""
    highest = max(layer.sparse)
    faster = {None: "nowhere", 0.0: "everywhere"}.get(layer.break_even, f"from {describe_break_even(layer.break_even)}")
    return (
        f"{layer.shape.name}: {layer.dense.median_us:,.0f} us dense ({layer.dense_form}), the sparse form is faster "
        f"{faster}, and {layer.speedup(highest):.2f}x at {100 * highest:g} %"
    )
