"""Layers, networks and criteria of your own, checked in three lines."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from ..checks import check_count, check_data, check_float_array, check_positive
from ..nn.layer import Layer
from ..nn.losses import softmax_cross_entropy
from ..nn.network import Network, convert_layer
from ..nn.parameter import Parameter
from ..nn.training import Data, Loss
from ..pruning.granularity import Granularity, Weight, spread_over_weights, sum_over_structures
from ..pruning.scoring import Criterion, criterion_name, score
from .entry import difference
from .slopes import compare_slopes


class Differences(dict[str, float]):
    """For each gradient its largest difference from central differences; prints one a line."""

    def __str__(self) -> str:
        return "\n".join(f"{name}: {apart:.1e}" for name, apart in self.items())


def gradients(
    layer: Layer | Network,
    x: np.ndarray | tuple[np.ndarray, ...],
    *,
    training: bool = False,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> Differences:
    """Check the backward pass of a layer, or a network, against central differences of its forward pass.

    Parameters
    ----------
    layer : Layer or Network
        A float64 copy is checked: what was given stays as it is.
    x : array, or a tuple of arrays for a layer of several inputs
        A batch, small: every number in it, and in every parameter, takes two forward passes.
    training : bool
        Which of the two modes of the forward pass. What is random in it (`rng`) is drawn alike each time.
    tolerance : float
        The largest difference, relative to the largest slope, that passes.
    seed : int or Generator
        Draws dy.

    Returns
    -------
    Differences
        By name ("dx", "dx2" ..., and the parameters) the largest difference. What a mask prunes has no slope, and is
        not compared.

    Raises
    ------
    AssertionError
        Where a gradient is wrong: which one, where, and both numbers. At a kink (a ReLU's 0, equal maxima) there is no
        slope to compare with: draw another x.

    Notes
    -----
    L = sum dy f(x),  dy ~ N(0, 1);   dL/da ~ (L(a + h) - L(a - h)) / 2h for every number a of x and the parameters

    Examples
    --------
    >>> from sparsenet import Linear
    >>> differences = gradients(Linear(3, 2), np.array([[1.0, 2.0, 3.0]]))
    >>> list(differences), max(differences.values()) < 1e-8
    (['dx', 'weight', 'bias'], True)
    """
    check_positive("tolerance", tolerance)
    given = x if isinstance(x, tuple) else (x,)
    inputs = tuple(check_float_array("x", each).astype(np.float64) for each in given)
    compared = compare_slopes(_in_float64(layer), inputs, np.random.default_rng(seed), training=training)
    differences = Differences()
    for name, gradient, slope in compared:
        gradient = np.asarray(gradient)
        differences[name] = difference(gradient, slope)
        if not differences[name] <= tolerance:
            raise AssertionError(_wrong(name, gradient, slope, differences[name], tolerance))
    return differences


def _in_float64(layer: Layer | Network) -> Layer | Network:
    if isinstance(layer, Network):
        return layer.astype(np.float64)
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a Layer or a Network, not {layer!r}")
    return convert_layer(layer, np.float64)


def _wrong(name: str, gradient: np.ndarray, slope: np.ndarray, apart: float, tolerance: float) -> str:
    if gradient.shape != slope.shape:
        return f"the gradient {name!r} has shape {gradient.shape}, and what it belongs to {slope.shape}"
    place = np.unravel_index(np.nanargmax(np.abs(gradient - slope)), slope.shape)
    where = ", ".join(map(str, place))
    return (
        f"the gradient {name!r} is wrong: at [{where}] backward says {gradient[place]:.6g}, central differences "
        f"{slope[place]:.6g} (difference {apart:.1e}, allowed {tolerance:g})"
    )


@dataclass(frozen=True)
class RankCorrelations:
    """How a criterion ranks weights, or filters, against what deleting each of them does to the loss.

    Attributes
    ----------
    layers : dict name -> float
        Spearman's rank correlation of the scores with |change of the loss|, in each layer: 1 where they rank alike, 0
        where the scores say nothing, NaN where all scores or changes are one.
    overall : float
        The same over all layers together.
    units : int
        How many weights, or filters, were deleted, one at a time.
    """

    layers: dict[str, float]
    overall: float
    units: int

    def __str__(self) -> str:
        rows = [*self.layers.items(), ("all layers", self.overall)]
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:<{width}}  {value:6.3f}" for name, value in rows]
        return "\n".join([f"rank correlation with the true change of the loss ({self.units} deletions)", *lines])


def criterion(
    function: Criterion,
    network: Network,
    data: Data,
    *,
    loss: Loss = softmax_cross_entropy,
    granularity: Granularity = Weight(),
    units: int = 100,
    seed: int = 0,
) -> RankCorrelations:
    """Hold a criterion to what it stands for: how much the loss really changes when a weight, or a filter, is deleted.

    Parameters
    ----------
    function : function
        Its arguments say what it gets, as for `score`.
    network : Network
        A float64 copy is scored: what was given stays as it is.
    data : (x, y)
        Few samples: each unit that is deleted takes a forward pass over them.
    granularity : Weight, Filter, Channel or Block
        What is deleted as one: all of its weights are 0, a bias stays. Its score is the sum of theirs.
    units : int
        Units of each layer to delete, drawn without replacement.
    seed : int
        Draws them; and settles what is random in the criterion.

    Returns
    -------
    RankCorrelations
        They judge; nothing is raised for a low one (`scores.random` should have 0).

    Raises
    ------
    AssertionError
        Where the criterion is no function of its arguments: a second call with the same seed scores otherwise.
    ValueError, TypeError
        Where its scores cannot be ranked, or are not one for each weight.

    Notes
    -----
    Delta_u = |L(theta with the weights of u = 0) - L(theta)|;   rho = corr(rank I, rank Delta), ties at their mean rank

    Examples
    --------
    >>> from sparsenet import Linear, chain, losses, scores
    >>> network, rng = chain({"fc": Linear(6, 2)}), np.random.default_rng(0)
    >>> data = rng.standard_normal((20, 6)), rng.standard_normal((20, 2))
    >>> report = criterion(scores.taylor, network, data, loss=losses.mean_squared_error)
    >>> report.units, report.overall > criterion(scores.random, network, data, loss=losses.mean_squared_error).overall
    (12, True)
    """
    check_count("units", units)
    x, y = check_data("data", data)
    copied = network.astype(np.float64)
    x = check_float_array("x of data", x).astype(np.float64)

    def scored() -> dict[str, np.ndarray]:
        return score(copied, function, (x, y), loss=loss, batch_size=len(x), seed=seed)

    scores, again = scored(), scored()
    for name in scores:
        if not np.array_equal(scores[name], again[name]):
            raise AssertionError(f"{criterion_name(function)} scores {name!r} otherwise when called again, same seed")
    rng, ranked, changed = np.random.default_rng(seed), {}, {}
    for name, values in scores.items():
        sums = sum_over_structures(values, granularity)
        there = np.flatnonzero(sum_over_structures(copied.masks()[name], granularity))  # what is gone proves nothing
        picked = rng.permutation(there)[:units]
        ranked[name], kept = sums[picked], [np.arange(sums.size) != unit for unit in picked]
        masks = [spread_over_weights(each, values.shape, granularity) for each in kept]
        changed[name] = np.abs(_deletions(lambda: loss(copied.forward(x), y)[0], copied[name].weight, masks))
    layers = {name: rank_correlation(ranked[name], changed[name]) for name in scores}
    together = [np.concatenate(list(part.values())) for part in (ranked, changed)]
    return RankCorrelations(layers, rank_correlation(*together), len(together[0]))


def _deletions(loss: Callable[[], float], weight: Parameter, masks: list[np.ndarray]) -> np.ndarray:
    """The change of the loss when the weights that one of the masks leaves out are 0."""
    before, value = loss(), weight.value.copy()
    changes = np.empty(len(masks))
    for number, mask in enumerate(masks):
        weight.value = np.where(mask, value, 0)
        changes[number] = loss() - before
    weight.value = value
    return changes


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their mean rank; NaN where one of the two is constant.

    Examples
    --------
    >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 100.0]))
    1.0
    """
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)
