"""Sparse inference beside dense engines: each in a process of its own, interleaved, checked before it is timed.

    python benchmarks/run.py [--threads 1 2] [--only conv blocks] [--batch 1 32] [--rounds 7] [--skip torch-compile]
    python benchmarks/run.py --quick                          two tiny cases, within a minute
    python benchmarks/run.py --plot RESULT.json PLOT.png      draw a stored result

Engines that are not installed are skipped with a note (peers: pip install torch onnx onnxruntime openvino). For each
case every engine holds its program ready, and all take turns for `--rounds` rounds; a turn is a burst of calls, its
result their median, and the figure of a program is the median over its bursts. Dense peers take the same time whatever
the weights are: they run once per case, with the weights of its highest sparsity. Compiling and the first call are
recorded apart. The result is one JSON file per CPU and number of threads, written anew after each case, and tables on
stdout, the last of them what is to be reached beside what was.
"""

import argparse
import datetime
import json
import os
import pickle
import platform
import re
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import tables
import workloads
from peers import ENGINES
from worker import CLOCKS, MALLOC_VARIABLES, TOLERANCE, Worker

from sparsenet.engine.peak import numbers_at_once
from sparsenet.lab.environment import describe_environment, processor_name
from sparsenet.lab.output import write_json
from sparsenet.machine.vectors import WIDEST

