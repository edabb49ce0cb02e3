"""The cycle: the hand-written loop gives the same bits; stop rules and rollback; delete or reduce; history."""

from itertools import pairwise

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.data.datasets import Split
from sparsenet.pruning.targets import falls_short


@pytest.fixture
def few(digits):
    return Split(digits.train.x[:200], digits.train.y[:200])


def bits(network):
    return b"".join(p.value.tobytes() for p in network.parameters().values())


def retrainer(few, epochs=1):
    return lambda network: sn.fit(network, few, epochs=epochs, optimizer=sn.SGD(lr=0.02, momentum=0.9), seed=0)


@pytest.mark.parametrize("strategy", sn.strategies.STRATEGIES)
@pytest.mark.parametrize("criterion", ["l1", "taylor", "random"])
def test_the_hand_written_loop_gives_the_same_bits(trained, few, strategy, criterion):
    chosen, criterion = sn.strategies.STRATEGIES[strategy], getattr(sn.scores, criterion)
    schedule = [0.05, 0.1] if strategy == "max_threshold" else sn.schedules.cubic(rounds=2, final=0.7)
    by_hand, automatic = trained.copy(), trained.copy()
    for sparsity in schedule:
        scores = sn.score(by_hand, criterion, few)
        sn.prune(by_hand, scores, chosen, sparsity)
        sn.fit(by_hand, few, epochs=1, optimizer=sn.SGD(lr=0.02, momentum=0.9), seed=0)
    history = sn.iterative_prune(
        automatic, few, schedule=schedule, criterion=criterion, strategy=chosen, retrain=retrainer(few)
    )
    assert bits(by_hand) == bits(automatic)
    assert history.rounds[-1].sparsity == by_hand.sparsity() > 0


def test_the_loop_of_the_five_calls(trained, few):
    """The loop as the README shows it, with make_masks and apply_masks: `proportional` is nothing else."""
    by_hand, automatic = trained.copy(), trained.copy()
    for sparsity in sn.schedules.cubic(rounds=3, final=0.9):
        scores = sn.score(by_hand, sn.scores.l1)
        by_hand.apply_masks(sn.make_masks(scores, sparsity, current=by_hand.masks()))
        sn.fit(by_hand, few, epochs=1, optimizer=sn.SGD(lr=0.02, momentum=0.9), seed=0)
    sn.iterative_prune(automatic, few, schedule=sn.schedules.cubic(3, 0.9), retrain=retrainer(few))
    assert bits(by_hand) == bits(automatic)


def test_pruned_weights_stay_zero_and_sparsity_is_exact(trained, few):
    network = trained.copy()
    schedule, masks = sn.schedules.geometric(3, 0.9), []
    history = sn.iterative_prune(
        network, few, schedule=schedule, retrain=retrainer(few), on_round=lambda r: masks.append(network.masks())
    )
    total = sum(w.value.size for w in network.weights().values())
    for wanted, round_ in zip(schedule, history.rounds, strict=True):
        assert round(round_.sparsity * total) == round(wanted * total)
    for earlier, later in pairwise(masks):
        assert not any((later[name] & ~earlier[name]).any() for name in earlier)
    for name, weight in network.weights().items():
        assert not weight.value[~masks[-1][name]].any()
    assert history.stopped == "no more rounds"


def test_accuracy_below_the_limit_rolls_back_to_the_last_good_network(trained, few, digits):
    network, good = trained.copy(), []

    def destroy(net):  # a retraining that fails in the second round
        good.append(net.copy())
        if len(good) == 2:
            for weight in net.weights().values():
                weight.value *= 0

    history = sn.iterative_prune(
        network, few, validation=digits.validation, schedule=[0.2, 0.4, 0.6], retrain=destroy, max_drop=0.05
    )
    assert [r.accepted for r in history.rounds] == [True, False]
    assert history.last_good is history.rounds[0]
    assert "rolled back" in history.stopped
    assert bits(network) == bits(good[0])
    assert network.sparsity() == pytest.approx(0.2, abs=1e-5)
    assert sn.evaluate(network, digits.validation).accuracy >= history.baseline_accuracy - 0.05


