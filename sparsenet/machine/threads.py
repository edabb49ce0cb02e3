"""How many threads work, and how a kernel is shared out among them.

One rule: the parallelism is ours, BLAS gets one thread. Two pools of threads that both spin for work (OpenBLAS beside
Numba) more than double the time of a training step. Kernels release the GIL, so a plain thread pool carries them; no
kernel is compiled with `parallel=True`, which keeps a cold start short and calls from several threads at once safe.
"""

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path

from ..checks import check_count

_threads: ContextVar[int] = ContextVar("sparsenet_threads", default=0)
_depth: ContextVar[int] = ContextVar("sparsenet_depth", default=0)  # `threads` blocks that this thread is in


def available_threads() -> int:
    """Number of CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def current_threads() -> int:
    """Number of threads that the enclosing `threads` block set, else all available ones."""
    return _threads.get() or available_threads()


@contextlib.contextmanager
def threads(count: int | None = None) -> Iterator[int]:
    """Run the block with `count` threads of ours (None: as before) and one BLAS thread.

    The count is per thread of the caller (a context variable). OpenBLAS, which the wheels of NumPy and SciPy carry, is
    set to one thread while any such block is open; for another BLAS set its own variable (`MKL_NUM_THREADS=1`).
    """
    token = _threads.set(current_threads() if count is None else check_count("threads", count))
    deeper = _depth.set(_depth.get() + 1)
    _enter_one_blas_thread()
    try:
        yield _threads.get()
    finally:
        _leave_one_blas_thread()
        _depth.reset(deeper)
        _threads.reset(token)


_blas_lock = threading.Lock()
_blas_before: list[int] = []  # thread counts to restore, one per library, while blocks are open
_blas_blocks = 0


def _enter_one_blas_thread() -> None:
    global _blas_blocks
    with _blas_lock:
        _blas_blocks += 1
        if _blas_blocks == 1:
            for get, set_count in _openblas_libraries():
                _blas_before.append(get())
                set_count(1)


def _leave_one_blas_thread() -> None:
    global _blas_blocks
    with _blas_lock:
        _blas_blocks -= 1
        if _blas_blocks == 0:
            for (_, set_count), before in zip(_openblas_libraries(), _blas_before, strict=True):
                set_count(before)
            _blas_before.clear()


@functools.cache
def _openblas_libraries() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """(get, set) of the thread count of each OpenBLAS that the wheels of NumPy and SciPy bring."""
    found = []
    for package in ("numpy", "scipy"):
        home = Path(find_spec(package).origin).parent
        for path in [*home.parent.glob(f"{package}.libs/*openblas*"), *home.glob(".dylibs/*openblas*")]:
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_openblas", "openblas"):
                for suffix in ("64_", ""):
                    name = f"{prefix}_%s_num_threads{suffix}"
                    if hasattr(library, name % "get") and hasattr(library, name % "set"):
                        found.append((getattr(library, name % "get"), getattr(library, name % "set")))
    return found


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="sparsenet")


def _start_afresh() -> None:
    """A forked child has the pool's object but none of its threads, and only the blocks of the thread that forked."""
    global _blas_lock, _blas_blocks
    _pool.cache_clear()
    _blas_lock = threading.Lock()
    if _blas_blocks:
        _blas_blocks = _depth.get() + 1
        _leave_one_blas_thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def count_worth(operations: int, work: int) -> int:
    """How many items, each of so many elementary operations, make up `work`: the least to wake up a thread for."""
    return max(1, -(-work // max(operations, 1)))


def share(kernel: Callable, count: int, *arguments, chunk: int | None = None, least: int = 1) -> None:
    """Call kernel(start, stop, *arguments) over range(count), shared among the current threads.

    With `chunk` the pieces have that fixed size, so that results whose rounding depends on the split have the same bits
    on any number of threads; without it each thread gets one piece. A thread is not woken for fewer than `least` items.
    """
    workers = max(1, min(current_threads(), count // least))
    if workers <= 1 and chunk is None:
        if count:
            kernel(0, count, *arguments)
        return
    size = chunk or -(-count // workers)
    pieces = [(start, min(start + size, count)) for start in range(0, count, size)]

    def work(first: int) -> None:
        for start, stop in pieces[first::workers]:
            kernel(start, stop, *arguments)

    futures = [_pool(workers - 1).submit(work, first) for first in range(1, workers)] if workers > 1 else []
    try:
        work(0)
    finally:
        wait(futures)  # all of them, before an error of one lets the caller go on with the buffers
    for future in futures:
        future.result()
