"""Surgery: the compacted network has the masked one's outputs, is smaller, and carries all state along."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.nn.layer import Layer
from sparsenet.nn.network import Network, Node
from sparsenet.pruning.dependency import fixed_layers
from sparsenet.pruning.granularity import Channel, Filter


@given(
    seed=st.integers(0, 500),
    batch_norm=st.booleans(),
    weight_norm=st.booleans(),
    depthwise=st.booleans(),
    sparsity=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_compacted_equals_masked(seed, batch_norm, weight_norm, depthwise, sparsity):
    network = random_cnn(seed, batch_norm=batch_norm, weight_norm=weight_norm, depthwise=depthwise)
    units = [len(w.value) for w in network.weights().values()]
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, sparsity)
    small = sn.remove_pruned_structures(network)
    x = np.random.default_rng(seed).standard_normal((5, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-4, atol=1e-5)
    expected = [n - min(round(sparsity * n), n - 1) for n in units[:-1]] + units[-1:]
    assert [len(w.value) for w in small.weights().values()] == expected
    assert small.sparsity() == 0


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("optimizer", [sn.SGD(lr=0.02, momentum=0.9, weight_decay=0.01), sn.Adam()])
def test_training_goes_on_as_if_nothing_had_been_cut(rng, batch_norm, depthwise, optimizer):
    """Masked and compacted network, trained on with the same data, stay the same: state and statistics are carried."""
    network = random_cnn(11, batch_norm=batch_norm, depthwise=depthwise).astype(np.float64)
    data = rng.standard_normal((24, *IMAGE)), rng.integers(0, 3, 24)
    sn.fit(network, data, epochs=2, optimizer=optimizer, batch_size=8)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    small = sn.remove_pruned_structures(network)
    for net in (network, small):
        sn.fit(net, data, epochs=3, optimizer=optimizer, batch_size=8, seed=4)
    np.testing.assert_allclose(small(data[0]), network(data[0]), rtol=1e-8, atol=1e-9)


def test_shapes_and_values_by_hand():
    """conv (3 filters) -> flatten -> linear on 2 x 2 images: filter 1 goes, with columns 4..7 of the linear layer."""
    network = sn.chain(
        {"conv": sn.Conv2d(1, 3, 1, seed=1), "relu": sn.ReLU(), "flatten": sn.Flatten(), "fc": sn.Linear(12, 2, seed=1)}
    )
    network["conv"].bias.value[:] = [0.1, 0.2, 0.3]
    columns = network["fc"].weight.value.copy()
    mask = np.ones((3, 1, 1, 1), bool)
    mask[1] = False
    network.apply_masks({"conv": mask})
    assert network["conv"].bias.value.tolist() == [np.float32(0.1), 0, np.float32(0.3)]
    assert np.flatnonzero(~network["fc"].weight.mask[0]).tolist() == [4, 5, 6, 7]
    small = sn.remove_pruned_structures(network)
    assert small["conv"].out_channels == 2
    assert small["fc"].in_features == 8
    assert np.array_equal(small["fc"].weight.value, np.delete(columns, [4, 5, 6, 7], axis=1))


def test_a_masked_filter_does_not_emit_the_beta_behind_it(rng):
    network = random_cnn(2, batch_norm=True)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    gone = ~network.masks()["conv1"].reshape(len(network["conv1"].bias.value), -1).any(axis=1)
    x = rng.standard_normal((2, *IMAGE)).astype(np.float32)
    y = network["norm1"].forward(network["conv1"].forward(x))
    assert gone.any()
    assert not y[:, gone].any()
    assert np.abs(y[:, ~gone]).max() > 0


def test_a_unit_that_emits_its_bias_stays(rng):
    """A layer's own `set_mask` empties a row and leaves its bias: the unit still counts, surgery must not touch it."""
    network = random_cnn(7, batch_norm=False)
    mask = network.masks()["fc1"]
    mask[0] = False
    network["fc1"].set_mask(mask)
    small = sn.remove_pruned_structures(network)
    assert len(small["fc1"].bias.value) == len(mask)
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depthwise", [False, True])
def test_units_that_nothing_reads_go_too(rng, depthwise):
    network = random_cnn(9, batch_norm=True, depthwise=depthwise)
    scores = sn.score(network, sn.scores.l1)
    left_out = ["conv1", "fc1", *(["depthwise"] if depthwise else [])]
    network.apply_masks(sn.make_masks(scores, 0.5, granularity=Channel(), scope="layer", exclude=left_out))
    small = sn.remove_pruned_structures(network)
    assert small["conv1"].out_channels < network["conv1"].out_channels
    assert small["fc1"].out_features < network["fc1"].out_features
    x = rng.standard_normal((3, *IMAGE)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-4, atol=1e-5)


