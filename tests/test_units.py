"""What goes with a unit, whoever sets the masks: `apply_masks` and `prune` give one network, surgery compacts it."""

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.nn.layer import Layer
from sparsenet.nn.units import kept_connections
from sparsenet.pruning.dependency import fixed_layers


def everything(network):
    """All values and masks, by parameter."""
    return {
        name: (p.value.tolist(), None if p.mask is None else p.mask.tolist())
        for name, p in network.parameters().items()
    }


def two_layers():
    """Two neurons a, b of two inputs; bias 0.5 each; one output that adds them, its own bias 0.25."""
    network = sn.chain({"hidden": sn.Linear(2, 2), "relu": sn.ReLU(), "output": sn.Linear(2, 1)})
    network["hidden"].weight.value[:] = [[1, 2], [3, 4]]
    network["hidden"].bias.value[:] = 0.5
    network["output"].weight.value[:] = 1
    network["output"].bias.value[:] = 0.25
    return network


@given(
    seed=st.integers(0, 500),
    batch_norm=st.booleans(),
    weight_norm=st.booleans(),
    depthwise=st.booleans(),
    granularity=st.sampled_from([sn.Filter(), sn.Channel()]),
    scope=st.sampled_from(["layer", "global"]),
    thin=st.booleans(),
)
def test_prune_and_the_loop_by_hand_give_one_network(
    seed, batch_norm, weight_norm, depthwise, granularity, scope, thin
):
    options = {"batch_norm": batch_norm, "weight_norm": weight_norm, "depthwise": depthwise}
    pruned = random_cnn(seed, **options)
    if thin:  # single weights before the units
        pruned.apply_masks(sn.make_masks(sn.score(pruned, sn.scores.random), 0.6, scope="layer"))
    by_hand = pruned.copy()
    scores = sn.score(pruned, sn.scores.l1)
    rule = {"layer": sn.strategies.lowest_in_layer, "global": sn.strategies.lowest_of_all}[scope]
    sn.prune(pruned, scores, sn.Strategy(granularity, rule), 0.5)
    options = {"granularity": granularity, "scope": scope, "exclude": fixed_layers(by_hand, granularity)}
    by_hand.apply_masks(sn.make_masks(scores, 0.5, current=by_hand.masks(), **options))
    assert everything(pruned) == everything(by_hand)

    small = sn.remove_pruned_structures(by_hand)
    x = np.random.default_rng(seed).standard_normal((4, *IMAGE))
    np.testing.assert_allclose(small.astype(np.float64)(x), by_hand.astype(np.float64)(x), rtol=1e-4, atol=1e-5)
    assert sum(len(w.value) for w in small.weights().values()) < sum(len(w.value) for w in by_hand.weights().values())


def test_a_filter_takes_bias_normalisation_and_the_columns_behind_it_by_hand():
    network = random_cnn(2, batch_norm=True)
    mask = network.masks()["conv1"]
    mask[1] = False
    kept = np.arange(len(mask)) != 1
    network.apply_masks({"conv1": mask})
    for parameter in (network["conv1"].bias, network["norm1"].gamma, network["norm1"].beta):
        assert np.array_equal(parameter.mask, kept)
        assert np.array_equal(parameter.value != 0, kept)
    assert np.array_equal(network.masks()["conv2"].any(axis=(0, 2, 3)), kept)
    assert network.masks()["fc1"].all()
    assert sn.remove_pruned_structures(network)["conv1"].out_channels == len(mask) - 1


def test_single_weights_that_empty_a_unit_silence_it_and_take_no_other_weights(rng):
    """The sparsity is exactly that of the masks; the emptied neuron emits 0, not its bias, and surgery may take it."""
    network = two_layers()
    masks = {"hidden": np.array([[False, False], [True, False]]), "output": np.array([[True, True]])}
    network.apply_masks(masks)
    assert {name: mask.tolist() for name, mask in network.masks().items()} == {n: m.tolist() for n, m in masks.items()}
    assert network.sparsity() == 0.5
    assert network["hidden"].bias.value.tolist() == [0, 0.5]
    x = np.array([[1.0, 1.0]], np.float32)
    assert network(x).tolist() == [[3.75]]  # 3 + 0.5 of b, 0.25; nothing of a
    small = sn.remove_pruned_structures(network)
    assert small["hidden"].out_features == 1
    assert small(x).tolist() == [[3.75]]


