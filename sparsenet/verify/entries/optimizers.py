"""Entries of optimisers, three steps each, with and without a mask, and of learning-rate schedules."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

import numpy as np

from ...nn import optimizers
from ...nn.optimizers import SGD, Adam
from ...nn.parameter import Parameter
from ..definitions import optimizers as definitions
from ..entry import Comparison, Entry
from .draws import some_mask

STEPS = 4
PROGRESS = (0.0, 0.1, 0.25, 0.5, 0.7, 1.0)


def _steps(*settings: dict) -> Callable[..., Iterator[Comparison]]:
    def compare(function, oracle, rng):
        for setting in settings:
            for masked in (False, True):
                value, gradients = rng.standard_normal((3, 4)), list(rng.standard_normal((STEPS, 3, 4)))
                mask = some_mask(rng, (3, 4)) if masked else np.ones((3, 4), bool)
                optimizer = function(**setting)
                made = _walk(optimizer, Parameter(value, mask=mask if masked else None), gradients)
                what = ", ".join([*map(str, setting), *["mask"] * masked])
                yield what, made, oracle(value, gradients, **asdict(optimizer), mask=mask)

    return compare


def _walk(optimizer: SGD | Adam, parameter: Parameter, gradients: list[np.ndarray]) -> list[np.ndarray]:
    values = []
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.update(parameter, optimizer.lr)
        values.append(parameter.value.copy())
    return values


def _factor(function: Callable, oracle: Callable, rng: np.random.Generator) -> Iterator[Comparison]:
    points = [*PROGRESS, float(rng.random())]
    yield "f", [function(t) for t in points], [oracle(t) for t in points]


def _step_decay(function, oracle, rng) -> Iterator[Comparison]:
    points = [*PROGRESS, float(rng.random())]
    for arguments in ((0.1, (0.5, 0.75)), (0.3, (0.1, 0.25, 0.7))):
        schedule = function(*arguments)
        yield str(arguments), [schedule(t) for t in points], [oracle(*arguments, t) for t in points]
    default = function()
    yield "default", [default(t) for t in points], [oracle(0.1, (0.5, 0.75), t) for t in points]


def _warmup(function, oracle, rng) -> Iterator[Comparison]:
    points = [*PROGRESS, float(rng.random())]
    for part, schedule in ((0.25, optimizers.linear_decay), (0.5, optimizers.constant)):
        made = function(part, schedule)
        yield schedule.__name__, [made(t) for t in points], [oracle(part, schedule, t) for t in points]
    made = function(0.25)
    yield "default", [made(t) for t in points], [oracle(0.25, definitions.cosine, t) for t in points]


def _schedule(name: str, source: str, compare: Callable = _factor) -> Entry:
    function, oracle = getattr(optimizers, name), getattr(definitions, name)
    return Entry(f"optimizers.{name}", "learning rate", function, oracle, compare, source)


ENTRIES = (
    Entry(
        "SGD.update",
        "optimizer",
        SGD,
        definitions.sgd,
        _steps(
            {"lr": 0.1},
            {"momentum": 0.9},
            {"momentum": 0.8, "nesterov": True},
            {"momentum": 0.5, "weight_decay": 0.1},
            {"momentum": 0.7, "nesterov": True, "weight_decay": 0.2},
        ),
        "Sutskever et al. 2013",
        at=SGD.update,
    ),
    Entry(
        "Adam.update",
        "optimizer",
        Adam,
        definitions.adam,
        _steps({}, {"lr": 0.1, "beta1": 0.5, "beta2": 0.7, "eps": 0.1}, {"weight_decay": 0.3}),
        "Kingma & Ba 2015, alg. 1",
        at=Adam.update,
    ),
    _schedule("constant", "definition"),
    _schedule("cosine", "Loshchilov & Hutter 2017, eq. 5"),
    _schedule("linear_decay", "definition"),
    _schedule("step_decay", "He et al. 2016, section 4.2", _step_decay),
    _schedule("warmup", "Goyal et al. 2017, section 2.2", _warmup),
)