def test_the_output_layer_keeps_its_classes_and_every_layer_a_unit():
    network = random_cnn(3, batch_norm=False)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.99)
    small = sn.remove_pruned_structures(network)
    assert [len(w.value) for w in small.weights().values()] == [1, 1, 1, 3]


def separable(*, bias=0.5):
    """conv (3 filters) -> norm -> depthwise -> depthwise -> conv, on images of 2 channels; every bias is `bias`."""
    network = sn.chain(
        {
            "conv": sn.Conv2d(2, 3, 3, padding=1, seed=1),
            "norm": sn.BatchNorm(3),
            "first": sn.Conv2d(3, 3, 3, padding=1, groups=3, seed=2),
            "relu": sn.ReLU(),
            "second": sn.WeightNorm(sn.Conv2d(3, 3, 3, padding=2, dilation=2, groups=3, seed=3)),
            "last": sn.Conv2d(3, 4, 1, seed=4),
        }
    )
    for name, parameter in network.parameters().items():
        if name.endswith("bias"):
            parameter.value[:] = bias
    return network


def without_unit(shape, unit):
    mask = np.ones(shape, bool)
    mask[unit] = False
    return mask


@pytest.mark.parametrize("masked", ["conv", "first", "second"])
def test_the_channel_of_a_depthwise_convolution_goes_with_the_filter_before_it(rng, masked):
    """Wherever the unit's row is masked, in the producer or behind it: all that is its goes."""
    network = separable()
    (group,) = [group for group in sn.dependency_groups(network) if not group.stays]
    assert str(group) == "3 units: conv[0-2], norm[0-2], first[0-2], second[0-2], last[:, 0-2]"
    network.apply_masks({masked: without_unit(network[masked].weight.value.shape, 1)})
    x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    inside = x
    for name in ("conv", "norm", "first", "relu", "second"):
        inside = network[name].forward(inside)
        assert not inside[:, 1].any()
        assert inside[:, [0, 2]].any()
    small = sn.remove_pruned_structures(network)
    assert small.sparsity() == 0
    assert [w.value.shape for w in small.weights().values()] == [(2, 2, 3, 3), (2, 1, 3, 3), (2, 1, 3, 3), (4, 2, 1, 1)]
    assert (small["first"].in_channels, small["first"].out_channels, small["first"].groups) == (2, 2, 2)
    assert np.array_equal(small["first"].weight.value, network["first"].weight.value[[0, 2]])
    assert small.shapes((2, 6, 5))["last"] == (4, 6, 5)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


def test_a_depthwise_channel_that_emits_its_bias_stays(rng):
    """The filter before it emits zeros, but what comes out of the last depthwise convolution is its bias."""
    network = separable()
    mask = without_unit((3, 2, 3, 3), 1)
    network["conv"].set_mask(mask)
    network["conv"].bias.value *= mask.any(axis=(1, 2, 3))
    small = sn.remove_pruned_structures(network)
    assert small["conv"].out_channels == 3
    network["second"].set_mask(without_unit((3, 1, 3, 3), 1))
    assert sn.remove_pruned_structures(network)["second"].layer.out_channels == 3
    network["second"].bias.value[1] = 0
    small = sn.remove_pruned_structures(network)
    assert small["second"].layer.out_channels == 2
    x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


def test_a_depthwise_convolution_may_be_cut_to_one_channel(rng):
    network = separable()
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.99)
    small = sn.remove_pruned_structures(network)
    assert [len(w.value) for w in small.weights().values()] == [1, 1, 1, 4]
    x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)
    assert sn.remove_pruned_structures(small)["first"].groups == 1


