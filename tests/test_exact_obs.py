"""ExactOBS against greedy refits from the start, brute force over masks, and least squares."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import IMAGE, random_cnn
from hypothesis import given
from hypothesis import strategies as st

import sparsenet as sn
from sparsenet.kernels.exact_obs import removal_order
from sparsenet.pruning.exact_obs import exact_obs, exact_obs_nm, refit, share_out
from sparsenet.pruning.hessians import input_hessian, unroll
from sparsenet.pruning.probe import Batches
from sparsenet.verify.definitions import criteria_curvature as definitions


def problem(seed, outputs, inputs, samples=None, *, dtype=np.float64):
    """(W, X, H = 2 X X^T) with inputs that depend on each other."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((inputs, inputs)) * rng.uniform(0.1, 2, inputs)
    x = mix @ rng.standard_normal((inputs, samples or 3 * inputs))
    return rng.standard_normal((outputs, inputs)).astype(dtype), x, 2 * x @ x.T


def error(weight, new, x):
    return float(np.square(weight @ x - new @ x).sum())


def by_magnitude(weight, counts):
    """Each row without its smallest weights."""
    new = weight.copy()
    for row, count in zip(new, counts, strict=True):
        row[np.argsort(np.abs(row), kind="stable")[:count]] = 0
    return new


@pytest.mark.parametrize("block", [1, 2, 3, 6, 9])
@pytest.mark.parametrize("masked", [False, True])
def test_orders_and_costs_are_those_of_refits_from_the_start(rng, block, masked):
    weight, _, hessian = problem(1, 4, 7)
    kept = rng.random(weight.shape) < 0.6 if masked else np.ones(weight.shape, bool)
    weight = weight * kept
    order, costs = removal_order(weight, kept, np.linalg.inv(hessian), block=block)
    for row, own, blocks, own_costs in zip(weight, kept, order, costs, strict=True):
        expected, expected_costs = definitions.greedy_order(row, hessian, own, block)
        gone = len(blocks) - len(expected)
        assert blocks[gone:].tolist() == expected
        assert sorted(blocks.tolist()) == list(range(-(-7 // block)))
        np.testing.assert_allclose(own_costs, [0] * gone + expected_costs, rtol=1e-7, atol=1e-9)
        assert own_costs.sum() == pytest.approx(row @ hessian @ row / 2, rel=1e-9)


@pytest.mark.parametrize("block", [1, 2, 3])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.55, 0.9])
def test_weights_and_masks_are_those_of_the_definition(block, sparsity):
    weight, x, hessian = problem(2, 5, 8)
    new, mask = exact_obs(weight, hessian, sparsity, block=block, damping=0)
    units = 5 * -(-8 // block)
    count = round(sparsity * units)
    expected, expected_mask = definitions.exact_obs(weight, hessian, count, np.ones(weight.shape, bool), block)
    assert np.array_equal(mask, expected_mask)
    np.testing.assert_allclose(new, expected, rtol=1e-7, atol=1e-9)
    assert not new[~mask].any()
    costs = removal_order(weight, np.ones(weight.shape, bool), np.linalg.inv(hessian), block=block)[1]
    gone = (np.add.reduceat(mask, range(0, 8, block), axis=1, dtype=int) == 0).sum(axis=1)
    assert gone.sum() == count
    removed = sum(own[:n].sum() for own, n in zip(costs, gone, strict=True))
    assert error(weight, new, x) == pytest.approx(removed, rel=1e-9, abs=1e-9)


def test_steps_one_by_one_come_to_the_refit():
    """The update of the paper, w -= w_p / A_pp A_:p, as it stands, against the weights computed at once."""
    weight, _, hessian = problem(3, 1, 9)
    new, mask = exact_obs(weight, hessian, 5 / 9, damping=0)
    row, inverse, left = weight[0].copy(), np.linalg.inv(hessian), np.arange(9)
    for _ in range(5):
        p = int(np.argmin(row[left] ** 2 / inverse.diagonal()))
        row[left] -= row[left[p]] / inverse[p, p] * inverse[:, p]
        row[left[p]] = 0
        left = np.delete(left, p)
        inverse = np.linalg.inv(hessian[np.ix_(left, left)])
    assert np.array_equal(np.flatnonzero(mask[0]), left)
    np.testing.assert_allclose(new[0], row, rtol=1e-8, atol=1e-10)


@given(st.integers(0, 10**6), st.sampled_from([0.25, 0.5, 0.75, 0.9]))
def test_error_is_never_above_magnitudes_on_random_layers(seed, sparsity):
    """Neither at the same counts per row, nor by magnitude over the layer; not a theorem, see the next test."""
    weight, x, hessian = problem(seed, 6, 10)
    new, mask = exact_obs(weight, hessian, sparsity, damping=0)
    own = by_magnitude(weight, (~mask).sum(axis=1))
    layer = by_magnitude(weight.reshape(1, -1), [round(sparsity * 60)]).reshape(6, 10)
    assert error(weight, new, x) <= error(weight, own, x) * (1 + 1e-9)
    assert error(weight, new, x) <= error(weight, layer, x) * (1 + 1e-9)


def test_greedy_removal_can_be_worse_than_magnitude():
    """x_3 nearly depends on x_1 and x_2: the largest weight goes first, as nearly free. Then one more must go."""
    x = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [2.0, 2.0, 0.25]])
    weight = np.array([[1.0, 1.0, 1.2]])
    new, _ = exact_obs(weight, 2 * x @ x.T, 2 / 3, damping=0)
    np.testing.assert_allclose(new, [[0, 1.8, 0]], atol=1e-12)
    assert error(weight, new, x) == pytest.approx(1.8**2 * 9 + (1.2 * 0.25) ** 2)
    assert error(weight, np.array([[0, 0, 1.2]]), x) == pytest.approx(9 + 9)  # less than 29.25
    better = refit(weight, 2 * x @ x.T, np.array([[False, False, True]]), damping=0)
    assert error(weight, better, x) < 1


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_what_holds_always(seed, count):
    """Not below the best of all masks; the best at one removal; and no other weights under the mask are better."""
    weight, x, hessian = problem(seed, 1, 6)
    least = definitions.least_error(weight[0], hessian, count)
    new, mask = exact_obs(weight, hessian, count / 6, damping=0)
    assert (~mask).sum() == count
    own = error(weight, new, x)
    assert own >= least * (1 - 1e-7) - 1e-9
    if count == 1:
        assert own == pytest.approx(least, rel=1e-7)
        assert own <= error(weight, by_magnitude(weight, [1]), x) * (1 + 1e-9)
    for p in np.flatnonzero(mask[0]):
        for step in (-1e-3, 1e-3):
            other = new.copy()
            other[0, p] += step
            assert error(weight, other, x) > own


