"""Which units (filters, neurons) go together, which layers' units have to stay, and why.

A unit of a weighted layer owns its row of the weight and its bias; the scale and shift of a batch normalisation behind
it; the row and the bias of a depthwise convolution behind it, which is tied to it channel by channel; and the columns
of every next layer that read it (after a flatten, H*W columns a channel).
"""

from dataclasses import dataclass

import numpy as np

from ..nn.layers import Weighted
from ..nn.network import INPUT, Network, Node
from ..nn.normalization import BatchNorm
from ..nn.units import groups_of, keeps_apart, parameters_per_unit
from .masks import Granularity

OUTPUTS = "its outputs are the network's"
INPUTS = "its inputs are the network's"
GROUPS = "it is a convolution in groups"


@dataclass(frozen=True)
class Coupling:
    """The unit axis of a weighted layer, followed to where it ends.

    Attributes
    ----------
    producer : str
        The layer whose output units these are.
    between : names of the batch normalisations and depthwise convolutions between, in order
    consumers : dict name -> columns per unit
        The weighted layers that read the units. Empty where the units must stay.
    stays : str
        Why the units must stay: they are the network's outputs, run into a layer of which it is not known that it keeps
        channels apart, or are tied to each other or to those of another layer by a convolution in groups. Empty where
        they may go.
    """

    producer: str
    between: tuple[str, ...]
    consumers: dict[str, int]
    stays: str = ""

    @property
    def owners(self) -> tuple[str, ...]:
        """The layers in which a unit has something of its own: the producer and those between."""
        return self.producer, *self.between


def find_couplings(network: Network) -> list[Coupling]:
    """The coupling of every weighted layer, in order.

    Examples
    --------
    >>> from sparsenet import BatchNorm, Conv2d, Flatten, Linear, chain
    >>> layers = {"conv": Conv2d(1, 8, 3), "norm": BatchNorm(8), "flatten": Flatten(), "fc": Linear(8 * 4, 2)}
    >>> for coupling in find_couplings(chain(layers)):  # images of 4 x 4: a channel is 2 x 2 features
    ...     print(coupling)
    Coupling(producer='conv', between=('norm',), consumers={'fc': 4}, stays='')
    Coupling(producer='fc', between=(), consumers={}, stays="its outputs are the network's")
    """
    return [_follow(network, name) for name in network.weighted()]


def _follow(network: Network, producer: str) -> Coupling:
    if groups_of(network[producer]) > 1:
        return Coupling(producer, (), {}, GROUPS)
    units = len(network[producer].weight.value)
    between, consumers, frontier = [], {}, [producer]
    while frontier:
        readers = network.consumers(frontier.pop())
        alone = len(readers) == 1 and not frontier and not consumers  # else a unit may be dead here and read elsewhere
        if not readers:
            return Coupling(producer, (), {}, OUTPUTS)
        for node in readers:
            if isinstance(node.layer, Weighted) and groups_of(node.layer) == 1:
                consumers[node.name] = node.layer.weight.value.shape[1] // units
                continue
            obstacle = _obstacle(node, units, alone)
            if obstacle:
                return Coupling(producer, (), {}, obstacle)
            if isinstance(node.layer, Weighted | BatchNorm):
                between.append(node.name)
            frontier.append(node.name)
    return Coupling(producer, tuple(between), consumers)


def _obstacle(node: Node, units: int, alone: bool) -> str:
    """Why units cannot be followed through a layer; empty where they can."""
    if not isinstance(node.layer, Weighted):
        named = f"layer {node.name!r} behind it, a {type(node.layer).__name__},"
        return "" if keeps_apart(node.layer, units) else f"{named} is not known to keep its {units} units apart"
    if not _is_depthwise(node.layer):
        return f"layer {node.name!r} behind it is a convolution in groups"
    return "" if alone else f"it is read by {node.name!r}, a depthwise convolution, and by another layer"


def _is_depthwise(layer: Weighted) -> bool:
    """Whether a convolution in groups turns each channel into one."""
    return groups_of(layer) == len(layer.weight.value) and layer.weight.value.shape[1] == 1


def fixed_layers(network: Network, granularity: Granularity) -> dict[str, str]:
    """The layers whose units structured pruning must leave, with the reason.

    For `Filter` those whose outputs are the network's; for `Channel` those whose inputs are. For both all convolutions
    in groups, and for `Filter` the layers before them; only the channels of a depthwise one go, with the filters of the
    layer before it. For both what a layer of unknown kind stands behind, or before.

    Examples
    --------
    >>> from sparsenet import Filter, Linear, chain
    >>> fixed_layers(chain({"hidden": Linear(2, 3), "output": Linear(3, 1)}), Filter())
    {'output': "its outputs are the network's"}
    """
    couplings = {coupling.producer: coupling for coupling in find_couplings(network)}
    if granularity.axis == 0:
        return {name: coupling.stays for name, coupling in couplings.items() if coupling.stays}
    free = {name for coupling in couplings.values() for name in coupling.consumers}
    return {name: _why_inputs_stay(network, name, couplings) for name in couplings if name not in free}


def _why_inputs_stay(network: Network, name: str, couplings: dict[str, Coupling]) -> str:
    if groups_of(network[name]) > 1:
        return GROUPS
    sources = {node.name: node.inputs for node in network.nodes}
    frontier = list(sources[name])
    while frontier:
        source = frontier.pop()
        if source == INPUT:
            return INPUTS
        if source in couplings and not _is_depthwise(network[source]):
            return f"it reads {source!r}, whose units have to stay: {couplings[source].stays}"
        frontier.extend(sources[source])
    raise AssertionError("every path leads to the input")


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
    follow = {name for coupling in find_couplings(network) for name in coupling.between}
    fixed = fixed_layers(network, granularity)
    return {name: why for name, why in fixed.items() if why not in (OUTPUTS, INPUTS) and name not in follow}


def unit_columns(weight: np.ndarray, per_unit: int) -> np.ndarray:
    """Weight (O, C, ...) as (O, units, columns of a unit): a view whose axis 1 counts the producer's units.

    Examples
    --------
    >>> unit_columns(np.arange(6).reshape(1, 6), 2).tolist()  # behind a flatten of images of two positions
    [[[0, 1], [2, 3], [4, 5]]]
    """
    return weight.reshape(len(weight), weight.shape[1] // per_unit, -1)


def removable_units(network: Network, coupling: Coupling) -> np.ndarray:
    """Units that can go without a change of the output: they emit exactly 0, or nothing reads them.

    A unit whose weights are masked and whose bias is not (set by the layer's own `set_mask`) emits a constant, and
    stays: a constant of an image cannot be moved into the next layer's bias where that pads with zeros.

    Examples
    --------
    >>> from sparsenet import Linear, chain
    >>> network = chain({"hidden": Linear(2, 3), "output": Linear(3, 1)})
    >>> network.apply_masks({"hidden": np.array([[True, True], [False, False], [True, True]])})
    >>> removable_units(network, find_couplings(network)[0]).tolist()
    [False, True, False]
    """
    masks = network.masks()
    unread = [~unit_columns(masks[name], per).any(axis=(0, 2)) for name, per in coupling.consumers.items()]
    silent = np.zeros(len(masks[coupling.producer]), bool)
    for name in coupling.owners:
        if name in masks:
            unreached = silent | ~masks[name].reshape(len(masks[name]), -1).any(axis=1)
        shifts = [parameter.value == 0 for parameter in parameters_per_unit(network[name])]
        silent = unreached & np.logical_and.reduce(shifts)
    return silent | np.logical_and.reduce(unread)
