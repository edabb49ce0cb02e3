"""Pruning at initialization: rounds by hand and by plain loops, exact counts, layers that stay, roll-backs."""

import warnings

import numpy as np
import pytest
from random_graphs import GRAPH_IMAGE, linear_chain, random_graph, residual

import sparsenet as sn
from sparsenet.pruning.foresight import prune_at_initialization
from sparsenet.verify.definitions import criteria_gradients as definitions


def batch_of(rng, count=12):
    return rng.standard_normal((count, *GRAPH_IMAGE)).astype(np.float32), rng.integers(0, 3, count)


def kept(network):
    masks = network.masks().values()
    return sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)


@pytest.mark.parametrize("criterion", ["snip", "synflow", "grasp"])
def test_one_way_it_is_score_and_prune_by_hand(rng, criterion):
    """The four lines that a user would write, with the same bits; the weights that stay keep their values."""
    data, schedule = batch_of(rng), sn.schedules.geometric(5, 0.9)
    network, by_hand = residual(), residual()
    start = {name: weight.value.copy() for name, weight in network.weights().items()}
    criterion = sn.scores.CRITERIA[criterion]
    masks = prune_at_initialization(network, criterion, data, schedule=schedule, seed=3, batch_size=4, max_batches=2)
    draws = np.random.default_rng(3)
    for sparsity in schedule:
        scores = sn.score(by_hand, criterion, data, seed=draws, batch_size=4, max_batches=2)
        last = sn.prune(by_hand, scores, sn.strategies.proportional, sparsity)
    for name, weight in network.weights().items():
        assert np.array_equal(masks[name], last[name])
        assert np.array_equal(network.masks()[name], by_hand.masks()[name])
        np.testing.assert_allclose(weight.value, np.where(network.masks()[name], start[name], 0), rtol=1e-6)
    count, total = kept(network)
    assert total - count == round(0.9 * total)


def flat_rounds(network, data, schedule, revive):
    """(mask by plain loops, mask by the package) of a network with two linear layers, and SNIP's scores."""
    names, start = list(network.weights()), {name: w.value.copy() for name, w in network.weights().items()}
    cuts = np.cumsum([start[name].size for name in names])[:-1]

    def scores(mask):
        """|theta g|, g by central differences at the network with the mask."""
        masked = network.copy()
        parts = dict(zip(names, np.split(mask, cuts), strict=True))
        arrays = {name: np.where(parts[name].reshape(start[name].shape), start[name], 0) for name in names}

        def loss():
            for name in names:
                masked[name].weight.value[...] = arrays[name]
            return sn.softmax_cross_entropy(masked(data[0]), data[1])[0]

        found = [start[name] * definitions.central_difference(loss, arrays[name]) for name in names]
        return np.abs(np.concatenate([array.ravel() for array in found]))

    expected = definitions.prune_in_rounds(scores, sum(a.size for a in start.values()), schedule, revive=revive)
    made = prune_at_initialization(network, sn.scores.snip, data, schedule=schedule, revive=revive)
    return expected, np.concatenate([made[name].ravel() for name in names])


@pytest.mark.parametrize("seed", range(4))
def test_force_and_iterative_snip_are_their_loops(rng, seed):
    """Gradients by differences, sorted lists for masks; what comes back differs from what never could."""
    data = rng.standard_normal((10, 4)), rng.integers(0, 3, 10)
    schedule = sn.schedules.geometric(6, 0.6)
    made = {}
    for revive in (False, True):
        network = linear_chain((4, 6, 3), seed, relu=False).astype(np.float64)
        network["fc0"].bias.value[:] = 0  # the loops know nothing of a bias that goes with its neuron
        expected, made[revive] = flat_rounds(network, data, schedule, revive)
        assert np.array_equal(made[revive], expected)
    assert made[True].sum() == made[False].sum() == 42 - round(0.6 * 42)


