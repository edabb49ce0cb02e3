"""Which units (filters, neurons, channels) go together, which have to stay, and why.

The network is walked once, with a number for every channel instead of its values. A weighted layer makes new channels;
a batch normalisation and a depthwise convolution pass them on, and own something in each (scale and shift, a row of
weights); a concatenation lays them behind each other; a `PadShortcut` moves them and makes new ones of zeros. An
addition says of two channels that they are one: channels that are one, directly or over others, are a unit. It owns the
rows of weights that make it and the columns that read it (after a flatten, H W columns a channel).
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..nn.channels import INPUT, Channels, Graph, groups_of, is_depthwise, trace_channels
from ..nn.layer import Layer
from ..nn.layers import Weighted
from ..nn.merge import Add, Concat, PadShortcut
from ..nn.network import Network
from ..nn.normalization import BatchNorm
from .masks import Granularity

OUTPUTS = "its outputs are the network's"
INPUTS = "its inputs are the network's"
ADDED_TO_INPUTS = "it is added to the network's inputs"
GROUPS = "it is a convolution in groups"


@dataclass(frozen=True)
class Member:
    """What the units of a group own in one layer.

    Attributes
    ----------
    layer : str
    axis : int
        Of the layer's parameters: 0, its outputs (also of bias, scale and shift), or 1, the inputs of its weight.
    indices : tuple of tuples of int
        The indices along the axis, for each unit of the group.
    """

    layer: str
    axis: int
    indices: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        found = sorted(index for unit in self.indices for index in unit)
        return f"{self.layer}[{':, ' * self.axis}{_ranges(found)}]"


@dataclass(frozen=True)
class DependencyGroup:
    """Units that are alike: each owns as much in the same layers. A unit goes as a whole or not at all.

    Attributes
    ----------
    members : tuple of Member
        In the network's order.
    stays : str
        Why the units have to stay; empty where they may go.
    """

    members: tuple[Member, ...]
    stays: str = ""

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.members[0].indices)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers in which the units own something."""
        return tuple(dict.fromkeys(member.layer for member in self.members))

    def __str__(self) -> str:
        listed = ", ".join(map(str, self.members))
        return f"{self.units} unit{'s' * (self.units > 1)}: {listed}" + (f"; stay: {self.stays}" if self.stays else "")


def _ranges(indices: list[int]) -> str:
    """Sorted indices in short: 0-3, 8."""
    cuts = [0, *(i for i in range(1, len(indices)) if indices[i] != indices[i - 1] + 1), len(indices)]
    runs = [(indices[a], indices[b - 1]) for a, b in pairwise(cuts)]
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


