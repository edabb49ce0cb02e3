"""Pruning to a budget: how much of each layer goes is found from what that does and what it saves, both measured."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from ..checks import check_count, check_data
from ..machine.threads import available_threads
from ..nn.losses import accuracy, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Loss, Metric, evaluate
from ..pruning.granularity import Arrays, Granularity, Weight
from ..pruning.scores import l1
from ..pruning.scoring import Criterion, score
from ..pruning.search import BudgetError, allocate
from .budget import Budget, describe_cost
from .cost_table import DEFAULT_SPARSITIES, short_name, whole_costs
from .cuts import Cuts, find_cuts
from .sensitivity import Sensitivity, sensitivity
from .tables import format_table

LEVELS = 80  # sparsities of each layer that are chosen from
SAMPLES = 2048  # of the training data, by which the sensitivity is judged
# What is left of a budget for what retraining and the next measurement may change.
MARGINS = {"latency_us": 0.03, "size_bytes": 0.01, "macs": 0.0}
NEAR = 0.05  # of the limit: no nearer is looked for


@dataclass(frozen=True)
class Try:
    """An allocation that was tried.

    Attributes
    ----------
    asked, predicted, measured : float
        Cost that the dynamic programme was given, what the table predicts for its choice, and what the real plan, file
        or count gives.
    accuracy : float or None
        On the validation data, once retrained; None where it was measured only.
    kept : bool
        Whether it is within the budget; of a time, on a machine as fast as it was for the table.
    drift : float
        Time of the network at sparsity 0, measured in turn with this one, over that in the table: how much slower the
        machine was. 1 for other costs.
    sparsities : dict
        By unit of decision.
    """

    asked: float
    predicted: float
    measured: float
    accuracy: float | None
    kept: bool
    drift: float
    sparsities: dict[str, float]

    @property
    def ratio(self) -> float:
        """Measured over predicted, on a machine as fast as it was for the table."""
        return self.steady / self.predicted

    @property
    def steady(self) -> float:
        """Measured, with the drift taken out."""
        return self.measured / self.drift


@dataclass(frozen=True)
class AutoPruneReport:
    """What `auto_prune` was asked for, the tables it used, what it tried, and why it stopped.

    Attributes
    ----------
    tries : tuple of Try
    chosen : Try or None
        The one whose network is returned; None where that is the network as it was given.
    accuracy_before : float
        On the validation data.
    """

    budget: Budget
    sensitivity: Sensitivity
    tries: tuple[Try, ...]
    chosen: Try | None
    accuracy_before: float
    stopped: str

    def to_json(self) -> dict:
        """The report as plain numbers."""
        found = {"budget": asdict(self.budget), "accuracy_before": self.accuracy_before, "stopped": self.stopped}
        tried = {"tries": [asdict(each) | {"ratio": each.ratio} for each in self.tries]}
        tried |= {"chosen": self.chosen and asdict(self.chosen) | {"ratio": self.chosen.ratio}}
        return found | tried | {"sensitivity": self.sensitivity.to_json()}

    def __str__(self) -> str:
        """The tries with prediction beside measurement, and the sparsity of each layer."""
        kind = self.budget.kind
        rows = [("try", "predicted", "measured", "drift", "ratio", "accuracy, %", "within the budget")]
        for number, each in enumerate(self.tries, 1):
            judged = "" if each.accuracy is None else f"{100 * each.accuracy:.2f}"
            costs = (describe_cost(kind, each.predicted), describe_cost(kind, each.measured))
            rows.append(
                (str(number), *costs, f"{each.drift:.2f}", f"{each.ratio:.3f}", judged, "yes" if each.kept else "no")
            )
        lines = [f"budget: {self.budget}; accuracy before it {100 * self.accuracy_before:.2f} %", format_table(rows)]
        if self.chosen:
            own = (f"{short_name(name)} {100 * value:.1f} %" for name, value in self.chosen.sparsities.items())
            lines.append(f"chosen: {', '.join(own)}")
        return "\n".join([*lines, f"stopped: {self.stopped}"])


def auto_prune(
    network: Network,
    train: Data,
    validation: Data,
    budget: Budget,
    *,
    retrain: Callable[[Network], object],
    criterion: Criterion = l1,
    granularity: Granularity = Weight(),
    exclude: Collection[str] = (),
    rounds: int = 3,
    tries: int = 6,
    sparsities: Sequence[float] = DEFAULT_SPARSITIES,
    batch: int = 1,
    threads: int | None = None,
    seconds: float = 0.5,
    loss: Loss = softmax_cross_entropy,
    metric: Metric = accuracy,
    seed: int = 0,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Network, AutoPruneReport]:
    """A pruned and retrained copy of the network within a budget, and how it was found.

    Parameters
    ----------
    train, validation : (x, y)
        Scores and sensitivity come from `train`; `validation` judges the accuracy.
    budget : Budget
        `Budget(latency_us=300)`, measured at this batch and with these threads, or `size_bytes`, `macs`, `drop`.
    retrain : function
        Trains the survivors in place, once for each of the `rounds`: `lambda net: fit(net, data, epochs=2, ...)`.
    tries : int
        Allocations that are tried, at most.
    sparsities : ascending fractions
        At which layers are measured. The last one is the most that any layer loses.

    Returns
    -------
    (network, report)
        Filters that are gone are masked: `remove_pruned_structures` gives the network that was measured.

    Raises
    ------
    BudgetError
        A ValueError: the budget cannot be kept; `least` is what can be had.

    Notes
    -----
    Errors are the measured sensitivity: how much the loss rises where one layer alone is pruned. It judges what the
    criterion really takes, for structures as for weights, and needs no more than evaluations; the reconstruction error
    of optimal brain compression assumes weights that are refitted, which retraining does here. Costs are measured too
    (`cost_table`). `pruning.search.allocate` combines the two, over 80 sparsities a layer whose kept fractions are a
    geometric row.

    A cost is checked on the masked network, before any training: the time of its plan, the bytes of its file. As long
    as it misses the budget, the programme is asked for less or more, in the ratio of budget to measurement. The best
    within it is then pruned in `rounds`, the sparsities rising as in `schedules.cubic`, and its cost is measured again:
    where it is above the budget now, the search goes on below. For a drop the cost is halved between what was too low
    and what was not, by its logarithm, and each try is retrained.
    """
    check_data("train", train), check_data("validation", validation)
    check_count("rounds", rounds), check_count("tries", tries)
    threads = available_threads() if threads is None else check_count("threads", threads)
    sample = _sample(train, seed)
    options = {"criterion": criterion, "loss": loss, "seed": seed, "threads": threads}
    found = sensitivity(
        network,
        sample,
        sparsities=sparsities,
        granularity=granularity,
        exclude=exclude,
        metric=metric,
        batch=batch,
        seconds=seconds,
        on_progress=on_progress,
        **options,
    )
    judge = {"loss": loss, "metric": metric, "threads": threads}
    scores = score(network, data=sample, **options)
    search = _Search(
        network,
        budget,
        found,
        find_cuts(network, scores, granularity, exclude),
        scores,
        lambda net: score(net, data=sample, **options),
        retrain,
        lambda net: float(evaluate(net, validation, **judge).accuracy),
        rounds,
        seconds,
        on_progress or (lambda text, done, total: None),
    )
    return search.for_drop(tries) if budget.drop is not None else search.for_cost(tries)


def _sample(data: Data, seed: int) -> Data:
    x, y = data
    picked = np.sort(np.random.default_rng(seed).permutation(len(x))[:SAMPLES])
    return x[picked], y[picked]


@dataclass(frozen=True, eq=False)
class _Search:
    """What all tries share: the network, its tables, and how a try is made and judged."""

    network: Network
    budget: Budget
    found: Sensitivity
    cuts: Cuts
    scores: Arrays  # of the network as it was given
    scored: Callable[[Network], dict[str, np.ndarray]]
    retrain: Callable[[Network], object]
    judged: Callable[[Network], float]
    rounds: int
    seconds: float
    tell: Callable[[str, int, int], None]

    @property
    def levels(self) -> np.ndarray:
        """Sparsities to choose from: 1 - s falls from 1 to the least that was measured, by the same factor."""
        most = self.found.sparsities[-1]
        return np.minimum(1 - (1 - most) ** (np.arange(LEVELS + 1) / LEVELS), most)

    def allocation(self, asked: float) -> dict[str, float]:
        """The sparsity of each unit for a cost of the whole network; the cheapest where it cannot be had."""
        table, kind = self.found.costs, self.budget.kind
        errors, costs = self.found.errors(self.levels), table.costs(kind, self.levels)
        try:
            choice = allocate(errors, costs, table.within(kind, asked))
        except BudgetError as error:
            choice = error.choice
        return {name: float(self.levels[option]) for name, option in zip(table.units, choice, strict=True)}

    def predicted(self, sparsities: dict[str, float]) -> float:
        return self.found.costs.predict(self.budget.kind, sparsities)

    def measured(self, network: Network) -> tuple[float, float]:
        """The real figure of a network, and how much slower the machine is than it was for the table."""
        table, kind, networks = self.found.costs, self.budget.kind, [self.cuts.smallest(network)]
        if kind == "latency_us":
            networks.append(self.cuts.smallest(self.network))
        conditions = {"batch": table.batch, "threads": table.threads, "seconds": self.seconds}
        costs = [getattr(cost, kind) for cost in whole_costs(networks, table.input_shape, **conditions)]
        return float(costs[0]), float(costs[-1] / getattr(table.whole[0], kind)) if len(costs) > 1 else 1.0

    def masked(self, sparsities: dict[str, float]) -> Network:
        """The network pruned in one step, and not trained."""
        return self.cuts.cut(self.network, self.scores, sparsities)

    def retrained(self, sparsities: dict[str, float]) -> Network:
        """The network pruned in rounds, and retrained in each."""
        network = self.network
        for number in range(1, self.rounds + 1):
            self.tell(f"pruning and retraining, round {number}/{self.rounds} ...", 0, 0)
            part = 1 - (1 - number / self.rounds) ** 3
            now = {name: part * sparsity for name, sparsity in sparsities.items()}
            network = self.cuts.cut(network, self.scored(network), now)
            self.retrain(network)
        return network

    def for_cost(self, tries: int) -> tuple[Network, AutoPruneReport]:
        """The most accurate network within a cost."""
        limit, done = self.budget.limit, []
        aim = limit * (1 - MARGINS[self.budget.kind])
        before = self.judged(self.network)
        while True:
            best = self._nearest(aim, tries - len(done), done)
            network = self.retrained(best.sparsities)
            measured, drift = self.measured(network)
            found = {
                "measured": measured,
                "drift": drift,
                "accuracy": self.judged(network),
                "kept": measured / drift <= limit,
            }
            last = replace(best, **found)
            done.append(last)
            if last.kept:
                return network, AutoPruneReport(self.budget, self.found, tuple(done), last, before, "within the budget")
            if best.sparsities == self.allocation(0.0):
                raise BudgetError(limit, last.steady)
            aim *= aim / last.steady

    def _nearest(self, aim: float, tries: int, done: list[Try]) -> Try:
        """The masked network whose cost is the nearest to `aim` of those that do not exceed it; adds the tries made."""
        asked, own = aim, []
        for number in range(1, tries + 1):
            self.tell(f"try {number}: {describe_cost(self.budget.kind, asked)} ...", number - 1, tries)
            own.append(self._tried(asked, aim))
            last = own[-1]
            near = last.kept and last.steady >= (1 - NEAR) * aim
            again = last.kept and last.sparsities in [each.sparsities for each in own[:-1]]
            if near or again or not any(last.sparsities.values()):
                break
            # too dear: less than this choice was predicted to cost, so that it is another one
            asked = (asked if last.kept else min(asked, last.predicted)) * aim / last.steady
        for less in (0.7 * asked, 0.0):  # at last the cheapest
            if not any(each.kept for each in own):
                own.append(self._tried(less, aim))
        done += own
        return max((each for each in own if each.kept), key=lambda each: each.predicted, default=own[-1])

    def _tried(self, asked: float, aim: float) -> Try:
        sparsities = self.allocation(asked)
        measured, drift = self.measured(self.masked(sparsities))
        return Try(asked, self.predicted(sparsities), measured, None, measured / drift <= aim, drift, sparsities)

    def for_drop(self, tries: int) -> tuple[Network, AutoPruneReport]:
        """The cheapest network whose accuracy falls no further."""
        before, most = self.judged(self.network), self.found.sparsities[-1]
        low, high = (self.predicted(dict.fromkeys(self.cuts.units, sparsity)) for sparsity in (most, 0.0))
        best, chosen, done = self.network.copy(), None, []
        for number in range(1, tries + 1):
            asked = float(np.sqrt(max(low, high / 1e4) * high))
            self.tell(f"try {number}/{tries}: {describe_cost(self.budget.kind, asked)} ...", 0, 0)
            sparsities = self.allocation(asked)
            network = self.retrained(sparsities)
            judged, (measured, drift) = self.judged(network), self.measured(network)
            kept = judged >= before - self.budget.limit
            done.append(Try(asked, self.predicted(sparsities), measured, judged, kept, drift, sparsities))
            if kept:
                best, chosen, high = network, done[-1], asked
            else:
                low = asked
            if high <= (1 + NEAR) * low:
                break
        stopped = "the cheapest within the drop is found" if high <= (1 + NEAR) * low else "no more tries"
        stopped += "" if chosen else ": nothing that was tried is within the drop, the network is as it was"
        return best, AutoPruneReport(self.budget, self.found, tuple(done), chosen, before, stopped)