def test_target_stops_early(trained, few):
    history = sn.iterative_prune(
        trained.copy(), few, schedule=[0.3, 0.6, 0.9], retrain=lambda network: None, target=0.5
    )
    assert len(history.rounds) == 2
    assert history.stopped == "target reached"


@pytest.mark.parametrize("factor", [0.0, 0.25])
def test_delete_or_reduce(trained, factor):
    network, before = trained.copy(), trained.weights()
    masks = sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5, factor=factor)
    for name, weight in network.weights().items():
        expected = np.where(masks[name], before[name].value, before[name].value * np.float32(factor))
        assert np.array_equal(weight.value, expected)
        assert (weight.mask is None) == (factor > 0)
    assert network.sparsity() == pytest.approx(0 if factor else 0.5, abs=1e-4)


def test_reduce_works_on_normalised_weights_too():
    network = sn.models.simple_cnn(weight_norm=True, seed=1)
    before = {name: weight.value.copy() for name, weight in network.weights().items()}
    masks = sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.5, factor=0.5)
    for name, weight in network.weights().items():
        expected = np.where(masks[name], before[name], before[name] * np.float32(0.5))
        np.testing.assert_allclose(weight.value, expected, rtol=1e-5, atol=1e-7)


def test_layers_left_out_and_layers_with_their_own_sparsity(trained, few):
    network = trained.copy()
    options = {"exclude": ["conv1"], "overrides": {"fc2": 0.25}}
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.8, **options)
    sparsity = {name: 1 - mask.mean() for name, mask in network.masks().items()}
    assert sparsity == pytest.approx({"conv1": 0, "conv2": 0.8, "fc1": 0.8, "fc2": 0.25}, abs=1e-3)
    for bad in ({"exclude": ["conv7"]}, {"overrides": {"conv7": 0.1}}):
        with pytest.raises(ValueError, match="names 'conv7'; the layers are 'conv1', 'conv2', 'fc1', 'fc2'"):
            sn.iterative_prune(trained.copy(), few, schedule=[0.5], retrain=lambda net: None, **bad)


def test_costs_in_the_history(trained, few):
    network = trained.copy()
    history = sn.iterative_prune(
        network, few, schedule=[0.5], strategy=sn.strategies.layerwise, retrain=lambda net: None, max_drop=1.0
    )
    (only,) = history.rounds
    # conv1 72 of 144 at 28 x 28, conv2 2304 of 4608 at 14 x 14, fc1 100352, fc2 640
    assert only.macs_kept == 72 * 784 + 2304 * 196 + 100_352 + 640
    assert only.parameters_kept == 72 + 2304 + 100_352 + 640 + 16 + 32 + 128 + 10
    assert only.layer_sparsity == dict.fromkeys(["conv1", "conv2", "fc1", "fc2"], 0.5)
    assert only.seconds > 0
    assert only.accuracy == only.accuracy_before  # nothing was retrained


def test_bad_arguments_are_named(trained, few):
    with pytest.raises(ValueError, match="max_drop"):
        sn.iterative_prune(trained.copy(), few, schedule=[0.5], retrain=lambda net: None, max_drop=2)
    with pytest.raises(ValueError, match="target"):
        sn.iterative_prune(trained.copy(), few, schedule=[0.5], retrain=lambda net: None, target=90)
    with pytest.raises(ValueError, match="factor"):
        sn.iterative_prune(trained.copy(), few, schedule=[0.5], retrain=lambda net: None, factor=1.0)


def test_a_network_of_nan_is_refused(trained, few):
    network = trained.copy()

    def spoil(net):
        net["fc2"].bias.value[:] = np.nan

    history = sn.iterative_prune(network, (few.x, 0 * few.y), schedule=[0.3], retrain=spoil)
    assert not history.rounds[0].accepted
    assert np.isfinite(network["fc2"].bias.value).all()


