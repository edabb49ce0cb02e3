"""Which arrays belong to one unit (a filter, a neuron): what goes when the unit goes.

A unit of a weighted layer owns its row of the weight and its bias; the scale and shift of a batch normalisation behind
it; and the columns of every next layer that read it (after a flatten, H*W columns a channel).
"""

from dataclasses import dataclass

import numpy as np

from ..nn.layers import Dropout, Flatten, ReLU, Weighted
from ..nn.network import Network
from ..nn.normalization import BatchNorm
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
    norms : names of the batch normalisations between
    consumers : dict name -> columns per unit
        The weighted layers that read the units. Empty where the units must stay: they are the network's outputs, or run
        into a layer of which it is not known that it keeps channels apart.
    """

    producer: str
    norms: tuple[str, ...]
    consumers: dict[str, int]


def find_couplings(network: Network) -> list[Coupling]:
    """The coupling of every weighted layer, in order."""
    return [_follow(network, name) for name in network.weighted()]


def _follow(network: Network, producer: str) -> Coupling:
    units = len(network[producer].weight.value)
    norms, consumers, frontier = [], {}, [producer]
    while frontier:
        readers = network.consumers(frontier.pop())
        for node in readers:
            if isinstance(node.layer, Weighted):
                consumers[node.name] = node.layer.weight.value.shape[1] // units
                continue
            channels = getattr(node.layer, "channels", units)  # a batch normalisation of flattened images has others
            if type(node.layer) not in CHANNELWISE or channels != units:
                return Coupling(producer, (), {})
            if isinstance(node.layer, BatchNorm):
                norms.append(node.name)
            frontier.append(node.name)
        if not readers:
            return Coupling(producer, (), {})
    return Coupling(producer, tuple(norms), consumers)


def fixed_layers(network: Network, granularity: Granularity) -> set[str]:
    """The layers whose units structured pruning must leave: for `Filter` those whose outputs are the network's.

    For `Channel` those whose inputs are the network's.
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
    """Mask all that belongs to the units whose every weight is masked: bias, batch normalisation, the next columns.

    The output then is that of a network without these units, exactly: a masked filter emits 0, not its bias or the beta
    of the batch normalisation behind it.
    """
    for coupling in find_couplings(network):
        if not coupling.consumers:
            continue
        alive = _alive(network, coupling)
        layer = network[coupling.producer]
        columns = alive.reshape(-1, *[1] * (layer.weight.value.ndim - 1))
        layer.set_mask(network.masks()[coupling.producer] & columns)
        for parameter in [layer.bias, *_norm_parameters(network, coupling)]:
            parameter.set_mask(alive if parameter.mask is None else parameter.mask & alive)
        for name, per_unit in coupling.consumers.items():
            mask = network.masks()[name]
            network[name].set_mask((unit_columns(mask, per_unit) & alive[:, None]).reshape(mask.shape))


def _alive(network: Network, coupling: Coupling) -> np.ndarray:
    """Units that still have a weight of their own and a weight that reads them."""
    masks = network.masks()
    writes = masks[coupling.producer].reshape(len(masks[coupling.producer]), -1).any(axis=1)
    reads = [unit_columns(masks[name], per).any(axis=(0, 2)) for name, per in coupling.consumers.items()]
    return writes & np.logical_or.reduce(reads)


def _norm_parameters(network: Network, coupling: Coupling) -> list:
    return [parameter for name in coupling.norms for parameter in network[name].parameters().values()]


def silent_units(network: Network, coupling: Coupling) -> np.ndarray:
    """Units that can go without a change of the output: they emit exactly 0, or nothing reads them."""
    layer, masks = network[coupling.producer], network.masks()
    empty = ~masks[coupling.producer].reshape(len(layer.bias.value), -1).any(axis=1)
    last = [p.value for p in _norm_parameters(network, coupling)[-2:]] or [layer.bias.value]
    zero = empty & np.logical_and.reduce([values == 0 for values in last])
    unread = [~unit_columns(masks[name], per).any(axis=(0, 2)) for name, per in coupling.consumers.items()]
    return zero | np.logical_and.reduce(unread)
