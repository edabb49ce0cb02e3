"""The changes of `benchmarks/mutation.py` on a few lines, and `benchmarks/seeded_faults.py` on a real formula."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import mutation  # noqa: E402
import seeded_faults  # noqa: E402


def changed(source):
    """What may stand in place of a source of one line: every change applied to a tree of its own."""
    result = []
    for number in range(len(mutation.changes(ast.parse(source)))):
        tree = ast.parse(source)
        mutation.changes(tree)[number].apply()
        compile(tree, "changed", "exec")
        result.append(ast.unparse(tree))
    return result


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("y = a + b", ["y = a - b"]),
        ("y = a / b ** 2", ["y = a * b ** 2", "y = a / (b * 2)", "y = a / b ** 1", "y = a / b ** 3"]),
        ("y = -a", ["y = a"]),
        ("def f(): y += a", ["def f():\n    y = a", "def f():\n    y -= a"]),
        ("y = a <= b", ["y = a < b", "y = a > b"]),
        ("y = a and (not b)", ["y = a or not b", "y = a and b"]),
        ("y = x[a, b]", ["y = x[b, a]"]),
        ("y = x[:n]", ["y = x[:n + 1]"]),
        ("y = x[0]", ["y = x[1]"]),
        ("y = x.sum(axis=1)", ["y = x.mean(axis=1)", "y = x.sum()", "y = x.sum(axis=0)", "y = x.sum(axis=2)"]),
        ("y = np.abs(x)", ["y = x"]),
        ("y = x.reshape(-1)", ["y = x.reshape(1)", "y = x.reshape(-0)"]),
        ("y = x[-1]", ["y = x[1]", "y = x[-0]", "y = x[-2]"]),
        ("y = f(a, b)", ["y = f(b, a)"]),
        ("y = max(a, b)", ["y = min(a, b)"]),
        ("y = a if b else c", ["y = a if not b else c"]),
        ("def f(a=True, b=0.5): pass", ["def f(a=False, b=0.5):\n    pass", "def f(a=True, b=1.0):\n    pass"]),
    ],
)
def test_the_changes_of_a_line(source, expected):
    assert sorted(changed(source)) == sorted(expected)


@pytest.mark.parametrize(
    "source",
    [
        '"""Adds 1 + 1."""',
        "def f(x: int | None) -> tuple[int, 2]: pass",
        "raise ValueError(1 + 1)",
        "y = f'{1 + 1}'",
        "warnings.warn('text', UserWarning, 2)",
        "isinstance(x, Conv2d | Linear)",
        "from a import b",
        "@dataclass(frozen=True)\nclass A: pass",
        "y = zip(a, strict=True)",
        "Arrays = dict[str, np.ndarray]",
    ],
)
def test_what_is_no_formula_is_left_alone(source):
    assert changed(source) == []


def test_every_change_of_the_formulas_compiles_and_leaves_the_tree_as_it_was():
    for module in seeded_faults.COVER:
        tree = ast.parse((seeded_faults.ROOT / "sparsenet" / module).read_text())
        before = ast.unparse(tree)
        found = mutation.changes(tree)
        assert ast.unparse(tree) == before
        assert found
        assert all(change.old != change.new for change in found)


def test_the_table_names_files_that_exist():
    for module in seeded_faults.COVER:
        files = [f"sparsenet/{module}", *(test.partition("::")[0] for test in seeded_faults.covering(module))]
        assert [path for path in files if not (seeded_faults.ROOT / path).exists()] == []


def test_a_changed_formula_is_caught():
    command = [sys.executable, FOLDER / "seeded_faults.py", "--module", "pruning/schedules.py"]
    run = subprocess.run([*command, "--only", "one_shot", "--verbose"], capture_output=True, text=True, check=True)
    lines = [line for line in run.stdout.splitlines() if "one_shot" in line]
    assert lines
    assert all("caught" in line for line in lines), run.stdout


def test_the_share_leaves_out_what_alters_nothing():
    survivors = [{"reason": "equivalent: speed only"}, {"reason": "not caught: too rare"}]
    lines = list(seeded_faults.table({"a.py": {"changes": 20, "run": 11, "survivors": survivors}}))
    assert lines[2:] == ["| a.py | 20 | 11 | 9 | 90.0 % | 2 |", "| all | 20 | 11 | 9 | 90.0 % | 2 |"]


def test_every_survivor_that_is_stored_is_explained():
    stored = seeded_faults.read_stored()
    assert stored.keys() <= seeded_faults.COVER.keys()
    reasons = [survivor["reason"] for result in stored.values() for survivor in result["survivors"]]
    assert [reason for reason in reasons if not reason.startswith(("equivalent: ", "not caught: "))] == []
    assert [reason for reason in reasons if "not looked at" in reason] == []
