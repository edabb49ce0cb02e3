"""Erdős-Rényi-Kernel: by hand, against bisection for the one unknown, its invariants, and as a scope of masks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.pruning.allocation import erk_densities, erk_sparsities
from sparsenet.verify.definitions import allocation as definitions

SHAPES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5)),
    ),
    min_size=1,
)


@given(shapes=SHAPES, density=st.floats(0.01, 1))
def test_densities_solve_the_equation(shapes, density):
    found = erk_densities(shapes, density)
    expected = definitions.erk_densities(shapes, density)
    for name in shapes:
        assert found[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-9)


@given(shapes=SHAPES, sparsity=st.floats(0, 0.99))
def test_exactly_as_many_weights_go_as_are_asked_for(shapes, sparsity):
    total = sum(map(math.prod, shapes.values()))
    found = erk_sparsities(shapes, sparsity)
    gone = {name: round(found[name] * math.prod(shape)) for name, shape in shapes.items()}
    assert sum(gone.values()) == round(sparsity * total)
    exact = erk_densities(shapes, 1 - round(sparsity * total) / total)
    for name, shape in shapes.items():
        assert abs(math.prod(shape) - gone[name] - exact[name] * math.prod(shape)) < 1 + 1e-6


def test_by_hand():
    """lenet_300_100 at 90 %: n = 235,200, 30,000, 1,000 and n_in + n_out = 1,084, 400, 110: the last is full."""
    shapes = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
    e = 26_620 / (1_084 + 400 + 110)
    expected = {"fc1": e * 1_084 / 235_200, "fc2": e * 400 / 30_000}
    found = erk_densities(shapes, 0.1)
    assert found["fc3"] == 1.0  # e 110 = 1,837 of 1,000
    e = (26_620 - 1_000) / (1_084 + 400)
    assert found["fc1"] == pytest.approx(e * 1_084 / 235_200)
    assert found["fc2"] == pytest.approx(e * 400 / 30_000)
    assert expected["fc1"] < found["fc1"]  # what the full layer cannot take goes to the others


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.98])
def test_masks_by_erk_keep_the_count_and_rank_each_layer_alone(rng, sparsity):
    scores = {"conv": rng.random((16, 3, 3, 3)), "fc": 100 + rng.random((50, 64))}
    masks = sn.make_masks(scores, sparsity, scope="erk")
    total = sum(mask.size for mask in masks.values())
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(sparsity * total)
    for name, mask in masks.items():
        if mask.any() and not mask.all():
            assert scores[name][mask].min() > scores[name][~mask].max()


def test_erk_counts_only_the_layers_that_are_pooled(rng):
    scores = {name: rng.random((20, 30)) for name in "abc"}
    masks = sn.make_masks(scores, 0.5, scope="erk", exclude=["a"], overrides={"b": 0.9})
    assert [int((~masks[name]).sum()) for name in "abc"] == [0, 540, 300]


def test_erk_with_filters_takes_the_same_fractions_of_them(rng):
    scores = {"a": rng.random((10, 20)), "b": rng.random((40, 100))}
    found = erk_sparsities({name: array.shape for name, array in scores.items()}, 0.6)
    masks = sn.make_masks(scores, 0.6, scope="erk", granularity=sn.Filter())
    for name, mask in masks.items():
        assert int((~mask[:, 0]).sum()) == round(found[name] * len(mask))


def test_what_was_pruned_before_counts(rng):
    scores = {"a": rng.random((10, 10)), "b": rng.random((30, 40))}
    first = sn.make_masks(scores, 0.3, scope="erk")
    second = sn.make_masks(scores, 0.8, scope="erk", current=first)
    assert all((second[name] <= first[name]).all() for name in scores)
    assert sum(int((~mask).sum()) for mask in second.values()) == round(0.8 * 1300)


def test_a_wrong_scope_is_named():
    with pytest.raises(ValueError, match="not 'kernel'"):
        sn.make_masks({"a": np.ones((2, 2))}, 0.5, scope="kernel")
