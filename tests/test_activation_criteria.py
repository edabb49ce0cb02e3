"""Criteria of activations: literals, slow definitions, central differences under gates; norms of inputs."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.nn.layer import Layer
from sparsenet.nn.layers import Weighted
from sparsenet.nn.network import Node
from sparsenet.pruning.granularity import Filter, sum_over_structures
from sparsenet.pruning.probe import Batches, activation_of, probe
from sparsenet.pruning.statistics import input_norms
from sparsenet.verify.definitions import criteria_activations as defined
from sparsenet.verify.definitions.criteria_weights import shared_out

FILTERS = Filter()
NETWORKS = {
    "plain": lambda: random_cnn(4, batch_norm=False),
    "normalised": lambda: random_cnn(5, batch_norm=True, depthwise=True),
    "weight-normalised": lambda: random_cnn(6, batch_norm=False, weight_norm=True),
}


class Gated(Layer):
    """A layer whose channels are multiplied by gates."""

    def __init__(self, layer, gates):
        self.layer, self.gates = layer, gates

    def forward(self, *x, training=False):
        y = self.layer.forward(*x, training=training)
        return y * self.gates.reshape(1, -1, *[1] * (y.ndim - 2))

    def output_shape(self, *shapes):
        return self.layer.output_shape(*shapes)


def loss_under_gates(network, place, x, y, loss=sn.softmax_cross_entropy):
    """L(z), the loss of a batch with channel o of the output of layer `place` multiplied by z[o]."""

    def gated(gates):
        nodes = [Node(n.name, Gated(n.layer, gates) if n.name == place else n.layer, n.inputs) for n in network.nodes]
        return loss(sn.Network(nodes)(x), y)[0]

    return gated


def data_of(rng, samples=7):
    return rng.standard_normal((samples, *IMAGE)), rng.integers(0, 3, samples)


def by_filter(scores):
    return {name: sum_over_structures(array, FILTERS) for name, array in scores.items()}


@pytest.mark.parametrize("kind", NETWORKS)
def test_taylor_on_gates_is_the_squared_derivative_by_a_gate(rng, kind):
    network, (x, y) = NETWORKS[kind]().astype(np.float64), data_of(rng)
    scores = by_filter(sn.score(network, sn.scores.taylor_gates, (x, y), batch_size=4, seed=3))
    order = np.random.default_rng(3).permutation(7)
    for name, found in scores.items():
        place = activation_of(network, name)
        losses = [(len(b), loss_under_gates(network, place, x[b], y[b])) for b in (order[:4], order[4:])]
        expected = defined.squared_by_batch(losses, len(found))
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max(), err_msg=name)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("batch_size", [7, 3])
def test_taylor_on_feature_maps_is_the_derivative_of_each_samples_loss(rng, kind, batch_size):
    """However the samples lie in batches: the gradients that it gets are of a batch's mean loss."""
    network, (x, y) = NETWORKS[kind]().astype(np.float64), data_of(rng)
    scores = by_filter(sn.score(network, sn.scores.taylor_feature_maps, (x, y), batch_size=batch_size))
    outputs = network.outputs(x)
    for name, found in scores.items():
        place = activation_of(network, name)
        losses = [loss_under_gates(network, place, x[n : n + 1], y[n : n + 1]) for n in range(7)]
        positions = int(np.prod(outputs[place].shape[2:]))
        expected = defined.magnitude_by_sample(losses, len(found), positions)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max(), err_msg=name)


def test_sums_over_positions_are_taken_in_float64():
    """In float32 the two large ones would swallow the 4 between them."""
    maps = np.array([2.0**26, 4, -(2.0**26), 0], np.float32).reshape(1, 1, 2, 2)
    weight, ones = np.ones((1, 1, 1, 1), np.float32), np.ones_like(maps)
    assert sn.scores.taylor_feature_maps(weight, maps, ones).item() == 1
    assert sn.scores.taylor_gates(weight, maps, ones).item() == 16
    assert sn.scores.mean_activation(weight, maps).item() == (2**27 + 4) / 4


def test_a_gate_before_the_relu_has_the_same_derivative(rng):
    """z max(a, 0) = max(z a, 0): it does not matter on which side of the ReLU a unit is judged."""
    network, (x, y) = random_cnn(5, batch_norm=True).astype(np.float64), data_of(rng)
    seen = probe(network, x, y, sn.softmax_cross_entropy)
    weight = network["conv2"].weight.value
    before, behind = (sn.scores.taylor_gates(weight, seen.outputs[n], seen.gradients[n]) for n in ("norm2", "relu2"))
    assert behind.any()
    np.testing.assert_allclose(before, behind, rtol=1e-10)


