"""Criteria: literals, per weight and per structure, and gradients averaged over batches."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn

import sparsenet as sn
from sparsenet.pruning.granularity import Block, Channel, Filter, Weight, sum_over_structures

WEIGHT = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, -3.0]])
GRADIENT = np.array([[0.1, -0.2, 5.0], [-4.0, 0.3, 1.0]])


@pytest.mark.parametrize(
    ("scores", "per_weight", "per_filter", "per_channel"),
    [
        (sn.scores.l1(WEIGHT), [[1, 2, 0], [0.5, 0, 3]], [3, 3.5], [1.5, 2, 3]),
        (sn.scores.l2(WEIGHT), [[1, 4, 0], [0.25, 0, 9]], [5, 9.25], [1.25, 4, 9]),
        (sn.scores.sensitivity(GRADIENT), [[0.1, 0.2, 5], [4, 0.3, 1]], [5.3, 5.3], [4.1, 0.5, 6]),
        (sn.scores.taylor(WEIGHT, GRADIENT), [[0.1, 0.4, 0], [2, 0, 3]], [0.5, 5], [2.1, 0.4, 3]),
    ],
)
def test_criteria_by_hand(scores, per_weight, per_filter, per_channel):
    np.testing.assert_allclose(scores, per_weight)
    np.testing.assert_allclose(sum_over_structures(scores, Weight()), np.ravel(per_weight))
    np.testing.assert_allclose(sum_over_structures(scores, Filter()), per_filter)
    np.testing.assert_allclose(sum_over_structures(scores, Channel()), per_channel)


def test_structures_of_a_convolution(rng):
    weight = rng.standard_normal((4, 3, 2, 2))
    by_filter = sum_over_structures(sn.scores.l2(weight), Filter())
    by_channel = sum_over_structures(sn.scores.l1(weight), Channel())
    np.testing.assert_allclose(by_filter, [np.linalg.norm(weight[o].ravel()) ** 2 for o in range(4)])
    np.testing.assert_allclose(by_channel, [np.linalg.norm(weight[:, c].ravel(), 1) for c in range(3)])


def test_scaling_orders_like_it_should(rng):
    """L1 and L2 rank single weights alike; Taylor does not change when a weight is scaled and its gradient unscaled."""
    weight, gradient = rng.standard_normal((5, 5)), rng.standard_normal((5, 5))
    assert np.array_equal(np.argsort(sn.scores.l1(weight), axis=None), np.argsort(sn.scores.l2(weight), axis=None))
    np.testing.assert_allclose(sn.scores.taylor(4 * weight, gradient / 4), sn.scores.taylor(weight, gradient))


def test_random_is_settled_by_the_seed():
    network = random_cnn(0, batch_norm=False)
    first, again, other = (sn.score(network, sn.scores.random, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[n], again[n]) for n in first)
    assert not any(np.array_equal(first[n], other[n]) for n in first)
    flat = np.concatenate([a.ravel() for a in first.values()])
    assert flat.min() >= 0
    assert flat.max() < 1


@pytest.mark.parametrize("criterion", [sn.scores.sensitivity, sn.scores.taylor])
def test_gradient_scores_are_means_over_batches(rng, criterion):
    network = random_cnn(4, batch_norm=True)
    x, y = rng.standard_normal((12, *IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    scores = sn.score(network, criterion, (x, y), batch_size=4, seed=5)
    order = np.random.default_rng(5).permutation(12)
    expected = dict.fromkeys(scores, 0)
    for batch in order.reshape(3, 4):
        network.backward(sn.softmax_cross_entropy(network(x[batch]), y[batch])[1])
        for name, w in network.weights().items():
            product = w.grad if criterion is sn.scores.sensitivity else w.value * w.grad
            expected[name] = expected[name] + np.abs(product) / 3
    for name in scores:
        np.testing.assert_allclose(scores[name], expected[name], rtol=1e-5, atol=1e-8)


def test_scoring_trains_nothing(rng):
    network = random_cnn(4, batch_norm=True)
    x, y = rng.standard_normal((8, *IMAGE)).astype(np.float32), rng.integers(0, 3, 8)
    before = network.copy()
    sn.score(network, sn.scores.taylor, (x, y))
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)
    for name, buffer in network.buffers().items():
        assert np.array_equal(buffer, before.buffers()[name])


def test_taylor_predicts_the_change_of_the_loss(rng):
    """To first order: the loss without a weight differs by theta dL/dtheta, shown on a small weight."""
    network = random_cnn(6, batch_norm=False).astype(np.float64)
    x, y = rng.standard_normal((6, *IMAGE)), rng.integers(0, 3, 6)
    weight = network["fc1"].weight
    weight.value[0, 0] = 1e-5
    scores = sn.score(network, sn.scores.taylor, (x, y))
    before = sn.evaluate(network, (x, y)).loss
    weight.value[0, 0] = 0
    change = abs(sn.evaluate(network, (x, y)).loss - before)
    assert scores["fc1"][0, 0] == pytest.approx(change, rel=1e-3, abs=1e-12)


def test_own_criteria_and_errors(rng):
    network = random_cnn(0, batch_norm=False)
    own = sn.score(network, lambda weight: weight**4)
    np.testing.assert_allclose(own["fc1"], network["fc1"].weight.value ** 4)
    with pytest.raises(ValueError, match="data must be given"):
        sn.score(network, sn.scores.taylor)
    with pytest.raises(ValueError, match="arguments of the criterion names 'theta'"):
        sn.score(network, lambda theta: theta)


def test_the_number_of_batches_is_limited(rng):
    network = random_cnn(4, batch_norm=False)
    x, y = rng.standard_normal((12, *IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    first = np.random.default_rng(5).permutation(12)[:4]
    one = sn.score(network, sn.scores.taylor, (x, y), batch_size=4, max_batches=1, seed=5)
    network.backward(sn.softmax_cross_entropy(network(x[first]), y[first])[1])
    for name, weight in network.weights().items():
        np.testing.assert_allclose(one[name], np.abs(weight.value * weight.grad), rtol=1e-5, atol=1e-9)


def test_gradients_are_averaged_over_sixteen_batches_of_256_unless_told(rng):
    network = sn.chain({"fc": sn.Linear(2, 3, seed=1)})
    data = rng.standard_normal((17 * 256 + 7, 2)).astype(np.float32), rng.integers(0, 3, 17 * 256 + 7)
    told = sn.score(network, sn.scores.sensitivity, data, batch_size=256, max_batches=16, seed=0)
    assert np.array_equal(sn.score(network, sn.scores.sensitivity, data)["fc"], told["fc"])


@pytest.mark.parametrize(
    ("granularity", "shape"), [(Filter(), (1, 99_999)), (Channel(), (99_999, 1)), (Block(99_999, 1), (99_999, 1))]
)
def test_importance_of_large_structures_keeps_its_digits(granularity, shape):
    units = sum_over_structures(np.full(shape, 0.1, np.float32), granularity)
    np.testing.assert_allclose(units, [99_999 * float(np.float32(0.1))], rtol=1e-12)


def test_scores_are_the_callers_own():
    """No criterion can hand out the weights or gradients, write to them, or be handed its own array back."""
    network = random_cnn(0, batch_norm=False)
    data = np.ones((4, *IMAGE), np.float32), np.zeros(4, int)
    store = {}

    def kept(weight):
        return store.setdefault(weight.shape, np.random.default_rng(0).random(weight.shape))

    for criterion in (lambda weight: weight, lambda gradient: gradient, lambda weight: weight[::-1][::-1], kept):
        for name, array in sn.score(network, criterion, data).items():
            weight = network[name].weight
            owned = [weight.value, weight.grad, *store.values()]
            assert not any(np.shares_memory(array, other) for other in owned)
            before = weight.value.copy()
            array[:] = 7
            assert np.array_equal(weight.value, before)
    with pytest.raises(ValueError, match="read-only"):
        sn.score(network, lambda weight: np.abs(weight, out=weight))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda w: w[:1], r"must have the weight's shape \(.*\), not \(1,"),
        (lambda w: float(w.sum()), "must be a plain array, not float"),
        (lambda w: w.tolist(), "must be a plain array, not list"),
        (lambda w: np.ma.masked_less(w, 0), "must be a plain array, not MaskedArray"),
        (lambda w: w.astype(complex), "must be real numbers, not complex128"),
        (lambda w: w.astype(object), "must be real numbers, not object"),
        (lambda w: np.log(w - w - 1, where=w > 9, out=w * np.nan), "hold NaN or infinity"),
        (lambda w: w + np.inf, "hold NaN or infinity"),
    ],
)
def test_a_wrong_criterion_is_named(wrong, message):
    def own(weight):
        return wrong(weight)

    network = random_cnn(0, batch_norm=False)
    with pytest.raises((TypeError, ValueError), match=f"the scores of 'conv1' by criterion 'own' {message}"):
        sn.score(network, own)


def test_scores_that_rank_nothing_are_told_where_they_are_used():
    """A dead unit before it gives a layer no gradient: taylor scores all its weights 0."""
    network = sn.chain({"a": sn.Linear(3, 2, seed=1), "relu": sn.ReLU(), "b": sn.Linear(2, 2, seed=2)})
    network["a"].bias.value[:] = -99
    data = np.ones((4, 3), np.float32), np.zeros(4, int)
    scores = sn.score(network, sn.scores.taylor, data)  # nothing goes yet
    assert not scores["a"].any()
    with pytest.warns(UserWarning, match="gives units of 'a', 'b' that went and units that stay one and") as caught:
        sn.make_masks(scores, 0.5, scope="layer", current=network.masks())
    assert [told.filename for told in caught] == [__file__]
    scores = sn.score(network, sn.scores.l1)
    sn.make_masks(scores, 0.5)  # ranks them
    network["b"].set_weight(np.array([[2.0, -2.0], [2.0, 1.0]]))
    network.apply_masks({"b": np.array([[True, True], [True, False]])})
    scores = sn.score(network, sn.scores.l1)
    with pytest.warns(UserWarning, match="gives units of 'b' that went"):  # those that are kept
        sn.make_masks(scores, 0.5, scope="layer", current=network.masks())
    network.apply_masks({"b": np.array([[True, False], [False, False]])})
    sn.make_masks(sn.score(network, sn.scores.l1), 0.8, scope="layer", current=network.masks())  # a single one


def test_a_criterion_that_raises_leaves_nothing_behind(rng):
    def refuse(gradient):
        raise ArithmeticError("no score")

    network = sn.chain({"fc": sn.Linear(3, 2)})
    data = rng.standard_normal((4, 3)).astype(np.float32), rng.integers(0, 2, 4)
    with pytest.raises(ArithmeticError):
        sn.score(network, refuse, data)
    assert network["fc"].saved is None


def test_a_criterion_of_the_weights_leaves_the_last_forward(rng):
    network = sn.chain({"fc": sn.Linear(3, 2)})
    network.forward(rng.standard_normal((4, 3)).astype(np.float32))
    sn.score(network, sn.scores.l1)
    assert network.backward(np.ones((4, 2), np.float32)).shape == (4, 3)
