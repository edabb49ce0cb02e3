"""Distillation: by hand, its gradient, its limits, and as a loss of `fit`."""

import numpy as np
import pytest
from helpers import central_difference
from scipy.special import rel_entr, softmax

import sparsenet as sn


def some_logits(rng, samples=5, classes=4):
    return rng.standard_normal((samples, classes)), rng.standard_normal((samples, classes)), rng.integers(0, classes, 5)


def test_value_by_hand():
    """T = 2, t = (2, 0), z = (0, 0): p = (0.7311, 0.2689), q = (1/2, 1/2), KL = 0.11094, T^2 KL = 0.44378."""
    targets = sn.with_teacher(np.array([0]), np.array([[2.0, 0.0]]))
    value, _ = sn.distillation(temperature=2, weight=1)(np.zeros((1, 2)), targets)
    assert value == pytest.approx(0.4437763, abs=1e-6)
    value, _ = sn.distillation(temperature=2, weight=0.25)(np.zeros((1, 2)), targets)
    assert value == pytest.approx(0.75 * np.log(2) + 0.25 * 0.4437763, abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_value_and_gradient_against_scipy_and_differences(rng, temperature, weight):
    z, t, labels = some_logits(rng)
    loss, targets = sn.distillation(temperature=temperature, weight=weight), sn.with_teacher(labels, t)
    value, gradient = loss(z, targets)
    divergence = rel_entr(softmax(t / temperature, axis=1), softmax(z / temperature, axis=1)).sum(axis=1).mean()
    entropy = -np.log(softmax(z, axis=1)[np.arange(5), labels]).mean()
    assert value == pytest.approx((1 - weight) * entropy + weight * temperature**2 * divergence)
    expected = central_difference(lambda: loss(z, targets)[0], z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-9)


def test_weight_zero_is_cross_entropy_and_a_perfect_student_learns_nothing(rng):
    z, t, labels = some_logits(rng)
    targets = sn.with_teacher(labels, t)
    expected = sn.softmax_cross_entropy(z, labels)
    found = sn.distillation(weight=0)(z, targets)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    value, gradient = sn.distillation(weight=1)(t.copy(), targets)
    assert value == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_high_temperatures_match_logits(rng):
    """T to infinity (Hinton, eq. 4): the gradient goes to ((z - mean z) - (t - mean t)) / (N K)."""
    z, t, labels = some_logits(rng)
    _, gradient = sn.distillation(temperature=1e4, weight=1)(z, sn.with_teacher(labels, t))
    difference = z - z.mean(axis=1, keepdims=True) - t + t.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient, difference / z.size, rtol=1e-3, atol=1e-6)


def test_a_student_learns_a_teacher_that_the_labels_contradict(rng):
    """Labels are noise, the teacher is right: by its logits alone the student finds what it knows."""
    x = rng.standard_normal((200, 6)).astype(np.float32)
    teacher = sn.chain({"fc": sn.Linear(6, 3, seed=1)})
    y = sn.with_teacher(rng.integers(0, 3, 200), 3 * sn.predict(teacher, x))
    student = sn.chain({"fc": sn.Linear(6, 3, seed=2)})
    options = {"loss": sn.distillation(temperature=2, weight=1), "metric": sn.label_accuracy}
    sn.fit(student, (x, y), epochs=40, optimizer=sn.SGD(lr=0.2, momentum=0.9), seed=0, **options)
    agreed = (sn.predict(student, x).argmax(1) == sn.predict(teacher, x).argmax(1)).mean()
    assert agreed > 0.97


def test_label_accuracy_reads_the_labels(rng):
    z, t, labels = some_logits(rng)
    assert sn.label_accuracy(z, sn.with_teacher(labels, t)) == sn.losses.accuracy(z, labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sn.distillation(temperature=0), "temperature"),
        (lambda: sn.distillation(weight=1.5), "weight"),
        (lambda: sn.with_teacher(np.array([0.5]), np.zeros((1, 2))), "labels must be 1 integers"),
        (lambda: sn.with_teacher(np.array([0, 1]), np.zeros((1, 2))), "labels must be 1 integers"),
        (lambda: sn.distillation()(np.zeros((2, 3)), np.array([0, 1])), "those of with_teacher"),
        (lambda: sn.distillation()(np.zeros((2, 3)), np.zeros((2, 3))), "those of with_teacher"),
        (lambda: sn.distillation()(np.zeros((1, 2)), np.array([[2.0, 0, 0]])), "labels must be in 0..1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_half_the_weight_is_the_teachers_at_four_degrees_unless_told(rng):
    z, t, labels = some_logits(rng)
    targets = sn.with_teacher(labels, t)
    assert sn.distillation()(z, targets)[0] == sn.distillation(temperature=4.0, weight=0.5)(z, targets)[0]


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_second_derivative_against_differences(rng, weight):
    z, t, labels = some_logits(rng)
    loss, targets, tangent = sn.distillation(temperature=3, weight=weight), sn.with_teacher(labels, t), z[::-1].copy()
    step = 1e-6
    expected = (loss(z + step * tangent, targets)[1] - loss(z - step * tangent, targets)[1]) / (2 * step)
    np.testing.assert_allclose(loss.hessian_product(z, targets, tangent), expected, rtol=1e-6, atol=1e-9)


def test_its_name_says_what_it_is_and_labels_are_whole():
    loss = sn.distillation(temperature=3, weight=0.5)
    assert loss.__name__ == "distillation(temperature=3, weight=0.5)"
    with pytest.raises(ValueError, match="whole labels"):
        loss(np.zeros((1, 2)), np.array([[0.7, 1.0, 2.0]]))
