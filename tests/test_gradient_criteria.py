"""Criteria of gradients: against their slow definitions, identities, and on every kind of layer and granularity."""

import warnings

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from random_graphs import GRAPH_IMAGE, conv, graph_of, linear_chain, random_graph, randomize, residual

import sparsenet as sn
from sparsenet.nn.hessian_product import hessian_product
from sparsenet.nn.parameter import Parameter
from sparsenet.pruning.flow import positive_copy
from sparsenet.pruning.granularity import sum_over_structures
from sparsenet.verify.definitions import criteria_gradients as definitions

OF_GRADIENTS = ("sensitivity", "full_batch_sensitivity", "taylor", "snip", "grasp", "synflow")


def small_network(seed=0):
    """Weight-normalised, grouped and plain weights, a normalisation, a sum: 62 weights in float64."""
    network = graph_of(
        ("stem", conv(1, 2, 3, seed=seed + 1), "input"),
        ("norm", sn.BatchNorm(2)),
        ("relu", sn.ReLU()),
        ("depthwise", sn.Conv2d(2, 2, 2, padding=1, groups=2, seed=seed + 2)),
        ("pool", sn.MaxPool2d(2, 1)),
        ("sum", sn.Add(), "pool", "relu"),
        ("normed", sn.WeightNorm(conv(2, 3, 1, seed=seed + 3))),
        ("relu2", sn.ReLU()),
        ("mean", sn.GlobalAvgPool2d()),
        ("fc", sn.Linear(3, 3, seed=seed + 4)),
    )
    return randomize(network, seed)


def samples(rng, count=7, shape=(1, 4, 4)):
    return rng.standard_normal((count, *shape)), rng.integers(0, 3, count)


def movable(network, name):
    """(array to move, function that makes the network follow): w itself, whatever parameters stand behind it."""
    layer = network.weighted()[name]
    array = layer.weight.value.copy()
    return array, lambda: layer.set_weight(array)


def losses_of(network, name, batches):
    """The array of a weight, and for each batch its loss, of the network with that weight."""
    array, follow = movable(network, name)

    def of(x, y):
        def now():
            follow()
            return sn.softmax_cross_entropy(network(x), y)[0]

        return now

    return array, [of(x, y) for x, y in batches]


def close(found, expected, rtol=1e-5):
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-8 * max(1, np.abs(expected).max()))


WEIGHT = np.array([[1.0, -2.0, 0.0], [0.5, 0.0, -3.0]])
MADE = np.array([[0.5, -0.5, 5.0], [-4.0, 0.25, 1.0]])


@pytest.mark.parametrize(
    ("scores", "per_weight", "per_filter", "per_channel"),
    [
        (sn.scores.full_batch_sensitivity(MADE), [[0.5, 0.5, 5], [4, 0.25, 1]], [6, 5.25], [4.5, 0.75, 6]),
        (sn.scores.snip(WEIGHT, MADE), [[0.5, 1, 0], [2, 0, 3]], [1.5, 5], [2.5, 1, 3]),
        (sn.scores.grasp(WEIGHT, MADE), [[0.5, 1, 0], [-2, 0, -3]], [1.5, -5], [-1.5, 1, -3]),
        (sn.scores.synflow(WEIGHT, np.abs(MADE)), [[0.5, 1, 0], [2, 0, 3]], [1.5, 5], [2.5, 1, 3]),
        (sn.scores.movement(MADE), MADE.tolist(), [5, -2.75], [-3.5, -0.25, 6]),
    ],
)
def test_criteria_by_hand(scores, per_weight, per_filter, per_channel):
    assert scores.tolist() == per_weight
    assert sum_over_structures(scores, sn.Filter()).tolist() == per_filter
    assert sum_over_structures(scores, sn.Channel()).tolist() == per_channel


@pytest.mark.parametrize("criterion", ["sensitivity", "taylor"])
@pytest.mark.parametrize("seed", [0, 1])
def test_absolute_then_mean_is_its_definition(rng, criterion, seed):
    """Three batches, the last one shorter: it counts by its samples."""
    network, (x, y) = small_network(seed), samples(rng)
    found = sn.score(network, sn.scores.CRITERIA[criterion], (x, y), batch_size=3, seed=9)
    order = np.random.default_rng(9).permutation(7)
    batches = [(x[pick], y[pick]) for pick in (order[:3], order[3:6], order[6:])]
    for name in network.weights():
        array, losses = losses_of(network.copy(), name, batches)
        close(found[name], getattr(definitions, criterion)(losses, [3, 3, 1], array))


