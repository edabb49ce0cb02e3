"""Losses and metrics: literals, scipy, central differences, stability."""

import numpy as np
import pytest
from helpers import central_difference
from scipy.special import log_softmax as scipy_log_softmax

from sparsenet import losses


def test_log_softmax_is_scipys_and_stable(rng):
    logits = rng.standard_normal((5, 7)) * 30
    np.testing.assert_allclose(losses.log_softmax(logits), scipy_log_softmax(logits, axis=1), rtol=1e-12)
    huge = np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)
    assert losses.log_softmax(huge).tolist() == [[0.0, -1e4], [-np.float32(np.log(2)), -np.float32(np.log(2))]]


def test_cross_entropy_by_hand():
    logits = np.log(np.array([[1.0, 3.0], [1.0, 1.0]]))
    value, gradient = losses.softmax_cross_entropy(logits, np.array([1, 0]))
    assert value == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    np.testing.assert_allclose(gradient, [[0.125, -0.125], [-0.25, 0.25]])


@pytest.mark.parametrize("classes", [2, 10])
def test_cross_entropy_gradient(rng, classes):
    logits, labels = rng.standard_normal((4, classes)), rng.integers(0, classes, 4)
    gradient = losses.softmax_cross_entropy(logits, labels)[1]
    expected = central_difference(lambda: losses.softmax_cross_entropy(logits, labels)[0], logits)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)


def test_mean_squared_error(rng):
    value, gradient = losses.mean_squared_error(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))
    assert value == 2.5
    assert gradient.tolist() == [[1.0, -2.0]]
    output, target = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    expected = central_difference(lambda: losses.mean_squared_error(output, target)[0], output)
    np.testing.assert_allclose(losses.mean_squared_error(output, target)[1], expected, rtol=1e-6, atol=1e-9)


def test_metrics_by_hand():
    assert losses.accuracy(np.array([[0, 1], [1, 0], [2, 3]]), np.array([1, 1, 1])) == pytest.approx(2 / 3)
    target = np.array([[0.0], [2.0], [4.0]])
    assert losses.r_squared(target, target) == 1
    assert losses.r_squared(np.full((3, 1), 2.0), target) == 0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "labels must be in 0..2"),
        ([-1, 0], "labels must be in"),
        ([0], "labels must be 2"),
        ([0.0, 1.0], "integers"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        losses.softmax_cross_entropy(np.zeros((2, 3)), np.array(labels))


def test_bad_targets_are_named():
    with pytest.raises(ValueError, match="target must have"):
        losses.mean_squared_error(np.zeros((2, 3)), np.zeros((2, 1)))


def test_metrics_refuse_what_would_broadcast_and_count_nan_as_wrong():
    with pytest.raises(ValueError, match="metric=r_squared"):
        losses.accuracy(np.zeros((3, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="target must have"):
        losses.r_squared(np.zeros((3, 1)), np.zeros(3))
    assert losses.accuracy(np.array([[np.nan, 0], [1, 0]]), np.array([0, 0])) == 0.5
    constant = np.ones((3, 1))
    assert losses.r_squared(constant, constant) == 1
    assert losses.r_squared(constant + 1, constant) == 0


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="at least one sample"):
        losses.softmax_cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    with pytest.raises(ValueError, match="at least one value"):
        losses.mean_squared_error(np.zeros((0, 3)), np.zeros((0, 3)))
