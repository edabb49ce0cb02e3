"""Synaptic flow: the gradient of what flows through a network whose weights are all positive (SynFlow)."""

import numpy as np

from ..nn.network import Network
from ..nn.normalization import BatchNorm
from ..nn.training import Loss
from .granularity import Arrays
from .probe import Batches


def positive_copy(network: Network) -> Network:
    """A float64 copy with |theta| for every weight and |gamma| for every scale; biases, shifts, running means 0.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(2, 1)})
    >>> network["fc"].set_weight(np.array([[1.0, -2.0]]))
    >>> network["fc"].bias.value[:] = -5
    >>> positive_copy(network)(np.ones((1, 2))).tolist()
    [[3.0]]
    """
    positive = network.astype(np.float64)
    for name, layer in positive.weighted().items():
        # of the value that is scored: a product of weight normalisation would differ in its rounding
        layer.set_weight(np.abs(network[name].weight.value))
        layer.bias.value[:] = 0
    for layer in positive.layers().values():
        if isinstance(layer, BatchNorm):
            layer.gamma.value[:] = np.abs(layer.gamma.value)
            layer.beta.value[:] = 0
            layer.running_mean[:] = 0
    return positive


def flow_gradient(network: Network, batches: Batches, loss: Loss) -> Arrays:
    """dR/d|theta|, R the sum of the outputs of `positive_copy` for one input of ones.

    Of the batches it takes the shape of a sample, and of the loss nothing.

    Examples
    --------
    >>> from sparsenet import Linear, ReLU, chain, softmax_cross_entropy
    >>> network = chain({"a": Linear(2, 2), "relu": ReLU(), "b": Linear(2, 1)})
    >>> network["a"].set_weight(np.array([[1.0, -2.0], [0.5, 0.0]]))
    >>> network["b"].set_weight(np.array([[-4.0, 2.0]]))
    >>> batches = Batches(np.zeros((1, 2)), np.zeros(1, int), [np.array([0])])
    >>> found = flow_gradient(network, batches, softmax_cross_entropy)
    >>> found["a"].tolist(), found["b"].tolist()  # scores 4 + 8 + 1 + 0 = 13 and 12 + 1 = 13
    ([[4.0, 4.0], [2.0, 2.0]], [[3.0, 0.5]])
    """
    positive = positive_copy(network)
    output = positive(np.ones((1, *batches.x.shape[1:])))
    positive.backward(np.ones_like(output), to_input=False)
    return {name: weight.grad for name, weight in positive.weights().items()}
