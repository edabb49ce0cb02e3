"""The figures of the report of a run."""

from typing import TYPE_CHECKING

import numpy as np

from ...nn.network import Network
from ..costs import CostReport
from ..tables import describe_batch
from .figures import Picture, layer_axes, log_ticks, new_figure
from .page import SLOWER
from .palette import LIGHT
from .run_record import RunRecord
from .search_page import sensitivity_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 40
LINE, OTHER, QUIET, LOSS = (LIGHT[name] for name in ("blue", "orange", "grey", "red"))


def run_pictures(record: RunRecord) -> dict[str, Picture]:
    """All figures of the report, by name."""
    pictures = {}
    if record.history.rounds:
        pictures["accuracy"] = _accuracy(record)
    pictures["layers"] = Picture(
        lambda: draw_sparsity(record.pruned),
        f"Bars: the sparsity of each layer, between {_range(record.pruned)}.",
        "How much of each layer is gone. The line is the whole network's sparsity.",
    )
    for batch, report in record.reports.items():
        pictures[f"speed{batch}"] = _speed(report, batch)
    last = record.reports[max(record.reports)]
    pictures["time"] = _shares("time", last, _times(last), f"a {describe_batch(last.batch, last.threads)}")
    pictures["bytes"] = _shares("bytes", last, _bytes(last), "the files of the dense and of the pruned network")
    pictures |= {f"weights-{number}": _weights(record, name) for number, name in enumerate(record.pruned.weights())}
    if record.search:
        pictures |= sensitivity_pictures(record.search.sensitivity)
    if not record.classifies:
        pictures |= {name: _scatter(record, name) for name in record.outputs}
    return pictures


def _range(network: Network) -> str:
    gone = [1 - mask.mean() for mask in network.masks().values()]
    return f"{100 * min(gone):.1f} and {100 * max(gone):.1f} %"


def _accuracy(record: RunRecord) -> Picture:
    points, spread = accuracy_points(record), ""
    if record.classifies:
        spread = (
            f" Upright lines: where the accuracy may be with {record.validated:,} images, each of which is "
            f"{100 / record.validated:.2f} points (Wilson interval, 95 %)."
        )
    told = ", ".join(f"{record.show(value)} at {100 * sparsity:.1f} %" for sparsity, value, _ in points)
    return Picture(
        lambda: draw_accuracy(record),
        f"Line: {record.metric} on the validation data against sparsity: {told}.",
        f"{record.metric.capitalize()} on the validation data after each round, pruned and retrained.{spread}",
    )


def accuracy_points(record: RunRecord) -> list[tuple[float, float, bool]]:
    """(sparsity, accuracy on the validation data, whether the round was accepted), the dense network first."""
    rounds = record.history.rounds
    return [(0.0, record.history.baseline_accuracy, True), *((r.sparsity, r.accuracy, r.accepted) for r in rounds)]


def draw_accuracy(record: RunRecord) -> "Figure":
    """Accuracy against sparsity, with its intervals; rounds that were refused as crosses."""
    figure, scale = new_figure(), 100 if record.classifies else 1
    axes, points = figure.add_subplot(), accuracy_points(record)
    for accepted, marker, label in ((True, "o", "pruned and retrained"), (False, "x", "refused: too low")):
        own = [(100 * s, a) for s, a, kept in points if kept == accepted]
        if not own:
            continue
        x, values = zip(*own, strict=True)
        ends = [record.interval(value, record.validated) or (value, value) for value in values]
        reach = [[scale * abs(value - end[side]) for value, end in zip(values, ends, strict=True)] for side in (0, 1)]
        style = {"color": LINE if accepted else LOSS, "marker": marker, "linestyle": "-" if accepted else "none"}
        bars = reach if record.classifies else None
        axes.errorbar(x, [scale * value for value in values], bars, capsize=3, elinewidth=1, label=label, **style)
    axes.axhline(scale * record.history.baseline_accuracy, color=QUIET, linestyle="--", linewidth=1, label="dense")
    axes.set_xlabel("sparsity (% of the weights removed)")
    axes.set_ylabel(f"validation {record.metric}" + (" (%)" if record.classifies else ""))
    axes.grid(axis="y")
    axes.legend()
    return figure


def draw_sparsity(network: Network) -> "Figure":
    """A bar for each layer."""
    gone = {name: 100 * (1 - mask.mean()) for name, mask in network.masks().items()}
    figure, axes = layer_axes(list(gone))
    axes.barh(range(len(gone)), gone.values(), 0.62, color=LINE)
    axes.axvline(100 * network.sparsity(), color=LIGHT["ink"], linewidth=1)
    axes.set_xlim(0, 100)
    axes.set_xlabel("sparsity (% of the weights removed)")
    return figure


def _speed(report: CostReport, batch: int) -> Picture:
    slow = [name for name, costs in report.layers.items() if costs.speedup() < 1]
    losses = f"slower than dense: {', '.join(slow)}" if slow else "no layer is slower than dense"
    return Picture(
        lambda: draw_speedups(report),
        f"Dots: the speed-up of each layer, in theory and measured, for a batch of {batch}; {losses}.",
        f"A batch of {batch}: how many times as fast as dense each layer runs. Rings: what the arithmetic alone would "
        "give. Dots: measured.",
    )


