"""Dependency groups, drawn by hand and compared with what the network says; and tied filters ranked as one."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_graphs import conv, graph_of, random_graph

import sparsenet as sn
from sparsenet.nn.layer import Layer
from sparsenet.pruning.dependency import DependencyGroup, Member, fixed_layers, left_out, map_units
from sparsenet.pruning.granularity import Channel, Filter
from sparsenet.pruning.pools import Pool, mask_pools

ENDS = {"its inputs are the network's", "its outputs are the network's"}


def inner_groups(network):
    """The groups as they print, without those of the network's inputs and outputs."""
    return [str(group) for group in sn.dependency_groups(network) if group.stays not in ENDS]


def stays(network):
    """Why the filters of each layer have to stay."""
    return fixed_layers(network, Filter())


def test_a_chain():
    """A channel of conv is 2 x 2 features to fc: x -> conv (2) -> norm -> flatten (8) -> fc (3)."""
    network = graph_of(
        ("conv", sn.Conv2d(1, 2, 3)), ("norm", sn.BatchNorm(2)), ("flat", sn.Flatten()), ("fc", sn.Linear(8, 3))
    )
    assert sn.dependency_groups(network) == (
        DependencyGroup((Member("conv", 1, ((0,),)),), "its inputs are the network's"),
        DependencyGroup(
            (
                Member("conv", 0, ((0,), (1,))),
                Member("norm", 0, ((0,), (1,))),
                Member("fc", 1, ((0, 1, 2, 3), (4, 5, 6, 7))),
            )
        ),
        DependencyGroup((Member("fc", 0, ((0,), (1,), (2,))),), "its outputs are the network's"),
    )
    group = sn.dependency_groups(network)[1]
    assert (group.units, group.layers) == (2, ("conv", "norm", "fc"))
    assert str(group) == "2 units: conv[0-1], norm[0-1], fc[:, 0-7]"
    assert str(sn.dependency_groups(network)[0]) == "1 unit: conv[:, 0]; stay: its inputs are the network's"


def test_a_residual_block():
    """The terms of a sum go together; what is between them, b, does not.

    ::

        x -> a --+-> b -> c -> (+) -> last
                 |              |
                 +--------------+
    """
    network = graph_of(
        ("a", conv(2, 4)),
        ("b", conv(4, 5, 3)),
        ("c", conv(5, 4, 3)),
        ("sum", sn.Add(), "c", "a"),
        ("last", conv(4, 2)),
    )
    assert inner_groups(network) == [
        "4 units: a[0-3], b[:, 0-3], c[0-3], last[:, 0-3]",
        "5 units: b[0-4], c[:, 0-4]",
    ]


def test_two_blocks_on_one_shortcut():
    """All blocks of a stage are one group: the second sum ties what the first one tied.

    ::

        x -> a -+-> b -> (+) -+-> c -> (+) -> last
                |         |   |         |
                +---------+   +---------+
    """
    network = graph_of(
        ("a", conv(2, 4)),
        ("b", conv(4, 4, 3)),
        ("sum1", sn.Add(), "b", "a"),
        ("relu", sn.ReLU()),
        ("c", conv(4, 4, 3)),
        ("sum2", sn.Add(), "c", "relu"),
        ("last", conv(4, 2)),
    )
    assert inner_groups(network) == ["4 units: a[0-3], b[:, 0-3], b[0-3], c[:, 0-3], c[0-3], last[:, 0-3]"]


def test_two_branches_on_one_shortcut():
    """Both blocks read, and are added to, the same output: one group.

    ::

                +-> b -> (+) -> pool --+
                |         |            |
        x -> a -+---------+          (concat) -> last
                |         |            |
                +-> c -> (+) -> pool --+
    """
    network = graph_of(
        ("a", conv(2, 3)),
        ("b", conv(3, 3, 3), "a"),
        ("sum b", sn.Add(), "b", "a"),
        ("c", conv(3, 3, 3), "a"),
        ("sum c", sn.Add(), "c", "a"),
        ("join", sn.Concat(), "sum b", "sum c"),
        ("last", conv(6, 2)),
    )
    assert inner_groups(network) == ["3 units: a[0-2], b[:, 0-2], b[0-2], c[:, 0-2], c[0-2], last[:, 0-5]"]
    (group,) = [group for group in sn.dependency_groups(network) if not group.stays]
    assert group.members[-1] == Member("last", 1, ((0, 3), (1, 4), (2, 5)))