def test_whole_units_take_the_weights_that_read_them():
    network = two_layers()
    network.apply_masks({"hidden": np.array([[False, False], [True, True]])})
    assert network.masks()["output"].tolist() == [[False, True]]
    assert network.sparsity() == 0.5


def test_a_unit_that_nothing_reads_goes_with_its_weights():
    network = two_layers()
    network.apply_masks({"output": np.array([[False, True]])})
    assert network.masks()["hidden"].tolist() == [[False, False], [True, True]]
    assert network["hidden"].bias.mask.tolist() == [False, True]


def test_an_output_unit_keeps_its_bias():
    network = two_layers()
    network.apply_masks({"output": np.zeros((1, 2), bool)})
    assert network["output"].bias.mask is None
    assert network(np.ones((1, 2), np.float32)).tolist() == [[0.25]]
    assert sn.remove_pruned_structures(network)["output"].out_features == 1
    behind = sn.chain({"output": sn.Linear(2, 2), "norm": sn.BatchNorm(2), "relu": sn.ReLU()})
    behind.apply_masks({"output": np.array([[False, False], [True, True]])})
    assert all(behind.parameters()[name].mask is None for name in ("output.bias", "norm.gamma", "norm.beta"))


def test_silence_spreads_to_units_that_read_silent_ones_only():
    """a is emptied; c reads a only, d reads b: c emits 0 too, and its weight stays as the mask of weights left it."""
    network = sn.chain({"one": sn.Linear(2, 2), "relu": sn.ReLU(), "two": sn.Linear(2, 2), "output": sn.Linear(2, 1)})
    for name in ("one", "two"):
        network[name].bias.value[:] = 0.5
    network.apply_masks({"one": np.array([[0, 0], [1, 0]], bool), "two": np.eye(2, dtype=bool)})
    assert network["one"].bias.mask.tolist() == [False, True]
    assert network["two"].bias.mask.tolist() == [False, True]
    assert network.masks()["two"].tolist() == [[True, False], [False, True]]


def test_a_unit_that_gets_a_weight_back_gets_its_bias_back():
    network = random_cnn(2, batch_norm=True)
    before = network.masks()
    mask = before["conv1"].copy()
    mask[1] = False
    network.apply_masks({"conv1": mask})
    network.apply_masks(before)
    assert network["conv1"].bias.mask.all()
    assert network["norm1"].beta.mask.all()
    assert (network["conv1"].bias.value[1], network["norm1"].gamma.value[1], network["norm1"].beta.value[1]) == (
        0,
        1,
        0,
    )
    assert network.sparsity() == 0


def test_a_bias_that_was_masked_for_itself_stays_masked():
    network = two_layers()
    network["hidden"].bias.set_mask(np.array([True, False]))
    network.apply_masks({"hidden": np.array([[True, False], [True, True]])})
    network.apply_masks({"hidden": np.ones((2, 2), bool)})
    assert network["hidden"].bias.mask.tolist() == [True, False]


def test_a_unit_goes_behind_a_layer_of_unknown_kind_only_as_far_as_is_known(rng):
    class Shift(Layer):
        def forward(self, x, training=False):
            return x + 1

    network = sn.chain({"a": sn.Linear(3, 4, seed=1), "own": Shift(), "b": sn.Linear(4, 2, seed=2)})
    mask = np.ones((4, 3), bool)
    mask[1] = False
    network.apply_masks({"a": mask})
    assert network["a"].bias.mask.tolist() == [True, False, True, True]
    assert network.masks()["b"].all()  # what it reads is 1, not 0
    x = rng.standard_normal((3, 3)).astype(np.float32)
    small = sn.remove_pruned_structures(network)
    assert small["a"].out_features == 4
    np.testing.assert_allclose(small(x), network(x), rtol=1e-6)


