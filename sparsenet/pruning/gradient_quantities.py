"""Quantities made of gradients of all batches, or recorded of them in training: by layer, for criteria.

The mean gradient, the Hessian times it, and movement.
"""

import numpy as np

from ..nn.hessian_product import hessian_product
from ..nn.network import Network
from ..nn.normalization import NormalizedWeight
from ..nn.parameter import Parameter
from ..nn.training import Loss
from .granularity import Arrays
from .probe import Batches, set_gradients


def mean_gradient(network: Network, batches: Batches, loss: Loss) -> Arrays:
    """Gradient of the mean loss over all batches, signs and all.

    Notes
    -----
    g = sum_b |b| dL_b/dtheta / sum_b |b|,  L_b the mean loss of batch b. What masks prune has one too.

    Examples
    --------
    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(1, 1)})
    >>> network["fc"].set_weight(np.array([[1.0]]))
    >>> x, y = np.ones((2, 1), np.float32), np.array([[0.0], [4.0]], np.float32)
    >>> batches = Batches(x, y, [np.array([0]), np.array([1])])  # gradients 2 and -6
    >>> mean_gradient(network, batches, mean_squared_error)["fc"].tolist()
    [[-2.0]]
    """
    totals = {}
    for x, y in batches:
        set_gradients(network, x, y, loss)
        for name, weight in network.weights().items():
            part = len(x) / batches.samples * weight.grad
            totals[name] = totals[name] + part if name in totals else part
    return totals


def hessian_gradient(network: Network, batches: Batches, loss: Loss) -> Arrays:
    """H g of the mean loss over all batches: g its gradient over the weights that are kept, H its Hessian; exact.

    Notes
    -----
    The first pass over the batches makes g, the second one the sum of |b| H_b g / sum_b |b|. What masks prune does not
    train: it has no part in g, and a place in H g.

    Examples
    --------
    L = w^2 for the input 1 and the target 0: g = 2 w, H = 2.

    >>> from sparsenet import Linear, chain, mean_squared_error
    >>> network = chain({"fc": Linear(1, 1)})
    >>> network["fc"].set_weight(np.array([[3.0]]))
    >>> batches = Batches(np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32), [np.array([0])])
    >>> hessian_gradient(network, batches, mean_squared_error)["fc"].tolist()
    [[12.0]]
    """
    masks = network.masks()
    gradient = {name: array * masks[name] for name, array in mean_gradient(network, batches, loss).items()}
    totals = {}
    for x, y in batches:
        for name, product in hessian_product(network, x, y, loss, gradient).items():
            part = len(x) / batches.samples * product
            totals[name] = totals[name] + part if name in totals else part
    return totals


def recorded_movement(network: Network) -> Arrays:
    """What training with `optimizers.Movement` has recorded: S = -sum_t theta_t dL/dtheta_t.

    Raises
    ------
    ValueError
        Where nothing was recorded for a weight.

    Notes
    -----
    Of a weight normalisation w = g v / ||v||, with u = v / ||v||, each step has  w dL/dw = v dL/dv + u^2 g dL/dg  (the
    loss does not see the length of v, so that v dL/dv alone sums to 0 in every unit). Hence

    S = S_v + u^2 S_g        u as it is now; exact for the sum over a unit, and for each weight as far as u stayed

    Examples
    --------
    >>> from sparsenet import SGD, Linear, chain, fit, mean_squared_error, optimizers
    >>> network = chain({"fc": Linear(1, 1)})
    >>> network["fc"].set_weight(np.array([[2.0]]))
    >>> data = np.ones((1, 1), np.float32), np.array([[3.0]], np.float32)  # dL/dw = 2 (w - 3) = -2
    >>> recorder = optimizers.Movement(SGD(lr=0.1))
    >>> epochs = fit(network, data, epochs=1, optimizer=recorder, loss=mean_squared_error, metric=lambda y, t: 0.0)
    >>> recorded_movement(network)["fc"].tolist()
    [[4.0]]
    """
    weights = network.weights()
    missing = [name for name, weight in weights.items() if not _is_recorded(weight)]
    if missing:
        raise ValueError(
            f"no movement is recorded for {', '.join(map(repr, missing))}: train with "
            "optimizer=optimizers.Movement(SGD(...)) first"
        )
    return {name: _movement_of(weight) for name, weight in weights.items()}


def _is_recorded(weight: Parameter) -> bool:
    parts = (weight.direction, weight.gain) if isinstance(weight, NormalizedWeight) else (weight,)
    return all("movement" in part.state for part in parts)


def _movement_of(weight: Parameter) -> np.ndarray:
    if not isinstance(weight, NormalizedWeight):
        return weight.state["movement"]
    rows = weight.direction.value.reshape(len(weight.direction.value), -1)
    squares = rows**2
    length = squares.sum(axis=1, keepdims=True)
    shares = np.divide(squares, length, out=np.zeros_like(squares), where=length > 0)
    of_gain = shares * weight.gain.state["movement"][:, None]
    return weight.direction.state["movement"] + of_gain.reshape(weight.shape)
