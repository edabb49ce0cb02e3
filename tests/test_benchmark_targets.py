"""What the benchmark is to reach, by hand; where the results of a CPU go, and what is known of it."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sparsenet.kernels import tiling
from sparsenet.machine.vectors import WIDEST

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import model_constants  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402
import worker  # noqa: E402
import workloads  # noqa: E402


def case(group, name, **speedups):
    rows = [{"sparsity": int(key[1:]) / 100, "over_best_dense": value} for key, value in speedups.items()]
    return {"group": group, "name": name, "speedups": rows}


def rows_of(cases):
    return tables.targets_table(cases).splitlines()[2:]


def test_targets_by_hand():
    cases = [case("conv", "a", s70=2.0, s90=4.0), case("conv", "b", s70=4.5, s90=9.0)]
    assert rows_of(cases) == [
        "| convolutions | 70 % | 2 | 3.00 | 2.00 | 2.00 | 1.20 | yes |",
        "| convolutions | 90 % | 2 | 6.00 | 5.00 | 4.00 | 2.50 | yes |",
    ]


def test_one_case_below_the_lowest_is_enough_to_miss():
    cases = [case("conv", "a", s70=1.0), case("conv", "b", s70=9.0)]
    assert rows_of(cases) == ["| convolutions | 70 % | 2 | 3.00 | 2.00 | 1.00 | 1.20 | no |"]
    assert rows_of([case("networks", "a", s70=1.2)]) == ["| networks | 70 % | 1 | 1.20 | 1.30 | 1.20 | - | no |"]


def test_blocks_are_told_by_their_size():
    cases = [case("blocks", "a, blocks of 2x1", s50=2.0, s90=1.0), case("blocks", "a, blocks of 4x1", s50=1.0, s90=8.0)]
    assert rows_of(cases) == [
        "| 4x1 blocks | 90 % | 1 | 8.00 | 7.00 | 8.00 | - | yes |",
        "| 2x1 blocks | 50 % | 1 | 2.00 | 1.70 | 2.00 | - | yes |",
    ]


def test_cases_without_a_peer_count_nowhere():
    assert rows_of([case("conv", "a", s70=None)]) == []


def test_every_target_has_cases():
    cases = workloads.all_cases()
    for target in tables.TARGETS:
        found = [c for c in cases if c.group in target.groups and c.name.endswith(target.ending)]
        assert [c for c in found if target.sparsity in c.sparsities], target
    sizes = {c.input_shape[-1] for c in cases if c.group == "conv"}
    assert sizes >= {7, 17, 20, 56}
    assert {c.batch for c in cases if c.group == "few samples"} == {2, 4, 7, 16}


def test_each_cpu_has_a_folder():
    assert run.folder_name("AMD EPYC", "znver3") == "amd-epyc-znver3"
    assert run.folder_name("Intel(R) Xeon(R) CPU @ 2.00GHz", "cascadelake") == "intel-r-xeon-r-cpu-2-00ghz-cascadelake"


def test_what_is_known_of_the_cpu():
    machine = run.describe_machine()
    assert machine["cpu"]
    assert (machine["whole_512"] is None) == (WIDEST < 16)
    assert tables.cpu_of({"processor": "A", "cpu": "b", "whole_512": True}) == "A, b, 512 bits at once"
    assert tables.cpu_of({"processor": "A", "cpu": "b", "whole_512": None}) == "A, b, no 512 bits"
    assert tables.cpu_of({"processor": "A"}) == "A"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("results/*/*.json")), ids=lambda path: path.stem)
def test_stored_results_lie_with_their_cpu(path):
    environment = json.loads(path.read_text())["environment"]
    assert path.parent.name == run.folder_name(environment["processor"], environment["cpu"])
    assert environment["whole_512"] in (True, False, None)


def test_a_burst_goes_by_the_clock_that_it_is_given():
    assert worker.burst(lambda: None, itertools.count(0, 3).__next__)["median_us"] == 3e6
    result = {"cases": [], "engines": {}, "threads": 1, "environment": {"processor": "A"}, "clock": "cpu"}
    assert tables.report(result).startswith("## 1 thread, A, CPU time\n")
    command = [sys.executable, str(FOLDER / "run.py"), "--clock", "cpu", "--threads", "2", "--quick"]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 2
    assert "one thread" in failed.stderr


def test_constants_of_the_model_come_out_of_times_that_it_explains(monkeypatch):
    """Of a machine that takes exactly what the model says, with constants of its own."""

    def time_of_row(tile, count, size):
        multiply = max(tile.rows, 2 if tile.has_room else 8) + 1.5
        fetch = 5 * tile.rows * (1 - tiling.PACKED_BYTES / size) if size > tiling.PACKED_BYTES else 0
        entry = max(multiply, fetch) + tiling.FETCH_OVERLAP * min(multiply, fetch)
        return 20 + 2.5 * tile.rows + count * entry

    monkeypatch.setattr(model_constants, "measure_peak", lambda lanes: lanes)
    monkeypatch.setattr(model_constants, "time_of_row", time_of_row)
    monkeypatch.setattr(model_constants, "time_of_line", lambda: 7.0)
    found = {name: measured for name, (_, measured) in model_constants.measure().items()}
    assert found.pop("SUMS_IN_FLIGHT") == pytest.approx(8.5)  # the model's ENTRY is half less
    expected = {"ENTRY": 1.5, "SPILL_VECTOR": 2.5, "BLOCK_ROW": 20, "FETCH_LINE": 5, "PACK_LINE": 7}
    assert found == pytest.approx(expected)
    for name, (model, _) in model_constants.measure().items():
        assert model == getattr(tiling, name)