def test_groups_by_hand():
    """Outputs 0, 1 read inputs 0, 1, outputs 2, 3 inputs 2, 3: a silent input silences its own group only."""
    network = sn.chain(
        {
            "first": sn.Conv2d(1, 4, 1, seed=1),
            "groups": sn.Conv2d(4, 4, 1, groups=2, seed=2),
            "last": sn.Conv2d(4, 1, 1, seed=3),
        }
    )
    mask = np.ones((4, 1, 1, 1), bool)
    mask[2:] = False
    network.apply_masks({"first": mask})
    assert network.masks()["groups"][:, :, 0, 0].astype(int).tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    assert network["groups"].bias.mask.tolist() == [True, True, False, False]
    assert network.masks()["last"].ravel().tolist() == [True, True, False, False]


def test_reducing_takes_nothing_along():
    network = two_layers()
    network.apply_masks({"hidden": np.array([[False, False], [True, True]])}, factor=0.5)
    assert network["hidden"].weight.value.tolist() == [[0.5, 1], [3, 4]]
    assert network["hidden"].bias.value.tolist() == [0.5, 0.5]
    assert network.sparsity() == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((2, 2), np.uint8), r"must be bool of shape \(2, 2\), not uint8 of shape \(2, 2\)"),
        (np.ones((2, 3), bool), r"must be bool of shape \(2, 2\), not bool of shape \(2, 3\)"),
        (np.ma.ones((2, 2), bool), "must be a plain array, not a NumPy masked array"),
    ],
)
def test_what_is_no_mask_is_refused_before_anything_changes(bad, message):
    network = two_layers()
    before = everything(network)
    with pytest.raises((TypeError, ValueError), match=f"the mask of 'hidden' {message}"):
        network.apply_masks({"output": np.zeros((1, 2), bool), "hidden": bad})
    assert everything(network) == before


def whole_filters(network, name):
    mask = network.masks()[name]
    mask[1] = False
    return mask


@pytest.mark.parametrize("weight_norm", [False, True])
@pytest.mark.parametrize("name", ["conv1", "fc1"])
@pytest.mark.parametrize("assign", [False, True])
def test_what_belongs_to_units_that_a_layer_masked_follows_when_asked(rng, weight_norm, name, assign):
    network = random_cnn(2, batch_norm=True, weight_norm=weight_norm)
    mask = whole_filters(network, name)
    if assign:
        network[name].weight.mask = mask
    else:
        network[name].set_mask(mask)
    assert network[name].bias.mask is None
    network.apply_masks({})
    kept = np.arange(len(mask)) != 1
    owned = [network[name].bias]
    if name == "conv1":
        owned += [network["norm1"].gamma, network["norm1"].beta]
    for parameter in owned:
        assert np.array_equal(parameter.mask, kept)
        assert np.array_equal(parameter.value != 0, kept)
    assert all(m.all() for other, m in network.masks().items() if other != name)  # no reader's column
    small, x = sn.remove_pruned_structures(network), rng.standard_normal((4, *IMAGE)).astype(np.float32)
    # where a weight normalisation reads the unit, its columns are part of a norm: it goes when they are masked too
    assert len(small[name].weight.value) == len(mask) - (not weight_norm)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-4, atol=1e-5)


def test_one_kept_weight_makes_a_connection():
    mask = np.zeros((2, 3, 1, 2), bool)
    mask[0, 1, 0, 1] = mask[1, 2] = True
    assert kept_connections(mask).tolist() == [[False, True, False], [False, False, True]]
    assert kept_connections(mask[:, :, 0, 1]).tolist() == [[False, True, False], [False, False, True]]
