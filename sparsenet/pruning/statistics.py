"""Quantities that criteria ask for beside gradients: norms of the inputs, scales of the normalisation."""

import numpy as np

from ..nn.channels import unwrapped
from ..nn.layer import Layer
from ..nn.layers import Conv2d, Linear, Weighted
from ..nn.network import Network
from ..nn.normalization import BatchNorm
from ..nn.training import Loss
from .granularity import Arrays
from .probe import Batches


def input_norms(network: Network, batches: Batches, loss: Loss) -> Arrays:
    """L2 norm of what each weight multiplies, over all samples and positions, as in evaluation; the loss is not needed.

    Layers that are neither `Linear` nor `Conv2d` have none.

    Notes
    -----
    ||x||[o,i]     = sqrt(sum over n of x[n,i]^2)
    ||x||[o,c,i,j] = sqrt(sum over n, r, q of x[n, g C/G + c, r s + i d - p, q s + j d - p]^2),   g the group of o

    in float64; what padding puts there is 0.

    Examples
    --------
    >>> from sparsenet import Linear, chain, softmax_cross_entropy
    >>> x = np.array([[3.0, 1.0], [4.0, 0.0]], np.float32)
    >>> network = chain({"fc": Linear(2, 1)})
    >>> input_norms(network, Batches(x, x, [np.array([0]), np.array([1])]), softmax_cross_entropy)["fc"].tolist()
    [[5.0, 1.0]]
    """
    layers = {node.name: (unwrapped(node.layer), node.inputs[0]) for node in network.nodes if _is_known(node.layer)}
    sums: Arrays = {}
    for x, _ in batches:
        outputs = network.outputs(x)
        for name, (layer, source) in layers.items():
            sums[name] = sums.get(name, 0) + _squares_read(layer, outputs[source])
    rows = {name: layer.weight.shape[0] // len(sums[name]) for name, (layer, _) in layers.items()}
    return {name: np.repeat(np.sqrt(total), rows[name], axis=0) for name, total in sums.items()}


def _is_known(layer: Layer) -> bool:
    return isinstance(layer, Weighted) and isinstance(unwrapped(layer), Conv2d | Linear)


def _squares_read(layer: Conv2d | Linear, x: np.ndarray) -> np.ndarray:
    """Sum of the squares that each column of a group's weights multiplies: (G, C/G, kh, kw), or (1, I)."""
    squares = np.square(x, dtype=np.float64)
    if isinstance(layer, Linear):
        return squares.sum(axis=0)[None]
    (stride, padding, dilation, groups), kernel = layer.geometry, layer.kernel_size
    positions = layer.output_shape(x.shape[1:])[1:]
    squares = np.pad(squares, [(0, 0), (0, 0), *((p, p) for p in padding)])
    sums = np.empty((layer.in_channels, *kernel))
    for place in np.ndindex(kernel):
        starts = [index * d for index, d in zip(place, dilation, strict=True)]
        window = [slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(starts, stride, positions, strict=True)]
        sums[:, *place] = squares[:, :, *window].sum(axis=(0, 2, 3))
    return sums.reshape(groups, -1, *kernel)


def gamma(network: Network) -> Arrays:
    """Scale per unit of the batch normalisation that reads a layer, alone and directly; other layers have none.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"fc": Linear(2, 3), "norm": BatchNorm(3), "out": Linear(3, 1)})
    >>> {name: scale.tolist() for name, scale in gamma(network).items()}
    {'fc': [1.0, 1.0, 1.0]}
    """
    readers = {name: network.consumers(name) for name in network.weights()}
    return {
        name: nodes[0].layer.gamma.value
        for name, nodes in readers.items()
        if len(nodes) == 1 and isinstance(nodes[0].layer, BatchNorm)
    }