def test_a_projection_shortcut():
    """The shortcut's convolution is tied to the block's last one, and to nothing before it.

    ::

        x -> a -+-> b -> c -> norm c -> (+) -> last
                |                        |
                +-> p -> norm p ---------+
    """
    network = graph_of(
        ("a", conv(2, 3)),
        ("b", conv(3, 4, 3, stride=2)),
        ("c", conv(4, 4, 3)),
        ("norm c", sn.BatchNorm(4)),
        ("p", conv(3, 4, stride=2), "a"),
        ("norm p", sn.BatchNorm(4)),
        ("sum", sn.Add(), "norm c", "norm p"),
        ("last", conv(4, 2)),
    )
    assert inner_groups(network) == [
        "3 units: a[0-2], b[:, 0-2], p[:, 0-2]",
        "4 units: b[0-3], c[:, 0-3]",
        "4 units: c[0-3], norm c[0-3], p[0-3], norm p[0-3], last[:, 0-3]",
    ]


def test_a_padded_shortcut():
    """Channel c of a becomes channel 1 + c; channels 0, 3 and 4 are zeros, and b is alone there.

    ::

        x -> a (2) -+-> b (5) ------> (+) -> last
                    |                  |
                    +-> 0, a0, a1, 0, 0
    """
    network = graph_of(
        ("a", conv(2, 2)),
        ("b", conv(2, 5, 3)),
        ("pad", sn.PadShortcut(2, 5), "a"),
        ("sum", sn.Add(), "b", "pad"),
        ("last", conv(5, 2)),
    )
    assert inner_groups(network) == [
        "2 units: a[0-1], b[:, 0-1], b[1-2], last[:, 1-2]",
        "3 units: b[0, 3-4], last[:, 0, 3-4]",
    ]


def test_a_concatenation():
    """Its parts stay two groups, each with its columns of what is behind: normalisation, depthwise, last.

    ::

        x -+-> a (2) --+
           |         (concat) -> norm (5) -> each (5, depthwise) -> last
           +-> b (3) --+
    """
    network = graph_of(
        ("a", conv(2, 2), "input"),
        ("b", conv(2, 3), "input"),
        ("join", sn.Concat(), "a", "b"),
        ("norm", sn.BatchNorm(5)),
        ("each", conv(5, 5, 3, groups=5)),
        ("last", conv(5, 2)),
    )
    assert inner_groups(network) == [
        "2 units: a[0-1], norm[0-1], each[0-1], last[:, 0-1]",
        "3 units: b[0-2], norm[2-4], each[2-4], last[:, 2-4]",
    ]


def test_a_concatenation_added_to_something():
    """c is tied to a in its first two channels, to b in the others; a and b are not tied.

    ::

        x -+-> a (2) --+
           |         (concat) --> (+) -> last
           +-> b (3) --+           |
           |                       |
           +-> c (5) --------------+
    """
    network = graph_of(
        ("a", conv(2, 2), "input"),
        ("b", conv(2, 3), "input"),
        ("join", sn.Concat(), "a", "b"),
        ("c", conv(2, 5), "input"),
        ("sum", sn.Add(), "join", "c"),
        ("last", conv(5, 2)),
    )
    assert inner_groups(network) == [
        "2 units: a[0-1], c[0-1], last[:, 0-1]",
        "3 units: b[0-2], c[2-4], last[:, 2-4]",
    ]


def test_concatenations_of_the_same_parts_in_another_order():
    """Channels 0 to 5 are a0 a1 b0 b1 b2 b3 and b0 b1 b2 b3 a0 a1: a0 = b0 = b2, a1 = b1 = b3.

    ::

        x -+-> a (2) -+-> (concat a, b) -> (+) -> last
           |          X                     |
           +-> b (4) -+-> (concat b, a) ----+
    """
    network = graph_of(
        ("a", conv(2, 2), "input"),
        ("b", conv(2, 4), "input"),
        ("ab", sn.Concat(), "a", "b"),
        ("ba", sn.Concat(), "b", "a"),
        ("sum", sn.Add(), "ab", "ba"),
        ("last", conv(6, 2)),
    )
    (group,) = [group for group in sn.dependency_groups(network) if not group.stays]
    assert group.members == (
        Member("a", 0, ((0,), (1,))),
        Member("b", 0, ((0, 2), (1, 3))),
        Member("last", 1, ((0, 2, 4), (1, 3, 5))),
    )


