"""Pruning to a budget: how much of each layer goes is found from what that takes and what it saves, both measured."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..checks import check_count, check_data
from ..machine.threads import available_threads
from ..nn.losses import accuracy, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Loss, Metric, evaluate
from ..pruning.granularity import Arrays, Granularity, Weight
from ..pruning.schedules import cubic
from ..pruning.scores import l1
from ..pruning.scoring import Criterion, score
from ..pruning.search import BudgetError, allocate, search_coefficients
from .auto_report import AutoPruneReport, Try
from .budget import Budget, describe_cost
from .cost_table import DEFAULT_SPARSITIES, count_whole, whole_costs
from .cuts import Cuts, find_cuts, norm_errors
from .sensitivity import Sensitivity, sensitivity
from .task import metric_name

LEVELS = 80  # sparsities of each layer that are chosen from
ERRORS = ("norm", "loss")
SAMPLES = 2048  # of the training data, for the scores
JUDGED = 512  # of these, by which sensitivity and coefficients are judged
# What is left of a budget for what retraining and the next measurement may change.
MARGINS = {"latency_us": 0.03, "size_bytes": 0.01, "macs": 0.0}
NEAR = 0.05  # of the limit: no nearer is looked for
STEP = 0.99  # of what was aimed at, at most, where retraining made a network too dear


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
    errors: str = "norm",
    trials: int = 0,
    refit: Callable[[Network], object] | None = None,
    tables: Sensitivity | None = None,
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
    errors : "norm" or "loss"
        What stands for the harm of pruning a layer: how much of its norm goes, or how much the loss rises where it
        alone is pruned.
    trials : int
        Coefficients of the layers' errors to try, by the loss of the networks that they lead to. 0: all are 1.
    refit : function
        Trains a network of these trials in place, and briefly; they are judged as masked where there is none.
    tables : Sensitivity
        What an earlier call has measured, its `report.sensitivity`: for several budgets of one network, which need one
        measurement. It settles sparsities, batch and threads.
    tries : int
        Allocations that are tried before a network is retrained, at most; of a drop, those that are retrained.
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
    Errors are the norm that each layer loses, by its logarithm (`norm_lost`), or the measured sensitivity. That one is
    of a network that is not retrained: it spares layers that would soon have recovered, and its choices were worse than
    global pruning's (LeNet-5 and ResNet-20 at 3 and 6 % of their bytes, one seed: a test loss of 0.107 and 0.081, by
    the norm 0.097 and 0.069, global 0.103 and 0.071). Costs are measured (`cost_table`). `allocate` combines the two,
    over 80 sparsities a layer whose kept fractions are a geometric row.

    With `trials`, `search_coefficients` weighs the errors first: each trial's network is pruned in one step for the
    budget, trained by `refit`, and its loss on a sample of the training data is compared. There are none unless asked
    for: twelve on LeNet-5 at 2 % of its bytes made a loss of 0.179 one of 0.176, and took longer than all else.

    With structures this is the knapsack of HALP (Shen et al. 2022): a group of filters that saves time only as a
    whole there is a level of the table here. The time of a unit at each level is measured, steps of the engine's tiles
    included as far as the measured sparsities resolve them; which filters a level keeps is settled by their scores; and
    the programme picks one level of each unit, with the exact optimum of the tables.

    A cost is checked on the masked network, before any training: the time of its plan, the bytes of its file. As long
    as it misses the budget, the programme is asked for less or more, in the ratio of budget to measurement. The best
    within it is then pruned in `rounds`, the sparsities rising as in `schedules.cubic`, and its cost is measured again:
    where it is above the budget now, the search goes on below. For a drop the cost is halved between what was too low
    and what was not, by its logarithm, and each try is retrained.
    """
    check_data("train", train), check_data("validation", validation)
    check_count("rounds", rounds), check_count("tries", tries), check_count("trials", trials, at_least=0)
    if errors not in ERRORS:
        raise ValueError(f"errors must be one of {', '.join(ERRORS)}, not {errors!r}")
    threads = available_threads() if threads is None else check_count("threads", threads)
    sample = _sample(train, seed)
    judged_by = tuple(part[:JUDGED] for part in sample)
    options = {"criterion": criterion, "loss": loss, "seed": seed, "threads": threads}
    measured = {"sparsities": sparsities, "batch": batch, "seconds": seconds, "on_progress": on_progress}
    taken = {"granularity": granularity, "exclude": exclude}
    found = tables or sensitivity(network, judged_by, metric=metric, **taken, **measured, **options)
    judge = {"loss": loss, "metric": metric, "threads": threads}
    scores = score(network, data=sample, **options)
    cuts = find_cuts(network, scores, **taken)
    if tuple(cuts.units) != tuple(found.costs.units):
        raise ValueError(f"tables must be of {', '.join(cuts.units)}, not of {', '.join(found.costs.units)}")
    if found.granularity != str(granularity):
        raise ValueError(f"tables must be of granularity {granularity}, not {found.granularity}")
    search = _Search(
        network,
        budget,
        found,
        _errors(errors, network, scores, cuts, found),
        cuts,
        scores,
        lambda net: score(net, data=sample, **options),
        retrain,
        lambda net: float(evaluate(net, validation, **judge).accuracy),
        metric_name(metric),
        rounds,
        seconds,
        on_progress or (lambda text, done, total: None),
    )
    if trials:
        search = search.weighed(trials, refit, lambda net: evaluate(net, judged_by, **judge).loss, seed)
    return search.for_drop(tries) if budget.drop is not None else search.for_cost(tries)


