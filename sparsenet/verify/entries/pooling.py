"""Entries of the layers without weights that read images or several inputs: pooling, sums, concatenation, shortcut."""

from collections.abc import Callable, Iterator

import numpy as np

from ...nn.layer import Layer
from ...nn.merge import Add, Concat, PadShortcut
from ...nn.pooling import AvgPool2d, GlobalAvgPool2d, MaxPool2d
from ..definitions import convolution
from ..definitions import layers as definitions
from ..entry import EXACT, Comparison
from .draws import away_from_ties
from .layers import entries_of, slopes

WINDOWS = (2, None, 0), (3, 2, 1), ((2, 3), (1, 2), (1, 0)), (2, 3, 0)  # window, stride, padding


def _pools(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    for window in WINDOWS:
        built = function(*window)
        yield f"{built.window}", built, away_from_ties(rng, (2, 2, 6, 5))


def _pool(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _pools(function, rng):
        yield what, built.forward(x), oracle(x, built.window, built.stride, built.padding)


def _image(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    yield "", function(), rng.standard_normal((2, 3, 4, 5))


def _global(function, oracle, rng) -> Iterator[Comparison]:
    for _, built, x in _image(function, rng):
        yield "y", built.forward(x), oracle(x)


def _branches(*shapes: tuple[int, ...]) -> Callable:
    def cases(function, rng):
        yield "", function(), tuple(rng.standard_normal(shape) for shape in shapes)

    return cases


def _merge(cases: Callable) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        for _, built, inputs in cases(function, rng):
            yield "y", built.forward(*inputs), oracle(*inputs)

    return compare


def _shortcuts(function: Callable, rng: np.random.Generator) -> Iterator[tuple[str, Layer, np.ndarray]]:
    for arguments in ((2, 5, 2), (3, 3, 1), (3, 4, 3, (2, -1, 0, -1))):
        yield str(arguments), function(*arguments), rng.standard_normal((2, arguments[0], 5, 4))


def _shortcut(function, oracle, rng) -> Iterator[Comparison]:
    for what, built, x in _shortcuts(function, rng):
        config = built.config()
        inputs, outputs = config["in_channels"], config["out_channels"]
        channels = config.get("channels", definitions.padded_channels(inputs, outputs))
        yield what, built.forward(x), oracle(x, channels, config["stride"])


_SUM, _CHANNELS = _branches(*[(2, 3, 2, 2)] * 3), _branches((2, 3, 2, 2), (2, 1, 2, 2), (2, 2, 2, 2))

ENTRIES = (
    *entries_of(MaxPool2d, "definition", convolution.max_pool2d, _pool, slopes(_pools), tolerance=EXACT),
    *entries_of(AvgPool2d, "definition", convolution.average_pool2d, _pool, slopes(_pools)),
    *entries_of(GlobalAvgPool2d, "Lin et al. 2014", convolution.global_average_pool2d, _global, slopes(_image)),
    *entries_of(Add, "He et al. 2016, eq. 1", definitions.add, _merge(_SUM), slopes(_SUM)),
    *entries_of(
        Concat, "Huang et al. 2017", definitions.concatenate, _merge(_CHANNELS), slopes(_CHANNELS), tolerance=EXACT
    ),
    *entries_of(
        PadShortcut,
        "He et al. 2016, option A",
        definitions.pad_shortcut,
        _shortcut,
        slopes(_shortcuts),
        tolerance=EXACT,
    ),
)
