"""Schedules against their closed forms."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsenet import schedules


@given(
    name=st.sampled_from(sorted(schedules.SCHEDULES)),
    rounds=st.integers(1, 30),
    ends=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999)).map(sorted),
)
def test_rising_and_exact_at_the_end(name, rounds, ends):
    values = schedules.SCHEDULES[name](rounds, ends[1], ends[0])
    assert len(values) == rounds
    assert values[-1] == ends[1]
    assert all(ends[0] - 1e-12 <= v <= ends[1] + 1e-12 for v in values)
    assert all(b >= a - 1e-12 for a, b in pairwise(values))


def test_by_hand():
    assert schedules.one_shot() == [0.9]
    assert schedules.one_shot(3, 0.9) == [0.9, 0.9, 0.9]
    np.testing.assert_allclose(schedules.linear(4, 0.8), [0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(schedules.linear(2, 0.8, 0.4), [0.6, 0.8])
    np.testing.assert_allclose(schedules.cubic(2, 0.8), [0.8 * (1 - 1 / 8), 0.8])
    np.testing.assert_allclose(schedules.geometric(3, 0.875), [0.5, 0.75, 0.875])


def test_geometric_removes_the_same_fraction_of_what_remains():
    kept = 1 - np.array([0.1, *schedules.geometric(6, 0.97, 0.1)])
    np.testing.assert_allclose(kept[1:] / kept[:-1], (0.03 / 0.9) ** (1 / 6))


def test_cubic_is_zhu_and_guptas():
    t, total, first, final = np.arange(1, 8), 7, 0.2, 0.9
    np.testing.assert_allclose(schedules.cubic(7, 0.9, 0.2), final + (first - final) * (1 - t / total) ** 3)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_bad_arguments_are_named(name):
    schedule = schedules.SCHEDULES[name]
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        schedule(0, 0.5)
    with pytest.raises(ValueError, match="final must be in"):
        schedule(3, 1.0)
    with pytest.raises(ValueError, match=r"initial .* must not exceed final"):
        schedule(3, 0.5, 0.6)
