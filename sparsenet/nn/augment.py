"""Augmentation of images in training: random functions (x, rng) -> x for `fit(..., augment=)`.

For photographs `compose(shift(), flip())`, for digits `compose(shift(2), rotate(), noise())`: a mirrored digit is none.

Letters: n sample, c channel, (h, w) position of images of H x W; what lies outside of an image is 0, the mean colour of
standardised images, the background of digits. Each sample has its own random numbers, all of its channels the same.

Examples
--------
>>> augment = compose(shift(1), flip())
>>> x = np.ones((64, 3, 32, 32), np.float32)
>>> y = augment(x, np.random.default_rng(0))
>>> y.shape, y.dtype, [float(y[:, :, row].min()) for row in (0, 1, 30, 31)]  # zeros came in at the borders
((64, 3, 32, 32), dtype('float32'), [0.0, 0.0, 0.0, 0.0])
"""

from collections.abc import Callable

import numpy as np

from ..checks import check_count, check_float_array, check_fraction, check_positive

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _check_images(x: np.ndarray) -> np.ndarray:
    return check_float_array("x of an augmentation, images (N, C, H, W),", x, ndim=4)


def shift(pixels: int = 4) -> Augmentation:
    """Random shift, filled up with zeros: what others call a random crop with padding.

    Notes
    -----
    y[n,c,h,w] = x[n, c, h + a_n, w + b_n],  a_n, b_n ~ U{-pixels, ..., pixels}
    """
    check_count("pixels", pixels)

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = _check_images(x).shape[2:]
        down, right = rng.integers(2 * pixels + 1, size=(2, len(x)))  # pixels + a_n, pixels + b_n
        padded = np.pad(x, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(len(x)), :, down, right])

    return augment


def flip() -> Augmentation:
    """Left becomes right in every second image, at random.

    Notes
    -----
    y[n,c,h,w] = x[n, c, h, W - 1 - w] with probability 1/2, else x[n,c,h,w]
    """

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mirrored = rng.random(len(_check_images(x))) < 0.5
        y = x.copy()
        y[mirrored] = x[mirrored, :, :, ::-1]
        return y

    return augment


def rotate(degrees: float = 15) -> Augmentation:
    """Random rotation about the centre of the image, by at most so many degrees to either side: `rotate_by`.

    Notes
    -----
    angle_n ~ U(-degrees, degrees)
    """
    check_fraction("degrees", degrees, high=180, closed=True)

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return rotate_by(x, rng.uniform(-degrees, degrees, len(_check_images(x))))

    return augment


def rotate_by(x: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Image n turned by degrees[n], as the eye sees it anticlockwise, with bilinear interpolation.

    Notes
    -----
    y[n,c,h,w] = sum_ij x[n,c,i,j] max(0, 1 - |u - i|) max(0, 1 - |v - j|), where (u, v) is (h, w) turned back:

    u = H' + cos(t) (h - H') + sin(t) (w - W')        H' = (H - 1) / 2,  W' = (W - 1) / 2,  t = degrees[n] pi / 180
    v = W' - sin(t) (h - H') + cos(t) (w - W')

    Examples
    --------
    >>> rotate_by(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([90.0])).round(6)
    array([[[[2., 4.],
             [1., 3.]]]])
    """
    angles = np.radians(degrees)[:, None, None]
    height, width = _check_images(x).shape[2:]
    h, w = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    u = (height - 1) / 2 + np.cos(angles) * h + np.sin(angles) * w
    v = (width - 1) / 2 - np.sin(angles) * h + np.cos(angles) * w
    i, j = np.clip(np.floor(u), -2, height), np.clip(np.floor(v), -2, width)  # farther out there are zeros as well
    below, right = (part[:, None].astype(x.dtype) for part in (u - i, v - j))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2)))
    image = (np.arange(len(x) * x.shape[1]) * (height + 4) * (width + 4)).reshape(*x.shape[:2], 1, 1)
    place = image + ((i + 2) * (width + 4) + j + 2).astype(np.intp)[:, None]

    def corner(offset):
        return padded.take(place + offset)

    upper, lower = ((1 - right) * corner(k) + right * corner(k + 1) for k in (0, width + 4))
    return (1 - below) * upper + below * lower


def noise(deviation: float = 0.2) -> Augmentation:
    """Normal noise in every pixel, of a strength of its own for each image, up to `deviation` in the unit of x.

    Notes
    -----
    y[n,c,h,w] = x[n,c,h,w] + s_n e[n,c,h,w],   s_n ~ U(0, deviation),   e ~ N(0, 1)
    """
    check_positive("deviation", deviation, zero=True)

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        strength = rng.uniform(0, deviation, len(_check_images(x))).astype(x.dtype)
        return x + strength[:, None, None, None] * rng.standard_normal(x.shape, x.dtype)

    return augment


def compose(*functions: Augmentation) -> Augmentation:
    """One after the other, the first one first, all from the same generator."""
    for function in functions:
        if not callable(function):
            raise TypeError(f"compose takes functions (x, rng) -> x, for instance flip(), not {function!r}")

    def augment(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for function in functions:
            x = function(x, rng)
        return x

    return augment