def test_what_was_pruned_comes_back_with_its_value(rng):
    """FORCE ends elsewhere than one way on some seed, and every weight that it keeps has the value that it had."""
    apart = 0
    for seed in range(4):
        data, networks = batch_of(rng), [residual(seed), residual(seed)]
        start = networks[0].copy()
        schedule = sn.schedules.geometric(6, 0.9)
        for revive, network in zip((False, True), networks, strict=True):
            prune_at_initialization(network, sn.scores.snip, data, schedule=schedule, revive=revive)
            assert network.sparsity() == pytest.approx(0.9, abs=2e-3)
        masks = [network.masks() for network in networks]
        apart += sum(int((masks[0][name] != masks[1][name]).sum()) for name in masks[0])
        for name, weight in networks[1].weights().items():
            mask = masks[1][name]
            np.testing.assert_allclose(weight.value, np.where(mask, start[name].weight.value, 0), rtol=1e-5)
    assert apart > 0


def test_reviving_scores_with_the_gradient_of_the_pruned_network(rng):
    """The second round sees the first one's masks: a criterion that looks is told so."""
    network, data = residual(), batch_of(rng)
    start = {name: weight.value.copy() for name, weight in network.weights().items()}
    seen, live = [], []

    def watch(weight, mean_gradient):
        seen.append(weight.copy())
        live.append({name: mask.sum() for name, mask in network.masks().items()})
        return np.abs(weight * mean_gradient)

    prune_at_initialization(network, watch, data, schedule=[0.3, 0.6], revive=True)
    for place, name in enumerate(network.weights()):
        assert np.array_equal(seen[place], start[name])
        assert np.array_equal(seen[len(start) + place], start[name])
    total = sum(array.size for array in start.values())
    assert sum(live[-1].values()) == total - round(0.3 * total)


