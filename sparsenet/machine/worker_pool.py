"""A pool of threads that walks through the steps of a plan without Python between them.

A plan is cut into stages. The work of a stage is cut into tasks, some samples of a batch times some part of each step.
Each worker claims the tasks of its own share one by one (the same in every job: its caches know them), and then those
that a slower core has left. A stage begins when all tasks of the one before are done. Which worker does a task does not
change a bit of the result.

Waking a blocked thread takes longer than a small layer: an idle worker spins for a moment (`SPIN_LIMIT`), and only then
blocks.
"""

import ctypes
import os
import sys
import threading
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import config

from .atomics import exchange, fetch_add, pause, peek, yield_cpu
from .jit import kernel
from .pointers import call, integers, record_at, record_of

SPIN_LIMIT = 20_000  # polls before an idle worker blocks: about half a millisecond
YIELD_AFTER = 1000  # polls of a worker that waits for the others before it yields the CPU at each
BLOCK_SECONDS = 10.0  # after which a blocked worker looks itself: an interrupt may have swallowed its waking
SPACING = 8  # int64 numbers in a cache line: what threads write to in turn lies in lines of its own

# Places in a pool's state. JOB_ID holds the number of the job that may be joined, or 0.
JOB_ID, ACTIVE, ADDRESS, SERIAL, BLOCKED = 0, SPACING, 2 * SPACING, 2 * SPACING + 1, 3 * SPACING


class Stage(NamedTuple):
    """Steps first <= k < last in a row, for `samples` samples a task, each step cut into `parts`."""

    first: int
    last: int
    samples: int
    parts: int


class Job(NamedTuple):
    """What the workers of one call share: addresses, counts, strides (of workspaces in bytes).

    `steps` is an array of the addresses of the steps' records; the first number of a record is the address of its code.
    `x_at` and `y_at` are arrays of the places where steps look up the addresses of the job's input and output.
    """

    steps: int
    stages: int
    stage_count: int
    progress: int
    samples: int
    workspace: int
    workspace_size: int
    x_at: int
    x_count: int
    y_at: int
    y_count: int
    workers: int


STAGE, JOB = record_of(Stage), record_of(Job)
STAGE_BYTES = STAGE.itemsize


