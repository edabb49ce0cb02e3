"""Scores of a network's weights: a criterion over its layers, and over batches of data where it asks for gradients."""

import inspect
from collections.abc import Callable, Collection

import numpy as np

from ..checks import check_count, check_data, check_known
from ..machine.threads import threads as use_threads
from ..nn.losses import softmax_cross_entropy
from ..nn.network import Network
from ..nn.parameter import Parameter
from ..nn.training import Data, Loss, batches
from .granularity import Arrays
from .masks import check_scores

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
) -> Arrays:
    """Importance of every prunable weight, by layer name.

    Parameters
    ----------
    criterion : function
        Its arguments say what it gets: `weight`, `gradient`, `rng` (see `scores`), the arrays read-only. One that asks
        for the gradient is averaged over batches of `data`: I = mean over b of criterion(theta, dL_b/dtheta).
    data : (x, y)
        Needed by criteria of the gradient. The network is not trained: statistics and dropout are as in evaluation.
    max_batches : int or None
        How many batches, drawn without replacement (None: all).

    Examples
    --------
    >>> from sparsenet import Linear, chain, scores
    >>> network = chain({"fc": Linear(2, 2)})
    >>> network["fc"].set_weight(np.array([[1.0, -2.0], [0.5, 0.0]]))
    >>> score(network, scores.l1)["fc"].tolist()
    [[1.0, 2.0], [0.5, 0.0]]
    """
    needs = set(inspect.signature(criterion).parameters)
    check_known("arguments of the criterion", needs, ("weight", "gradient", "rng"))
    rng = np.random.default_rng(seed)
    if "gradient" not in needs:
        return {name: _score_layer(criterion, needs, name, w, rng) for name, w in network.weights().items()}
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
                part = _score_layer(criterion, needs, name, weight, rng)
                totals[name] = totals[name] + part if name in totals else part
    return {name: total / len(picks) for name, total in totals.items()}


def _score_layer(
    criterion: Criterion, needs: Collection[str], name: str, weight: Parameter, rng: np.random.Generator
) -> np.ndarray:
    """Scores of one layer: checked, and an array of their own."""
    offered = {"weight": _to_read(weight.value), "gradient": _to_read(weight.grad), "rng": rng}
    scores = criterion(**{argument: value for argument, value in offered.items() if argument in needs})
    called = f"the scores of {name!r} by {criterion_name(criterion)}"
    check_scores(called, scores)
    if scores.shape != weight.shape:
        raise ValueError(f"{called} must have the weight's shape {weight.shape}, not {scores.shape}")
    return np.array(scores)


def _to_read(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def criterion_name(criterion: Criterion) -> str:
    """What messages call a criterion.

    Examples
    --------
    >>> from sparsenet import scores
    >>> criterion_name(scores.taylor)
    "criterion 'taylor'"
    """
    return f"criterion {getattr(criterion, '__name__', repr(criterion))!r}"
