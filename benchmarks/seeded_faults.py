"""Seeded faults: one small change at a time in a formula, and the tests that cover it must fail.

    python benchmarks/seeded_faults.py                                       every module, every change: hours
    python benchmarks/seeded_faults.py --sample 60 --seed 1                  60 changes of each module
    python benchmarks/seeded_faults.py --module nn/losses.py --write         one module, the result stored
    python benchmarks/seeded_faults.py --table                               print what the stored result says

A change is one sign, exponent, index, axis, comparison, constant, default, boolean, function or order of arguments (see
`benchmarks/mutation.py`). Each runs in a forked process that has NumPy, Numba and pytest loaded already and compiles
the changed source in place of the file; nothing is written to the checkout. A run that fails, crashes or takes too long
has caught the change. What survives is printed and stored with a reason, by hand: "equivalent: ..." where no test could
tell the difference, "not caught: ..." where one could.

Numba: the changed function, and compiled functions that call it, run as plain Python, so that no machine code of a
changed source is kept and no old machine code hides the change; all other kernels come from the cache as ever.
"""

import argparse
import ast
import importlib
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

from mutation import changes

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "seeded_faults.json"
SECONDS_MORE = 20  # a run may take so much longer than four times that of the unchanged source

# A module of the package, and the files whose tests must catch a change of it.
COVER = {
    "nn/layers.py": "layers products convolution parameters network",
    "nn/losses.py": "losses",
    "nn/optimizers.py": "optimizers",
    "nn/normalization.py": "layers parameters surgery network",
    "nn/pooling.py": "pooling layers network",
    "nn/merge.py": "branches branch_surgery",
    "nn/augment.py": "augment",
    "nn/counting.py": "network branches lab",
    "nn/channels.py": "units branches branch_surgery dependency surgery",
    "nn/units.py": "units branches branch_surgery dependency surgery",
    "kernels/naive_conv.py": "convolution",
    "kernels/im2col_conv.py": "convolution layers",
    "kernels/csr_loops.py": "products sparse",
    "kernels/linear.py": "products layers",
    "kernels/pooling.py": "pooling layers",
    "kernels/activation.py": "products layers",
    "kernels/channel_sums.py": "products layers",
    "kernels/merging.py": "products",
    "kernels/scipy_reference.py": "sparse products",
    "kernels/sparse_matrix.py": "sparse",
    "pruning/cycle.py": "cycle",
    "pruning/dependency.py": "dependency branch_surgery surgery",
    "pruning/granularity.py": "masks scores",
    "pruning/masks.py": "masks",
    "pruning/pools.py": "dependency masks",
    "pruning/schedules.py": "schedules",
    "pruning/scores.py": "scores",
    "pruning/scoring.py": "scores",
    "pruning/strategies.py": "masks dependency cycle",
    "pruning/surgery.py": "surgery branch_surgery",
    "pruning/targets.py": "masks dependency cycle",
    "pruning/ties.py": "masks",
    "engine/folding.py": "engine sparse branches",
    "files/codecs.py": "codecs files",
}
SPEED = {"THREAD_MACS", "THREAD_ELEMENTS"}  # constants that change no result, only the number of threads
WITH_DOCTESTS = ("nn/", "pruning/")


def faults(tree):
    """The changes of a module's tree that may alter a result."""
    return [change for change in changes(tree) if change.function not in SPEED]


def covering(module):
    """Paths of the tests of a module: its own examples, then the files of the table."""
    own = [f"sparsenet/{module}"] if module.startswith(WITH_DOCTESTS) else []
    return [*own, *(f"tests/test_{name}.py" for name in COVER[module].split())]


class Replaced(SourceFileLoader):
    """Loads the changed tree in place of a module's file."""

    def __init__(self, name, path, tree):
        super().__init__(name, path)
        self.tree = tree

    def get_code(self, fullname):
        return compile(self.tree, self.path, "exec")


class Finder:
    """Gives the loader of the changed module to the import system; the first to be asked."""

    def __init__(self, name, tree):
        self.name, self.tree = name, tree

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = Replaced(name, spec.origin, self.tree)
        return spec