def test_whatever_is_raised_the_network_is_the_last_good_one(trained, few):
    for schedule, error in (([0.5, 1.0], ValueError), ([0.3, 0.5], KeyboardInterrupt)):
        network, rounds = trained.copy(), []

        def retrain(net, rounds=rounds):
            rounds.append(net.copy())
            if len(rounds) == 2:
                raise KeyboardInterrupt

        with pytest.raises(error):
            sn.iterative_prune(network, few, schedule=schedule, retrain=retrain)
        assert bits(network) == bits(rounds[0] if rounds else trained)


def test_an_error_of_the_hook_leaves_the_good_network(trained, few):
    network = trained.copy()

    def spoil(net):
        for weight in net.weights().values():
            weight.value *= 0

    def hook(round_):
        raise RuntimeError("the hook's own")

    with pytest.raises(RuntimeError, match="the hook's own"):
        sn.iterative_prune(network, few, schedule=[0.5], retrain=spoil, max_drop=0.0, on_round=hook)
    assert bits(network) == bits(trained)


def test_target_counts_as_make_masks_does(trained, few):
    """0.9 of 206,736 weights is no whole number: the rounded count reaches it."""
    history = sn.iterative_prune(trained.copy(), few, schedule=[0.9, 0.95], retrain=lambda net: None, target=0.9)
    assert history.stopped == "target reached"
    assert len(history.rounds) == 1


def test_scores_of_some_layers_only(trained):
    network = trained.copy()
    sn.prune(network, {"fc1": sn.score(network, sn.scores.l1)["fc1"]}, sn.strategies.channelwise, 0.5)
    assert network.masks()["fc1"].reshape(128, -1).any(axis=1).sum() == 64
    assert network.masks()["conv2"].all()
    with pytest.raises(ValueError, match="overrides names 'fc2'"):
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.channelwise, 0.5, overrides={"fc2": 0.5})


def test_the_cycle_tells_of_scores_that_rank_nothing_only_where_they_are_used(few):
    def flat(weight):
        return np.zeros_like(weight) if weight.shape == (2, 4) else np.abs(weight)

    network = sn.chain({"a": sn.Linear(64, 4, seed=1), "relu": sn.ReLU(), "b": sn.Linear(4, 2, seed=2)})
    data = few.x[:, :, :8, :8].reshape(200, 64), few.y % 2
    options = {"schedule": [0.5], "criterion": flat, "strategy": sn.strategies.layerwise, "retrain": lambda net: None}
    with pytest.warns(UserWarning, match="criterion 'flat' gives units of 'b' that went and units") as caught:
        sn.iterative_prune(network.copy(), data, **options)
    assert caught[0].filename == __file__
    sn.iterative_prune(network.copy(), data, exclude=["b"], **options)
    sn.iterative_prune(network.copy(), data, **options | {"strategy": sn.strategies.max_threshold})  # no ranks


def test_layers_that_have_to_stay_are_told_once(few):
    network = sn.chain(
        {
            "a": sn.Conv2d(1, 4, 3, seed=1),
            "b": sn.Conv2d(4, 4, 3, groups=2, seed=2),
            "c": sn.Conv2d(4, 6, 1, seed=3),
            "d": sn.Conv2d(6, 10, 1, seed=4),
            "pool": sn.GlobalAvgPool2d(),
        }
    )
    with pytest.warns(
        UserWarning, match=r"not pruned by Filter\(\): 'a': layer 'b' behind it is a convo.*; 'b'"
    ) as caught:
        history = sn.iterative_prune(
            network, few, schedule=[0.3, 0.5], strategy=sn.strategies.channelwise, retrain=lambda net: None
        )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert [round_.requested for round_ in history.rounds] == [0.3, 0.5]
    assert network.masks()["c"].any(axis=(1, 2, 3)).sum() == 3


