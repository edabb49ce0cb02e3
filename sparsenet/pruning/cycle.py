"""The cycle: score -> mask -> retrain -> evaluate, round by round, with its stop rule.

The one place where the pure half of pruning (scores, masks, schedules) meets the network, with `scoring`.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..checks import check_data, check_fraction, warn_caller
from ..nn.counting import count_total
from ..nn.losses import accuracy, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Evaluation, Loss, Metric, evaluate
from .granularity import Arrays
from .pools import mask_pools
from .scores import l1
from .scoring import Criterion, criterion_name, score
from .strategies import Strategy, proportional
from .targets import Targets, falls_short, find_targets
from .ties import settled_by_index, warn_of_ties


@dataclass(frozen=True)
class Round:
    """What one round of pruning did.

    Attributes
    ----------
    round : int
        1, 2, ...
    requested : float
        What the schedule asked for: a sparsity (or the rate of `max_threshold`).
    sparsity, layer_sparsity
        Achieved: the fraction of the prunable weights that is gone, in all and by layer.
    accuracy_before, accuracy, loss
        On the validation data: after masking, and after retraining.
    parameters_kept, macs_kept : int
        Parameters that no mask removes; multiply-adds of one sample with the weights that are kept.
    accepted : bool
        False where the stop rule refused the round and the network was rolled back.
    seconds : float
        Scoring, masking, retraining and evaluation together.
    """

    round: int
    requested: float
    sparsity: float
    layer_sparsity: dict[str, float]
    accuracy_before: float
    accuracy: float
    loss: float
    parameters_kept: int
    macs_kept: int
    accepted: bool
    seconds: float


@dataclass(frozen=True)
class PruneHistory:
    """All rounds, the accuracy and loss before the first, and why it stopped."""

    baseline_accuracy: float
    baseline_loss: float
    rounds: tuple[Round, ...]
    stopped: str

    @property
    def last_good(self) -> Round | None:
        """The round whose network was kept; None where none was accepted."""
        return next((round_ for round_ in reversed(self.rounds) if round_.accepted), None)


def prune(
    network: Network,
    scores: Mapping[str, np.ndarray],
    strategy: Strategy,
    sparsity: float,
    *,
    exclude: Collection[str] = (),
    overrides: Mapping[str, float] | None = None,
    factor: float = 0.0,
    tied: str = "sum",
) -> Arrays:
    """Score -> mask: apply the strategy's masks to the network in place and return them.

    The same as `network.apply_masks(strategy(scores, sparsity, current=network.masks(), ...))`, which takes along what
    belongs to a whole filter or neuron; but layers whose units have to stay are left out (see `fixed_layers`): for
    `Filter` the output layer, whose neurons are the classes, for `Channel` the first one, whose inputs are the
    network's, and for both convolutions in groups.

    Filters that an addition ties (see `dependency_groups`) are ranked as one unit, and go or stay together: in the
    place of a layer stands a dependency group, of which a sparsity takes its part, and which keeps a unit at least.
    `Channel` ranks the channels that each layer reads by itself: a channel goes once none of its readers keeps it.

    Parameters
    ----------
    sparsity : float in [0, 1)
        Fraction removed of all units, or the rate of `max_threshold`.
    exclude : names
        Layers left as they are, and with them the filters that are tied to theirs.
    overrides : dict name -> sparsity
        Layers with a sparsity (or rate) of their own; it holds for the filters that are tied to theirs too.
    factor : float in [0, 1)
        Reduce the losing weights by it instead of deleting them (0 deletes).
    tied : "sum" or "mean"
        Importance of tied filters: the sum over all of them, as for the weights of one filter, or that divided by the
        number of layers. Within a group it is the same; ranked globally, a unit of many layers is hard to prune by the
        sum, and counts like any filter by the mean.

    Returns
    -------
    dict of masks
        As the strategy made them, before they are widened to all that belongs to a unit: for the layers with scores,
        and those with filters tied to theirs.

    Raises
    ------
    ValueError
        Where no layer is left to prune.

    Warns
    -----
    UserWarning
        Where whole units were asked for, and layers other than the output layer (for `Channel` the first) have to keep
        them all; it says which and why. Naming them in `exclude` silences it.
        Where not one more unit goes, though fewer are gone than were asked for (see `falls_short`).
        Where the index settles which units of a layer go (see `settled_by_index`).

    Examples
    --------
    >>> from sparsenet import Linear, chain, strategies
    >>> network = chain({"hidden": Linear(2, 2), "output": Linear(2, 1)})
    >>> scores = {"hidden": np.array([[1.0, 2.0], [3.0, 4.0]]), "output": np.ones((1, 2))}
    >>> prune(network, scores, strategies.channelwise, 0.5)["hidden"].astype(int).tolist()
    [[0, 0], [1, 1]]
    >>> network.masks()["output"].astype(int).tolist()  # what reads the first neuron is gone with it
    [[0, 1]]
    """
    targets = find_targets(network, scores, strategy, exclude, overrides or {}, tied)
    masks, idle = prune_targets(network, scores, strategy, sparsity, targets, factor)
    if idle:
        warn_caller(idle)
    return masks


def prune_targets(
    network: Network,
    scores: Mapping[str, np.ndarray],
    strategy: Strategy,
    sparsity: float,
    targets: Targets,
    factor: float = 0.0,
    by: str = "",
) -> tuple[Arrays, str]:
    """`prune` with its targets already found: (the masks, what `falls_short` says of them). `by` names what scored.

    Examples
    --------
    >>> from sparsenet import Linear, chain, strategies
    >>> network = chain({"fc": Linear(2, 1)})
    >>> targets = find_targets(network, ["fc"], strategies.layerwise, (), {}, "sum")
    >>> masks, idle = prune_targets(network, {"fc": np.array([[2.0, 1.0]])}, strategies.layerwise, 0.5, targets)
    >>> masks["fc"].tolist(), idle
    ([[True, False]], '')
    """
    current = network.masks()
    if targets.pools is None:
        before = {name: mask for name, mask in current.items() if name in scores}
        masks = strategy.masks(scores, sparsity, current=before, exclude=targets.leave, overrides=targets.overrides)
    else:
        options = {"tied": targets.tied, "exclude": targets.leave, "overrides": targets.overrides}
        masks = mask_pools(targets.pools, scores, current, partial(strategy.masks, sparsity=sparsity), **options)
    network.apply_masks(masks, factor=factor)
    scored = {name: masks[name] for name in scores}
    # tied filters are ranked by what all of their layers score: a tie within one layer says nothing
    tied = {name for pool in targets.pools or () if not pool.whole for name in pool.parts}
    alone = {name: mask for name, mask in scored.items() if name not in tied}
    warn_of_ties(settled_by_index(scores, alone, strategy.granularity, current), by)
    asked = {name: targets.named.get(name, sparsity) for name in scores if name not in targets.leave}
    return masks, falls_short(strategy, asked, current, scored, alone=targets.named)


def _record(
    network: Network,
    data: Data,
    number: int,
    requested: float,
    before: Evaluation,
    after: Evaluation,
    accepted: bool,
    seconds: float,
) -> Round:
    counts = count_total(network, data[0].shape[1:])
    return Round(
        round=number,
        requested=requested,
        sparsity=network.sparsity(),
        layer_sparsity={name: 1 - float(mask.mean()) for name, mask in network.masks().items()},
        accuracy_before=before.accuracy,
        accuracy=after.accuracy,
        loss=after.loss,
        parameters_kept=counts.parameters_kept,
        macs_kept=counts.macs_kept,
        accepted=accepted,
        seconds=seconds,
    )


def _reached(network: Network, target: float) -> bool:
    """Whether as many weights are gone as `make_masks` prunes for this sparsity."""
    masks = network.masks().values()
    return sum(int((~mask).sum()) for mask in masks) >= round(target * sum(mask.size for mask in masks))


def _at_the_end(network: Network, target: float | None, idle: str) -> str:
    """Why the cycle stopped where no round is left, with a warning where that is short of what was asked for."""
    if target is not None and not _reached(network, target):
        reached = (
            f"the target, a sparsity of {target:g}, is not reached: the schedule ended at {network.sparsity():.4g}"
        )
        warn_caller(f"{reached}; {idle}" if idle else reached)
        return "no more rounds: target not reached"
    if idle:
        warn_caller(idle)
        return "no more rounds: the last one pruned nothing"
    return "no more rounds"


def iterative_prune(
    network: Network,
    data: Data,
    *,
    schedule: Sequence[float],
    retrain: Callable[[Network], object],
    criterion: Criterion = l1,
    strategy: Strategy = proportional,
    validation: Data | None = None,
    max_drop: float | None = None,
    target: float | None = None,
    exclude: Collection[str] = (),
    overrides: Mapping[str, float] | None = None,
    factor: float = 0.0,
    tied: str = "sum",
    loss: Loss = softmax_cross_entropy,
    metric: Metric = accuracy,
    seed: int | np.random.Generator = 0,
    on_round: Callable[[Round], None] | None = None,
    threads: int | None = None,
) -> PruneHistory:
    """Prune the network in place, round by round, while it pays.

    Each round is `score`, `prune`, `retrain(network)`, `evaluate`; written out by hand the four calls give the same
    bits.

    Parameters
    ----------
    data, validation : (x, y)
        Scores come from `data`; accuracy is judged on `validation` (`data` when not given).
    schedule : list of float
        Sparsity to reach in each round, for instance `schedules.cubic(5, 0.95)`, or the rates of `max_threshold`.
    retrain : function
        Trains the survivors in place: `lambda net: fit(net, data, epochs=2, ...)`.
    max_drop : float, optional
        A round whose accuracy falls by more than this below the unpruned network's is refused: the network is rolled
        back to the last good one and the cycle stops.
    target : float, optional
        Stop once the achieved sparsity has reached it.
    exclude, overrides
        Layers left out, and layers with a sparsity of their own, by name: see `prune`.
    loss, metric : functions (output, y)
        For a regression `mean_squared_error` and `r_squared`; the metric is what `max_drop` judges.
    factor : float in [0, 1)
        Reduce the losing weights by it instead of deleting them.
    tied : "sum" or "mean"
        Importance of filters that an addition ties: see `prune`.

    Returns
    -------
    PruneHistory

    Notes
    -----
    A round whose loss is not finite is refused too. When a round raises (a diverging `retrain`, Ctrl-C), the network is
    first put back to the last good one. It refuses and warns like `prune`; of falling short once, where the schedule
    ends: its last round pruned nothing more, or the target is not reached. `stopped` says so too.

    Examples
    --------
    >>> from sparsenet import chain, Linear
    >>> network = chain({"fc": Linear(4, 3)})
    >>> data = np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])
    >>> history = iterative_prune(network, data, schedule=[0.25, 0.5], retrain=lambda network: None)
    >>> [(r.round, r.requested, r.sparsity, r.accepted) for r in history.rounds], history.stopped
    ([(1, 0.25, 0.25, True), (2, 0.5, 0.5, True)], 'no more rounds')
    """
    check_data("data", data)
    schedule = [check_fraction("schedule", requested) for requested in schedule]
    for name, value in (("max_drop", max_drop), ("target", target)):
        if value is not None:
            check_fraction(name, value, closed=True)
    targets = find_targets(network, network.weights(), strategy, exclude, overrides or {}, tied)
    validation = data if validation is None else validation
    judge = {"loss": loss, "metric": metric, "threads": threads}
    baseline = evaluate(network, validation, **judge)
    rounds, stopped, idle = [], "", ""
    for number, requested in enumerate(schedule, 1):
        start, good = time.perf_counter(), network.copy()
        try:
            scores = score(network, criterion, data, loss=loss, seed=seed, threads=threads)
            by = criterion_name(criterion)
            _, idle = prune_targets(network, scores, strategy, requested, targets, factor, by)
            before = evaluate(network, validation, **judge)
            retrain(network)
            after = evaluate(network, validation, **judge)
        except BaseException:
            network.restore(good)
            raise
        accepted = np.isfinite(after.loss) and (max_drop is None or after.accuracy >= baseline.accuracy - max_drop)
        seconds = time.perf_counter() - start
        rounds.append(_record(network, data, number, requested, before, after, bool(accepted), seconds))
        if not accepted:
            network.restore(good)
            reason = "accuracy fell too far" if np.isfinite(after.loss) else "the loss is not finite"
            stopped = f"{reason}: rolled back to the last good network"
        if on_round:
            on_round(rounds[-1])
        if not accepted:
            break
        if target is not None and _reached(network, target):
            stopped = "target reached"
            break
    if not stopped:
        stopped = _at_the_end(network, target, idle)
    return PruneHistory(baseline.accuracy, baseline.loss, tuple(rounds), stopped)
