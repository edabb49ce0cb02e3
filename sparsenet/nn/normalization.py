"""Normalisation of activations (batch normalisation) and of weights (weight normalisation)."""

import math

import numpy as np

from ..checks import check_count, check_float_array, check_fraction, check_mask, check_positive
from ..kernels.channel_sums import channel_sums
from .layer import Layer, Shape
from .layers import Conv2d, Linear, Weighted
from .parameter import Parameter


class BatchNorm(Layer):
    """Batch normalisation over axis 1 (channels of images, or features), Ioffe & Szegedy 2015.

    Parameters
    ----------
    channels : int
    eps : float
        Added to the variance.
    momentum : float
        Weight of the new batch in the running statistics.

    Notes
    -----
    m = number of elements of a channel in the batch; all sums run over them, statistics are per channel.

    x^ = (x - mu) / sqrt(var + eps),   y = gamma x^ + beta
    dgamma = sum dy x^,   dbeta = sum dy
    dx = gamma / sqrt(var + eps) (dy - dbeta / m - x^ dgamma / m)     in training: mu and var depend on x
    dx = gamma / sqrt(var + eps) dy                                   else: the running statistics are constants

    In training mu and var (divided by m) are the batch's; the running variance takes the unbiased one (m - 1).
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1):
        self.channels = check_count("channels", channels)
        self.eps = check_positive("eps", eps)
        self.momentum = check_fraction("momentum", momentum, closed=True)
        self.gamma = Parameter(np.ones(self.channels, np.float32))
        self.beta = Parameter(np.zeros(self.channels, np.float32))
        self.running_mean = np.zeros(self.channels, np.float32)
        self.running_var = np.ones(self.channels, np.float32)

    @property
    def running_mean(self) -> np.ndarray:
        """The running mean per channel, live; assigning an array copies it."""
        return self._running_mean

    @running_mean.setter
    def running_mean(self, value: np.ndarray) -> None:
        self._running_mean = self._checked("running_mean", value)

    @property
    def running_var(self) -> np.ndarray:
        """The running variance per channel, live; assigning an array copies it."""
        return self._running_var

    @running_var.setter
    def running_var(self, value: np.ndarray) -> None:
        self._running_var = self._checked("running_var", value)

    def _checked(self, name: str, value: np.ndarray) -> np.ndarray:
        if check_float_array(name, value).shape != (self.channels,):
            raise ValueError(f"{name} must hold a number for each of {self.channels} channels, not {value.shape}")
        return value.copy()

    def forward(self, x, training=False):
        self.output_shape(x.shape[1:])
        count = x.size // self.channels if training else 0
        if training:
            self.check_batch(x.shape)
            mean = (channel_sums(x) / count).astype(x.dtype)
            centred = x - self._wide(mean, x.ndim)
            var = (channel_sums(centred**2) / count).astype(x.dtype)
            for running, new in ((self.running_mean, mean), (self.running_var, var * count / (count - 1))):
                running += x.dtype.type(self.momentum) * (new - running)
        else:
            centred, var = x - self._wide(self.running_mean, x.ndim), self.running_var
        # x^ = (x - mu) / sqrt(var + eps)
        inverse = self._wide(1 / np.sqrt(var + x.dtype.type(self.eps)), x.ndim)
        normalized = centred * inverse
        self.saved = normalized, inverse, count
        # y = gamma x^ + beta
        return normalized * self._wide(self.gamma.value, x.ndim) + self._wide(self.beta.value, x.ndim)

    def set_gradients(self, dy):
        normalized, _, _ = self.saved
        # dgamma = sum dy x^,   dbeta = sum dy
        self.gamma.set_grad(channel_sums(dy * normalized).astype(dy.dtype))
        self.beta.set_grad(channel_sums(dy).astype(dy.dtype))

    def input_gradient(self, dy):
        normalized, inverse, count = self.saved
        centred = dy
        if count:  # in training; set_gradients has left the two sums in the gradients of gamma and beta
            dgamma, dbeta = self._wide(self.gamma.grad, dy.ndim), self._wide(self.beta.grad, dy.ndim)
            # dy - dbeta / m - x^ dgamma / m
            centred = dy - (dbeta + normalized * dgamma) / dy.dtype.type(count)
        # dx = gamma / sqrt(var + eps) (...)
        return self._wide(self.gamma.value, dy.ndim) * inverse * centred

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(scale, shift) per channel of the layer outside training: y = scale x + shift."""
        scale = self.gamma.value / np.sqrt(self.running_var + self.running_var.dtype.type(self.eps))
        return scale, self.beta.value - scale * self.running_mean

    def parameters(self):
        return {"gamma": self.gamma, "beta": self.beta}

    def buffers(self):
        return {"running_mean": self.running_mean, "running_var": self.running_var}

    def output_shape(self, shape: Shape) -> Shape:
        if not shape or shape[0] != self.channels:
            raise ValueError(f"BatchNorm takes {self.channels} channels, not shape {shape}")
        return shape

    def check_batch(self, shape: Shape) -> None:
        if math.prod(shape) < 2 * self.channels:
            raise ValueError(f"BatchNorm needs at least two values of each channel to train on, not x of {shape}")

    def config(self):
        return {"channels": self.channels, "eps": self.eps, "momentum": self.momentum}

    @staticmethod
    def _wide(per_channel: np.ndarray, ndim: int) -> np.ndarray:
        return per_channel.reshape(-1, *[1] * (ndim - 2))


