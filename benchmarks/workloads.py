"""What `benchmarks/run.py` measures: layers and networks with fixed seeds, masks, inputs, reference outputs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

import sparsenet as sn

SEED = 20260101
SPARSE = (0.7, 0.8, 0.9, 0.95, 0.97)
FROM_HALF = (0.5, *SPARSE)
BREAK_EVEN = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
# (in, out, kernel, stride, height = width); the padding is half of the kernel
CONVS = (
    (16, 32, 3, 1, 14),
    (64, 64, 3, 1, 28),
    (128, 128, 3, 1, 28),
    (256, 256, 3, 1, 14),
    (128, 128, 1, 1, 28),
    (512, 512, 1, 1, 14),
    (64, 128, 3, 2, 28),
    (32, 64, 5, 1, 28),
    # sizes that fill no vectors, and a large one
    (48, 40, 3, 1, 17),
    (96, 96, 3, 1, 20),
    (64, 64, 3, 1, 56),
    (512, 512, 3, 1, 7),
)
LARGE, ODD = CONVS[1:4], CONVS[9]
# the same, dilation, groups; the padding keeps the size
KINDS = ((64, 64, 3, 1, 28, 2, 1), (128, 128, 3, 1, 28, 1, 4))
DEPTHWISE = ((128, 128, 3, 1, 28, 1, 128), (128, 128, 3, 2, 28, 1, 128))
LINEARS = ((1568, 128), (1024, 1024), (4096, 4096))
FEW_SAMPLES = (2, 4, 7, 16)


@dataclass(frozen=True)
class Case:
    """One workload at its sparsities; every `block` consecutive outputs of a layer share what they keep."""

    group: str
    name: str
    build: Callable[[], sn.Network]
    input_shape: tuple[int, ...]
    batch: int
    sparsities: tuple[float, ...]
    block: int = 1

    def network(self, sparsity: float) -> sn.Network:
        """The network with its masks; at sparsity 0 it has none."""
        network, rng = self.build(), np.random.default_rng(SEED)
        for layer in network.weighted().values():  # initial biases are zero, and would hide an engine that drops them
            layer.bias.value[:] = 0.1 * rng.standard_normal(layer.bias.value.shape)
        for layer in network.layers().values():  # and normalisation that changes nothing one that leaves it out
            if isinstance(layer, sn.BatchNorm):
                layer.gamma.value[:], layer.running_var[:] = rng.uniform(0.7, 1.0, (2, layer.channels))
                layer.beta.value[:], layer.running_mean[:] = 0.1 * rng.standard_normal((2, layer.channels))
        if sparsity:
            network.apply_masks(random_masks(network, sparsity, self.block))
        return network

    def inputs(self) -> np.ndarray:
        return np.random.default_rng(SEED).standard_normal((self.batch, *self.input_shape), np.float32)


def random_masks(network: sn.Network, sparsity: float, block: int) -> dict[str, np.ndarray]:
    """Masks that remove exactly round(sparsity n) of the n blocks of each layer, at random."""
    rng = np.random.default_rng(SEED)
    shapes = {name: weight.value.shape for name, weight in network.weights().items()}
    scores = {name: rng.random((shape[0] // block, *shape[1:])) for name, shape in shapes.items()}
    masks = sn.make_masks(scores, sparsity, scope="layer")
    return {name: mask.repeat(block, axis=0) for name, mask in masks.items()}


def conv_layer(inputs: int, outputs: int, kernel: int, stride: int, dilation: int = 1, groups: int = 1) -> sn.Network:
    padding = kernel // 2 * dilation
    conv = sn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, groups=groups, seed=SEED)
    return sn.chain({"conv": conv, "relu": sn.ReLU()})


def linear_layer(inputs: int, outputs: int) -> sn.Network:
    return sn.chain({"linear": sn.Linear(inputs, outputs, seed=SEED), "relu": sn.ReLU()})


def vgg_like() -> sn.Network:
    """64-64-M-128-128-M-256-256-M-fc10 on 3x32x32."""
    layers, inputs, rng = {}, 3, np.random.default_rng(SEED)
    for outputs in (64, 128, 256):
        for half in "ab":
            layers[f"conv{outputs}{half}"] = sn.Conv2d(inputs, outputs, 3, padding=1, seed=rng)
            layers[f"relu{outputs}{half}"] = sn.ReLU()
            inputs = outputs
        layers[f"pool{outputs}"] = sn.MaxPool2d(2)
    return sn.chain(layers | {"flatten": sn.Flatten(), "fc": sn.Linear(256 * 4 * 4, 10, seed=rng)})


def resnet18() -> sn.Network:
    """ResNet-18 (He et al. 2016, table 1) for images of 3x64x64: 64, 128, 256, 512 channels, two blocks each."""
    graph, rng = sn.Graph(), np.random.default_rng(SEED)

    def conv_norm(name: str, conv: sn.Conv2d, source: str | None = None, relu: bool = True) -> str:
        graph.add(name, conv, source)
        last = graph.add(f"{name}_norm", sn.BatchNorm(conv.out_channels))
        return graph.add(f"{name}_relu", sn.ReLU()) if relu else last

    conv_norm("stem", sn.Conv2d(3, 64, 7, 2, 3, seed=rng))
    x, width = graph.add("pool", sn.MaxPool2d(3, 2, 1)), 64
    for outputs in (64, 128, 256, 512):
        for half in "ab":
            name, stride = f"block{outputs}{half}", 2 if outputs > width else 1
            conv_norm(f"{name}1", sn.Conv2d(width, outputs, 3, stride, 1, seed=rng), x)
            y = conv_norm(f"{name}2", sn.Conv2d(outputs, outputs, 3, padding=1, seed=rng), relu=False)
            if outputs > width:
                x = conv_norm(f"{name}_shortcut", sn.Conv2d(width, outputs, 1, 2, seed=rng), x, relu=False)
            graph.add(f"{name}_sum", sn.Add(), y, x)
            x, width = graph.add(f"{name}_relu", sn.ReLU()), outputs
    graph.add("average", sn.GlobalAvgPool2d())
    graph.add("fc", sn.Linear(width, 10, seed=rng))
    return graph.network()


def _convs(group: str, layers: tuple, batches: tuple, sparsities: tuple, block: int = 1) -> Iterator[Case]:
    for inputs, outputs, kernel, stride, size, *others in layers:
        dilation, groups = others or (1, 1)
        name = f"{inputs}->{outputs} {kernel}x{kernel}{f'/{stride}' if stride > 1 else ''} @{size}"
        name += f", dilation {dilation}" if dilation > 1 else ""
        name += f", {groups} groups" if groups > 1 else ""
        name += f", blocks of {block}x1" if block > 1 else ""
        build = partial(conv_layer, inputs, outputs, kernel, stride, dilation, groups)
        for batch in batches:
            yield Case(group, name, build, (inputs, size, size), batch, sparsities, block)


def _linears(group: str, layers: tuple, batches: tuple, sparsities: tuple) -> Iterator[Case]:
    for inputs, outputs in layers:
        for batch in batches:
            build = partial(linear_layer, inputs, outputs)
            yield Case(group, f"{inputs}->{outputs}", build, (inputs,), batch, sparsities)


def _networks() -> Iterator[Case]:
    models, image = sn.models, (1, 28, 28)
    for name, build, shape, large in (
        ("simple_cnn", partial(models.simple_cnn, seed=SEED), image, 64),
        ("lenet_300_100", partial(models.lenet_300_100, seed=SEED), image, 32),
        ("lenet_5", partial(models.lenet_5, seed=SEED), image, 32),
        ("vgg_like", vgg_like, (3, 32, 32), 32),
    ):
        for batch in (1, large):
            yield Case("networks", name, build, shape, batch, SPARSE)


def _branches() -> Iterator[Case]:
    for name, build, size in (
        ("resnet20", partial(sn.models.resnet20, seed=SEED), 32),
        ("resnet18", resnet18, 64),
        ("mobilenet_small", partial(sn.models.mobilenet_small, seed=SEED), 32),
    ):
        for batch in (1, 32):
            yield Case("branches", name, build, (3, size, size), batch, SPARSE)


def all_cases() -> list[Case]:
    blocks = [case for block in (2, 4) for case in _convs("blocks", LARGE, (1, 32), FROM_HALF, block)]
    return [
        *_convs("conv", CONVS, (1, 32), SPARSE),
        *blocks,
        *_convs("kinds", KINDS, (1, 32), SPARSE),
        *_convs("depthwise", DEPTHWISE, (1, 32), SPARSE),
        *_linears("linear", LINEARS, (1, 64, 256), SPARSE),
        *_linears("few samples", ((2048, 1000), LINEARS[1]), FEW_SAMPLES, (0.0, *SPARSE)),
        *_convs("dense", (*LARGE, ODD), (1, 32), (0.0, 0.5)),
        *_networks(),
        *_branches(),
        *_convs("breakeven", LARGE[:2], (1,), BREAK_EVEN),
    ]


def quick_cases() -> list[Case]:
    """Two that take no time, for the tests."""
    return [*_convs("conv", ((8, 16, 3, 1, 8),), (1,), (0.0, 0.9)), *_linears("linear", ((64, 32),), (4,), (0.0, 0.9))]


def reference_output(network: sn.Network, x: np.ndarray) -> np.ndarray:
    """The network's output in float64 from NumPy's products, apart from any engine."""
    outputs = {"input": x.astype(np.float64)}
    for node in network.nodes:
        outputs[node.name] = _reference_layer(node.layer, *(outputs[source] for source in node.inputs))
    return outputs[network.nodes[-1].name]


def _reference_layer(layer: object, *inputs: np.ndarray) -> np.ndarray:
    x = inputs[0]
    match layer:
        case sn.Conv2d():
            return _reference_conv(layer, x)
        case sn.Linear():
            return x @ layer.weight.value.T.astype(np.float64) + layer.bias.value
        case sn.BatchNorm():
            mean, var, gamma, beta = (numbers.astype(np.float64)[:, None, None] for numbers in norm_numbers(layer))
            return gamma * (x - mean) / np.sqrt(var + layer.eps) + beta
        case sn.ReLU():
            return np.maximum(x, 0)
        case sn.MaxPool2d():
            return pooling_windows(layer, x).max(axis=(-2, -1))
        case sn.GlobalAvgPool2d():
            return x.mean(axis=(2, 3))
        case sn.Flatten():
            return x.reshape(len(x), -1)
        case sn.Add():
            return np.sum(inputs, axis=0)
        case sn.Concat():
            return np.concatenate(inputs, axis=1)
        case sn.PadShortcut():
            return padded_channels(layer, x)
        case _:
            raise TypeError(f"no reference for {layer!r}")


def norm_numbers(layer: sn.BatchNorm) -> tuple[np.ndarray, ...]:
    """Mean, variance, scale and shift of each channel."""
    return layer.running_mean, layer.running_var, layer.gamma.value, layer.beta.value


def channels_around(layer: sn.PadShortcut) -> tuple[int, int]:
    """Channels of zeros before and behind those of the input."""
    before = (layer.out_channels - layer.in_channels) // 2
    return before, layer.out_channels - layer.in_channels - before


def padded_channels(layer: sn.PadShortcut, x: np.ndarray) -> np.ndarray:
    return np.pad(x[:, :, :: layer.stride, :: layer.stride], ((0, 0), channels_around(layer), (0, 0), (0, 0)))


def _reference_conv(layer: sn.Conv2d, x: np.ndarray) -> np.ndarray:
    """One matrix product per group and position of the kernel, summed."""
    (_, height, width), (sh, sw), (dh, dw) = layer.output_shape(x.shape[1:]), layer.stride, layer.dilation
    (ph, pw), groups = layer.padding, layer.groups
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    weight = layer.weight.value.reshape(groups, -1, *layer.weight.value.shape[1:]).astype(np.float64)
    y = np.zeros((len(x), groups, weight.shape[1], height * width))
    for i, j in np.ndindex(*layer.kernel_size):
        top, left = i * dh, j * dw
        seen = x[:, :, top : top + sh * (height - 1) + 1 : sh, left : left + sw * (width - 1) + 1 : sw]
        y += weight[..., i, j] @ seen.reshape(len(x), groups, -1, height * width)
    return y.reshape(len(x), -1, height, width) + layer.bias.value[:, None, None]


def pooling_windows(layer: sn.MaxPool2d, x: np.ndarray) -> np.ndarray:
    """View (N, C, height, width, *window) of images, -inf around them where there is padding."""
    if any(layer.padding):
        x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in layer.padding)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, layer.window, axis=(2, 3))
    return windows[:, :, :: layer.stride[0], :: layer.stride[1]]
