"""Structural pruning: masked units are removed, and what remains is a smaller dense network with the same outputs."""

import numpy as np

from ..nn.layer import Layer
from ..nn.layers import Conv2d, Weighted
from ..nn.network import Network
from ..nn.units import unwrapped
from .dependency import find_couplings, removable_units


def remove_pruned_structures(network: Network) -> Network:
    """A smaller dense network with the same outputs: filters, channels and neurons that contribute nothing are gone.

    A unit goes when it emits exactly 0 (its weights are masked, and its bias, or the scale and shift of the batch
    normalisation behind it, are 0, as `Network.apply_masks` leaves them) or when every weight that reads it is masked.
    With it go its row, bias, running statistics, optimiser state, and the next layer's columns. Masks of what remains
    are kept. At least one unit per layer stays. A network of which single weights are pruned mostly has no such units:
    then the copy is as large as the original.

    The channels of a depthwise convolution go with the units before it, and settle which ones go. Units before or of
    another convolution in groups stay: the groups would become unequal.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"hidden": Linear(2, 3), "output": Linear(3, 1)})
    >>> network.apply_masks({"hidden": np.array([[True, True], [False, False], [True, True]])})
    >>> remove_pruned_structures(network)
    Network(
      hidden: Linear(in_features=2, out_features=2)
      output: Linear(in_features=2, out_features=1)
    )
    """
    small = network.copy()
    removed = True
    while removed:  # a removed unit may have been the last reader of one before it
        removed = False
        for coupling in find_couplings(small):
            if not coupling.consumers:
                continue
            keep = np.flatnonzero(~removable_units(small, coupling))
            keep = keep if keep.size else np.array([0])
            units = len(small[coupling.producer].weight.value)
            if keep.size == units:
                continue
            removed = True
            _select_outputs(small[coupling.producer], keep)
            for name in coupling.between:
                _select_channels(small[name], keep)
            for name, per_unit in coupling.consumers.items():
                columns = (keep[:, None] * per_unit + np.arange(per_unit)).reshape(-1)
                _select_weight(small[name], columns, axis=1)
    return small


def _select_outputs(layer: Weighted, keep: np.ndarray) -> None:
    layer.bias = layer.bias.select(keep, 0)
    _select_weight(layer, keep, axis=0)


def _select_weight(layer: Weighted, keep: np.ndarray, axis: int) -> None:
    """Cut the weight along `axis`, and the numbers that describe it."""
    plain = unwrapped(layer)
    plain.weight = plain.weight.select(keep, axis)
    units = ("out_channels", "in_channels") if isinstance(plain, Conv2d) else ("out_features", "in_features")
    setattr(plain, units[axis], int(keep.size))


def _select_channels(layer: Layer, keep: np.ndarray) -> None:
    """Cut a batch normalisation, or a depthwise convolution: it has as many inputs and groups as outputs."""
    if isinstance(layer, Weighted):
        _select_outputs(layer, keep)
        plain = unwrapped(layer)
        plain.in_channels = plain.groups = int(keep.size)
        return
    layer.channels = int(keep.size)
    layer.gamma, layer.beta = layer.gamma.select(keep, 0), layer.beta.select(keep, 0)
    layer.running_mean, layer.running_var = layer.running_mean[keep].copy(), layer.running_var[keep].copy()