def _levels(most: float) -> np.ndarray:
    """Sparsities to choose from: 1 - s falls from 1 to the least that was measured, by the same factor."""
    return np.minimum(1 - (1 - most) ** (np.arange(LEVELS + 1) / LEVELS), most)


def _errors(kind: str, network: Network, scores: Arrays, cuts: Cuts, found: Sensitivity) -> np.ndarray:
    """Errors (units, levels); those by norm linear in ln(1 - s) between the measured sparsities."""
    levels = _levels(found.sparsities[-1])
    if kind == "loss":
        return found.errors(levels)
    gone, known = (-np.log1p(-np.asarray(each)) for each in (levels, found.sparsities))
    return np.array([np.interp(gone, known, row) for row in norm_errors(network, scores, cuts, found.sparsities)])


def _sample(data: Data, seed: int) -> Data:
    x, y = data
    picked = np.random.default_rng(seed).permutation(len(x))[:SAMPLES]
    return x[picked], y[picked]


@dataclass(frozen=True, eq=False)
class _Search:
    """What all tries share: the network, its tables, and how a try is made and judged."""

    network: Network
    budget: Budget
    found: Sensitivity
    errors: np.ndarray  # (units, levels)
    cuts: Cuts
    scores: Arrays  # of the network as it was given
    scored: Callable[[Network], dict[str, np.ndarray]]
    retrain: Callable[[Network], object]
    judged: Callable[[Network], float]
    metric: str
    rounds: int
    seconds: float
    tell: Callable[[str, int, int], None]

    @property
    def levels(self) -> np.ndarray:
        return _levels(self.found.sparsities[-1])

    def weighed(
        self, trials: int, refit: Callable[[Network], object] | None, lost: Callable[[Network], float], seed: int
    ) -> "_Search":
        """The search with the errors by the coefficients that are found best; for a drop, at a middling cost."""
        middle = dict.fromkeys(self.cuts.units, float(self.levels[LEVELS // 2]))
        asked = self.predicted(middle) if self.budget.drop is not None else self.budget.limit

        @cache
        def judged(choice: tuple[float, ...]) -> float:
            self.tell(f"weighing the layers, {judged.cache_info().misses} tried ...", 0, 0)
            network = self.masked(dict(zip(self.cuts.units, choice, strict=True)))
            if refit is not None:
                refit(network)
            return float(np.nan_to_num(lost(network), nan=np.inf))

        def judge(coefficients: np.ndarray) -> float:
            return judged(tuple(self._with(coefficients).allocation(asked).values()))

        rng = np.random.default_rng([seed, trials])
        return self._with(search_coefficients(judge, len(self.errors), trials, rng)[0])

    def _with(self, coefficients: np.ndarray) -> "_Search":
        return replace(self, errors=coefficients[:, None] * self.errors)

    def allocation(self, asked: float) -> dict[str, float]:
        """The sparsity of each unit for a cost of the whole network; the cheapest where it cannot be had."""
        table, kind = self.found.costs, self.budget.kind
        try:
            choice = allocate(self.errors, table.costs(kind, self.levels), table.within(kind, asked))
        except BudgetError as error:
            choice = error.choice
        return {name: float(self.levels[option]) for name, option in zip(table.units, choice, strict=True)}

    def predicted(self, sparsities: dict[str, float]) -> float:
        return self.found.costs.predict(self.budget.kind, sparsities)

    def measured(self, network: Network, predicted: float) -> tuple[float, float]:
        """The real figure of a network, and how much slower the machine is than it was for the table.

        That is told by the network of the table whose time is nearest to the one that is predicted: what else runs on
        the machine slows down those most that hold many weights.
        """
        table, kind, small = self.found.costs, self.budget.kind, self.cuts.smallest(network)
        if kind != "latency_us":
            return float(count_whole(small, table.input_shape)[kind]), 1.0
        known = np.array([cost.latency_us for cost in table.whole])
        nearest = int(np.abs(np.log(known / predicted)).argmin())
        beside = self.masked(dict.fromkeys(self.cuts.units, table.sparsities[nearest]))
        conditions = {"batch": table.batch, "threads": table.threads, "seconds": self.seconds}
        own, other = whole_costs([small, self.cuts.smallest(beside)], table.input_shape, **conditions)
        return own.latency_us, other.latency_us / float(known[nearest])

    def masked(self, sparsities: dict[str, float]) -> Network:
        """The network pruned in one step, and not trained."""
        return self.cuts.cut(self.network, self.scores, sparsities)

    def retrained(self, sparsities: dict[str, float]) -> Network:
        """The network pruned in rounds, and retrained in each."""
        network, rows = self.network, [cubic(self.rounds, sparsity) for sparsity in sparsities.values()]
        for number, now in enumerate(zip(*rows, strict=True), 1):
            self.tell(f"pruning and retraining, round {number}/{self.rounds} ...", 0, 0)
            network = self.cuts.cut(network, self.scored(network), dict(zip(sparsities, now, strict=True)))
            self.retrain(network)
        return network

    def for_cost(self, tries: int) -> tuple[Network, AutoPruneReport]:
        """The most accurate network within a cost."""
        limit, done = self.budget.limit, []
        aim = limit * (1 - MARGINS[self.budget.kind])
        before = self.judged(self.network)
        while True:
            best = self._nearest(aim, tries, done)
            cheapest = best.sparsities == self.allocation(0.0)
            if cheapest and best.steady > limit:
                raise BudgetError(limit, best.steady)
            network = self.retrained(best.sparsities)
            measured, drift = self.measured(network, best.predicted)
            found = {
                "measured": measured,
                "drift": drift,
                "accuracy": self.judged(network),
                "kept": measured / drift <= limit,
            }
            last = replace(best, **found)
            done.append(last)
            if last.kept:
                return network, self._report(done, last, before, "within the budget")
            if cheapest:
                raise BudgetError(limit, last.steady)
            aim *= min(STEP, aim / last.steady)

    def _nearest(self, aim: float, tries: int, done: list[Try]) -> Try:
        """The masked network whose cost is the nearest to `aim` of those that do not exceed it; adds the tries made."""
        asked, own = aim, []
        for number in range(1, tries + 1):
            self.tell(f"try {number}: {describe_cost(self.budget.kind, asked)} ...", number - 1, tries)
            own.append(self._tried(asked, aim))
            last = own[-1]
            near = last.kept and last.steady >= (1 - NEAR) * aim
            again = last.kept and last.sparsities in [each.sparsities for each in own[:-1]]
            if near or again or (last.kept and not any(last.sparsities.values())):
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
        predicted = self.predicted(sparsities)
        measured, drift = self.measured(self.masked(sparsities), predicted)
        return Try(asked, predicted, measured, None, measured / drift <= aim, drift, sparsities)

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
            predicted, judged = self.predicted(sparsities), self.judged(network)
            measured, drift = self.measured(network, predicted)
            kept = judged >= before - self.budget.limit
            done.append(Try(asked, predicted, measured, judged, kept, drift, sparsities))
            if kept:
                best, chosen, high = network, done[-1], asked
            else:
                low = asked
            if high <= (1 + NEAR) * low:
                break
        stopped = "the cheapest within the drop is found" if high <= (1 + NEAR) * low else "no more tries"
        stopped = stopped if chosen else "nothing that was tried is within the drop, the network is as it was"
        return best, self._report(done, chosen, before, stopped)

    def _report(self, done: list[Try], chosen: Try | None, before: float, stopped: str) -> AutoPruneReport:
        return AutoPruneReport(self.budget, self.found, tuple(done), chosen, before, stopped, self.metric)