def test_other_convolutions_in_groups_and_the_layers_before_them_stay(rng):
    network = sn.chain(
        {
            "entry": sn.Conv2d(2, 2, 3, groups=2, seed=1),
            "conv": sn.Conv2d(2, 4, 3, seed=1),
            "groups": sn.Conv2d(4, 4, 1, groups=2, seed=2),
            "three of each": sn.Conv2d(4, 12, 1, groups=4, seed=3),
            "free": sn.Conv2d(12, 6, 1, seed=4),
            "last": sn.Conv2d(6, 2, 1, seed=5),
        }
    )
    everything = set(network.weights())
    assert set(fixed_layers(network, Filter())) == everything - {"free"}
    assert set(fixed_layers(network, Channel())) == everything - {"last"}
    scores = sn.score(network, sn.scores.l1)
    with pytest.raises(ValueError, match="'groups', whose units have to stay"):
        sn.prune(network, scores, sn.strategies.channelwise, 0.5, overrides={"groups": 0.5})
    with pytest.warns(UserWarning, match="not pruned by Filter") as caught:
        sn.prune(network, scores, sn.strategies.channelwise, 0.5)
    assert str(caught.pop().message) == (
        "not pruned by Filter(): 'entry': it is a convolution in groups; "
        "'conv': layer 'groups' behind it is a convolution in groups; "
        "'groups': it is a convolution in groups; 'three of each': it is a convolution in groups"
    )
    for name in everything - {"free"}:  # nor by masks that are set by hand
        network.apply_masks({name: without_unit(network[name].weight.value.shape, 1)})
    small = sn.remove_pruned_structures(network)
    sizes = {name: len(w.value) for name, w in network.weights().items()}
    assert {name: len(w.value) for name, w in small.weights().items()} == sizes | {"free": 3}
    x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


def test_units_that_a_depthwise_convolution_shares_with_another_reader_stay(rng):
    """A channel may be dead in the depthwise convolution and alive beside it."""

    class Sum(Layer):
        def forward(self, first, second, training=False):
            return first + second

        def output_shape(self, first, second):
            return first

    network = Network(
        [
            Node("conv", sn.Conv2d(2, 3, 3, padding=1, seed=1), ("input",)),
            Node("depthwise", sn.Conv2d(3, 3, 3, padding=1, groups=3, seed=2), ("conv",)),
            Node("a", sn.Conv2d(3, 2, 1, seed=3), ("depthwise",)),
            Node("b", sn.Conv2d(3, 2, 1, seed=4), ("conv",)),
            Node("sum", Sum(), ("a", "b")),
        ]
    )
    network.apply_masks({"depthwise": without_unit((3, 1, 3, 3), 1)})
    x = rng.standard_normal((2, 2, 6, 5)).astype(np.float32)
    before = network(x)
    small = sn.remove_pruned_structures(network)
    assert small["conv"].out_channels == 3
    np.testing.assert_allclose(small(x), before, rtol=1e-5, atol=1e-6)


def test_the_original_is_untouched():
    network = random_cnn(1, batch_norm=True)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    before = {name: p.value.copy() for name, p in network.parameters().items()}
    sn.remove_pruned_structures(network)
    assert all(np.array_equal(p.value, before[name]) for name, p in network.parameters().items())


@pytest.mark.parametrize("base", [Layer, sn.ReLU], ids=["own layer", "subclass of a layer of ours"])
def test_layers_of_unknown_kind_stop_surgery_and_run_through_their_forward(rng, base):
    class Shift(base):
        def forward(self, x, training=False):
            return x + 1

    network = sn.chain({"a": sn.Linear(3, 4, seed=1), "own": Shift(), "b": sn.Linear(4, 2, seed=2)})
    mask = np.ones((4, 3), bool)
    mask[1] = False
    network.apply_masks({"a": mask})
    x = rng.standard_normal((3, 3)).astype(np.float32)
    small = sn.remove_pruned_structures(network)
    assert small["a"].out_features == 4
    for model in (small, sn.compile(network, (3,), form="csr")):
        np.testing.assert_allclose(model(x), network(x), rtol=1e-5, atol=1e-6)


