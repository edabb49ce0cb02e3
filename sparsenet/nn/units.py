"""What goes with a unit (a filter, a neuron) whose weights the masks have taken.

Two walks over the network, on booleans instead of numbers: forwards, which channels are exactly 0 because nothing alive
reaches them; backwards, which channels nothing reads.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from .layer import Layer
from .layers import Conv2d, Dropout, Flatten, Linear, ReLU, Weighted
from .normalization import BatchNorm, WeightNorm
from .parameter import Parameter
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d

# layers that treat each channel alone and turn a channel of zeros into zeros (batch normalisation: once it is masked)
CHANNELWISE = (BatchNorm, ReLU, Dropout, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Flatten)

Graph = Mapping[str, tuple[Layer, tuple[str, ...]]]  # a layer and the names of what it reads, by name, in order
Units = dict[str, np.ndarray]  # one boolean for each unit of a layer's output, by the layer's name


def unwrapped(layer: Weighted) -> Conv2d | Linear:
    """The layer itself, or the one inside a weight normalisation."""
    return layer.layer if isinstance(layer, WeightNorm) else layer


def groups_of(layer: Weighted) -> int:
    """Groups of a convolution; 1 for other layers."""
    return getattr(unwrapped(layer), "groups", 1)


def keeps_apart(layer: Layer, units: int) -> bool:
    """Whether a layer without weights gives `units` channels that each depend on one channel of its input."""
    channels = getattr(layer, "channels", units)  # a batch normalisation of flattened images has others
    return type(layer) in CHANNELWISE and channels == units


def kept_weights(layer: Weighted) -> np.ndarray:
    """A copy of the mask of a layer's weight; all True where none was set."""
    mask = layer.weight.mask
    return np.ones(layer.weight.shape, bool) if mask is None else mask.copy()


def parameters_per_unit(layer: Layer) -> list[Parameter]:
    """The parameters of one number per unit: what a layer makes of zeros is zero where they are."""
    return [layer.bias] if isinstance(layer, Weighted) else list(layer.parameters().values())


def output_layers(graph: Graph) -> set[str]:
    """The layers with weights whose units reach the network's output with no other weights between."""
    found, frontier = set(), list(graph)[-1:]
    while frontier:
        name = frontier.pop()
        if name in graph:
            layer, inputs = graph[name]
            if isinstance(layer, Weighted):
                found.add(name)
            else:
                frontier.extend(inputs)
    return found


def _connections(mask: np.ndarray) -> np.ndarray:
    """Whether output o keeps a weight that reads input c: (O, C / groups)."""
    return mask.reshape(*mask.shape[:2], -1).any(axis=2)


def _by_weight(channels: np.ndarray, layer: Weighted, shape: tuple[int, ...]) -> np.ndarray:
    """Spread a boolean per input channel over (O, C / groups): o reads the channels of its own group."""
    groups = groups_of(layer)
    inputs = shape[1] * groups
    if inputs % len(channels):  # the layers do not fit each other: the forward pass will say so
        return np.ones(shape[:2], bool)
    columns = np.repeat(channels, inputs // len(channels))
    return np.repeat(columns.reshape(groups, -1), shape[0] // groups, axis=0)


def _alive_inputs(node: tuple[Layer, tuple[str, ...]], shape: tuple[int, ...], silent: Units) -> np.ndarray:
    """Whether the input that a weight reads may be other than 0: (O, C / groups)."""
    layer, inputs = node
    if inputs[0] not in silent:
        return np.ones(shape[:2], bool)
    return _by_weight(~silent[inputs[0]], layer, shape)


def silent_units(graph: Graph, masks: Mapping[str, np.ndarray]) -> Units:
    """Units that no weight reaches: they keep none, or those that they keep read such units only.

    Followed through the layers that keep channels apart; a layer that does not (or is not known) has no entry. The
    units of the output layers are never among them.
    """
    silent, outputs = {}, output_layers(graph)
    for name, (layer, inputs) in graph.items():
        if isinstance(layer, Weighted):
            mask = masks[name]
            reached = _connections(mask) & _alive_inputs((layer, inputs), mask.shape, silent)
            silent[name] = ~reached.any(axis=1) & (name not in outputs)
        elif len(inputs) == 1 and inputs[0] in silent and keeps_apart(layer, len(silent[inputs[0]])):
            silent[name] = silent[inputs[0]]
    return silent


def unread_units(graph: Graph, masks: Mapping[str, np.ndarray], like: Units) -> Units:
    """Units, of the layers in `like`, that no kept weight reads, or only those of units that nothing reads."""
    unread, readings = {}, defaultdict(list)  # by layer: what each of its readers reads; None is everything
    for name, (layer, inputs) in reversed(graph.items()):
        reading = None
        if name in like:
            reading = np.ones(len(like[name]), bool)
            if readings[name] and not any(part is None for part in readings[name]):
                parts = [part.reshape(len(reading), -1).any(axis=1) for part in readings[name]]
                reading = np.logical_or.reduce(parts)
            unread[name] = ~reading
            if isinstance(layer, Weighted):
                reads = _connections(masks[name]) & reading[:, None]
                groups = groups_of(layer)
                reading = reads.reshape(groups, -1, reads.shape[1]).any(axis=1).reshape(-1)
        for source in inputs:
            readings[source].append(reading)
    return unread


def _takes_whole_units(graph: Graph, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    """Whether all that a layer lost is of outputs, or all of inputs, that now have nothing left; and that in each."""
    went = False
    for name, mask in after.items():
        lost, kept = _connections(before[name] & ~mask), _connections(mask)
        from_outputs = not (lost & kept.any(axis=1)[:, None]).any()
        from_inputs = groups_of(graph[name][0]) == 1 and not (lost & kept.any(axis=0)).any()
        if not from_outputs and not from_inputs:
            return False
        went |= bool(lost.any())
    return went


def take_along(graph: Graph, before: Mapping[str, np.ndarray]) -> None:
    """Mask what belongs to the units that the masks of the weights have ended, where `before` were the masks.

    See `Network.apply_masks` for the rule.
    """
    after = {name: kept_weights(layer) for name, (layer, _) in graph.items() if isinstance(layer, Weighted)}
    was, silent = silent_units(graph, before), silent_units(graph, after)
    gone = silent
    if _takes_whole_units(graph, before, after):
        for name, mask in after.items():
            columns = _alive_inputs(graph[name], mask.shape, silent)
            after[name] = mask & columns.reshape(*columns.shape, *[1] * (mask.ndim - 2))
        gone = {name: silent[name] | units for name, units in unread_units(graph, after, silent).items()}
        for name, mask in after.items():
            mask &= ~gone[name].reshape(-1, *[1] * (mask.ndim - 1))
            if not np.array_equal(mask, kept_weights(graph[name][0])):
                graph[name][0].set_mask(mask)
    for name, units in gone.items():
        layer = graph[name][0]
        for parameter in parameters_per_unit(layer):
            mask = np.ones(len(units), bool) if parameter.mask is None else parameter.mask
            wanted = (mask | was[name]) & ~units
            if not np.array_equal(mask, wanted):
                parameter.set_mask(wanted)
                if parameter is getattr(layer, "gamma", None):
                    parameter.value[wanted & ~mask] = 1  # with a scale of 0 no gradient would reach the unit again