RESULTS = Path(__file__).parent / "results"
PAUSE = 0.015  # seconds before a burst, in which the threads of the engine before it stop spinning
LEAST_SPARSITY = 0.5  # for sparse peers: below, their times say nothing that is not known
FLAGS = ("avx", "avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "amx_tile", "neon", "asimd", "sve")


def sparsities_of(case, role):
    """The sparsities of a case at which an engine of this role runs."""
    if role in ("our dense", "dense peer"):
        return case.sparsities[-1:]
    return case.sparsities if role == "ours" else [s for s in case.sparsities if s >= LEAST_SPARSITY]


def measure_case(case, workers, rounds, folder, clock):
    """The results of every program of a case."""
    networks, x = {sparsity: case.network(sparsity) for sparsity in case.sparsities}, case.inputs()
    for sparsity, network in networks.items():
        workload = network, x, workloads.reference_output(network, x)
        (folder / f"{sparsity}.pickle").write_bytes(pickle.dumps(workload))
    results = []
    for name, worker in workers.items():
        for sparsity in sparsities_of(case, ENGINES[name].role):
            if ENGINES[name].takes(networks[sparsity]):
                path = str(folder / f"{sparsity}.pickle")
                answer = worker.ask(do="prepare", program=str(sparsity), workload=path)
                results.append({"engine": name, "role": ENGINES[name].role, "sparsity": sparsity, **answer})
    take_turns([result for result in results if "failed" not in result], workers, rounds, clock)
    for worker in workers.values():
        worker.ask(do="forget")
    return results


def take_turns(results, workers, rounds, clock):
    """Add to each result its bursts and their summary; every second round goes backwards, so that neighbours change."""
    for number in range(rounds):
        for result in results if number % 2 == 0 else reversed(results):
            if "failed" in result:
                continue
            time.sleep(PAUSE)
            answer = workers[result["engine"]].ask(do="burst", program=str(result["sparsity"]), clock=clock)
            if "failed" in answer:
                result |= answer
                continue
            result.setdefault("bursts_us", []).append(answer["median_us"])
            result["calls"] = result.get("calls", 0) + answer["calls"]
    for result in results:
        if "failed" not in result:
            levels = np.percentile(result["bursts_us"], (50, 25, 75, 0, 100))
            names = ("median_us", "low_us", "high_us", "min_us", "max_us")
            result |= dict(zip(names, levels.round(3).tolist(), strict=True))


def measure(cases, threads, rounds, path, skip=(), clock="wall"):
    """Measure the cases with so many threads on engines that are not to `skip`, write the JSON to `path`, return it."""
    with tempfile.TemporaryDirectory() as folder:
        result = describe_run(threads, rounds) | {"clock": clock}
        for name in skip:
            del result["engines"][name]
        workers = {name: Worker(name, threads, Path(folder)) for name in result["engines"]}
        for name, worker in workers.items():
            result["engines"][name]["skipped"] = worker.skipped
        usable = {name: worker for name, worker in workers.items() if not worker.skipped}
        for number, case in enumerate(cases, 1):
            print(f"{number}/{len(cases)} {case.group}: {case.name}, batch {case.batch}", file=sys.stderr, flush=True)
            results = measure_case(case, usable, rounds, Path(folder), clock)
            described = {name: getattr(case, name) for name in ("group", "name", "batch", "input_shape", "sparsities")}
            result["cases"].append(described | tables.summarize(results) | {"results": results})
            result |= {"means": tables.means(result["cases"]), "load_average_end": load_average()}
            for name, worker in usable.items():
                result["engines"][name] |= worker.ask(do="idle")
            write_json(path, result)
        for worker in workers.values():
            worker.close()
    return result


def describe_run(threads, rounds):
    """What is known of a result before anything is measured."""
    packages = sorted({package for engine in ENGINES.values() for package in engine.packages})
    return {
        "threads": threads,
        "rounds": rounds,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_average": load_average(),
        "environment": describe_environment() | describe_machine() | {p: installed_version(p) for p in packages},
        "allocator": {"library": " ".join(platform.libc_ver()), **MALLOC_VARIABLES},
        "largest_error": TOLERANCE,
        "engines": {
            name: {key: getattr(e, key) for key in ("role", "about", "allocates")} for name, e in ENGINES.items()
        },
        "cases": [],
    }


def describe_machine():
    """Cores, the CPU's kind, whether it multiplies 512 bits at once, vector flags; flags are known on Linux only."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        words = set()
    return {
        "cores": os.cpu_count(),
        "cpu": llvm.get_host_cpu_name(),
        "whole_512": numbers_at_once() == 16 if WIDEST == 16 else None,
        "flags": [flag for flag in FLAGS if flag in words],
    }


def folder_name(processor, cpu):
    """Where results of this CPU are kept.

    >>> folder_name("AMD EPYC", "znver3"), folder_name("Intel(R) Xeon(R) CPU @ 2.00GHz", "sapphirerapids")
    ('amd-epyc-znver3', 'intel-r-xeon-r-cpu-2-00ghz-sapphirerapids')
    """
    return re.sub("[^a-z0-9]+", "-", f"{processor} {cpu}".lower()).strip("-")


def load_average():
    return os.getloadavg() if hasattr(os, "getloadavg") else None


def installed_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def chosen_cases(options):
    cases = workloads.quick_cases() if options.quick else workloads.all_cases()
    if options.only:
        cases = [case for case in cases if case.group in options.only]
    if options.batch:
        cases = [case for case in cases if case.batch in options.batch]
    return cases


def build_parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = tuple(dict.fromkeys(case.group for case in workloads.all_cases()))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batch", type=int, nargs="+")
    parser.add_argument("--only", nargs="+", choices=groups, metavar="GROUP", help=", ".join(groups))
    parser.add_argument("--rounds", type=int, help="7, with --quick 2")
    parser.add_argument(
        "--out",
        type=Path,
        help="unless given benchmarks/results/<cpu>/run-<threads>t.json, of a part of the cases part-<threads>t.json",
    )
    parser.add_argument("--skip", nargs="+", default=[], choices=[*ENGINES], metavar="ENGINE", help=", ".join(ENGINES))
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: for one thread on a busy machine")
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("JSON", "PNG"))
    return parser


def main():
    parser = build_parser()
    options = parser.parse_args()
    if options.plot:
        source, target = options.plot
        tables.draw(json.loads(source.read_text()), target)
        return
    if options.out and len(options.threads) > 1:
        parser.error("--out takes one number of threads")
    if options.clock == "cpu" and options.threads != [1]:
        parser.error("--clock cpu tells the time of one thread only")
    cases = chosen_cases(options)
    if not cases:
        parser.error("no case has this group and batch")
    name = "part" if options.quick or options.only or options.batch else "run"
    folder = RESULTS / folder_name(processor_name(), llvm.get_host_cpu_name())
    rounds = options.rounds or (2 if options.quick else 7)
    for threads in options.threads:
        path = options.out or folder / f"{name}-{threads}t.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        print(tables.report(measure(cases, threads, rounds, path, options.skip, options.clock)))


if __name__ == "__main__":
    main()
