"""Sharing work among threads: every item once, errors come through, BLAS is given back."""

import threading

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.kernels import threads as module
from sparsenet.kernels.threads import available_threads, current_threads, share, worth


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
    assert worth(10, 100) == 10
    assert worth(1000, 100) == 1
    assert worth(0, 100) == 100