def test_nothing_left_to_prune_is_an_error(trained):
    scores = sn.score(trained, sn.scores.l1)
    for strategy in (sn.strategies.layerwise, sn.strategies.channelwise):
        with pytest.raises(ValueError, match=r"no layer is left to prune .*'conv1': it is excluded"):
            sn.prune(trained.copy(), scores, strategy, 0.5, exclude=list(scores))


def test_masks_and_scores_share_no_memory_with_the_network(trained):
    network = trained.copy()
    scores = sn.score(network, sn.scores.l1)
    given = {name: array.copy() for name, array in scores.items()}
    masks = sn.prune(network, scores, sn.strategies.layerwise, 0.5)
    for name, mask in masks.items():
        assert np.array_equal(scores[name], given[name])
        assert not np.shares_memory(mask, network[name].weight.mask)
        assert not np.shares_memory(mask, network.masks()[name])


def thin(*sizes):
    """Linear layers of these sizes; the last is the output."""
    sizes = list(pairwise(sizes))
    return sn.chain({f"fc{n}": sn.Linear(*size, seed=n) for n, size in enumerate(sizes, 1)})


FILTERS = sn.strategies.channelwise
FOUR = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("sizes", "sparsity", "message"),
    [
        ((4, 1, 2), 0.9, r"nothing was pruned by Filter\(\) at 0\.9: 0 of 1 units are gone"),
        ((4, 4, 2), 0.1, r"nothing was pruned by Filter\(\) at 0\.1: 0 of 4 units are gone"),
        ((4, 1, 1, 2), 0.5, r"0 of 2 units are gone"),
    ],
)
def test_a_call_that_prunes_nothing_says_so(sizes, sparsity, message):
    network = thin(*sizes)
    with pytest.warns(UserWarning, match=message) as caught:
        sn.prune(network, sn.score(network, sn.scores.l1), FILTERS, sparsity)
    assert [told.filename for told in caught] == [__file__]
    with pytest.warns(UserWarning, match=message) as caught:
        history = sn.iterative_prune(network, FOUR, schedule=[sparsity] * 3, strategy=FILTERS, retrain=lambda net: None)
    assert [told.filename for told in caught] == [__file__]
    assert history.stopped == "no more rounds: the last one pruned nothing"


@pytest.mark.parametrize(
    ("sizes", "asked", "alone", "wanted"),
    [
        ((5, 5), (0.5, 0.5), (), 4),  # 2.5 + 2.5, or 2 + 2
        ((5, 5), (0.3, 0.3), (), 3),  # 1.5 + 1.5, or 2 + 2
        ((2, 2), (0.35, 0.35), (), 1),  # 0.7 + 0.7 = 1.4, or 1 + 1
        ((5, 7), (0.5, 0.5), ("a",), 6),  # 2 of the one, and 4 of the other
        ((5, 5), (0.01, 0.0), (), 1),  # at least one
    ],
)
def test_what_is_asked_for_is_less_by_layer_or_by_all(sizes, asked, alone, wanted):
    asked = dict(zip("ab", asked, strict=True))
    for gone in (wanted - 1, wanted):
        kept = np.arange(sum(sizes)) >= gone
        masks = {"a": kept[: sizes[0], None], "b": kept[sizes[0] :, None]}
        told = falls_short(sn.strategies.proportional, asked, masks, masks, alone=alone)
        assert told.startswith("nothing was pruned") == (gone < wanted)
        assert (f"{gone} of {sum(sizes)} units are gone" in told) == (gone < wanted)


def test_a_layer_of_which_nothing_is_asked_hides_no_other():
    network = thin(4, 4, 4, 2)
    with pytest.warns(UserWarning, match=r"at 0 or 0\.1: 0 of 8 units are gone"):
        sn.prune(network, sn.score(network, sn.scores.l1), FILTERS, 0.1, overrides={"fc2": 0.0})


