"""Fisher, OBD, OBS and WoodFisher against per-sample loops, central differences and constrained minima."""

from functools import partial

import numpy as np
import pytest
from helpers import IMAGE, random_cnn, random_graph

import sparsenet as sn
from sparsenet.pruning import hessians
from sparsenet.pruning.probe import Batches
from sparsenet.verify.definitions import criteria_curvature as definitions

CURVATURE = [sn.scores.fisher, sn.scores.obd, sn.scores.obs, sn.scores.woodfisher]
NETWORKS = {
    "plain": lambda: (random_cnn(3, batch_norm=False), IMAGE),
    "batch norm, pool": lambda: (random_cnn(4, batch_norm=True), IMAGE),
    "weight norm": lambda: (random_cnn(5, batch_norm=False, weight_norm=True), IMAGE),
    "depthwise, dilated": lambda: (random_cnn(7, batch_norm=True, depthwise=True), IMAGE),
    "branches": lambda: (random_graph(4, steps=4), (3, 9, 8)),
    "residual": lambda: (residual(), (2, 6, 6)),
}


def residual():
    """A residual block with a convolution in groups, strided and dilated ones around it."""
    graph = sn.Graph()
    stem = graph.add("stem", sn.Conv2d(2, 4, 3, padding=1, seed=1))
    graph.add("relu", sn.ReLU())
    graph.add("grouped", sn.WeightNorm(sn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, seed=2)))
    graph.add("norm", sn.BatchNorm(4))
    graph.add("sum", sn.Add(), None, stem)
    graph.add("down", sn.Conv2d(4, 3, 3, stride=(2, 1), padding=(0, 1), groups=1, seed=3))
    graph.add("relu2", sn.ReLU())
    graph.add("pool", sn.GlobalAvgPool2d())
    graph.add("fc", sn.Linear(3, 3, seed=4))
    return graph.network()


def prepared(name, rng, samples=6):
    """(network in float64, x, labels)."""
    network, shape = NETWORKS[name]()
    return network.astype(np.float64), rng.standard_normal((samples, *shape)), rng.integers(0, 3, samples)


def whole(x, y):
    return Batches(x, y, [np.arange(len(x))])


