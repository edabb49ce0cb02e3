"""Criteria of the curvature by definition: differences, explicit inverses, constrained minima, brute force."""

from collections.abc import Callable
from itertools import combinations, product

import numpy as np


def mean_square(gradients: list[np.ndarray]) -> np.ndarray:
    """1/N sum_n g_n^2, of the gradients of one sample after the other.

    Examples
    --------
    >>> mean_square([np.array([2.0]), np.array([-6.0])]).tolist()
    [20.0]
    """
    total = np.zeros(gradients[0].shape)
    for gradient in gradients:
        for index in np.ndindex(total.shape):
            total[index] += float(gradient[index]) ** 2
    return total / len(gradients)


def second_differences(gradient: Callable[[], np.ndarray], weight: np.ndarray, step: float = 1e-4) -> np.ndarray:
    """d^2 L / dtheta_i^2 by (L'(theta_i + h) - L'(theta_i - h)) / 2h; the array is changed in place and restored.

    Examples
    --------
    >>> weight = np.array([1.0, 3.0])
    >>> second_differences(lambda: weight**3 / 3, weight).round(6).tolist()
    [1.0, 9.0]
    """
    found = np.empty(weight.shape)
    for index in np.ndindex(weight.shape):
        kept = weight[index]
        weight[index] = kept + step
        above = gradient()[index]
        weight[index] = kept - step
        below = gradient()[index]
        weight[index] = kept
        found[index] = (above - below) / (2 * step)
    return found


def input_hessian(
    x: np.ndarray, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple, groups: int
) -> np.ndarray:
    """2 sum u u^T over all samples and positions, u the inputs of a group under the window: (G, P, P)."""
    samples, channels, height, width = x.shape
    per_group = channels // groups
    size = per_group * kernel_size[0] * kernel_size[1]
    found = np.zeros((groups, size, size))
    steps = [
        range(-p, n + p - (k - 1) * d, s)
        for n, k, s, p, d in zip((height, width), kernel_size, stride, padding, dilation, strict=True)
    ]
    for n, g, top, left in product(range(samples), range(groups), *steps):
        window = []
        for c, i, j in product(range(per_group), range(kernel_size[0]), range(kernel_size[1])):
            h, w = top + i * dilation[0], left + j * dilation[1]
            inside = 0 <= h < height and 0 <= w < width
            window.append(float(x[n, g * per_group + c, h, w]) if inside else 0.0)
        found[g] += 2 * np.outer(window, window)
    return found