def test_what_was_pruned_before_and_what_was_not_asked_for_is_no_news():
    network = thin(4, 4, 2)
    for sparsity in (0.0, 0.3, 0.3, 0.25, 0.5, 0.5, 0.6):  # round(1.2) = 1, round(2.4) = 2
        sn.prune(network, sn.score(network, sn.scores.l1), FILTERS, sparsity)
    for _ in range(2):
        sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.max_threshold, 0.5)
    sn.prune(network, sn.score(network, sn.scores.l1), FILTERS, 0.75)
    with pytest.warns(UserWarning, match="3 of 4 units are gone"):  # the last one stays
        sn.prune(network, sn.score(network, sn.scores.l1), FILTERS, 0.99)


def test_a_round_that_prunes_nothing_and_is_made_up_for_is_no_news():
    history = sn.iterative_prune(
        thin(4, 4, 2), FOUR, schedule=[0.1, 0.5, 0.5], strategy=FILTERS, retrain=lambda net: None
    )
    assert [round_.layer_sparsity["fc1"] for round_ in history.rounds] == [0, 0.5, 0.5]
    assert history.stopped == "no more rounds"


@pytest.mark.parametrize("schedule", [[0.5], [0.3, 0.5], []])
def test_a_target_that_is_not_reached_is_told_once(schedule):
    with pytest.warns(
        UserWarning, match=r"the target, a sparsity of 0\.9, is not reached: the schedule ended at"
    ) as caught:
        history = sn.iterative_prune(thin(4, 4, 2), FOUR, schedule=schedule, target=0.9, retrain=lambda net: None)
    assert [told.filename for told in caught] == [__file__]
    assert history.stopped == "no more rounds: target not reached"


@pytest.fixture(scope="module")
def angles():
    """(data, network that has learnt the angle of the digits a little)."""
    data = sn.load_dataset("digits_angle")
    network = sn.models.lenet_300_100(data.input_shape, data.outputs, seed=0)
    sn.fit(network, data.train, epochs=4, optimizer=sn.Adam(lr=2e-3), batch_size=32, seed=0, **SQUARED)
    return data, network


SQUARED = {"loss": sn.mean_squared_error, "metric": sn.losses.r_squared, "threads": 1}


@pytest.mark.parametrize(
    ("strategy", "asked", "gone"),
    [("layerwise", 0.8, 0.8), ("channelwise", 0.5, 0.55), ("proportional", 0.8, 0.8), ("max_threshold", 0.2, 0.6)],
)
def test_every_strategy_prunes_a_regression(angles, strategy, asked, gone):
    data, network = angles[0], angles[1].copy()

    def retrain(network):
        sn.fit(network, data.train, epochs=1, optimizer=sn.Adam(lr=2e-3), batch_size=32, seed=1, **SQUARED)

    options = {"strategy": sn.strategies.STRATEGIES[strategy], "schedule": [asked], "validation": data.validation}
    history = sn.iterative_prune(network, data.train, retrain=retrain, **options, **SQUARED)
    assert network.sparsity() == pytest.approx(gone, abs=0.15)
    assert history.baseline_accuracy == sn.evaluate(angles[1], data.validation, **SQUARED).accuracy > 0.8
    assert 0.6 < history.rounds[0].accuracy == sn.evaluate(network, data.validation, **SQUARED).accuracy


def test_max_drop_of_a_regression_is_one_of_r_squared(angles):
    data, network = angles[0], angles[1].copy()
    options = {"schedule": [0.99], "retrain": lambda network: None, "max_drop": 0.1} | SQUARED
    history = sn.iterative_prune(network, data.train, validation=data.validation, **options)
    assert history.rounds[0].accuracy < history.baseline_accuracy - 0.1
    assert history.stopped == "accuracy fell too far: rolled back to the last good network"
    assert network.sparsity() == 0
