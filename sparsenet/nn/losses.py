"""Losses: (output, target) -> (value, gradient with respect to the output), both averaged over the samples; metrics.

A loss may carry its second derivative too, as an attribute: `loss.hessian_product(output, target, tangent)`, which is
(d^2 L / d output^2) tangent. What needs it (see `hessian_product`) says so where it is missing.
"""

import numpy as np
from scipy.linalg import norm

from ..checks import check_count, check_float_array, check_plain


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, stable: the maximum is subtracted first.

    Notes
    -----
    l[n,k] = z[n,k] - max_j z[n,j] - log sum_j exp(z[n,j] - max_j z[n,j])
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """Cross-entropy of integer labels (N,) under softmax of logits (N, K).

    Notes
    -----
    L = -1/N sum_n log softmax(z[n])[labels[n]],   dL/dz[n,k] = (softmax(z[n])[k] - [k = labels[n]]) / N
    """
    check_float_array("logits", logits, ndim=2)
    labels = np.asarray(check_plain("labels", labels))
    if labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(logits)} integers, not {labels.dtype} of shape {labels.shape}")
    if not len(labels):
        raise ValueError("logits must hold at least one sample")
    if not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise ValueError(f"labels must be in 0..{logits.shape[1] - 1}, not {labels.min()}..{labels.max()}")
    logs = log_softmax(logits)
    rows = np.arange(len(labels))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1
    return float(-logs[rows, labels].mean(dtype=np.float64)), gradient / logits.dtype.type(len(labels))


def _cross_entropy_hessian_product(logits: np.ndarray, labels: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """Second derivative of the cross-entropy times a tangent t of the logits; the labels have no part in it.

    Notes
    -----
    d^2 L / dz[n,j] dz[n,k] = p[n,j] ([j = k] - p[n,k]) / N,  p = softmax(z):   (H t)[n] = p[n] (t[n] - p[n] . t[n]) / N
    """
    chances = np.exp(log_softmax(logits))
    centred = tangent - (chances * tangent).sum(axis=-1, keepdims=True)
    return chances * centred / logits.dtype.type(len(logits))


softmax_cross_entropy.hessian_product = _cross_entropy_hessian_product


def mean_squared_error(output: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error, for regression.

    Notes
    -----
    L = mean over all n, k of (y[n,k] - t[n,k])^2,   dL/dy[n,k] = 2 (y[n,k] - t[n,k]) / (N K)
    """
    check_float_array("output", output)
    target = np.asarray(check_plain("target", target), output.dtype)
    if target.shape != output.shape:
        raise ValueError(f"target must have the output's shape {output.shape}, not {target.shape}")
    if not output.size:
        raise ValueError("output must hold at least one value")
    difference = output - target
    return float(np.mean(np.square(difference, dtype=np.float64))), difference * output.dtype.type(2 / difference.size)


def _squared_error_hessian_product(output: np.ndarray, target: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """Second derivative of the mean squared error times a tangent t of the output: 2 t / (N K)."""
    return tangent * output.dtype.type(2 / output.size)


mean_squared_error.hessian_product = _squared_error_hessian_product


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of the samples whose largest logit is at the label; a sample with a NaN among its logits is wrong."""
    logits, labels = check_plain("logits", logits), np.asarray(check_plain("labels", labels))
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"accuracy takes logits (N, K) and N integer labels, not {logits.shape} and {labels.dtype} {labels.shape} "
            f"(for a regression give metric=r_squared)"
        )
    return float(np.mean((logits.argmax(axis=1) == labels) & ~np.isnan(logits).any(axis=1)))


def agreement(logits: np.ndarray, others: np.ndarray) -> float:
    """Fraction of the samples for which two models (N, K) prefer the same class; a NaN prefers none.

    Examples
    --------
    >>> agreement(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[5.0, 1.0], [2.0, 1.0]]))
    0.5
    """
    for name, each in (("logits", logits), ("others", others)):
        check_float_array(name, each, ndim=2)
    if logits.shape != others.shape or not len(logits):
        raise ValueError(f"others must be of the shape of logits, {logits.shape}, and hold samples, not {others.shape}")
    known = ~(np.isnan(logits) | np.isnan(others)).any(axis=1)
    return float(((logits.argmax(axis=1) == others.argmax(axis=1)) & known).mean())


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """How far the probability of the preferred class is from how often it is right (Naeini et al. 2015).

    Notes
    -----
    p_n = max_k softmax(z[n])[k] falls into bin B_m where (m - 1) / bins < p_n <= m / bins (Guo et al. 2017, eq. 3):

    ECE = sum_m |B_m| / N |accuracy(B_m) - mean p over B_m|

    Examples
    --------
    Two samples with p = 0.9, of which one is right.

    >>> logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1]]))
    >>> round(expected_calibration_error(logits, np.array([0, 1])), 6)
    0.4
    """
    right = _is_right(logits, labels)
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite: NaN and infinity have no probabilities to be judged")
    sure = np.exp(log_softmax(logits.astype(np.float64))).max(axis=1)
    which = np.clip(np.ceil(sure * check_count("bins", bins)).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=right - sure, minlength=bins)
    return float(np.abs(gaps).sum() / len(sure))


def _is_right(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    check_float_array("logits", logits, ndim=2)
    labels = np.asarray(check_plain("labels", labels))
    if labels.shape != logits.shape[:1] or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {len(logits)} integers, at least one, not {labels.dtype} {labels.shape}")
    return logits.argmax(axis=1) == labels


def r_squared(output: np.ndarray, target: np.ndarray) -> float:
    """Coefficient of determination, the accuracy of a regression: at best 1; 0 for a constant target that is missed.

    In float64. Infinite outputs give -inf, NaN gives NaN; the target must be finite. A column of the target whose
    values differ by rounding only counts as constant: max |t - mean t| <= eps max |t|, eps that of the target's type.

    Notes
    -----
    R^2 = 1 - sum (y - t)^2 / sum (t - mean t)^2, both sums over samples and columns, the mean per column
    """
    output, target = np.asarray(check_plain("output", output)), np.asarray(check_plain("target", target))
    if target.shape != output.shape or not target.size:
        raise ValueError(f"target must have the output's shape {output.shape}, at least one value, not {target.shape}")
    if target.dtype.kind not in "fiub" or not np.isfinite(target).all():
        raise ValueError(f"target must hold finite numbers, not {target.dtype} with NaN or infinity")
    if not np.isfinite(output).all():
        return float("nan" if np.isnan(output).any() else "-inf")
    eps = np.finfo(target.dtype if target.dtype.kind == "f" else np.float64).eps
    output, target = output.astype(np.float64), target.astype(np.float64)
    with np.errstate(over="ignore"):
        centred = target - target[0]  # a constant column is exactly 0, which it is not after subtracting a rounded mean
        centred -= centred.mean(axis=0)
        centred *= np.abs(centred).max(axis=0) > eps * np.abs(target).max(axis=0)
        missed, spread = norm((output - target).ravel()), norm(centred.ravel())  # BLAS: no overflow in the squares
        return float(1 - (missed / spread) ** 2) if spread else float(missed == 0)
