"""The README's code runs, and its figures are those of the stored results."""

import json
import re
import shlex
from pathlib import Path

import pytest

from sparsenet import cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def test_python_code_runs_as_it_stands(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_commands_are_ones_the_program_takes():
    lines = [line for line in re.findall(r"^(?:\S*/)?sparsenet .*$", TEXT, re.MULTILINE) if "--help" not in line]
    assert lines
    for line in lines:
        cli.build_parser().parse_args(shlex.split(line, comments=True)[1:])


def test_links_to_files_lead_somewhere():
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target


def test_accuracy_table_is_that_of_the_stored_results():
    seeds = [json.loads(path.read_text())["rows"] for path in sorted(RESULTS.glob("mnist-seed*.json"))]
    assert len(seeds) == 3
    for row in seeds[0]:
        mean = sum(100 * rows[row]["accuracy"] for rows in seeds) / len(seeds)
        (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row} |") and "±" in line]
        assert f"{mean:.2f} ±" in line, row


@pytest.mark.parametrize("row", ["l1", "l2", "sensitivity", "taylor", "random"])
def test_grid_is_that_of_the_stored_results(row):
    cells = json.loads((RESULTS / "mnist-grid.json").read_text())["cells"]
    (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {row} |")]
    expected = [f"{100 * cells[f'{row} {strategy}']['accuracy']:.2f}" for strategy in cli.STRATEGIES]
    assert [cell.strip() for cell in line.split("|")[2:-1]] == expected


def test_latency_table_is_that_of_the_stored_results():
    stored = json.loads((RESULTS / "latency.json").read_text())["latency_us"]
    for name in {key.rpartition(",")[0] for key in stored}:
        (line,) = [line for line in TEXT.splitlines() if line.startswith(f"| {name} |")]
        for batch in (1, 64):
            low, median, high = stored[f"{name}, batch {batch}"]
            assert f"{median:,.0f} ({low:,.0f} to {high:,.0f})" in line


def test_tables_beside_dense_engines_are_those_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables

    cases = json.loads((RESULTS / "run-1t.json").read_text())["cases"]
    assert {case["group"] for case in cases} >= {"conv", "blocks", "linear", "dense", "networks"}
    shown = [tables.means_table(cases)]
    for group in ("conv", "linear", "networks"):
        shown.append(tables.group_table([case for case in cases if case["group"] == group]))
    for line in "\n".join(shown).splitlines():
        assert line in TEXT