def interpret(jit, name, function_name):
    """Let `jit.kernel` leave the function of module `name`, and compiled functions that call it, as they are."""
    plain, compile_kernel, inline = [], jit.kernel, jit.inlined

    def calls_plain(function):
        called = [function.__globals__.get(used) for used in function.__code__.co_names]
        called += [cell.cell_contents for cell in function.__closure__ or ()]
        return any(value is other for value in called for other in plain)

    def decide(decorate, function):
        changed = (function.__module__, function.__qualname__.split(".")[0]) == (name, function_name)
        if changed or calls_plain(function):
            plain.append(function)
            return function
        return decorate(function)

    jit.kernel = lambda function: decide(compile_kernel, function)
    jit.inlined = lambda function: decide(inline, function)


class Plugin:
    """Runs what killed most first, then the quickest; remembers the first failure and the durations."""

    def __init__(self, order, finder):
        self.order, self.finder, self.killer, self.seconds = order, finder, None, Counter()

    def pytest_sessionstart(self):
        from hypothesis import Phase, settings

        sys.meta_path.insert(0, self.finder)  # again: pytest's own, before it, would take the file of the examples
        phases = (Phase.explicit, Phase.generate)  # a failure is enough, however long its example
        settings.register_profile("seeded faults", settings(), phases=phases, database=None)
        settings.load_profile("seeded faults")

    def pytest_collection_modifyitems(self, items):
        items.sort(key=lambda item: self.order.get(item.nodeid, (0, 0)))

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.killer = self.killer or report.nodeid

    def pytest_collectreport(self, report):
        if report.failed:
            self.killer = self.killer or report.nodeid


def run_tests(module, number, order, answer):
    """In the child: the tests with change `number` in place (None: unchanged); what they say goes to `answer`."""
    import pytest

    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    path = ROOT / "sparsenet" / module
    name = "sparsenet." + module.removesuffix(".py").replace("/", ".")
    tree = ast.parse(path.read_text())
    found = faults(tree)
    change = found[0 if number is None else number]
    if number is not None:
        change.apply()
    finder = Finder(name, tree)
    sys.meta_path.insert(0, finder)
    interpret(importlib.import_module("sparsenet.machine.jit"), name, change.function)
    plugin = Plugin(order, finder)
    options = ["-x", "-q", "--doctest-modules", "-p", "no:cacheprovider"]
    options += ["-o", "addopts=", "-m", "not modes and not torch and not mnist and not cifar10"]
    code = pytest.main([*options, *covering(module)], plugins=[plugin])
    answer.write_bytes(pickle.dumps((int(code), plugin.killer, dict(plugin.seconds))))


class Child:
    """A forked process that runs the tests with one change."""

    def __init__(self, module, number, order, seconds, folder):
        self.number, self.answer = number, Path(folder) / f"{number}"
        self.start, self.limit = time.monotonic(), seconds
        self.process = os.fork()
        if not self.process:
            try:
                run_tests(module, number, order, self.answer)
            except Exception as error:
                self.answer.write_bytes(pickle.dumps(("crash", repr(error), {})))
            finally:
                os._exit(0)

    def result(self):
        """(exit code of pytest or "timeout" or "crash", first test that failed, seconds per test); None: it runs."""
        if not os.waitpid(self.process, os.WNOHANG)[0]:
            if time.monotonic() < self.start + self.limit:
                return None
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
            return "timeout", None, {}
        return pickle.loads(self.answer.read_bytes()) if self.answer.exists() else ("crash", None, {})


def wait(children):
    """The first child that ends, and its result."""
    while True:
        for child in children:
            result = child.result()
            if result is not None:
                children.remove(child)
                return child, result
        time.sleep(0.01)


