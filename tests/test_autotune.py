"""How a form is chosen: by a clock that is not the machine's, so that what it says is known."""

from dataclasses import replace

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.engine import autotune
from sparsenet.engine.autotune import Candidate, Setting, choose, is_doubtful, is_unlikely
from sparsenet.engine.folding import FoldedLayer
from sparsenet.engine.lowering import lower_linear
from sparsenet.kernels.sparse_matrix import to_csr

SETTING = Setting((4,), (3,), batch=4, threads=1, seconds=0.05)


class Clock:
    """Time passes only in calls: `takes` says how much each form's does, `slowed` by what its k-th call is slower."""

    def __init__(self, takes, slowed=lambda form, call: 1.0):
        self.now, self.takes, self.slowed, self.calls = 0.0, takes, slowed, dict.fromkeys(takes, 0)

    def run(self, form):
        def run(x, y):
            self.now += self.takes[form] * self.slowed(form, self.calls[form])
            self.calls[form] += 1

        return run


@pytest.fixture
def chosen(monkeypatch):
    """choose() among forms that take what a clock says and cost what a model says."""
    layer = sn.Linear(4, 3)
    step = lower_linear(
        FoldedLayer(layer, to_csr(layer.weight.value), layer.bias.value, False), to_csr(layer.weight.value), 4
    )

    def choose_by(clock, costs):
        built = {form: Candidate(lambda: None, replace(step, cost=cost)) for form, cost in costs.items()}
        names = {id(candidate): form for form, candidate in built.items()}
        monkeypatch.setattr(autotune, "runnable", lambda candidate, setting: clock.run(names[id(candidate)]))
        monkeypatch.setattr(autotune.time, "perf_counter", lambda: clock.now)
        return choose({form: (lambda c=candidate: c) for form, candidate in built.items()}, SETTING)

    return choose_by


TAKES, COSTS = {"csr": 0.010, "dense": 0.025}, {"csr": 1.0, "dense": 3.0}


def test_the_faster_form_wins(chosen):
    choice = chosen(Clock(TAKES), COSTS)
    assert choice.form == "csr"
    assert choice.measured == pytest.approx(TAKES)
    assert choice.costs == COSTS


@pytest.mark.parametrize("call", range(6))
@pytest.mark.parametrize("form", TAKES)
def test_one_slow_call_changes_nothing(chosen, form, call):
    clock = Clock(TAKES, lambda name, number: 3.0 if (name, number) == (form, call) else 1.0)
    assert chosen(clock, COSTS).form == "csr"


def test_a_burst_that_outlasts_a_measurement_changes_nothing(chosen):
    """All calls of the better form in the first measurement are three times slower: the model objects."""
    clock = Clock(TAKES, lambda form, call: 3.0 if form == "csr" and call < 6 else 1.0)
    choice = chosen(clock, COSTS)
    assert choice.form == "csr"
    assert choice.measured["csr"] == pytest.approx(0.010)


@pytest.mark.parametrize("slow", ["csr, 8 lanes", "csr, 16 lanes"])
@pytest.mark.parametrize("better", ["csr, 8 lanes", "csr, 16 lanes"])
@pytest.mark.parametrize("cheaper", [1.0, 1.2])
def test_a_burst_changes_nothing_among_forms_of_about_the_same_cost(chosen, slow, better, cheaper):
    """One of two forms is three times slower for a whole measurement, whatever the model thinks of the two."""
    takes = dict.fromkeys(("csr, 8 lanes", "csr, 16 lanes"), 0.013) | {better: 0.010}
    costs = {"csr, 8 lanes": cheaper, "csr, 16 lanes": 1.1}
    clock = Clock(takes, lambda form, call: 3.0 if form == slow and call < 6 else 1.0)
    choice = chosen(clock, costs)
    assert choice.form == better
    assert choice.measured == pytest.approx(takes)


def test_doubt_by_hand():
    costs = {"csr": 1.0, "dense": 1.4}
    assert is_doubtful("dense", costs, {"csr": 0.3, "dense": 0.2})  # 2.1 times what the model thinks
    assert not is_doubtful("dense", costs, {"csr": 0.27, "dense": 0.2})
    assert not is_doubtful("csr", {"csr": 1.0, "dense": 1.6}, {"csr": 0.1, "dense": 9.0})  # no rival by the model
    assert not is_doubtful("blas", {"csr": 1.0, "dense": 1.0}, {"csr": 9.0, "dense": 9.0, "blas": 1.0})  # not known
    assert not is_doubtful("csr", {"csr": 0.0}, {"csr": 0.1})


def test_the_clock_has_the_last_word(chosen):
    """Where the model is wrong, measuring again says the same, and that is what counts; an end there is, too."""
    clock = Clock({"csr": 0.025, "dense": 0.010})
    choice = chosen(clock, COSTS)
    assert choice.form == "dense"
    assert clock.calls["dense"] <= 2 * autotune.TRIALS * (1 + autotune.REPEATS)


def test_no_second_look_where_the_model_agrees(chosen):
    clock = Clock({"csr": 0.025, "dense": 0.024})
    assert chosen(clock, {"csr": 1.0, "dense": 1.2}).form == "dense"
    assert clock.calls["dense"] <= 2 * autotune.TRIALS


def test_unlikely_by_hand():
    assert not is_unlikely("csr", {"csr": 1.0, "dense": 3.0})
    assert is_unlikely("dense", {"csr": 1.0, "dense": 1.6})
    assert not is_unlikely("dense", {"csr": 1.0, "dense": 1.4})
    assert is_unlikely("blas", {"csr": 1.0, "dense": 3.0})  # it multiplies as much as dense
    assert not is_unlikely("blas", {"csr": 0.0})  # sample by sample there is no model
    assert not is_unlikely("csr", {})


def test_verbose_says_what_the_model_thought():
    network = sn.chain({"conv": sn.Conv2d(8, 8, 3, padding=1, seed=1), "relu": sn.ReLU()})
    rng = np.random.default_rng(0)
    network.apply_masks({"conv": rng.random((8, 8, 3, 3)) < 0.1})
    plan = sn.compile(network, (8, 16, 16), threads=1, form={"conv": "csr"})
    assert "model: csr 1.00; 1 outputs x" in plan.explain(verbose=True)
    assert "model" not in plan.explain()