def gradients_one_by_one(network, x, y, loss):
    """By layer, the weight's gradient of each sample in a pass of its own."""
    found = {name: [] for name in network.weights()}
    for n in range(len(x)):
        network.backward(loss(network(x[n : n + 1]), y[n : n + 1])[1])
        for name, weight in network.weights().items():
            found[name].append(weight.grad.copy())
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chunk", [1, hessians.CHUNK])
def test_gradients_of_each_sample(rng, name, chunk, monkeypatch):
    monkeypatch.setattr(hessians, "CHUNK", chunk)
    network, x, y = prepared(name, rng)
    expected = gradients_one_by_one(network, x, y, sn.softmax_cross_entropy)
    parts = Batches(x, y, [np.array([4, 1, 0, 3]), np.array([5, 2])])
    order = [4, 1, 0, 3, 5, 2]
    found = hessians.sample_gradients(network, parts, sn.softmax_cross_entropy)
    squares = hessians.fisher_diagonal(network, parts, sn.softmax_cross_entropy)
    for layer in network.weights():
        np.testing.assert_allclose(found[layer], np.array(expected[layer])[order], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(squares[layer], definitions.mean_square(expected[layer]), rtol=1e-9, atol=1e-14)


def test_fisher_is_no_square_of_a_batch_gradient(rng):
    """Gradients 2 and -6: their squares' mean is 20, the square of their mean 4; and the batches do not matter."""
    network = sn.chain({"fc": sn.Linear(1, 1)})
    network["fc"].set_weight(np.array([[3.0]]))
    network["fc"].bias.value[:] = -2
    data = np.ones((2, 1), np.float32), np.array([[0.0], [4.0]])
    for batch_size in (1, 2):
        scores = sn.score(network, sn.scores.fisher, data, loss=sn.mean_squared_error, batch_size=batch_size)
        assert scores["fc"].tolist() == [[9 * 20 / 2]]


def test_a_loss_that_sums_gives_the_gradients_of_its_samples(rng):
    """Each sample has the loss to itself: nothing is divided by the size of a batch."""

    def summed(output, y):
        value, gradient = sn.softmax_cross_entropy(output, y)
        return value * len(y), gradient * len(y)

    network, x, y = prepared("plain", rng)
    mean = sn.score(network, sn.scores.fisher, (x, y))
    for name, scores in sn.score(network, sn.scores.fisher, (x, y), loss=summed).items():
        np.testing.assert_allclose(scores, mean[name], rtol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_hessian_diagonal_against_differences_of_the_gradient(rng, name):
    network, x, y = prepared(name, rng)
    found = hessians.hessian_diagonal(network, whole(x, y), sn.softmax_cross_entropy)
    small = {layer: weight for layer, weight in network.weights().items() if weight.value.size <= 200}
    assert len(small) > 1
    for layer, weight in small.items():
        value = np.array(weight.value)

        def gradient(layer=layer, value=value, weight=weight):
            network[layer].set_weight(value)
            network.backward(sn.softmax_cross_entropy(network(x), y)[1])
            return weight.grad

        expected = definitions.second_differences(gradient, value, 1e-6)
        network[layer].set_weight(value)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[layer], expected, rtol=1e-5, atol=1e-6 * max(scale, 1e-3))


@pytest.mark.parametrize("outputs", [1, 3])
def test_hessian_diagonal_of_the_mean_squared_error(rng, outputs):
    layers = {"fc1": sn.Linear(4, 5, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(5, outputs, seed=2)}
    network = sn.chain(layers).astype(np.float64)
    x, y = rng.standard_normal((7, 4)), rng.standard_normal((7, outputs))
    found = hessians.hessian_diagonal(network, whole(x, y), sn.mean_squared_error)
    for layer, weight in network.weights().items():

        def gradient(weight=weight):
            network.backward(sn.mean_squared_error(network(x), y)[1])
            return weight.grad

        expected = definitions.second_differences(gradient, weight.value, 1e-6)
        np.testing.assert_allclose(found[layer], expected, rtol=1e-5, atol=1e-8)


def test_hessian_diagonal_by_hand():
    """Two classes, z = (a x, b x), x = 2: p = (3/4, 1/4) has d^2 L/da^2 = p (1 - p) x^2 = 3/4, whatever the label."""
    network = sn.chain({"fc": sn.Linear(1, 2)}).astype(np.float64)
    network["fc"].set_weight(np.array([[np.log(3) / 2], [0.0]]))
    for label in (0, 1):
        parts = whole(np.array([[2.0]]), np.array([label]))
        found = hessians.hessian_diagonal(network, parts, sn.softmax_cross_entropy)["fc"]
        np.testing.assert_allclose(found, [[0.75], [0.75]], rtol=1e-12)


def test_obd_is_the_change_of_a_quadratic_loss(rng):
    """At the minimum of a linear regression, exactly; elsewhere the gradient's part is missing."""
    x, y = rng.standard_normal((20, 4)), rng.standard_normal((20, 2))
    network = sn.chain({"fc": sn.Linear(4, 2)}).astype(np.float64)
    best = np.linalg.lstsq(x, y, rcond=None)[0].T
    network["fc"].set_weight(best)
    scores = sn.score(network, sn.scores.obd, (x, y), loss=sn.mean_squared_error)["fc"]
    before = sn.evaluate(network, (x, y), loss=sn.mean_squared_error, metric=sn.losses.r_squared).loss
    for index in np.ndindex(best.shape):
        without = best.copy()
        without[index] = 0
        network["fc"].set_weight(without)
        after = sn.evaluate(network, (x, y), loss=sn.mean_squared_error, metric=sn.losses.r_squared).loss
        assert scores[index] == pytest.approx(after - before, rel=1e-9)


def test_input_hessian_against_loops(rng):
    network, x, y = prepared("residual", rng, samples=3)
    outputs = network.outputs(x)
    found = hessians.input_hessian(network, Batches(x, y, [np.array([2, 0]), np.array([1])]))
    for name, read in (("stem", "input"), ("grouped", "relu"), ("down", "sum")):
        layer = getattr(network[name], "layer", network[name])
        expected = definitions.input_hessian(outputs[read], layer.kernel_size, *layer.geometry)
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12)
    pooled = outputs["pool"]
    np.testing.assert_allclose(found["fc"], [2 * pooled.T @ pooled], rtol=1e-12)


def test_obs_is_the_layers_error_exactly(rng):
    """The least ||W X - W' X||^2 with this weight 0 and all others free; before and after weights are masked."""
    network, x, y = prepared("residual", rng, samples=8)
    obs = partial(sn.scores.obs, damping=0)
    for masks in ({}, {name: rng.random(mask.shape) < 0.7 for name, mask in network.masks().items()}):
        network.apply_masks(masks)
        scores, h = sn.score(network, obs, (x, y)), hessians.input_hessian(network, whole(x, y))
        for name, weight in network.weights().items():
            expected = definitions.obs(weight.value, h[name], network.masks()[name])
            np.testing.assert_allclose(scores[name], expected, rtol=1e-6, atol=1e-12)
            assert not scores[name][~network.masks()[name]].any()


def test_obs_of_dead_and_dependent_inputs():
    """An input that is always 0 costs nothing; one of two equal ones costs next to nothing; the third costs all."""
    u = np.array([[1.0, 1.0, 0.0, 2.0], [2.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, -2.0]])
    hessian, weight = 2 * u.T @ u, np.array([[1.0, 1.0, 5.0, 1.0]])
    with pytest.raises(ValueError, match="damping must be greater"):
        sn.scores.obs(weight, hessian[None], np.ones((1, 4), bool), damping=0)
    scores = sn.scores.obs(weight, hessian[None], np.ones((1, 4), bool), damping=1e-6)[0]
    assert scores[2] == 0
    assert 0 < scores[0] < 1e-3
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    assert scores[3] > 1
    nothing = sn.scores.obs(weight, np.zeros((1, 4, 4)), np.ones((1, 4), bool))
    assert not nothing.any()


def test_damping_by_hand():
    """OBS: a part of the diagonal's mean, 4, so that diag(2, 6) becomes diag(4, 8); WoodFisher: in F's own units."""
    hessian, weight, mask = np.diag([2.0, 6.0])[None], np.ones((1, 2)), np.ones((1, 2), bool)
    assert sn.scores.obs(weight, hessian, mask, damping=0.5).tolist() == [pytest.approx([2, 4])]
    assert sn.scores.obs(weight, hessian, mask).tolist() == [pytest.approx([1.02, 3.02])]
    gradients = np.array([[[2.0, 0.0]], [[0.0, 0.0]]])
    assert sn.scores.woodfisher(weight, gradients, mask, damping=0.5).tolist() == [pytest.approx([1.25, 0.25])]
    assert sn.scores.woodfisher(weight, gradients, mask).tolist() == [pytest.approx([1.000005, 5e-6])]


def test_blocks_of_woodfisher_have_fifty_weights(rng):
    weight, gradients = rng.standard_normal((1, 60)), rng.standard_normal((4, 1, 60))
    mask = np.ones(weight.shape, bool)
    found = sn.scores.woodfisher(weight, gradients, mask)
    assert np.array_equal(found, sn.scores.woodfisher(weight, gradients, mask, block_size=50))
    assert not np.array_equal(found, sn.scores.woodfisher(weight, gradients, mask, block_size=49))


@pytest.mark.parametrize("block_size", [1, 5, 7, 1000])
def test_woodfisher_against_the_recursion(rng, block_size):
    weight, gradients = rng.standard_normal((3, 7)), rng.standard_normal((9, 3, 7))
    for mask in (np.ones((3, 7), bool), rng.random((3, 7)) < 0.6):
        weight = weight * mask
        found = sn.scores.woodfisher(weight, gradients, mask, block_size=block_size, damping=1e-3)
        expected = definitions.woodfisher(weight, gradients, mask, block_size, 1e-3)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-14)