def half_curvature(weight: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """1/2 h theta^2, weight by weight: Fisher's criterion, and optimal brain damage."""
    scores = np.empty(weight.shape)
    for index in np.ndindex(weight.shape):
        scores[index] = float(curvature[index]) * float(weight[index]) * float(weight[index]) / 2
    return scores


def surgeon(row: np.ndarray, hessian: np.ndarray, p: int) -> tuple[float, np.ndarray]:
    """(the least 1/2 d H d^T with d_p = -w_p, the row + d): Lagrange's conditions, solved as they stand.

    Examples
    --------
    >>> cost, row = surgeon(np.array([2.0, 2.0]), np.array([[2.0, 1.0], [1.0, 1.0]]), 0)
    >>> round(cost, 6), row.round(6).tolist()
    (2.0, [0.0, 4.0])
    """
    size = len(row)
    conditions = np.zeros((size + 1, size + 1))
    conditions[:size, :size] = hessian
    conditions[size, p] = conditions[p, size] = 1
    d = np.linalg.solve(conditions, np.append(np.zeros(size), -row[p]))[:size]
    return float(d @ hessian @ d) / 2, row + d


def obs(weight: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What each weight costs when it goes and the kept ones of its row adapt: (O, P), or a shape of as many rows."""
    scores, group = np.zeros(weight.shape), len(weight) // len(hessian)
    for o, (row, kept) in enumerate(zip(weight.reshape(len(weight), -1), mask.reshape(len(weight), -1), strict=True)):
        places = np.flatnonzero(kept)
        own = hessian[o // group][np.ix_(places, places)]
        for number, p in enumerate(places):
            scores.reshape(len(weight), -1)[o, p] = surgeon(row[places].astype(float), own, number)[0]
    return scores


def woodfisher(
    weight: np.ndarray, gradients: np.ndarray, mask: np.ndarray, block_size: int, damping: float
) -> np.ndarray:
    """theta^2 / (2 [F^-1]_qq), F^-1 of each block built up sample by sample (Sherman and Morrison).

    F_n^-1 = F_(n-1)^-1 - F_(n-1)^-1 g_n g_n^T F_(n-1)^-1 / (N + g_n^T F_(n-1)^-1 g_n),   F_0^-1 = I / lambda
    """
    theta, kept = weight.ravel().astype(float), mask.ravel()
    flat, scores = gradients.reshape(len(gradients), -1).astype(float), np.zeros(weight.size)
    for start in range(0, weight.size, block_size):
        block = np.arange(start, min(start + block_size, weight.size))
        inverse = np.eye(len(block)) / damping
        for g in flat[:, block] * kept[block]:
            image = inverse @ g
            inverse = inverse - np.outer(image, image) / (len(flat) + g @ image)
        for number, q in enumerate(block):
            scores[q] = theta[q] ** 2 / (2 * inverse[number, number])
    return scores.reshape(weight.shape)


def best_row(row: np.ndarray, hessian: np.ndarray, kept: np.ndarray) -> tuple[float, np.ndarray]:
    """(error, row): the least 1/2 (w - w') H (w - w')^T of all w' that are 0 outside `kept`, by the normal equations.

    Examples
    --------
    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> best_row(np.array([4.0, 3.0]), hessian, np.array([True, False]))
    (6.75, array([5.5, 0. ]))
    """
    new = np.zeros(len(row))
    if kept.any():
        new[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], (hessian @ row)[kept])
    return float((row - new) @ hessian @ (row - new)) / 2, new


def greedy_order(
    row: np.ndarray, hessian: np.ndarray, kept: np.ndarray, block: int = 1
) -> tuple[list[int], list[float]]:
    """(blocks in the order in which they go, what each adds to the error), every candidate solved from the start."""
    kept = kept.copy()
    blocks = {start // block: slice(start, start + block) for start in range(0, len(row), block)}
    order, costs, error = [], [], best_row(row, hessian, kept)[0]
    while kept.any():
        found = []
        for number, places in blocks.items():
            if kept[places].any():
                without = kept.copy()
                without[places] = False
                found.append((best_row(row, hessian, without)[0], number))
        total, number = min(found)
        kept[blocks[number]] = False
        order.append(number)
        costs.append(total - error)
        error = total
    return order, costs


def exact_obs(
    weight: np.ndarray, hessian: np.ndarray, count: int, kept: np.ndarray, block: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(new weights, mask) after `count` more blocks are gone, the one of all rows that adds least first; H (P, P)."""
    traces, kept = [greedy_order(row, hessian, own, block) for row, own in zip(weight, kept, strict=True)], kept.copy()
    taken = [0] * len(weight)
    for _ in range(count):
        o = min((costs[taken[o]], o) for o, (_, costs) in enumerate(traces) if taken[o] < len(costs))[1]
        start = traces[o][0][taken[o]] * block
        kept[o, start : start + block] = False
        taken[o] += 1
    return np.array([best_row(row, hessian, own)[1] for row, own in zip(weight, kept, strict=True)]), kept


def least_error(row: np.ndarray, hessian: np.ndarray, count: int) -> float:
    """The least error of all masks that remove `count` weights, and of all weights under them: brute force."""
    errors = []
    for gone in combinations(range(len(row)), count):
        kept = np.ones(len(row), bool)
        kept[list(gone)] = False
        errors.append(best_row(row, hessian, kept)[0])
    return min(errors)
