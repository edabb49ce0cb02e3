"""Reference networks with branches, or built of blocks: ResNets for CIFAR, a VGG, a MobileNet."""

import numpy as np

from ..checks import check_count, check_shape
from .layer import Shape, glorot_uniform
from .layers import Conv2d, Flatten, Linear, ReLU
from .merge import Add, PadShortcut
from .network import Graph, Network
from .normalization import BatchNorm
from .pooling import GlobalAvgPool2d, MaxPool2d

Seed = int | np.random.Generator
SHORTCUTS = ("pad", "conv")


def _image_channels(input_shape: Shape) -> int:
    shape = check_shape("input_shape", input_shape)
    if len(shape) != 3:
        raise ValueError(f"input_shape must be (channels, height, width), not {input_shape}")
    return shape[0]


def _conv_norm(graph: Graph, name: str, conv: Conv2d, source: str | None = None, *, relu: bool = True) -> str:
    """A convolution, batch normalisation and ReLU, named name, name_norm, name_relu; returns the last one's name."""
    graph.add(name, conv, source)
    last = graph.add(f"{name}_norm", BatchNorm(conv.out_channels))
    return graph.add(f"{name}_relu", ReLU()) if relu else last


def resnet20(
    input_shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    depth: int = 20,
    shortcut: str = "pad",
    seed: Seed = 0,
) -> Network:
    """ResNet for CIFAR-10 (He et al. 2016, section 4.2): 16, 32, 64 channels, n blocks each; 0.27 M parameters.

    Parameters
    ----------
    depth : int
        6 n + 2: 20, 32, 44, 56, ...
    shortcut : "pad" or "conv"
        Where channels double: every second position and zero channels (the paper's option A), or a 1 x 1 convolution
        (option B).

    Notes
    -----
    A block is y = relu(F(x) + x), F = conv 3 x 3 - norm - relu - conv 3 x 3 - norm.
    """
    channels, rng = _image_channels(input_shape), np.random.default_rng(seed)
    if check_count("depth", depth) < 8 or (depth - 2) % 6:
        raise ValueError(f"depth must be 6 n + 2, for instance 20, 32, 44 or 56, not {depth}")
    if shortcut not in SHORTCUTS:
        raise ValueError(f"shortcut must be one of {', '.join(SHORTCUTS)}, not {shortcut!r}")
    graph = Graph()
    x, width = _conv_norm(graph, "stem", Conv2d(channels, 16, 3, padding=1, seed=rng)), 16
    for stage, outputs in enumerate((16, 32, 64), 1):
        for block in range(1, (depth - 2) // 6 + 1):
            name, stride = f"block{stage}_{block}", 2 if outputs > width else 1
            y = _conv_norm(graph, f"{name}a", Conv2d(width, outputs, 3, stride, 1, seed=rng), x)
            y = _conv_norm(graph, f"{name}b", Conv2d(outputs, outputs, 3, padding=1, seed=rng), y, relu=False)
            if outputs > width:
                x = _shortcut(graph, name, x, shortcut, width, outputs, rng)
            graph.add(f"{name}_sum", Add(), y, x)
            x, width = graph.add(f"{name}_relu", ReLU()), outputs
    graph.add("pool", GlobalAvgPool2d())
    graph.add("fc", Linear(width, check_count("classes", classes), init=glorot_uniform, seed=rng))
    return graph.network()


def _shortcut(
    graph: Graph, name: str, source: str, kind: str, inputs: int, outputs: int, rng: np.random.Generator
) -> str:
    if kind == "pad":
        return graph.add(f"{name}_shortcut", PadShortcut(inputs, outputs, 2), source)
    return _conv_norm(graph, f"{name}_shortcut", Conv2d(inputs, outputs, 1, 2, seed=rng), source, relu=False)


def vgg_small(input_shape: Shape = (3, 32, 32), classes: int = 10, *, seed: Seed = 0) -> Network:
    """64-64-M-128-128-M-256-256-M-fc with batch normalisation (after Simonyan & Zisserman 2015)."""
    inputs, rng, graph = _image_channels(input_shape), np.random.default_rng(seed), Graph()
    for outputs in (64, 128, 256):
        for half in "ab":
            _conv_norm(graph, f"conv{outputs}{half}", Conv2d(inputs, outputs, 3, padding=1, seed=rng))
            inputs = outputs
        graph.add(f"pool{outputs}", MaxPool2d(2))
    graph.add("flatten", Flatten())
    features = 256 * (input_shape[1] // 8) * (input_shape[2] // 8)
    if not features:
        raise ValueError(f"input_shape must be at least 8 x 8 images, not {input_shape}")
    graph.add("fc", Linear(features, check_count("classes", classes), init=glorot_uniform, seed=rng))
    return graph.network()


def mobilenet_small(input_shape: Shape = (3, 32, 32), classes: int = 10, *, seed: Seed = 0) -> Network:
    """Depthwise separable convolutions (Howard et al. 2017): 32, then 64, 128, 128, 256, 256 channels, two strides."""
    rng, graph, inputs = np.random.default_rng(seed), Graph(), 32
    _conv_norm(graph, "stem", Conv2d(_image_channels(input_shape), inputs, 3, padding=1, seed=rng))
    for number, (outputs, stride) in enumerate(((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)), 1):
        depthwise = Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, seed=rng)
        _conv_norm(graph, f"depthwise{number}", depthwise)
        _conv_norm(graph, f"pointwise{number}", Conv2d(inputs, outputs, 1, seed=rng))
        inputs = outputs
    graph.add("pool", GlobalAvgPool2d())
    graph.add("fc", Linear(inputs, check_count("classes", classes), init=glorot_uniform, seed=rng))
    return graph.network()
