"""What the records of compiled steps hold, beside the sizes and weights that kernels name themselves."""

from typing import NamedTuple

import numpy as np


class Frame(NamedTuple):
    """What the record of every step begins with.

    `call` is first, as it is all that the worker pool reads: the address of the step's code. A step of several inputs
    finds the `Span`s of the others at `more`.
    """

    call: int
    more: int
    more_count: int


class Span(NamedTuple):
    """Where an input or the output of a step lies: samples of `count` numbers, `stride` numbers apart.

    `address` is first. Where they are local, it counts bytes from the start of the workspace.
    """

    address: int
    count: int
    stride: int
    local: int


class PoolSizes(NamedTuple):
    """Sizes of a pooling layer."""

    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    window_y: int
    window_x: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int


class ScaleSizes(NamedTuple):
    """Sizes of y = factors x + shifts per channel."""

    channels: int
    plane: int
    relu: int


class ScaleWeights(NamedTuple):
    """One factor and one shift per channel, float32."""

    factors: np.ndarray
    shifts: np.ndarray


class AddSizes(NamedTuple):
    """What a sum has to know beside its inputs: whether max(y, 0) follows."""

    relu: int


class ConcatSizes(NamedTuple):
    """What a concatenation has to know beside its inputs."""

    inputs: int


class PadSizes(NamedTuple):
    """Sizes of a shortcut that pads channels, `before` of them zeros before those of x."""

    channels: int
    height: int
    width: int
    out_channels: int
    out_height: int
    out_width: int
    stride: int
    before: int
