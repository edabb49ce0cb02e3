"""How the channels of a network's layers lie: how many every output has, and which of them a weight's column reads.

A channel of an image that a `Flatten` has spread is as many features as the image has positions. No input shape is
asked for: how many that is follows from the columns of the linear layer that reads them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .layer import Layer
from .layers import Conv2d, Dropout, Flatten, Linear, ReLU, Weighted
from .merge import Add, Concat, PadShortcut
from .normalization import BatchNorm, WeightNorm
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d

INPUT = "input"

Graph = Mapping[str, tuple[Layer, tuple[str, ...]]]  # a layer and the names of what it reads, by name, in order

# An output's size, an integer for each of its channels. A channel of an image has the label of the image's height and
# width (equal labels: equal sizes), a positive number; flattened, the same label below 0; 0 is one number.
Sizes = np.ndarray


@dataclass(frozen=True)
class Channels:
    """What is known of the channels of a network.

    Attributes
    ----------
    counts : dict name -> int
        Channels of each output, also of `"input"`; a layer of unknown kind (and what depends on it) has no entry.
    columns : dict name -> array
        For each weighted layer, the channel of what it reads that each of its C input columns reads; without an entry
        where that is not known.
    """

    counts: dict[str, int]
    columns: dict[str, np.ndarray]


def unwrapped(layer: Weighted) -> Conv2d | Linear:
    """The layer itself, or the one inside a weight normalisation."""
    return layer.layer if isinstance(layer, WeightNorm) else layer


def groups_of(layer: Layer) -> int:
    """Groups of a convolution; 1 for other layers."""
    return getattr(unwrapped(layer), "groups", 1)


def is_depthwise(layer: Layer) -> bool:
    """Whether a convolution in groups turns each channel into one."""
    return groups_of(layer) > 1 and layer.weight.shape[:2] == (groups_of(layer), 1)


def _is_of_images(layer: Weighted) -> bool:
    return len(layer.weight.shape) > 2


def trace_channels(graph: Graph) -> Channels:
    """Follow the channels through the network, from the input on."""
    sizes, columns, labels = {}, {}, {}
    positions = {0: 1}  # how many numbers a channel has, by its label, where it is known
    start = _input_sizes(graph)
    if start is not None:
        sizes[INPUT] = start
    for name, (layer, inputs) in graph.items():
        read = [sizes.get(source) for source in inputs]
        if isinstance(layer, Weighted):
            found = _columns(layer, read[0], positions)
            if found is not None:
                columns[name] = found
        made = _output_sizes(name, layer, read, labels)
        if made is not None:
            sizes[name] = made
    return Channels({name: len(size) for name, size in sizes.items()}, columns)


def _input_sizes(graph: Graph) -> Sizes | None:
    """Of the network's input: what the first layer says of it that knows its number of channels."""
    same = {INPUT}
    for name, (layer, inputs) in graph.items():
        if same.isdisjoint(inputs):
            continue
        if isinstance(layer, Weighted):
            inputs_of_weight = layer.weight.shape[1] * groups_of(layer)
            return np.full(inputs_of_weight, int(_is_of_images(layer)))
        if type(layer) in (BatchNorm, PadShortcut):
            return np.ones(layer.channels if type(layer) is BatchNorm else layer.in_channels, int)
        if type(layer) in (ReLU, Dropout, MaxPool2d, AvgPool2d, Add):
            same.add(name)
    return None


def _output_sizes(name: str, layer: Layer, read: list[Sizes | None], labels: dict) -> Sizes | None:
    """Sizes of a layer's channels, from those of what it reads; None where they are not known."""
    if isinstance(layer, Weighted):
        label = _window_label(name, unwrapped(layer), read[0], labels) if _is_of_images(layer) else 0
        return np.full(layer.weight.shape[0], label)
    if any(sizes is None for sizes in read):
        return None
    first, kind = read[0], type(layer)
    if kind is Add:
        return _added(read)
    if kind is Concat:
        images = all((sizes > 0).all() for sizes in read)
        return np.full(sum(map(len, read)), first[0]) if images else np.concatenate(read)
    if kind is PadShortcut and layer.in_channels == len(first):
        return np.full(layer.out_channels, _window_label(name, layer, first, labels))
    if kind in (MaxPool2d, AvgPool2d):
        return np.full(len(first), _window_label(name, layer, first, labels))
    if kind in (GlobalAvgPool2d, Flatten):
        return np.zeros_like(first) if kind is GlobalAvgPool2d else -abs(first)
    known = kind in (ReLU, Dropout) or (kind is BatchNorm and layer.channels == len(first))
    return first if known else None


def _added(read: list[Sizes]) -> Sizes | None:
    """Sizes of a sum; None where its terms have other channels, or channels of other sizes."""
    if len({len(sizes) for sizes in read}) > 1:
        return None
    if all((sizes == sizes[0]).all() for sizes in read):  # terms are of one shape, so these are one size
        return min(read, key=lambda sizes: abs(sizes[0]))
    return read[0] if all(np.array_equal(sizes, read[0]) for sizes in read) else None


def _window_label(name: str, layer: Layer, read: Sizes | None, labels: dict) -> int:
    """Label of the size (n - reach) // stride + 1 that a window makes of an image of size n."""
    reach, stride = (1, 1), (1, 1)
    if isinstance(layer, Conv2d):
        sides = zip(layer.kernel_size, layer.dilation, layer.padding, strict=True)
        reach, stride = tuple(d * (k - 1) + 1 - 2 * p for k, d, p in sides), layer.stride
    elif isinstance(layer, MaxPool2d | AvgPool2d):
        reach, stride = tuple(w - 2 * p for w, p in zip(layer.window, layer.padding, strict=True)), layer.stride
    elif isinstance(layer, PadShortcut):
        stride = layer.stride, layer.stride
    else:
        read = None  # a weighted layer of the user's own
    if read is not None and reach == stride == (1, 1):
        return int(read[0])
    key = (name,) if read is None else (int(read[0]), reach, stride)
    return labels.setdefault(key, len(labels) + 2)  # 1 is the input's


def _columns(layer: Weighted, read: Sizes | None, positions: dict[int, int]) -> np.ndarray | None:
    """For each input column the channel that it reads; what a linear layer tells of sizes is added to `positions`."""
    if read is None:
        return None
    count = layer.weight.shape[1] * groups_of(layer)
    if _is_of_images(layer):
        return np.arange(count) if count == len(read) else None
    labels = abs(read).tolist()
    unknown = [label for label in labels if label not in positions]
    if unknown:
        rest = count - sum(positions.get(label, 0) for label in labels)
        each, over = divmod(rest, len(unknown))
        if over or each < 1 or (len(set(unknown)) > 1 and each > 1):  # several sizes: one equation cannot tell them
            return None
        positions |= dict.fromkeys(unknown, each)
    widths = [positions[label] for label in labels]
    return np.repeat(np.arange(len(read)), widths) if sum(widths) == count else None
