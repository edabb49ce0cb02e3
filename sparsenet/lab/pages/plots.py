"""Plots of accuracy, break-even and sensitivity, as figures and as files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..break_even import BreakEvenReport, theoretical_speedup
from ..cost_table import short_name
from ..sensitivity import Sensitivity
from ..tables import describe_batch
from ..task import CLASSIFICATION, Task
from .figures import label, log_ticks, looks, new_figure, save_png
from .palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
    scale = 100 if task.percent else 1
    with looks():
        figure = new_figure()
        axes = figure.add_subplot()
        axes.axhline(scale * dense, color=LIGHT["grey"], linestyle="--", label="dense")
        axes.plot([100 * s for s in sparsity], [scale * a for a in accuracy], marker="o", label="pruned and retrained")
        axes.set_xlabel("sparsity (% of the weights removed)")
        axes.set_ylabel(f"validation {task.name}" + " (%)" * task.percent)
        axes.grid()
        axes.legend()
        save_png(path, figure)


def plot_break_even(path: str | Path, report: BreakEvenReport) -> None:
    """Draw the speed-up over the dense form against sparsity, a line per layer beside 1 / (1 - s), into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    with looks():
        save_png(path, draw_break_even(report))


def draw_break_even(report: BreakEvenReport) -> "Figure":
    """Speed-up over the dense form against sparsity, a line per layer beside 1 / (1 - s)."""
    figure = new_figure(5.8, 4.6)
    axes = figure.add_subplot()
    sparsities = report.sparsities
    curve = [sparsities[0] + (sparsities[-1] - sparsities[0]) * step / 100 for step in range(101)]
    axes.axhline(1, color=LIGHT["ink"], linewidth=1)
    theory = [theoretical_speedup(s) for s in curve]
    for name, layer in report.layers.items():
        axes.plot([100 * s for s in sparsities], [layer.speedup(s) for s in sparsities], marker=".", label=name)
    axes.plot([100 * s for s in curve], theory, color=LIGHT["grey"], linewidth=1, linestyle="-", label="1 / (1 - s)")
    axes.set_yscale("log", base=2)
    log_ticks(axes.yaxis, 2)
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel(f"times as fast as dense, {describe_batch(report.batch, report.threads)}")
    axes.grid(axis="y")
    axes.legend()
    return figure


def plot_sensitivity(path: str | Path, report: Sensitivity) -> None:
    """Draw accuracy, and beside it the measured time, against sparsity, a line per layer or group, into a PNG.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message says how to get it.
    """
    with looks():
        figure = new_figure(11, 4)
        left, right = figure.subplots(1, 2)
        _accuracy_lines(left, report)
        _time_lines(right, report)
        _legend(left, report)
        save_png(path, figure)


def draw_sensitivity_accuracy(report: Sensitivity) -> "Figure":
    """Accuracy with one pruned against its sparsity, a line per layer or group."""
    return _alone(_accuracy_lines, report)


def draw_sensitivity_time(report: Sensitivity) -> "Figure":
    """Measured time against sparsity, a line per layer or group."""
    return _alone(_time_lines, report)


def _alone(draw: Callable[["Axes", Sensitivity], None], report: Sensitivity) -> "Figure":
    figure = new_figure(5.8, 4)
    axes = figure.add_subplot()
    draw(axes, report)
    _legend(axes, report)
    return figure


def _accuracy_lines(axes: "Axes", report: Sensitivity) -> None:
    percent = report.metric == "accuracy"
    for name, values in report.accuracy.items():
        shown = [100 * value if percent else value for value in values]
        axes.plot(_percent(report), shown, marker=".", label=label(short_name(name)))
    axes.set_ylabel(f"{report.metric} with this one pruned" + " (%)" * percent)
    _against_sparsity(axes)


def _time_lines(axes: "Axes", report: Sensitivity) -> None:
    for name, costs in report.costs.units.items():
        axes.plot(_percent(report), [cost.latency_us for cost in costs], marker=".", label=label(short_name(name)))
    axes.set_ylabel(f"µs, {describe_batch(report.costs.batch, report.costs.threads)}")
    axes.set_yscale("log")
    log_ticks(axes.yaxis)
    _against_sparsity(axes)


def _percent(report: Sensitivity) -> list[float]:
    return [100 * sparsity for sparsity in report.sparsities]


def _against_sparsity(axes: "Axes") -> None:
    axes.set_xlabel("sparsity (% of its weights or units)")
    axes.grid(axis="y")


def _legend(axes: "Axes", report: Sensitivity) -> None:
    axes.legend(fontsize="x-small", ncols=1 + len(report.accuracy) // 12)