def test_x_plus_x():
    """A sum of an output and itself ties nothing.

    ::

        x -> a -+-> (+) -> last
                |    |
                +----+
    """
    network = graph_of(("a", conv(2, 3)), ("sum", sn.Add(), "a", "a"), ("last", conv(3, 2)))
    assert inner_groups(network) == ["3 units: a[0-2], last[:, 0-2]"]


@pytest.mark.parametrize("flatten_first", [False, True])
def test_three_branches_into_flatten_and_linear(flatten_first):
    """On images of 2 x 2 the columns of fc are 1 x 4 of a, 2 x 4 of b, 1 x 4 of c, whichever comes first.

    ::

        x -+-> a (1) --+
           +-> b (2) -(concat) -> flatten (16) -> fc
           +-> c (1) --+
    """
    branches = [("a", conv(3, 1), "input"), ("b", conv(3, 2, 3), "input"), ("c", conv(3, 1, 3), "input")]
    if flatten_first:
        flat = [(f"flat {name}", sn.Flatten(), name) for name in "abc"]
        network = graph_of(
            *branches, *flat, ("join", sn.Concat(), *(name for name, *_ in flat)), ("fc", sn.Linear(16, 2))
        )
    else:
        network = graph_of(
            *branches, ("join", sn.Concat(), "a", "b", "c"), ("flat", sn.Flatten()), ("fc", sn.Linear(16, 2))
        )
    assert inner_groups(network) == [
        "1 unit: a[0], fc[:, 0-3]",
        "2 units: b[0-1], fc[:, 4-11]",
        "1 unit: c[0], fc[:, 12-15]",
    ]


def test_features_added_to_flattened_images_are_not_followed():
    """A channel of a would be tied to four features of fc: both stay, and say so.

    ::

        x -+-> a (2) -> flatten (8) -> (+) -> last
           +-> mean -> fc (8) ----------+
    """
    network = graph_of(
        ("a", conv(3, 2), "input"),
        ("flat", sn.Flatten()),
        ("mean", sn.GlobalAvgPool2d(), "input"),
        ("fc", sn.Linear(3, 8)),
        ("sum", sn.Add(), "flat", "fc"),
        ("last", sn.Linear(8, 2)),
    )
    reason = "layer 'sum' behind it joins it with channels of which not enough is known"
    assert stays(network) == {"a": reason, "fc": reason, "last": "its outputs are the network's"}


def test_a_reader_in_groups_holds_all_that_is_tied():
    """g reads b in groups, so b has to stay; a is added to b.

    ::

        x -+-> a (4) -> (+) -> last
           |             |
           +-> b (4) ----+
                 |
                 +-> g (4, 2 groups) -> (+ last)
    """
    network = graph_of(
        ("a", conv(2, 4), "input"),
        ("b", conv(2, 4), "input"),
        ("sum", sn.Add(), "a", "b"),
        ("g", conv(4, 4, groups=2), "b"),
        ("last", conv(4, 4), "sum"),
        ("end", sn.Add(), "last", "g"),
    )
    behind = "layer 'g' behind it is a convolution in groups"
    outputs = "its outputs are the network's"
    assert stays(network) == {"a": behind, "b": behind, "g": "it is a convolution in groups", "last": outputs}
    assert left_out(network, Filter()).keys() == {"a", "b", "g"}


def test_a_filter_added_to_a_convolution_in_groups_stays():
    """x -> a -> g (2 groups) -> (+) <- b <- x: b cannot lose a filter that g has to keep."""
    network = graph_of(
        ("g", conv(2, 4, groups=2), "input"),
        ("b", conv(2, 4), "input"),
        ("sum", sn.Add(), "g", "b"),
        ("last", conv(4, 2)),
    )
    assert stays(network)["b"] == "it goes with 'g', a convolution in groups"