@pytest.mark.parametrize("criterion", ["full_batch_sensitivity", "snip"])
@pytest.mark.parametrize("seed", [0, 1])
def test_mean_then_absolute_is_its_definition(rng, criterion, seed):
    """Of the loss over all samples, however they are cut into batches."""
    network, data = small_network(seed), samples(rng)
    for batch_size in (3, 7):
        found = sn.score(network, sn.scores.CRITERIA[criterion], data, batch_size=batch_size)
        for name in network.weights():
            array, losses = losses_of(network.copy(), name, [data])
            close(found[name], getattr(definitions, criterion)(losses[0], array))


def test_absolute_first_is_never_below_mean_first(rng):
    """The triangle's inequality; equal for a single batch, and apart where batches disagree."""
    network, data = small_network(), samples(rng, 12)
    for absolute, mean in (("sensitivity", "full_batch_sensitivity"), ("taylor", "snip")):
        first, second = (sn.scores.CRITERIA[name] for name in (absolute, mean))
        apart, together = sn.score(network, first, data, batch_size=2), sn.score(network, second, data, batch_size=2)
        whole = sn.score(network, first, data)
        for name in apart:
            assert (apart[name] >= together[name] * (1 - 1e-12)).all()
            close(whole[name], together[name])
        assert max((apart[name] - together[name]).max() for name in apart) > 1e-3


def test_two_batches_that_disagree_by_hand():
    """Gradients 2 and -6 of two samples, theta = 1: |2| + |-6| halved is 4, |2 - 6| halved is 2."""
    network = sn.chain({"fc": sn.Linear(1, 1)})
    network["fc"].set_weight(np.array([[1.0]]))
    data = np.ones((2, 1), np.float32), np.array([[0.0], [4.0]], np.float32)
    options = {"loss": sn.mean_squared_error, "batch_size": 1}
    expected = {"sensitivity": 4, "taylor": 4, "full_batch_sensitivity": 2, "snip": 2}
    for name, value in expected.items():
        assert sn.score(network, sn.scores.CRITERIA[name], data, **options)["fc"].item() == value


def test_the_normalisation_of_snip_changes_no_order(rng):
    network, data = small_network(), samples(rng)
    found = sn.score(network, sn.scores.snip, data)
    array, losses = losses_of(network.copy(), "fc", [data])
    normalized = definitions.snip_normalized(losses[0], [array])[0]
    assert normalized.sum() == pytest.approx(1)
    assert np.array_equal(np.argsort(normalized, axis=None), np.argsort(found["fc"], axis=None))


def test_snip_predicts_what_a_small_cut_of_a_connection_does(rng):
    """And does not draw the weights again: a score of 0 is exactly where the weight is 0."""
    network, data = small_network(), samples(rng)
    network["fc"].weight.value[1, 2] = 0
    found = sn.score(network, sn.scores.snip, data)["fc"]
    assert (found == 0).sum() == 1
    assert found[1, 2] == 0
    before = sn.evaluate(network, data).loss
    network["fc"].weight.value[0, 0] *= 1 - 1e-4
    assert abs(sn.evaluate(network, data).loss - before) == pytest.approx(1e-4 * found[0, 0], rel=1e-2)


def squared_norm_of(network, data, name):
    array, follow = movable(network, name)

    def now():
        follow()
        network.backward(sn.softmax_cross_entropy(network(data[0]), data[1])[1], to_input=False)
        return sum(float((weight.grad**2).sum()) for weight in network.weights().values())

    return array, now


@pytest.mark.parametrize("seed", [0, 1])
def test_grasp_is_its_definition(rng, seed):
    """What each gate does to the norm of the gradient, by differences; cut into batches or not."""
    network, data = small_network(seed), samples(rng)
    whole, cut = (sn.score(network, sn.scores.grasp, data, batch_size=size) for size in (7, 3))
    for name in network.weights():
        array, now = squared_norm_of(network.copy(), data, name)
        close(whole[name], definitions.grasp(now, array), rtol=1e-4)
        close(cut[name], whole[name])


