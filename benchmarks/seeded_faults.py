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
import math
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

CONVOLUTION = """convolution::test_forward_is_cross_correlation convolution::test_both_backwards_are_adjoints
    convolution::test_im2col_agrees_with_the_loops convolution::test_worked_by_hand convolution::test_bad_input_is_named
    convolution::test_groups_and_dilation_by_hand convolution::test_views_and_empty_batches
    convolution::test_inputs_that_are_not_four_dimensional_are_refused
    convolution::test_a_window_that_does_not_fit_is_named convolution::test_one_group_without_dilation_unless_told"""
# A module of the package, and what covers it: files of tests, or single tests, where the others
# are slow with a function in plain Python.
COVER = {
    "nn/layers.py": "layers parameters",
    "nn/losses.py": "losses",
    "nn/optimizers.py": "optimizers",
    "nn/normalization.py": "layers parameters",
    "nn/pooling.py": "pooling layers",
    "nn/merge.py": "branches units",
    "nn/augment.py": "augment",
    "nn/counting.py": "network",
    "nn/channels.py": "units dependency",
    "nn/units.py": "units branches dependency",
    "kernels/naive_conv.py": CONVOLUTION,
    "kernels/im2col_conv.py": CONVOLUTION,
    "kernels/csr_loops.py": """products::test_the_csr_kernels_let_negative_outputs_through_unless_told
        products::test_csr_linear_from_any_sample_on engine::test_sparse_convolutions_are_not_dilated_unless_told
        engine::test_csr_linear engine::test_csr_convolution""",
    "kernels/linear.py": "products layers",
    "kernels/pooling.py": """pooling::test_the_first_of_equal_maxima_takes_the_gradient
        pooling::test_averages_and_their_gradient_are_those_of_the_definition pooling::test_bad_arguments_are_named
        layers::test_gradients_by_central_differences layers::test_nan_and_infinity_pass_through""",
    "kernels/activation.py": "products",
    "kernels/channel_sums.py": "products",
    "kernels/merging.py": "products",
    "kernels/scipy_reference.py": """engine::test_csr_linear engine::test_csr_convolution engine::test_columns_by_hand
        engine::test_sparse_convolutions_are_not_dilated_unless_told""",
    "kernels/sparse_matrix.py": """engine::test_sparse_convolutions_are_not_dilated_unless_told
        engine::test_the_pattern_is_the_mask_not_the_values
        sparse::test_blocks_are_recognised sparse::test_matrices_hold_what_the_mask_keeps""",
    "pruning/cycle.py": "cycle",
    "pruning/dependency.py": "dependency branch_surgery",
    "pruning/granularity.py": "masks scores",
    "pruning/masks.py": "masks",
    "pruning/pools.py": "dependency masks",
    "pruning/schedules.py": "schedules",
    "pruning/criteria/weights.py": "weight_criteria scores",
    "pruning/criteria/spread.py": "weight_criteria",
    "pruning/criteria/activations.py": "activation_criteria",
    "pruning/criteria/gradients.py": "gradient_criteria scores",
    "pruning/criteria/curvature.py": "curvature_criteria",
    "pruning/statistics.py": "activation_criteria weight_criteria",
    "pruning/gradient_quantities.py": "gradient_criteria",
    "pruning/hessians.py": "curvature_criteria",
    "pruning/flow.py": "gradient_criteria",
    "pruning/foresight.py": "foresight",
    "pruning/probe.py": "scores activation_criteria",
    "pruning/allocation.py": "allocation",
    "pruning/exact_obs.py": "exact_obs",
    "pruning/reconstruction.py": "exact_obs",
    "kernels/exact_obs.py": "exact_obs",
    "nn/hessian_product.py": "hessian_product",
    "nn/distillation.py": "distillation",
    "nn/corruptions.py": "robustness",
    "lab/robustness.py": "robustness",
    "pruning/scoring.py": "scores",
    "pruning/strategies.py": "masks dependency",
    "pruning/surgery.py": "surgery branch_surgery",
    "pruning/targets.py": """masks dependency cycle::test_layers_that_have_to_stay_are_told_once
        cycle::test_a_call_that_prunes_nothing_says_so cycle::test_a_layer_of_which_nothing_is_asked_hides_no_other
        cycle::test_what_was_pruned_before_and_what_was_not_asked_for_is_no_news
        cycle::test_nothing_left_to_prune_is_an_error cycle::test_what_is_asked_for_is_less_by_layer_or_by_all
        surgery::test_other_convolutions_in_groups_and_the_layers_before_them_stay""",
    "pruning/ties.py": "masks",
    "engine/folding.py": "engine",
    "files/codecs.py": "codecs",
}
# Constants that decide on the number of threads only; and vector code, which is no plain Python: it is compared with
# its loops by `test_kernels_plain.py`.
LEFT_OUT = {"THREAD_MACS", "THREAD_ELEMENTS", "max_of_squares", "max_squares"}
WITH_DOCTESTS = ("nn/", "pruning/")


