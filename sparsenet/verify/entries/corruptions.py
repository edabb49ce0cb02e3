"""Entries of corruptions. Which of its images a drawn one makes is not prescribed: each must be one of them."""

import copy
from collections.abc import Callable, Iterator

import numpy as np

from ...nn import corruptions
from ..definitions import augmentation
from ..definitions import corruptions as definitions
from ..entry import ROUNDING, Comparison, Entry

COUNT = 150  # images: that one of twelve places is never drawn has a probability of 3e-5


def _one_of(function, oracle, rng) -> Iterator[Comparison]:
    """Every image is one of those that the oracle makes, and where they differ all of these occur."""
    for strength in (1, 5):
        x = rng.standard_normal((COUNT, 1, 4, 5))
        y = function(x, strength, rng)
        allowed = [oracle(image, strength) for image in x]
        found = [augmentation.nearest(images, image) for images, image in zip(allowed, y, strict=True)]
        yield f"strength {strength}", y, np.array([image for _, image in found])
        if len({image.tobytes() for image in allowed[0]}) == len(allowed[0]):
            yield "occurring", sorted({number for number, _ in found}), list(range(len(allowed[0])))


def _prescribed(function, oracle, rng) -> Iterator[Comparison]:
    for strength in corruptions.STRENGTHS:
        x, other = 2 + rng.standard_normal((3, 2, 5, 4)), copy.deepcopy(rng)
        yield f"strength {strength}", function(x, strength, rng), oracle(x, strength, other)


def _corruption(name: str, oracle: Callable, compare: Callable) -> Entry:
    source = "after Hendrycks & Dietterich 2019"
    return Entry(f"corruptions.{name}", "corruption", getattr(corruptions, name), oracle, compare, source, ROUNDING)


ENTRIES = (
    _corruption("shift", definitions.all_shifts, _one_of),
    _corruption("rotation", definitions.both_rotations, _one_of),
    _corruption("occlusion", definitions.all_occlusions, _one_of),
    *(_corruption(name, getattr(definitions, name), _prescribed) for name in ("noise", "blur", "contrast")),
    _corruption("quantization", definitions.quantization, _prescribed),
)
