"""A layer's, or a network's, backward pass beside differences of its forward pass."""

import copy
from collections.abc import Callable, Iterator

import numpy as np

from ..nn.layer import Layer
from ..nn.network import Network
from .definitions.differences import central_difference
from .entry import Comparison


def compare_slopes(
    layer: Layer | Network,
    inputs: tuple[np.ndarray, ...],
    rng: np.random.Generator,
    *,
    training: bool = False,
    oracle: Callable = central_difference,
) -> Iterator[Comparison]:
    """("dx", dx, its slope), then the same for each parameter, of a float64 layer; of L = sum dy f(x), dy from `rng`.

    What a mask prunes has no slope: it is not compared. Each forward pass is that of a fresh copy: what it draws, and
    what it remembers, is the same each time.
    """
    passed = copy.deepcopy(layer)
    y = passed.forward(*(x.copy() for x in inputs), training=training)
    dy = rng.standard_normal(y.shape)

    def loss() -> float:
        return float((copy.deepcopy(layer).forward(*inputs, training=training) * dy).sum())

    dx = passed.backward(dy)
    parts = dx if isinstance(dx, tuple) else (dx,)
    for number, (x, part) in enumerate(zip(inputs, parts, strict=True), 1):
        yield "dx" if number == 1 else f"dx{number}", part, oracle(loss, x)
    parameters = layer.parameters()
    for name, parameter in passed.parameters().items():
        grad = parameter.grad if parameter.mask is None else np.where(parameter.mask, parameter.grad, 0)
        yield name, grad, oracle(loss, parameters[name].value)