@pytest.mark.parametrize("revive", [False, True])
@pytest.mark.parametrize("strategy", ["proportional", "layerwise", "channelwise"])
@pytest.mark.parametrize("criterion", ["snip", "synflow"])
def test_structures_and_residual_networks(rng, criterion, strategy, revive):
    """No layer collapses, what is tied goes together, and the network computes what its compacted form does."""
    network, data = residual(), batch_of(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ties, and of the grouped layer
        prune_at_initialization(
            network,
            sn.scores.CRITERIA[criterion],
            data,
            schedule=sn.schedules.geometric(4, 0.5),
            strategy=sn.strategies.STRATEGIES[strategy],
            revive=revive,
        )
    assert all(mask.any() for mask in network.masks().values())
    assert network.sparsity() > 0.2
    x = data[0]
    small = sn.remove_pruned_structures(network)
    np.testing.assert_allclose(small(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_synflow_in_a_hundred_rounds_keeps_every_layer_connected(seed):
    """At 97 % of a random network every layer still has weights that something flows through."""
    network = linear_chain((20, 30, 30, 10), seed)
    data = np.zeros((1, 20), np.float32), np.zeros(1, int)
    prune_at_initialization(network, sn.scores.synflow, data, schedule=sn.schedules.geometric(100, 0.97))
    count, total = kept(network)
    assert total - count == round(0.97 * total)
    scores = sn.score(network, sn.scores.synflow, data)
    for name, mask in network.masks().items():
        assert mask.any()
        assert (scores[name][mask] > 0).all()  # no weight is left that nothing reaches


def test_in_one_round_synflow_starves_the_widest_layer():
    """What the hundred rounds are for: the widest layer keeps less of itself in one."""
    share = {}
    for rounds in (1, 100):
        network = linear_chain((20, 200, 10), 1)
        data = np.zeros((1, 20), np.float32), np.zeros(1, int)
        schedule = sn.schedules.geometric(rounds, 0.95)
        prune_at_initialization(network, sn.scores.synflow, data, schedule=schedule)
        scores = sn.score(network, sn.scores.synflow, data)
        alive = sum(int((scores[name] > 0).sum()) for name in scores)
        share[rounds] = alive / kept(network)[0]
    assert share[1] < share[100] == 1


def test_what_was_pruned_before_stays_pruned(rng):
    network, data = residual(), batch_of(rng)
    mask = rng.random((3, 8)) < 0.5
    network.apply_masks({"fc": mask})
    prune_at_initialization(network, sn.scores.snip, data, schedule=[0.3, 0.5], revive=True)
    assert not network.masks()["fc"][~mask].any()


def test_exclude_and_overrides_hold_in_every_round(rng):
    for revive in (False, True):
        network, data = residual(), batch_of(rng)
        options = {"exclude": ["fc"], "overrides": {"stem": 0.25}, "revive": revive}
        prune_at_initialization(network, sn.scores.snip, data, schedule=[0.5, 0.8], **options)
        masks = network.masks()
        assert masks["fc"].all()
        assert (~masks["stem"]).sum() == round(0.25 * masks["stem"].size)


def test_the_seed_settles_it_and_threads_do_not(rng):
    data, made = batch_of(rng, 40), []
    for seed, threads in ((1, 1), (1, 2), (2, 1)):
        network = residual()
        options = {"schedule": [0.4, 0.8], "revive": True, "batch_size": 4, "max_batches": 1}
        made.append(prune_at_initialization(network, sn.scores.snip, data, seed=seed, threads=threads, **options))
    assert all(np.array_equal(made[0][name], made[1][name]) for name in made[0])
    assert any((made[0][name] != made[2][name]).any() for name in made[0])


@pytest.mark.parametrize("revive", [False, True])
def test_a_round_that_raises_leaves_the_network_as_it_was(rng, revive):
    network, data, calls = residual(), batch_of(rng), []
    before = network.copy()

    def breaks(weight, mean_gradient):
        calls.append(0)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return np.abs(weight * mean_gradient)

    with pytest.raises(KeyboardInterrupt):
        prune_at_initialization(network, breaks, data, schedule=[0.3, 0.6], revive=revive)
    assert network.sparsity() == 0
    for name, parameter in network.parameters().items():
        assert np.array_equal(parameter.value, before.parameters()[name].value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": []}, "schedule must hold at least one sparsity"),
        ({"schedule": [0.5, 1.0]}, r"schedule must be in \[0, 1\), not 1.0"),
        ({"schedule": [0.5], "exclude": ["nothing"]}, "exclude names 'nothing'"),
        ({"schedule": [0.5], "tied": "most"}, "tied must be one of sum, mean"),
    ],
)
def test_bad_input_is_told_before_anything_changes(rng, options, message):
    network = residual()
    with pytest.raises(ValueError, match=message):
        prune_at_initialization(network, sn.scores.snip, batch_of(rng), **options)
    assert network.sparsity() == 0
    with pytest.raises(TypeError, match=r"data must be a pair \(x, y\)"):
        prune_at_initialization(network, sn.scores.snip, None, schedule=[0.5])


def test_falling_short_is_told_once_at_the_end(rng):
    """Of 2 neurons round(0.2 2) = 0 go in the first round: no word of that; none at all in the end is told."""
    network = sn.chain({"a": sn.Linear(3, 2, seed=1), "relu": sn.ReLU(), "b": sn.Linear(2, 2, seed=2)})
    data = rng.standard_normal((6, 3)).astype(np.float32), rng.integers(0, 2, 6)
    options = {"strategy": sn.strategies.channelwise}
    with pytest.warns(UserWarning, match=r"nothing was pruned by Filter\(\) at 0.24") as told:
        prune_at_initialization(network, sn.scores.snip, data, schedule=[0.2, 0.24], **options)
    assert len(told) == 1
    prune_at_initialization(network, sn.scores.snip, data, schedule=[0.2, 0.5], **options)  # warnings are errors


@pytest.mark.parametrize("seed", range(3))
def test_random_networks_with_branches(rng, seed):
    network = random_graph(seed, 8).astype(np.float32)
    prune_at_initialization(network, sn.scores.synflow, batch_of(rng), schedule=sn.schedules.geometric(5, 0.5))
    count, total = kept(network)
    assert total - count == round(0.5 * total)


def test_values_to_score_are_checked():
    network = residual()
    own = network["fc"].weight.value
    for wrong, message in (
        ({"nothing": own}, "weights names 'nothing'"),
        ({"fc": own[:1]}, r"weights\['fc'\] must have the shape \(3, 8\), not \(1, 8\)"),
        ({"fc": own.tolist()}, r"weights\['fc'\] must be a NumPy array, not list"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            sn.score(network, sn.scores.l1, weights=wrong)
    found = sn.score(network, sn.scores.l1, weights={"fc": -2 * own})
    assert np.array_equal(found["fc"], np.abs(2 * own))
    assert np.array_equal(found["stem"], np.abs(network["stem"].weight.value))


def test_batches_are_drawn_as_score_draws_them_unless_told():
    import inspect

    own, scores = (inspect.signature(function).parameters for function in (prune_at_initialization, sn.score))
    for name in ("loss", "batch_size", "max_batches", "seed", "threads"):
        assert own[name].default == scores[name].default, name
