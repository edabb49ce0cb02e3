"""How much each layer can spare, beside what it costs: loss, accuracy, time, bytes and multiply-adds by sparsity."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check_data
from ..nn.losses import accuracy, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Evaluation, Loss, Metric, evaluate
from ..pruning.granularity import Granularity, Weight
from ..pruning.scores import l1
from ..pruning.scoring import Criterion, criterion_name, score
from .cost_table import DEFAULT_SPARSITIES, CostTable, check_sparsities, measure_costs, short_name
from .cuts import find_cuts
from .tables import format_table
from .task import describe_metric, metric_name


@dataclass(frozen=True)
class Sensitivity:
    """What `sensitivity` found, by unit of decision: a layer, or for structures a dependency group.

    Attributes
    ----------
    accuracy, loss : dict of tuples
        With this unit alone pruned to each of `costs.sparsities`, and not trained after it. The first, at 0, is the
        network's as it was given.
    costs : CostTable
        Microseconds, bytes and multiply-adds at the same sparsities, with the conditions of the measurement.
    criterion, granularity : str
        What settled which weights go.
    metric : str
        What `accuracy` is, where another metric was given.
    """

    accuracy: dict[str, tuple[float, ...]]
    loss: dict[str, tuple[float, ...]]
    costs: CostTable
    criterion: str
    granularity: str
    metric: str = "accuracy"

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The sparsities, ascending from 0."""
        return self.costs.sparsities

    def errors(self, levels: Sequence[float]) -> np.ndarray:
        """How much the loss rises (units, levels), linear in the sparsity between measured points.

        Notes
        -----
        e_u(s) = max over s' <= s of L_u(s') - L(0), at least 0: that a little pruning of one layer may lower the loss
        on a sample is no reason to prune there, and what less pruning costs, more of it is not trusted to undo.
        """
        rows = []
        for losses in self.loss.values():
            rises = np.maximum.accumulate(np.array(losses) - losses[0])
            rows.append(np.interp(levels, self.sparsities, rises))
        return np.array(rows)

    def to_json(self) -> dict:
        """The report as plain numbers; an accuracy or a loss that is not finite is None."""
        found = {
            name: {"accuracy": _finite(self.accuracy[name]), "loss": _finite(self.loss[name])} for name in self.accuracy
        }
        named = {"criterion": self.criterion, "granularity": self.granularity, "sparsities": list(self.sparsities)}
        named |= {"metric": self.metric}
        return named | {"units": found, "costs": self.costs.to_json()}

    def __str__(self) -> str:
        """Tables: change of accuracy and loss, microseconds, bytes, multiply-adds; a row per unit of decision."""
        first = next(iter(self.accuracy))
        start = Evaluation(self.accuracy[first][0], self.loss[first][0])
        changes = {name: [value - start.accuracy for value in row] for name, row in self.accuracy.items()}
        rises = {name: [value - start.loss for value in row] for name, row in self.loss.items()}
        costs = {
            kind: {name: [getattr(cost, kind) for cost in row] for name, row in self.costs.units.items()}
            for kind in ("size_bytes", "macs")
        }
        tables = [
            self._table(self.unit, changes, self.show_change),
            self._table("loss", rises, lambda value: f"{value:+.3f}"),
            str(self.costs),
            self._table("bytes in the file", costs["size_bytes"], lambda value: f"{value:,.0f}"),
            self._table("MACs", costs["macs"], lambda value: f"{value:,.0f}"),
        ]
        head = (
            f"one pruned at a time by {self.criterion}, {self.granularity}, without retraining; "
            f"before it {self.metric} {describe_metric(self.metric, start.accuracy)}, loss {start.loss:.4f}"
        )
        return "\n\n".join([head, *tables])

    @property
    def unit(self) -> str:
        """What changes of the metric are given in."""
        return f"{self.metric}, points" if self.metric == "accuracy" else self.metric

    def show_change(self, value: float) -> str:
        """A change of the metric: of an accuracy in points."""
        return f"{100 * value:+.1f}" if self.metric == "accuracy" else f"{value:+.3f}"

    def _table(self, what: str, rows: dict[str, list[float]], show: Callable[[float], str]) -> str:
        head = (what, *(f"{100 * sparsity:g} %" for sparsity in self.sparsities))
        return format_table([head, *((short_name(name), *map(show, row)) for name, row in rows.items())])


def _finite(values: Iterable[float]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values]


def sensitivity(
    network: Network,
    data: Data,
    *,
    sparsities: Sequence[float] = DEFAULT_SPARSITIES,
    criterion: Criterion = l1,
    granularity: Granularity = Weight(),
    exclude: Collection[str] = (),
    loss: Loss = softmax_cross_entropy,
    metric: Metric = accuracy,
    batch: int = 1,
    threads: int | None = None,
    seconds: float = 0.5,
    seed: int | np.random.Generator = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Sensitivity:
    """Prune one layer at a time (of structures one dependency group), on a copy, and see what that does; the costs too.

    Parameters
    ----------
    data : (x, y)
        For the scores and for loss and accuracy; of what is not used for the final judgement.
    sparsities : ascending fractions
        0 is always among them.
    exclude : names
        Layers left as they are.
    batch, threads : int
        Conditions under which the layers are timed (threads None: all available ones).
    seconds : float
        Time to spend on measuring each layer.
    on_progress : function (text, done, total), optional
        Told what is being done, and how much of it is.

    Returns
    -------
    Sensitivity
        It prints as tables; `to_json()` has all numbers.

    Notes
    -----
    Loss and accuracy are of a network that is not retrained: they rank layers, and say little of what a retrained
    network can do. Costs are of the network pruned alike everywhere (see `cost_table.measure_costs`).
    """
    x, _ = check_data("data", data)
    sparsities, tell = check_sparsities(sparsities), on_progress or (lambda text, done, total: None)
    scores = score(network, criterion, data, loss=loss, seed=seed, threads=threads)
    cuts = find_cuts(network, scores, granularity, exclude)
    judge = {"loss": loss, "metric": metric, "threads": threads}
    start, found = evaluate(network, data, **judge), {}
    for number, name in enumerate(cuts.units, 1):
        tell(f"pruning {name} alone, {number}/{len(cuts.units)} ...", number - 1, len(cuts.units))
        pruned = (cuts.cut(network, scores, {name: sparsity}) for sparsity in sparsities[1:])
        found[name] = [start, *(evaluate(each, data, **judge) for each in pruned)]
    measured = {"sparsities": sparsities, "batch": batch, "threads": threads, "seconds": seconds}
    costs = measure_costs(network, scores, cuts, x.shape[1:], on_progress=on_progress, **measured)
    return Sensitivity(
        {name: tuple(float(each.accuracy) for each in row) for name, row in found.items()},
        {name: tuple(float(each.loss) for each in row) for name, row in found.items()},
        costs,
        criterion_name(criterion),
        repr(granularity),
        metric_name(metric),
    )
