"""The dynamic programme against all choices, one by one."""

from fractions import Fraction
from itertools import product
from math import ceil, fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenet.pruning.search import BudgetError, allocate, search_coefficients


@st.composite
def tables(draw, numbers):
    layers, options = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    table = st.lists(st.lists(numbers, min_size=options, max_size=options), min_size=layers, max_size=layers)
    return np.array(draw(table)), np.array(draw(table))


def total(table, choice):
    return fsum(table[layer, option] for layer, option in enumerate(choice))


def choices(table):
    return product(range(table.shape[1]), repeat=len(table))


@given(tables(st.integers(0, 12)), st.integers(0, 20))
def test_whole_costs_give_the_optimum_and_the_tie_rule(both, spare):
    errors, costs = both
    budget = int(costs.min(axis=1).sum()) + spare
    within = [choice for choice in choices(costs) if total(costs, choice) <= budget]
    best = min(within, key=lambda choice: (total(errors, choice), -total(costs, choice), choice[::-1]))
    assert allocate(errors, costs, budget, bins=max(1, spare)) == best


@given(tables(st.floats(0, 1e6)), st.floats(0, 2), st.integers(1, 50))
def test_the_budget_is_kept_and_rounding_loses_no_more_than_a_bin_a_layer(both, spare, bins):
    errors, costs = both
    least, most = (fsum(ends) for ends in (costs.min(axis=1), costs.max(axis=1)))
    budget = np.nextafter(least + spare * (most - least), np.inf)
    choice = allocate(errors, costs, budget, bins=bins)
    assert total(costs, choice) <= budget
    lower = budget - len(costs) * (budget - least) / bins
    rivals = [total(errors, rival) for rival in choices(costs) if total(costs, rival) < lower * (1 - 1e-12)]
    assert total(errors, choice) <= min(rivals, default=np.inf) * (1 + 1e-12)


def test_a_cost_a_hair_above_the_budget_is_above_it():
    costs = np.array([[np.nextafter(0.3, 1), 0.1]])
    assert allocate(np.array([[0, 1]]), costs, 0.3) == (1,)
    assert allocate(np.array([[0, 1]]), costs, costs[0, 0]) == (0,)
    tenth = Fraction(0.1)  # slightly above 1 / 10: ten of them are above 1, though floats add up to less
    assert ceil(10 * tenth) == 2
    costs = np.array([[0.1, 0.0]] * 10)
    assert sum(allocate(np.array([[0, 1]] * 10), costs, 1.0, bins=10)) == 5  # 2 bins each: rounding loses half
    assert sum(allocate(np.array([[0, 1]] * 10), costs, 1.0)) == 1


def test_the_least_budget_is_possible_and_less_is_not():
    errors, costs = np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([[5, 3], [4, 4]])
    assert allocate(errors, costs, 7) == (1, 0)  # of equal options the lower one
    with pytest.raises(BudgetError, match=r"budget must be at least 7, .*, not 6.5") as refused:
        allocate(errors, costs, 6.5)
    assert (refused.value.least, refused.value.choice) == (7, (1, 0))


@pytest.mark.parametrize(
    ("errors", "costs", "budget", "message"),
    [
        ([[1.0]], [[1.0, 2.0]], 3, r"errors and costs must have one shape, not \(1, 1\) and \(1, 2\)"),
        ([1.0], [1.0], 3, r"errors must be finite real numbers of shape \(layers, options\)"),
        ([[np.nan]], [[1.0]], 3, "errors must be finite"),
        ([[1.0]], [[np.inf]], 3, "costs must be finite"),
        ([[1.0]], [[1.0]], np.nan, "budget must be a finite number, not nan"),
    ],
)
def test_bad_tables_are_refused(errors, costs, budget, message):
    with pytest.raises(ValueError, match=message):
        allocate(np.array(errors), np.array(costs), budget)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        allocate(np.array([[1.0]]), np.array([[1.0]]), 2, bins=0)


def distance(target):
    return lambda coefficients: float(np.square(np.log(coefficients) - np.log(target)).sum())


def test_coefficients_that_were_planted_are_found():
    target = np.array([0.3, 1.0, 4.0, 2.0])
    judge = distance(target)
    found, loss = search_coefficients(judge, 4, 400, np.random.default_rng(0))
    assert judge(np.ones(4)) > 3
    assert loss == judge(found) < 0.02
    np.testing.assert_allclose(found, target, rtol=0.15)


def test_the_search_finds_the_errors_by_which_the_programme_chooses_best():
    """Errors are wrong by a factor in one layer: with the true ones the programme would choose otherwise."""
    told = np.array([[0.0, 1.0, 4.0], [0.0, 2.0, 5.0], [0.0, 1.0, 3.0]])
    true, costs = told * np.array([[1.0], [1.0], [8.0]]), np.array([[4.0, 2.0, 1.0]] * 3)

    def choose(coefficients):
        return allocate(coefficients[:, None] * told, costs, 7)

    def judge(coefficients):
        return total(true, choose(coefficients))

    best = total(true, allocate(true, costs, 7))
    assert judge(np.ones(3)) > best
    found, loss = search_coefficients(judge, 3, 60, np.random.default_rng(1))
    assert (judge(found), loss) == (best, best)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_the_search_repeats_itself_and_never_ends_worse_than_it_began(seed, trials):
    seen = []

    def judge(coefficients):
        seen.append(coefficients.copy())
        return float(np.sin(1e3 * coefficients).sum())

    runs = [search_coefficients(judge, 3, trials, np.random.default_rng(seed)) for _ in range(2)]
    assert np.array_equal(runs[0][0], runs[1][0])
    assert len(seen) == 2 * (trials + 1)
    assert seen[0].tolist() == [1, 1, 1]
    assert runs[0][1] == judge(runs[0][0]) == min(map(judge, seen[:])) <= judge(np.ones(3))


@pytest.mark.parametrize(("layers", "trials", "name"), [(0, 1, "layers"), (2, -1, "trials"), (2, 1.5, "trials")])
def test_a_search_of_nothing_is_refused(layers, trials, name):
    with pytest.raises((ValueError, TypeError), match=name):
        search_coefficients(lambda c: 0.0, layers, trials, np.random.default_rng(0))