def test_normalised_features_behind_a_flatten_stay(rng):
    network = sn.chain(
        {"conv": sn.Conv2d(1, 3, 3), "flatten": sn.Flatten(), "norm": sn.BatchNorm(12), "fc": sn.Linear(12, 2)}
    )
    with pytest.raises(ValueError, match="'norm' behind it, a BatchNorm, is not known to keep its 3 units apart"):
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    network.apply_masks({"conv": without_unit((3, 1, 3, 3), 1)})
    x = rng.standard_normal((3, 1, 4, 4)).astype(np.float32)
    small = sn.remove_pruned_structures(network)
    assert small["conv"].out_channels == 3
    np.testing.assert_allclose(small(x), network(x), rtol=1e-6)


def test_momentum_of_a_normalised_weight_is_carried(rng):
    network = random_cnn(12, batch_norm=False, weight_norm=True).astype(np.float64)
    data = rng.standard_normal((24, *IMAGE)), rng.integers(0, 3, 24)
    sgd = sn.SGD(lr=0.02, momentum=0.9)
    sn.fit(network, data, epochs=2, optimizer=sgd, batch_size=8)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    small = sn.remove_pruned_structures(network)
    for net in (network, small):
        sn.fit(net, data, epochs=3, optimizer=sgd, batch_size=8, seed=4)
    np.testing.assert_allclose(small(data[0]), network(data[0]), rtol=1e-8, atol=1e-9)


def test_a_silent_unit_with_readers_goes_and_the_normalised_readers_keep_their_weights(rng):
    """The cut columns of v are not zero: its norm changes, the gain follows, with its sign."""
    network = sn.chain({"a": sn.Linear(3, 4, seed=1), "relu": sn.ReLU(), "b": sn.WeightNorm(sn.Linear(4, 2, seed=2))})
    network["b"].gain.value *= -1
    mask = np.ones((4, 3), bool)
    mask[2] = False
    network.apply_masks({"a": mask})
    small = sn.remove_pruned_structures(network)
    assert small["a"].out_features == 3
    np.testing.assert_allclose(small["b"].weight.value, np.delete(network["b"].weight.value, 2, 1), rtol=1e-5)
    assert (small["b"].gain.value < 0).all()
    x = rng.standard_normal((3, 3)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


def test_a_unit_that_nothing_reads_is_masked_with_all_that_is_its():
    network = sn.chain({"a": sn.Linear(3, 4, seed=1), "relu": sn.ReLU(), "b": sn.Linear(4, 2, seed=2)})
    mask = np.ones((2, 4), bool)
    mask[:, 1] = False
    network.apply_masks({"b": mask})
    assert not network["a"].weight.mask[1].any()
    assert network["a"].bias.mask.tolist() == [True, False, True, True]


def test_a_unit_whose_only_reader_is_itself_removed_goes_in_a_second_pass(rng):
    """`last` does not read b1, which alone reads a1: b1 goes first, and then nothing reads a1."""
    network = sn.chain(
        {
            "a": sn.Linear(3, 2, seed=1),
            "relu": sn.ReLU(),
            "b": sn.Linear(2, 2, seed=2),
            "relu2": sn.ReLU(),
            "last": sn.Linear(2, 2, seed=3),
        }
    )
    for name in ("a", "b", "last"):
        network[name].bias.value[:] = 0.5
    network["b"].set_mask(np.array([[True, False], [True, True]]))
    network["last"].set_mask(np.array([[True, False], [True, False]]))
    small = sn.remove_pruned_structures(network)
    assert (small["a"].out_features, small["b"].in_features, small["b"].out_features) == (1, 1, 1)
    assert np.array_equal(small["a"].weight.value, network["a"].weight.value[:1])
    x = rng.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-5, atol=1e-6)