def test_what_grasp_scores_lowest_leaves_the_larger_gradient():
    """The direction: without its lowest weight the gradient's norm grows, without its highest it shrinks.

    L = (w1 x1 + w2 x2 - t)^2 with x = (1, 1), w = (1, -1/4), t = 2: g = -5/2 (1, 1), H g = 2 x (x . g) = -10 (1, 1).
    """
    network = sn.chain({"fc": sn.Linear(2, 1)}).astype(np.float64)
    network["fc"].set_weight(np.array([[1.0, -0.25]]))
    data = np.ones((1, 2)), np.array([[2.0]])
    found = sn.score(network, sn.scores.grasp, data, loss=sn.mean_squared_error)["fc"]
    assert found.tolist() == [[-10.0, 2.5]]
    residuals = {"both": -1.25, "without the first": -2.25, "without the second": -1.0}
    norms = {name: 2 * (2 * value) ** 2 for name, value in residuals.items()}
    assert norms["without the first"] > norms["both"] > norms["without the second"]


def test_grasp_leaves_pruned_weights_out_of_the_gradient(rng):
    network, data = small_network(), samples(rng)
    mask = np.ones((3, 3), bool)
    mask[0, 1] = False
    network.apply_masks({"fc": mask})
    found = sn.score(network, lambda hessian_gradient: hessian_gradient, data)["stem"]
    gradient = sn.score(network, lambda mean_gradient: mean_gradient, data)
    assert gradient["fc"][0, 1] != 0
    gradient["fc"][0, 1] = 0
    close(found, hessian_product(network, *data, sn.softmax_cross_entropy, gradient)["stem"])


def test_grasp_says_what_a_loss_of_ones_own_lacks(rng):
    def own(output, y):
        return sn.softmax_cross_entropy(output, y)

    with pytest.raises(TypeError, match="loss 'own' says nothing of its second derivative"):
        sn.score(small_network(), sn.scores.grasp, samples(rng), loss=own)


@pytest.mark.parametrize("relu", [True, False])
def test_synflow_counts_paths(relu):
    network = linear_chain((3, 4, 2, 3), 5, relu)
    data = np.full((2, 3), np.float32(7)), np.array([0, 1])
    found = sn.score(network, sn.scores.synflow, data)
    weights = [weight.value for weight in network.weights().values()]
    for array, expected in zip(found.values(), definitions.synflow(weights), strict=True):
        assert array.dtype == np.float64
        np.testing.assert_allclose(array, expected, rtol=1e-12)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight_norm", [False, True])
def test_synflow_is_conserved_in_every_chain(seed, weight_norm):
    """Convolutions, strides, depthwise, normalisations with shifts, biases, max pooling: each layer's scores sum to R.

    And what goes into a neuron comes out of it.
    """
    network = random_cnn(seed, batch_norm=True, weight_norm=weight_norm, depthwise=True)
    network["norm1"].gamma.value[0] *= -1
    found = sn.score(network, sn.scores.synflow, (np.zeros((1, *IMAGE), np.float32), np.zeros(1, int)))
    whole = float(positive_copy(network)(np.ones((1, *IMAGE))).sum())
    assert whole > 0
    for array in found.values():
        assert (array >= 0).all()
        assert array.sum() == pytest.approx(whole, rel=1e-12)
    np.testing.assert_allclose(found["fc1"].sum(axis=1), found["fc2"].sum(axis=0), rtol=1e-10)
    np.testing.assert_allclose(
        found["conv1"].sum(axis=(1, 2, 3)), found["depthwise"].sum(axis=(1, 2, 3)), rtol=1e-10
    )  # a channel each


