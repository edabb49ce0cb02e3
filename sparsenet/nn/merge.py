"""Layers where branches meet, addition and concatenation, and the shortcut that fits one branch to another.

Letters: n sample, c channel, (h, w) position; x_1 ... x_k the inputs, in the order in which a node names them.
"""

from collections.abc import Sequence

import numpy as np

from ..checks import check_count
from .layer import Layer, Shape


def _check_several(layer: Layer, shapes: tuple[Shape, ...]) -> None:
    if len(shapes) < 2:
        raise ValueError(f"{type(layer).__name__} joins two or more branches, not {len(shapes)}")


class Add(Layer):
    """y = x_1 + ... + x_k, all of one shape; dx_i = dy (residual learning, He et al. 2016, eq. 1)."""

    def forward(self, *inputs, training=False):
        self.output_shape(*(x.shape[1:] for x in inputs))
        self.saved = len(inputs)
        return sum(inputs[1:], inputs[0])

    def input_gradient(self, dy):
        return (dy,) * self.saved

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_several(self, shapes)
        if len(set(shapes)) > 1:
            raise ValueError(f"Add takes branches of one shape, not {', '.join(map(str, shapes))}")
        return shapes[0]


class Concat(Layer):
    """Concatenation of channels (of features, where the inputs have no positions).

    Notes
    -----
    y[n, C_1 + ... + C_{i-1} + c, h, w] = x_i[n, c, h, w],  C_i the channels of x_i
    dx_i[n, c, h, w] = dy[n, C_1 + ... + C_{i-1} + c, h, w]
    """

    def forward(self, *inputs, training=False):
        self.output_shape(*(x.shape[1:] for x in inputs))
        self.saved = [x.shape[1] for x in inputs]
        return np.concatenate(inputs, axis=1)

    def input_gradient(self, dy):
        return tuple(np.split(dy, np.cumsum(self.saved)[:-1], axis=1))

    def output_shape(self, *shapes: Shape) -> Shape:
        _check_several(self, shapes)
        if len({shape[1:] for shape in shapes}) > 1 or not all(shapes):
            raise ValueError(f"Concat takes branches alike but for their channels, not {', '.join(map(str, shapes))}")
        return sum(shape[0] for shape in shapes), *shapes[0][1:]


class PadShortcut(Layer):
    """The shortcut without parameters: every `stride`-th position of each channel, zeros as further channels.

    Parameters
    ----------
    in_channels, out_channels : int
    stride : int
    channels : sequence of int, optional
        For each output channel o the input channel m(o), or -1 for zeros; none is named twice. Unless given, the
        input's channels in their order, with half of the C' - C zero channels (rounded down) before them, half behind.

    Notes
    -----
    y[n, o, r, q] = x[n, m(o), r s, q s], 0 where m(o) = -1;   unless given m(o) = o - floor((C' - C) / 2), or -1 where
    that is no channel (He et al. 2016, option A)
    dx[n, m(o), r s, q s] = dy[n, o, r, q], 0 at the other positions
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, channels: Sequence[int] | None = None):
        self.in_channels = check_count("in_channels", in_channels)
        self.out_channels = check_count("out_channels", out_channels, at_least=self.in_channels)
        self.stride = check_count("stride", stride)
        self.channels = self._in_order() if channels is None else self._checked(channels)

    def _in_order(self) -> tuple[int, ...]:
        before = (self.out_channels - self.in_channels) // 2
        behind = self.out_channels - self.in_channels - before
        return (-1,) * before + tuple(range(self.in_channels)) + (-1,) * behind

    def _checked(self, channels: Sequence[int]) -> tuple[int, ...]:
        checked = tuple(check_count("channels", channel, at_least=-1) for channel in channels)
        named = [channel for channel in checked if channel >= 0]
        fit = len(checked) == self.out_channels and max(named, default=-1) < self.in_channels
        if not fit or len(set(named)) < len(named):
            raise ValueError(
                f"channels must name, for each of {self.out_channels} output channels, another one of "
                f"{self.in_channels} input channels, or -1, not {channels}"
            )
        return checked

    def _copied(self) -> tuple[np.ndarray, np.ndarray]:
        """The output channels that are not zero, and the input channels they copy."""
        channels = np.array(self.channels)
        return np.flatnonzero(channels >= 0), channels[channels >= 0]

    def forward(self, x, training=False):
        self.saved = x.shape
        outputs, inputs = self._copied()
        y = np.zeros((len(x), *self.output_shape(x.shape[1:])), x.dtype)
        y[:, outputs] = x[:, inputs, :: self.stride, :: self.stride]
        return y

    def input_gradient(self, dy):
        outputs, inputs = self._copied()
        dx = np.zeros(self.saved, dy.dtype)
        dx[:, inputs, :: self.stride, :: self.stride] = dy[:, outputs]
        return dx

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"PadShortcut takes images of {self.in_channels} channels (C, H, W), not shape {shape}")
        return self.out_channels, *(-(-size // self.stride) for size in shape[1:])

    def config(self):
        config = {"in_channels": self.in_channels, "out_channels": self.out_channels, "stride": self.stride}
        return config if self.channels == self._in_order() else config | {"channels": self.channels}
