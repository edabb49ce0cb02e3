"""A process of its own for each engine of `benchmarks/run.py`, and the two ends of the pipe to it.

`Worker` starts `python benchmarks/worker.py ENGINE THREADS`. It reads requests from stdin, a JSON object per line, and
answers likewise: prepare a program and check its outputs, time a burst of its calls, forget all programs, tell how much
CPU time it used between requests.
"""

import contextlib
import functools
import gc
import json
import os
import pickle
import statistics
import subprocess
import sys
import time

import numpy as np
from peers import ENGINES

BURST_SECONDS, BURST_CALLS, SLOW_SECONDS = 0.03, 5, 0.3
# what the others on a busy machine take from a process is not in its CPU time, which for one thread is all it needs
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TOLERANCE = 1e-4  # largest error, as a fraction of the largest output
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# without these, arrays of some megabytes go back to the system after each call, and their pages are faulted in again
MALLOC_VARIABLES = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}


class Worker:
    """The near end: starts the process of an engine and asks it. Look at `skipped` before the first request."""

    def __init__(self, engine, threads, folder):
        self.log = folder / f"{engine}.log"
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | MALLOC_VARIABLES
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, engine, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    @functools.cached_property
    def skipped(self):
        """Why the engine cannot be used, or None. Waits until its packages are loaded."""
        return self._answer().get("failed")

    def ask(self, **request):
        """The answer to a request; {"failed": why} when there is none."""
        with contextlib.suppress(BrokenPipeError):  # of a process that has ended: the missing answer tells
            print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        last = self.log.read_text().strip().splitlines()[-1:]
        return {"failed": " ".join([f"the process has ended with {self.process.wait()}", *last])}

    def close(self):
        self.process.communicate()


def serve(name, threads):
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints must not stand among the answers

    def send(answer):
        print(json.dumps(answer), file=answers, flush=True)
        return time.perf_counter(), time.process_time()

    try:
        prepare, programs = ENGINES[name].load(threads), {}
    except Exception as error:
        send({"failed": describe(error)})
        return
    since, idle = send({}), {"idle_s": 0.0, "idle_cpu_s": 0.0}
    for line in sys.stdin:
        idle["idle_s"] += time.perf_counter() - since[0]
        idle["idle_cpu_s"] += time.process_time() - since[1]
        try:
            answer = handle(json.loads(line), prepare, programs, idle)
        except Exception as error:
            answer = {"failed": describe(error)}
        since = send(answer)


def describe(error):
    return f"{type(error).__name__}: {str(error).strip()[:300]}"


def handle(request, prepare, programs, idle):
    """The answer to one request."""
    match request:
        case {"do": "prepare", "program": name, "workload": path}:
            with open(path, "rb") as file:
                program, answer = first_call(prepare, *pickle.load(file))
            programs[name] = program
            return answer
        case {"do": "burst", "program": name, "clock": clock}:
            return burst(programs[name].call, CLOCKS[clock])
        case {"do": "forget"}:
            programs.clear()
            gc.collect()
            return {}
        case {"do": "idle"}:
            return idle
        case _:
            raise ValueError(f"unknown request {request}")


def first_call(prepare, network, x, reference):
    """(program, what its first call cost and how far it is from the reference); an error when that is too far."""
    start = time.perf_counter()
    program = prepare(network, x)
    ready = time.perf_counter()
    y = program.call()
    end = time.perf_counter()
    y = program.read(y)
    if y.shape != reference.shape:
        raise ValueError(f"outputs of shape {y.shape}, not {reference.shape}")
    error = float(np.abs(y - reference).max() / np.abs(reference).max())
    if not error <= TOLERANCE:
        raise ValueError(f"outputs differ from the reference by {error:.1e} of the largest one")
    return program, {"prepare_s": ready - start, "first_call_s": end - ready, "error": error, "detail": program.detail}


def burst(call, clock=time.perf_counter):
    """The median time of calls within a short while, behind one that wakes threads and fills caches."""
    call()
    times, start, now = [], time.perf_counter(), 0.0
    gc.disable()
    while now - start < BURST_SECONDS or (len(times) < BURST_CALLS and now - start < SLOW_SECONDS):
        begin = clock()
        call()
        times.append(clock() - begin)
        now = time.perf_counter()
    gc.enable()
    return {"median_us": round(1e6 * statistics.median(times), 3), "calls": len(times)}


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
