"""Which arrays belong to one unit (a filter, a neuron): what goes when the unit goes.

A unit of a weighted layer owns its row of the weight and its bias; the scale and shift of a batch normalisation behind
it; the row and the bias of a depthwise convolution behind it, which is tied to it channel by channel; and the columns
of every next layer that read it (after a flatten, H*W columns a channel).
"""

from dataclasses import dataclass

import numpy as np

from ..nn.layer import Layer, Parameter
from ..nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU, Weighted
from ..nn.network import Network
from ..nn.normalization import BatchNorm, WeightNorm
from ..nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .masks import Granularity

# layers that treat each channel alone and turn a channel of zeros into zeros (batch normalisation: once it is masked)
CHANNELWISE = (BatchNorm, ReLU, Dropout, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Flatten)


@dataclass(frozen=True)
class Coupling:
    """The unit axis of a weighted layer, followed to where it ends.

    Attributes
    ----------
    producer : str
        The layer whose output units these are.
    between : names of the batch normalisations and depthwise convolutions between, in order
    consumers : dict name -> columns per unit
        The weighted layers that read the units. Empty where the units must stay: they are the network's outputs, run
        into a layer of which it is not known that it keeps channels apart, or are tied to each other or to those of
        another layer by a convolution in groups.
    """

    producer: str
    between: tuple[str, ...]
    consumers: dict[str, int]

    @property
    def owners(self) -> tuple[str, ...]:
        """The layers in which a unit has something of its own: the producer and those between."""
        return self.producer, *self.between


def find_couplings(network: Network) -> list[Coupling]:
    """The coupling of every weighted layer, in order."""
    return [_follow(network, name) for name in network.weighted()]


def _follow(network: Network, producer: str) -> Coupling:
    fixed = Coupling(producer, (), {})
    if _groups(network[producer]) > 1:
        return fixed
    units = len(network[producer].weight.value)
    between, consumers, frontier = [], {}, [producer]
    while frontier:
        readers = network.consumers(frontier.pop())
        alone = len(readers) == 1 and not frontier and not consumers  # else a unit may be dead here and read elsewhere
        for node in readers:
            weighted = isinstance(node.layer, Weighted)
            if weighted and _groups(node.layer) == 1:
                consumers[node.name] = node.layer.weight.value.shape[1] // units
                continue
            passes = _is_depthwise(node.layer) and alone if weighted else _keeps_apart(node.layer, units)
            if not passes:
                return fixed
            if weighted or isinstance(node.layer, BatchNorm):
                between.append(node.name)
            frontier.append(node.name)
        if not readers:
            return fixed
    return Coupling(producer, tuple(between), consumers)


def unwrapped(layer: Weighted) -> Conv2d | Linear:
    """The layer itself, or the one inside a weight normalisation."""
    return layer.layer if isinstance(layer, WeightNorm) else layer


def _groups(layer: Weighted) -> int:
    return getattr(unwrapped(layer), "groups", 1)


def _is_depthwise(layer: Weighted) -> bool:
    """Whether a convolution in groups turns each channel into one."""
    return _groups(layer) == len(layer.weight.value) and layer.weight.value.shape[1] == 1


def _keeps_apart(layer: Layer, units: int) -> bool:
    channels = getattr(layer, "channels", units)  # a batch normalisation of flattened images has others
    return type(layer) in CHANNELWISE and channels == units


def fixed_layers(network: Network, granularity: Granularity) -> set[str]:
    """The layers whose units structured pruning must leave: for `Filter` those whose outputs are the network's.

    For `Channel` those whose inputs are the network's. For both all convolutions in groups, and for `Filter` the layers
    before them; only the channels of a depthwise one go, with the filters of the layer before it.
    """
    couplings = find_couplings(network)
    free = (
        {coupling.producer for coupling in couplings if coupling.consumers}
        if granularity.axis == 0
        else {name for coupling in couplings for name in coupling.consumers}
    )
    return set(network.weighted()) - free


def unit_columns(weight: np.ndarray, per_unit: int) -> np.ndarray:
    """Weight (O, C, ...) as (O, units, columns of a unit): a view whose axis 1 counts the producer's units."""
    return weight.reshape(len(weight), weight.shape[1] // per_unit, -1)


def extend_masks(network: Network) -> None:
    """Mask all that belongs to the units whose every weight is masked: bias, what is between, the next columns.

    The output then is that of a network without these units, exactly: a masked filter emits 0, not its bias or the beta
    of the batch normalisation behind it.
    """
    for coupling in find_couplings(network):
        if not coupling.consumers:
            continue
        alive = _alive(network, coupling)
        for name in coupling.owners:
            layer = network[name]
            if isinstance(layer, Weighted):
                mask = network.masks()[name]
                layer.set_mask(mask & alive.reshape(-1, *[1] * (mask.ndim - 1)))
            for parameter in _shifts(layer):
                parameter.set_mask(alive if parameter.mask is None else parameter.mask & alive)
        for name, per_unit in coupling.consumers.items():
            mask = network.masks()[name]
            network[name].set_mask((unit_columns(mask, per_unit) & alive[:, None]).reshape(mask.shape))


def _alive(network: Network, coupling: Coupling) -> np.ndarray:
    """Units that still have weights of their own, in each layer where they have any, and a weight that reads them."""
    masks = network.masks()
    writes = [_rows_with_weights(masks[name]) for name in coupling.owners if name in masks]
    reads = [unit_columns(masks[name], per).any(axis=(0, 2)) for name, per in coupling.consumers.items()]
    return np.logical_and.reduce(writes) & np.logical_or.reduce(reads)


def _rows_with_weights(mask: np.ndarray) -> np.ndarray:
    return mask.reshape(len(mask), -1).any(axis=1)


def _shifts(layer: Layer) -> list[Parameter]:
    """The parameters of one number per unit: what a layer makes of zeros is zero where they are."""
    return list(layer.parameters().values()) if isinstance(layer, BatchNorm) else [layer.bias]


def silent_units(network: Network, coupling: Coupling) -> np.ndarray:
    """Units that can go without a change of the output: they emit exactly 0, or nothing reads them."""
    masks = network.masks()
    last = [name for name in coupling.owners if name in masks][-1]
    zero = ~_rows_with_weights(masks[last])
    for parameter in _shifts(network[coupling.owners[-1]]):
        zero &= parameter.value == 0
    unread = [~unit_columns(masks[name], per).any(axis=(0, 2)) for name, per in coupling.consumers.items()]
    return zero | np.logical_and.reduce(unread)
