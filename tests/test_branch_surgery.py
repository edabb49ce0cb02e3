"""Surgery on networks with branches: compacted = masked, and a step of training on either gives the same network."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import GRAPH_IMAGE, conv, graph_of, random_graph, randomize

import sparsenet as sn
from sparsenet.pruning.dependency import fixed_layers
from sparsenet.pruning.granularity import Channel, Filter


def check_surgery(network, shape, seed=0, *, whole=True):
    """Compacted = masked, before and after training on; returns the compacted network.

    Where not `whole` units were pruned, some may be left that nothing reads: what they are normalised by is another.
    """
    rng = np.random.default_rng(seed)
    small = sn.remove_pruned_structures(network)
    outputs = network.shapes(shape)[network.nodes[-1].name]
    data = rng.standard_normal((6, *shape)), rng.standard_normal((6, *outputs))
    np.testing.assert_allclose(small(data[0]), network(data[0]), rtol=1e-10, atol=1e-11)
    masked, trained = network.copy(), small.copy()
    for _ in range(3):
        for net in (masked, trained):
            train(net, data)
        np.testing.assert_allclose(trained(data[0]), masked(data[0]), rtol=1e-9, atol=1e-9)
    assert not whole or alike(sn.remove_pruned_structures(masked), trained)
    assert alike(sn.remove_pruned_structures(small), small)
    return small


def train(network, data):
    """One step of SGD with momentum and weight decay."""
    x, target = data
    network.backward(sn.mean_squared_error(network.forward(x, training=True), target)[1])
    sgd = sn.SGD(lr=1e-4, momentum=0.9, weight_decay=0.01)
    for parameter in network.parameters().values():
        sgd.update(parameter, sgd.lr)


def alike(one, other):
    """Whether all values, masks, optimiser state and statistics are the same."""
    first, second = one.parameters() | one.weights(), other.parameters() | other.weights()
    assert first.keys() == second.keys()
    for name, parameter in first.items():
        if name.endswith(".gain"):  # that of a row whose weights are all gone may be anything
            continue
        np.testing.assert_allclose(parameter.value, second[name].value, rtol=1e-9, atol=1e-11, err_msg=name)
        for key, array in parameter.state.items():
            np.testing.assert_allclose(array, second[name].state[key], rtol=1e-9, atol=1e-10, err_msg=name)
    for name, mask in one.masks().items():
        assert np.array_equal(mask, other.masks()[name]), name
    for name, buffer in one.buffers().items():
        np.testing.assert_allclose(buffer, other.buffers()[name], rtol=1e-9, err_msg=name)
    return True


def pruned(network, strategy, sparsity, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the layers that stay
        return sn.prune(network, sn.score(network, sn.scores.l1), strategy, sparsity, **options)


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 14),
    sparsity=st.sampled_from([0.3, 0.5, 0.9]),
    scope=st.sampled_from(["layer", "global"]),
)
def test_random_graphs_by_filters(seed, steps, sparsity, scope):
    network = random_graph(seed, steps)
    rng = np.random.default_rng(seed)
    train(network, (rng.standard_normal((6, *GRAPH_IMAGE)), rng.standard_normal((6, 3))))
    rule = {"layer": sn.strategies.lowest_in_layer, "global": sn.strategies.lowest_of_all}[scope]
    masks = pruned(network, sn.Strategy(Filter(), rule), sparsity)
    small = check_surgery(network, GRAPH_IMAGE, seed)
    fixed = fixed_layers(network, Filter())
    for name in masks.keys() - fixed.keys():
        rows = masks[name].reshape(len(masks[name]), -1)
        kept, left = rows.any(axis=1), len(small[name].weight.value)
        assert np.array_equal(kept, rows.all(axis=1))
        assert left == kept.sum() or (left > kept.sum() and trains_on_zeros(network))
    for group in sn.dependency_groups(network):
        for member in group.members:
            if member.axis == 0 and member.layer in masks.keys() - fixed.keys():
                mask = masks[member.layer][np.array(member.indices)].reshape(group.units, -1).any(axis=1)
                least, most = (0, 0) if group.stays else (round(sparsity * group.units), group.units - 1)
                assert (~mask).sum() == min(least, most) or (scope == "global" and (~mask).sum() <= most)


def trains_on_zeros(network):
    """Whether zeros of a shortcut reach a layer with parameters: there they may get a shift, or have a part in a norm.

    A unit then stays where the same zeros are elsewhere added to a filter that is pruned.
    """
    zeros = set()
    for node in network.nodes:
        some, every = zeros & set(node.inputs), zeros.issuperset(node.inputs)
        if (
            isinstance(node.layer, sn.PadShortcut)
            or (every and not node.layer.parameters())
            or (some and isinstance(node.layer, sn.Concat))
        ):
            zeros.add(node.name)
        elif some and node.layer.parameters():
            return True
    return False


@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 14),
    sparsity=st.sampled_from([0.5, 0.9, 0.97]),
    kind=st.sampled_from(["weights", "channels", "both"]),
)
def test_random_graphs_by_single_weights_and_by_channels(seed, steps, sparsity, kind):
    network = random_graph(seed, steps)
    rng = np.random.default_rng(seed)
    train(network, (rng.standard_normal((6, *GRAPH_IMAGE)), rng.standard_normal((6, 3))))
    if kind != "channels":
        pruned(network, sn.strategies.layerwise, sparsity)
    if kind != "weights":
        pruned(network, sn.Strategy(Channel(), sn.strategies.lowest_in_layer), sparsity)
    check_surgery(network, GRAPH_IMAGE, seed, whole=False)


@pytest.mark.parametrize(
    ("network", "widths"),
    [
        (sn.models.resnet20(shortcut="pad"), [16] * 7 + [32] * 6 + [64] * 6),
        (sn.models.resnet20(shortcut="conv"), [16] * 7 + [32] * 7 + [64] * 7),
        (sn.models.mobilenet_small(), [32, 32, 64, 64, 128, 128, 128, 128, 256, 256, 256]),
        (sn.models.vgg_small((3, 16, 16)), [64, 64, 128, 128, 256, 256]),
    ],
    ids=["resnet20, padded", "resnet20, projected", "mobilenet_small", "vgg_small"],
)
def test_models_lose_half_of_every_layer(network, widths, recwarn):
    network = randomize(network, 1)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    small = check_surgery(network, (3, 16, 16))
    assert [len(w.value) for w in small.weights().values()] == [width // 2 for width in widths] + [10]
    assert small.sparsity() == 0
    assert not recwarn.list


def test_no_layer_of_a_residual_network_is_emptied():
    network = randomize(sn.models.resnet20(depth=8), 1)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.99)
    small = check_surgery(network, (3, 8, 8))
    # of the last stage's groups (all stages, the last two, the last) one unit each
    assert [len(w.value) for w in small.weights().values()] == [1, 1, 1, 1, 2, 1, 3, 10]
    assert small["block3_1_shortcut"].channels == (-1, 0, 1)


def residual():
    """conv1 and conv2, of 3 filters each, add up; `last` reads the sum."""
    network = graph_of(
        ("conv1", conv(2, 3, 3)),
        ("conv2", conv(3, 3, 3, seed=2)),
        ("norm", sn.BatchNorm(3)),
        ("sum", sn.Add(), "norm", "conv1"),
        ("relu", sn.ReLU()),
        ("last", conv(3, 2, seed=3)),
    )
    return randomize(network, 4)


def test_a_channel_of_a_sum_stays_while_one_term_is_alive():
    network = residual()
    mask = network.masks()["conv2"]
    mask[1] = False
    network.apply_masks({"conv2": mask})
    assert network["conv2"].bias.mask.tolist() == network["norm"].beta.mask.tolist() == [True, False, True]
    assert network.masks()["last"].all()
    small = check_surgery(network, (2, 5, 5))
    assert small["conv2"].out_channels == 3

    mask = network.masks()["conv1"]
    mask[1] = False
    network.apply_masks({"conv1": mask})
    assert network.masks()["last"][:, :, 0, 0].tolist() == [[True, False, True]] * 2
    small = check_surgery(network, (2, 5, 5))
    assert (small["conv1"].out_channels, small["conv2"].in_channels, small["norm"].channels) == (2, 2, 2)


def test_a_channel_of_a_sum_that_nothing_reads_goes_with_all_its_terms():
    network = residual()
    mask = network.masks()["last"]
    mask[:, 2] = False
    network.apply_masks({"last": mask})
    # conv2 still reads channel 2 of conv1
    assert network.masks()["conv2"].any(axis=(1, 2, 3)).tolist() == [True, True, False]
    assert network.masks()["conv1"].all()
    assert check_surgery(network, (2, 5, 5))["conv1"].out_channels == 3
    mask = network.masks()["conv2"]
    mask[:, 2] = False
    network.apply_masks({"conv2": mask})
    assert check_surgery(network, (2, 5, 5))["conv1"].out_channels == 2


def test_a_concatenation_is_cut_where_its_parts_are():
    network = graph_of(
        ("a", conv(2, 3, seed=1), "input"),
        ("b", conv(2, 4, seed=2), "input"),
        ("join", sn.Concat(), "a", "b"),
        ("norm", sn.BatchNorm(7)),
        ("each", conv(7, 7, 3, seed=3, groups=7)),
        ("last", conv(7, 2, seed=4)),
    )
    network = randomize(network, 1)
    masks = network.masks()
    masks["a"][0], masks["b"][[1, 3]] = False, False
    network.apply_masks({"a": masks["a"], "b": masks["b"]})
    left = [1, 2, 3, 5]
    assert np.flatnonzero(network.masks()["last"].any(axis=(0, 2, 3))).tolist() == left
    assert np.flatnonzero(network["norm"].beta.mask).tolist() == left
    small = check_surgery(network, (2, 5, 5))
    assert (small["a"].out_channels, small["b"].out_channels, small["each"].groups) == (2, 2, 4)
    assert np.array_equal(small["norm"].running_var, network["norm"].running_var[left])


def test_the_network_s_inputs_stay_where_they_are_concatenated():
    network = graph_of(
        ("a", conv(2, 3, seed=1), "input"),
        ("join", sn.Concat(), "input", "a"),
        ("last", conv(5, 2, seed=4)),
    )
    network = randomize(network, 1)
    masks = network.masks()
    masks["a"][0] = False
    network.apply_masks({"a": masks["a"]})
    assert check_surgery(network, (2, 5, 5))["last"].in_channels == 4


def padded(*behind):
    """conv of 2 filters -> shortcut of 5 channels (zeros, 0, 1, zeros, zeros) -> `behind`."""
    return randomize(
        graph_of(("conv", conv(2, 2, seed=1)), ("pad", sn.PadShortcut(2, 5)), *behind, ("last", conv(5, 1, seed=2))), 3
    )


def test_a_shortcut_is_cut_on_both_sides_and_saved(tmp_path):
    network = padded(("beside", conv(2, 5, seed=3), "conv"), ("sum", sn.Add(), "pad", "beside"))
    masks = network.masks()
    masks["conv"][0] = False
    masks["beside"][[0, 1]] = False  # unit 1 is channel 0 of conv
    network.apply_masks({"conv": masks["conv"], "beside": masks["beside"]})
    small = check_surgery(network, (2, 4, 4))
    assert small["pad"].channels == (0, -1, -1)
    assert (small["pad"].in_channels, small["pad"].out_channels) == (1, 3)
    sn.save_network(tmp_path / "small.sparsenet", small)
    again = sn.load_network(tmp_path / "small.sparsenet")
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 4))
    assert again["pad"].channels == (0, -1, -1)
    assert np.array_equal(again(x), small(x))


def test_zeros_that_the_network_was_built_with_are_no_pruned_units():
    """A normalisation, a bias behind them is trained: masks elsewhere leave it alone, and so does surgery."""
    network = padded(("norm", sn.BatchNorm(5)))
    masks = network.masks()
    masks["conv"][0] = False
    network.apply_masks({"conv": masks["conv"]})
    assert network["norm"].beta.mask.tolist() == [True, False, True, True, True]
    assert network.masks()["last"].ravel().tolist() == [True, False, True, True, True]
    assert check_surgery(network, (2, 4, 4))["pad"].channels == (-1, 0, -1, -1)
    untouched = padded()
    assert sn.remove_pruned_structures(untouched)["pad"].channels == (-1, 0, 1, -1, -1)


def test_flattened_branches_of_one_size_and_a_pooled_one():
    """The columns of fc: 2 x 16 of a, 3 x 16 of b, 2 of c."""
    network = graph_of(
        ("a", conv(1, 2, seed=1), "input"),
        ("b", conv(1, 3, 3, seed=2), "input"),
        ("c", conv(1, 2, 3, seed=3, stride=2), "input"),
        ("flat a", sn.Flatten(), "a"),
        ("flat b", sn.Flatten(), "b"),
        ("mean c", sn.GlobalAvgPool2d(), "c"),
        ("join", sn.Concat(), "flat a", "flat b", "mean c"),
        ("fc", sn.Linear(2 * 16 + 3 * 16 + 2, 2, seed=4)),
    )
    network = randomize(network, 1)
    masks = network.masks()
    masks["b"][1], masks["c"][0] = False, False
    network.apply_masks({"b": masks["b"], "c": masks["c"]})
    gone = [*range(48, 64), 80]
    assert np.flatnonzero(~network.masks()["fc"][0]).tolist() == gone
    small = check_surgery(network, (1, 4, 4))
    assert np.array_equal(small["fc"].weight.value, np.delete(network["fc"].weight.value, gone, axis=1))


def test_flattened_branches_of_several_sizes_stay():
    """16 + 4 = 20 columns: which of them are whose cannot be told without the size of the images."""
    network = graph_of(
        ("a", conv(1, 2, seed=1), "input"),
        ("b", conv(1, 2, seed=2, stride=2), "input"),
        ("flat a", sn.Flatten(), "a"),
        ("flat b", sn.Flatten(), "b"),
        ("join", sn.Concat(), "flat a", "flat b"),
        ("fc", sn.Linear(2 * 16 + 2 * 4, 2, seed=4)),
    )
    network = randomize(network, 1)
    with pytest.raises(ValueError, match="'a': layer 'fc' behind it reads images, flattened, of unknown sizes"):
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    masks = network.masks()
    masks["a"][0] = False
    network.apply_masks({"a": masks["a"]})
    assert check_surgery(network, (1, 4, 4))["a"].out_channels == 2


def test_normalised_weights_keep_the_columns_of_zeros_that_are_part_of_their_norm():
    """`b` reads the silent unit of `a` with weights that no mask took: training changes w through ||v||."""
    network = graph_of(
        ("a", sn.Linear(3, 3, seed=1)), ("relu", sn.ReLU()), ("b", sn.WeightNorm(sn.Linear(3, 2, seed=2)))
    )
    network = randomize(network, 1)
    mask = network.masks()["a"]
    mask[0], mask[1, 0] = False, False  # single weights, one of another unit: no columns go along
    network.apply_masks({"a": mask})
    assert network.masks()["b"].all()
    assert check_surgery(network, (3,))["a"].out_features == 3


@pytest.mark.parametrize(
    "channels", [(0,), (0, 1, 1), (0, 2, -1), (0, 1, -2)], ids=["too few", "twice", "no such", "below -1"]
)
def test_a_shortcut_refuses_channels_that_do_not_fit(channels):
    with pytest.raises(ValueError, match="channels must"):
        sn.PadShortcut(2, 3, channels=channels)


def test_a_shortcut_with_its_channels_given(rng):
    shortcut = sn.PadShortcut(3, 4, 2, channels=[2, -1, 0, -1])
    x, dy = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((2, 4, 3, 2))
    y = shortcut.forward(x)
    assert np.array_equal(y[:, 0], x[:, 2, ::2, ::2])
    assert np.array_equal(y[:, 2], x[:, 0, ::2, ::2])
    assert not y[:, [1, 3]].any()
    assert np.isclose((y * dy).sum(), (x * shortcut.input_gradient(dy)).sum())  # the gradient is the adjoint
    assert "channels=(2, -1, 0, -1)" in repr(shortcut)
    assert repr(sn.PadShortcut(3, 4, 2)) == "PadShortcut(in_channels=3, out_channels=4, stride=2)"
