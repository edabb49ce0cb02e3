"""Criteria of the curvature: the loss's second derivatives, or those of a layer's squared output error.

All come from L(theta + d) ~ L(theta) + 1/2 d^T H d at a minimum, where the gradient is 0. `obd` and `fisher` take the
diagonal of H alone; `obs` and `woodfisher` let the other weights (of the row, of the block) move to make up for the one
that goes, and score what is lost even so. The move itself is not made by a criterion: see `exact_obs`.
"""

import numpy as np


def fisher(weight: np.ndarray, fisher_diagonal: np.ndarray) -> np.ndarray:
    """Fisher pruning: the loss that deleting a weight costs, its curvature estimated by the squared gradients.

    Notes
    -----
    I = 1/2 theta^2 F,   F = 1/N sum_n (dl_n/dtheta)^2

    Theis et al. 2018, "Faster gaze prediction with dense networks and Fisher pruning", there for whole feature maps;
    the diagonal of WoodFisher's matrix (Singh & Alistarh 2020). F is the *empirical* Fisher information, of the data's
    own labels, equal to the Hessian only where the model has learnt the distribution of the labels.

    Each sample's gradient is squared by itself. Many libraries square the mean gradient of a batch instead, which the
    optimiser has at hand: its terms cancel between samples, so that it tends to 0 at a minimum, where curvature is all
    there is. Two samples with gradients 2 and -6 have F = 20; their batch has (-2)^2 = 4. That variant is
    theta^2 (dL/dtheta)^2, the square of `taylor`, and ranks like it.

    Higher = keep.

    Examples
    --------
    >>> fisher(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[20.0, 1.0], [4.0, 9.0]])).tolist()
    [[10.0, 2.0], [0.5, 0.0]]
    """
    return np.square(weight) * fisher_diagonal / 2


def obd(weight: np.ndarray, hessian_diagonal: np.ndarray) -> np.ndarray:
    """Optimal brain damage: the loss that deleting a weight costs, to second order, the others as they are.

    Notes
    -----
    s = 1/2 h theta^2,   h = d^2 L / dtheta^2

    LeCun, Denker & Solla 1990, "Optimal brain damage". The diagonal is exact here, for the cross-entropy and the mean
    squared error (see `hessians.hessian_diagonal`); LeCun's own pass back drops the terms between units, and most
    libraries put the empirical Fisher (`fisher`) in its place. On a loss that is quadratic in the weight, at its
    minimum, s is the change of the loss exactly.

    Higher = keep.

    Examples
    --------
    >>> obd(np.array([[1.0, -2.0], [0.5, 0.0]]), np.array([[10.0, 1.0], [4.0, 9.0]])).tolist()
    [[5.0, 2.0], [0.5, 0.0]]
    """
    return np.square(weight) * hessian_diagonal / 2


