"""Corrupted images in five strengths, to see what a network still recognises: functions (x, strength, rng) -> x.

As in the suites of Hendrycks & Dietterich (2019), of what can be done to a small image without a file of sounds and
snows. Strength 1 is hardly seen, 5 is gross. x is (N, C, H, W); what comes in at a border is 0, as in `augment`.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from ..checks import check_count, check_float_array
from .augment import rotate_by

STRENGTHS = (1, 2, 3, 4, 5)


def _check(x: np.ndarray, strength: int) -> int:
    check_float_array("x of a corruption, images (N, C, H, W),", x, ndim=4)
    if check_count("strength", strength) > STRENGTHS[-1]:
        raise ValueError(f"strength must be 1 to {STRENGTHS[-1]}, not {strength}")
    return strength


def shift(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Moved by `strength` pixels along both axes, each to either side.

    Notes
    -----
    y[n,c,h,w] = x[n, c, h + a_n, w + b_n],  a_n, b_n = +-strength
    """
    s, size = _check(x, strength), x.shape[2:]
    down, right = s + s * rng.choice((-1, 1), (2, len(x)))
    padded = np.pad(x, ((0, 0), (0, 0), (s, s), (s, s)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
    return np.ascontiguousarray(windows[np.arange(len(x)), :, down, right])


def rotation(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Turned by 8 `strength` degrees to either side: `augment.rotate_by`."""
    return rotate_by(x, 8 * _check(x, strength) * rng.choice((-1.0, 1.0), len(x)))


def noise(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """y = x + e,  e ~ N(0, (0.2 strength s)^2), s the standard deviation of all of x."""
    scale = x.dtype.type(0.2 * _check(x, strength) * x.std(dtype=np.float64))
    return x + scale * rng.standard_normal(x.shape, x.dtype)


def blur(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Convolved with a Gaussian of standard deviation `strength` / 2 pixels; beyond the border is 0."""
    sigma = _check(x, strength) / 2
    return gaussian_filter(x, (0, 0, sigma, sigma), mode="constant")


def contrast(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """y = m + (1 - 0.18 strength) (x - m), m the mean of each image's channel."""
    factor = x.dtype.type(1 - 0.18 * _check(x, strength))
    mean = x.mean(axis=(2, 3), keepdims=True)
    return mean + factor * (x - mean)


def occlusion(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """A square of side round(0.1 `strength` min(H, W)), somewhere in the image, is 0."""
    part = 0.1 * _check(x, strength)
    height, width = x.shape[2:]
    side = round(part * min(height, width))
    top, left = (rng.integers(0, size - side + 1, len(x))[:, None] for size in (height, width))
    rows, columns = (
        (start <= np.arange(size)) & (np.arange(size) < start + side) for start, size in ((top, height), (left, width))
    )
    return np.where(rows[:, None, :, None] & columns[:, None, None, :], x.dtype.type(0), x)


def quantization(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Rounded to 2^(6 - strength) levels, equally spaced from the least to the largest number of x."""
    steps, low, high = 2 ** (6 - _check(x, strength)) - 1, x.min(), x.max()
    if high == low:
        return x.copy()
    return (low + (high - low) * np.round((x - low) / (high - low) * steps) / steps).astype(x.dtype)


CORRUPTIONS = {
    function.__name__: function for function in (shift, rotation, noise, blur, contrast, occlusion, quantization)
}
