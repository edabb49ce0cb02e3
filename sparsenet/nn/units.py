"""What goes with a unit (a filter, a neuron) whose weights the masks have taken.

Two walks over the network, on the channels instead of their values: forwards, which are exactly 0 because nothing alive
reaches them; backwards, which of them nothing reads.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from .channels import INPUT, Channels, Graph, groups_of, trace_channels
from .layer import Layer
from .layers import Weighted
from .merge import Add, Concat, PadShortcut
from .normalization import BatchNorm
from .parameter import Parameter

Units = dict[str, np.ndarray]  # one boolean for each unit of a layer's output, by the layer's name

# What a channel carries, in such an order that the highest wins where channels are added up: zeros that a PadShortcut
# made, which are part of the network; zeros because nothing alive reaches it; numbers.
PADDED, SILENT, ALIVE = range(3)


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


def kept_connections(mask: np.ndarray) -> np.ndarray:
    """Whether output o keeps a weight that reads input c: (O, C / groups)."""
    return mask.reshape(*mask.shape[:2], -1).any(axis=2)


def _by_weight(columns: np.ndarray, layer: Weighted) -> np.ndarray:
    """Spread a boolean per input column over (O, C / groups): o reads the columns of its own group."""
    groups = groups_of(layer)
    return np.repeat(columns.reshape(groups, -1), layer.weight.shape[0] // groups, axis=0)


def _alive_inputs(node: tuple[Layer, tuple[str, ...]], columns: np.ndarray | None, silent: Units) -> np.ndarray:
    """Whether the input that a weight reads may be other than 0: (O, C / groups)."""
    layer, inputs = node
    if columns is None or inputs[0] not in silent:
        return np.ones(layer.weight.shape[:2], bool)
    return _by_weight(~silent[inputs[0]][columns], layer)


def silent_units(graph: Graph, masks: Mapping[str, np.ndarray], channels: Channels) -> Units:
    """Channels that no weight reaches: their weights are gone, or those that are left read such channels only.

    Followed through the layers that keep channels apart, and through sums (silent where all terms are),
    concatenations and shortcuts; a layer that does not (or is not known) has no entry. The units of the output layers
    are never among them. Bias, scale and shift of a silent unit are taken to go with it.
    """
    return {name: carries == SILENT for name, carries in _carried_by(graph, masks, channels).items()}


def zero_units(graph: Graph, masks: Mapping[str, np.ndarray], channels: Channels) -> Units:
    """Channels that are exactly 0: silent, with bias, scale and shift 0 as they are, or made so by a `PadShortcut`."""
    found = _carried_by(graph, masks, channels, own_values=True)
    return {name: carries != ALIVE for name, carries in found.items()}


def _carried_by(
    graph: Graph, masks: Mapping[str, np.ndarray], channels: Channels, *, own_values: bool = False
) -> dict[str, np.ndarray]:
    """PADDED, SILENT or ALIVE for each channel of each layer; with `own_values` ALIVE too where a bias is not 0."""
    carried, silent, outputs = {}, {}, output_layers(graph)
    if INPUT in channels.counts:
        carried[INPUT] = np.full(channels.counts[INPUT], ALIVE)
    for name, (layer, inputs) in graph.items():
        if name not in channels.counts:
            continue
        if isinstance(layer, Weighted):
            alive = _alive_inputs((layer, inputs), channels.columns.get(name), silent)
            reached = (kept_connections(masks[name]) & alive).any(axis=1) | (name in outputs)
            carried[name] = np.where(reached, ALIVE, SILENT)
        else:
            carried[name] = _carried(layer, [carried[source] for source in inputs])
        if own_values:
            for parameter in parameters_per_unit(layer):
                carried[name] = np.where(parameter.value != 0, ALIVE, carried[name])
        silent[name] = carried[name] == SILENT
    return {name: carries for name, carries in carried.items() if name != INPUT}


def _carried(layer: Layer, states: list[np.ndarray]) -> np.ndarray:
    """What the channels of a layer without weights carry."""
    if type(layer) is Add:
        return np.maximum.reduce(states)
    if type(layer) is Concat:
        return np.concatenate(states)
    if type(layer) is PadShortcut:
        channels = np.array(layer.channels)
        return np.where(channels < 0, PADDED, states[0][channels])
    if type(layer) is BatchNorm:  # which makes its shift of zeros
        return np.where(states[0] == PADDED, ALIVE, states[0])
    return states[0]


def unread_units(graph: Graph, masks: Mapping[str, np.ndarray], channels: Channels) -> Units:
    """Channels of the layers' outputs that no kept weight reads, or only those of units that nothing reads."""
    unread, readings = {}, defaultdict(list)  # by layer: what each of its readers reads; None is everything
    for name, (layer, inputs) in reversed(graph.items()):
        count = channels.counts.get(name)
        if count is None:
            parts = [None] * len(inputs)
        else:
            reading = np.ones(count, bool)
            if readings[name] and not any(part is None for part in readings[name]):
                reading = np.logical_or.reduce(readings[name])
            unread[name] = ~reading
            parts = _passed_on(layer, reading, masks.get(name), channels, (name, inputs))
        for source, part in zip(inputs, parts, strict=True):
            readings[source].append(part)
    return unread


def _passed_on(
    layer: Layer, reading: np.ndarray, mask: np.ndarray | None, channels: Channels, node: tuple[str, tuple[str, ...]]
) -> list[np.ndarray | None]:
    """Which channels of each of its inputs a layer reads, of which `reading` is read itself."""
    name, inputs = node
    if isinstance(layer, Weighted):
        if name not in channels.columns:
            return [None]
        reads = kept_connections(mask) & reading[:, None]
        columns = reads.reshape(groups_of(layer), -1, reads.shape[1]).any(axis=1).reshape(-1)
        return [np.bincount(channels.columns[name][columns], minlength=channels.counts[inputs[0]]) > 0]
    if type(layer) is Concat:
        return np.split(reading, np.cumsum([channels.counts[source] for source in inputs])[:-1])
    if type(layer) is PadShortcut:
        read = np.array(layer.channels)[reading]
        return [np.bincount(read[read >= 0], minlength=layer.in_channels) > 0]
    return [reading] * len(inputs)


def _takes_whole_units(graph: Graph, before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    """Whether all that a layer lost is of outputs, or all of inputs, that now have nothing left; and that in each."""
    went = False
    for name, mask in after.items():
        lost, kept = kept_connections(before[name] & ~mask), kept_connections(mask)
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
    channels = trace_channels(graph)
    was, silent = silent_units(graph, before, channels), silent_units(graph, after, channels)
    gone = silent
    if _takes_whole_units(graph, before, after):
        for name, mask in after.items():
            columns = _alive_inputs(graph[name], channels.columns.get(name), silent)
            after[name] = mask & columns.reshape(*columns.shape, *[1] * (mask.ndim - 2))
        gone = {name: silent[name] | units for name, units in unread_units(graph, after, channels).items()}
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
