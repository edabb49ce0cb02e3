"""H V of the loss: central differences of the gradient, second differences of the loss, symmetry, by hand."""

import helpers
import numpy as np
import pytest
from random_graphs import random_graph

import sparsenet as sn
from sparsenet.nn import losses
from sparsenet.nn.hessian_product import hessian_product
from sparsenet.nn.layer import Layer
from sparsenet.verify.definitions import criteria_gradients as definitions

IMAGE = (2, 7, 6)


def gradients_of(network, x, y, loss=sn.softmax_cross_entropy):
    """A function that returns the gradients of the weights as they are now."""

    def now():
        network.backward(loss(network(x), y)[1], to_input=False)
        return [weight.grad for weight in network.weights().values()]

    return now


def draw(network, rng):
    return {name: rng.standard_normal(weight.shape) for name, weight in network.weights().items()}


def check(network, x, y, rng, loss=sn.softmax_cross_entropy):
    """Against differences of the gradient along the weights; weight-normalised ones are set through w, not (g, v)."""
    direction = draw(network, rng)
    found = hessian_product(network, x, y, loss, direction)
    before = {name: weight.value.copy() for name, weight in network.weights().items()}
    sides = []
    for sign in (1, -1):
        for name, layer in network.weighted().items():
            layer.set_weight(before[name] + sign * 1e-6 * direction[name])
        sides.append([gradient.copy() for gradient in gradients_of(network, x, y, loss)()])
    for name, layer in network.weighted().items():
        layer.set_weight(before[name])
    for (name, product), above, below in zip(found.items(), *sides, strict=True):
        expected = (above - below) / 2e-6
        np.testing.assert_allclose(product, expected, rtol=2e-5, atol=2e-7 * np.abs(expected).max(), err_msg=name)


BODIES = {
    "linear": [sn.Flatten(), sn.Linear(84, 5, seed=3)],
    "conv": [sn.Conv2d(2, 3, 3, 2, 1, seed=3)],
    "dilated": [sn.Conv2d(2, 3, 2, 1, 1, 2, seed=3)],
    "groups": [sn.Conv2d(2, 4, 3, padding=1, groups=2, seed=3)],
    "depthwise": [sn.Conv2d(2, 2, 3, groups=2, seed=3)],
    "weight norm": [sn.WeightNorm(sn.Conv2d(2, 3, 3, seed=3))],
    "relu": [sn.Conv2d(2, 3, 3, seed=3), sn.ReLU()],
    "batch norm": [sn.Conv2d(2, 3, 3, seed=3), sn.BatchNorm(3), sn.ReLU()],
    "max pool": [sn.Conv2d(2, 3, 3, seed=3), sn.MaxPool2d(2)],
    "max pool that overlaps": [sn.Conv2d(2, 3, 3, seed=3), sn.MaxPool2d((3, 2), (2, 1), (1, 1))],
    "average pool": [sn.Conv2d(2, 3, 3, seed=3), sn.AvgPool2d(2)],
    "average pool that overlaps": [sn.Conv2d(2, 3, 3, seed=3), sn.AvgPool2d(3, 1, 1)],
    "pad shortcut": [sn.Conv2d(2, 3, 3, seed=3), sn.PadShortcut(3, 5, 2)],
    "dropout": [sn.Conv2d(2, 3, 3, seed=3), sn.Dropout(0.5)],
}


def network_of(layers):
    """The layers between a convolution and a hidden ReLU layer, so that something moves before and behind them."""
    chained = {"first": sn.Conv2d(2, 2, 3, padding=1, seed=1), "relu": sn.ReLU()}
    chained |= {f"body{number}": layer for number, layer in enumerate(layers)}
    shape = IMAGE
    for layer in layers:
        shape = layer.output_shape(shape)
    if len(shape) == 3:
        chained["pool"] = sn.GlobalAvgPool2d()
    chained |= {"hidden": sn.Linear(shape[0], 4, seed=5), "relu2": sn.ReLU(), "out": sn.Linear(4, 3, seed=6)}
    network = sn.chain(chained).astype(np.float64)
    rng = np.random.default_rng(2)
    for parameter in network.parameters().values():
        if parameter.value.ndim == 1:
            parameter.value += rng.uniform(0.1, 0.4, parameter.shape)
    for name, buffer in network.buffers().items():
        buffer += rng.uniform(0.1, 0.9, buffer.shape) if "var" in name else 0.2
    return network


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("loss", [sn.softmax_cross_entropy, sn.mean_squared_error])
def test_every_kind_of_layer(rng, kind, loss):
    network = network_of(BODIES[kind])
    x = rng.standard_normal((5, *IMAGE))
    y = rng.integers(0, 3, 5) if loss is sn.softmax_cross_entropy else rng.standard_normal((5, 3))
    check(network, x, y, rng, loss)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_with_branches(rng, seed):
    network = random_graph(seed, 8)
    check(network, rng.standard_normal((4, 3, 9, 8)), rng.integers(0, 3, 4), rng)


