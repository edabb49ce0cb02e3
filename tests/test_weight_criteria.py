"""Criteria of the weights: literals, slow definitions, what each promises; quantities of the network."""

from functools import partial

import numpy as np
import pytest
from helpers import random_cnn
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import sparsenet as sn
from sparsenet.pruning.criteria.spread import over_weights
from sparsenet.pruning.granularity import Filter, sum_over_structures
from sparsenet.pruning.scoring import criterion_name
from sparsenet.verify.definitions import criteria_weights as defined

WEIGHTS = arrays.arrays(
    np.float32,
    st.sampled_from([(1, 1), (3, 5), (4, 2, 3, 3), (2, 1, 1, 2)]),
    elements=st.floats(-8, 8, width=16),  # few values: ties, zeros
)


@given(WEIGHTS, st.sampled_from([0.5, 1, 2, 3]))
def test_against_the_definitions(weight, n):
    np.testing.assert_allclose(sn.scores.l1(weight), defined.power(weight, 1), rtol=1e-6)
    np.testing.assert_allclose(sn.scores.l2(weight), defined.power(weight, 2), rtol=1e-6)
    np.testing.assert_allclose(sn.scores.ln(weight, n), defined.power(weight, n), rtol=1e-5)
    np.testing.assert_allclose(sn.scores.lamp(weight), defined.layer_adaptive(weight), rtol=1e-12)
    expected = defined.shared_out(defined.geometric_median(weight), weight)
    np.testing.assert_allclose(sn.scores.fpgm(weight), expected, rtol=1e-12)
    scale = np.linspace(-2, 1, len(weight))
    np.testing.assert_allclose(sn.scores.slimming(weight, scale), defined.shared_out(np.abs(scale), weight), rtol=1e-14)


@given(WEIGHTS)
def test_what_is_spread_over_weights_sums_to_the_filters_score(weight):
    """Also behind masks that take a part of a filter: what goes is 0 and has no score."""
    per_filter = np.arange(len(weight)) - 1.5
    spread = over_weights(per_filter, weight)
    np.testing.assert_allclose(sum_over_structures(spread, Filter()), per_filter, rtol=1e-12)
    some = weight.reshape(len(weight), -1).any(axis=1)
    np.testing.assert_allclose(sum_over_structures(spread * (weight != 0), Filter())[some], per_filter[some])


def test_ln_by_the_largest_weights():
    """A filter of one weight 3 against one of four weights 1: L1 keeps the many, L3 the large one."""
    network = sn.chain({"fc": sn.Linear(4, 2)})
    network["fc"].set_weight(np.array([[3.0, 0, 0, 0], [1, 1, 1, 1]]))
    sums = {
        n: sum_over_structures(sn.score(network, partial(sn.scores.ln, n=n))["fc"], Filter()).tolist() for n in (1, 3)
    }
    assert sums == {1: [3, 4], 3: [27, 4]}
    assert "ln" not in sn.scores.CRITERIA


@pytest.mark.parametrize("n", [0, -1, float("nan")])
def test_ln_refuses_what_is_no_norm(n):
    with pytest.raises(ValueError, match="n must be above 0, not"):
        sn.scores.ln(np.ones((2, 2)), n)


def test_messages_name_a_partial_by_its_function_and_options():
    def own(weight, power, offset=0):
        return np.full(weight.shape, np.nan) if power == 3 else weight

    network = sn.chain({"fc": sn.Linear(4, 2)})
    with pytest.raises(ValueError, match=r"the scores of 'fc' by criterion 'own\(power=3\)' hold NaN"):
        sn.score(network, partial(own, power=3))
    assert criterion_name(partial(partial(own, power=2), offset=1)) == "criterion 'own(power=2, offset=1)'"
    assert criterion_name(partial(lambda weight, n: weight, n=2)) == "criterion '<lambda>(n=2)'"
    with pytest.raises(ValueError, match="arguments of the criterion names 'n'"):
        sn.score(network, sn.scores.ln)


@given(WEIGHTS)
def test_lamp_orders_a_layer_like_magnitude_and_its_largest_weight_scores_one(weight):
    scores = sn.scores.lamp(weight).reshape(-1)
    assert scores.min() >= 0
    assert scores.max() == (1 if weight.any() else 0)
    assert np.array_equal(scores == 0, weight.reshape(-1) == 0)
    by_magnitude = np.argsort(np.abs(weight), axis=None, kind="stable")
    assert (np.diff(scores[by_magnitude]) >= 0).all()  # of equal weights the lower index scores less
    assert np.array_equal(np.argsort(scores, kind="stable"), by_magnitude)


