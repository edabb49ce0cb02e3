"""The code of the README runs, and the figures of both READMEs are those of the stored results."""

import json
import re
import shlex
from pathlib import Path
from statistics import mean, stdev

import pytest

from sparsenet import cli

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README, BENCHMARKS = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
ENGINE = ROOT / "sparsenet" / "engine" / "README.md"
TEXT, LONG = README.read_text(encoding="utf-8"), BENCHMARKS.read_text(encoding="utf-8")


def cells_of(page, section, first):
    """The other cells of the one table row of a section that begins with this one."""
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def stored(name):
    return json.loads((RESULTS / name).read_text())


@pytest.fixture(scope="module")
def seeds():
    seeds = [stored(path.name)["rows"] for path in sorted(RESULTS.glob("mnist-seed*.json"))]
    assert len(seeds) == 3
    return seeds


def test_a_newcomer_reads_it_in_one_go():
    assert len(TEXT.splitlines()) <= 200


@pytest.mark.parametrize("number", range(2))
def test_python_code_runs_as_it_stands(tmp_path, monkeypatch, number):
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks[number], "README.md", "exec"), {})


def test_commands_are_ones_the_program_takes():
    lines = re.findall(r"^(?:\S*/)?sparsenet .*$", TEXT, re.MULTILINE)
    assert lines
    for line in lines:
        cli.build_parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("page", [README, BENCHMARKS, ENGINE], ids=lambda page: page.parent.name)
def test_links_to_files_lead_somewhere(page):
    targets = re.findall(r"\]\((?!http|#)([^)]+)\)", page.read_text(encoding="utf-8"))
    assert targets
    for target in targets:
        assert (page.parent / target).exists(), target


def test_which_when_names_every_choice():
    from sparsenet.engine.autotune import FORMS

    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and line.count("|") == 3]
    choices = {"criteri[ao]n?": cli.CRITERIA, "strategy": cli.STRATEGIES, "forms?": FORMS}
    for word, names in choices.items():
        first = [row.split("|")[1] for row in rows if re.match(rf"\| {word} ", row)]
        assert {name for cell in first for name in re.findall(r"`(\w[\w ]*)`", cell)} - {"compile"} == set(names)


def test_accuracies_are_those_of_the_stored_results(seeds):
    for row in seeds[0]:
        results = [rows[row] for rows in seeds]
        accuracy = [100 * result["accuracy"] for result in results]
        drop = mean(accuracy) - mean(100 * rows["dense"]["accuracy"] for rows in seeds)
        # a compacted network has no masks: its parameters are counted
        gone = mean(1 - r["parameters"] / r["of"] if "parameters" in r else r["sparsity"] for r in results)
        shown = f"{mean(accuracy):.2f} ± {stdev(accuracy):.2f}"
        assert cells_of(LONG, "Accuracy on MNIST", row) == [shown, f"{drop:+.2f}", f"{100 * gone:.1f} %"]
        if "max_threshold" not in row:
            assert cells_of(TEXT, "Results", row)[:2] == [shown, f"{100 * gone:.1f} %"]


@pytest.mark.parametrize("row", ["l1", "l2", "sensitivity", "taylor", "random"])
def test_grid_is_that_of_the_stored_results(row):
    cells = stored("mnist-grid.json")["cells"]
    expected = [f"{100 * cells[f'{row} {strategy}']['accuracy']:.2f}" for strategy in cli.STRATEGIES]
    assert cells_of(LONG, "Accuracy on MNIST", row) == expected


SHORT = {
    "SimpleCNN, dense": "dense",
    "proportional 90 %, sparse": "proportional 0.9",
    "proportional 95 %, sparse": "proportional 0.95",
    "proportional 98 %, sparse": "proportional 0.98",
    "channelwise, half, compacted": "channelwise 0.5",
}