def obs(weight: np.ndarray, input_hessian: np.ndarray, mask: np.ndarray, damping: float = 0.01) -> np.ndarray:
    """Optimal brain surgeon, layer by layer: what deleting a weight costs once the others of its row have adapted.

    Parameters
    ----------
    damping : float
        Added to the diagonal of H, as a part of its mean: inputs that depend on each other leave H without an inverse.

    Notes
    -----
    L_p = theta_p^2 / (2 [H^-1]_pp),   H = 2 X X^T + damping mean(diag(2 X X^T)) I

    Hassibi & Stork 1993, "Second order derivatives for network pruning: optimal brain surgeon", eq. 5, there with the
    Hessian of the loss in all weights; here, as in Frantar & Alistarh 2022, with that of the layer's squared output
    error ||W X - W' X||^2, which has one small H for all rows, and in which L_p is exact.

    X has all samples and positions, summed: scores of different layers compare as errors of their outputs. H is that of
    the weights that the row's mask still keeps: one inverse for each different mask of a row, O(P^3). An input that is
    always 0 costs nothing.

    Higher = keep. Libraries that say OBS mostly mean `woodfisher`.

    Examples
    --------
    x_1 and x_2 go together: without x_1, x_2 makes up for it, and only the part of its own is lost. With one of them
    masked the other stands alone, and 1/2 H theta^2 is lost.

    >>> hessian = np.array([[[2.0, 1.0], [1.0, 1.0]]])  # its inverse: [[1, -1], [-1, 2]]
    >>> obs(np.array([[2.0, 2.0]]), hessian, np.array([[True, True]]), damping=0).round(6).tolist()
    [[2.0, 1.0]]
    >>> obs(np.array([[2.0, 0.0]]), hessian, np.array([[True, False]]), damping=0).round(6).tolist()
    [[4.0, 0.0]]
    """
    if not np.isfinite(input_hessian).all():
        raise ValueError("input_hessian must be finite: the layer's inputs hold NaN or infinity")
    groups = len(input_hessian)
    scores = np.zeros((groups, len(weight) // groups, input_hessian.shape[1]))
    rows, kept = weight.reshape(scores.shape), mask.reshape(scores.shape)
    for g, hessian in enumerate(input_hessian):
        diagonal = hessian.diagonal()
        damped = hessian + damping * diagonal.mean() * np.eye(len(hessian))
        patterns, pattern_of = np.unique(kept[g], axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            places = np.ix_(pattern_of.ravel() == number, pattern & (diagonal > 0))
            inverse = _inverse_diagonal(damped[np.ix_(places[1][0], places[1][0])])
            scores[g][places] = np.square(rows[g][places]) / (2 * inverse)
    return scores.reshape(weight.shape)


def woodfisher(
    weight: np.ndarray,
    sample_gradients: np.ndarray,
    mask: np.ndarray,
    block_size: int = 50,
    damping: float = 1e-5,
) -> np.ndarray:
    """WoodFisher: optimal brain surgeon with the empirical Fisher matrix of blocks of weights as the Hessian.

    Parameters
    ----------
    block_size : int
        Consecutive weights (o, c, i, j) that may make up for each other; 1 is `fisher`, but for the damping.
    damping : float
        lambda, in the units of F.

    Notes
    -----
    I_q = theta_q^2 / (2 [F^-1]_qq),   F = lambda I + 1/N sum_n g_n g_n^T within a block,   g_n = dl_n/dtheta

    Singh & Alistarh 2020, "WoodFisher: efficient second-order approximation for neural network compression". They build
    F^-1 up sample by sample by the identity of Sherman and Morrison, from F_0^-1 = I / lambda:

    F_n^-1 = F_(n-1)^-1 - F_(n-1)^-1 g_n g_n^T F_(n-1)^-1 / (N + g_n^T F_(n-1)^-1 g_n)

    Here the gradients are all at hand and a block is small: F is summed and inverted, the same matrix, sooner. g_n is
    the gradient of one sample (theirs may be of small batches, which they call an approximation). What the mask has
    pruned has no part in F.

    Higher = keep.

    Examples
    --------
    Two samples, F = I/2 + [[2, 2], [2, 2]], whose inverse has 10/9 on its diagonal; as blocks of one, 2/5.

    >>> gradients = np.array([[[2.0, 2.0]], [[0.0, 0.0]]])
    >>> weight, mask = np.array([[1.0, 2.0]]), np.ones((1, 2), bool)
    >>> woodfisher(weight, gradients, mask, damping=0.5).round(4).tolist()
    [[0.45, 1.8]]
    >>> woodfisher(weight, gradients, mask, damping=0.5, block_size=1).round(4).tolist()
    [[1.25, 5.0]]
    """
    flat, kept = sample_gradients.reshape(len(sample_gradients), -1), mask.reshape(-1)
    inverse = np.empty(flat.shape[1])
    for start in range(0, len(inverse), block_size):
        block = slice(start, start + block_size)
        gradients = flat[:, block].astype(np.float64) * kept[block]
        information = gradients.T @ gradients / len(gradients)
        inverse[block] = _inverse_diagonal(information + damping * np.eye(len(information)))
    return np.square(weight) / (2 * inverse.reshape(weight.shape))


def _inverse_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Diagonal of the inverse of a symmetric positive definite matrix: of L^-T L^-1, sums of squares, never below 0."""
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        raise ValueError("damping must be greater: the matrix to invert is singular") from None
    return np.square(np.linalg.inv(lower)).sum(axis=0)
