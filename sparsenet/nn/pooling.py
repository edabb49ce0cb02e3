"""Pooling layers: maximum, average, and average over the whole image. They act on each channel alone."""

import numpy as np

from ..checks import check_pair
from ..kernels import pooling
from ..kernels.im2col_conv import output_size
from .layer import Layer, Shape


class _Pool2d(Layer):
    """A window over each channel; the stride is the window unless given."""

    def __init__(
        self,
        window: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ):
        self.window = check_pair("window", window, at_least=1)
        self.stride = check_pair("stride", window if stride is None else stride, at_least=1)
        self.padding = check_pair("padding", padding, at_least=0)
        if any(2 * p > w for p, w in zip(self.padding, self.window, strict=True)):
            raise ValueError(f"padding {self.padding} must be at most half of the window {self.window}")

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ValueError(f"{type(self).__name__} takes images (C, H, W), not shape {shape}")
        return shape[0], *output_size(shape[1:], self.window, self.stride, self.padding)

    def config(self):
        return {"window": self.window, "stride": self.stride, "padding": self.padding}


class MaxPool2d(_Pool2d):
    """y[n,c,r,q] = max over the window; dx goes to the first position that holds the maximum."""

    def forward(self, x, training=False):
        y = pooling.max_pool2d(x, self.window, self.stride, self.padding)
        self.saved = x, y
        return y

    def input_gradient(self, dy):
        return pooling.max_pool2d_gradient(dy, *self.saved, self.window, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """y[n,c,r,q] = sum over the window / its size (padding counts as zeros); dx = sum over the windows of dy / size."""

    def forward(self, x, training=False):
        self.saved = x.shape, x.dtype
        return pooling.average_pool2d(x, self.window, self.stride, self.padding)

    def input_gradient(self, dy):
        return pooling.average_pool2d_gradient(dy, *self.saved, self.window, self.stride, self.padding)


class GlobalAvgPool2d(Layer):
    """y[n,c] = mean over h, w of x[n,c,h,w]; dx[n,c,h,w] = dy[n,c] / (H W) (Lin et al. 2014)."""

    def forward(self, x, training=False):
        self.saved = x.shape
        return pooling.average_pool2d(x, x.shape[2:], x.shape[2:], (0, 0))[:, :, 0, 0]

    def input_gradient(self, dy):
        area = dy.dtype.type(self.saved[2] * self.saved[3])
        return np.broadcast_to((dy / area)[:, :, None, None], self.saved).copy()

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise ValueError(f"GlobalAvgPool2d takes images (C, H, W), not shape {shape}")
        return (shape[0],)