def run_module(module, numbers, jobs, folder, report):
    """Outcome of each change: "caught", "timeout" or "survived"."""
    start = time.monotonic()
    child, (code, killer, seconds) = wait([Child(module, None, {}, 600, folder)])
    if code != 0:
        raise SystemExit(f"{module}: the tests fail on the unchanged source: {code}, {killer}")
    limit = 4 * (time.monotonic() - start) + SECONDS_MORE
    kills, outcomes, children, left = Counter(), {}, [], list(numbers)
    while left or children:
        if left and len(children) < jobs:
            order = {test: (-kills[test], spent) for test, spent in seconds.items()}
            children.append(Child(module, left.pop(0), order, limit, folder))
            continue
        child, (code, killer, _) = wait(children)
        kills[killer] += 1
        outcomes[child.number] = {0: "survived", "timeout": "timeout"}.get(code, "caught")
        report(child.number, outcomes[child.number], killer, time.monotonic() - child.start)
    return outcomes


def test_module(module, arguments, stored):
    """Counts and survivors of one module, with the reasons that are stored for them."""
    found = faults(ast.parse((ROOT / "sparsenet" / module).read_text()))
    numbers = list(range(len(found)))
    if arguments.sample is not None and arguments.sample < len(found):
        numbers = sorted(random.Random(f"{arguments.seed} {module}").sample(numbers, arguments.sample))
    if arguments.only:
        numbers = [number for number in numbers if found[number].function in arguments.only]

    def report(number, outcome, killer, seconds):
        if outcome != "caught" or arguments.verbose:
            print(f"  {outcome:8} {seconds:5.1f} s  {module}:{found[number]}  {killer or ''}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_module(module, numbers, arguments.jobs, folder, report)
    reasons = {(s["function"], s["old"], s["new"]): s["reason"] for s in stored.get("survivors", ())}
    survivors = []
    for number in (n for n in numbers if outcomes[n] == "survived"):
        change = found[number]
        reason = reasons.get((change.function, change.old, change.new), "not caught: not looked at")
        survivors.append({"line": change.line, "function": change.function, "old": change.old, "new": change.new})
        survivors[-1]["reason"] = reason
    counts = Counter(outcomes.values())
    return {"changes": len(found), "run": len(numbers), "timeouts": counts["timeout"], "survivors": survivors}


def table(modules):
    """The lines of the table of results."""
    yield "| module | changes | run | caught | of those that alter behaviour | survivors |"
    yield "| --- | --- | --- | --- | --- | --- |"
    total = Counter()
    for name, result in sorted(modules.items()):
        alike = sum(survivor["reason"].startswith("equivalent") for survivor in result["survivors"])
        row = Counter(changes=result["changes"], run=result["run"], alike=alike, survivors=len(result["survivors"]))
        total += row
        yield line_of(name, row)
    yield line_of("all", total)


def line_of(name, row):
    caught, altering = row["run"] - row["survivors"], row["run"] - row["alike"]
    share = f"{100 * caught / max(altering, 1):.1f} %"
    return f"| {name} | {row['changes']} | {row['run']} | {caught} | {share} | {row['survivors']} |"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--module", action="append", choices=COVER, help="of the table; all unless given")
    parser.add_argument("--only", action="append", help="changes of one function")
    parser.add_argument("--sample", type=int, help="so many changes of each module, drawn with --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="show the test that caught each change")
    parser.add_argument("--write", action="store_true", help="store the result")
    parser.add_argument("--table", action="store_true", help="print what is stored, and run nothing")
    return parser.parse_args()


def read_stored():
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


def main():
    arguments = parse_arguments()
    stored = read_stored()
    if arguments.table:
        print(*table(stored), sep="\n")
        return
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(ROOT))
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    for name in ("numpy", "scipy.sparse", "scipy.ndimage", "scipy.signal", "numba", "pytest", "hypothesis"):
        importlib.import_module(name)
    results = {}
    for module in arguments.module or COVER:
        print(module, flush=True)
        results[module] = test_module(module, arguments, stored.get(module, {}))
        if arguments.write:
            stored = read_stored() | {module: results[module]}
            RESULT.write_text(json.dumps(dict(sorted(stored.items())), indent=1) + "\n")
    print(*table(results), sep="\n")


if __name__ == "__main__":
    main()