def test_without_normalisation_a_gates_gradient_is_that_of_the_filters_parameters(rng):
    """dL/dz = sum of theta dL/dtheta over the weights and the bias of the filter."""
    network, (x, y) = random_cnn(4, batch_norm=False).astype(np.float64), data_of(rng)
    scores = by_filter(sn.score(network, sn.scores.taylor_gates, (x, y)))
    network.backward(sn.softmax_cross_entropy(network(x), y)[1])
    for name, layer in network.weighted().items():
        weight, bias = layer.weight, layer.bias
        products = (weight.value * weight.grad).reshape(len(bias.value), -1).sum(axis=1) + bias.value * bias.grad
        np.testing.assert_allclose(scores[name], products**2, rtol=1e-8, atol=1e-18)


def test_taylor_on_feature_maps_predicts_the_loss_without_a_filter():
    """Exactly, where the loss is linear in what a filter emits."""

    def linear(output, target):
        return float((output * target).sum() / len(output)), target / len(output)

    rng = np.random.default_rng(0)
    network = sn.chain({"a": sn.Linear(3, 4, seed=1), "relu": sn.ReLU(), "b": sn.Linear(4, 2, seed=2)})
    network = network.astype(np.float64)
    x, target = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    found = by_filter(sn.score(network, sn.scores.taylor_feature_maps, (x, target), loss=linear, batch_size=4))["a"]
    hidden, weight = network.outputs(x)["relu"], network["b"].weight.value
    changes = np.abs(hidden[:, :, None] * weight.T[None] @ target[:, :, None])[:, :, 0]
    np.testing.assert_allclose(found, changes.mean(axis=0), rtol=1e-12)


@given(st.integers(0, 2**32), st.sampled_from([(2, 3), (3, 2, 4, 3), (1, 1, 1, 1)]))
def test_what_units_emit_against_the_definitions(seed, shape):
    rng = np.random.default_rng(seed)
    emitted = np.maximum(rng.integers(-3, 4, shape), rng.integers(-3, 1)).astype(np.float32)
    weight = rng.integers(-1, 2, (shape[1], 4)).astype(np.float32)
    np.testing.assert_allclose(
        sn.scores.apoz(weight, emitted), shared_out(defined.not_zero(emitted), weight), rtol=1e-12
    )
    np.testing.assert_allclose(
        sn.scores.mean_activation(weight, emitted), shared_out(defined.mean_magnitude(emitted), weight), rtol=1e-12
    )


def test_apoz_and_mean_activation_are_taken_behind_normalisation_and_relu(rng):
    """Over all samples, however they lie in batches: a dead filter scores 0 by both."""
    network, (x, y) = random_cnn(5, batch_norm=True).astype(np.float64), data_of(rng)
    network["norm1"].beta.value[1] = -99
    emitted = network.outputs(x)["relu1"]
    for criterion, definition in (
        (sn.scores.apoz, defined.not_zero),
        (sn.scores.mean_activation, defined.mean_magnitude),
    ):
        found = by_filter(sn.score(network, criterion, (x, y), batch_size=3))["conv1"]
        np.testing.assert_allclose(found, definition(emitted), rtol=1e-12)
        assert found[1] == 0


def test_a_unit_without_relu_that_emits_negative_numbers_is_not_small():
    network = sn.chain({"fc": sn.Linear(2, 2)})
    network["fc"].set_weight(np.array([[-4.0, 0], [1.0, 0]]))
    data = np.ones((3, 2), np.float32), np.zeros(3, int)
    assert by_filter(sn.score(network, sn.scores.mean_activation, data))["fc"].tolist() == [4, 1]


CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "strided": {"kernel_size": (3, 2), "stride": (2, 3), "padding": (1, 0)},
    "dilated": {"kernel_size": (2, 3), "dilation": (3, 2), "padding": (2, 3)},
    "grouped": {"kernel_size": 2, "groups": 2, "stride": 2},
    "depthwise": {"kernel_size": 3, "groups": 4, "padding": 2, "dilation": (1, 2), "stride": (1, 2)},
    "pointwise": {"kernel_size": 1, "stride": 3},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_norms_of_what_a_convolution_reads(rng, options):
    conv = sn.Conv2d(4, 8, **options)
    network = sn.chain({"wrapped": sn.WeightNorm(conv)})
    x = rng.standard_normal((5, 4, 9, 8)).astype(np.float32)
    batches = Batches(x, np.zeros(5), [np.array([3, 0]), np.array([1, 2, 4])])
    found = input_norms(network, batches, sn.softmax_cross_entropy)["wrapped"]
    expected = defined.input_norms(x, conv.weight.shape, *conv.geometry)
    assert found.shape == conv.weight.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # the gradient of sum(y) by a weight is the sum of what it reads: of squares, the squared norm
    conv.saved = np.square(x, dtype=np.float64)
    conv.set_gradients(np.ones((5, *conv.output_shape((4, 9, 8)))))
    np.testing.assert_allclose(found**2, conv.weight.grad, rtol=1e-10)


