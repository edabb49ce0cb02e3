"""Optimisers and learning-rate schedules.

An optimiser is a set of numbers; what it remembers of a parameter lives in that parameter's `state`. Every update is
masked: gradient, state and value of a pruned weight are zero after it, momentum and weight decay included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..checks import check_fraction, check_positive
from .parameter import Parameter

Schedule = Callable[[float], float]

CLUSTER = "cluster"  # state of a quantised parameter: the number of the value that each weight shares


class Optimizer(Protocol):
    """What `fit` asks of an optimiser: a base learning rate and an in-place update of one parameter."""

    lr: float

    def update(self, parameter: Parameter, lr: float) -> None:
        """Change the parameter in place, with learning rate `lr`."""


def _decayed_gradient(parameter: Parameter, weight_decay: float) -> np.ndarray:
    """g = dL/dtheta + weight_decay theta."""
    if not weight_decay:
        return parameter.grad
    return parameter.grad + parameter.dtype.type(weight_decay) * parameter.value


def _remembered(parameter: Parameter, name: str) -> np.ndarray:
    """The array `name` of the parameter's state, zeros at first."""
    if name not in parameter.state:
        parameter.state[name] = np.zeros(parameter.shape, parameter.dtype)
    return parameter.state[name]


def check_optimizer(optimizer: Optimizer) -> None:
    """Refuse what could not make a step."""
    if isinstance(optimizer, type) or not callable(getattr(optimizer, "update", None)):
        raise TypeError(f"optimizer must be an SGD, an Adam or alike, with lr and update, not {optimizer!r}")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, Nesterov's variant and (L2) weight decay.

    Notes
    -----
    g = dL/dtheta + weight_decay theta
    v <- momentum v + g
    theta <- theta - lr v                     or, Nesterov,   theta <- theta - lr (g + momentum v)

    v starts at 0, so the first step is plain gradient descent (Sutskever et al. 2013, in torch's form).
    """

    lr: float = 0.05
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("momentum", self.momentum)
        check_positive("weight_decay", self.weight_decay, zero=True)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0")

    def update(self, parameter: Parameter, lr: float) -> None:
        real = parameter.dtype.type
        step = gradient = _decayed_gradient(parameter, self.weight_decay)
        if self.momentum:
            velocity = _remembered(parameter, "velocity")
            velocity *= real(self.momentum)
            velocity += gradient
            step = gradient + real(self.momentum) * velocity if self.nesterov else velocity
        parameter.value -= real(lr) * step
        parameter.enforce_mask()


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), with L2 weight decay added to the gradient.

    Notes
    -----
    g = dL/dtheta + weight_decay theta
    m <- beta1 m + (1 - beta1) g,        v <- beta2 v + (1 - beta2) g^2
    theta <- theta - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps),   t = 1, 2, ...
    """

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self):
        check_positive("lr", self.lr)
        check_fraction("beta1", self.beta1)
        check_fraction("beta2", self.beta2)
        check_positive("eps", self.eps)
        check_positive("weight_decay", self.weight_decay, zero=True)

    def update(self, parameter: Parameter, lr: float) -> None:
        real = parameter.dtype.type
        gradient = _decayed_gradient(parameter, self.weight_decay)
        steps = parameter.state.setdefault("steps", np.zeros((), np.int64))
        first, second = _remembered(parameter, "first_moment"), _remembered(parameter, "second_moment")
        steps += 1
        first += real(1 - self.beta1) * (gradient - first)
        second += real(1 - self.beta2) * (gradient**2 - second)
        unbiased = first / real(1 - self.beta1 ** int(steps))
        parameter.value -= real(lr) * unbiased / (np.sqrt(second / real(1 - self.beta2 ** int(steps))) + real(self.eps))
        parameter.enforce_mask()


@dataclass(frozen=True)
class _Around:
    """An optimiser around another one, whose learning rate it has."""

    optimizer: Optimizer

    def __post_init__(self):
        check_optimizer(self.optimizer)

    @property
    def lr(self) -> float:
        """The learning rate of the optimiser inside."""
        return self.optimizer.lr


