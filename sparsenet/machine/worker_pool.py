"""A crew of threads that walks through the table of a plan without Python between the steps.

A plan is cut into stages. The work of a stage is cut into tasks, some samples of a batch times some part of each step.
Each thread claims the tasks of its own share one by one (the same in every job: its caches know them), and then those
that a slower core has left. A stage begins when all tasks of the one before are done. Which thread does a task does not
change a bit of the result.

Waking a sleeping thread takes longer than a small layer. So the crew's threads wait for the next job with their eyes
open for a moment (`PATIENCE`), and only then go to sleep.
"""

import ctypes
import os
import sys
import threading
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import config

from .atomics import exchange, fetch_add, give_way, pause, peek
from .jit import kernel
from .pointers import call, integers

PATIENCE = 20_000  # looks at the door before a thread of the crew goes to sleep: about half a millisecond
NAP = 10.0  # seconds after which a sleeping thread looks itself: an interrupt may have swallowed its waking
SPACING = 8  # int64 numbers in a cache line: what threads write to in turn lies in lines of its own

# Places in a crew's state. OPEN holds the number of the job that may be entered, or 0.
OPEN, INSIDE, ADDRESS, SERIAL, SLEEPING = 0, SPACING, 2 * SPACING, 2 * SPACING + 1, 3 * SPACING


class Job(NamedTuple):
    """Places in the numbers that describe a job: addresses, counts, strides (of workspaces in bytes).

    `x` and `y` are the addresses of the two numbers of the table that say where the job's input and output are.
    """

    steps: int = 0
    row: int = 1
    stages: int = 2
    stage_count: int = 3
    progress: int = 4
    samples: int = 5
    workspace: int = 6
    workspace_size: int = 7
    x: int = 8
    y: int = 9
    workers: int = 10
    size: int = 11


class Stage(NamedTuple):
    """Places in the row of a stage: its steps, the samples of a task, and the parts that each step is cut into."""

    first: int = 0
    last: int = 1
    group: int = 2
    parts: int = 3
    size: int = 4


JOB, STAGE = Job(), Stage()


