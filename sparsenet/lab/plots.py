"""Plots, with matplotlib (the `app` extra), loaded when one is drawn."""

from collections.abc import Sequence
from pathlib import Path

from ..nn.files import write_atomically


def plot_accuracy(path: str | Path, sparsity: Sequence[float], accuracy: Sequence[float], dense: float) -> None:
    """Draw accuracy against sparsity, a point per round, with the dense network's accuracy as a line, into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("a plot needs matplotlib: pip install 'sparsenet[app]'") from None
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(100 * dense, color="grey", linestyle="--", label="dense")
    axes.plot([100 * s for s in sparsity], [100 * a for a in accuracy], marker="o", label="pruned and retrained")
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel("validation accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    write_atomically(Path(path), lambda file: figure.savefig(file, format="png", dpi=120))
