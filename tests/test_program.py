"""Plans as tables that threads walk through: the same bits however the work is divided, awake, asleep or forked."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from helpers import forms_of

import sparsenet as sn
from sparsenet.engine import lowering, program
from sparsenet.machine.worker_pool import SPIN_LIMIT


@pytest.fixture(scope="module")
def network():
    """Large enough that its layers are worth dividing, small enough for tests."""
    layers = {
        "conv1": sn.Conv2d(3, 20, 3, padding=1, seed=1),
        "relu1": sn.ReLU(),
        "pool1": sn.MaxPool2d(2),
        "conv2": sn.Conv2d(20, 24, 3, stride=2, padding=1, seed=2),
        "relu2": sn.ReLU(),
        "flatten": sn.Flatten(),
        "fc1": sn.Linear(24 * 7 * 7, 50, seed=3),
        "relu3": sn.ReLU(),
        "fc2": sn.Linear(50, 10, seed=4),
    }
    network = sn.chain(layers)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.7)
    return network


SHAPE = (3, 28, 28)


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_the_bits_do_not_depend_on_which_thread_does_what(network, rng, monkeypatch, batch):
    monkeypatch.setattr(program, "WORK_FOR_A_THREAD", 500)  # every step in many parts
    x = rng.standard_normal((batch, *SHAPE)).astype(np.float32)
    expected = network(x)
    for threads in (1, 2, 3, 5):
        plan = sn.compile(network, SHAPE, batch=batch, threads=threads, form="csr")
        first = plan(x)
        np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-5)
        for _ in range(20):
            assert np.array_equal(plan(x), first)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_share_the_samples_or_the_outputs_of_a_linear_layer(rng, monkeypatch, threads):
    network = sn.chain({"fc": sn.Linear(1568, 40, seed=1), "relu": sn.ReLU()})
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.9)
    x = rng.standard_normal((64, 1568)).astype(np.float32)
    expected = np.maximum(x.astype(np.float64) @ network["fc"].weight.value.T, 0)
    for near in (lowering.PRIVATE_BYTES, 0):
        monkeypatch.setattr(lowering, "PRIVATE_BYTES", near)
        plan = sn.compile(network, (1568,), batch=64, threads=threads, form="csr")
        np.testing.assert_allclose(plan(x), expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_a_plan_takes_smaller_and_larger_batches(network, rng):
    x = rng.standard_normal((37, *SHAPE)).astype(np.float32)
    expected = network(x)
    for batch in (1, 8, 64):
        plan = sn.compile(network, SHAPE, batch=batch, threads=2, form="csr")
        for count in (0, 1, 2, 8, 37):
            np.testing.assert_allclose(plan(x[:count]), expected[:count], rtol=1e-4, atol=1e-5)


def test_a_pool_whose_workers_are_blocked_is_woken(network, rng, monkeypatch):
    monkeypatch.setattr(program, "WORK_FOR_A_THREAD", 500)
    x = rng.standard_normal((1, *SHAPE)).astype(np.float32)
    plan = sn.compile(network, SHAPE, threads=3, form="csr")
    expected = plan(x)
    assert SPIN_LIMIT < 1e6
    for pause in (0, 0.0005, 0.002, 0.05):
        for _ in range(10):
            time.sleep(pause)
            assert np.array_equal(plan(x), expected)


def test_callers_share_a_pool(network, rng, monkeypatch):
    """Where one call has the pool, others run serially: all have the same bits."""
    monkeypatch.setattr(program, "WORK_FOR_A_THREAD", 500)
    plan = sn.compile(network, SHAPE, batch=4, threads=2, form="csr")
    inputs = rng.standard_normal((6, 4, *SHAPE)).astype(np.float32)
    expected, wrong = [plan(x) for x in inputs], []

    def call(index):
        for _ in range(50):
            if not np.array_equal(plan(inputs[index]), expected[index]):
                wrong.append(index)

    callers = [threading.Thread(target=call, args=(index,)) for index in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_a_pool_of_its_own(network, rng):
    x = rng.standard_normal((8, *SHAPE)).astype(np.float32)
    plan = sn.compile(network, SHAPE, batch=8, threads=2, form="csr")
    expected = plan(x)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(plan(x), expected) else 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


class Doubled(sn.ReLU):
    """A layer that the engine does not know."""

    def forward(self, x, training=False):
        return 2 * super().forward(x, training)


def test_layers_of_other_kinds_interrupt_a_program(rng):
    network = sn.chain(
        {
            "conv": sn.Conv2d(3, 4, 3, padding=1),
            "doubled": Doubled(),
            "pool": sn.MaxPool2d(2),
            "flatten": sn.Flatten(),
            "fc": sn.Linear(4 * 14 * 14, 5),
        }
    )
    x = rng.standard_normal((5, *SHAPE)).astype(np.float32)
    for batch in (1, 5):
        plan = sn.compile(network, SHAPE, batch=batch, threads=2, form="csr")
        np.testing.assert_allclose(plan(x), network(x), rtol=1e-4, atol=1e-5)
        assert list(plan.profile(x[:batch])) == ["conv", "doubled", "pool", "fc"]


def test_the_plan_tells_what_it_measured(network):
    plan = sn.compile(network, SHAPE, batch=4, threads=1)
    chosen = {step.name: step for step in plan.steps}
    assert forms_of(chosen["fc1"].measured) <= {"csr", "dense", "blas", "bsr 2x1", "bsr 4x1"}
    for step in plan.steps:
        assert not step.measured or step.form in forms_of(step.measured)
    text = plan.explain()
    assert "GFLOP/s" in text.splitlines()[0]
    assert all(any(line.strip().startswith(name) for line in text.splitlines()) for name in chosen)
    unpruned = sn.compile(sn.chain({"fc": sn.Linear(40, 30)}), (40,), batch=8)
    assert forms_of(unpruned.steps[0].measured) == {"dense", "blas"}
    assert "candidates" in unpruned.explain()


@pytest.mark.parametrize("rows", [2, 4])
def test_blocks_of_output_channels_are_a_candidate(rng, rows):
    network = sn.chain(
        {"conv": sn.Conv2d(3, 9, 3), "relu": sn.ReLU(), "flat": sn.Flatten(), "fc": sn.Linear(9 * 26 * 26, 6)}
    )
    masks = sn.make_masks(sn.score(network, sn.scores.l1), 0.5, granularity=sn.Block(rows, 1), scope="layer")
    network.apply_masks(masks)
    plan = sn.compile(network, SHAPE, batch=4)
    x = rng.standard_normal((4, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(plan(x), network(x), rtol=1e-4, atol=1e-4)
    assert all(f"bsr {rows}x1" in forms_of(step.measured) for step in plan.steps if step.form)


@pytest.mark.mnist
def test_a_compiled_network_classifies_mnist_as_the_masked_one_does():
    data = sn.load_dataset("mnist")
    network = sn.models.simple_cnn(data.input_shape, data.classes, seed=0)
    some = type(data.train)(data.train.x[:4000], data.train.y[:4000])
    sn.fit(network, some, epochs=1, optimizer=sn.SGD(lr=0.05, momentum=0.9), seed=0)
    sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.layerwise, 0.8)
    masked = sn.evaluate(network, data.test)
    for form in ("auto", "csr"):
        compiled = sn.evaluate(sn.compile(network, data.input_shape, batch=64, form=form), data.test)
        assert compiled.accuracy == pytest.approx(masked.accuracy, abs=1.5e-4)  # one image in ten thousand may be a tie
        assert compiled.loss == pytest.approx(masked.loss, rel=1e-4)


def test_a_warm_cache_compiles_a_plan_without_compiling_kernels(tmp_path):
    code = (
        "import sparsenet as sn, numpy as np\n"
        "from sparsenet.machine import pointers\n"
        "net = sn.chain({'conv': sn.Conv2d(1, 2, 3), 'pool': sn.MaxPool2d(3), 'norm': sn.BatchNorm(2),\n"
        "                'mean': sn.AvgPool2d(2), 'flat': sn.Flatten(), 'fc': sn.Linear(2, 2)})\n"
        "plan = sn.compile(net, (1, 12, 12), form='csr', threads=1)\n"
        "plan(np.zeros((1, 1, 12, 12), np.float32))\n"
        "print(sum(step._cache_hits for step in pointers._keep), len(pointers._keep))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    outputs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.split() for run in outputs] == [["0", "6"], ["6", "6"]]