def test_a_filter_added_to_the_network_s_inputs_stays():
    """Only b1 and b2 are added to x; b0 and b3 are added to zeros.

    ::

        x (2) -+-> b (4) -> (+) -> last
               |             |
               +-> 0, x0, x1, 0
    """
    network = graph_of(
        ("b", conv(2, 4), "input"),
        ("pad", sn.PadShortcut(2, 4), "input"),
        ("sum", sn.Add(), "b", "pad"),
        ("last", conv(4, 3)),
    )
    assert [str(group) for group in sn.dependency_groups(network)][:2] == [
        "2 units: b[:, 0-1], b[1-2], last[:, 1-2]; stay: its inputs are the network's",
        "2 units: b[0, 3], last[:, 0, 3]",
    ]
    assert stays(network) == {"last": "its outputs are the network's"}
    masks = sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    gone = np.flatnonzero(~masks["b"].any(axis=(1, 2, 3))).tolist()
    assert gone in ([0], [3])

    whole = graph_of(("b", conv(2, 2)), ("sum", sn.Add(), "b", "input"), ("last", conv(2, 3)))
    assert stays(whole)["b"] == "it is added to the network's inputs"
    with pytest.raises(ValueError, match="no layer is left to prune by Filter"):
        sn.prune(whole, sn.score(whole, sn.scores.l1), sn.strategies.channelwise, 0.5)


def test_terms_of_the_network_s_output_stay_without_a_warning(recwarn):
    """x -> a -> b -> (+) <- a, and the sum is the output."""
    network = graph_of(("a", conv(2, 3)), ("h", conv(3, 4)), ("b", conv(4, 3)), ("sum", sn.Add(), "b", "a"))
    assert stays(network) == dict.fromkeys(["a", "b"], "its outputs are the network's")
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5)
    assert network.masks()["h"].any(axis=(1, 2, 3)).sum() == 2
    assert not recwarn.list


class Own(Layer):
    def forward(self, x, training=False):
        return x * x


def test_an_unknown_layer_holds_what_it_reads_and_what_is_joined_with_it():
    """x -> a -> own -> (concat) <- b <- x, and a -> c: of the columns of `last` nothing is known."""
    network = graph_of(
        ("a", conv(2, 3)),
        ("own", Own()),
        ("b", conv(2, 3), "input"),
        ("join", sn.Concat(), "own", "b"),
        ("last", conv(6, 2)),
    )
    assert stays(network) == {
        "a": "layer 'own' behind it, a Own, is not known to keep its 3 units apart",
        "b": "layer 'join' behind it joins it with channels of which not enough is known",
        "last": "its outputs are the network's",
    }


def test_a_depthwise_convolution_beside_another_reader():
    """A unit is a filter of a, a row of each, and its columns of both readers.

    ::

        x -> a (3) -+-> each (3, depthwise) -> b --+
                    |                             (+)
                    +-> c ------------------------+
    """
    network = graph_of(
        ("a", conv(2, 3)),
        ("each", conv(3, 3, 3, groups=3)),
        ("b", conv(3, 2)),
        ("c", conv(3, 2), "a"),
        ("sum", sn.Add(), "b", "c"),
    )
    assert inner_groups(network) == ["3 units: a[0-2], each[0-2], b[:, 0-2], c[:, 0-2]"]


@given(seed=st.integers(0, 10**6), steps=st.integers(1, 14))
def test_every_row_and_every_column_is_in_one_group(seed, steps):
    network = random_graph(seed, steps)
    owned = {}
    for group in sn.dependency_groups(network):
        assert len({len(member.indices) for member in group.members}) == 1
        for member in group.members:
            for unit in member.indices:
                owned.setdefault((member.layer, member.axis), []).extend(unit)
    for name, layer in network.weighted().items():
        rows, columns = layer.weight.shape[:2]
        assert sorted(owned[name, 0]) == list(range(rows))
        assert (name, 1) not in owned or sorted(owned[name, 1]) == list(range(columns))


def tied(scores_a, scores_b):
    """a and b, of one input each, are added; their filters score as given."""
    network = graph_of(
        ("a", sn.Linear(1, len(scores_a)), "input"),
        ("b", sn.Linear(1, len(scores_b)), "input"),
        ("sum", sn.Add(), "a", "b"),
        ("relu", sn.ReLU()),
        ("last", sn.Linear(len(scores_a), 4)),
        ("relu2", sn.ReLU()),
        ("out", sn.Linear(4, 2)),
    )
    network["a"].set_weight(np.array(scores_a, float)[:, None])
    network["b"].set_weight(np.array(scores_b, float)[:, None])
    return network, sn.score(network, sn.scores.l1)


def kept(masks, name):
    return masks[name].reshape(len(masks[name]), -1).any(axis=1).astype(int).tolist()