class _Numbers:
    """Numbers for channels, some of which turn out to be one (a disjoint-set forest), and why some have to stay."""

    def __init__(self):
        self.parents, self.pins = [], []

    def new(self, count: int) -> np.ndarray:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, number: int) -> int:
        while self.parents[number] != number:
            self.parents[number] = number = self.parents[self.parents[number]]
        return number

    def join(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            roots = sorted((self.find(a), self.find(b)))
            self.parents[roots[1]] = roots[0]
        return one

    def pin(self, numbers: np.ndarray, reason: str) -> None:
        self.pins.append((numbers, reason))

    def units(self) -> np.ndarray:
        """The unit of every channel's number: 0, 1, ... in the order in which they first appear."""
        return np.unique([self.find(number) for number in range(len(self.parents))], return_inverse=True)[1]


@dataclass(frozen=True)
class UnitMap:
    """The unit of every channel.

    Attributes
    ----------
    outputs : dict name -> array
        The unit of each output channel of a layer, where they are known.
    columns : dict name -> array
        The unit that each input column of a weighted layer reads, where that is known; not of convolutions in groups.
    stays : dict unit -> reason
    channels : Channels
    """

    outputs: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    stays: dict[int, str]
    channels: Channels

    @property
    def count(self) -> int:
        """How many units there are."""
        return 1 + max((int(units.max()) for units in self.outputs.values()), default=-1)


def graph_of(network: Network) -> Graph:
    """The network's layers and what they read, by name.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> {name: reads for name, (layer, reads) in graph_of(chain({"a": Linear(1, 1), "b": Linear(1, 1)})).items()}
    {'a': ('input',), 'b': ('a',)}
    """
    return {node.name: (node.layer, node.inputs) for node in network.nodes}


def map_units(network: Network) -> UnitMap:
    """Walk the network and number its units.

    Examples
    --------
    >>> from sparsenet import Linear, ReLU, chain
    >>> units = map_units(chain({"a": Linear(1, 2), "relu": ReLU(), "b": Linear(2, 1)}))
    >>> units.outputs["a"].tolist() == units.outputs["relu"].tolist() == units.columns["b"].tolist()
    True
    """
    graph, numbers, outputs = graph_of(network), _Numbers(), {}
    channels = trace_channels(graph)
    if INPUT in channels.counts:
        outputs[INPUT] = numbers.new(channels.counts[INPUT])
        numbers.pin(outputs[INPUT], INPUTS)
    for name, (layer, inputs) in graph.items():
        read = [outputs[source] for source in inputs if source in outputs]
        reason = _obstacle(name, layer, channels, read)
        if reason:
            for units in read:
                numbers.pin(units, reason)
        if name in channels.counts:
            outputs[name] = _made(name, layer, channels, read, numbers)
    numbers.pin(outputs.get(network.nodes[-1].name, np.zeros(0, int)), OUTPUTS)
    unit = numbers.units()
    columns = {
        name: unit[outputs[graph[name][1][0]][read]]
        for name, read in channels.columns.items()
        if groups_of(graph[name][0]) == 1
    }
    stays = {}
    for pinned, reason in numbers.pins:
        for which in unit[pinned].tolist():
            if which not in stays or reason == OUTPUTS:
                stays[which] = reason
    return UnitMap({name: unit[own] for name, own in outputs.items()}, columns, stays, channels)


def _made(name: str, layer: Layer, channels: Channels, read: list[np.ndarray], numbers: _Numbers) -> np.ndarray:
    """The numbers of a layer's output channels."""
    count = channels.counts[name]
    if isinstance(layer, Weighted):
        if is_depthwise(layer) and name in channels.columns:
            return read[0]
        made = numbers.new(count)
        if groups_of(layer) > 1:
            numbers.pin(made, f"it goes with {name!r}, a convolution in groups")
        return made
    if type(layer) is Add:
        for other in read[1:]:
            numbers.join(read[0], other)
        return read[0]
    if type(layer) is Concat:
        return np.concatenate(read)
    if type(layer) is PadShortcut:
        source = np.array(layer.channels)
        return np.where(source < 0, numbers.new(count), read[0][source])
    return read[0]


def _obstacle(name: str, layer: Layer, channels: Channels, read: list[np.ndarray]) -> str:
    """Why the units that a layer reads have to stay; empty where they need not."""
    if isinstance(layer, Weighted):
        if groups_of(layer) > 1:
            return "" if is_depthwise(layer) else f"layer {name!r} behind it is a convolution in groups"
        return "" if name in channels.columns else f"layer {name!r} behind it reads images, flattened, of unknown sizes"
    if name in channels.counts:
        return ""
    if type(layer) in (Add, Concat):
        return f"layer {name!r} behind it joins it with channels of which not enough is known"
    units = len(read[0]) if read else 0
    return f"layer {name!r} behind it, a {type(layer).__name__}, is not known to keep its {units} units apart"


class DependencyGroups(tuple[DependencyGroup, ...]):
    """The groups of a network, which print one a line."""

    __slots__ = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self))


