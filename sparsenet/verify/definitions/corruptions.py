"""Corrupted images, pixel by pixel. Where a draw chooses: all images that it may make."""

import math
from itertools import product

import numpy as np

from .augmentation import rotate_by, shifted


def all_shifts(image: np.ndarray, strength: int) -> list[np.ndarray]:
    """Moved to each of the four corners."""
    return [shifted(image, down, right) for down, right in product((-strength, strength), repeat=2)]


def both_rotations(image: np.ndarray, strength: int) -> list[np.ndarray]:
    """Turned by 8 degrees for each step, to either side."""
    return [rotate_by(image[None], np.array([8.0 * side * strength]))[0] for side in (-1, 1)]


def all_occlusions(image: np.ndarray, strength: int) -> list[np.ndarray]:
    """A square, a tenth of the shorter side for each step, set to 0 at every place where it fits."""
    height, width = image.shape[1:]
    side, images = round(strength * min(height, width) / 10), []
    for top, left in product(range(height - side + 1), range(width - side + 1)):
        covered = image.copy()
        for c, i, j in product(range(len(image)), range(side), range(side)):
            covered[c, top + i, left + j] = 0
        images.append(covered)
    return images


def noise(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """To each pixel a normal number of its own, a fifth of the deviation of all of x for each step."""
    values = x.ravel().tolist()
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return np.array([value + strength * deviation / 5 * rng.standard_normal() for value in values]).reshape(x.shape)


def blur(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """The mean of the pixels around by exp(-d^2 / 2 sigma^2), within 4 sigma along each axis; outside is 0."""
    sigma = strength / 2
    reach = range(-math.floor(4 * sigma + 0.5), math.floor(4 * sigma + 0.5) + 1)
    weights = {d: math.exp(-d * d / (2 * sigma**2)) for d in reach}
    y, total, (height, width) = np.zeros(x.shape), sum(weights.values()), x.shape[2:]
    for n, c, h, w in np.ndindex(x.shape):
        for i, j in product(range(height), range(width)):
            y[n, c, h, w] += weights.get(i - h, 0.0) * weights.get(j - w, 0.0) / total**2 * x[n, c, i, j]
    return y


def contrast(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Each pixel nearer to the mean of its image and channel, by 18 % of the way for each step."""
    y = np.zeros(x.shape)
    for n, c, h, w in np.ndindex(x.shape):
        pixels = x[n, c].ravel().tolist()
        mean = math.fsum(pixels) / len(pixels)
        y[n, c, h, w] = x[n, c, h, w] + 18 * strength / 100 * (mean - x[n, c, h, w])
    return y


def quantization(x: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """The nearest of the 32, 16, 8, 4 or 2 levels."""
    count = {1: 32, 2: 16, 3: 8, 4: 4, 5: 2}[strength]
    low, high = float(x.min()), float(x.max())
    levels = [low + (high - low) * k / (count - 1) for k in range(count)]
    return np.array([min(levels, key=lambda level: abs(level - v)) for v in x.ravel().tolist()]).reshape(x.shape)