def _rows(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(len(weight), -1)


def _norms(weight: np.ndarray) -> np.ndarray:
    """||w[o]|| of each output unit o."""
    return np.linalg.norm(_rows(weight), axis=1)


def _column(per_row: np.ndarray, ndim: int) -> np.ndarray:
    return per_row.reshape(-1, *[1] * (ndim - 1))


def weight_norm(direction: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """w[o] = gain[o] v[o] / ||v[o]|| for each output unit o; 0 where the direction v[o] is zero.

    Notes
    -----
    Salimans & Kingma 2016, eq. 2.
    """
    norm = _norms(direction)
    scale = np.divide(gain, norm, out=np.zeros_like(gain), where=norm > 0)
    return direction * _column(scale, direction.ndim)


def weight_norm_gradient(dw: np.ndarray, direction: np.ndarray, gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(dv, dg) from dw = dL/dw.

    Notes
    -----
    Salimans & Kingma 2016, eq. 3, with the unit vector u = v / ||v||, per output unit:

    dg = dw . u,   dv = g / ||v|| (dw - dg u)
    """
    norm = _norms(direction)
    inverse = np.divide(1, norm, out=np.zeros_like(gain), where=norm > 0)
    unit = direction * _column(inverse, dw.ndim)
    dgain = _rows(dw * unit).sum(axis=1)
    return _column(gain * inverse, dw.ndim) * (dw - unit * _column(dgain, dw.ndim)), dgain


class NormalizedWeight(Parameter):
    """The weight w = g v / ||v|| of a layer: a parameter that is computed from v and g whenever it is read.

    Its array cannot be written, for the write would be lost. Assigning `value` makes w equal to it: v = value, g = its
    norm per output unit. Assigning `mask` masks v, so that w and v are zero at the same places.
    """

    def __init__(self, direction: Parameter, gain: Parameter, grad: np.ndarray | None = None):
        self.direction, self.gain, self.state = direction, gain, {}
        self.set_grad(np.zeros(direction.shape, direction.dtype) if grad is None else np.array(grad))

    @property
    def value(self) -> np.ndarray:
        """The product w, not writable."""
        product = self.effective()
        product.flags.writeable = False
        return product

    @value.setter
    def value(self, value: np.ndarray) -> None:
        self.direction.value = value
        self.gain.value = _norms(self.direction.value)

    @property
    def mask(self) -> np.ndarray | None:
        """The mask of v."""
        return self.direction.mask

    @mask.setter
    def mask(self, mask: np.ndarray | None) -> None:
        if mask is not None:
            self.scale(check_mask("mask", mask, self.shape))  # a weight that stays keeps its value
        self.direction.mask = mask
        self.enforce_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.direction.shape

    @property
    def dtype(self) -> np.dtype:
        return self.direction.dtype

    def effective(self) -> np.ndarray:
        return weight_norm(self.direction.value, self.gain.value)

    def scale(self, factors: np.ndarray) -> None:
        """Multiply each weight by its factor: v by the factors, g by the change of ||v|| that this makes.

        v keeps its length otherwise, so that the optimiser's memory of it stays meaningful.
        """
        before = _norms(self.direction.value)
        self.direction.scale(factors)
        after = _norms(self.direction.value)
        self.gain.scale(np.divide(after, before, out=np.zeros_like(after), where=before > 0))

    def enforce_mask(self) -> None:
        self.direction.enforce_mask()
        if self.mask is not None:
            self.set_grad(np.where(self.mask, self.grad, self.grad.dtype.type(0)))

    def select(self, keep: np.ndarray, axis: int) -> "NormalizedWeight":
        new = self.astype(self.dtype)
        if axis == 1:  # the norm of v becomes that of the columns that stay: g follows, w does not change
            kept = np.isin(np.arange(self.shape[1]), keep).reshape(-1, *[1] * (len(self.shape) - 2))
            new.scale(np.broadcast_to(kept, self.shape))
        gain = new.gain.select(keep, 0) if axis == 0 else new.gain
        return NormalizedWeight(new.direction.select(keep, axis), gain, np.take(self.grad, keep, axis))

    def astype(self, dtype: np.dtype) -> "NormalizedWeight":
        return NormalizedWeight(self.direction.astype(dtype), self.gain.astype(dtype), self.grad.astype(dtype))

    def restore(self, other: "NormalizedWeight") -> None:
        self.direction.restore(other.direction)
        self.gain.restore(other.gain)
        self.grad = other.grad


class WeightNorm(Weighted):
    """Weight normalisation of a convolution or linear layer: w = g v / ||v||, trained in (g, v).

    It takes the layer over: `weight`, the weight that is scored, masked and counted, becomes the product w in both (see
    `NormalizedWeight`), and the bias stays the layer's. A mask acts on v too: v and w are zero at the same places, and
    a pruned weight stays zero under every update of (g, v).
    """

    def __init__(self, layer: Conv2d | Linear):
        if not isinstance(layer, Conv2d | Linear):
            raise TypeError(f"WeightNorm wraps a Conv2d or Linear layer, not {type(layer).__name__}")
        self.layer = layer
        value = layer.weight.value
        layer.weight = NormalizedWeight(Parameter(value, mask=layer.weight.mask), Parameter(_norms(value)))

    @property
    def weight(self) -> NormalizedWeight:
        """The weight w = g v / ||v||, up to date with (g, v)."""
        return self.layer.weight

    @property
    def direction(self) -> Parameter:
        """v."""
        return self.layer.weight.direction

    @property
    def gain(self) -> Parameter:
        """g, a number per output unit."""
        return self.layer.weight.gain

    @property
    def bias(self) -> Parameter:
        """The bias of the wrapped layer."""
        return self.layer.bias

    @bias.setter
    def bias(self, bias: Parameter) -> None:
        self.layer.bias = bias

    def forward(self, x, training=False):
        return self.layer.forward(x, training)

    def set_gradients(self, dy):
        self.layer.set_gradients(dy)
        dv, dg = weight_norm_gradient(self.weight.grad, self.direction.value, self.gain.value)
        self.direction.set_grad(dv)
        self.gain.set_grad(dg)

    def input_gradient(self, dy):
        return self.layer.input_gradient(dy)

    def parameters(self):
        return {"direction": self.direction, "gain": self.gain, "bias": self.bias}

    def output_shape(self, shape: Shape) -> Shape:
        return self.layer.output_shape(shape)

    def config(self):
        return {"layer": self.layer}
