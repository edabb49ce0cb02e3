"""A network's output, node by node, by the plain definitions of its layers; and what can be counted while that runs.

The network is only read: its nodes, and each layer's kind and numbers.
"""

from typing import Any

import numpy as np

from . import convolution, layers


def forward(network: Any, x: np.ndarray) -> np.ndarray:
    """The output of the last node, outside training."""
    return list(outputs(network, x).values())[-1]


def outputs(network: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every node, in float64, by its name."""
    found = {"input": x.astype(np.float64)}
    for node in network.nodes:
        found[node.name] = layer_output(node.layer, *(found[name] for name in node.inputs))
    return found


def layer_output(layer: Any, *inputs: np.ndarray) -> np.ndarray:
    """The output of one layer, outside training, in float64."""
    kind, x = type(layer).__name__, inputs[0]
    if kind == "WeightNorm":
        weight = layers.weight_norm(_doubles(layer.direction.value), _doubles(layer.gain.value))
        return _weighted(layer.layer, weight, x)
    if kind in ("Conv2d", "Linear"):
        return _weighted(layer, _doubles(layer.weight.value), x)
    if kind == "BatchNorm":
        moments = _doubles(layer.running_mean), _doubles(layer.running_var)
        return layers.batch_norm(x, *moments, _doubles(layer.gamma.value), _doubles(layer.beta.value), layer.eps)
    if kind in ("MaxPool2d", "AvgPool2d"):
        pool = convolution.max_pool2d if kind == "MaxPool2d" else convolution.average_pool2d
        return pool(x, layer.window, layer.stride, layer.padding)
    if kind == "PadShortcut":
        return layers.pad_shortcut(x, layer.channels, layer.stride)
    if kind == "Dropout":
        return x
    plain = {
        "ReLU": layers.relu,
        "Flatten": layers.flatten,
        "GlobalAvgPool2d": convolution.global_average_pool2d,
        "Add": layers.add,
        "Concat": layers.concatenate,
    }
    return plain[kind](*inputs)


def _doubles(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _weighted(layer: Any, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    bias = _doubles(layer.bias.value)
    if weight.ndim == 2:
        return layers.linear(x, weight, bias)
    return convolution.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def count_multiplications(network: Any, x: np.ndarray) -> dict[str, tuple[int, int, int, int]]:
    """(parameters, kept ones, multiply-adds for a sample, those with kept weights) of each layer, counted one by one.

    A multiply-add is counted for each weight and each position of its output, where it meets padding too.
    """
    found, counts = outputs(network, x[:1]), {}
    for node in network.nodes:
        masks = [np.ones(p.value.shape, bool) if p.mask is None else p.mask for p in node.layer.parameters().values()]
        macs = kept = 0
        weight = getattr(node.layer, "weight", None)
        if weight is not None:
            mask = np.ones(weight.value.shape, bool) if weight.mask is None else weight.mask
            for _ in np.ndindex(found[node.name].shape[2:]):
                for keep in mask.ravel().tolist():
                    macs, kept = macs + 1, kept + keep
        parameters = sum(1 for mask in masks for _ in mask.ravel())
        counts[node.name] = parameters, sum(keep for mask in masks for keep in mask.ravel().tolist()), macs, kept
    return counts