def test_tied_filters_are_ranked_by_their_sum():
    """Sums 6, 7, 5, 8: unit 2 and unit 0 go, though 1 is the lowest of a, and 3 of b."""
    network, scores = tied([4, 1, 3, 6], [2, 6, 2, 2])
    masks = sn.prune(network, scores, sn.strategies.channelwise, 0.5, exclude=["last"])
    assert kept(masks, "a") == kept(masks, "b") == [0, 1, 0, 1]
    assert network.masks()["last"].any(axis=0).astype(int).tolist() == [0, 1, 0, 1]
    masks = sn.prune(network, scores, sn.strategies.channelwise, 0.75, exclude=["last"])  # those gone before count
    assert kept(masks, "a") == kept(masks, "b") == [0, 0, 0, 1]
    assert sn.remove_pruned_structures(network)["b"].out_features == 1


def test_the_maximum_is_that_of_the_sums():
    """Sums 6, 7, 3, 8: below half of 8 is 3 alone."""
    network, scores = tied([4, 1, 2, 6], [2, 6, 1, 2])
    strategy = sn.Strategy(Filter(), sn.masks.mask_below_maximum)
    masks = sn.prune(network, scores, strategy, 0.5, exclude=["last"])
    assert kept(masks, "a") == kept(masks, "b") == [1, 1, 0, 1]


def test_global_ranking_by_sum_and_by_mean():
    """last scores 2.5, 3.5, 10, 10; the tied units 4 + 2, 1 + 3, 9 + 9, 9 + 9, their means 3, 2, 9, 9."""
    network, scores = tied([4, 1, 9, 9], [2, 3, 9, 9])
    network["last"].set_weight(np.array([2.5, 3.5, 10, 10])[:, None] / 4 * np.ones((4, 4)))
    scores = sn.score(network, sn.scores.l1)
    strategy = sn.Strategy(Filter(), sn.strategies.lowest_of_all)
    by_sum = sn.prune(network.copy(), scores, strategy, 0.25)
    by_mean = sn.prune(network.copy(), scores, strategy, 0.25, tied="mean")
    assert (kept(by_sum, "a"), kept(by_sum, "last")) == ([1, 1, 1, 1], [0, 0, 1, 1])
    assert (kept(by_mean, "a"), kept(by_mean, "b"), kept(by_mean, "last")) == ([1, 0, 1, 1],) * 2 + ([0, 1, 1, 1],)
    with pytest.raises(ValueError, match="tied must be one of sum, mean, not 'max'"):
        sn.prune(network, scores, strategy, 0.25, tied="max")


def test_scores_of_one_term_take_the_other_along():
    network, scores = tied([4, 1, 3, 6], [2, 6, 2, 2])
    masks = sn.prune(network, {"a": scores["a"]}, sn.strategies.channelwise, 0.5)
    assert masks.keys() == {"a", "b"}
    assert kept(masks, "a") == kept(masks, "b") == [1, 0, 0, 1]
    assert network.masks()["last"].any(axis=1).all()


def test_an_excluded_term_keeps_the_others_and_says_so():
    network, scores = tied([4, 1, 3, 6], [2, 6, 2, 2])
    with pytest.warns(
        UserWarning, match=r"^not pruned by Filter\(\): 'b': its units go with those of 'a', which is exc"
    ):
        masks = sn.prune(network, scores, sn.strategies.channelwise, 0.5, exclude=["a"])
    assert kept(masks, "a") == kept(masks, "b") == [1, 1, 1, 1]
    assert sum(kept(masks, "last")) == 2


def test_a_sparsity_of_its_own_holds_for_all_terms():
    network, scores = tied([4, 1, 3, 6], [2, 6, 2, 2])
    masks = sn.prune(network, scores, sn.strategies.channelwise, 0.5, overrides={"b": 0.25})
    assert kept(masks, "a") == kept(masks, "b") == [1, 1, 0, 1]
    with pytest.raises(ValueError, match="overrides must agree for 'a', 'b', whose units go together"):
        sn.prune(network, scores, sn.strategies.channelwise, 0.5, overrides={"b": 0.25, "a": 0.5})


def test_tied_filters_can_be_reduced_instead():
    network, scores = tied([4, 1, 3, 6], [2, 6, 2, 2])
    sn.prune(network, scores, sn.strategies.channelwise, 0.5, exclude=["last"], factor=0.5)
    assert network["a"].weight.value.ravel().tolist() == [2, 1, 1.5, 6]
    assert network["b"].weight.value.ravel().tolist() == [1, 6, 1, 2]