def test_woodfisher_of_blocks_of_one_is_fisher(rng):
    network, x, y = prepared("residual", rng)
    fisher = sn.score(network, sn.scores.fisher, (x, y))
    single = sn.score(network, partial(sn.scores.woodfisher, block_size=1, damping=1e-12), (x, y))
    for name in fisher:
        np.testing.assert_allclose(single[name], fisher[name], rtol=1e-6, atol=1e-11)


def test_sample_gradients_that_do_not_fit_are_refused():
    network = sn.chain({"fc": sn.Linear(100, 20)})
    parts = Batches(np.zeros((1, 100), np.float32), np.zeros(1, int), [np.zeros(10**6, int)])
    with pytest.raises(ValueError, match=r"each of 1000000 samples would take 7\.5 GiB, more than the 4 .*max_batches"):
        hessians.sample_gradients(network, parts, sn.softmax_cross_entropy)


def test_the_loss_must_be_one_whose_curvature_is_known(rng):
    network, x, y = prepared("plain", rng)

    def own(output, y):
        return sn.softmax_cross_entropy(output, y)

    with pytest.raises(ValueError, match=r"loss must be one whose second derivative is known here \(softmax_cross"):
        sn.score(network, sn.scores.obd, (x, y), loss=own)
    assert sn.score(network, sn.scores.fisher, (x, y), loss=own)  # which needs no second derivative