def test_latencies_are_those_of_the_stored_results():
    latency = stored("latency.json")["latency_us"]
    assert {key.rpartition(",")[0] for key in latency} == set(SHORT)
    for name, row in SHORT.items():
        for place, batch in enumerate((1, 64)):
            low, median, high = latency[f"{name}, batch {batch}"]
            gain = latency[f"SimpleCNN, dense, batch {batch}"][1] / median
            cells = cells_of(LONG, "Latency on MNIST", name)[2 * place : 2 * place + 2]
            assert cells == [f"{median:,.0f} ({low:,.0f} to {high:,.0f})", f"{gain:.2f}"]
            short = f"{median:,.0f} µs" if row == "dense" else f"{median:,.0f} µs ({gain:.2f}x)"
            assert cells_of(TEXT, "Results", row)[2 + place] == short


def test_tables_beside_dense_engines_are_those_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables

    cases = stored("amd-epyc-znver4/run-1t.json")["cases"]
    assert {case["group"] for case in cases} >= {"conv", "blocks", "linear", "dense", "networks"}
    shown = [tables.means_table(cases)]
    for group in ("conv", "linear", "networks", "kinds"):
        shown.append(tables.group_table([case for case in cases if case["group"] == group]))
    lines = LONG.splitlines()
    for line in "\n".join(shown).splitlines():
        assert line in lines


def test_other_tables_are_those_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cifar
    import criteria
    import deep_compression
    import tables

    branches = stored("amd-epyc-znver3/branches-1t.json")["cases"]
    shown = [*tables.means_table(branches).splitlines(), *tables.group_table(branches).splitlines()]
    shown += [*cifar.table(stored("cifar.json")), *criteria.table(stored("criteria.json"))]
    shown += deep_compression.format_table(stored("deep_compression.json")).splitlines()
    lines = LONG.splitlines()
    for line in shown:
        assert line in lines


def test_tables_of_other_cpus_of_budgets_and_of_retraining_are_those_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import budgets
    import distillation
    import robustness
    import tables

    cases = stored("amd-epyc-znver3/run-1t.json")["cases"]
    found = {name: stored(f"budgets-{name}.json") for name in ("lenet_5", "resnet20", "vgg_small")}
    shown = [tables.means_table(cases), tables.targets_table(cases), budgets.table(found)]
    shown += [module.format_table(stored(f"{module.__name__}.json")) for module in (distillation, robustness)]
    lines = LONG.splitlines()
    for line in "\n".join(shown).splitlines():
        assert line in lines


def test_robustness_in_short_is_that_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from robustness import spread

    seeds = stored("robustness.json")["seeds"]
    for shown, name in {"0 %": "dense", "90 %": "90 %", "95 %": "95 %", "98 %": "98 %"}.items():
        pairs = [
            [spread([rows[f"{name}, {how}"][key] for rows in seeds]) for how in ("plain", "augmented")]
            for key in ("accuracy", "mean", "calibration", "agreement")
        ]
        assert cells_of(TEXT, "Results", shown) == [" → ".join(pair) for pair in pairs]


def test_sentences_on_other_cpus_and_on_files_are_those_of_the_stored_results(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import tables

    text = " ".join(TEXT.split())
    gains = {
        (row["group"], row["sparsity"]): row["over_best_dense"]
        for row in stored("amd-epyc-znver3/run-1t.json")["means"]
    }
    for group in ("conv", "networks"):
        assert " / ".join(tables.ratio(gains[group, sparsity]) for sparsity in (0.7, 0.8, 0.9, 0.95)) in text
    assert f"and {tables.ratio(gains['dense', 0.0])} for dense convolutions" in text
    files = stored("deep_compression.json")
    for name in ("lenet_5_shifted", "lenet_300_100_shifted"):
        row = files[name]["rows"][-1]
        assert re.search(rf"{row['bytes']:,}( bytes)? at {row['error']:.2f} %", text)


def test_training_beside_torch_is_that_of_the_stored_results():
    for task, engines in stored("beside_torch.json")["results"].items():
        if task.startswith("training"):
            expected = []
            for name, (low, median, high, ratio) in engines.items():
                expected += [f"{median:,.0f} ({low:,.0f} to {high:,.0f})", *([f"{ratio:.2f}"] * (name != "sparsenet"))]
            assert cells_of(LONG, "Training beside torch", task) == expected
