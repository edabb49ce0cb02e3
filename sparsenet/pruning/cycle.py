"""The cycle: score -> mask -> retrain -> evaluate, round by round, with its stop rule.

The one place where the pure half of pruning (scores, masks, schedules) meets the network.
"""

import inspect
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import check_count, check_fraction, check_known
from ..machine.threads import threads as use_threads
from ..nn.counting import count_total
from ..nn.losses import accuracy, softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Evaluation, Loss, Metric, batches, check_data, evaluate
from .dependency import extend_masks, fixed_layers
from .masks import Arrays
from .scores import l1
from .strategies import Strategy, proportional

Criterion = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Round:
    """What one round of pruning did.

    Attributes
    ----------
    round : int
        1, 2, ...
    strength : float
        What the schedule asked for: a sparsity (or the rate of `max_threshold`).
    sparsity, layer_sparsity
        Fraction of the prunable weights that is gone, in all and by layer.
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
    strength: float
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


def score(
    network: Network,
    criterion: Criterion,
    data: Data | None = None,
    *,
    loss: Loss = softmax_cross_entropy,
    batch_size: int = 256,
    max_batches: int | None = 16,
    seed: int | np.random.Generator = 0,
    threads: int | None = None,
) -> Arrays:
    """Importance of every prunable weight, by layer name.

    Parameters
    ----------
    criterion : function
        Its arguments say what it gets: `weight`, `gradient`, `rng` (see `scores`). One that asks for the gradient is
        averaged over batches of `data`: I = mean over b of criterion(theta, dL_b/dtheta).
    data : (x, y)
        Needed by criteria of the gradient. The network is not trained: statistics and dropout are as in evaluation.
    max_batches : int or None
        How many batches, drawn without replacement (None: all).
    """
    needs = set(inspect.signature(criterion).parameters)
    check_known("arguments of the criterion", needs, ("weight", "gradient", "rng"))
    rng = np.random.default_rng(seed)
    if "gradient" not in needs:
        weights = network.weights()
        return {n: _apply(criterion, needs, weight=w.value, rng=rng) for n, w in weights.items()}
    if data is None:
        raise ValueError("data must be given: the criterion scores by the gradient of the loss")
    x, y = check_data("data", data)
    picks = batches(rng.permutation(len(x)), check_count("batch_size", batch_size))
    picks = picks if max_batches is None else picks[: check_count("max_batches", max_batches)]
    totals = {}
    with use_threads(threads):
        for pick in picks:
            network.backward(loss(network.forward(x[pick]), y[pick])[1], to_input=False)
            for name, weight in network.weights().items():
                part = _apply(criterion, needs, weight=weight.value, gradient=weight.grad, rng=rng)
                totals[name] = totals[name] + part if name in totals else part
    return {name: total / len(picks) for name, total in totals.items()}


def _apply(criterion: Criterion, needs: Collection[str], **offered) -> np.ndarray:
    return criterion(**{name: value for name, value in offered.items() if name in needs})


def prune(
    network: Network,
    scores: Mapping[str, np.ndarray],
    strategy: Strategy,
    strength: float,
    *,
    exclude: Collection[str] = (),
    overrides: Mapping[str, float] | None = None,
    factor: float = 0.0,
) -> Arrays:
    """Score -> mask: apply the strategy's masks to the network in place and return them.

    Whole filters and neurons take what belongs to them along (bias, batch normalisation, the next layer's columns); the
    output layer's neurons, which are the classes, are left out (for `Channel`: the first layer's inputs), and so are
    convolutions in groups (see `fixed_layers`). `factor` in [0, 1) reduces the losing weights instead of deleting them
    (0 deletes).

    Parameters
    ----------
    exclude : names
        Layers left as they are.
    overrides : dict name -> strength
        Layers with a strength of their own.

    Returns
    -------
    dict of masks
        As the strategy made them, before they are widened to all that belongs to a unit.
    """
    structured = strategy.granularity.axis is not None
    names = network.weights()
    check_known("exclude", exclude, names)
    check_known("overrides", overrides or {}, names)
    fixed = fixed_layers(network, strategy.granularity) if structured else set()
    wrong = sorted(fixed & set(overrides or {}))
    if wrong:
        raise ValueError(f"overrides names {', '.join(map(repr, wrong))}, whose units have to stay")
    left_out = (set(exclude) | fixed) & set(scores)
    current = {name: mask for name, mask in network.masks().items() if name in scores}
    masks = strategy(scores, strength, current=current, exclude=left_out, overrides=overrides)
    network.apply_masks(masks, factor=factor)
    if structured and not factor:
        extend_masks(network)
    return masks


def _record(
    network: Network,
    data: Data,
    number: int,
    strength: float,
    before: Evaluation,
    after: Evaluation,
    accepted: bool,
    seconds: float,
) -> Round:
    counts = count_total(network, data[0].shape[1:])
    return Round(
        round=number,
        strength=strength,
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
        Strength of each round, for instance `schedules.cubic(5, 0.95)`.
    retrain : function
        Trains the survivors in place: `lambda net: fit(net, data, epochs=2, ...)`.
    max_drop : float, optional
        A round whose accuracy falls by more than this below the unpruned network's is refused: the network is rolled
        back to the last good one and the cycle stops.
    target : float, optional
        Stop once the achieved sparsity has reached it.
    exclude, overrides
        Layers left out, and layers with a strength of their own, by name: see `prune`.
    loss, metric : functions (output, y)
        For a regression `mean_squared_error` and `r_squared`; the metric is what `max_drop` judges.
    factor : float in [0, 1)
        Reduce the losing weights by it instead of deleting them.

    Returns
    -------
    PruneHistory

    Notes
    -----
    A round whose loss is not finite is refused too. When a round raises (a diverging `retrain`, Ctrl-C), the network is
    first put back to the last good one.
    """
    check_data("data", data)
    schedule = [check_fraction("schedule", strength) for strength in schedule]
    for name, value in (("max_drop", max_drop), ("target", target)):
        if value is not None:
            check_fraction(name, value, closed=True)
    validation = data if validation is None else validation
    judge = {"loss": loss, "metric": metric, "threads": threads}
    baseline = evaluate(network, validation, **judge)
    rounds, stopped = [], "no more rounds"
    for number, strength in enumerate(schedule, 1):
        start, good = time.perf_counter(), network.copy()
        try:
            scores = score(network, criterion, data, loss=loss, seed=seed, threads=threads)
            prune(network, scores, strategy, strength, exclude=exclude, overrides=overrides, factor=factor)
            before = evaluate(network, validation, **judge)
            retrain(network)
            after = evaluate(network, validation, **judge)
        except BaseException:
            network.restore(good)
            raise
        accepted = np.isfinite(after.loss) and (max_drop is None or after.accuracy >= baseline.accuracy - max_drop)
        seconds = time.perf_counter() - start
        rounds.append(_record(network, data, number, strength, before, after, bool(accepted), seconds))
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
    return PruneHistory(baseline.accuracy, baseline.loss, tuple(rounds), stopped)
