"""Parameters: one answer for what a mask removes; no shared memory; one place each; restored in place."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn

import sparsenet as sn
from sparsenet.nn.counting import count_total
from sparsenet.nn.parameter import Parameter


def masked_network(rng, *, weight_norm=False):
    network = random_cnn(3, batch_norm=True, weight_norm=weight_norm)
    network.apply_masks({name: rng.random(w.shape) < 0.5 for name, w in network.weights().items()})
    return network


def answers(network, x, folder):
    """Outputs of the network, of its plan, of a copy, of what its file holds; and its weights."""
    sn.save_network(folder / "network", network)
    loaded = sn.load_network(folder / "network")
    plan = sn.compile(network, IMAGE, batch=len(x), form="blas")
    weights = {name: weight.value.copy() for name, weight in network.weights().items()}
    return [network(x), plan(x), network.copy()(x), loaded(x)], weights, loaded.weights()


def write_in_place(layer, values):
    target = layer.direction if isinstance(layer, sn.WeightNorm) else layer.weight
    target.value[...] = values


def assign(layer, values):
    layer.weight.value = values


def set_weight(layer, values):
    layer.set_weight(values)


@pytest.mark.parametrize("write", [write_in_place, assign, set_weight])
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("spoiled", [1.0, np.nan, -np.inf])
def test_what_a_mask_removes_is_never_used(rng, tmp_path, write, weight_norm, spoiled):
    network, x = masked_network(rng, weight_norm=weight_norm), rng.standard_normal((4, *IMAGE)).astype(np.float32)
    masks, sparsity, counts = network.masks(), network.sparsity(), count_total(network, IMAGE)
    drawn = {name: rng.standard_normal(mask.shape).astype(np.float32) for name, mask in masks.items()}
    for name, layer in network.weighted().items():
        write(layer, np.where(masks[name], drawn[name], np.float32(spoiled)))
    outputs, weights, loaded = answers(network, x, tmp_path)
    for output in outputs:
        np.testing.assert_allclose(output, outputs[0], rtol=1e-4, atol=1e-5)
    for name, weight in weights.items():
        assert not weight[~masks[name]].any()
        assert np.array_equal(weight, loaded[name].value)
        if not (weight_norm and write is write_in_place):  # there the direction was written, and the length stayed
            np.testing.assert_allclose(weight, np.where(masks[name], drawn[name], 0), rtol=1e-5)
    assert (network.sparsity(), count_total(network, IMAGE)) == (sparsity, counts)
    dx = network.backward(np.ones((4, 3), np.float32))
    clean = network.copy()
    clean(x)
    assert np.array_equal(dx, clean.backward(np.ones((4, 3), np.float32)))


def test_a_write_between_forward_and_backward_does_not_count(rng):
    for layer, x in ((sn.Linear(3, 2), (4, 3)), (sn.Conv2d(3, 2, 1), (4, 3, 5, 5))):
        x = rng.standard_normal(x).astype(np.float32)
        mask = np.zeros(layer.weight.shape, bool)
        mask[0] = True
        layer.set_mask(mask)
        y = layer.forward(x)
        expected = layer.backward(np.ones_like(y))
        layer.weight.value[1] = np.nan
        assert np.array_equal(layer.backward(np.ones_like(y)), expected)


def test_rewinding_keeps_the_masks(rng):
    """The idiom of the lottery ticket: initial weights under the mask that training and pruning found."""
    network = random_cnn(2, batch_norm=False)
    initial = {name: weight.value.copy() for name, weight in network.weights().items()}
    data = rng.standard_normal((12, *IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    sn.fit(network, data, epochs=1)
    network.apply_masks(sn.make_masks(sn.score(network, sn.scores.l1), 0.6))
    masks = network.masks()
    for name, value in initial.items():
        network[name].weight.value[:] = value
    for name, weight in network.weights().items():
        assert np.array_equal(weight.value, np.where(masks[name], initial[name], 0))
    sn.fit(network, data, epochs=1, optimizer=sn.Adam())
    assert all(not w.value[~masks[name]].any() for name, w in network.weights().items())


@pytest.mark.parametrize("weight_norm", [False, True])
def test_an_assigned_mask_acts_at_once_and_what_it_removed_stays_removed(weight_norm):
    layer = sn.Linear(3, 2, init=lambda shape, rng: np.array([[3, 4, 12], [0, 6, 8]], np.float32))
    layer = sn.WeightNorm(layer) if weight_norm else layer
    layer.weight.mask = [[True, True, False], [True, True, True]]
    np.testing.assert_allclose(layer.weight.value, [[3, 4, 0], [0, 6, 8]], rtol=1e-6)
    written = layer.direction if weight_norm else layer.weight
    written.value[0, 2] = 7
    layer.weight.mask = np.ones((2, 3), bool)  # without a read in between
    np.testing.assert_allclose(layer.weight.value, [[3, 4, 0], [0, 6, 8]], rtol=1e-6)
    layer.weight.mask = None
    np.testing.assert_allclose(layer.weight.value, [[3, 4, 0], [0, 6, 8]], rtol=1e-6)
    assert layer.weight.mask is None


def test_a_mask_clears_gradient_and_state_too_in_their_own_types():
    state = {"velocity": np.full(3, np.nan), "age": np.array([1, 2, 3], np.int8), "steps": np.array(5)}
    parameter = Parameter(np.array([1.0, 2, 3]), np.array([np.inf, 1, 1]), state=state)
    parameter.mask = np.array([False, True, True])
    assert parameter.value.tolist() == [0, 2, 3]
    assert parameter.grad.tolist() == [0, 1, 1]
    assert parameter.state["velocity"][0] == 0
    assert parameter.state["age"].tolist() == [0, 2, 3]
    assert parameter.state["steps"] == 5


def test_masks_and_normalised_weights_cannot_be_written():
    plain, normalised = sn.Linear(3, 2), sn.WeightNorm(sn.Linear(3, 2))
    plain.weight.mask = np.ones((2, 3), bool)
    for array in (plain.weight.mask, normalised.weight.value, normalised.layer.weight.value):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        normalised.weight.value *= 2
    normalised.layer.weight.value = [[1, 2, 2], [0, 0, 1]]  # the wrapped layer's weight is the same one
    np.testing.assert_allclose(normalised.gain.value, [3, 1], rtol=1e-6)
    np.testing.assert_allclose(normalised.forward(np.ones((1, 3), np.float32)), [[5, 1]], rtol=1e-6)


def test_an_update_in_place_keeps_the_array_and_an_assignment_copies():
    parameter = Parameter(np.array([1.0, 2, 3], np.float32))
    array = parameter.value
    parameter.value -= 1
    assert parameter.value is array
    assert array.tolist() == [0, 1, 2]
    given = np.array([4.0, 5, 6])
    parameter.value = given
    given[:] = 0
    array[:] = 9
    assert parameter.value.tolist() == [4, 5, 6]
    assert parameter.value.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.zeros((3, 2)), ValueError, r"value must be numbers of shape \(2, 3\), not float64 of shape \(3, 2\)"),
        (0.0, ValueError, r"not float64 of shape \(\)"),
        (np.zeros((2, 3), complex), ValueError, "not complex128"),
        (np.zeros((2, 3), bool), ValueError, "not bool"),
        (np.ma.zeros((2, 3)), TypeError, "masked array"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value, error, message):
    for layer in (sn.Linear(3, 2), sn.WeightNorm(sn.Linear(3, 2))):
        before = layer.weight.value.copy()
        for write in (assign, set_weight):
            with pytest.raises(error, match=message):
                write(layer, value)
        assert np.array_equal(layer.weight.value, before)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.ones((2, 3), np.uint8), ValueError, r"must be bool of shape \(2, 3\), not uint8 of shape \(2, 3\)"),
        (np.ones((2, 3), np.float32), ValueError, "not float32"),
        (np.ones((3, 2), bool), ValueError, r"not bool of shape \(3, 2\)"),
        (np.ma.ones((2, 3), bool), TypeError, "masked array"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(mask, error, message):
    for layer in (sn.Linear(3, 2), sn.WeightNorm(sn.Linear(3, 2))):
        network = sn.chain({"a": layer})

        def assign_mask(layer=layer):
            layer.weight.mask = mask

        for write in (assign_mask, lambda: layer.set_mask(mask), lambda: network.apply_masks({"a": mask})):  # noqa: B023
            with pytest.raises(error, match=message):
                write()
        assert layer.weight.mask is None


def test_nothing_a_layer_is_given_is_kept():
    weights, mask = np.ones((3, 4), np.float32), np.ones((3, 4), bool)
    linear = sn.Linear(4, 3, init=lambda shape, rng: weights)
    conv = sn.Conv2d(4, 3, 1, init=lambda shape, rng: weights[:, :, None, None])
    normalised = sn.WeightNorm(sn.Linear(4, 3, init=lambda shape, rng: weights))
    parameter = Parameter(weights, weights, mask, {"velocity": weights})
    linear.set_mask(mask)
    norm, mean = sn.BatchNorm(2), np.zeros(2, np.float32)
    norm.running_mean = mean
    norm.forward(np.full((3, 2), 5, np.float32), training=True)
    for array in (linear.weight.value, conv.weight.value, normalised.direction.value, parameter.value, parameter.grad):
        array[...] = 7
    parameter.state["velocity"][...] = 7
    for layer in (linear, conv, normalised):
        layer.set_mask(np.zeros(layer.weight.shape, bool))
    assert (weights == 1).all()
    assert mask.all()
    assert not mean.any()
    mean[:] = 3
    assert norm.running_mean.tolist() == [0.5, 0.5]


def test_nothing_a_network_hands_out_is_its_own(rng):
    x = away = rng.standard_normal((2, 1, 4, 4)).astype(np.float32)
    for layers in ({"drop": sn.Dropout(0.5)}, {"flatten": sn.Flatten()}, {"pool": sn.MaxPool2d(2)}):
        network, x = sn.chain(layers), away.copy()
        y = network(x)
        dy = np.ones_like(y)
        y[...], expected = 5, network.backward(dy)
        assert np.array_equal(x, away)
        network(x)
        dx = network.backward(dy)
        assert np.array_equal(dx, expected)
        dx[...] = 5
        assert (dy == 1).all()
    network = masked_network(rng)
    for mask in network.masks().values():
        mask[...] = True
    assert network.sparsity() > 0


def test_a_parameter_stands_in_one_place(rng):
    def layers():
        return {"a": sn.Linear(3, 3), "b": sn.Linear(3, 3)}

    tied = layers()
    tied["b"].weight = tied["a"].weight
    with pytest.raises(ValueError, match=r"'a\.weight' and 'b\.weight' share a Parameter"):
        sn.chain(tied)
    wrapped = sn.Linear(3, 3)
    with pytest.raises(ValueError, match=r"'a\.bias' and 'b\.bias'"):
        sn.chain({"a": wrapped, "b": sn.WeightNorm(wrapped)})
    plain, inner = sn.Linear(3, 3), sn.Linear(3, 3)
    normalised = sn.WeightNorm(inner)
    plain.weight = inner.weight
    with pytest.raises(ValueError, match=r"'b\.weight' and 'a\.weight' share a Parameter"):
        sn.chain({"a": normalised, "b": plain})
    with pytest.raises(ValueError, match=r"'b\.weight' is the product of a weight normalisation"):
        sn.chain({"b": plain})
    with pytest.raises(ValueError, match=r"'a\.weight' is the product of a weight normalisation"):
        sn.chain({"a": inner})
    second = sn.WeightNorm(sn.Linear(3, 3))
    second.layer.weight = inner.weight
    with pytest.raises(ValueError, match="share a Parameter"):
        sn.chain({"a": normalised, "b": second})

    x, y = rng.standard_normal((4, 3)).astype(np.float32), np.array([0, 1, 2, 0])
    network = sn.chain(layers())
    good, before = network.copy(), network(x)
    network["b"].weight = network["a"].weight
    for use in (
        lambda: network(x),
        lambda: network.backward(np.ones((4, 3), np.float32)),
        lambda: sn.fit(network, (x, y), epochs=1),
        network.copy,
        lambda: sn.compile(network, (3,)),
    ):
        with pytest.raises(ValueError, match="share a Parameter"):
            use()
    network.restore(good)
    assert np.array_equal(network(x), before)


@pytest.mark.parametrize("weight_norm", [False, True])
def test_restore_puts_the_state_into_the_layers_that_are_there(rng, weight_norm):
    network = random_cnn(4, batch_norm=True, weight_norm=weight_norm)
    data = rng.standard_normal((12, *IMAGE)).astype(np.float32), rng.integers(0, 3, 12)
    network.apply_masks(sn.make_masks(sn.score(network, sn.scores.l1), 0.3))
    sn.fit(network, data, epochs=1, optimizer=sn.Adam())
    good, layers, parameters = network.copy(), network.layers(), network.parameters()
    arrays = {name: parameter.value for name, parameter in parameters.items()}
    network.apply_masks(sn.make_masks(sn.score(network, sn.scores.l1), 0.8, current=network.masks()))
    sn.fit(network, data, epochs=1, optimizer=sn.Adam())
    network.restore(good)
    assert all(layer is layers[name] for name, layer in network.layers().items())
    for name, parameter in network.parameters().items():
        kept = good.parameters()[name]
        assert parameter is parameters[name]
        assert parameter.value is arrays[name]
        assert parameter is not kept
        for mine, other in [(parameter.value, kept.value), (parameter.grad, kept.grad), (parameter.mask, kept.mask)]:
            assert np.array_equal(mine, other)
            assert mine is None or not np.shares_memory(mine, other)
        assert parameter.state.keys() == kept.state.keys()
        assert all(np.array_equal(array, kept.state[key]) for key, array in parameter.state.items())
    for name, buffer in network.buffers().items():
        assert np.array_equal(buffer, good.buffers()[name])
        assert not np.shares_memory(buffer, good.buffers()[name])
    for net in (network, good):  # and both go on alike
        sn.fit(net, data, epochs=1, optimizer=sn.Adam(), seed=5)
    assert np.array_equal(network(data[0]), good(data[0]))


def test_restore_takes_copies_of_what_it_has_not(rng):
    network = sn.chain({"a": sn.Linear(3, 4), "b": sn.ReLU(), "c": sn.Linear(4, 2)})
    other = sn.chain({"a": sn.Linear(3, 5, seed=1), "b": sn.Dropout(), "c": sn.Linear(5, 2, seed=1)}).astype(np.float64)
    a, b, x = network["a"], network["b"], rng.standard_normal((2, 3))
    network.restore(other)
    assert (network["a"] is a, network["b"] is b, network["b"] is other["b"]) == (True, False, False)
    assert a.out_features == 5
    assert np.array_equal(network(x), other(x))
    a.weight.value[...] = 0
    assert other["a"].weight.value.all()
    network.restore(network)
    assert network["a"] is a
    assert not a.weight.value.any()


def test_a_refused_round_leaves_the_callers_layers_in_the_network(rng):
    network = random_cnn(1, batch_norm=True)
    data = rng.standard_normal((8, *IMAGE)).astype(np.float32), rng.integers(0, 3, 8)
    layers, before = network.layers(), network(data[0])

    def spoil(net):
        net["fc2"].bias.value[:] = np.nan

    history = sn.iterative_prune(network, data, schedule=[0.5], retrain=spoil)
    assert not history.rounds[0].accepted
    assert all(network[name] is layer for name, layer in layers.items())
    assert np.array_equal(network(data[0]), before)


def test_restore_undoes_a_weight_shared_with_a_normalised_one(rng):
    network = sn.chain({"a": sn.WeightNorm(sn.Linear(3, 3)), "b": sn.Linear(3, 3)})
    x = rng.standard_normal((4, 3)).astype(np.float32)
    good, before = network.copy(), network(x)
    network["b"].weight = network["a"].weight
    with pytest.raises(ValueError, match="share a Parameter"):
        network(x)
    network.restore(good)
    assert np.array_equal(network(x), before)


@pytest.mark.parametrize("weight_norm", [False, True])
def test_a_gradient_that_is_assigned_is_copied(weight_norm):
    layer = sn.WeightNorm(sn.Linear(3, 2)) if weight_norm else sn.Linear(3, 2)
    network, given = sn.chain({"a": layer}), np.ones((2, 3), np.float32)
    layer.weight.grad = given
    layer.bias.grad = shared = np.ones(2, np.float32)
    network.apply_masks({"a": np.array([[True, False, True], [True, True, True]])})
    layer.bias.set_mask(np.zeros(2, bool))
    assert (given == 1).all()
    assert (shared == 1).all()
    assert layer.weight.grad.tolist() == [[1, 0, 1], [1, 1, 1]]
    assert not layer.bias.grad.any()
    with pytest.raises(TypeError, match="grad must be a plain array"):
        layer.weight.grad = np.ma.ones((2, 3))
