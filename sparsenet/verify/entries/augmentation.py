"""Entries of augmentation. Which of its images a random one makes is not prescribed: each must be one of them."""

import copy
from collections.abc import Callable, Iterator

import numpy as np

from ...nn import augment
from ..definitions import augmentation as definitions
from ..entry import EXACT, Comparison, Entry

COUNT = 200  # images: that one of nine shifts is never drawn has a probability of 1e-9


def _one_of(*arguments: int) -> Callable[..., Iterator[Comparison]]:
    """Every image is one of those that the oracle makes, and all of these occur."""

    def compare(function, oracle, rng):
        x = rng.standard_normal((COUNT, 2, 3, 4))
        y = function(*arguments)(x, rng)
        allowed = [oracle(image, *arguments) for image in x]
        found = [definitions.nearest(images, image) for images, image in zip(allowed, y, strict=True)]
        yield "y", y, np.array([image for _, image in found])
        yield "occurring", sorted({number for number, _ in found}), list(range(len(allowed[0])))

    return compare


def _rotate_by(function, oracle, rng) -> Iterator[Comparison]:
    for size in ((5, 4), (4, 6)):
        x, degrees = rng.standard_normal((3, 2, *size)), rng.uniform(-180, 180, 3)
        yield str(size), function(x, degrees), oracle(x, degrees)


def _rotate(function, oracle, rng) -> Iterator[Comparison]:
    x, other = rng.standard_normal((4, 1, 4, 5)), copy.deepcopy(rng)
    yield "y", function(30)(x, rng), definitions.rotate_by(x, oracle(30, 4, other))


def _compose(function, oracle, rng) -> Iterator[Comparison]:
    x, other = rng.standard_normal((4, 1, 3, 3)), copy.deepcopy(rng)
    functions = [lambda x, rng: x + rng.random(x.shape), lambda x, rng: x * rng.random(x.shape)]
    yield "y", function(*functions)(x, rng), oracle(x, other, functions)


def _noise(function, oracle, rng) -> Iterator[Comparison]:
    x, other = rng.standard_normal((4, 2, 3, 4)), copy.deepcopy(rng)
    yield "y", function(0.7)(x, rng), oracle(x, 0.7, other)


ENTRIES = (
    Entry(
        "augment.shift",
        "augmentation",
        augment.shift,
        definitions.all_shifts,
        _one_of(1),
        "He et al. 2016, section 4.2",
        EXACT,
    ),
    Entry(
        "augment.flip",
        "augmentation",
        augment.flip,
        definitions.both_sides,
        _one_of(),
        "He et al. 2016, section 4.2",
        EXACT,
    ),
    Entry(
        "augment.rotate_by",
        "augmentation",
        augment.rotate_by,
        definitions.rotate_by,
        _rotate_by,
        "rotation matrix, bilinear interpolation",
    ),
    Entry("augment.rotate", "augmentation", augment.rotate, definitions.uniform_angles, _rotate, "definition"),
    Entry("augment.noise", "augmentation", augment.noise, definitions.noisy, _noise, "definition"),
    Entry("augment.compose", "augmentation", augment.compose, definitions.composed, _compose, "definition"),
)