def test_channels_are_ranked_by_each_reader():
    """A channel of the sum goes once neither reader keeps it."""
    network = graph_of(
        ("a", sn.Linear(1, 2), "input"),
        ("b", sn.Linear(1, 2), "input"),
        ("sum", sn.Add(), "a", "b"),
        ("c", sn.Linear(2, 1)),
        ("d", sn.Linear(2, 1), "sum"),
        ("end", sn.Add(), "c", "d"),
    )
    network["c"].set_weight(np.array([[1.0, 2.0]]))
    network["d"].set_weight(np.array([[1.0, 2.0]]))
    network["a"].set_weight(np.array([[1.0], [2.0]]))
    network["b"].set_weight(np.array([[3.0], [1.0]]))
    assert fixed_layers(network, Channel()) == dict.fromkeys(["a", "b"], "its inputs are the network's")
    strategy = sn.Strategy(Channel(), sn.strategies.lowest_in_layer)
    one = network.copy()
    sn.prune(one, {"c": sn.score(one, sn.scores.l1)["c"]}, strategy, 0.5)
    assert sn.remove_pruned_structures(one)["a"].out_features == 2
    sn.prune(network, sn.score(network, sn.scores.l1), strategy, 0.5)
    assert kept(network.masks(), "a") == kept(network.masks(), "b") == [0, 1]
    assert sn.remove_pruned_structures(network)["a"].out_features == 1


def test_the_cycle_keeps_terms_together(rng):
    network = sn.models.resnet20((1, 8, 8), 3, depth=8)
    data = rng.standard_normal((12, 1, 8, 8)).astype(np.float32), rng.integers(0, 3, 12)
    history = sn.iterative_prune(
        network,
        data,
        schedule=[0.25, 0.5],
        strategy=sn.strategies.channelwise,
        retrain=lambda net: sn.fit(net, data, epochs=1, optimizer=sn.SGD(lr=0.01), batch_size=6),
        tied="mean",
    )
    assert [round_.requested for round_ in history.rounds] == [0.25, 0.5]
    rows = {name: kept(network.masks(), name) for name in network.weights()}
    assert rows["stem"] == rows["block1_1b"] == rows["block2_1b"][8:24] == rows["block3_1b"][24:40]
    assert rows["block2_1b"][:8] + rows["block2_1b"][24:] == rows["block3_1b"][16:24] + rows["block3_1b"][40:48]
    assert [sum(row) for row in rows.values()] == [8, 8, 8, 16, 16, 32, 32, 3]


@pytest.mark.parametrize("units", [1, 3])
def test_a_layer_without_scores_keeps_the_units_of_which_a_weight_is_kept(units):
    """Layers a and b are scored, and c goes along; of the last unit a single weight is gone already."""
    both = np.arange(units)[:, None]
    pool = Pool("a + b + c", 0, dict.fromkeys("abc", both), whole=False)
    scores = {name: np.arange(2.0 * units).reshape(units, 2) for name in "ab"}
    current = {name: np.ones((units, 2), bool) for name in "abc"}
    current["a"][-1, 0] = False
    rule = partial(sn.make_masks, sparsity=0.5, granularity=Filter())
    masks = mask_pools([pool], scores, current, rule, tied="sum", exclude=(), overrides={})
    kept = [False, False, True] if units == 3 else [True]  # round(1.5) = 2 of three go, none of one
    assert masks["c"].tolist() == masks["b"].tolist() == [[row, row] for row in kept]
    assert masks["a"].tolist() == [*([row, row] for row in kept[:-1]), [False, True]]


def test_units_are_counted_once():
    network = sn.chain({"hidden": sn.Linear(2, 3), "output": sn.Linear(3, 1)})
    units = map_units(network)
    numbered = np.unique(np.concatenate([*units.outputs.values()]))
    assert units.count == len(numbered) == 6  # the inputs too
    assert units.outputs["hidden"].tolist() == units.columns["output"].tolist()


@pytest.mark.parametrize("positions", [1, 2])
def test_a_flattened_image_of_one_position_is_one_too(positions):
    network = sn.chain({"conv": sn.Conv2d(1, 4, 3), "flatten": sn.Flatten(), "fc": sn.Linear(4 * positions, 2)})
    assert list(fixed_layers(network, Filter())) == ["fc"]
    units = map_units(network)
    assert units.columns["fc"].tolist() == np.repeat(units.outputs["conv"], positions).tolist()