@kernel
def work(job, worker, yield_address):
    """Do tasks of a job until all of its stages are done."""
    workers = job[JOB.workers]
    stages = integers(job[JOB.stages], job[JOB.stage_count] * STAGE.size)
    progress = integers(job[JOB.progress], job[JOB.stage_count] * (1 + workers) * SPACING)
    workspace = job[JOB.workspace] + worker * job[JOB.workspace_size]
    samples = job[JOB.samples]
    for s in range(job[JOB.stage_count]):
        stage = stages[s * STAGE.size : (s + 1) * STAGE.size]
        group, parts = stage[STAGE.group], stage[STAGE.parts]
        tasks, done = -(-samples // group) * parts, s * (1 + workers) * SPACING
        for turn in range(workers):
            owner = (worker + turn) % workers
            begin, end = owner * tasks // workers, (owner + 1) * tasks // workers
            claimed = done + (1 + owner) * SPACING
            task = begin + fetch_add(progress, claimed, 1)
            while task < end:
                first, part = task // parts * group, task % parts
                for k in range(stage[STAGE.first], stage[STAGE.last]):
                    row = job[JOB.steps] + k * job[JOB.row]
                    address = integers(row, 1)[0]
                    call(address, row, first, min(first + group, samples), part, parts, workspace)
                fetch_add(progress, done, 1)
                task = begin + fetch_add(progress, claimed, 1)
        looks = 0
        while peek(progress, done) < tasks:
            pause()
            looks += 1
            if looks > 1000:
                give_way(yield_address)


@kernel
def _set_up(job, x, y, samples):
    """Point a job at its input and output, with nothing of it done."""
    integers(job[JOB.x], 1)[0] = x.ctypes.data
    integers(job[JOB.y], 1)[0] = y.ctypes.data
    job[JOB.samples] = samples
    integers(job[JOB.progress], job[JOB.stage_count] * (1 + job[JOB.workers]) * SPACING)[:] = 0


@kernel
def work_alone(job, x, y, samples, yield_address):
    """Do a whole job."""
    _set_up(job, x, y, samples)
    work(job, 0, yield_address)


@kernel
def open_job(state, job, x, y, samples, workers):
    """Let the crew in; returns how many of its threads are asleep and have to be woken."""
    _set_up(job, x, y, samples)
    state[ADDRESS] = job.ctypes.data
    state[SERIAL] += 1
    exchange(state, OPEN, state[SERIAL])
    sleepers = 0
    for worker in range(1, workers):
        sleepers += peek(state, SLEEPING + worker * SPACING)
    return sleepers


@kernel
def work_and_close(state, job, yield_address):
    """Do tasks of the open job; then close it and wait until the others have left."""
    work(job, 0, yield_address)
    exchange(state, OPEN, 0)
    looks = 0
    while peek(state, INSIDE) > 0:
        pause()
        looks += 1
        if looks > 1000:
            give_way(yield_address)


@kernel
def serve(state, worker, patience, yield_address):
    """Do jobs as they come, as thread number `worker` of a crew; return when none came for a while, marked asleep."""
    looks = known = 0
    exchange(state, SLEEPING + worker * SPACING, 0)
    while True:
        serial = peek(state, OPEN)
        if serial and serial != known:
            fetch_add(state, INSIDE, 1)
            if peek(state, OPEN):  # still, or again: it stays open until we have left
                known = peek(state, OPEN)
                work(integers(state[ADDRESS], JOB.size), worker, yield_address)
                looks = 0
            fetch_add(state, INSIDE, -1)
        pause()
        looks += 1
        if looks > patience:
            exchange(state, SLEEPING + worker * SPACING, 1)
            if not peek(state, OPEN):
                return
            if exchange(state, SLEEPING + worker * SPACING, 0) == 0:
                return  # somebody is about to wake us: be asleep
            looks = 0


@kernel
def claim_sleeper(state, worker):
    """Whether this thread sleeps, in which case it is now the caller's duty to wake it."""
    return exchange(state, SLEEPING + worker * SPACING, 0)


@cache
def yield_address() -> int:
    """Address of the C function that gives the rest of a time slice away, 0 where none is known."""
    if sys.platform == "win32":
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return 0


class Crew:
    """The calling thread and `workers - 1` more, which share one job at a time."""

    def __init__(self, workers: int):
        self.workers = workers
        self.state = np.zeros(SLEEPING + (workers + 1) * SPACING, np.int64)
        self.free = threading.Lock()
        self._doors = [threading.Semaphore(0) for _ in range(workers)]
        for worker in range(1, workers):
            threading.Thread(target=self._stay, args=(worker,), name=f"sparsenet-{worker}", daemon=True).start()

    def _stay(self, worker: int) -> None:
        address = yield_address()
        while True:
            serve(self.state, worker, PATIENCE, address)
            self._doors[worker].acquire(timeout=NAP)

    def run(self, job: np.ndarray, x: np.ndarray, y: np.ndarray, samples: int) -> None:
        """Do a job together; the caller holds `free`."""
        address = yield_address()
        try:
            if open_job(self.state, job, x, y, samples, self.workers):
                for worker in range(1, self.workers):
                    if claim_sleeper(self.state, worker):
                        self._doors[worker].release()
        finally:  # after an interrupt too: the others may be at work on these arrays
            work_and_close(self.state, job, address)


_crews: dict[int, Crew] = {}
_making = threading.Lock()


def _crew(workers: int) -> Crew:
    with _making:
        if workers not in _crews:
            _crews[workers] = Crew(workers)
        return _crews[workers]


def _start_afresh() -> None:
    """A forked child has the crews' memory but none of their threads."""
    global _making
    _crews.clear()
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def run_job(job: np.ndarray, x: np.ndarray, y: np.ndarray, samples: int, workers: int) -> None:
    """Do a job from x to y, flat float32 arrays, with so many threads.

    Where another call has the crew just now, this one works alone: the bits are the same.
    """
    if workers > 1 and not config.DISABLE_JIT:
        crew = _crews.get(workers) or _crew(workers)
        if crew.free.acquire(blocking=False):
            try:
                crew.run(job, x, y, samples)
            finally:
                crew.free.release()
            return
    work_alone(job, x, y, samples, yield_address())