def test_synflow_over_the_cuts_of_a_residual_network():
    """stem -> (a -> b) + shortcut -> c: a and b sum to the same; with what the shortcut carries to the same as c."""
    network = graph_of(
        ("stem", sn.Linear(3, 4, seed=1), "input"),
        ("a", sn.Linear(4, 5, seed=2)),
        ("relu", sn.ReLU()),
        ("b", sn.Linear(5, 4, seed=3)),
        ("sum", sn.Add(), "b", "stem"),
        ("c", sn.Linear(4, 2, seed=4)),
    )
    data = np.zeros((1, 3), np.float32), np.zeros(1, int)
    total = {name: array.sum() for name, array in sn.score(network, sn.scores.synflow, data).items()}
    stem, c = (np.abs(network[name].weight.value.astype(np.float64)) for name in ("stem", "c"))
    shortcut = (c @ stem).sum()
    assert total["a"] == pytest.approx(total["b"], rel=1e-12)
    assert total["stem"] == pytest.approx(total["c"], rel=1e-12)
    assert total["a"] + shortcut == pytest.approx(total["c"], rel=1e-12)
    assert total["a"] < total["c"]


def test_synflow_reads_no_value_and_changes_none(rng):
    network = residual()
    before = network.copy()
    shape = (4, *GRAPH_IMAGE)
    found = [
        sn.score(network, sn.scores.synflow, (x, np.zeros(4, int)), loss=None)
        for x in (np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32))
    ]
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)
    for name, buffer in network.buffers().items():
        assert np.array_equal(buffer, before.buffers()[name])


def test_synflow_of_a_deep_network_does_not_overflow():
    """Eighty layers of 8 x 8 ones: 8^81 paths, of which each of 64 weights takes 8^79 = 2^237, beyond float32."""
    layers = {f"fc{n}": sn.Linear(8, 8, init=lambda shape, rng: np.ones(shape, np.float32)) for n in range(80)}
    data = np.zeros((1, 8), np.float32), np.zeros(1, int)
    found = sn.score(sn.chain(layers), sn.scores.synflow, data)
    assert all((array == 8.0**79).all() for array in found.values())


@pytest.mark.parametrize("optimizer", [sn.SGD(lr=0.1), sn.SGD(lr=0.1, momentum=0.9, weight_decay=0.1), sn.Adam()])
def test_movement_is_its_definition_and_changes_no_step(rng, optimizer):
    """The gradient of the loss alone counts, at the weight before the step."""
    plain, recorded = (Parameter(np.array([[1.0, -2.0], [0.5, 3.0]])) for _ in range(2))
    weights, gradients = [], []
    for _ in range(5):
        gradients.append(rng.standard_normal((2, 2)))
        weights.append(recorded.value.copy())
        for parameter, each in ((plain, optimizer), (recorded, sn.optimizers.Movement(optimizer))):
            parameter.grad = gradients[-1]
            each.update(parameter, 0.1)
    assert np.array_equal(plain.value, recorded.value)
    np.testing.assert_allclose(recorded.state["movement"], definitions.movement(weights, gradients), rtol=1e-12)
    assert {*recorded.state} - {"movement"} == {*plain.state}


def record(network, rng, epochs=2, optimizer=None, seed=4):
    x = rng.standard_normal((24, *GRAPH_IMAGE)).astype(network.dtype)
    data = x, rng.integers(0, 3, 24)
    recorder = sn.optimizers.Movement(optimizer or sn.SGD(lr=0.05, momentum=0.9))
    sn.fit(network, data, epochs=epochs, batch_size=8, optimizer=recorder, seed=seed)
    return data, recorder