def test_lamp_does_not_depend_on_a_layers_scale_and_empties_none():
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 5))
    np.testing.assert_allclose(sn.scores.lamp(1000 * weight), sn.scores.lamp(weight), rtol=1e-12)
    weights = {"small": 1e-6 * weight, "large": rng.standard_normal((50, 40)), "single": np.array([[1e-9]])}
    masks = sn.make_masks({name: sn.scores.lamp(each) for name, each in weights.items()}, 0.995, keep_at_least=0)
    assert [int(mask.sum()) > 0 for mask in masks.values()] == [True] * 3
    by_magnitude = sn.make_masks({name: np.abs(each) for name, each in weights.items()}, 0.995, keep_at_least=0)
    assert not by_magnitude["small"].any()  # which is why


def test_fpgm_finds_what_can_be_replaced_not_what_is_small():
    """Three filters alike and large, one small and alone: the median is among the three."""
    weight = np.array([[9.0, 9.0], [9.0, 9.1], [9.1, 9.0], [0.1, -0.1]])
    by_filter = {
        name: sum_over_structures(sn.scores.CRITERIA[name](weight), Filter()).argmin() for name in ("fpgm", "l1")
    }
    assert by_filter == {"fpgm": 0, "l1": 3}


def test_slimming_asks_for_the_scale_right_behind_a_layer():
    network = random_cnn(2, batch_norm=True, weight_norm=True, depthwise=True)
    network["norm1"].gamma.value[:] = np.arange(len(network["norm1"].gamma.value)) - 1
    with pytest.warns(UserWarning, match="'fc1', 'fc2': not scored, for want of what criterion 'slimming' asks for"):
        scores = sn.score(network, sn.scores.slimming)
    assert list(scores) == ["conv1", "depthwise", "conv2"]
    np.testing.assert_allclose(
        sum_over_structures(scores["conv1"], Filter()), np.abs(network["norm1"].gamma.value), rtol=1e-12
    )
    with pytest.raises(ValueError, match="no layer has what criterion 'slimming' asks for"):
        sn.score(random_cnn(2, batch_norm=False), sn.scores.slimming)


def test_a_scale_that_is_not_the_layers_alone_is_not_its_scale():
    """Two read the convolution: the normalisation, and an addition. And one that stands behind a ReLU."""
    graph = sn.Graph()
    conv = graph.add("conv", sn.Conv2d(2, 2, 1))
    norm = graph.add("norm", sn.BatchNorm(2))
    graph.add("sum", sn.Add(), conv, norm)
    graph.add("pool", sn.GlobalAvgPool2d())
    graph.add("hidden", sn.Linear(2, 2))
    graph.add("norm2", sn.BatchNorm(2))
    graph.add("relu", sn.ReLU())
    graph.add("norm3", sn.BatchNorm(2))
    graph.add("out", sn.Linear(2, 2))
    with pytest.warns(UserWarning, match="'conv', 'out': not scored"):
        assert list(sn.score(graph.network(), sn.scores.slimming)) == ["hidden"]


def test_slimming_prunes_the_filters_of_the_smallest_scales_globally():
    network = random_cnn(1, batch_norm=True)
    rng = np.random.default_rng(0)
    for name in ("norm1", "norm2"):
        network[name].gamma.value[:] = rng.uniform(0.1, 1, len(network[name].gamma.value))
    with pytest.warns(UserWarning, match="not scored"):
        scores = sn.score(network, sn.scores.slimming)
    scales = np.concatenate([network[name].gamma.value for name in ("norm1", "norm2")])
    sn.prune(network, scores, sn.Strategy(sn.Filter(), sn.strategies.lowest_of_all), 0.5)
    kept = np.concatenate([network.masks()[name].any(axis=(1, 2, 3)) for name in ("conv1", "conv2")])
    assert (~kept).sum() == round(0.5 * len(scales))
    assert scales[~kept].max() <= scales[kept].min()


def test_geometric_median_of_the_filters_that_are_left():
    """Removed filters pull no other: the ranking of the rest is that of the rest alone."""
    left = np.array([[3.0, 1.0], [1.0, 0.5], [0.5, 1.5]])
    alone = sn.scores.fpgm(left).sum(axis=1)
    among_gone = sn.scores.fpgm(np.concatenate([left, np.zeros((6, 2))])).sum(axis=1)
    np.testing.assert_allclose(among_gone[:3], alone)
