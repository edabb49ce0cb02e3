"""The container: shapes, checks, a whole network's gradients, branches of the graph, copies; the models."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn

import sparsenet as sn
from sparsenet.nn.counting import count_layers, count_total
from sparsenet.verify.definitions.differences import central_difference


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_gradients_of_a_whole_network(rng, batch_norm, weight_norm):
    network = random_cnn(5, batch_norm=batch_norm, weight_norm=weight_norm).astype(np.float64)
    x, labels = rng.standard_normal((4, *IMAGE)), np.array([0, 2, 1, 1])

    def loss():
        return sn.softmax_cross_entropy(network.forward(x), labels)[0]

    dx = network.backward(sn.softmax_cross_entropy(network.forward(x), labels)[1])
    pick = x[1:2, :, 3:5, 2:6]
    expected = central_difference(loss, pick)
    np.testing.assert_allclose(dx[1:2, :, 3:5, 2:6], expected, rtol=1e-5, atol=1e-9)
    for name, parameter in network.parameters().items():
        piece = parameter.value.reshape(-1)[:7]
        gradient = parameter.grad.reshape(-1)[:7].copy()
        np.testing.assert_allclose(gradient, central_difference(loss, piece), rtol=1e-5, atol=1e-9, err_msg=name)


def test_gradients_add_up_where_two_layers_read_one_output(rng):
    class Add(sn.ReLU):
        def forward(self, a, b, training=False):
            return a + b

        def input_gradient(self, dy):
            return dy, 2 * dy  # as if the second branch were doubled: both paths must be seen

        def output_shape(self, a, b):
            assert a == b
            return a

    first, second = sn.Linear(3, 3, seed=1), sn.Linear(3, 3, seed=2)
    network = sn.Network(
        [
            sn.Node("first", first, ("input",)),
            sn.Node("second", second, ("first",)),
            sn.Node("add", Add(), ("first", "second")),
        ]
    )
    x, dy = rng.standard_normal((2, 3)).astype(np.float32), rng.standard_normal((2, 3)).astype(np.float32)
    y = network.forward(x)
    h = x @ first.weight.value.T
    np.testing.assert_allclose(y, h + h @ second.weight.value.T, rtol=1e-5)
    dx = network.backward(dy)
    dh = dy + 2 * dy @ second.weight.value
    np.testing.assert_allclose(dx, dh @ first.weight.value, rtol=1e-5)
    assert [node.name for node in network.consumers("first")] == ["second", "add"]


def test_backward_without_the_input_sets_the_same_gradients(rng):
    network = random_cnn(3, batch_norm=True)
    x = rng.standard_normal((4, *IMAGE)).astype(np.float32)
    dy = rng.standard_normal((4, 3)).astype(np.float32)
    network.forward(x, training=True)
    network.backward(dy)
    full = {name: parameter.grad.copy() for name, parameter in network.parameters().items()}
    assert network.backward(dy, to_input=False) is None
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.grad, full[name])


def test_input_is_checked_before_any_kernel(rng):
    network = sn.models.simple_cnn()
    good = rng.random((2, 1, 28, 28), np.float32)
    cases = [
        (good.astype(np.float64), TypeError, "x is float64 and the network float32"),
        ((good * 255).astype(np.uint8), TypeError, "x must be float32 or float64"),
        (good.tolist(), TypeError, "x must be a NumPy array"),
        (good[0], ValueError, "conv1"),
        (good[:, :, :20], ValueError, "fc1"),
        (np.concatenate([good, good], 1), ValueError, "1 channels"),
    ]
    for x, error, message in cases:
        with pytest.raises(error, match=message):
            network(x)


def test_names_are_checked():
    with pytest.raises(ValueError, match="at least one layer"):
        sn.Network([])
    with pytest.raises(ValueError, match="two layers are named 'a'"):
        sn.Network([sn.Node("a", sn.ReLU(), ("input",)), sn.Node("a", sn.ReLU(), ("a",))])
    with pytest.raises(ValueError, match="'b'"):
        sn.Network([sn.Node("a", sn.ReLU(), ("b",))])
    network = random_cnn(0, batch_norm=False)
    with pytest.raises(ValueError, match="masks names 'conv9'"):
        network.apply_masks({"conv9": np.ones((1, 1), bool)})
    with pytest.raises(ValueError, match="mask of 'fc2' must be bool"):
        network.apply_masks({"fc2": np.ones((3, 3))})


def test_copy_and_restore(rng):
    network = random_cnn(1, batch_norm=True)
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    kept, before = network.copy(), network(x)
    sn.fit(network, (x, np.array([0, 1, 2])), epochs=2, optimizer=sn.Adam())
    assert not np.array_equal(network(x), before)
    assert np.array_equal(kept(x), before)
    network.restore(kept)
    assert np.array_equal(network(x), before)
    assert not any(parameter.state for parameter in network.parameters().values())


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(sn.models.simple_cnn, 206_922), (sn.models.lenet_300_100, 266_610), (sn.models.lenet_5, 431_080)],
)
def test_models_have_their_published_size(rng, model, parameters):
    network = model((1, 28, 28), 10, seed=3)
    assert sum(p.value.size for p in network.parameters().values()) == parameters
    assert network(rng.random((2, 1, 28, 28), np.float32)).shape == (2, 10)
    again, other = model(seed=3), model(seed=4)
    weights = network.weights()
    assert all(np.array_equal(w.value, weights[n].value) for n, w in again.weights().items())
    assert not any(np.array_equal(w.value, weights[n].value) for n, w in other.weights().items())


def test_parameters_and_multiply_adds_of_convolutions_by_hand():
    """12 x 10 images; weights, biases, and weights times output positions."""
    network = sn.chain(
        {
            "whole": sn.Conv2d(2, 6, 3, padding=1),
            "groups": sn.Conv2d(6, 8, (3, 1), stride=2, groups=2),
            "depthwise": sn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8),
        }
    )
    counts = count_layers(network, (2, 12, 10))
    assert {name: (c.parameters, c.macs) for name, c in counts.items()} == {
        "whole": (6 * 18 + 6, 6 * 18 * 120),
        "groups": (8 * 9 + 8, 8 * 9 * 25),
        "depthwise": (8 * 9 + 8, 8 * 9 * 25),
    }


def test_models_take_other_images_and_options(rng):
    network = sn.models.simple_cnn((3, 32, 20), 7, batch_norm=True, weight_norm=True)
    assert network(rng.random((2, 3, 32, 20), np.float32)).shape == (2, 7)
    assert isinstance(network["conv1"], sn.WeightNorm)
    with pytest.raises(ValueError, match="too small"):
        sn.models.lenet_5((1, 8, 8))
    with pytest.raises(ValueError, match="input_shape"):
        sn.models.simple_cnn((28, 28))
    with pytest.raises(ValueError, match="classes"):
        sn.models.lenet_300_100(classes=0)


def test_what_a_graph_must_not_be():
    relu = sn.ReLU()
    with pytest.raises(ValueError, match="one place only"):
        sn.chain({"a": relu, "b": relu})
    with pytest.raises(ValueError, match="only the last layer may go unread, not 'b', 'c'"):
        sn.Network([sn.Node(name, sn.ReLU(), (source,)) for name, source in (("a", "input"), ("b", "a"), ("c", "a"))])
    for name in ("", "fc.1", "a/b"):
        with pytest.raises(ValueError, match="a layer's name"):
            sn.chain({name: sn.ReLU()})


def test_backward_is_checked(rng):
    network = random_cnn(1, batch_norm=False)
    with pytest.raises(ValueError, match="'a' must read something"):
        sn.Network([sn.Node("a", sn.ReLU(), ())])
    other = network.copy()
    other(rng.standard_normal((4, *IMAGE)).astype(np.float32))
    other.restore(network)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        other.backward(np.ones((4, 3), np.float32))
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        network.backward(np.ones((1, 3), np.float32))
    network(rng.standard_normal((4, *IMAGE)).astype(np.float32))
    with pytest.raises(ValueError, match="dy must have the output's shape"):
        network.backward(np.ones((5, 3), np.float32))
    with pytest.raises(TypeError, match="dy must be float32"):
        network.backward(np.ones((4, 3)))
    with pytest.raises(TypeError, match="dy must be a plain array, not a NumPy masked array"):
        network.backward(np.ma.ones((4, 3), np.float32))
    with pytest.raises(TypeError, match="dy must be a NumPy array, not list"):
        network.backward([[1.0] * 3] * 4)


def test_masks_are_applied_together_or_not_at_all():
    network = random_cnn(1, batch_norm=False)
    with pytest.raises(ValueError, match="mask of 'fc2'"):
        network.apply_masks({"fc1": np.zeros_like(network.masks()["fc1"]), "fc2": np.ones(3, bool)})
    assert network.sparsity() == 0
    assert sn.chain({"relu": sn.ReLU()}).sparsity() == 0


def test_copies_share_nothing_and_forget_the_activations(rng):
    network = random_cnn(1, batch_norm=True)
    data = rng.standard_normal((8, *IMAGE)).astype(np.float32), rng.integers(0, 3, 8)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5)
    sn.fit(network, data, epochs=1, optimizer=sn.Adam())
    assert all(layer.saved is None for layer in network.copy().layers().values())
    for twin in (network.copy(), network.astype(np.float64)):
        for name, parameter in network.parameters().items():
            other = twin.parameters()[name]
            arrays = [(parameter.value, other.value), (parameter.mask, other.mask)]
            arrays += [(array, other.state[key]) for key, array in parameter.state.items()]
            assert not any(a is not None and np.shares_memory(a, b) for a, b in arrays)
    normalised = random_cnn(1, batch_norm=False, weight_norm=True)
    for net in (network, normalised):
        sn.predict(net, data[0])
        assert all(layer.saved is None for layer in net.layers().values())
    assert normalised["conv1"].layer.saved is None
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        network.astype(np.int32)


def test_the_bits_do_not_depend_on_the_threads_of_blas(rng):
    network, x = sn.models.lenet_300_100(), rng.random((256, 1, 28, 28), np.float32)
    expected = network(x)
    for count in (1, 2):
        with sn.threads(count):
            assert np.array_equal(network(x), expected)
    assert np.array_equal(sn.predict(network, x), expected)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (784, TypeError, r"input_shape must be a tuple such as \(1, 28, 28\) or \(784,\), not 784"),
        (None, TypeError, "input_shape must be a tuple .* not None"),
        ("784", TypeError, "input_shape must be a tuple .* not '784'"),
        ((1, 28.0, 28), TypeError, r"input_shape must be an integer, not 28\.0"),
        ((1, 0, 28), ValueError, "input_shape must be at least 1, not 0"),
        ((), ValueError, "input_shape must name at least one dimension"),
    ],
)
def test_a_shape_is_a_tuple_of_positive_integers(shape, error, message):
    network = sn.models.lenet_300_100()
    models = sn.models.MODELS.values()
    for use in (network.shapes, lambda shape: sn.compile(network, shape), *models):
        with pytest.raises(error, match=message):
            use(shape)
    assert network.shapes([1, np.int64(28), 28])["flatten"] == (784,)


def test_kept_parameters_and_multiply_adds_by_hand():
    """6 of 2 x 2 x 1 x 2 weights, at 3 x 2 positions; the linear layer has 1 of 3 x 2, and no mask on its bias."""
    network = sn.chain({"conv": sn.Conv2d(2, 2, (1, 2)), "pool": sn.GlobalAvgPool2d(), "fc": sn.Linear(2, 3)})
    conv, fc = np.ones((2, 2, 1, 2), bool), np.zeros((3, 2), bool)
    conv[0, 0], fc[1, 1] = False, True
    network["conv"].set_mask(conv)
    network["fc"].set_mask(fc)
    counts = count_layers(network, (2, 3, 3))
    assert counts["conv"] == (8 + 2, 6 + 2, 8 * 6, 6 * 6)
    assert counts["fc"] == (6 + 3, 1 + 3, 6, 1)
    assert counts["pool"] == (0, 0, 0, 0)
    assert count_total(network, (2, 3, 3)) == (19, 12, 54, 37)
