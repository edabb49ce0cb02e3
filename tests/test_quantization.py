"""Shared weights: codebooks by hand and by a plain loop, training that keeps them shared, files that keep every bit."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.files.checkpoint import bytes_by_layer
from sparsenet.nn.optimizers import CLUSTER, SharedWeights
from sparsenet.nn.parameter import Parameter
from sparsenet.pruning.codebook import kmeans_codebook
from sparsenet.verify.definitions import quantization as definitions
from sparsenet.verify.definitions.differences import central_difference

OPTIMIZERS = [
    sn.SGD(lr=1e-3),
    sn.SGD(lr=1e-3, momentum=0.9, nesterov=True, weight_decay=0.1),
    sn.Adam(lr=1e-3, weight_decay=0.1),
    sn.optimizers.Movement(sn.SGD(lr=1e-3, momentum=0.9)),
]


def trained(network):
    """What is trained in the place of each weight: v where a weight is normalised."""
    return {name: getattr(weight, "direction", weight) for name, weight in network.weights().items()}


def batch(rng, dtype=np.float32):
    return rng.standard_normal((8, *IMAGE)).astype(dtype), rng.integers(0, 3, 8)


def pruned_cnn(seed=4, **options):
    network = random_cnn(seed, batch_norm=True, **options)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5)
    return network


def test_a_codebook_by_hand():
    """Start 0, 4, 8, 12. Cut at 2, 6, 10: {0, 2} {3} {} {11, 12}; then 1, 3, 8, 11.5, cut at 2, 5.5, 9.75: the same."""
    values = np.array([12.0, 0.0, 3.0, 2.0, 11.0], np.float32)
    codebook, indices = kmeans_codebook(values, 2)
    assert (codebook.tolist(), codebook.dtype) == ([1.0, 3.0, 11.5], np.float32)
    assert (indices.tolist(), indices.dtype) == ([2, 0, 1, 0, 2], np.uint8)


@given(count=st.integers(1, 300), bits=st.integers(1, 8), digits=st.integers(1, 6), seed=st.integers(0, 99))
def test_codebooks_are_those_of_a_plain_loop(count, bits, digits, seed):
    values = np.random.default_rng(seed).standard_normal(count).round(digits)
    codebook, indices = kmeans_codebook(values, bits)
    expected, which = definitions.kmeans(values.tolist(), bits)
    np.testing.assert_allclose(codebook, expected, rtol=1e-12, atol=1e-12)
    assert indices.tolist() == which


@given(count=st.integers(1, 400), bits=st.integers(1, 8), seed=st.integers(0, 99))
def test_every_value_has_the_nearest_centroid_and_every_centroid_is_a_mean(count, bits, seed):
    values = np.random.default_rng(seed).standard_t(2, count).astype(np.float32)
    codebook, indices = kmeans_codebook(values, bits)
    assert len(codebook) <= 2**bits
    assert (np.diff(codebook) > 0).all()
    distances = np.abs(values[:, None].astype(np.float64) - codebook)
    taken = np.take_along_axis(distances, indices[:, None].astype(int), 1)[:, 0]
    np.testing.assert_allclose(taken, distances.min(axis=1), atol=1e-6 * np.abs(values).max())
    for k, centroid in enumerate(codebook):
        assert centroid == pytest.approx(values[indices == k].astype(np.float64).mean(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_values_are_their_own_codebook_and_again_the_same(rng, dtype):
    some = rng.standard_normal(16).astype(dtype)
    values = some[rng.integers(0, 16, 500)]
    codebook, indices = kmeans_codebook(values, 4)
    assert codebook.tolist() == sorted(some.tolist())
    assert np.array_equal(codebook[indices], values)
    assert kmeans_codebook(np.zeros(0, dtype), 4)[0].shape == (0,)


@pytest.mark.parametrize(
    ("values", "bits", "error", "message"),
    [
        ([1.0], 2, TypeError, "values must be a NumPy array"),
        (np.zeros((2, 2)), 2, ValueError, "values must have 1 dimensions"),
        (np.array([1.0, np.nan]), 2, ValueError, "values must be finite numbers"),
        (np.ones(3), 0, ValueError, "bits must be at least 1, not 0"),
        (np.ones(3), 9, ValueError, "bits must be at most 8, not 9"),
        (np.ones(3), 2.5, TypeError, "bits must be an integer, not 2.5"),
    ],
)
def test_what_has_no_codebook_is_refused(values, bits, error, message):
    with pytest.raises(error, match=message):
        kmeans_codebook(values, bits)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_weights_are_the_codebooks_and_all_else_stays(dtype, weight_norm):
    network = pruned_cnn(weight_norm=weight_norm).astype(dtype)
    before = network.copy()
    codebooks = sn.quantize(network, bits=3)
    assert list(codebooks) == list(network.weights())
    for name, weight in network.weights().items():
        mask = before.masks()[name]
        codebook, indices = kmeans_codebook(before.weights()[name].value[mask], 3)
        assert np.array_equal(codebooks[name], codebook)
        assert np.array_equal(weight.value[mask], codebook[indices])
        assert not weight.value[~mask].any()
        assert np.array_equal(weight.mask, mask)
        assert np.array_equal(network[name].bias.value, before[name].bias.value)
    for name, parameter in network.parameters().items():
        assert (CLUSTER in parameter.state) == name.endswith((".weight", ".direction"))
        if "norm" in name:
            assert np.array_equal(parameter.value, before.parameters()[name].value)


def test_layers_that_are_not_named_stay_as_they_are():
    network = pruned_cnn()
    before = network.copy()
    codebooks = sn.quantize(network, {"conv2": 2, "fc1": 4})
    assert list(codebooks) == ["conv2", "fc1"]
    assert len(codebooks["conv2"]) == 4 < len(codebooks["fc1"]) <= 16
    for name in ("conv1", "fc2"):
        assert np.array_equal(network[name].weight.value, before[name].weight.value)
        assert network[name].weight.state == {}


@pytest.mark.parametrize(
    ("bits", "error", "message"),
    [
        (9, ValueError, "bits must be at most 8, not 9"),
        ({"conv1": 2, "fc1": 0}, ValueError, "bits must be at least 1, not 0"),
        ({"conv1": 2, "conv9": 2}, ValueError, "bits names 'conv9'; the layers are 'conv1'"),
        ("5", TypeError, "bits must be an integer, not '5'"),
    ],
)
def test_a_wrong_number_of_bits_is_refused_before_anything_is_changed(bits, error, message):
    network = pruned_cnn()
    before = network.copy()
    with pytest.raises(error, match=message):
        sn.quantize(network, bits)
    for name, weight in network.weights().items():
        assert np.array_equal(weight.value, before[name].weight.value)
        assert weight.state == {}


def test_a_layer_that_keeps_nothing_has_an_empty_codebook():
    network = sn.chain({"fc1": sn.Linear(3, 2), "fc2": sn.Linear(2, 2)})
    network["fc1"].set_mask(np.zeros((2, 3), bool))
    assert sn.quantize(network, 2)["fc1"].shape == (0,)
    data = np.ones((4, 3), np.float32), np.array([0, 1, 1, 0])
    sn.fit(network, data, epochs=1, optimizer=SharedWeights(sn.SGD(lr=0.1)))
    assert not network["fc1"].weight.value.any()


@pytest.mark.parametrize("weight_norm", [False, True])
def test_the_gradient_of_a_centroid_is_the_slope_of_the_loss(rng, weight_norm):
    """Moving all weights of a cluster together changes the loss by what their summed gradients say."""
    network = pruned_cnn(weight_norm=weight_norm).astype(np.float64)
    sn.quantize(network, 2)
    x, y = batch(rng, np.float64)
    network.backward(sn.softmax_cross_entropy(network(x), y)[1])
    for name, parameter in trained(network).items():
        cluster, mask = parameter.state[CLUSTER].astype(int), parameter.mask
        codebook = np.array([parameter.value[mask & (cluster == k)][0] for k in range(cluster.max() + 1)])

        def loss(parameter=parameter, codebook=codebook, cluster=cluster):
            parameter.value = codebook[cluster]  # the mask zeroes what it prunes
            return sn.softmax_cross_entropy(network(x), y)[0]

        gradient, value = parameter.grad[mask].copy(), parameter.value.copy()
        shared = sn.optimizers.shared_gradient(gradient, cluster[mask])
        np.testing.assert_allclose(shared, central_difference(loss, codebook)[cluster[mask]], atol=1e-7, err_msg=name)
        parameter.value = value


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_shared_weights_remain_shared_bit_for_bit(rng, dtype, weight_norm, optimizer):
    network = pruned_cnn(weight_norm=weight_norm).astype(dtype)
    sn.quantize(network, 3)
    before, masks = network.copy(), network.masks()
    sn.fit(network, batch(rng, dtype), epochs=3, optimizer=SharedWeights(optimizer), batch_size=4)
    for name, parameter in trained(network).items():
        kept, cluster = masks[name], parameter.state[CLUSTER]
        assert np.array_equal(cluster, trained(before)[name].state[CLUSTER])
        for k in np.unique(cluster[kept]):
            members = kept & (cluster == k)
            for array in (parameter.value, *parameter.state.values()):
                assert array.ndim == 0 or len(set(array[members].tolist())) == 1
        assert not np.array_equal(parameter.value, trained(before)[name].value)
        assert not parameter.value[~kept].any()
    assert all(not np.array_equal(network[n].bias.value, before[n].bias.value) for n in ("fc1", "fc2"))


def test_a_shared_step_is_that_of_the_codebook_alone(rng):
    """The same steps taken by a parameter that holds the centroids."""
    codebook, cluster = np.array([-1.0, 0.5, 2.0]), rng.integers(0, 3, (4, 5))
    parameter = Parameter(codebook[cluster], state={CLUSTER: cluster})
    alone = Parameter(codebook)
    optimizer = sn.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2)
    for _ in range(3):
        gradient = rng.standard_normal((4, 5))
        parameter.grad = gradient
        alone.grad = np.array([gradient[cluster == k].sum() for k in range(3)])
        SharedWeights(optimizer).update(parameter, 0.1)
        optimizer.update(alone, 0.1)
    np.testing.assert_allclose(parameter.value, alone.value[cluster], rtol=1e-12)


def test_what_was_not_quantised_takes_the_steps_of_the_optimiser_inside(rng):
    network, data = pruned_cnn(), batch(rng)
    same = network.copy()
    sgd = sn.SGD(lr=0.01, momentum=0.9)
    sn.fit(network, data, epochs=2, optimizer=sgd)
    sn.fit(same, data, epochs=2, optimizer=SharedWeights(sgd))
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, same.parameters()[name].value)
    with pytest.raises(TypeError, match=r"optimizer must be an SGD, an Adam or alike, with lr and update, not 0\.1"):
        SharedWeights(0.1)


def test_weights_that_came_apart_are_refused_until_they_are_quantised_again(rng):
    network, data = pruned_cnn(), batch(rng)
    sn.quantize(network, 3)
    sn.fit(network, data, epochs=1, optimizer=sn.SGD(lr=0.1))
    with pytest.raises(ValueError, match=r"weights of one cluster have different values.*quantise the network again"):
        sn.fit(network, data, epochs=1, optimizer=SharedWeights(sn.SGD(lr=1e-3)))
    sn.quantize(network, 3)
    sn.fit(network, data, epochs=1, optimizer=SharedWeights(sn.SGD(lr=1e-3)))
    network.apply_masks({"fc1": np.ones(network["fc1"].weight.shape, bool)})  # what was pruned comes back as 0
    with pytest.raises(ValueError, match="pruned ones have come back"):
        sn.fit(network, data, epochs=1, optimizer=SharedWeights(sn.SGD(lr=1e-3)))


def test_sharing_goes_on_behind_a_copy_surgery_and_more_pruning(rng):
    network, data = pruned_cnn(), batch(rng)
    sn.quantize(network, 3)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.7)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.3)
    small = sn.remove_pruned_structures(network.copy())
    for each in (network, small):
        sn.fit(each, data, epochs=1, optimizer=SharedWeights(sn.SGD(lr=1e-3, momentum=0.9)))
        for parameter in trained(each).values():
            kept = np.ones(parameter.shape, bool) if parameter.mask is None else parameter.mask
            assert len(np.unique(parameter.value[kept])) <= 8


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("state", [False, True])
def test_a_quantised_network_is_read_back_bit_for_bit(rng, tmp_path, dtype, weight_norm, state):
    network, path = pruned_cnn(weight_norm=weight_norm).astype(dtype), tmp_path / "net.sparsenet"
    sn.quantize(network, 3)
    data, shared = batch(rng, dtype), SharedWeights(sn.SGD(lr=1e-3, momentum=0.9))
    sn.fit(network, data, epochs=2, optimizer=shared)
    sn.save_network(path, network, state=state)
    again = sn.load_network(path)
    for name, parameter in network.parameters().items():
        assert again.parameters()[name].value.tobytes() == parameter.value.tobytes()
    assert np.array_equal(again(data[0]), network(data[0]))
    if state:
        for each in (network, again):
            sn.fit(each, data, epochs=1, optimizer=shared)
        assert np.array_equal(again(data[0]), network(data[0]))


def test_plans_of_the_network_and_of_the_one_read_back_agree(rng, tmp_path):
    network = pruned_cnn()
    sn.quantize(network, 4)
    sn.save_network(tmp_path / "net.sparsenet", network)
    x, _ = batch(rng)
    plans = [sn.compile(each, IMAGE, batch=8) for each in (network, sn.load_network(tmp_path / "net.sparsenet"))]
    first, second = (np.array(plan(x)) for plan in plans)
    np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)  # forms are timed, and may differ
    np.testing.assert_allclose(first, network(x), rtol=1e-4, atol=1e-5)


def test_a_quantised_file_is_small(tmp_path):
    """10 % of 235,200 weights in 16 values: at most 4 bits for the value and about 0.47 for the mask."""
    network = sn.models.lenet_300_100()
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    sn.save_network(tmp_path / "pruned", network)
    sn.quantize(network, 4)
    sn.save_network(tmp_path / "quantised", network)
    pruned, quantised = (bytes_by_layer(tmp_path / name)["fc1"] for name in ("pruned", "quantised"))
    weights = 300 * 784
    assert quantised < weights * (0.1 * 4 + 0.5) / 8 + 64 + 32 + 100
    assert quantised < 0.35 * pruned
