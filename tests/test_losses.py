"""Losses and metrics: literals, scipy, central differences, stability."""

import numpy as np
import pytest
from scipy.special import log_softmax as scipy_log_softmax

from sparsenet import losses
from sparsenet.verify.definitions.differences import central_difference


def test_log_softmax_is_scipys_and_stable(rng):
    logits = rng.standard_normal((5, 7)) * 30
    np.testing.assert_allclose(losses.log_softmax(logits), scipy_log_softmax(logits, axis=1), rtol=1e-12)
    huge = np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)
    assert losses.log_softmax(huge).tolist() == [[0.0, -1e4], [-np.float32(np.log(2)), -np.float32(np.log(2))]]


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4), (2, 1, 3, 2)])
def test_log_softmax_is_over_the_last_of_any_axes(rng, shape):
    logits = rng.standard_normal(shape)
    np.testing.assert_allclose(losses.log_softmax(logits), scipy_log_softmax(logits, axis=-1), rtol=1e-12)


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


@pytest.mark.parametrize(
    ("output", "target", "expected"),
    [
        (np.full((3, 1), 0.6), np.full((3, 1), 0.1), 0),  # the mean of three 0.1 is not 0.1
        (np.full((3, 1), 0.1), np.full((3, 1), 0.1), 1),
        ([0.1] * 6 + [0.1 + 1e-9], np.full(7, 0.1), 0),
        (np.full((3, 1), np.float32(0.6)), np.full((3, 1), np.float32(0.1)), 0),
        ([[1, 0.1], [3, 0.1]], [[0, 0.1], [4, 0.1]], 1 - 2 / 8),  # one column is constant: no spread comes from it
        ([[0, 0.5], [4, 0.1]], [[0, 0.1], [4, 0.1]], 1 - 0.16 / 8),
        (np.array([0, 255, 0], np.uint8), np.array([1, 255, 0], np.uint8), 1 - 1 / 43180.6666666667),
        ([1e200, 3e200], [0, 4e200], 1 - 2 / 8),
        ([1e-200, 3e-200], [0, 4e-200], 1 - 2 / 8),
        ([1e10 + 1, 1e10 + 3], [1e10, 1e10 + 4], 1 - 2 / 8),
        ([0.5, 0.5, 0.5], [0.1 + 0.2, 0.3, 0.3], 0),  # constant but for its last bit
        ([0.1 + 0.2, 0.3, 0.3], [0.1 + 0.2, 0.3, 0.3], 1),
        (np.full(2, 0.5, np.float32), np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1))], np.float32), 0),
        ([[0, 9], [4, 9]], [[1, 0.1 + 0.2], [3, 0.3]], 1 - (2 + 8.7**2 * 2) / 2),
        ([1e-12, 3e-12], [0, 4e-12], 1 - 2 / 8),  # small, but no rounding
        ([1, 1 + 2**-40], [1, 1 + 2**-39], 0.5),
        ([np.inf, 1], [0, 1], -np.inf),
        ([-np.inf, 1], [2, 2], -np.inf),
    ],
)
def test_r_squared_by_hand(output, target, expected):
    assert losses.r_squared(np.array(output), np.array(target)) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_is_constant_by_its_own_size(sign):
    """Between 2^53 and 2^54 numbers are 2 apart, and eps times them is 2.2."""
    constant = sign * np.array([1e16, 1e16 + 2])  # 1 off their mean
    target = np.stack([constant, [0.0, 1.0]], axis=1)
    output = np.stack([constant, [0.25, 0.75]], axis=1)
    assert losses.r_squared(output, target) == 1 - 2 * 0.25**2 / 0.5
    skewed = sign * (1e16 - np.array([4.0, 0, 0, 0]))  # 3 below and three times 1 above their mean
    assert losses.r_squared(skewed[[1]].repeat(4), skewed) == pytest.approx(1 - 16 / 12)


def test_a_target_at_the_limit_of_rounding_is_constant():
    eps = np.finfo(float).eps
    target = np.array([1.0, 1 - 2 * eps])  # eps off their mean, and eps max |t| = eps
    assert losses.r_squared(np.ones(2), target) == 0
    assert losses.r_squared(np.array([[2.0]]), np.array([[2.0]])) == 1  # as is a single sample


def test_a_value_at_the_mean_makes_no_column_constant():
    assert losses.r_squared(np.array([0.0, 1, 3]), np.array([0.0, 1, 2])) == pytest.approx(1 - 1 / 2)


def test_r_squared_of_nan_outputs_is_nan_and_targets_must_be_finite():
    assert np.isnan(losses.r_squared(np.array([np.nan, 1]), np.array([0.0, 1])))
    for target in ([np.nan, 1], [np.inf, np.inf], [1j, 2j]):
        with pytest.raises(ValueError, match="target must hold finite numbers"):
            losses.r_squared(np.zeros(2), np.array(target))
    with pytest.raises(ValueError, match="at least one value"):
        losses.r_squared(np.zeros((0, 2)), np.zeros((0, 2)))


def test_losses_of_many_values_keep_their_digits():
    value, _ = losses.mean_squared_error(np.full((1 << 20, 2), 1e20, np.float32), np.zeros((1 << 20, 2)))
    assert value == pytest.approx(float(np.float32(1e20)) ** 2, rel=1e-7)
    logits = np.zeros((1 << 20, 2), np.float32)[:, ::-1]
    assert losses.softmax_cross_entropy(logits, np.zeros(1 << 20, int))[0] == pytest.approx(np.log(2), rel=1e-7)


def test_masked_arrays_are_refused():
    for function, target in (
        (losses.softmax_cross_entropy, np.zeros(2, int)),
        (losses.accuracy, np.zeros(2, int)),
        (losses.mean_squared_error, np.zeros((2, 3))),
        (losses.r_squared, np.zeros((2, 3))),
    ):
        for pair in ((np.ma.zeros((2, 3)), target), (np.zeros((2, 3)), np.ma.array(target))):
            with pytest.raises(TypeError, match="must be a plain array, not a NumPy masked array"):
                function(*pair)