def test_wanda_reads_what_the_layer_before_emits(rng):
    """As in evaluation: behind pooling, flatten and ReLU, and of the layer's own input where two branches part."""
    network, (x, y) = random_cnn(5, batch_norm=True, depthwise=True).astype(np.float64), data_of(rng)
    scores = sn.score(network, sn.scores.wanda, (x, y), batch_size=3)
    outputs, sources = network.outputs(x), {node.name: node.inputs[0] for node in network.nodes}
    for name, layer in network.weighted().items():
        geometry = getattr(layer, "geometry", ())
        norms = defined.input_norms(outputs[sources[name]], layer.weight.shape, *geometry)
        expected = defined.weight_times_norm(layer.weight.value, norms)
        np.testing.assert_allclose(scores[name], expected, rtol=1e-10, err_msg=name)


def test_wanda_finds_the_weight_that_costs_the_output_least(rng):
    """Deleting weight i alone changes its output by exactly theta_i x_i: squared and summed, the score squared."""
    network, x = (
        sn.chain({"fc": sn.Linear(5, 3, seed=4)}).astype(np.float64),
        rng.standard_normal((20, 5)) * range(1, 6),
    )
    scores = sn.score(network, sn.scores.wanda, (x, np.zeros(20, int)))["fc"]
    weight, before = network["fc"].weight, network(x)
    for index in np.ndindex(3, 5):
        kept, weight.value[index] = weight.value[index], 0
        assert scores[index] ** 2 == pytest.approx(((network(x) - before) ** 2).sum(), rel=1e-10)
        weight.value[index] = kept


def test_wanda_does_not_need_labels_to_mean_anything(rng):
    """The loss is never called: the labels may be of any kind."""

    def forbidden(output, target):
        raise AssertionError

    network = random_cnn(5, batch_norm=False)
    x = rng.standard_normal((4, *IMAGE)).astype(np.float32)
    sn.score(network, sn.scores.wanda, (x, np.zeros(4)), loss=forbidden)


def test_a_layer_of_unknown_kind_has_no_norms():
    class Doubled(sn.Linear):
        pass

    class Own(Weighted):
        def __init__(self):
            linear = sn.Linear(3, 3)
            self.weight, self.bias, self.inner = linear.weight, linear.bias, linear

        def forward(self, x, training=False):
            return self.inner.forward(x)

        def set_gradients(self, dy):
            self.inner.set_gradients(dy)

        def input_gradient(self, dy):
            return self.inner.input_gradient(dy)

        def parameters(self):
            return {"weight": self.weight, "bias": self.bias}

    network = sn.chain({"known": Doubled(3, 3), "own": Own(), "out": sn.Linear(3, 2)})
    data = np.ones((2, 3), np.float32), np.zeros(2, int)
    with pytest.warns(UserWarning, match="'own': not scored"):
        assert list(sn.score(network, sn.scores.wanda, data)) == ["known", "out"]


def test_wanda_by_output_takes_as_many_of_each_output(rng):
    """The example of its docstring, through `score` and the layerwise rule."""

    def by_output(weight, input_norms):
        rows = sn.scores.wanda(weight, input_norms).reshape(len(weight), -1)
        return rows.argsort(axis=1, kind="stable").argsort(axis=1).reshape(weight.shape)

    network, (x, y) = random_cnn(5, batch_norm=False), data_of(rng)
    data = x.astype(np.float32), y
    plain, ranked = (sn.score(network, criterion, data) for criterion in (sn.scores.wanda, by_output))
    masks = sn.strategies.layerwise(ranked, 0.5)
    for name, mask in masks.items():
        gone = (~mask).reshape(len(mask), -1).sum(axis=1)
        assert gone.max() - gone.min() <= 1
        for o in range(len(mask)):
            values = plain[name][o].reshape(-1), mask[o].reshape(-1)
            assert values[0][~values[1]].max(initial=0) <= values[0][values[1]].min(initial=np.inf)


@pytest.mark.parametrize("name", ["apoz", "mean_activation", "wanda", "obs", "taylor_feature_maps", "taylor_gates"])
def test_inputs_that_are_no_numbers_are_refused(rng, name):
    network = sn.chain({"fc1": sn.Linear(4, 3, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(3, 2, seed=2)})
    x, y = rng.standard_normal((5, 4)).astype(np.float32), rng.integers(0, 2, 5)
    x[2] = np.nan
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="NaN or infinity"):
        sn.score(network, sn.scores.CRITERIA[name], (x, y))
