"""Criteria of the curvature by definition: differences, explicit inverses, constrained minima, brute force."""

from collections.abc import Callable, Sequence
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


def unrolled(
    x: np.ndarray, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple, groups: int
) -> np.ndarray:
    """What the window shows of a group's inputs at each position of the output: (N, G, P, Q)."""
    samples, channels, height, width = x.shape
    steps = [
        range(-p, n + p - (k - 1) * d, s)
        for n, k, s, p, d in zip((height, width), kernel_size, stride, padding, dilation, strict=True)
    ]
    windows = []
    for n, g, top, left in product(range(samples), range(groups), *steps):
        window = []
        for c, i, j in product(range(channels // groups), range(kernel_size[0]), range(kernel_size[1])):
            h, w = top + i * dilation[0], left + j * dilation[1]
            inside = 0 <= h < height and 0 <= w < width
            window.append(float(x[n, g * (channels // groups) + c, h, w]) if inside else 0.0)
        windows.append(window)
    return np.array(windows).reshape(samples, groups, -1, len(windows[0])).swapaxes(2, 3)


def input_hessian(
    x: np.ndarray, kernel_size: tuple, stride: tuple, padding: tuple, dilation: tuple, groups: int
) -> np.ndarray:
    """2 sum u u^T over all samples and positions, u the inputs of a group under the window: (G, P, P)."""
    columns = unrolled(x, kernel_size, stride, padding, dilation, groups)
    found = np.zeros((groups, columns.shape[2], columns.shape[2]))
    for n, g, q in product(range(len(columns)), range(groups), range(columns.shape[3])):
        found[g] += 2 * np.outer(columns[n, g, :, q], columns[n, g, :, q])
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


def taken_in_turn(costs: Sequence[Sequence[float]], gone: Sequence[int], count: int) -> np.ndarray:
    """How many each row loses until `count` are gone, always the next of the row where that costs least."""
    taken = list(gone)
    while sum(taken) < count:
        o = min((own[taken[o]], o) for o, own in enumerate(costs) if taken[o] < len(own))[1]
        taken[o] += 1
    return np.array(taken)


def exact_obs(
    weight: np.ndarray, hessian: np.ndarray, count: int, kept: np.ndarray, block: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(new weights, mask) after `count` more blocks are gone, the one of all rows that adds least first; H (P, P)."""
    traces, kept = [greedy_order(row, hessian, own, block) for row, own in zip(weight, kept, strict=True)], kept.copy()
    taken = taken_in_turn([costs for _, costs in traces], [0] * len(weight), count)
    for own, (order, _), number in zip(kept, traces, taken, strict=True):
        for b in order[:number]:
            own[b * block : (b + 1) * block] = False
    return refit(weight, hessian, kept), kept


def exact_obs_nm(
    weight: np.ndarray, hessian: np.ndarray, keep: int, of: int, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(new weights, mask): as long as a group has more than `keep`, the weight of such groups goes that adds least."""
    kept = kept.copy()
    for row, own in zip(weight, kept, strict=True):
        while True:
            found = []
            for p in np.flatnonzero(own):
                if own[p // of * of : p // of * of + of].sum() > keep:
                    without = own.copy()
                    without[p] = False
                    found.append((best_row(row, hessian, without)[0], p))
            if not found:
                break
            own[min(found)[1]] = False
    return refit(weight, hessian, kept), kept


def refit(weight: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Each row the best one under its mask."""
    return np.array([best_row(row, hessian, kept)[1] for row, kept in zip(weight, mask, strict=True)])


def damped(hessian: np.ndarray, damping: float) -> np.ndarray:
    """H with this part of the mean of its diagonal added to the diagonal."""
    found = hessian.astype(float)
    for p in range(len(hessian)):
        found[p, p] += damping * sum(hessian[q, q] for q in range(len(hessian))) / len(hessian)
    return found


def least_error(row: np.ndarray, hessian: np.ndarray, count: int) -> float:
    """The least error of all masks that remove `count` weights, and of all weights under them: brute force."""
    errors = []
    for gone in combinations(range(len(row)), count):
        kept = np.ones(len(row), bool)
        kept[list(gone)] = False
        errors.append(best_row(row, hessian, kept)[0])
    return min(errors)
