"""Plans to their users: matrices to read, forms to choose, compiled when `compile` returns, copied, refused."""

import copy
import pickle

import numpy as np
import pytest
from helpers import forms_of
from numba import config, njit
from scipy.sparse import bsr_array, csr_array

import sparsenet as sn
from sparsenet.engine import peak, program
from sparsenet.kernels import tiling
from sparsenet.kernels.scipy_reference import scipy_conv2d
from sparsenet.machine import pointers
from sparsenet.machine.tile_shape import Tile
from sparsenet.machine.vectors import REGISTERS, X86

SHAPE = (2, 9, 8)


@pytest.fixture
def network():
    layers = {
        "conv": sn.Conv2d(2, 6, 3, padding=1, seed=1),
        "norm": sn.BatchNorm(6),
        "relu": sn.ReLU(),
        "flatten": sn.Flatten(),
        "fc": sn.Linear(6 * 72, 5, seed=2),
    }
    network = sn.chain(layers)
    network["norm"].running_var[:] = np.linspace(0.5, 2, 6)
    network["norm"].running_mean[:] = 0.1
    return network


def prune_layers(network, sparsity, **options):
    scores = sn.score(network, sn.scores.l1)
    network.apply_masks(sn.make_masks(scores, sparsity, scope="layer", **options))


def test_a_plan_hands_out_its_matrices(network, rng):
    prune_layers(network, 0.5)
    kept = np.argwhere(network["conv"].weight.mask)[0]
    network["conv"].weight.value[tuple(kept)] = 0  # kept, and 0: it stays an entry
    plan = sn.compile(network, SHAPE, form="csr")
    matrices = plan.matrices()
    assert list(matrices) == ["conv", "fc"]
    assert all(isinstance(matrix, csr_array) for matrix in matrices.values())
    assert matrices["conv"].shape == (6, 18)
    assert matrices["fc"].shape == (5, 432)
    assert matrices["conv"].nnz == 54
    gain = 1 / np.sqrt(network["norm"].running_var + 1e-5)
    expected = network["conv"].weight.value.reshape(6, 18) * gain[:, None]
    np.testing.assert_allclose(matrices["conv"].toarray(), expected, rtol=1e-6)
    x = rng.standard_normal((3, *SHAPE)).astype(np.float32)
    hidden = scipy_conv2d(x, matrices["conv"], -0.1 * gain, (3, 3), (1, 1), (1, 1))
    by_hand = np.maximum(hidden, 0).reshape(3, -1) @ matrices["fc"].T
    np.testing.assert_allclose(plan(x), by_hand, rtol=1e-4, atol=1e-5)
    matrices["conv"].data[:] = 0  # a copy
    np.testing.assert_allclose(plan(x), by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["csr", "csr loops", "scipy"])
def test_sparse_forms_have_the_entries_of_the_mask(network, form):
    prune_layers(network, 0.75)
    for name, matrix in sn.compile(network, SHAPE, batch=4, form=form).matrices().items():
        mask = network[name].weight.mask.reshape(matrix.shape)
        assert np.array_equal(csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr)).toarray() > 0, mask)


@pytest.mark.parametrize("form", ["dense", "blas"])
def test_dense_forms_have_every_entry(network, form):
    prune_layers(network, 0.75)
    for name, matrix in sn.compile(network, SHAPE, batch=4, form=form).matrices().items():
        assert matrix.shape == network[name].weight.value.reshape(len(network[name].weight.value), -1).shape
        assert matrix.nnz == network[name].weight.value.size


def test_blocks_are_bsr_arrays(network):
    prune_layers(network, 0.5, granularity=sn.Block(2, 1))
    matrices = sn.compile(network, SHAPE, batch=4, form={"conv": "bsr 2x1", "fc": "bsr 2x1"}).matrices()
    assert isinstance(matrices["conv"], bsr_array)
    assert matrices["conv"].blocksize == (2, 1)
    assert matrices["conv"].data.size == 54
    assert isinstance(matrices["fc"], csr_array)  # five outputs do not divide into blocks of two
    assert matrices["fc"].shape == (5, 432)
    assert np.array_equal(matrices["fc"].toarray(), network["fc"].weight.value)


def test_forms_by_layer(network, rng):
    prune_layers(network, 0.5)
    plan = sn.compile(network, SHAPE, batch=2, form={"fc": "scipy"})
    forms = {step.name: step.form for step in plan.steps}
    assert forms["fc"] == "scipy"
    assert forms["conv"] in ("csr", "dense", "blas")
    x = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    np.testing.assert_allclose(plan(x), network(x), rtol=1e-4, atol=1e-5)


def test_forms_that_cannot_be_are_refused(network):
    prune_layers(network, 0.5)
    with pytest.raises(ValueError, match="form must be one of auto, dense, csr, blas, csr loops, scipy, not 'loops'"):
        sn.compile(network, SHAPE, form="loops")
    with pytest.raises(ValueError, match="form names 'conv1'; the layers are 'conv', 'fc'"):
        sn.compile(network, SHAPE, form={"conv1": "csr"})
    for form in ("bsr 4x1", "nonsense"):  # the mask has no such blocks
        with pytest.raises(ValueError, match=f"form of 'conv' must be one that this layer can take, not '{form}'"):
            sn.compile(network, SHAPE, form={"conv": form})


