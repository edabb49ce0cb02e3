"""Plots, with matplotlib (the `app` extra), loaded when one is drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.atomic_write import write_atomically
from .break_even import BreakEvenReport, theoretical_speedup
from .cost_table import short_name
from .sensitivity import Sensitivity
from .tables import count_threads
from .task import CLASSIFICATION, Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_accuracy(
    path: str | Path, sparsity: Sequence[float], accuracy: Sequence[float], dense: float, task: Task = CLASSIFICATION
) -> None:
    """Draw accuracy against sparsity, a point per round, with the dense network's accuracy as a line, into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    figure = _new_figure()
    axes, scale = figure.add_subplot(), 100 if task.percent else 1
    axes.axhline(scale * dense, color="grey", linestyle="--", label="dense")
    axes.plot([100 * s for s in sparsity], [scale * a for a in accuracy], marker="o", label="pruned and retrained")
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel(f"validation {task.name}" + " (%)" * task.percent)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(path, figure)


def plot_break_even(path: str | Path, report: BreakEvenReport) -> None:
    """Draw the speed-up over the dense form against sparsity, a line per layer beside 1 / (1 - s), into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    figure = _new_figure()
    axes = figure.add_subplot()
    sparsities = report.sparsities
    curve = [sparsities[0] + (sparsities[-1] - sparsities[0]) * step / 100 for step in range(101)]
    axes.axhline(1, color="grey", linewidth=1)
    theory = [theoretical_speedup(s) for s in curve]
    axes.plot([100 * s for s in curve], theory, color="grey", linestyle="--", label="1 / (1 - s)")
    for name, layer in report.layers.items():
        axes.plot([100 * s for s in sparsities], [layer.speedup(s) for s in sparsities], marker=".", label=name)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel("speed-up over the dense form")
    axes.set_title(f"batch of {report.batch}, {count_threads(report.threads)}", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    _save(path, figure)


def plot_sensitivity(path: str | Path, report: Sensitivity) -> None:
    """Draw accuracy, and beside it the measured time, against sparsity, a line per layer or group, into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    figure = _new_figure(10)
    left, right = figure.subplots(1, 2)
    percent = [100 * sparsity for sparsity in report.sparsities]
    for name in report.accuracy:
        left.plot(percent, [100 * value for value in report.accuracy[name]], marker=".", label=short_name(name))
        right.plot(percent, [cost.latency_us for cost in report.costs.units[name]], marker=".")
    left.set_ylabel("accuracy with this one pruned (%)")
    right.set_ylabel("measured time (µs)")
    right.set_yscale("log")
    right.set_title(f"batch of {report.costs.batch}, {count_threads(report.costs.threads)}", fontsize="medium")
    for axes in (left, right):
        axes.set_xlabel("sparsity (% of the weights or units removed)")
        axes.grid(alpha=0.3)
    left.legend(fontsize="x-small", ncols=1 + len(report.accuracy) // 12)
    _save(path, figure)


def _new_figure(width: float = 6) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("a plot needs matplotlib: pip install 'sparsenet[app]'") from None
    figure = Figure(figsize=(width, 4), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(path: str | Path, figure: "Figure") -> None:
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