@dataclass(frozen=True)
class Movement(_Around):
    """An optimiser that also records how the weights move: what the criterion `movement` needs (Sanh et al. 2020).

    The steps are those of the optimiser inside, bit for bit. What is recorded lies in the parameter's state, with the
    optimiser's own memory: it is copied, saved, rolled back and masked like that, and further training goes on with it.

    Notes
    -----
    S <- S - theta dL/dtheta     before each step, with the gradient of the loss alone (no weight decay); S starts at 0

    Examples
    --------
    >>> parameter = Parameter(np.array([2.0, -1.0]), grad=np.array([-0.5, 0.0]))
    >>> for _ in range(2):
    ...     Movement(SGD(lr=1.0)).update(parameter, 1.0)  # theta: 2, 2.5, 3
    >>> parameter.value.tolist(), parameter.state["movement"].tolist()
    ([3.0, -1.0], [2.25, 0.0])
    """

    def update(self, parameter: Parameter, lr: float) -> None:
        movement = _remembered(parameter, "movement")
        movement -= parameter.value * parameter.grad
        self.optimizer.update(parameter, lr)


def shared_gradient(gradient: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """For each weight the gradient of the value that its cluster shares: the sum over all weights of the cluster.

    Notes
    -----
    w_i = c_{k_i}:   dL/dc_k = sum over i with k_i = k of dL/dw_i        (Han et al. 2016, eq. 3)

    Examples
    --------
    >>> shared_gradient(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0])).tolist()
    [4.0, 2.0, 4.0]
    """
    return np.bincount(cluster, gradient)[cluster].astype(gradient.dtype)


@dataclass(frozen=True)
class SharedWeights(_Around):
    """An optimiser for the weights that `quantize` made share values: each value moves as one, and stays shared.

    The steps are those of the optimiser inside, taken by the shared values: weights of one cluster have one value, one
    gradient and one memory, so that they remain equal, bit for bit. Parameters that were not quantised (biases) take
    its steps as ever. A gradient is the sum over thousands of weights: the learning rate has to be far smaller than
    that of single weights, for SGD; Adam's step does not depend on the size.

    Notes
    -----
    dL/dc_k = sum over i with k_i = k of dL/dw_i;   c <- the step of the optimiser inside;   w_i = c_{k_i}

    Weight decay is that of c_k, once, however many weights share it.

    Raises
    ------
    ValueError
        When a step finds weights of one cluster unequal: they were trained otherwise, or pruned ones have come back.

    Examples
    --------
    >>> parameter = Parameter(np.array([0.5, 2.0, 0.5]), grad=np.array([1.0, 3.0, -2.0]))
    >>> parameter.state[CLUSTER] = np.array([0, 1, 0])
    >>> SharedWeights(SGD(lr=0.5)).update(parameter, 0.5)
    >>> parameter.value.tolist()  # 0.5 - 0.5 (1 - 2) and 2 - 0.5 3
    [1.0, 0.5, 1.0]
    """

    def update(self, parameter: Parameter, lr: float) -> None:
        if CLUSTER in parameter.state:
            kept = np.ones(parameter.shape, bool) if parameter.mask is None else parameter.mask
            cluster = parameter.state[CLUSTER][kept].astype(np.intp)
            _check_shared(parameter.value[kept], cluster)
            gradient = np.zeros(parameter.shape, parameter.dtype)
            gradient[kept] = shared_gradient(parameter.grad[kept], cluster)
            parameter.set_grad(gradient)
        self.optimizer.update(parameter, lr)


def _check_shared(values: np.ndarray, cluster: np.ndarray) -> None:
    codebook = np.zeros(cluster.max(initial=-1) + 1, values.dtype)
    codebook[cluster] = values
    if not np.array_equal(codebook[cluster], values):
        raise ValueError(
            "weights of one cluster have different values: they were changed one by one since they were quantised, "
            "or pruned ones have come back; quantise the network again"
        )


def constant(progress: float) -> float:
    """Factor 1 on the learning rate, whatever the progress."""
    return 1.0


def cosine(progress: float) -> float:
    """Factor (1 + cos(pi t)) / 2 at progress t in [0, 1]: from 1 down to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + float(np.cos(np.pi * progress)))


def linear_decay(progress: float) -> float:
    """Factor 1 - t at progress t in [0, 1]."""
    return 1.0 - progress


def step_decay(factor: float = 0.1, at: tuple[float, ...] = (0.5, 0.75)) -> Schedule:
    """Schedule that multiplies by `factor` at each progress named in `at`."""
    return lambda progress: factor ** sum(progress >= point for point in at)


def warmup(part: float, schedule: Schedule = cosine) -> Schedule:
    """Schedule that rises linearly from 0 over the first `part` of training, then follows `schedule` over the rest.

    Notes
    -----
    f(t) = t / part for t < part, else schedule((t - part) / (1 - part))
    """
    check_fraction("part", part)
    return lambda t: t / part if t < part else schedule((t - part) / (1 - part))
