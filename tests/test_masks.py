"""Masks and strategies: exact counts, the tie rule, floors, overrides, monotony, the article's rules and example."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.pruning.granularity import Block, Channel, Filter, Weight, spread_over_weights, sum_over_structures
from sparsenet.pruning.masks import mask_below_maximum, prune_lowest, prune_lowest_units

TIES = pytest.mark.filterwarnings("ignore:.*was settled by their index")
GRANULARITIES = (Weight(), Filter(), Channel(), Block(2, 1), Block(4, 1), Block(3, 5))


def some_scores(rng, ties=False):
    draw = (lambda shape: rng.integers(0, 4, shape).astype(float)) if ties else rng.random
    return {"a": draw((4, 3, 2, 2)), "b": draw((6, 4)), "c": draw((5, 6))}


def pruned_units(mask, granularity):
    return int((sum_over_structures(mask, granularity) == 0).sum())


@given(
    sparsity=st.floats(0, 0.99),
    granularity=st.sampled_from(GRANULARITIES),
    scope=st.sampled_from(["layer", "global"]),
    ties=st.booleans(),
    seed=st.integers(0, 99),
)
@TIES
def test_counts_are_exact_and_only_the_lowest_go(sparsity, granularity, scope, ties, seed):
    scores = some_scores(np.random.default_rng(seed), ties)
    masks = sn.make_masks(scores, sparsity, granularity=granularity, scope=scope, keep_at_least=0)
    units = {name: sum_over_structures(array, granularity) for name, array in scores.items()}
    pools = [[name] for name in scores] if scope == "layer" else [list(scores)]
    for pool in pools:
        values = np.concatenate([units[name] for name in pool])
        kept = np.concatenate([sum_over_structures(masks[name], granularity) > 0 for name in pool])
        assert (~kept).sum() == round(sparsity * values.size)
        if kept.any() and not kept.all():
            assert values[~kept].max() <= values[kept].min()
            tied = np.flatnonzero(values == values[kept].min())
            assert not np.any(np.diff(kept[tied].astype(int)) < 0)  # of equal scores the lower index goes first
    for name in scores:  # whole units only
        kept = sum_over_structures(masks[name], granularity) > 0
        assert np.array_equal(masks[name], spread_over_weights(kept, masks[name].shape, granularity))


@given(
    first=st.floats(0, 0.95),
    second=st.floats(0, 0.95),
    scope=st.sampled_from(["layer", "global"]),
    granularity=st.sampled_from(GRANULARITIES),
    seed=st.integers(0, 99),
)
def test_what_is_pruned_stays_pruned_and_counts(first, second, scope, granularity, seed):
    rng = np.random.default_rng(seed)
    options = {"scope": scope, "granularity": granularity, "keep_at_least": 0}
    current = sn.make_masks(some_scores(rng), first, **options)
    masks = sn.make_masks(some_scores(rng), second, current=current, **options)
    for name, mask in masks.items():
        assert not (mask & ~current[name]).any()
    units = sum(sum_over_structures(mask, granularity).size for mask in masks.values())
    if scope == "global":
        gone = sum(pruned_units(mask, granularity) for mask in masks.values())
        assert gone == max(round(first * units), round(second * units))


def test_pruned_weights_have_no_part_in_their_structures_importance():
    scores = {"a": np.array([[0.1, 9.0, 9.0], [2.0, 2.0, 2.0]])}
    current = {"a": np.array([[True, False, False], [True, True, True]])}
    masks = sn.make_masks(scores, 0.5, granularity=Filter(), scope="layer", current=current)
    assert masks["a"].tolist() == [[False] * 3, [True] * 3]
    masks = mask_below_maximum(scores, 0.5, granularity=Filter(), current=current)
    assert masks["a"].tolist() == [[False] * 3, [True] * 3]


@TIES
def test_half_even_rounding_and_ties_by_hand():
    scores = {"a": np.array([[1.0, 1.0, 1.0, 1.0, 1.0]])}
    assert sn.make_masks(scores, 0.5)["a"].tolist() == [[False, False, True, True, True]]  # round(2.5) = 2
    assert sn.make_masks(scores, 0.3)["a"].tolist() == [[False, False, True, True, True]]  # round(1.5) = 2
    two = {"a": np.array([[3.0, 1.0]]), "b": np.array([[1.0, 2.0, 1.0]])}
    masks = sn.make_masks(two, 0.4, scope="global")
    assert masks["a"].tolist() == [[True, False]]
    assert masks["b"].tolist() == [[False, True, True]]


def test_every_layer_keeps_a_unit_unless_asked_otherwise():
    scores = {"weak": np.array([[0.1, 0.2]]), "strong": np.array([[5.0, 6.0, 7.0, 8.0]])}
    masks = sn.make_masks(scores, 0.5)
    assert masks["weak"].tolist() == [[False, True]]  # three go: 0.1, 5 and 6; 0.2 is the layer's last
    assert masks["strong"].tolist() == [[False, False, True, True]]
    assert not sn.make_masks(scores, 0.5, keep_at_least=0)["weak"].any()
    almost = sn.make_masks(scores, 0.99)
    assert [int(m.sum()) for m in almost.values()] == [1, 1]


def test_layerwise_is_a_threshold_at_the_layers_quantile(rng):
    scores = some_scores(rng)
    for name, mask in sn.strategies.layerwise(scores, 0.6).items():
        flat = np.sort(scores[name].ravel())
        threshold = flat[round(0.6 * flat.size)]
        assert np.array_equal(mask, scores[name] >= threshold)  # theta = 0 if I < tau


def test_proportional_is_one_threshold_for_all(rng):
    scores = some_scores(rng)
    everything = np.sort(np.concatenate([array.ravel() for array in scores.values()]))
    threshold = everything[round(0.7 * everything.size)]
    for name, mask in sn.strategies.proportional(scores, 0.7).items():
        assert np.array_equal(mask, scores[name] >= threshold)


def test_channelwise_takes_whole_filters(rng):
    scores = some_scores(rng)
    for name, mask in sn.strategies.channelwise(scores, 0.5).items():
        norms = scores[name].reshape(len(mask), -1).sum(axis=1)
        gone = np.argsort(norms)[: round(0.5 * len(mask))]
        assert np.array_equal(np.flatnonzero(~mask.reshape(len(mask), -1).any(axis=1)), np.sort(gone))
        assert mask.sum() == mask[0].size * (len(mask) - len(gone))


def test_max_threshold_by_hand_and_on_bell_shaped_weights(rng):
    masks = mask_below_maximum({"a": np.array([[10.0, 2.0, 1.9], [0.0, 5.0, 2.1]])}, 0.2)
    assert masks["a"].tolist() == [[True, True, False], [False, True, True]]
    bell = {"w": np.abs(rng.standard_normal((300, 300)))}
    gone = 1 - sn.strategies.max_threshold(bell, 0.2)["w"].mean()
    assert gone > 0.5  # "20 %" removes most of a bell-shaped layer
    current = {"a": np.array([[False, True, True], [True, True, True]])}
    scores = {"a": np.array([[10.0, 1.0, 0.4], [0.6, 1.0, 1.0]])}  # the maximum over what is kept is 1, not 10
    masks = mask_below_maximum(scores, 0.5, current=current)
    assert masks["a"].tolist() == [[False, True, False], [True, True, True]]
    assert not mask_below_maximum(scores, 0.5, current={"a": np.zeros((2, 3), bool)})["a"].any()


def test_exclude_and_overrides(rng):
    scores = some_scores(rng)
    masks = sn.make_masks(scores, 0.5, scope="global", exclude=["a"], overrides={"b": 0.25})
    assert masks["a"].all()
    assert (~masks["b"]).sum() == 6
    assert (~masks["c"]).sum() == 15
    masks = mask_below_maximum(scores, 0.9, exclude=["c"], overrides={"a": 0.0})
    assert masks["a"].all()
    assert masks["c"].all()
    assert not masks["b"].all()


@pytest.mark.parametrize("strategy", sn.strategies.STRATEGIES.values(), ids=sn.strategies.STRATEGIES)
def test_unknown_names_and_bad_numbers_are_errors(rng, strategy):
    scores = some_scores(rng)
    with pytest.raises(ValueError, match="exclude names 'nope'; the layers are 'a', 'b', 'c'"):
        strategy(scores, 0.5, exclude=["nope"])
    with pytest.raises(ValueError, match="overrides names 'nope'"):
        strategy(scores, 0.5, overrides={"nope": 0.1})
    for bad in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"(sparsity|rate) must be in \[0, 1\)"):
            strategy(scores, bad)
    with pytest.raises(TypeError, match="must be a number"):
        strategy(scores, "half")
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="scores of 'a' hold NaN or infinity"):
            strategy(scores | {"a": np.full((2, 2), bad)}, 0.5)
    with pytest.raises(ValueError, match="current names 'nope'"):
        strategy(scores, 0.5, current={"nope": np.ones((1, 1), bool)})
    with pytest.raises(ValueError, match="overrides names 'b', which exclude leaves out"):
        strategy(scores, 0.5, exclude=["b"], overrides={"b": 0.1})
    with pytest.raises(TypeError, match="granularity must be"):
        sn.make_masks(scores, 0.5, granularity="filter")
    with pytest.raises(ValueError, match="at least one layer"):
        strategy({}, 0.5)
    with pytest.raises(ValueError, match="current mask of 'a'"):
        strategy(scores, 0.5, current={"a": np.ones((1, 1), bool)})
    with pytest.raises(ValueError, match="scope"):
        sn.make_masks(scores, 0.5, scope="model")


def test_blocks_by_hand():
    """Five columns in threes and three rows in twos: the blocks at the edges are smaller."""
    scores = np.array([[1.0, 2, 3, 4, 5], [10, 20, 30, 40, 50], [100, 200, 300, 400, 500]])
    assert sum_over_structures(scores, Block(2, 3)).tolist() == [66, 99, 600, 900]
    assert sum_over_structures(scores, Block(2, 1)).tolist() == [11, 22, 33, 44, 55, 100, 200, 300, 400, 500]
    assert sum_over_structures(scores, Block(1, 4)).tolist() == [10, 5, 100, 50, 1000, 500]
    assert sum_over_structures(scores, Block(9, 9)).tolist() == [1665]
    mask = spread_over_weights(np.array([True, False, False, True]), (3, 5), Block(2, 3))
    assert mask.astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


def test_columns_of_a_block_count_channels_then_the_kernel(rng):
    scores = rng.random((3, 2, 2, 3))
    units = sum_over_structures(scores, Block(2, 4)).reshape(2, 3)
    assert np.isclose(units[0, 1], scores[:2, 0, 1, 1:].sum() + scores[:2, 1, 0, :2].sum())  # columns 4, 5, 6 and 7
    assert np.isclose(units[1, 2], scores[2, 1, 0, 2] + scores[2, 1, 1].sum())
    mask = spread_over_weights(np.arange(6) == 1, scores.shape, Block(2, 4))
    assert np.argwhere(mask[0]).tolist() == [[0, 1, 1], [0, 1, 2], [1, 0, 0], [1, 0, 1]]
    assert np.array_equal(mask[0], mask[1])
    assert not mask[2].any()


@given(
    shape=st.sampled_from([(1, 1), (7, 5), (4, 6), (5, 3, 2, 2), (6, 1, 3, 3)]),
    rows=st.integers(1, 8),
    columns=st.integers(1, 14),
    sparsity=st.floats(0, 0.99),
    seed=st.integers(0, 99),
)
def test_a_mask_is_the_same_all_over_a_block(shape, rows, columns, sparsity, seed):
    scores = np.random.default_rng(seed).random(shape)
    block, matrix = Block(rows, columns), scores.reshape(shape[0], -1)
    masks = sn.make_masks({"a": scores}, sparsity, granularity=block, keep_at_least=0)
    units, kept = [], []
    for top in range(0, matrix.shape[0], rows):
        for left in range(0, matrix.shape[1], columns):
            cut = np.s_[top : top + rows, left : left + columns]
            units.append(matrix[cut].sum())
            kept.append(masks["a"].reshape(matrix.shape)[cut])
    np.testing.assert_allclose(sum_over_structures(scores, block), units, rtol=1e-12)
    assert all(part.all() or not part.any() for part in kept)
    gone = [not part.any() for part in kept]
    assert sum(gone) == round(sparsity * len(units))
    highest_gone = max((unit for unit, out in zip(units, gone, strict=True) if out), default=0)
    assert all(unit >= highest_gone * (1 - 1e-12) for unit, out in zip(units, gone, strict=True) if not out)


@given(sparsity=st.floats(0, 0.99), scope=st.sampled_from(["layer", "global"]), seed=st.integers(0, 99))
@TIES
def test_blocks_of_one_weight_are_weights(sparsity, scope, seed):
    scores = some_scores(np.random.default_rng(seed), ties=True)
    one, weight = (sn.make_masks(scores, sparsity, scope=scope, granularity=g) for g in (Block(1, 1), Weight()))
    below = [mask_below_maximum(scores, sparsity, granularity=g) for g in (Block(1, 1), Weight())]
    for name in scores:
        assert np.array_equal(one[name], weight[name])
        assert np.array_equal(below[0][name], below[1][name])


def test_max_threshold_of_blocks_by_hand():
    scores = {"a": np.array([[1.0, 4.0, 0.0], [1.0, 4.0, 3.0], [1.0, 0.0, 9.0]])}  # blocks: 2, 8, 3, 1, 0, 9
    masks = mask_below_maximum(scores, 0.3, granularity=Block(2, 1))
    assert masks["a"].astype(int).tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 1]]
    current = {"a": np.array([[True, True, False], [True, False, True], [True, True, False]])}
    masks = mask_below_maximum(scores, 0.5, granularity=Block(2, 1), current=current)  # blocks: 2, 4, 3, 1, 0, none
    assert masks["a"].astype(int).tolist() == [[1, 1, 0], [1, 0, 1], [0, 0, 0]]


def test_blocks_prune_a_network_and_leave_its_structures_alone():
    network = sn.models.simple_cnn((1, 8, 8))
    biases = [layer.bias for layer in network.weighted().values()]
    strategy = sn.Strategy(sn.Block(4, 1), sn.strategies.lowest_in_layer)
    masks = sn.prune(network, sn.score(network, sn.scores.l1), strategy, 0.75)
    for name, mask in network.masks().items():
        assert np.array_equal(mask, masks[name])
        units = -(-len(mask) // 4) * mask[0].size
        assert pruned_units(mask, sn.Block(4, 1)) == round(0.75 * units)
    assert all(bias.mask is None for bias in biases)


def test_a_block_needs_whole_sizes_above_zero():
    for bad in ((0, 1), (1, 0), (-2, 1)):
        with pytest.raises(ValueError, match=r"(rows|columns) must be at least 1"):
            Block(*bad)
    for bad in ((1.5, 1), (1, "2"), (True, 1), (None, 1)):
        with pytest.raises(TypeError, match=r"(rows|columns) must be an integer"):
            Block(*bad)
    assert Block(2, 1) == Block(rows=2, columns=1) != Block(1, 2)


# The article's section 4.3: a hidden layer of five neurons with L1 importances (3, 2, 1, 0, 4).
IMPORTANCE = np.array([3.0, 2.0, 1.0, 0.0, 4.0])


@pytest.mark.parametrize("granularity", [Filter(), Channel()])
def test_the_worked_example_of_the_article(rng, granularity):
    """The fourth neuron goes, the others stay, the output is unchanged: by incoming and by outgoing weights."""
    hidden, output = sn.Linear(4, 5, seed=1), sn.Linear(5, 2, seed=2)
    layer = hidden if isinstance(granularity, Filter) else output
    scores = sum_over_structures(np.abs(layer.weight.value), granularity)
    scale = (IMPORTANCE / scores).astype(np.float32)
    layer.weight.value *= scale[:, None] if layer is hidden else scale
    network = sn.chain({"hidden": hidden, "relu": sn.ReLU(), "output": output})
    name = "hidden" if layer is hidden else "output"
    x = rng.standard_normal((6, 4)).astype(np.float32)
    before = network(x)

    scores = sn.score(network, sn.scores.l1)
    np.testing.assert_allclose(sum_over_structures(scores[name], granularity), IMPORTANCE, rtol=1e-6)
    rule = sn.Strategy(granularity, sn.strategies.channelwise.rule)
    sn.prune(network, scores, rule, 1 / 5)  # the input features and the outputs are no neurons to prune
    small = sn.remove_pruned_structures(network)
    assert small["hidden"].out_features == 4
    np.testing.assert_array_equal(small["hidden"].bias.value, np.delete(hidden.bias.value, 3))
    np.testing.assert_allclose(network(x), before, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(small(x), before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_what_comes_back_shares_no_memory_with_what_went_in(rng, granularity):
    scores = some_scores(rng)
    current = {name: np.ones(array.shape, bool) for name, array in scores.items()}
    for make in (sn.make_masks, mask_below_maximum):
        masks = make(scores, 0.0, granularity=granularity, current=current, exclude=["c"])
        for name, mask in masks.items():
            mask[:] = False
            assert current[name].all()
    units = sum_over_structures(scores["b"], granularity)
    assert not np.shares_memory(units, scores["b"])
    assert not np.shares_memory(spread_over_weights(units > 0, (6, 4), granularity), units)


@pytest.mark.parametrize("strategy", sn.strategies.STRATEGIES.values(), ids=sn.strategies.STRATEGIES)
def test_masked_arrays_and_other_things_are_no_scores_or_masks(rng, strategy):
    scores = some_scores(rng)
    for bad, kind in ((np.ma.masked_less(scores["a"], 0.5), "MaskedArray"), (scores["a"].tolist(), "list")):
        with pytest.raises(TypeError, match=f"the scores of 'a' must be a plain array, not {kind}"):
            strategy(scores | {"a": bad}, 0.5)
    with pytest.raises(TypeError, match="the scores of 'a' must be real numbers, not complex128"):
        strategy(scores | {"a": scores["a"] * 1j}, 0.5)
    with pytest.raises(ValueError, match="the scores of 'a' must have 2 or more dimensions, like the weight, not 1"):
        strategy(scores | {"a": np.ones(3)}, 0.5)
    with pytest.raises(ValueError, match=r"current mask of 'b' must be bool of shape \(6, 4\), not uint8 of shape"):
        strategy(scores, 0.5, current={"b": np.ones((6, 4), np.uint8)})
    with pytest.raises(TypeError, match="current mask of 'b' must be a plain array, not a NumPy masked array"):
        strategy(scores, 0.5, current={"b": np.ma.ones((6, 4), bool)})


def test_a_strategy_takes_the_arguments_that_it_names(rng):
    with pytest.raises(TypeError, match="unexpected keyword argument 'excluded'"):
        sn.strategies.layerwise(some_scores(rng), 0.5, excluded=["a"])


def warned_of(scores, sparsity, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = sn.make_masks(scores, sparsity, **options)
    return masks, [str(told.message) for told in caught]


def test_seven_dead_neurons_of_eight_are_told():
    scores = {"dead": np.zeros((8, 4)), "alive": np.arange(1.0, 33).reshape(8, 4)}
    scores["dead"][3] = [1, 2, 3, 4]
    for granularity in (Weight(), Filter(), Block(2, 1)):
        masks, told = warned_of(scores, 0.5, granularity=granularity, scope="layer")
        assert len(told) == 1
        assert told[0].startswith("the criterion gives units of 'dead' that went and units that stay one and the same")
        assert masks["dead"][3].all()
    _, told = warned_of(scores, 0.5, granularity=Channel(), scope="layer")
    assert not told  # the channels sum to 1, 2, 3, 4
    _, told = warned_of(scores, 0.5, scope="layer", exclude=["dead"])
    assert not told
    _, told = warned_of(scores, 28 / 32, scope="layer")  # the cut falls between 0 and 1
    assert not told
    current = {"dead": np.zeros((8, 4), bool)}
    current["dead"][3] = True
    _, told = warned_of(scores, 30 / 32, scope="layer", current=current)  # zeros that went before
    assert not told


def test_the_rule_of_ties_by_hand():
    tie = np.arange(1.0, 41)
    for count, size, expected in (
        (14, 20, 0),
        (15, 20, 1),
        (14, 19, 0),
        (15, 19, 1),
        (29, 40, 0),
        (30, 40, 1),
        (2, 2, 1),
    ):
        scores = tie[:size].copy()
        scores[:count] = 1
        _, told = warned_of({"a": scores[None]}, 1 / size)
        assert len(told) == expected, (count, size)


def test_the_score_at_which_a_tie_is_cut_is_the_highest_of_those_that_went():
    _, told = warned_of({"a": np.array([[0.5, 1, 1, 1, 1]])}, 2 / 5)  # the 0.5 went by its score, one of the 1 by index
    assert len(told) == 1


def test_what_went_before_stays_whatever_the_count():
    kept = np.array([True, False, False, True])
    assert prune_lowest(np.arange(4.0), 0, kept, np.zeros(4, bool)).tolist() == kept.tolist()
    assert prune_lowest(np.arange(4.0), 1, kept, np.zeros(4, bool)).tolist() == kept.tolist()
    assert prune_lowest(np.arange(4.0), 3, kept, np.zeros(4, bool)).tolist() == [False, False, False, True]


@pytest.mark.parametrize("granularity", [Weight(), Filter()])
def test_what_went_before_counts_though_scores_are_negative(granularity):
    scores, gone_first = np.array([[-1.0], [-2], [-3], [-4]]), np.array([[False], [True], [True], [True]])
    masks = sn.make_masks({"a": scores}, 0.5, granularity=granularity, current={"a": gone_first})
    assert masks["a"][:, 0].tolist() == [False, True, True, False]


def test_a_threshold_by_the_maximum_refuses_a_single_negative_score():
    with pytest.raises(ValueError, match="the scores of 'a' must not be negative"):
        mask_below_maximum({"a": np.array([[1.0, -0.1]])}, 0.2)


def test_a_threshold_by_a_maximum_below_one():
    assert mask_below_maximum({"a": np.array([[0.5, 0.15, 0.05]])}, 0.2)["a"].tolist() == [[True, True, False]]


def test_the_rule_without_warnings_keeps_a_unit_unless_told():
    scores = {"a": np.array([[1.0, 2, 3]])}
    assert prune_lowest_units(scores, 0.9)["a"].tolist() == [[False, False, True]]
    assert not prune_lowest_units(scores, 0.9, keep_at_least=0)["a"].any()


def test_random_weights_are_never_told_and_thresholds_rank_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(5):
            scores = sn.score(sn.models.lenet_300_100(seed=seed), sn.scores.l1)
            for granularity in GRANULARITIES:
                for scope in ("layer", "global"):
                    sn.make_masks(scores, 0.5, granularity=granularity, scope=scope)
        sn.strategies.max_threshold({"a": np.array([[0.0, 0.0, 1.0, 1.0]])}, 0.5)


@pytest.mark.parametrize("call", [sn.strategies.layerwise, lambda s, p: sn.make_masks(s, p, scope="layer")])
def test_ties_are_told_once_at_the_callers_line(call):
    with pytest.warns(UserWarning, match="'a' that went") as caught:
        call({"a": np.zeros((2, 2))}, 0.5)
    assert [told.filename for told in caught] == [__file__]
