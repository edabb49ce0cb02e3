"""What every layer is: a forward, a backward beside it, and its parameters; and how weights start."""

from collections.abc import Callable

import numpy as np

from .parameter import Parameter

Shape = tuple[int, ...]
Initializer = Callable[[Shape, np.random.Generator], np.ndarray]


class Layer:
    """A function y = f(x) of arrays whose first axis counts the samples, with its gradients.

    A layer says `forward`; and `input_gradient`, `set_gradients` or both: `backward` is the two in that order. What
    they need of the last forward is in `saved`, which is dropped from copies.

    Layers do not copy what passes between them: `saved` may hold x itself, and y may be x (dropout outside training).
    `Network` hands out arrays of the caller's own.
    """

    saved = None

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """y = f(x); leaves in `saved` what backward needs."""
        raise NotImplementedError

    def set_gradients(self, dy: np.ndarray) -> None:
        """Set the gradient of every parameter from dy = dL/dy of the last forward."""

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """dx = dL/dx from dy = dL/dy of the last forward."""
        raise NotImplementedError

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Set the parameters' gradients and return dx."""
        self.set_gradients(dy)
        return self.input_gradient(dy)

    def parameters(self) -> dict[str, Parameter]:
        """The trained parameters by name."""
        return {}

    def buffers(self) -> dict[str, np.ndarray]:
        """Arrays that are saved with the layer but not trained (running statistics)."""
        return {}

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of y without the sample axis, for x of `shape` without it; a ValueError where x does not fit."""
        return shape

    def check_batch(self, *shapes: Shape) -> None:
        """Raise a ValueError where a batch of these shapes, the sample axis included, is too small to train on."""

    def config(self) -> dict:
        """The arguments that build this layer again (its arrays apart)."""
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.config().items())})"


def he_normal(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Draw w ~ N(0, 2 / fan_in), fan_in = inputs of an output unit (He et al. 2015, eq. 10); for use before a ReLU."""
    return (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def glorot_uniform(shape: Shape, rng: np.random.Generator, groups: int = 1) -> np.ndarray:
    """Draw w ~ U(-a, a), a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, eq. 16): for linear outputs, tanh.

    An input of a convolution in groups reaches the outputs of its own group only: `functools.partial` can set `groups`.

    Notes
    -----
    fan_in = (C/G) kh kw,   fan_out = (O/G) kh kw   for a weight of shape (O, C/G, kh, kw)
    """
    window = np.prod(shape[2:])
    bound = np.sqrt(6 / (shape[1] * window + shape[0] // groups * window))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