@pytest.mark.parametrize("seed", range(6))
def test_other_random_graphs(rng, seed):
    """Additions and concatenations of one output twice among them."""
    network = helpers.random_graph(seed, classes=4).astype(np.float64)
    check(network, rng.standard_normal((4, 3, 9, 8)), rng.integers(0, 4, 4), rng)


@pytest.mark.parametrize("seed", range(6))
def test_the_hessian_is_symmetric_and_the_product_linear(rng, seed):
    network = random_graph(seed, 8)
    batch = rng.standard_normal((4, 3, 9, 8)), rng.integers(0, 3, 4)
    u, v = draw(network, rng), draw(network, rng)

    def along(direction):
        return hessian_product(network, *batch, sn.softmax_cross_entropy, direction)

    def dot(a, b):
        return sum(float((a[name] * b[name]).sum()) for name in a)

    of_u, of_v = along(u), along(v)
    assert dot(u, of_v) == pytest.approx(dot(v, of_u), rel=1e-9)
    mixed = along({name: 2 * u[name] - 3 * v[name] for name in u})
    for name, product in mixed.items():
        np.testing.assert_allclose(product, 2 * of_u[name] - 3 * of_v[name], rtol=1e-9, atol=1e-12)


def test_the_whole_hessian_by_second_differences_of_the_loss(rng):
    """Column by column, on a network small enough; one linear piece holds all the steps."""
    network = sn.chain({"a": sn.Linear(3, 2, seed=1), "relu": sn.ReLU(), "b": sn.Linear(2, 2, seed=2)})
    network = network.astype(np.float64)
    network["a"].bias.value[:] = 3.0, -9.0  # the second neuron is silent, the first one never
    x, y = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)
    weights = [weight.value for weight in network.weights().values()]
    expected = definitions.hessian(lambda: sn.softmax_cross_entropy(network(x), y)[0], weights)
    for column in range(10):
        flat = np.eye(10)[column]
        direction = {"a": flat[:6].reshape(2, 3), "b": flat[6:].reshape(2, 2)}
        found = hessian_product(network, x, y, sn.softmax_cross_entropy, direction)
        np.testing.assert_allclose(
            np.concatenate([found["a"].ravel(), found["b"].ravel()]), expected[column], rtol=1e-5, atol=1e-6
        )
    assert np.abs(expected[:3, 6:]).max() > 0.01  # layers have a block in common


def test_the_definition_by_gradients_agrees_and_puts_the_weights_back(rng):
    network = network_of(BODIES["conv"])
    x, y = rng.standard_normal((5, *IMAGE)), rng.integers(0, 3, 5)
    direction = draw(network, rng)
    weights = [weight.value for weight in network.weights().values()]
    before = [weight.copy() for weight in weights]
    expected = definitions.hessian_product(gradients_of(network, x, y), weights, list(direction.values()))
    found = hessian_product(network, x, y, sn.softmax_cross_entropy, direction)
    for product, difference, weight, start in zip(found.values(), expected, weights, before, strict=True):
        np.testing.assert_allclose(product, difference, rtol=1e-5, atol=1e-8)
        assert np.array_equal(weight, start)


def test_two_linear_layers_by_hand():
    """L = (b a x - t)^2 with x = 1, a = 2, b = 3, t = 5: y = 6, dL = 2 y' + ..., worked out on paper.

    dL/da = 2 b (ab - t), d2L/da2 = 2 b^2 = 18, d2L/dadb = 2 (ab - t) + 2 ab = 14, d2L/db2 = 2 a^2 = 8.
    """
    network = sn.chain({"a": sn.Linear(1, 1), "b": sn.Linear(1, 1)}).astype(np.float64)
    network["a"].set_weight(np.array([[2.0]]))
    network["b"].set_weight(np.array([[3.0]]))
    batch = np.array([[1.0]]), np.array([[5.0]])
    for direction, expected in (((1, 0), (18, 14)), ((0, 1), (14, 8)), ((1, -1), (4, 6))):
        along = {"a": np.array([[float(direction[0])]]), "b": np.array([[float(direction[1])]])}
        found = hessian_product(network, *batch, sn.mean_squared_error, along)
        assert (found["a"].item(), found["b"].item()) == expected


def test_layers_that_are_not_named_do_not_move(rng):
    network = network_of(BODIES["conv"])
    batch = rng.standard_normal((5, *IMAGE)), rng.integers(0, 3, 5)
    only = {"out": rng.standard_normal((3, 4))}
    full = only | {n: np.zeros(w.shape) for n, w in network.weights().items() if n not in only}
    short, long = (hessian_product(network, *batch, sn.softmax_cross_entropy, each) for each in (only, full))
    assert list(short) == list(network.weights())
    assert all(np.array_equal(short[name], long[name]) for name in short)


