"""Scores of a network's weights: a criterion over its layers, which gets the quantities that it asks for."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..checks import check_float_array, check_known, warn_caller
from ..machine.threads import threads as use_threads
from ..nn.losses import softmax_cross_entropy
from ..nn.network import Network
from ..nn.training import Data, Loss
from .granularity import Arrays
from .masks import check_scores
from .probe import Batches, draw_batches
from .quantities import OF_A_BATCH, OF_ALL_BATCHES, OF_THE_LAYER, OF_THE_NETWORK, batch_quantities

Criterion = Callable[..., np.ndarray]


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
    weights: Mapping[str, np.ndarray] | None = None,
) -> Arrays:
    """Importance of every prunable weight, by layer name.

    Parameters
    ----------
    criterion : function
        Its arguments say what it gets (see `quantities`), arrays read-only. One that asks for a quantity of a batch is
        averaged over the samples of `data`: I = sum_b |b| criterion(theta, dL_b/dtheta) / sum_b |b|.
    data : (x, y)
        Needed by criteria of the data. The network is not trained: statistics and dropout are as in evaluation. Its
        gradients are overwritten then, and what its last forward left for a backward is dropped.
    max_batches : int or None
        How many batches, drawn without replacement (None: all).
    weights : dict of arrays, optional
        What the criterion gets as `weight`, by layer name, where not the network's own: values that masks have pruned.
        Gradients and all else are of the network as it is.

    Warns
    -----
    UserWarning
        Where a layer before the last has not what the criterion asks for (a scale behind it): it has no scores then.

    Examples
    --------
    >>> from sparsenet import Linear, chain, scores
    >>> network = chain({"fc": Linear(2, 2)})
    >>> network["fc"].set_weight(np.array([[1.0, -2.0], [0.5, 0.0]]))
    >>> score(network, scores.l1)["fc"].tolist()
    [[1.0, 2.0], [0.5, 0.0]]
    """
    needs = needs_of(criterion)
    rng = np.random.default_rng(seed)
    offered = {name: OF_THE_NETWORK[name](network) for name in sorted(needs & set(OF_THE_NETWORK))}
    if weights is not None:
        offered["weight"] = {name: weight.value for name, weight in network.weights().items()} | _checked(
            network, weights
        )
    parts, of_data = None, needs & {*OF_A_BATCH, *OF_ALL_BATCHES}
    if of_data:
        if data is None:
            raise ValueError(f"data must be given: the criterion scores by {', '.join(sorted(of_data))}")
        parts = draw_batches(data, batch_size, max_batches, rng)
    with use_threads(threads):
        try:
            for name in sorted(needs & set(OF_ALL_BATCHES)):
                offered[name] = OF_ALL_BATCHES[name](network, parts, loss)
            if not needs & set(OF_A_BATCH):
                scores = _score_layers(network, criterion, needs, offered, rng)
            else:
                scores = _average(network, criterion, needs, offered, parts, loss, rng)
        finally:
            if parts is not None:
                network.forget()
    _check_left_out(network, criterion, scores)
    return scores


def needs_of(criterion: Criterion) -> set[str]:
    """The quantities that a criterion asks for: the names of its arguments.

    Examples
    --------
    >>> from sparsenet import scores
    >>> sorted(needs_of(scores.taylor))
    ['gradient', 'weight']
    """
    needs = {
        name
        for name, parameter in inspect.signature(criterion).parameters.items()
        if parameter.default is parameter.empty
    }
    check_known("arguments of the criterion", needs, (*OF_THE_LAYER, *OF_A_BATCH, *OF_ALL_BATCHES, *OF_THE_NETWORK))
    return needs


def _checked(network: Network, weights: Mapping[str, np.ndarray]) -> Arrays:
    """The values to score in the place of the network's own, when they fit."""
    own = network.weights()
    check_known("weights", weights, own)
    for name, array in weights.items():
        if check_float_array(f"weights[{name!r}]", array).shape != own[name].shape:
            raise ValueError(f"weights[{name!r}] must have the shape {own[name].shape}, not {array.shape}")
    return dict(weights)


def _average(
    network: Network,
    criterion: Criterion,
    needs: set[str],
    offered: Mapping[str, Arrays],
    parts: Batches,
    loss: Loss,
    rng: np.random.Generator,
) -> Arrays:
    """Scores of a criterion of one batch at a time: the mean over the samples of all."""
    totals = {}
    for x, y in parts:
        given = {**offered, **batch_quantities(network, x, y, loss, needs)}
        for name, scores in _score_layers(network, criterion, needs, given, rng).items():
            part = len(x) / parts.samples * scores
            totals[name] = totals[name] + part if name in totals else part
    return totals


def _score_layers(
    network: Network, criterion: Criterion, needs: set[str], offered: Mapping[str, Arrays], rng: np.random.Generator
) -> Arrays:
    """Scores of the layers that have all the criterion asks for: checked, and arrays of their own."""
    offered = {"weight": {name: weight.value for name, weight in network.weights().items()}, **offered}
    named = sorted(needs - {"rng"})
    scores = {}
    for name, weight in network.weights().items():
        if all(name in offered[argument] for argument in named):
            given: dict[str, Any] = {argument: _to_read(offered[argument][name]) for argument in named}
            made = criterion(**given, **({"rng": rng} if "rng" in needs else {}))
            called = f"the scores of {name!r} by {criterion_name(criterion)}"
            check_scores(called, made)
            if made.shape != weight.shape:
                raise ValueError(f"{called} must have the weight's shape {weight.shape}, not {made.shape}")
            scores[name] = np.array(made)
    return scores


def _check_left_out(network: Network, criterion: Criterion, scores: Arrays) -> None:
    """Say which layers have no scores; the last one need not have any, whose units stay anyway."""
    missing = [name for name in network.weights() if name not in scores]
    listed = ", ".join(map(repr, missing))
    if not scores:
        raise ValueError(f"no layer has what {criterion_name(criterion)} asks for ({listed})")
    if missing and missing != list(network.weights())[-1:]:
        warn_caller(f"{listed}: not scored, for want of what {criterion_name(criterion)} asks for")


def _to_read(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def criterion_name(criterion: Criterion) -> str:
    """What messages call a criterion.

    Examples
    --------
    >>> from sparsenet import scores
    >>> criterion_name(scores.taylor), criterion_name(partial(scores.ln, n=3))
    ("criterion 'taylor'", "criterion 'ln(n=3)'")
    """
    if isinstance(criterion, partial):
        given = [*map(repr, criterion.args), *(f"{name}={value!r}" for name, value in criterion.keywords.items())]
        called = f"{getattr(criterion.func, '__name__', repr(criterion.func))}({', '.join(given)})"
    else:
        called = getattr(criterion, "__name__", repr(criterion))
    return f"criterion {called!r}"
