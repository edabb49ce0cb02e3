"""Small networks of every kind of layer, on which plans, surgery, files and counts are checked."""

from collections.abc import Callable

import numpy as np

from ...nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU
from ...nn.merge import Add, Concat, PadShortcut
from ...nn.network import Graph, Network, chain
from ...nn.normalization import BatchNorm, WeightNorm
from ...nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .draws import some_mask

IMAGE = (2, 8, 10)


def plain_network(rng: np.random.Generator) -> Network:
    """Convolutions, one of them normalised in its weights, pooling, linear layers.

    Examples
    --------
    >>> plain_network(np.random.default_rng(0)).shapes(IMAGE)["out"]
    (3,)
    """
    return started(
        chain(
            {
                "conv": Conv2d(2, 4, 3, padding=1, seed=rng),
                "norm": BatchNorm(4),
                "relu": ReLU(),
                "pool": MaxPool2d(2),
                "conv2": WeightNorm(Conv2d(4, 6, (2, 3), (1, 2), seed=rng)),
                "relu2": ReLU(),
                "flatten": Flatten(),
                "fc": Linear(36, 5, seed=rng),
                "relu3": ReLU(),
                "dropout": Dropout(0.3),
                "out": Linear(5, 3, seed=rng),
            }
        ),
        rng,
    )


def branched_network(rng: np.random.Generator) -> Network:
    """Two residual blocks, one over a padding shortcut, a depthwise convolution, a concatenation.

    Examples
    --------
    >>> branched_network(np.random.default_rng(0)).shapes(IMAGE)["out"]
    (3,)
    """
    graph = Graph()
    graph.add("stem", Conv2d(2, 4, 3, padding=1, seed=rng))
    x = graph.add("stem_relu", ReLU())
    graph.add("depthwise", Conv2d(4, 4, 3, padding=1, groups=4, seed=rng), x)
    y = graph.add("depthwise_norm", BatchNorm(4))
    x = graph.add("sum", Add(), x, graph.add("pointwise", Conv2d(4, 4, 1, seed=rng), y))
    graph.add("narrow", Conv2d(4, 6, 3, 2, 1, seed=rng), x)
    y = graph.add("narrow_norm", BatchNorm(6))
    shortcut = graph.add("shortcut", PadShortcut(4, 6, 2), x)
    graph.add("sum2", Add(), y, shortcut)
    x = graph.add("sum2_relu", ReLU())
    y = graph.add("mean", AvgPool2d(3, 1, 1), x)
    graph.add("both", Concat(), x, y)
    graph.add("pool", GlobalAvgPool2d())
    graph.add("out", Linear(12, 3, seed=rng))
    return started(graph.network(), rng)


def started(network: Network, rng: np.random.Generator) -> Network:
    """The network with no bias, shift or statistic of 0, and no scale of 1.

    Examples
    --------
    >>> started(chain({"norm": BatchNorm(1)}), np.random.default_rng(0))["norm"].running_mean
    array([0.2], dtype=float32)
    """
    for name, parameter in network.parameters().items():
        if parameter.value.ndim == 1:
            low = 0.0 if name.endswith("gain") else -0.4
            parameter.value += rng.uniform(low, 0.4, parameter.shape).astype(np.float32)
    for name, buffer in network.buffers().items():
        buffer += rng.uniform(0.1, 0.9, buffer.shape).astype(np.float32) if "var" in name else np.float32(0.2)
    return network


def masked(network: Network, rng: np.random.Generator, kept: float = 0.5) -> Network:
    """The network with single weights pruned, in every layer.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> 0.3 < masked(plain_network(rng), rng).sparsity() < 0.7
    True
    """
    network.apply_masks({name: some_mask(rng, weight.shape, kept) for name, weight in network.weights().items()})
    return network


def images(rng: np.random.Generator, count: int = 3) -> np.ndarray:
    """Random inputs of these networks.

    Examples
    --------
    >>> images(np.random.default_rng(0)).shape
    (3, 2, 8, 10)
    """
    return rng.standard_normal((count, *IMAGE)).astype(np.float32)


SMALL_IMAGE = (1, 4, 4)


def small_network(rng: np.random.Generator) -> Network:
    """Weights that are grouped, normalised and plain, behind a sum, a maximum and ReLUs: 53 of them, in float64.

    Examples
    --------
    >>> network = small_network(np.random.default_rng(0))
    >>> network.shapes(SMALL_IMAGE)["fc"], sum(weight.value.size for weight in network.weights().values())
    ((3,), 53)
    """
    graph = Graph()
    graph.add("stem", Conv2d(1, 2, 3, padding=1, seed=rng))
    graph.add("norm", BatchNorm(2))
    x = graph.add("relu", ReLU())
    graph.add("depthwise", Conv2d(2, 2, 2, padding=1, groups=2, seed=rng))
    graph.add("sum", Add(), graph.add("pool", MaxPool2d(2, 1)), x)
    graph.add("normed", WeightNorm(Conv2d(2, 3, (1, 3), seed=rng)))
    graph.add("relu2", ReLU())
    graph.add("mean", GlobalAvgPool2d())
    graph.add("fc", Linear(3, 3, seed=rng))
    return started(graph.network(), rng).astype(np.float64)


def small_images(rng: np.random.Generator, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """(x, labels) for `small_network`.

    Examples
    --------
    >>> [array.shape for array in small_images(np.random.default_rng(0))]
    [(5, 1, 4, 4), (5,)]
    """
    return rng.standard_normal((count, *SMALL_IMAGE)), rng.integers(0, 3, count)


def live_weights(network: Network) -> tuple[dict[str, np.ndarray], Callable[[], None]]:
    """(the weights by layer, to be changed in place, a function that makes the network follow them).

    Of a weight normalisation it is the product w that is changed, whatever lies behind it.

    Examples
    --------
    >>> network = chain({"fc": WeightNorm(Linear(2, 1))})
    >>> weights, follow = live_weights(network)
    >>> weights["fc"][0] = 3, 4
    >>> follow()
    >>> network["fc"].weight.value.tolist()
    [[3.0, 4.0]]
    """
    weights = {name: np.array(weight.value) for name, weight in network.weights().items()}

    def follow():
        for name, value in weights.items():
            network[name].set_weight(value)

    return weights, follow