def test_float32_is_near_and_nothing_but_gradients_changes(rng):
    wide = random_graph(3, 8)
    narrow = wide.astype(np.float32)
    x, y = rng.standard_normal((4, 3, 9, 8)), rng.integers(0, 3, 4)
    direction = draw(wide, rng)
    expected = hessian_product(wide, x, y, sn.softmax_cross_entropy, direction)
    before = narrow.copy()
    found = hessian_product(narrow, x.astype(np.float32), y, sn.softmax_cross_entropy, direction)
    for name, product in found.items():
        assert product.dtype == np.float32
        np.testing.assert_allclose(product, expected[name], rtol=1e-3, atol=1e-4 * np.abs(expected[name]).max())
    for name, parameter in narrow.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)
    for name, buffer in narrow.buffers().items():
        assert np.array_equal(buffer, before.buffers()[name])


def test_bits_do_not_depend_on_threads(rng):
    network = random_graph(5, 8)
    batch = rng.standard_normal((16, 3, 9, 8)), rng.integers(0, 3, 16)
    direction = draw(network, rng)
    found = []
    for count in (1, 2):
        with sn.threads(count):
            found.append(hessian_product(network, *batch, sn.softmax_cross_entropy, direction))
    assert all(np.array_equal(found[0][name], found[1][name]) for name in direction)


@pytest.mark.parametrize("loss", [sn.softmax_cross_entropy, sn.mean_squared_error])
def test_second_derivatives_of_the_losses(rng, loss):
    """Against differences of their gradients, and the cross-entropy's kernel: equal logits do not change it."""
    output, tangent = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    y = rng.integers(0, 3, 4) if loss is sn.softmax_cross_entropy else rng.standard_normal((4, 3))
    sides = [loss(output + sign * 1e-6 * tangent, y)[1] for sign in (1, -1)]
    np.testing.assert_allclose(loss.hessian_product(output, y, tangent), (sides[0] - sides[1]) / 2e-6, atol=1e-9)
    if loss is sn.softmax_cross_entropy:
        np.testing.assert_allclose(loss.hessian_product(output, y, np.ones((4, 3))), 0, atol=1e-16)


def test_second_derivative_of_the_cross_entropy_by_hand():
    """p = (1/2, 1/2): H = 1/4 (1, -1; -1, 1), for one of two samples half of it."""
    product = losses.softmax_cross_entropy.hessian_product
    assert product(np.zeros((1, 2)), np.array([0]), np.array([[1.0, 0.0]])).tolist() == [[0.25, -0.25]]
    assert product(np.zeros((2, 2)), np.array([0, 1]), np.eye(2)).tolist() == [[0.125, -0.125], [-0.125, 0.125]]
    huge = product(np.array([[1e4, 0.0]]), np.array([0]), np.array([[1.0, 0.0]]))
    assert huge.tolist() == [[0.0, 0.0]]


def test_a_loss_of_ones_own(rng):
    def quartic(output, y):
        return float(((output - y) ** 4).sum()), 4 * (output - y) ** 3

    network = network_of(BODIES["relu"])
    batch = rng.standard_normal((5, *IMAGE)), rng.standard_normal((5, 3))
    direction = draw(network, rng)
    with pytest.raises(TypeError, match="loss 'quartic' says nothing of its second derivative: set quartic"):
        hessian_product(network, *batch, quartic, direction)
    quartic.hessian_product = lambda output, y, tangent: 12 * (output - y) ** 2 * tangent
    check(network, *batch, rng, quartic)


@pytest.mark.parametrize(
    ("direction", "message"),
    [
        ({"fc": np.zeros((3, 4))}, "direction names 'fc'; the layers are 'first', 'hidden', 'out'"),
        ({"out": np.zeros((4, 3))}, r"direction\['out'\] must have the shape \(3, 4\), not \(4, 3\)"),
        ({"out": np.zeros((3, 4), int)}, r"direction\['out'\] must be float32 or float64, not int64"),
        ({"out": [[0.0] * 4] * 3}, r"direction\['out'\] must be a NumPy array, not list"),
    ],
)
def test_a_wrong_direction_is_named(rng, direction, message):
    network = network_of([])
    with pytest.raises((TypeError, ValueError), match=message):
        hessian_product(
            network, rng.standard_normal((2, *IMAGE)), np.array([0, 1]), sn.softmax_cross_entropy, direction
        )


def test_an_unknown_layer_is_named():
    class Cube(Layer):
        def forward(self, x, training=False):
            self.saved = x
            return x**3

        def input_gradient(self, dy):
            return 3 * self.saved**2 * dy

    class Leaky(sn.ReLU):
        """What a class of sparsenet says of itself need not hold for one derived from it."""

    for layer in (Cube(), Leaky()):
        network = sn.chain({"fc": sn.Linear(2, 2), "own": layer})
        told = f"layer 'own': the second derivative of a {type(layer).__name__} is not known"
        with pytest.raises(TypeError, match=told):
            hessian_product(network, np.ones((1, 2), np.float32), np.array([0]), sn.softmax_cross_entropy, {})