@pytest.mark.parametrize("shape", [784, None, 7.5])
def test_a_shape_that_is_none_is_refused(network, shape):
    with pytest.raises(TypeError, match=r"input_shape must be a tuple such as \(1, 28, 28\) or \(784,\), not"):
        sn.compile(network, shape)


def test_inputs_that_are_none_are_refused(network):
    plan = sn.compile(network, SHAPE, form="csr")
    x = np.zeros((1, *SHAPE), np.float32)
    for wrong, error, text in (
        (np.ma.masked_array(x, x == 0), TypeError, "masked array"),
        (x.astype(np.float64), TypeError, "float32"),
        (x.tolist(), TypeError, "not list"),
        (x[0], ValueError, r"\(N, 2, 9, 8\)"),
        (x[:, :1], ValueError, r"\(N, 2, 9, 8\)"),
    ):
        with pytest.raises(error, match=text):
            plan(wrong)


@pytest.mark.parametrize("form", ["auto", "dense", "csr", "blas", "csr loops", "scipy"])
@pytest.mark.parametrize("batch", [1, 4])
def test_no_samples_have_no_outputs(network, form, batch):
    prune_layers(network, 0.5)
    plan = sn.compile(network, SHAPE, batch=batch, form=form)
    assert plan(np.zeros((0, *SHAPE), np.float32)).shape == (0, 5)


@pytest.mark.skipif(config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("form", ["auto", "csr", "blas", "csr loops"])
def test_what_is_named_compile_compiles(network, form, monkeypatch):
    """For the batch and for one sample, in whatever form: no step is made by a later call."""
    prune_layers(network, 0.9)
    plan = sn.compile(network, SHAPE, batch=5, threads=2, form=form)
    compiled = len(pointers._keep)

    def refuse(*arguments, **options):
        raise AssertionError("a kernel is compiled by a call of the plan")

    from numba.core import compiler

    monkeypatch.setattr(compiler, "compile_extra", refuse)
    for count in (5, 1, 3, 12):
        plan(np.zeros((count, *SHAPE), np.float32))
    assert len(pointers._keep) == compiled


def test_compile_tells_which_layer_it_is_at(network):
    told = []
    sn.compile(network, SHAPE, form="csr", on_layer=lambda *each: told.append(each))
    assert told == [("conv", 1, 5), ("flatten", 4, 5), ("fc", 5, 5)]  # the others are folded into the convolution


def test_each_layer_is_compiled_when_compile_says_so(network, monkeypatch):
    events, compile_step = [], program.CompiledStep.compile
    monkeypatch.setattr(tiling, "FEWEST_SAMPLES", 99)
    monkeypatch.setattr(program.CompiledStep, "compile", lambda step: (events.append(step.sizes), compile_step(step)))
    sn.compile(network, SHAPE, batch=4, form="csr", on_layer=lambda name, *_: events.append(name))
    kinds = [event if isinstance(event, str) else type(event).__name__ for event in events]
    assert kinds == ["conv", "ConvSizes", "flatten", "fc", "LinearSizes", "LinearSizes"]  # for batches, and for one


def test_a_form_of_one_layer_is_exact(network):
    plan = sn.compile(network, SHAPE, batch=4, form={"conv": "dense", "fc": "blas"})
    assert {step.name: step.form for step in plan.steps if step.form} == {"conv": "dense", "fc": "blas"}
    assert not any(step.measured for step in plan.steps)
    both = sn.compile(network, SHAPE, batch=4, form="dense").steps[0].measured
    assert forms_of(both) == {"dense", "blas"}


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])
def test_plans_are_copied_and_pickled(network, rng, again):
    prune_layers(network, 0.9)
    plan = sn.compile(network, SHAPE, batch=3, threads=1)
    network["fc"].weight.value[:] = 0  # the plan has its own
    other = again(plan)
    x = rng.standard_normal((4, *SHAPE)).astype(np.float32)
    assert np.array_equal(other(x), plan(x))
    assert [(s.name, s.form) for s in other.steps] == [(s.name, s.form) for s in plan.steps]
    assert (other.batch, other.threads) == (3, 1)


def test_the_peak_is_measured():
    assert peak.measure_peak() > 1e6


@pytest.mark.skipif(config.DISABLE_JIT or not X86, reason="reads the code for x86-64")
def test_the_peak_loads_and_stores_nothing():
    """Its innermost loop is multiply-adds of registers, all of them but two, and the counting."""
    tile = Tile(1, REGISTERS - 2, 1)
    fresh = njit(peak._multiply_registers.py_func)  # the code of a kernel from the cache cannot be looked at
    fresh(tile, 1, np.zeros(tile.size * tile.lanes, np.float32))
    (code,) = fresh.inspect_asm().values()
    lines = [line.strip() for line in code.splitlines()]
    adds = [index for index, line in enumerate(lines) if line.startswith(("vfmadd", "mulps", "vmulps"))]
    start = max(index for index in range(adds[0]) if lines[index].endswith(":"))
    loop = lines[start : next(index for index in range(adds[0], len(lines)) if lines[index].startswith("j"))]
    arithmetic = [line for line in loop if "mm" in line]
    assert len(arithmetic) >= REGISTERS - 2
    assert not [line for line in arithmetic if "(%" in line]
