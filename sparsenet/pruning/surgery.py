"""Structural pruning: masked units are removed, and what remains is a smaller dense network with the same outputs."""

import numpy as np

from ..nn.channels import is_depthwise, unwrapped
from ..nn.layers import Conv2d, Weighted
from ..nn.merge import PadShortcut
from ..nn.network import Network
from ..nn.normalization import BatchNorm, WeightNorm
from ..nn.units import kept_connections, unread_units, zero_units
from .dependency import UnitMap, graph_of, map_units


def remove_pruned_structures(network: Network) -> Network:
    """A smaller dense network with the same outputs: filters, channels and neurons that contribute nothing are gone.

    A unit is all that goes together (see `dependency_groups`): where an addition ties channels, those of all its terms.
    It goes when, for every layer that reads it, what arrives there is exactly 0 (weights are masked, and the bias, or
    the scale and shift of the batch normalisation behind it, are 0, as `Network.apply_masks` leaves them), or every
    weight that reads it is masked. With it go its rows, biases, running statistics, optimiser state, and the next
    layers' columns. Masks of what remains are kept. At least one unit per layer stays. A network of which single
    weights are pruned mostly has no such units: then the copy is as large as the original.

    Trained on in the same way, copy and original stay the same network. So a unit of zeros stays where a normalised
    weight (`WeightNorm`) reads it unmasked: these columns are part of the norm.

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
    while _cut_once(small):  # a layer's last unit, which stays, may have read units that are gone
        pass
    return small


def _cut_once(network: Network) -> bool:
    """Cut all units that are not needed; whether there were any."""
    units = map_units(network)
    keep = _needed_units(network, units)
    for name in network.weights():  # every layer keeps a unit
        if not keep[units.outputs[name]].any():
            keep[units.outputs[name][0]] = True
    if not keep.all():
        _cut(network, units, keep)
    return not keep.all()


def _needed_units(network: Network, units: UnitMap) -> np.ndarray:
    """Whether each unit has to stay, or changes the output.

    A unit whose weights are masked and whose bias is not (set by the layer's own `set_mask`) emits a constant, and
    stays: a constant of an image cannot be moved into the next layer's bias where that pads with zeros.
    """
    graph, masks, channels = graph_of(network), network.masks(), units.channels
    zero, unread = zero_units(graph, masks, channels), unread_units(graph, masks, channels)
    needed = np.ones(units.count, bool)
    for name, (layer, _) in graph.items():  # zeros of a shortcut, tied to nothing, are no unit that pruning took
        if isinstance(layer, Weighted | BatchNorm) and name in units.outputs:
            needed[units.outputs[name]] = False
    needed[list(units.stays)] = True
    for name, read in units.columns.items():
        (layer, (source,)), reads = graph[name], kept_connections(masks[name])[~unread[name]].any(axis=0)
        # a column of a normalised weight that reads zeros is part of the norm, and so of what training makes of it
        if source in zero and not isinstance(layer, WeightNorm):
            reads &= ~zero[source][channels.columns[name]]
        needed[read[reads]] = True
    return needed


def _cut(network: Network, units: UnitMap, keep: np.ndarray) -> None:
    """Leave of every layer the channels whose units `keep` has."""
    for node in network.nodes:
        name, layer = node.name, node.layer
        if name not in units.outputs:
            continue
        outputs = np.flatnonzero(keep[units.outputs[name]])
        if isinstance(layer, Weighted):
            if name in units.columns:
                _select_weight(layer, np.flatnonzero(keep[units.columns[name]]), axis=1)
            _select_outputs(layer, outputs)
        elif type(layer) is BatchNorm:
            _select_normalized(layer, outputs)
        elif type(layer) is PadShortcut:
            _select_padded(layer, np.flatnonzero(keep[units.outputs[node.inputs[0]]]), outputs)


def _select_outputs(layer: Weighted, keep: np.ndarray) -> None:
    plain = unwrapped(layer)
    if is_depthwise(layer):  # it has as many inputs and groups as outputs
        plain.in_channels = plain.groups = int(keep.size)
    layer.bias = layer.bias.select(keep, 0)
    _select_weight(layer, keep, axis=0)


def _select_weight(layer: Weighted, keep: np.ndarray, axis: int) -> None:
    """Cut the weight along `axis`, and the numbers that describe it."""
    plain = unwrapped(layer)
    if keep.size == plain.weight.shape[axis]:
        return
    plain.weight = plain.weight.select(keep, axis)
    units = ("out_channels", "in_channels") if isinstance(plain, Conv2d) else ("out_features", "in_features")
    setattr(plain, units[axis], int(keep.size))


def _select_normalized(layer: BatchNorm, keep: np.ndarray) -> None:
    layer.channels = int(keep.size)
    layer.gamma, layer.beta = layer.gamma.select(keep, 0), layer.beta.select(keep, 0)
    layer.running_mean, layer.running_var = layer.running_mean[keep].copy(), layer.running_var[keep].copy()


def _select_padded(layer: PadShortcut, inputs: np.ndarray, outputs: np.ndarray) -> None:
    """Cut a shortcut: its output channels go on copying the channels that they did, under their new numbers."""
    places = {int(old): new for new, old in enumerate(inputs)}
    layer.channels = tuple(places.get(layer.channels[output], -1) for output in outputs)
    layer.in_channels, layer.out_channels = int(inputs.size), int(outputs.size)