@kernel
def work(job_address, worker, yield_address):
    """Do tasks of a job until all of its stages are done."""
    job = record_at(job_address, JOB)
    workers, samples, count = job.workers, job.samples, job.stage_count
    progress = integers(job.progress, count * (1 + workers) * SPACING)
    workspace = job.workspace + worker * job.workspace_size
    for s in range(count):
        stage = record_at(job.stages + s * STAGE_BYTES, STAGE)
        group, parts, first_step, last_step = stage.samples, stage.parts, stage.first, stage.last
        records = integers(job.steps, last_step)
        tasks, done = -(-samples // group) * parts, s * (1 + workers) * SPACING
        for turn in range(workers):
            owner = (worker + turn) % workers
            begin, end = owner * tasks // workers, (owner + 1) * tasks // workers
            claimed = done + (1 + owner) * SPACING
            task = begin + fetch_add(progress, claimed, 1)
            while task < end:
                first, part = task // parts * group, task % parts
                for k in range(first_step, last_step):
                    code = integers(records[k], 1)[0]
                    call(code, records[k], first, min(first + group, samples), part, parts, workspace)
                fetch_add(progress, done, 1)
                task = begin + fetch_add(progress, claimed, 1)
        polls = 0
        while peek(progress, done) < tasks:
            pause()
            polls += 1
            if polls > YIELD_AFTER:
                yield_cpu(yield_address)


@kernel
def _point_at(places, count, array):
    """Write an array's address to `count` places."""
    for address in integers(places, count):
        integers(address, 1)[0] = array.ctypes.data


@kernel
def _set_up(job_address, x, y, samples):
    """Point a job at its input and output, with nothing of it done."""
    job = record_at(job_address, JOB)
    _point_at(job.x_at, job.x_count, x)
    _point_at(job.y_at, job.y_count, y)
    job.samples = samples
    integers(job.progress, job.stage_count * (1 + job.workers) * SPACING)[:] = 0


@kernel
def run_serially(job_address, x, y, samples, yield_address):
    """Do a whole job in the calling thread."""
    _set_up(job_address, x, y, samples)
    work(job_address, 0, yield_address)


@kernel
def open_job(state, job_address, x, y, samples, workers):
    """Let the workers join; returns how many of them are blocked and have to be woken."""
    _set_up(job_address, x, y, samples)
    state[ADDRESS] = job_address
    state[SERIAL] += 1
    exchange(state, JOB_ID, state[SERIAL])
    blocked = 0
    for worker in range(1, workers):
        blocked += peek(state, BLOCKED + worker * SPACING)
    return blocked


@kernel
def work_and_close(state, job_address, yield_address):
    """Do tasks of the open job; then close it and wait until no other worker is active in it."""
    work(job_address, 0, yield_address)
    exchange(state, JOB_ID, 0)
    polls = 0
    while peek(state, ACTIVE) > 0:
        pause()
        polls += 1
        if polls > YIELD_AFTER:
            yield_cpu(yield_address)


@kernel
def serve(state, worker, spin_limit, yield_address):
    """Do jobs as they come, as worker number `worker` of a pool; return when none came for a while, marked blocked."""
    polls = known = 0
    exchange(state, BLOCKED + worker * SPACING, 0)
    while True:
        serial = peek(state, JOB_ID)
        if serial and serial != known:
            fetch_add(state, ACTIVE, 1)
            if peek(state, JOB_ID):  # still, or again: it stays open until we have left
                known = peek(state, JOB_ID)
                work(state[ADDRESS], worker, yield_address)
                polls = 0
            fetch_add(state, ACTIVE, -1)
        pause()
        polls += 1
        if polls > spin_limit:
            exchange(state, BLOCKED + worker * SPACING, 1)
            if not peek(state, JOB_ID):
                return
            if exchange(state, BLOCKED + worker * SPACING, 0) == 0:
                return  # somebody is about to wake us: be blocked
            polls = 0


@kernel
def claim_blocked(state, worker):
    """Whether this worker is blocked, in which case it is now the caller's duty to wake it."""
    return exchange(state, BLOCKED + worker * SPACING, 0)


@cache
def yield_address() -> int:
    """Address of the C function that gives the rest of a time slice away, 0 where none is known."""
    if sys.platform == "win32":
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return 0


class WorkerPool:
    """The calling thread and `workers - 1` more, which share one job at a time."""

    def __init__(self, workers: int):
        self.workers = workers
        self.state = np.zeros(BLOCKED + (workers + 1) * SPACING, np.int64)
        self.free = threading.Lock()
        self._wake = [threading.Semaphore(0) for _ in range(workers)]
        for worker in range(1, workers):
            threading.Thread(target=self._serve, args=(worker,), name=f"sparsenet-{worker}", daemon=True).start()

    def _serve(self, worker: int) -> None:
        address = yield_address()
        while True:
            serve(self.state, worker, SPIN_LIMIT, address)
            self._wake[worker].acquire(timeout=BLOCK_SECONDS)

    def run(self, job: int, x: np.ndarray, y: np.ndarray, samples: int) -> None:
        """Do the job at this address together; the caller holds `free`."""
        address = yield_address()
        try:
            if open_job(self.state, job, x, y, samples, self.workers):
                for worker in range(1, self.workers):
                    if claim_blocked(self.state, worker):
                        self._wake[worker].release()
        finally:  # after an interrupt too: the others may be at work on these arrays
            work_and_close(self.state, job, address)


_pools: dict[int, WorkerPool] = {}
_making = threading.Lock()


def _pool(workers: int) -> WorkerPool:
    with _making:
        if workers not in _pools:
            _pools[workers] = WorkerPool(workers)
        return _pools[workers]


def _start_afresh() -> None:
    """A forked child has the pools' memory but none of their threads."""
    global _making
    _pools.clear()
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def run_job(job: int, x: np.ndarray, y: np.ndarray, samples: int, workers: int) -> None:
    """Do the job whose record is at this address from x to y, flat float32 arrays, with so many threads.

    Where another call has the pool just now, this one runs serially: the bits are the same.
    """
    if workers > 1 and not config.DISABLE_JIT:
        pool = _pools.get(workers) or _pool(workers)
        if pool.free.acquire(blocking=False):
            try:
                pool.run(job, x, y, samples)
            finally:
                pool.free.release()
            return
    run_serially(job, x, y, samples, yield_address())