def faults(tree):
    """The changes of a module's tree that may alter a result."""
    return [change for change in changes(tree) if change.function not in LEFT_OUT]


def covering(module):
    """Paths of the tests of a module: its own examples, then the files of the table."""
    own = [f"sparsenet/{module}"] if module.startswith(WITH_DOCTESTS) else []
    names = (name.partition("::") for name in COVER[module].split())
    return [*own, *(f"tests/test_{file}.py{separator}{test}" for file, separator, test in names)]


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
    """Let `jit.kernel` leave a function of module `name` (None: all), and compiled ones that call it, as they are."""
    plain, compile_kernel, inline = [], jit.kernel, jit.inlined

    def calls_plain(function):
        called = [function.__globals__.get(used) for used in function.__code__.co_names]
        called += [cell.cell_contents for cell in function.__closure__ or ()]
        return any(value is other for value in called for other in plain)

    def decide(decorate, function):
        changed = function.__module__ == name and function_name in (None, function.__qualname__)
        if function.__qualname__ not in LEFT_OUT and (changed or calls_plain(function)):
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
    function = None
    if number is not None:
        change = faults(tree)[number]
        change.apply()
        function = change.function
    finder = Finder(name, tree)
    sys.meta_path.insert(0, finder)
    interpret(importlib.import_module("sparsenet.machine.jit"), name, function)
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


def run_module(module, numbers, arguments, folder, report):
    """Outcome of each change, of those that there is time for: "caught", "timeout" or "survived"."""
    if not numbers:
        return {}
    start = time.monotonic()
    end = start + 60 * arguments.minutes
    child, (code, killer, seconds) = wait([Child(module, None, {}, 600, folder)])
    if code != 0:
        raise SystemExit(f"{module}: the tests fail on the unchanged source: {code}, {killer}")
    limit = 4 * (time.monotonic() - start) + SECONDS_MORE
    kills, outcomes, children, left = Counter(), {}, [], list(numbers)
    while (left and time.monotonic() < end) or children:
        if left and len(children) < arguments.jobs and time.monotonic() < end:
            order = {test: (-kills[test], spent) for test, spent in seconds.items()}
            children.append(Child(module, left.pop(0), order, limit, folder))
            continue
        child, (code, killer, _) = wait(children)
        kills[killer] += 1
        outcomes[child.number] = {0: "survived", "timeout": "timeout"}.get(code, "caught")
        report(child.number, outcomes[child.number], killer, time.monotonic() - child.start)
    return outcomes


def examine(module, arguments, stored):
    """Counts and survivors of one module, with the reasons that are stored for them."""
    found = faults(ast.parse((ROOT / "sparsenet" / module).read_text()))
    numbers = list(range(len(found)))
    if arguments.sample is not None and arguments.sample < len(found):
        numbers = random.Random(f"{arguments.seed} {module}").sample(numbers, arguments.sample)
    reasons = {key_of(survivor): survivor["reason"] for survivor in stored.get("survivors", ())}
    if arguments.again:
        left = {key for key, reason in reasons.items() if reason.startswith("not caught")}
        numbers = [number for number, change in enumerate(found) if key_of(vars(change)) in left]
    if arguments.only:
        numbers = [number for number in numbers if found[number].function in arguments.only]

    def report(number, outcome, killer, seconds):
        if outcome != "caught" or arguments.verbose:
            print(f"  {outcome:8} {seconds:5.1f} s  {module}:{found[number]}  {killer or ''}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_module(module, numbers, arguments, folder, report)
    survivors = [s for s in stored.get("survivors", ()) if arguments.again and s["reason"].startswith("equivalent")]
    for number in sorted(n for n in outcomes if outcomes[n] == "survived"):
        change = found[number]
        survivor = {"line": change.line, "function": change.function, "old": change.old, "new": change.new}
        survivors.append(survivor | {"reason": reasons.get(key_of(survivor), "not caught: not looked at")})
    if arguments.again:
        return stored | {"survivors": survivors}
    timeouts = Counter(outcomes.values())["timeout"]
    return {"changes": len(found), "run": len(outcomes), "timeouts": timeouts, "survivors": survivors}


def key_of(survivor):
    """What names a change whatever its line."""
    return survivor["function"], survivor["old"], survivor["new"]


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
    parser.add_argument("--again", action="store_true", help="only the stored survivors that are not equivalent")
    parser.add_argument("--minutes", type=float, default=math.inf, help="of each module, so many at most")
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
    for module in arguments.module or (stored if arguments.again else COVER):
        print(module, flush=True)
        results[module] = examine(module, arguments, stored.get(module, {}))
        if arguments.write:
            stored = read_stored() | {module: results[module]}
            RESULT.write_text(json.dumps(dict(sorted(stored.items())), indent=1) + "\n")
    print(*table(results), sep="\n")


if __name__ == "__main__":
    main()
