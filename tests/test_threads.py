"""Sharing work among threads: every item once, errors come through, BLAS is given back."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.machine import threads as module
from sparsenet.machine.threads import available_threads, count_worth, current_threads, share


@pytest.mark.parametrize("count", [0, 1, 2, 7, 100])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("options", [{}, {"chunk": 3}, {"chunk": 1000}, {"least": 40}, {"chunk": 4, "least": 20}])
def test_every_item_is_done_once(count, workers, options):
    done = np.zeros(count, int)

    def kernel(start, stop, array):
        array[start:stop] += 1

    with sn.threads(workers):
        share(kernel, count, done, **options)
    assert (done == 1).all()


def test_pieces_of_fixed_size_do_not_depend_on_the_threads():
    def pieces(workers):
        seen = []
        with sn.threads(workers):
            share(lambda start, stop: seen.append((start, stop)), 10, chunk=4)
        return sorted(seen)

    assert pieces(1) == pieces(2) == pieces(3) == [(0, 4), (4, 8), (8, 10)]


def test_an_error_in_any_thread_comes_through():
    def kernel(start, stop):
        if start:
            raise RuntimeError("in a worker")

    with sn.threads(2), pytest.raises(RuntimeError, match="in a worker"):
        share(kernel, 2)


def test_the_number_of_threads_is_the_blocks_own():
    assert current_threads() == available_threads()
    with sn.threads(3):
        assert current_threads() == 3
        with sn.threads(1):
            assert current_threads() == 1
        with sn.threads():
            assert current_threads() == 3
        other = []
        worker = threading.Thread(target=lambda: other.append(current_threads()))
        worker.start()
        worker.join()
        assert other == [available_threads()]
    assert current_threads() == available_threads()
    with pytest.raises(ValueError, match="threads must be at least 1"), sn.threads(0):
        pass


def test_blas_has_one_thread_inside_and_its_own_number_again_after():
    libraries = module._openblas_libraries()
    if not libraries:
        pytest.skip("NumPy and SciPy use another BLAS than OpenBLAS here")

    def counts():
        return [get() for get, _ in libraries]

    before = counts()
    with sn.threads(2):
        assert counts() == [1] * len(libraries)
        with sn.threads(1):
            assert counts() == [1] * len(libraries)
        assert counts() == [1] * len(libraries)
    assert counts() == before


def test_worth():
    assert count_worth(10, 100) == 10
    assert count_worth(1000, 100) == 1
    assert count_worth(0, 100) == 100


def test_an_error_waits_for_the_other_pieces():
    finished = []

    def kernel(start, stop):
        if start == 0:
            raise RuntimeError("first")
        time.sleep(0.1)
        finished.append(start)

    with sn.threads(3), pytest.raises(RuntimeError, match="first"):
        share(kernel, 3)
    assert len(finished) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_works():
    code = (
        "import os, warnings, numpy as np, sparsenet as sn\n"
        "warnings.simplefilter('ignore')\n"
        "net, x = sn.models.simple_cnn(), np.ones((64, 1, 28, 28), np.float32)\n"
        "with sn.threads(2):\n"
        "    expected = net(x)\n"
        "    child = os.fork()\n"
        "    same = np.array_equal(net(x), expected)\n"
        "    if child == 0:\n"
        "        from sparsenet.machine.threads import _openblas_libraries\n"
        "        with sn.threads(1):\n"
        "            one = all(get() == 1 for get, _ in _openblas_libraries())\n"
        "        os._exit(0 if same and one else 1)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert out.stdout.strip() == "0"