@pytest.mark.parametrize("criterion", CURVATURE)
def test_scores_need_data_and_change_nothing(rng, criterion):
    network = random_cnn(4, batch_norm=True, weight_norm=True)
    with pytest.raises(ValueError, match="data must be given"):
        sn.score(network, criterion)
    data = rng.standard_normal((12, *IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    before = network.copy()
    first = sn.score(network, criterion, data, batch_size=5, threads=1)
    again = sn.score(network, criterion, data, batch_size=5, threads=2)
    for name, scores in first.items():
        assert np.array_equal(scores, again[name])
        assert scores.min() >= 0
        assert scores.max() > 0
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)


@pytest.mark.parametrize("criterion", CURVATURE)
@pytest.mark.parametrize("name", NETWORKS)
def test_float32_agrees_with_float64(rng, criterion, name):
    network, x, y = prepared(name, rng, samples=12)
    exact = sn.score(network, criterion, (x, y))
    for layer, scores in sn.score(network.astype(np.float32), criterion, (x.astype(np.float32), y)).items():
        np.testing.assert_allclose(scores, exact[layer], rtol=2e-2, atol=1e-4 * exact[layer].max())


@pytest.mark.parametrize("criterion", CURVATURE)
def test_whole_filters_by_curvature(rng, criterion):
    """A filter's importance is the sum of its weights': the lowest of three goes, and what reads it."""
    network = residual()
    data = rng.standard_normal((12, 2, 6, 6)).astype(np.float32), rng.integers(0, 3, 12)
    scores = sn.score(network, criterion, data)
    masks = sn.prune(network, scores, sn.strategies.channelwise, 1 / 3, exclude=["stem", "grouped"])
    lowest = int(scores["down"].sum(axis=(1, 2, 3)).argmin())
    assert [int(mask.any()) for mask in masks["down"]] == [int(o != lowest) for o in range(3)]
    after = sn.score(network, criterion, data)
    assert not after["down"][lowest].any()
    assert not after["fc"][:, lowest].any()


@pytest.mark.parametrize("criterion", CURVATURE)
def test_rounds_of_pruning_by_curvature(rng, criterion):
    """Exact counts, round by round; what is pruned stays pruned and scores 0."""
    network = residual()
    data = rng.standard_normal((12, 2, 6, 6)).astype(np.float32), rng.integers(0, 3, 12)
    total, gone = sum(weight.value.size for weight in network.weights().values()), 0
    for sparsity in (0.3, 0.6, 0.9):
        before = network.masks()
        scores = sn.score(network, criterion, data)
        sn.prune(network, scores, sn.strategies.proportional, sparsity)
        gone = sum(int((~mask).sum()) for mask in network.masks().values())
        assert gone == round(sparsity * total)
        assert not any((network.masks()[name] & ~before[name]).any() for name in before)
        assert not any(scores[name][~before[name]].any() for name in before)
