"""Hessian times vector, exact: the backward pass differentiated forwards, layer by layer (Pearlmutter 1994).

R{z} is the derivative of z where the weights move along the direction V: R{z} = d/de z(W + e V) at e = 0, so that
R{dL/dW} = H V. With its statistics fixed each layer is bilinear in (weight, input), or piecewise linear in its input,
so that R{y} and R{dx} are made of the layer's own forward and backward:

    y = W x + b                R{y}  = W R{x} + V x                a convolution is such a product too
    dx = W^T dy                R{dx} = W^T R{dy} + V^T dy
    dW = dy x^T                R{dW} = R{dy} x^T + dy R{x}^T
    y = A x, no weight         R{y}  = A R{x},   R{dx} = A^T R{dy}      A as the forward pass chose it (ReLU, maxima)
    dy = dL/dy of the output   R{dy} = (d^2 L/dy^2) R{y}          the loss says this: its `hessian_product`
"""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..checks import check_float_array, check_known
from ..kernels import im2col_conv, linear
from ..machine.threads import threads as use_threads
from .channels import INPUT, unwrapped
from .layer import Layer
from .layers import Conv2d, Dropout, Flatten, Linear, ReLU
from .merge import Add, Concat, PadShortcut
from .network import Network
from .normalization import BatchNorm, WeightNorm
from .pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from .training import Loss

Arrays = dict[str, np.ndarray]

DIAGONAL = (ReLU, BatchNorm, Dropout)  # A is a diagonal in evaluation: A R{x} is what A^T does to a gradient
LINEAR = (Flatten, AvgPool2d, GlobalAvgPool2d, Add, Concat, PadShortcut)  # A x is the forward itself
KNOWN = (*DIAGONAL, *LINEAR, Conv2d, Linear, WeightNorm, MaxPool2d)


def hessian_product(
    network: Network, x: np.ndarray, y: np.ndarray, loss: Loss, direction: Mapping[str, np.ndarray]
) -> Arrays:
    """H V of the mean loss of a batch, over the prunable weights: the exact derivative of their gradients along V.

    Parameters
    ----------
    loss : function (output, y) -> (value, gradient)
        It carries its own second derivative, as those of `losses` do: `loss.hessian_product(output, y, tangent)`.
    direction : dict of arrays
        V by layer name, shaped like the weights; layers that are not named do not move. Biases, scales and shifts never
        do: H is a block of the whole Hessian. Of a weight normalisation the weight is the product w.

    Returns
    -------
    dict of arrays
        H V for every prunable weight, what masks prune included (what would be there if it were let go).

    Notes
    -----
    As in evaluation: running statistics are constants, dropout does nothing. At a kink of a ReLU or a tie of a maximum
    the side that `backward` takes counts, so that H is that of the linear piece. The parameters' gradients are set, as
    by `backward`. It costs about three forward and three backward passes.

    Examples
    --------
    L = (w x - t)^2 for one sample x = (1, 2): H = 2 x x^T, whatever w and t.

    >>> from sparsenet import chain, mean_squared_error
    >>> network = chain({"fc": Linear(2, 1)})
    >>> batch = np.array([[1.0, 2.0]], np.float32), np.zeros((1, 1), np.float32)
    >>> direction = {"fc": np.array([[1.0, 1.0]], np.float32)}
    >>> hessian_product(network, *batch, mean_squared_error, direction)["fc"].tolist()
    [[6.0, 12.0]]
    """
    curvature = getattr(loss, "hessian_product", None)
    if curvature is None:
        name = getattr(loss, "__name__", repr(loss))
        raise TypeError(
            f"loss {name!r} says nothing of its second derivative: set {name}.hessian_product to a function "
            "(output, y, tangent) -> (d^2 loss / d output^2) tangent, as losses.mean_squared_error has it"
        )
    moves = _check(network, direction)
    outputs, gradients = network.outputs(x), {}
    last = network.nodes[-1].name
    network.backward(loss(outputs[last], y)[1], to_input=False, record=gradients)
    with use_threads():
        tangents = _forward(network, outputs, moves)
        return _backward(network, outputs, gradients, tangents, moves, curvature(outputs[last], y, tangents[last]))