def draw_speedups(report: CostReport) -> "Figure":
    """Theory and measurement of each layer on one line; losses in red and with a word."""
    rows = dict([*report.layers.items(), ("total", report.total)])
    figure, axes = layer_axes(list(rows))
    for row, costs in enumerate(rows.values()):
        measured, theory = costs.speedup(), costs.theoretical_speedup
        colour = LOSS if measured < 1 else LINE
        if np.isfinite(theory):
            axes.plot([theory, measured], [row, row], "-", color=LIGHT["rule"], linewidth=3, zorder=1)
            axes.plot(theory, row, "o", color=QUIET, markerfacecolor="none", markersize=7)
        axes.plot(measured, row, "o", color=colour, markersize=7)
        if measured < 1:
            axes.annotate(
                SLOWER, (measured, row), (-8, 0), textcoords="offset points", ha="right", va="center", color=LOSS
            )
    axes.axvline(1, color=QUIET, linewidth=1)
    axes.set_xscale("log", base=2)
    log_ticks(axes.xaxis, 2)
    slowest = min(costs.speedup() for costs in rows.values())
    axes.set_xlim(min(0.45, slowest / 2), max(axes.get_xlim()[1], 2.5))  # with room for the word
    axes.set_xlabel("times as fast as dense")
    return figure


def _times(report: CostReport) -> dict[str, tuple[float, float]]:
    return {n: (c.latency["dense"].median_us, c.latency["sparse"].median_us) for n, c in report.layers.items()}


def _bytes(report: CostReport) -> dict[str, tuple[float, float]]:
    return {n: (c.bytes_dense, c.bytes_sparse) for n, c in report.layers.items() if c.bytes_dense}


def _shares(what: str, report: CostReport, parts: dict[str, tuple[float, float]], of: str) -> Picture:
    largest = [max(parts, key=lambda name, form=form: parts[name][form]) for form in (0, 1)]
    return Picture(
        lambda: draw_shares(what, parts),
        f"Bars: the share of each layer in the {what}, dense and pruned. The largest: {largest[0]}, {largest[1]}.",
        f"Where the {what} go{'es' if what == 'time' else ''}: {of}, each as parts of its own whole.",
    )


def draw_shares(what: str, parts: dict[str, tuple[float, float]]) -> "Figure":
    """Each layer's share of a whole, dense above pruned."""
    figure, axes = layer_axes(list(parts))
    for form, (label, colour, shift) in enumerate((("dense", QUIET, -0.19), ("pruned", LINE, 0.19))):
        whole = sum(pair[form] for pair in parts.values())
        shares = [100 * pair[form] / whole for pair in parts.values()]
        axes.barh([row + shift for row in range(len(parts))], shares, 0.34, color=colour, label=label)
    axes.set_xlabel(f"share of the {what} (%)")
    axes.legend()
    return figure


def _weights(record: RunRecord, name: str) -> Picture:
    mask = record.pruned.masks()[name]
    return Picture(
        lambda: draw_weights(record.dense.weights()[name].value, record.pruned.weights()[name].value[mask]),
        f"Histograms of the weights of {name}: all {mask.size:,} before pruning, the {int(mask.sum()):,} kept after.",
        f"{name}: {mask.size:,} before, {int(mask.sum()):,} after",
    )


def draw_weights(before: np.ndarray, after: np.ndarray) -> "Figure":
    """Histograms of all weights before and of the kept ones after, on a logarithmic count."""
    from matplotlib.ticker import NullLocator

    figure, most = new_figure(3.6, 2.5), max(float(np.abs(w).max(initial=0)) for w in (before, after)) or 1.0
    figure.set_layout_engine("none")  # there is one for every layer of a network, and arranging each takes a while
    axes = figure.add_axes((0.17, 0.22, 0.8, 0.74))
    edges = np.linspace(-most, most, BINS + 1)
    axes.hist(before.ravel(), edges, color=QUIET, alpha=0.55, label="before")
    axes.hist(after.ravel(), edges, color=LINE, histtype="step", linewidth=1.5, label="after")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:.0f}" if value < 1000 else f"{value / 1000:.0f}k")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks([-most, 0, most], [f"{end:.2g}" for end in (-most, 0, most)])
    axes.set_ylim(0)
    axes.set_xlabel("weight")
    axes.legend(handlelength=1)
    return figure


def _scatter(record: RunRecord, name: str) -> Picture:
    return Picture(
        lambda: draw_scatter(record.targets, record.outputs[name]),
        f"Dots: what the {name} network makes of {len(record.targets):,} test images against what is true.",
        f"The {name} network on the test data: a dot for each image, on the line where it is right.",
    )


def draw_scatter(targets: np.ndarray, outputs: np.ndarray) -> "Figure":
    """Outputs against targets."""
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    ends = [float(end) for end in (targets.min(), targets.max())]
    axes.plot(ends, ends, "-", color=QUIET, linewidth=1)
    axes.plot(targets.ravel(), outputs.ravel(), ".", color=LINE, markersize=4, alpha=0.6)
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.grid()
    return figure