def test_the_constant_of_an_image_is_not_folded_away(rng):
    """A filter that emits its bias everywhere is a frame of zeros around a constant to a convolution that pads."""
    network = sn.chain({"a": sn.Conv2d(1, 2, 1, seed=1), "b": sn.Conv2d(2, 1, 3, padding=1, seed=2)})
    network["a"].bias.value[:] = 1
    network["a"].set_mask(without_unit((2, 1, 1, 1), 0))
    x = rng.standard_normal((1, 1, 4, 4)).astype(np.float32)
    small = sn.remove_pruned_structures(network)
    assert small["a"].out_channels == 2
    np.testing.assert_allclose(small(x), network(x), rtol=1e-6)


class Sigmoid(Layer):
    def forward(self, x, training=False):
        return 1 / (1 + np.exp(-x))


def test_why_layers_stay():
    network = sn.chain(
        {
            "a": sn.Linear(3, 4, seed=1),
            "sigmoid": Sigmoid(),
            "b": sn.Linear(4, 4, seed=2),
            "relu": sn.ReLU(),
            "c": sn.Linear(4, 2, seed=3),
        }
    )
    behind = "layer 'sigmoid' behind it, a Sigmoid, is not known to keep its 4 units apart"
    assert fixed_layers(network, Filter()) == {"a": behind, "c": "its outputs are the network's"}
    assert fixed_layers(network, Channel()) == {
        "a": "its inputs are the network's",
        "b": f"it reads 'a', whose units have to stay: {behind}",
    }


def test_structured_pruning_says_which_layers_it_leaves_out():
    layers = {
        "a": sn.Linear(3, 4, seed=1),
        "sigmoid": Sigmoid(),
        "b": sn.Linear(4, 4, seed=2),
        "relu": sn.ReLU(),
        "c": sn.Linear(4, 2, seed=3),
    }
    network = sn.chain(layers)
    scores = sn.score(network, sn.scores.l1)
    with pytest.warns(UserWarning, match=r"^not pruned by Filter\(\): 'a': layer 'sigmoid' .* apart$") as caught:
        sn.prune(network, scores, sn.strategies.channelwise, 0.5)
    assert caught[0].filename == __file__
    assert network.masks()["a"].all()
    assert network.masks()["b"].any(axis=1).sum() == 2
    sn.prune(network, scores, sn.strategies.channelwise, 0.5, exclude=["a"])  # named: no warning
    sn.prune(network, {"b": scores["b"]}, sn.strategies.channelwise, 0.5)  # not asked for: no warning


@pytest.mark.parametrize("granularity", [Filter(), Channel()])
@pytest.mark.parametrize(
    "layers",
    [
        {"only": sn.Linear(3, 4)},
        {"only": sn.Conv2d(1, 4, 3), "norm": sn.BatchNorm(4), "pool": sn.GlobalAvgPool2d()},
        {"a": sn.Linear(3, 4), "sigmoid": Sigmoid(), "b": sn.Linear(4, 2)},
        {"a": sn.Conv2d(2, 4, 1, groups=2), "b": sn.Conv2d(4, 4, 1, groups=2)},
    ],
    ids=["one layer", "one layer and others", "unknown layer between", "groups"],
)
def test_structured_pruning_that_can_prune_nothing_is_an_error(layers, granularity):
    network = sn.chain(layers)
    strategy = sn.Strategy(granularity, sn.strategies.lowest_in_layer)
    with pytest.raises(ValueError, match=r"no layer is left to prune by (Filter|Channel)\(\) \('\w+': "):
        sn.prune(network, sn.score(network, sn.scores.l1), strategy, 0.5)
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="no layer is left to prune"):
        sn.iterative_prune(
            network, (x, np.zeros(2, int)), schedule=[0.9], target=0.9, strategy=strategy, retrain=lambda net: None
        )
    assert network.sparsity() == 0


def test_the_ordinary_networks_leave_out_nothing_unexpected(recwarn):
    for network in (
        sn.models.simple_cnn(batch_norm=True),
        sn.models.lenet_5(),
        separable(),
        random_cnn(3, batch_norm=True, depthwise=True),
    ):
        scores = sn.score(network, sn.scores.l1)
        for granularity in (Filter(), Channel()):
            sn.prune(network.copy(), scores, sn.Strategy(granularity, sn.strategies.lowest_in_layer), 0.5)
    assert not recwarn.list
