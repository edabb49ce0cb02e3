"""Criteria of gradients by their definitions: differences of the loss under gates, second differences, paths, loops.

A `loss` is a function without arguments that returns the loss as it is now; `weight` is an array that it reads live.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .differences import central_difference

Value = Callable[[], float]


def gate_difference(loss: Value, weight: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """dL/dc at c = 1 for a gate c on each weight, c theta: (L((1 + h) theta_j) - L((1 - h) theta_j)) / 2h."""
    found = np.zeros(weight.shape)
    for index in np.ndindex(weight.shape):
        kept = weight[index]
        weight[index] = (1 + step) * kept
        above = loss()
        weight[index] = (1 - step) * kept
        below = loss()
        weight[index] = kept
        found[index] = (above - below) / (2 * step)
    return found


def sensitivity(losses: Sequence[Value], samples: Sequence[int], weight: np.ndarray) -> np.ndarray:
    """The mean over batches, by their samples, of |dL_b/dtheta|."""
    parts = [count * np.abs(central_difference(loss, weight)) for loss, count in zip(losses, samples, strict=True)]
    return sum(parts) / sum(samples)


def taylor(losses: Sequence[Value], samples: Sequence[int], weight: np.ndarray) -> np.ndarray:
    """The mean over batches, by their samples, of |dL_b/dc|, c the gate of each weight."""
    parts = [count * np.abs(gate_difference(loss, weight)) for loss, count in zip(losses, samples, strict=True)]
    return sum(parts) / sum(samples)


def full_batch_sensitivity(loss: Value, weight: np.ndarray) -> np.ndarray:
    """|dL/dtheta| of the loss over all samples."""
    return np.abs(central_difference(loss, weight))


def snip(loss: Value, weight: np.ndarray) -> np.ndarray:
    """|dL/dc| of the loss over all samples, c the gate of each weight."""
    return np.abs(gate_difference(loss, weight))


def snip_normalized(loss: Value, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same divided by the sum over the whole network, as printed in the paper."""
    scores = [snip(loss, weight) for weight in weights]
    total = sum(float(array.sum()) for array in scores)
    return [array / total for array in scores]


def hessian(loss: Value, weights: Sequence[np.ndarray], step: float = 1e-3) -> np.ndarray:
    """The whole Hessian over the weights one after the other, by second differences of the loss.

    H_ij = (L(+i, +j) - L(+i, -j) - L(-i, +j) + L(-i, -j)) / 4 h^2
    """
    places = [(weight, index) for weight in weights for index in np.ndindex(weight.shape)]
    found = np.zeros((len(places), len(places)))
    for i, (first, at) in enumerate(places):
        for j, (second, there) in enumerate(places):
            for sign_i in (1, -1):
                for sign_j in (1, -1):
                    kept = first[at], second[there]
                    first[at] += sign_i * step
                    second[there] += sign_j * step
                    found[i, j] += sign_i * sign_j * loss() / (4 * step**2)
                    first[at], second[there] = kept
    return found


def hessian_product(
    gradients: Callable[[], list[np.ndarray]],
    weights: Sequence[np.ndarray],
    direction: Sequence[np.ndarray],
    step: float = 1e-5,
) -> list[np.ndarray]:
    """H V by (g(theta + h V) - g(theta - h V)) / 2h; `gradients` returns those of the weights as they are now."""
    before = [weight.copy() for weight in weights]
    found = []
    for sign in (1, -1):
        for weight, start, along in zip(weights, before, direction, strict=True):
            weight[...] = start + sign * step * along
        found.append([gradient.copy() for gradient in gradients()])
    for weight, start in zip(weights, before, strict=True):
        weight[...] = start
    return [(above - below) / (2 * step) for above, below in zip(*found, strict=True)]


def grasp(squared_norm: Value, weight: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Half of d(|g|^2)/dc, c the gate of each weight: the first-order loss of the gradient's norm without it.

    `squared_norm` returns |g|^2, g the gradient of the mean loss over all prunable weights.
    """
    return gate_difference(squared_norm, weight, step) / 2


def synflow(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each weight of a chain of linear layers, the sum over all paths through it of the product of their |theta|.

    `weights` are (outputs, inputs), from the input to the output; a path is a unit of each layer.
    """
    sizes = [weights[0].shape[1], *(len(weight) for weight in weights)]
    scores = [np.zeros(weight.shape) for weight in weights]
    for path in np.ndindex(*sizes):
        flow = 1.0
        for layer, weight in enumerate(weights):
            flow *= abs(float(weight[path[layer + 1], path[layer]]))
        for layer, array in enumerate(scores):
            array[path[layer + 1], path[layer]] += flow
    return scores


def movement(weights: Sequence[np.ndarray], gradients: Sequence[np.ndarray]) -> np.ndarray:
    """The sum of -theta_t dL/dtheta_t over steps: the weights before each step, and their gradients there."""
    total = np.zeros(weights[0].shape)
    for weight, gradient in zip(weights, gradients, strict=True):
        for index in np.ndindex(total.shape):
            total[index] -= weight[index] * gradient[index]
    return total


def prune_in_rounds(
    scores: Callable[[np.ndarray], np.ndarray], size: int, schedule: Sequence[float], *, revive: bool
) -> np.ndarray:
    """The mask of `size` weights after pruning the lowest in rounds; `scores` maps the mask so far to their scores.

    Unless `revive`, what is pruned goes first in each later round; of equal scores the lower index.
    """
    mask = np.ones(size, bool)
    for sparsity in schedule:
        found = scores(mask)
        ranked = sorted((bool(mask[i]) and not revive, found[i], i) for i in range(size))
        mask = np.ones(size, bool)
        for _, _, i in ranked[: round(sparsity * size)]:
            mask[i] = False
    return mask