def _check(network: Network, direction: Mapping[str, np.ndarray]) -> Arrays:
    """V for every weight, zero where it is not named; or an error."""
    for node in network.nodes:
        if type(node.layer) not in KNOWN:  # one that is derived from these may do something else
            raise TypeError(f"layer {node.name!r}: the second derivative of a {type(node.layer).__name__} is not known")
    weights = network.weights()
    check_known("direction", direction, weights)
    for name, array in direction.items():
        if check_float_array(f"direction[{name!r}]", array).shape != weights[name].shape:
            raise ValueError(f"direction[{name!r}] must have the shape {weights[name].shape}, not {array.shape}")
    return {
        name: np.array(direction[name], weight.dtype) if name in direction else np.zeros(weight.shape, weight.dtype)
        for name, weight in weights.items()
    }


def _forward(network: Network, outputs: Arrays, moves: Arrays) -> Arrays:
    """R{y} of every layer."""
    tangents = {INPUT: np.zeros_like(outputs[INPUT])}
    for node in network.nodes:
        inputs = [tangents[source] for source in node.inputs]
        if node.name in moves:
            layer, x, move = unwrapped(node.layer), outputs[node.inputs[0]], moves[node.name]
            # R{y} = W R{x} + V x
            tangents[node.name] = _apply(layer, inputs[0], layer.weight.effective()) + _apply(layer, x, move)
        else:
            tangents[node.name] = _pass_on(node.layer, inputs, outputs, node.inputs)
    return tangents


def _backward(
    network: Network, outputs: Arrays, gradients: Arrays, tangents: Arrays, moves: Arrays, above: np.ndarray
) -> Arrays:
    """R{dW} of every weight, from R{dy} of the output."""
    products, pending = {}, {network.nodes[-1].name: above}
    for node in reversed(network.nodes):
        upstream = pending.pop(node.name)
        if node.name in moves:
            layer, dy = unwrapped(node.layer), gradients[node.name]
            x, moved = outputs[node.inputs[0]], tangents[node.inputs[0]]
            # R{dW} = R{dy} x^T + dy R{x}^T
            products[node.name] = _outer(layer, x, upstream) + _outer(layer, moved, dy)
        if set(node.inputs) == {INPUT}:
            continue
        if node.name in moves:
            # R{dx} = W^T R{dy} + V^T dy
            dx = _transpose(layer, upstream, layer.weight.effective(), x) + _transpose(layer, dy, moves[node.name], x)
        else:
            dx = node.layer.input_gradient(upstream)
        for source, part in zip(node.inputs, dx if isinstance(dx, tuple) else (dx,), strict=True):
            pending[source] = pending[source] + part if source in pending else part
    return {name: products[name] for name in moves}


def _pass_on(layer: Layer, inputs: list[np.ndarray], outputs: Arrays, sources: tuple[str, ...]) -> np.ndarray:
    """R{y} = A R{x} of a layer without a weight, as its last forward left it."""
    if type(layer) in DIAGONAL:
        return layer.input_gradient(inputs[0])
    if type(layer) is MaxPool2d:
        return _at_the_maxima(layer, outputs[sources[0]], inputs[0])
    return layer.forward(*inputs)


def _at_the_maxima(layer: MaxPool2d, x: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """R{x} at the first position of each window that holds the maximum of x."""
    (top, left), border = layer.padding, ((0, 0), (0, 0))

    def windows(array, fill):
        padded = np.pad(array, (*border, (top, top), (left, left)), constant_values=fill)
        found = sliding_window_view(padded, layer.window, axis=(2, 3))[:, :, :: layer.stride[0], :: layer.stride[1]]
        return found.reshape(*found.shape[:4], -1)

    place = windows(x, -np.inf).argmax(axis=-1, keepdims=True)
    return np.take_along_axis(windows(tangent, 0), place, axis=-1)[..., 0]


def _apply(layer: Conv2d | Linear, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The layer on x with this weight and no bias."""
    no_bias = np.zeros(len(weight), weight.dtype)
    if isinstance(layer, Linear):
        return linear.linear(x, weight, no_bias)
    return im2col_conv.conv2d(x, weight, no_bias, *layer.geometry)


def _transpose(layer: Conv2d | Linear, dy: np.ndarray, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Its gradient with respect to x."""
    if isinstance(layer, Linear):
        return linear.linear_input_gradient(dy, weight)
    return im2col_conv.conv2d_input_gradient(dy, weight, x.shape[2:], *layer.geometry)


def _outer(layer: Conv2d | Linear, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Its gradient with respect to the weight."""
    if isinstance(layer, Linear):
        return linear.linear_weight_gradient(x, dy)
    return im2col_conv.conv2d_weight_gradient(x, dy, layer.kernel_size, *layer.geometry)
