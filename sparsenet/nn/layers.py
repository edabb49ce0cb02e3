"""Layers with weights, and those without arithmetic of their own: convolution, linear, ReLU, flatten, dropout.

Letters: n sample, o output unit, c input channel, (r, q) output position, (i, j) kernel position, i input feature.
"""

import numpy as np

from ..checks import check_count, check_float_array, check_fraction, check_pair
from ..kernels import activation, im2col_conv, linear
from ..kernels.channel_sums import channel_sums
from .layer import Initializer, Layer, Shape, he_normal
from .parameter import Parameter


class Weighted(Layer):
    """A layer with a prunable `weight` (output units on axis 0, input channels on axis 1) and a `bias` per unit."""

    weight: Parameter
    bias: Parameter

    def set_weight(self, value: np.ndarray) -> None:
        """Make the weight equal to `value`, where the mask keeps it."""
        self.weight.value = value

    def scale_weight(self, factors: np.ndarray) -> None:
        """Multiply each weight by its factor."""
        self.weight.scale(factors)

    def set_mask(self, mask: np.ndarray) -> None:
        """Keep the weights where `mask` is True, delete the others.

        A layer knows no network: where this leaves a unit without weights, its bias stays until `apply_masks({})` of
        the network makes what belongs to the unit follow (see there).
        """
        self.weight.set_mask(mask)


def _initial(init: Initializer, shape: Shape, seed: int | np.random.Generator) -> tuple[Parameter, Parameter]:
    """(weight, bias) of a new layer: drawn by `init`, and zero."""
    value = init(shape, np.random.default_rng(seed))
    if check_float_array("init(shape, rng)", value).shape != shape:
        raise ValueError(f"init(shape, rng) must return an array of shape {shape}, not {value.shape}")
    return Parameter(value), Parameter(np.zeros(shape[0], value.dtype))


class Conv2d(Weighted):
    """Convolution (cross-correlation, as in every deep-learning library) of NCHW images, with bias.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or (height, width)
    groups : int
        Equal parts of the channels, each a convolution of its own; `in_channels` of them make it depthwise.
    init : function (shape, rng) -> array
        Initial weights; `he_normal` unless given. The bias starts at zero.
    seed : int or Generator

    Notes
    -----
    C input channels, O output channels, G groups; g = floor(o G / O) is the group of o. w has shape (O, C/G, kh, kw).

    y[n,o,r,q]  = b[o] + sum_cij w[o,c,i,j] x[n, g C/G + c, r s + i d - p, q s + j d - p]
    dw[o,c,i,j] = sum_nrq dy[n,o,r,q] x[n, g C/G + c, r s + i d - p, q s + j d - p];   db[o] = sum_nrq dy[n,o,r,q]
    dx[n, g C/G + c, r s + i d - p, q s + j d - p] += w[o,c,i,j] dy[n,o,r,q]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        *,
        init: Initializer = he_normal,
        seed: int | np.random.Generator = 0,
    ):
        self.in_channels = check_count("in_channels", in_channels)
        self.out_channels = check_count("out_channels", out_channels)
        self.kernel_size = check_pair("kernel_size", kernel_size, at_least=1)
        self.stride = check_pair("stride", stride, at_least=1)
        self.padding = check_pair("padding", padding, at_least=0)
        self.dilation = check_pair("dilation", dilation, at_least=1)
        self.groups = check_count("groups", groups)
        for name, count in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if count % self.groups:
                raise ValueError(f"{name} must be a multiple of groups, {self.groups}, not {count}")
        shape = (self.out_channels, self.in_channels // self.groups, *self.kernel_size)
        self.weight, self.bias = _initial(init, shape, seed)

    @property
    def geometry(self) -> tuple:
        """(stride, padding, dilation, groups), in the order in which the kernels take them."""
        return self.stride, self.padding, self.dilation, self.groups

    def forward(self, x, training=False):
        self.saved = x
        return im2col_conv.conv2d(x, self.weight.effective(), self.bias.value, *self.geometry)

    def set_gradients(self, dy):
        self.weight.set_grad(im2col_conv.conv2d_weight_gradient(self.saved, dy, self.kernel_size, *self.geometry))
        self.bias.set_grad(channel_sums(dy).astype(dy.dtype))

    def input_gradient(self, dy):
        return im2col_conv.conv2d_input_gradient(dy, self.weight.effective(), self.saved.shape[2:], *self.geometry)

    def parameters(self):
        return {"weight": self.weight, "bias": self.bias}

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"Conv2d takes images of {self.in_channels} channels (C, H, W), not shape {shape}")
        return self.out_channels, *im2col_conv.output_size(shape[1:], self.kernel_size, *self.geometry[:3])

    def config(self):
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        return {name: getattr(self, name) for name in names}


class Linear(Weighted):
    """Fully connected layer.

    Notes
    -----
    y[n,o]  = b[o] + sum_i w[o,i] x[n,i]
    dw[o,i] = sum_n dy[n,o] x[n,i];   db[o] = sum_n dy[n,o]
    dx[n,i] = sum_o dy[n,o] w[o,i]
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        init: Initializer = he_normal,
        seed: int | np.random.Generator = 0,
    ):
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        self.weight, self.bias = _initial(init, (self.out_features, self.in_features), seed)

    def forward(self, x, training=False):
        self.saved = x
        return linear.linear(x, self.weight.effective(), self.bias.value)

    def set_gradients(self, dy):
        self.weight.set_grad(linear.linear_weight_gradient(self.saved, dy))
        self.bias.set_grad(channel_sums(dy).astype(dy.dtype))

    def input_gradient(self, dy):
        return linear.linear_input_gradient(dy, self.weight.effective())

    def parameters(self):
        return {"weight": self.weight, "bias": self.bias}

    def output_shape(self, shape: Shape) -> Shape:
        if shape != (self.in_features,):
            raise ValueError(f"Linear takes {self.in_features} features, not shape {shape}")
        return (self.out_features,)

    def config(self):
        return {"in_features": self.in_features, "out_features": self.out_features}


class ReLU(Layer):
    """Rectified linear unit: y = max(x, 0); dx = dy where x > 0, else 0."""

    def forward(self, x, training=False):
        self.saved = x
        return activation.relu(x)

    def input_gradient(self, dy):
        return activation.relu_gradient(dy, self.saved)


class Flatten(Layer):
    """y[n, (c, h, w)] = x[n, c, h, w]: channel c becomes the features c H W ... (c + 1) H W - 1; dx = dy reshaped."""

    def forward(self, x, training=False):
        self.saved = x.shape
        return x.reshape(len(x), -1) if x.size else x.reshape(len(x), int(np.prod(x.shape[1:])))

    def input_gradient(self, dy):
        return dy.reshape(self.saved)

    def output_shape(self, shape: Shape) -> Shape:
        return (int(np.prod(shape)),)


class Dropout(Layer):
    """Inverted dropout (Srivastava et al. 2014): training y = x m / (1 - rate), m ~ Bernoulli(1 - rate); else y = x.

    dx = dy m / (1 - rate). `fit` reseeds `rng`, so that its seed settles all of its randomness.
    """

    def __init__(self, rate: float = 0.5, *, seed: int | np.random.Generator = 0):
        self.rate = check_fraction("rate", rate)
        self.rng = np.random.default_rng(seed)

    def forward(self, x, training=False):
        if not training:
            self.saved = None
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.rate
        self.saved = kept * x.dtype.type(1 / (1 - self.rate))
        return x * self.saved

    def input_gradient(self, dy):
        return dy if self.saved is None else dy * self.saved

    def config(self):
        return {"rate": self.rate}
