"""The UCI digits that are built in, to tell apart or, turned, to read an angle from."""

import gzip
from importlib.resources import files

import numpy as np

from ..nn.augment import rotate_by

NAME, ANGLE = "digits", "digits_angle"
MOST = 45  # degrees, to either side: a digit upside down is none of these


def load() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 1, 28, 28) in [0, 1] and labels (N,), in the order of the file."""
    with files(__package__).joinpath("digits.csv.gz").open("rb") as packed, gzip.open(packed, "rt") as text:
        table = np.loadtxt(text, delimiter=",", dtype=np.int64)
    return enlarge(table[:, :-1].reshape(-1, 8, 8) / 16)[:, None], table[:, -1]


def turn(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image turned anticlockwise by an angle of its own, and these angles (N, 1) in units of 45 degrees.

    Notes
    -----
    angle_n = k_n / 10 degrees,  k_n ~ U{-450, ..., 450} from seed 0;   y_n = k_n / 450

    Pixels are rounded to 256ths: sines and cosines differ in their last bits from one processor to the next, the images
    do not. The unit makes y uniform in [-1, 1] without a figure that is estimated from the data; its variance is 1/3.
    """
    tenths = np.random.default_rng(0).integers(-10 * MOST, 10 * MOST + 1, len(x))
    turned = np.round(256 * rotate_by(x.astype(np.float64), tenths / 10)) / 256
    return turned.astype(np.float32), (tenths / (10 * MOST)).astype(np.float32)[:, None]


def enlarge(images: np.ndarray, factor: int = 3, border: int = 2) -> np.ndarray:
    """Bilinear enlargement of square images (N, s, s), with a border of zeros: 8 -> 3 * 8 + 2 * 2 = 28.

    Notes
    -----
    out = A image A^T. Row a of A interpolates linearly at u = (a + 1/2) / factor - 1/2, the centre of the new pixel in
    the old grid (clipped to it): A[a, i] = max(0, 1 - |u - i|).
    """
    size = images.shape[1]
    centres = np.clip((np.arange(factor * size) + 0.5) / factor - 0.5, 0, size - 1)
    matrix = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(size)))
    large = matrix @ images @ matrix.T
    return np.pad(large, ((0, 0), (border, border), (border, border))).astype(np.float32)
