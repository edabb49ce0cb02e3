"""Parameters and multiply-adds of a network, all of them and those that the masks keep."""

from typing import NamedTuple

import numpy as np

from .layer import Shape
from .network import Network


class Counts(NamedTuple):
    """Parameters, and multiply-adds (MACs) for one sample, before and after masking."""

    parameters: int
    parameters_kept: int
    macs: int
    macs_kept: int


def count_layers(network: Network, input_shape: Shape) -> dict[str, Counts]:
    """Counts of each layer.

    Notes
    -----
    MACs = weights x output positions: every weight of a convolution is used once for each position (r, q) of its
    output, one of a linear layer once. Biases and batch normalisation (which is folded) are no MACs.
    """
    shapes, masks = network.shapes(input_shape), network.masks()
    counts = {}
    for name, layer in network.layers().items():
        parameters = layer.parameters().values()
        kept = sum(p.value.size if p.mask is None else int(p.mask.sum()) for p in parameters)
        mask = masks.get(name, np.zeros(0, bool))
        positions = int(np.prod(shapes[name][1:]))
        total = sum(p.value.size for p in parameters)
        counts[name] = Counts(total, kept, mask.size * positions, int(mask.sum()) * positions)
    return counts


def count_total(network: Network, input_shape: Shape) -> Counts:
    """Counts of the whole network."""
    return Counts(*(sum(column) for column in zip(*count_layers(network, input_shape).values(), strict=True)))