def dependency_groups(network: Network) -> DependencyGroups:
    """All units of the network, in groups of those that own as much in the same layers.

    Every row of a weight is in one group, and so is every column, but for convolutions in groups (whose columns belong
    to their rows) and where it is not known what a layer reads.

    Examples
    --------
    >>> from sparsenet import BatchNorm, Conv2d, Flatten, Linear, chain
    >>> layers = {"conv": Conv2d(1, 8, 3), "norm": BatchNorm(8), "flatten": Flatten(), "fc": Linear(8 * 4, 2)}
    >>> print(dependency_groups(chain(layers)))  # of images of 4 x 4: a channel is 2 x 2 features
    1 unit: conv[:, 0]; stay: its inputs are the network's
    8 units: conv[0-7], norm[0-7], fc[:, 0-31]
    2 units: fc[0-1]; stay: its outputs are the network's
    """
    units = map_units(network)
    owned = defaultdict(lambda: defaultdict(list))  # by unit, by (layer, axis): the indices
    for name, axis, numbers in _owned(network, units):
        for index, unit in enumerate(numbers.tolist()):
            owned[unit][name, axis].append(index)
    alike = defaultdict(list)
    for unit in sorted(owned):
        signature = tuple((place, len(indices)) for place, indices in owned[unit].items())
        alike[signature, units.stays.get(unit, "")].append(owned[unit])
    return DependencyGroups(
        DependencyGroup(
            tuple(Member(name, axis, tuple(tuple(own[name, axis]) for own in group)) for (name, axis), _ in signature),
            stays,
        )
        for (signature, stays), group in alike.items()
    )


def _owned(network: Network, units: UnitMap) -> Iterator[tuple[str, int, np.ndarray]]:
    """(layer, axis, unit of each index) of all that units own, in the network's order."""
    for node in network.nodes:
        if node.name in units.columns:
            yield node.name, 1, units.columns[node.name]
        if isinstance(node.layer, Weighted) or (isinstance(node.layer, BatchNorm) and node.name in units.outputs):
            yield node.name, 0, units.outputs[node.name]


def fixed_layers(network: Network, granularity: Granularity) -> dict[str, str]:
    """The layers all of whose units structured pruning must leave, with the reason.

    For `Filter` those whose outputs are the network's, or added to its inputs; for `Channel` those whose inputs are the
    network's. For both all convolutions in groups, and for `Filter` the layers before them; only the channels of a
    depthwise one go, with the filters of the layer before it. For both what a layer of unknown kind stands behind, or
    before.

    Examples
    --------
    >>> from sparsenet import Filter, Linear, chain
    >>> fixed_layers(chain({"hidden": Linear(2, 3), "output": Linear(3, 1)}), Filter())
    {'output': "its outputs are the network's"}
    """
    units, reasons = map_units(network), {}
    for name, layer in network.weighted().items():
        if groups_of(layer) > 1:
            reasons[name] = GROUPS
        elif all(unit in units.stays for unit in units.outputs[name].tolist()):
            reason = units.stays[int(units.outputs[name][0])]
            reasons[name] = ADDED_TO_INPUTS if reason == INPUTS else reason
    if granularity.axis == 0:
        return reasons
    return {
        name: _why_inputs_stay(network, name, reasons)
        for name in network.weighted()
        if name not in units.columns or all(unit in units.stays for unit in units.columns[name].tolist())
    }


def _why_inputs_stay(network: Network, name: str, outputs: dict[str, str]) -> str:
    if groups_of(network[name]) > 1:
        return GROUPS
    sources = {node.name: node.inputs for node in network.nodes}
    frontier = list(sources[name])
    while frontier:
        source = frontier.pop()
        if source == INPUT:
            return INPUTS
        if not isinstance(network[source], Weighted) or is_depthwise(network[source]):
            frontier.extend(sources[source])
        elif source in outputs:
            return f"it reads {source!r}, whose units have to stay: {outputs[source]}"
    return "it reads channels of which not enough is known"


def left_out(network: Network, granularity: Granularity) -> dict[str, str]:
    """Those of `fixed_layers` that a user would not expect, with the reason.

    Classes and the network's inputs are no units to prune, and a depthwise convolution follows the layer before it.

    Examples
    --------
    >>> from sparsenet import Conv2d, Filter, Flatten, Linear, chain
    >>> layers = {"in groups": Conv2d(4, 4, 1, groups=2), "flatten": Flatten(), "output": Linear(4, 2)}
    >>> left_out(chain(layers), Filter())
    {'in groups': 'it is a convolution in groups'}
    """
    units, unexpected = map_units(network), {}
    for name, why in fixed_layers(network, granularity).items():
        follows = is_depthwise(network[name]) and not set(units.outputs[name].tolist()) <= set(units.stays)
        if why not in (OUTPUTS, INPUTS) and not follows:
            unexpected[name] = why
    return unexpected
