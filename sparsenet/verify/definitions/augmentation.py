"""Augmentation, pixel by pixel."""

import math
from collections.abc import Callable

import numpy as np


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """y[c,h,w] = x[c, h + down, w + right], 0 where that lies outside."""
    out, (_, height, width) = np.zeros(image.shape), image.shape
    for c, h, w in np.ndindex(image.shape):
        if 0 <= h + down < height and 0 <= w + right < width:
            out[c, h, w] = image[c, h + down, w + right]
    return out


def all_shifts(image: np.ndarray, pixels: int) -> list[np.ndarray]:
    """The image shifted by each of -pixels ... pixels, down and to the right."""
    steps = range(-pixels, pixels + 1)
    return [shifted(image, down, right) for down in steps for right in steps]


def both_sides(image: np.ndarray) -> list[np.ndarray]:
    """The image and its mirror image."""
    mirrored = np.empty(image.shape)
    for c, h, w in np.ndindex(image.shape):
        mirrored[c, h, w] = image[c, h, image.shape[2] - 1 - w]
    return [image, mirrored]


def nearest(images: list[np.ndarray], image: np.ndarray) -> tuple[int, np.ndarray]:
    """(number, image) of the one that an image is nearest to."""
    distances = [float(np.abs(each - image).max()) for each in images]
    number = distances.index(min(distances))
    return number, images[number]


def rotate_by(x: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Each pixel is looked up where it came from, in the four pixels around, by their distances; outside is 0."""
    y, (height, width) = np.zeros(x.shape), x.shape[2:]
    for n, c, h, w in np.ndindex(x.shape):
        # as complex numbers, right and up from the centre: what was turned anticlockwise is turned back
        place = complex(w - (width - 1) / 2, (height - 1) / 2 - h)
        place *= complex(math.cos(math.radians(degrees[n])), -math.sin(math.radians(degrees[n])))
        v, u = place.real + (width - 1) / 2, (height - 1) / 2 - place.imag
        for i in range(height):
            for j in range(width):
                y[n, c, h, w] += x[n, c, i, j] * max(0.0, 1 - abs(u - i)) * max(0.0, 1 - abs(v - j))
    return y


def uniform_angles(degrees: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """An angle in [-degrees, degrees) for each image, one after the other."""
    return np.array([degrees * (2 * rng.random() - 1) for _ in range(count)])


def noisy(x: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """A strength for each image, then to each pixel a normal number of its own times that."""
    strengths, y = [deviation * rng.random() for _ in x], np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        y[place] = x[place] + strengths[place[0]] * rng.standard_normal()
    return y


def composed(x: np.ndarray, rng: np.random.Generator, functions: list[Callable]) -> np.ndarray:
    """The first of the functions, then the others."""
    if not functions:
        return x
    return composed(functions[0](x, rng), rng, functions[1:])