def test_independent_inputs_leave_the_others_alone():
    """H diagonal: the lowest w^2 H go, the rest does not move, and that is optimal."""
    weight = np.array([[1.0, -2.0, 3.0], [4.0, 0.5, -1.0]])
    new, mask = exact_obs(weight, np.diag([9.0, 1.0, 1.0]), 0.5)  # 9 4 9; 144 0.25 1
    assert mask.astype(int).tolist() == [[1, 0, 1], [1, 0, 0]]
    assert new.tolist() == [[1.0, 0.0, 3.0], [4.0, 0.0, 0.0]]


def test_share_out_takes_turns():
    """Costs that fall along a row: a cheap one waits behind the dear one before it."""
    costs = np.array([[5.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    assert [share_out(costs, np.array([0, 0]), n).tolist() for n in range(7)] == [
        [0, 0], [0, 1], [0, 2], [0, 3], [1, 3], [2, 3], [3, 3]
    ]  # fmt: skip
    assert share_out(costs, np.array([1, 0]), 3).tolist() == [3, 0]
    assert share_out(costs, np.array([3, 1]), 2).tolist() == [3, 1]  # more are gone than are asked for
    assert share_out(np.ones((2, 2)), np.array([0, 0]), 2).tolist() == [2, 0]  # equal ones: the first row


@pytest.mark.parametrize(("keep", "of"), [(2, 4), (1, 4), (3, 4), (1, 2), (4, 8), (2, 8), (4, 4)])
def test_nm_keeps_exactly_so_many_of_each_group(keep, of):
    weight, x, hessian = problem(5, 5, 16)
    new, mask = exact_obs_nm(weight, hessian, keep, of, damping=0)
    assert (mask.reshape(5, -1, of).sum(axis=2) == keep).all()
    assert np.array_equal(new != 0, mask)
    np.testing.assert_allclose(new, refit(weight, hessian, mask, damping=0))
    largest = np.sort(np.abs(weight).reshape(5, -1, of), axis=2)[:, :, -keep : -keep + 1 or None]
    plain = weight * (np.abs(weight).reshape(5, -1, of) >= largest).reshape(weight.shape)
    assert error(weight, new, x) <= error(weight, plain, x)


def test_nm_takes_the_cheapest_that_may_still_go():
    """Independent inputs: greedy with a limit is the lowest of each group; pruned groups stay, and count."""
    weight = np.array([[4.0, 1.0, 2.0, 3.0, 8.0, 7.0, 6.0, 5.0]])
    assert exact_obs_nm(weight, np.eye(8), 2, 4)[1].astype(int).tolist() == [[1, 0, 0, 1, 1, 1, 0, 0]]
    before = np.array([[False, True, True, True, False, False, False, True]])
    new, mask = exact_obs_nm(weight, np.eye(8), 2, 4, mask=before)
    assert mask.astype(int).tolist() == [[0, 0, 1, 1, 0, 0, 0, 1]]
    assert new.tolist() == [[0, 0, 2, 3, 0, 0, 0, 5]]


def test_masks_that_exist_stay_and_count(rng):
    weight, _, hessian = problem(6, 4, 9)
    before = rng.random(weight.shape) < 0.7
    for sparsity in (0.1, 0.5, 0.8):
        new, mask = exact_obs(weight, hessian, sparsity, mask=before, damping=0)
        gone = max(round(sparsity * 36), int((~before).sum()))
        assert (~mask).sum() == gone
        assert not (mask & ~before).any()
        expected = definitions.exact_obs(weight * before, hessian, gone - int((~before).sum()), before)
        assert np.array_equal(mask, expected[1])
        np.testing.assert_allclose(new, expected[0], rtol=1e-7, atol=1e-9)


def test_blocks_that_are_partly_gone(rng):
    weight, _, hessian = problem(7, 2, 6)
    before = np.array([[1, 0, 0, 0, 1, 1], [1, 1, 1, 0, 1, 1]], bool)
    new, mask = exact_obs(weight, hessian, 0.5, block=2, mask=before, damping=0)
    assert (mask.reshape(2, 3, 2).any(axis=2)).sum() == 3  # of six blocks one was gone, and partly gone ones are not
    assert not (mask & ~before).any()
    expected = definitions.exact_obs(weight * before, hessian, 2, before, 2)
    assert np.array_equal(mask, expected[1])
    np.testing.assert_allclose(new, expected[0], rtol=1e-7, atol=1e-9)


def test_dead_inputs_go_first_and_keep_their_weights():
    x = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
    weight, hessian = np.array([[0.1, 7.0, 0.1, 9.0]]), 2 * x @ x.T
    for damping in (0, 0.01):
        new, mask = exact_obs(weight, hessian, 0.25, damping=damping)
        assert mask.astype(int).tolist() == [[1, 0, 1, 1]]
        assert new.tolist() == [[0.1, 0.0, 0.1, 9.0]]
        assert exact_obs(weight, hessian, 0.5, damping=damping)[1].astype(int).tolist() == [[1, 0, 1, 0]]
    new, mask = exact_obs(weight, np.zeros((4, 4)), 0.5)
    assert mask.astype(int).tolist() == [[0, 1, 0, 1]]  # all dead: the smallest
    assert new.tolist() == [[0.0, 7.0, 0.0, 9.0]]


def test_one_weight_stays_and_zero_sparsity_changes_nothing():
    weight, _, hessian = problem(8, 2, 3, dtype=np.float32)
    new, mask = exact_obs(weight, hessian, 0.99)
    assert mask.sum() == 1
    new, mask = exact_obs(weight, hessian, 0.0)
    assert mask.all()
    assert new.dtype == np.float32
    assert np.array_equal(new, weight)
    assert not np.shares_memory(new, weight)


def test_groups_have_hessians_of_their_own():
    """Two groups of two filters: as one layer each, but for the counts, which are shared out over all rows."""
    parts = [problem(seed, 2, 6) for seed in (9, 10)]
    weight = np.concatenate([w for w, _, _ in parts]).reshape(4, 2, 3, 1)
    hessian = np.stack([h for _, _, h in parts])
    new, mask = exact_obs(weight, hessian, 0.5, damping=0)
    assert new.shape == mask.shape == weight.shape
    assert (~mask).sum() == 12
    for g, (own, _, own_hessian) in enumerate(parts):
        part = mask[2 * g : 2 * g + 2].reshape(2, 6)
        expected = refit(own, own_hessian, part, damping=0).reshape(2, 2, 3, 1)
        np.testing.assert_allclose(new[2 * g : 2 * g + 2], expected, rtol=1e-9)
        for row, kept in zip(own, part, strict=True):
            order, _ = definitions.greedy_order(row, own_hessian, np.ones(6, bool))
            assert sorted(order[: int((~kept).sum())]) == np.flatnonzero(~kept).tolist()


def test_refit_is_least_squares(rng):
    weight, x, hessian = problem(11, 3, 7)
    mask = rng.random(weight.shape) < 0.5
    new = refit(weight, hessian, mask, damping=0)
    for row, own, kept in zip(weight, new, mask, strict=True):
        expected = np.linalg.lstsq(x[kept].T, x.T @ row, rcond=None)[0]
        np.testing.assert_allclose(own[kept], expected, rtol=1e-8)
        assert not own[~kept].any()


def test_damping_is_a_part_of_the_mean_of_the_diagonal():
    """[[2, 2], [2, 2]] with 0.5: [[3, 2], [2, 3]], and w' = 1 + 1 2/3."""
    hessian, mask = np.full((2, 2), 2.0), np.array([[True, False]])
    assert refit(np.ones((1, 2)), hessian, mask, damping=0.5)[0].tolist() == pytest.approx([5 / 3, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sparsity": 1.0}, "sparsity must be in"),
        ({"block": 0}, "block must be at least 1"),
        ({"damping": -1}, "damping must be a finite number >= 0"),
        ({"weight": np.full((2, 3), np.nan)}, "weight must be finite"),
        ({"weight": np.ones(3)}, "weight must be finite, of two or more dimensions"),
        ({"hessian": np.eye(4)}, r"hessian must be \(G, 3, 3\), G a divisor of 2 outputs, not \(4, 4\)"),
        ({"hessian": np.stack([np.eye(3)] * 3)}, r"hessian must be \(G, 3, 3\)"),
        ({"hessian": np.full((3, 3), np.inf)}, "hessian must be finite"),
        ({"hessian": np.ones((3, 3)), "damping": 0}, "damping must be greater"),
        ({"mask": np.ones((2, 2), bool)}, "mask must be bool of shape"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        exact_obs(**({"weight": np.ones((2, 3)), "hessian": np.eye(3), "sparsity": 0.5} | options))


@pytest.mark.parametrize(("keep", "of"), [(0, 4), (3, 2), (2, 5), (2, 3)])
def test_bad_patterns_are_named(keep, of):
    with pytest.raises(ValueError, match=r"keep must be at least 1|of must divide the 8 weights of a row"):
        exact_obs_nm(np.ones((1, 8)), np.eye(8), keep, of)


def network_and_data(rng, **options):
    network = random_cnn(int(rng.integers(100)), batch_norm=True, **options)
    data = rng.standard_normal((40, *IMAGE)).astype(np.float32), rng.integers(0, 3, 40)
    return network, data


@pytest.mark.parametrize("weight_norm", [False, True])
def test_networks_get_masks_and_weights(rng, weight_norm):
    network, data = network_and_data(rng, weight_norm=weight_norm, depthwise=True)
    dense = network.copy()
    masks = sn.obc_prune(network, data, 0.5, overrides={"fc1": 0.75}, exclude=["fc2"], damping=1e-4)
    assert set(masks) == set(network.weights()) - {"fc2"}
    hessians = input_hessian(dense, Batches(*data, [np.arange(40)]))
    for name, mask in masks.items():
        weight, before = network[name].weight, dense[name].weight.value
        assert np.array_equal(weight.mask, mask)
        assert (~mask).sum() == round((0.75 if name == "fc1" else 0.5) * mask.size)
        _, expected_mask = exact_obs(before, hessians[name], 1 - mask.mean(), damping=1e-4)
        assert (mask == expected_mask).mean() > 0.98  # samples in another order: float32 features, another rounding
        np.testing.assert_allclose(
            refit(before, hessians[name], mask, damping=1e-4), weight.value, rtol=1e-3, atol=1e-4
        )
    assert np.array_equal(network["fc2"].weight.value, dense["fc2"].weight.value)
    if weight_norm:
        np.testing.assert_allclose(network["fc1"].gain.value, np.linalg.norm(network["fc1"].weight.value, axis=1), 1e-5)
    for name, array in network.buffers().items():
        assert np.array_equal(array, dense.buffers()[name])


@pytest.mark.parametrize("weight_norm", [False, True])
def test_each_layer_is_nearer_to_the_dense_one_than_by_magnitude(rng, weight_norm):
    network, data = network_and_data(rng, weight_norm=weight_norm, depthwise=True)
    dense, refitted, magnitude = network.copy(), network.copy(), network.copy()
    masks = sn.obc_prune(network, data, 0.6, damping=1e-4)
    counts = {name: (~mask).reshape(len(mask), -1).sum(axis=1) for name, mask in masks.items()}
    smallest = {
        name: by_magnitude(np.abs(weight.value).reshape(len(weight.value), -1), counts[name]).reshape(weight.shape) > 0
        for name, weight in dense.weights().items()
    }
    assert sn.reconstruct(refitted, data, smallest, damping=1e-4).keys() == smallest.keys()
    magnitude.apply_masks(smallest)
    outputs = dense.outputs(data[0])
    for node in dense.nodes:
        if node.name in masks:
            rows = unroll(dense[node.name], outputs[node.inputs[0]]).astype(np.float64)
            of = lambda model, rows=rows, name=node.name: (  # noqa: E731
                model[name].weight.value.reshape(rows.shape[1], -1, rows.shape[2]).astype(np.float64) @ rows
            )
            distances = [np.square(of(model) - of(dense)).sum() for model in (network, refitted, magnitude)]
            assert all(low <= high * (1 + 1e-6) for low, high in pairwise(distances)), (node.name, distances)


def test_rounds_keep_what_is_pruned(rng):
    network, data = network_and_data(rng)
    before = network.masks()
    for sparsity in (0.3, 0.6, 0.8):
        sn.obc_prune(network, data, sparsity)
        for name, mask in network.masks().items():
            assert (~mask).sum() == round(sparsity * mask.size)
            assert not (mask & ~before[name]).any()
        before = network.masks()
    masks = sn.reconstruct(network, data, {"fc1": np.ones(before["fc1"].shape, bool)})
    assert np.array_equal(masks["fc1"], before["fc1"])


def test_nm_and_blocks_of_networks(rng):
    layers = {"fc1": sn.Linear(8, 6, seed=1), "relu": sn.ReLU(), "fc2": sn.Linear(6, 3, seed=2)}
    network = sn.chain(layers)
    data = rng.standard_normal((30, 8)).astype(np.float32), rng.integers(0, 3, 30)
    blocks = network.copy()
    with pytest.raises(ValueError, match="of must divide the weights of each row, which 4 does not in 'fc2'"):
        sn.obc_prune_nm(network, data, 2, 4)
    masks = sn.obc_prune_nm(network, data, 2, 4, exclude=["fc2"])
    assert (masks["fc1"].reshape(6, 2, 4).sum(axis=2) == 2).all()
    assert np.array_equal(network.masks()["fc1"], masks["fc1"])
    masks = sn.obc_prune(blocks, data, 0.5, block=2)
    assert masks["fc1"].reshape(24, 2).any(axis=1).sum() == masks["fc1"].reshape(24, 2).all(axis=1).sum() == 12


def test_seed_and_threads(rng):
    network, data = network_and_data(rng)
    models = [network.copy() for _ in range(3)]
    for model, threads, seed in zip(models, (1, 2, 1), (3, 3, 4), strict=True):
        sn.obc_prune(model, data, 0.5, batch_size=10, max_batches=2, seed=seed, threads=threads)
    values = [model["fc1"].weight.value for model in models]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])
    drawn = np.random.default_rng(3).permutation(40)[:20]
    same = network.copy()
    sn.obc_prune(same, (data[0][drawn], data[1][drawn]), 0.5, max_batches=None)
    np.testing.assert_allclose(same["fc1"].weight.value, values[0], rtol=1e-4, atol=1e-6)


def test_errors_change_nothing(rng):
    network, data = network_and_data(rng)
    before = network.copy()
    broken = data[0].copy()
    broken[0] = np.nan
    for message, call in {
        "sparsity must be in": lambda: sn.obc_prune(network, data, 1.0),
        "exclude names 'no'": lambda: sn.obc_prune(network, data, 0.5, exclude=["no"]),
        "overrides names 'no'": lambda: sn.obc_prune(network, data, 0.5, overrides={"no": 0.5}),
        "which exclude leaves out": lambda: sn.obc_prune(network, data, 0.5, exclude=["fc1"], overrides={"fc1": 0.5}),
        "exclude must leave": lambda: sn.obc_prune(network, data, 0.5, exclude=list(network.weights())),
        "block must be": lambda: sn.obc_prune(network, data, 0.5, block=0),
        "hessian must be finite": lambda: sn.obc_prune(network, (broken, data[1]), 0.5),
        "data must have as many": lambda: sn.obc_prune(network, (data[0], data[1][:3]), 0.5),
        "masks names 'no'": lambda: sn.reconstruct(network, data, {"no": np.ones(3, bool)}),
        "masks must name": lambda: sn.reconstruct(network, data, {}),
        "the mask of 'fc1' must be bool": lambda: sn.reconstruct(network, data, {"fc1": np.ones(3, bool)}),
        "of must be at least 4": lambda: sn.obc_prune_nm(network, data, 4, 2),
    }.items():
        with pytest.raises(ValueError, match=message):
            call()
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)
        assert parameter.mask is None


def test_digits_survive_without_retraining(trained, digits):
    """90 % gone of both convolutions and the output layer in one step: most with new masks, some with new weights."""
    pruned, refitted, magnitude = (trained.copy() for _ in range(3))
    masks = sn.make_masks(sn.score(trained, sn.scores.l1), 0.9, scope="layer", exclude=["fc1"])
    sn.obc_prune(pruned, digits.train, 0.9, exclude=["fc1"], max_batches=2)
    sn.reconstruct(refitted, digits.train, masks, max_batches=2)
    magnitude.apply_masks(masks)
    models = (trained, pruned, refitted, magnitude)
    lost = [1 - sn.evaluate(model, digits.test).accuracy for model in models]
    assert lost[1] < lost[2] < lost[3]
    assert lost[1] - lost[0] < (lost[3] - lost[0]) / 5


def test_layers_that_are_left_out_take_no_curvature(rng, monkeypatch):
    from sparsenet.pruning import reconstruction

    asked, honest = [], reconstruction.input_hessian
    monkeypatch.setattr(
        reconstruction, "input_hessian", lambda *args, names: asked.append(set(names)) or honest(*args, names=names)
    )
    network = sn.chain({"wide": sn.Linear(30, 4, seed=1), "relu": sn.ReLU(), "fc": sn.Linear(4, 3, seed=2)})
    data = rng.standard_normal((8, 30)).astype(np.float32), rng.integers(0, 3, 8)
    assert set(sn.obc_prune(network, data, 0.5, exclude=["wide"])) == {"fc"}
    assert asked == [{"fc"}]