def test_movement_in_training_is_the_sum_over_steps(rng):
    """Written out by hand, a weight-normalised layer too: its unit's sum is that of w dL/dw, which v alone is not."""
    network = residual().astype(np.float64)
    by_hand = network.copy()
    (x, y), recorder = record(network, rng)
    expected = dict.fromkeys(network.weights(), 0)
    order_rng = np.random.default_rng(4)
    for _ in range(2):
        order = order_rng.permutation(24)
        for batch in order.reshape(3, 8):
            by_hand.backward(sn.softmax_cross_entropy(by_hand.forward(x[batch], training=True), y[batch])[1])
            for name, weight in by_hand.weights().items():
                expected[name] = expected[name] - weight.value * weight.grad
            for parameter in by_hand.parameters().values():
                recorder.optimizer.update(parameter, recorder.lr)
    found = sn.score(network, sn.scores.movement)
    for name in network.weights():
        if name != "b":
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-14)
    units = found["b"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(units, expected["b"].sum(axis=(1, 2, 3)), rtol=1e-9)
    of_v = network["b"].direction.state["movement"]
    assert np.abs(of_v.sum(axis=(1, 2, 3))).max() < 1e-12 < np.abs(units).min()
    assert np.abs(found["b"] - expected["b"]).max() < np.abs(of_v - expected["b"]).max() / 3


def test_movement_is_saved_rolled_back_and_masked(rng, tmp_path):
    network = residual()
    record(network, rng)
    before = sn.score(network, sn.scores.movement)
    sn.save_network(tmp_path / "net", network, state=True)
    loaded = sn.load_network(tmp_path / "net")
    for copy in (loaded, network.copy()):
        again = sn.score(copy, sn.scores.movement)
        assert all(np.array_equal(again[name], before[name]) for name in before)
    good, data = network.copy(), record(loaded, np.random.default_rng(8))[0]
    record(network, np.random.default_rng(8))  # resumed from the file or not: the same bits
    resumed, went_on = (sn.score(each, sn.scores.movement) for each in (loaded, network))
    assert all(np.array_equal(resumed[name], went_on[name]) for name in before)
    assert any((resumed[name] != before[name]).any() for name in before)
    network.restore(good)
    again = sn.score(network, sn.scores.movement)
    assert all(np.array_equal(again[name], before[name]) for name in before)
    sn.prune(network, before, sn.strategies.proportional, 0.5)
    masked = sn.score(network, sn.scores.movement)
    sn.fit(network, data, epochs=1, optimizer=sn.optimizers.Movement(sn.SGD()), batch_size=8)
    trained = sn.score(network, sn.scores.movement)
    for name, mask in network.masks().items():
        assert not masked[name][~mask].any()
        assert not trained[name][~mask].any()
    sn.save_network(tmp_path / "without", network)
    with pytest.raises(ValueError, match="no movement is recorded for 'stem', 'a', 'b', 'grouped', 'fc': train with"):
        sn.score(sn.load_network(tmp_path / "without"), sn.scores.movement)


def test_movement_needs_its_optimizer(rng):
    network = residual()
    with pytest.raises(
        ValueError, match=r"no movement is recorded for 'stem', .*: train with optimizer=optimizers.Mov"
    ):
        sn.score(network, sn.scores.movement)
    for wrong in (sn.SGD, None, 0.1):
        with pytest.raises(TypeError, match="optimizer must be an SGD, an Adam or alike"):
            sn.optimizers.Movement(wrong)
    record(network, rng)
    network["fc"].weight.state.clear()
    with pytest.raises(ValueError, match="no movement is recorded for 'fc': train with"):
        sn.score(network, sn.scores.movement)


def test_movement_survives_surgery(rng):
    network = residual()
    record(network, rng)
    scores = sn.score(network, sn.scores.movement)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sn.prune(network, scores, sn.strategies.channelwise, 0.25)
    kept = sn.score(network, sn.scores.movement)
    smaller = sn.remove_pruned_structures(network)
    after = sn.score(smaller, sn.scores.movement)
    assert sum(array.size for array in after.values()) < sum(array.size for array in kept.values())
    np.testing.assert_allclose(after["fc"].sum(), kept["fc"].sum(), rtol=1e-5)


def test_a_weight_that_moves_away_from_zero_is_kept():
    """theta = 2 with the target 3 grows, theta = 2 with the target 1 shrinks: +4 and -4 after one step."""
    network = sn.chain({"fc": sn.Linear(1, 2)})
    network["fc"].set_weight(np.array([[2.0], [2.0]]))
    data = np.ones((1, 1), np.float32), np.array([[3.0, 1.0]], np.float32)
    options = {"loss": sn.mean_squared_error, "metric": lambda output, y: 0.0}
    sn.fit(network, data, epochs=1, optimizer=sn.optimizers.Movement(sn.SGD(lr=0.1)), **options)
    assert sn.score(network, sn.scores.movement)["fc"].tolist() == [[2.0], [-2.0]]  # dL/dy = (y - t) for two outputs
    assert sn.prune(network, sn.score(network, sn.scores.movement), sn.strategies.layerwise, 0.5)["fc"].tolist() == [
        [True],
        [False],
    ]


@pytest.mark.parametrize("name", [*OF_GRADIENTS, "movement"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_granularity_and_scope_on_a_residual_network(rng, name, dtype):
    """Exact counts, a floor, the shapes of the weights, and the same scores again from the same seed."""
    network = residual().astype(dtype)
    data = rng.standard_normal((12, *GRAPH_IMAGE)).astype(dtype), rng.integers(0, 3, 12)
    if name == "movement":
        record(network, rng)
    criterion = sn.scores.CRITERIA[name]
    scores, again = (sn.score(network, criterion, data, seed=3, batch_size=4, max_batches=2) for _ in range(2))
    assert list(scores) == list(network.weights())
    for layer, weight in network.weights().items():
        assert scores[layer].shape == weight.shape
        assert np.array_equal(scores[layer], again[layer])
    for granularity in (sn.Weight(), sn.Filter(), sn.Channel(), sn.Block(2, 1)):
        units = {layer: sum_over_structures(array, granularity).size for layer, array in scores.items()}
        for scope in ("layer", "global"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of ties
                masks = sn.make_masks(scores, 0.5, granularity=granularity, scope=scope)
            kept = {n: int((sum_over_structures(mask, granularity) > 0).sum()) for n, mask in masks.items()}
            assert min(kept.values()) >= 1
            if scope == "layer":
                assert kept == {n: count - min(round(count / 2), count - 1) for n, count in units.items()}
    pruned = network.copy()
    sn.prune(pruned, scores, sn.strategies.proportional, 0.9)
    total = sum(weight.value.size for weight in pruned.weights().values())
    assert round(pruned.sparsity() * total) == round(0.9 * total)


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_scores_do_not_depend_on_threads_and_leave_the_network_alone(rng, name):
    network = residual()
    before = network.copy()
    data = rng.standard_normal((12, *GRAPH_IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    one, two = (sn.score(network, sn.scores.CRITERIA[name], data, threads=count) for count in (1, 2))
    assert all(np.array_equal(one[layer], two[layer]) for layer in one)
    for each, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[each].value)
        assert not parameter.state
    for each, buffer in network.buffers().items():
        assert np.array_equal(buffer, before.buffers()[each])


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_they_need_data(name):
    with pytest.raises(ValueError, match="data must be given: the criterion scores by"):
        sn.score(residual(), sn.scores.CRITERIA[name])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_random_networks_are_scored_everywhere(rng, seed, name):
    network = random_graph(seed, 8)
    data = rng.standard_normal((6, *GRAPH_IMAGE)), rng.integers(0, 3, 6)
    scores = sn.score(network, sn.scores.CRITERIA[name], data)
    assert list(scores) == list(network.weights())
    assert scores[list(scores)[-1]].any()


def test_a_positive_copy_has_positive_scales_and_nothing_to_add():
    network = sn.chain({"conv": sn.Conv2d(1, 2, 1, seed=1), "norm": sn.BatchNorm(2)})
    norm = network["norm"]
    norm.gamma.value[:], norm.beta.value[:], norm.running_mean[:] = [-2.0, 3.0], [1.0, -1.0], [5.0, -5.0]
    positive = positive_copy(network)["norm"]
    assert positive.gamma.value.tolist() == [2.0, 3.0]
    assert not positive.beta.value.any()
    assert not positive.running_mean.any()
    assert norm.gamma.value.tolist() == [-2.0, 3.0]


def test_movement_of_a_weight_normalised_unit_that_is_gone_is_nothing(rng):
    network = sn.chain({"fc": sn.WeightNorm(sn.Linear(4, 3, seed=1))})
    mask = np.ones((3, 4), bool)
    mask[1] = False
    network.apply_masks({"fc": mask})
    data = rng.standard_normal((6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    sn.fit(network, data, epochs=1, optimizer=sn.optimizers.Movement(sn.SGD(lr=0.1)))
    found = sn.score(network, sn.scores.movement)["fc"]
    assert not found[1].any()
    assert found[[0, 2]].all()
