"""The command end to end on the digits; bad options, missing and corrupt data, an interrupt, no plotting library."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from pages import assert_well_formed

import sparsenet as sn
from sparsenet import cli
from sparsenet.lab import bench, break_even
from sparsenet.lab.output import NOTES

QUICK = ["--epochs", "2", "--retrain-epochs", "1", "--rounds", "2", "--threads", "2", "--max-drop", "0.9"]
KEYS = {
    *("dataset", "model", "criterion", "strategy", "seed", "sparsity_requested", "sparsity_achieved"),
    *("accuracy_dense", "accuracy_pruned", "parameters_total", "parameters_kept", "bytes_dense", "bytes_sparse"),
    *("latency_us", "rounds", "environment"),
}


def command(*arguments, **options):
    environment = {key: value for key, value in os.environ.items() if key != "SPARSENET_DATA"}
    return subprocess.run(
        [sys.executable, "-m", "sparsenet", *arguments], capture_output=True, text=True, env=environment, **options
    )


def test_the_whole_run(tmp_path, capsys, digits):
    out = tmp_path / "deep" / "out"
    assert cli.main(["run", *QUICK, "--out", str(out), "--sparsity", "0.8"]) == 0
    printed = capsys.readouterr().out
    for word in (
        "round 1/2",
        "round 2/2: 80.0 % of the weights gone",
        "theory",
        "measured",
        "conv1",
        "total",
        str(out),
    ):
        assert word in printed
    assert printed.count("With 80.0 % of the weights gone, the network in its ") == 1

    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert set(summary["latency_us"]) == {"dense", "masked", "compacted", "sparse"}
    assert all(value > 0 for value in summary["latency_us"].values())
    assert summary["metric"] == "accuracy"
    assert summary["sparsity_requested"] == 0.8
    assert summary["sparsity_achieved"] == pytest.approx(0.8, abs=1e-4)
    assert summary["accuracy_pruned"] == summary["accuracy_compiled"] > 0.5
    assert summary["parameters_total"] == 206_922
    assert [r["round"] for r in summary["rounds"]] == [1, 2]
    assert summary["environment"]["numpy"] == np.__version__

    networks = {name: sn.load_network(out / f"{name}.sparsenet") for name in ("dense", "pruned", "compacted")}
    assert networks["dense"].sparsity() == 0
    assert networks["pruned"].sparsity() == summary["sparsity_achieved"]
    assert sn.evaluate(networks["dense"], digits.test).accuracy == summary["accuracy_dense"]
    assert sn.evaluate(networks["pruned"], digits.test).accuracy == summary["accuracy_pruned"]
    np.testing.assert_allclose(
        networks["compacted"](digits.test.x), networks["pruned"](digits.test.x), rtol=1e-3, atol=1e-4
    )
    assert (out / "dense.sparsenet").stat().st_size == summary["bytes_dense"]
    assert (out / "pruned.sparsenet").stat().st_size == summary["bytes_sparse"] < 0.3 * summary["bytes_dense"]
    assert {p.name for p in out.iterdir()} <= {
        "summary.json",
        "dense.sparsenet",
        "pruned.sparsenet",
        "compacted.sparsenet",
        "accuracy.png",
        "report.html",
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert "simple_cnn on digits, 80.0 % pruned" in page
    assert "round 2" in printed


@pytest.mark.parametrize("strategy", ["channelwise", "proportional", "max_threshold"])
def test_other_models_criteria_strategies_schedules(tmp_path, capsys, strategy):
    options = ["--strategy", strategy, "--model", "lenet_300_100", "--criterion", "taylor", "--schedule", "geometric"]
    assert cli.main(["run", *QUICK, *options, "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sparsity_requested"] == {"channelwise": 0.5, "proportional": 0.95, "max_threshold": None}[strategy]
    assert summary["rate"] == {"channelwise": None, "proportional": None, "max_threshold": 0.2}[strategy]
    assert 0.4 < summary["sparsity_achieved"] < 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert f"the strategy {strategy}, with 2 epochs" in page


def test_a_budget_is_kept(tmp_path, capsys):
    options = ["--budget", "size=20%", "--model", "lenet_300_100", "--out", str(tmp_path)]
    assert cli.main(["run", *QUICK, *options]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    limit = 0.2 * summary["bytes_dense"]
    assert 0.5 * limit < (tmp_path / "pruned.sparsenet").stat().st_size == summary["bytes_sparse"] <= limit
    assert summary["auto_prune"]["chosen"]["measured"] == summary["bytes_sparse"]
    assert summary["stopped"] == "within the budget"
    assert summary["sparsity_requested"] is None
    assert "predicted" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert "The search for the budget" in page


ANGLE = ["--dataset", "digits_angle", "--model", "lenet_300_100", "--epochs", "4", "--retrain-epochs", "1"]


@pytest.mark.filterwarnings("ignore:criterion 'taylor' gives units")  # of ReLUs that are dead: the network is small
def test_a_regression_from_end_to_end(tmp_path, capsys):
    options = [*ANGLE, "--rounds", "2", "--sparsity", "0.8", "--max-drop", "0.5", "--criterion", "taylor"]
    assert cli.main(["run", *options, "--out", str(tmp_path)]) == 0
    printed, summary = capsys.readouterr().out, json.loads((tmp_path / "summary.json").read_text())
    assert summary.keys() >= KEYS
    assert summary["metric"] == "r_squared"
    data, judge = sn.load_dataset("digits_angle"), {"loss": sn.mean_squared_error, "metric": sn.losses.r_squared}
    for name in ("dense", "pruned"):
        network = sn.load_network(tmp_path / f"{name}.sparsenet")
        assert sn.evaluate(network, data.test, **judge).accuracy == summary[f"accuracy_{name}"] > 0.6
    assert summary["accuracy_compiled"] == pytest.approx(summary["accuracy_pruned"], abs=1e-5)
    last = summary["rounds"][-1]
    assert f"masked, {last['accuracy']:.4f} retrained" in printed
    assert f"its test R^2 went from {summary['accuracy_dense']:.4f} to {summary['accuracy_pruned']:.4f}." in printed
    assert "accuracy" not in printed


def test_a_budget_and_the_sensitivity_of_a_regression(tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["run", *ANGLE, "--rounds", "1", "--budget", "macs=20%", "--out", str(out)]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["stopped"] == "within the budget"
    assert summary["auto_prune"]["chosen"]["accuracy"] > 0.6
    network = str(out / "dense.sparsenet")
    assert cli.main(["sensitivity", network, "--dataset", "digits_angle", "--quick", "--out", str(out)]) == 0
    found = json.loads((out / "sensitivity.json").read_text())["units"]
    judge = {"loss": sn.mean_squared_error, "metric": sn.losses.r_squared}
    expected = sn.evaluate(sn.load_network(network), sn.load_dataset("digits_angle").validation, **judge)
    assert [(unit["accuracy"][0], unit["loss"][0]) for unit in found.values()] == [expected] * 3


def test_the_same_seed_gives_the_same_networks(tmp_path):
    for name in ("a", "b"):
        assert cli.main(["run", *QUICK, "--model", "lenet_300_100", "--seed", "5", "--out", str(tmp_path / name)]) == 0
    for network in ("dense.sparsenet", "pruned.sparsenet", "compacted.sparsenet"):
        assert (tmp_path / "a" / network).read_bytes() == (tmp_path / "b" / network).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["run", "--sparsity", "1.5"], "--sparsity: must be in [0, 1), not 1.5"),
        (["run", "--sparsity", "lots"], "--sparsity: invalid fraction value: 'lots'"),
        (["run", "--budget", "size=1", "--sparsity", "0.5"], "--budget and --sparsity exclude each other"),
        (["run", "--budget", "size=much"], "a budget is for instance"),
        (["run", "--budget", "size=1KB", "--strategy", "proportional"], "must be layerwise or channelwise"),
        (["run", "--rounds", "0"], "--rounds: must be at least 1, not 0"),
        (["run", "--threads", "-2"], "--threads: must be at least 1"),
        (["run", "--epochs", "two"], "--epochs: invalid"),
        (["run", "--criterion", "luck"], "--criterion: invalid choice: 'luck'"),
        (["run", "--dataset", "cifar"], "--dataset: invalid choice"),
        (["run", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["bench", "--batch", "0"], "--batch: must be at least 1, not 0"),
        (["bench", "--threads", "many"], "--threads: invalid"),
        (["bench", "--quick", "slow"], "unrecognized arguments: slow"),
        (["bench", "--out", "/proc/nowhere"], "cannot be written"),
        (["run", "--dataset", "mnist", "--data", "/nowhere"], "data folder '/nowhere' does not exist"),
    ],
)
def test_bad_options_get_one_line_and_status_2(arguments, message):
    result = command(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_a_criterion_that_asks_for_what_the_model_lacks_is_told_before_the_work(tmp_path, capsys):
    options = ["--criterion", "slimming", "--epochs", "1000000", "--out", str(tmp_path)]
    assert cli.main(["run", *options]) == 2
    assert "no layer has what criterion 'slimming' asks for" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_corrupt_data_and_bad_folders_get_one_line_and_status_2(tmp_path, capsys):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(b"not what it should be")
    (tmp_path / "file").write_text("in the way")
    for arguments, message in (
        (["--dataset", "mnist", "--data", str(tmp_path)], "train-images-idx3-ubyte is not an IDX file"),
        (["--out", str(tmp_path / "file")], "cannot be written"),
        (["--out", "/proc/nowhere"], "cannot be written"),
    ):
        assert cli.main(["run", *QUICK, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("sparsenet: error: ")
        assert message in error


def test_help_is_quick_and_both_programs_are_one():
    start = time.perf_counter()
    result = command("--help")
    seconds = time.perf_counter() - start
    assert result.returncode == 0
    assert "train, prune round by round" in result.stdout
    assert "measure from which sparsity on" in result.stdout
    assert seconds < 30  # a limit against importing everything on a busy machine, not a measurement
    assert command("--version").stdout.strip() == f"sparsenet {sn.__version__}"


def test_without_matplotlib_there_is_a_line_instead_of_a_plot(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert cli.main(["run", *QUICK, "--model", "lenet_300_100", "--out", str(tmp_path)]) == 0
    assert "no plot: a plot needs matplotlib: pip install 'sparsenet[app]'" in capsys.readouterr().out
    assert not (tmp_path / "accuracy.png").exists()
    assert (tmp_path / "summary.json").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert page.count("pip install &#x27;sparsenet[app]&#x27;") == 1
    assert "<svg" not in page
    assert page.count("<table") > 5


# A child whose parent ignores SIGINT, as a shell does for its background jobs, inherits that.
AS_AT_A_TERMINAL = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from sparsenet import cli; sys.exit(cli.main(sys.argv[1:]))"
)
IGNORING = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], *sys.argv[2:]])"
)
INTERRUPTING_ITSELF = (
    "import os, signal, sys\n"
    "from sparsenet import cli\n"
    "cli.COMMANDS['run'] = lambda options: os.kill(os.getpid(), signal.SIGINT)\n"
    "sys.exit(cli.main(['run']))"
)


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
@pytest.mark.parametrize("launcher", [[], [IGNORING]], ids=["at a terminal", "where SIGINT is ignored"])
def test_an_interrupt_leaves_whole_files_only(tmp_path, launcher):
    arguments = ["run", "--epochs", "3", "--retrain-epochs", "1000", "--out", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", *launcher, AS_AT_A_TERMINAL, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "dense.sparsenet").exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["dense.sparsenet"]
    sn.load_network(tmp_path / "dense.sparsenet")


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_an_ignored_interrupt_stays_ignored():
    """What a shell's background jobs inherit, and what nohup does for SIGHUP: who ignored the signal meant it."""
    for launcher, status in (([IGNORING], 0), ([], 130)):
        restored = INTERRUPTING_ITSELF if launcher else f"{AS_AT_A_TERMINAL.splitlines()[0]}\n{INTERRUPTING_ITSELF}"
        result = subprocess.run([sys.executable, "-c", *launcher, restored], capture_output=True, text=True, timeout=60)
        assert (result.returncode, "interrupted" in result.stderr) == (status, status == 130)


# The command with an experiment that takes no time: it says that it works, writes a file, and says so.
STUB = """
import sys
from pathlib import Path
from types import SimpleNamespace

def run_experiment(experiment, folder, narrator):
    narrator.progress("working")
    for number in range(3):
        narrator.line(f"line {number}")
    Path(folder).mkdir()
    (Path(folder) / "summary.json").write_text("{}")

sys.modules["sparsenet.lab.experiment"] = SimpleNamespace(
    Experiment=SimpleNamespace, Narrator=SimpleNamespace, run_experiment=run_experiment
)
from sparsenet import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def run_stub(*arguments, code=STUB, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 60} | options
    return subprocess.run([sys.executable, "-c", code, *arguments], **pipes)


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
def test_a_folder_that_the_terminal_cannot_show(tmp_path):
    out = os.fsencode(tmp_path) + "/Stra\N{LATIN SMALL LETTER SHARP S}e ".encode() + b"\xff"
    for encoding, shown in (("ascii", rb"Stra\xdfe \udcff"), ("utf-8", b"Stra\xc3\x9fe \\udcff")):
        result = run_stub("run", "--out", out, env=os.environ | {"PYTHONIOENCODING": encoding})
        assert (result.returncode, result.stderr) == (0, b"")
        assert result.stdout.endswith(
            b"summary, networks, plot and report: " + os.fsencode(tmp_path) + b"/" + shown + b"\n"
        )
        assert os.listdir(out) == [b"summary.json"]
        shutil.rmtree(out)


@pytest.mark.skipif(os.name != "posix", reason="names of any bytes")
def test_help_with_a_folder_that_the_terminal_cannot_show():
    result = run_stub("run", "--help", env=os.environ | {"PYTHONIOENCODING": "ascii", "SPARSENET_DATA": "\udcff/\xe9"})
    assert (result.returncode, result.stderr) == (0, b"")
    assert rb"\udcff/\xe9" in result.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_streams_that_are_closed(tmp_path, closed):
    arguments = [sys.executable, "-c", STUB, "run", "--out", str(tmp_path / "out")]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *arguments]
    result = subprocess.run(shell, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert result.stderr == ""
    assert (tmp_path / "out" / "summary.json").exists()
    assert ("line 2" in result.stdout) == (closed == "2>&-")


def assert_lost(process, reason):
    """The run went on, and said once that nobody sees its output."""
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0
    assert error == f"sparsenet: standard output is lost ({reason}), the rest goes on\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_a_reader_that_goes_away(tmp_path):
    arguments = [sys.executable, "-c", STUB, "run", "--out", str(tmp_path / "out")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        process.stdout = None
        assert_lost(process, "[Errno 32] Broken pipe")
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_into_a_full_disk(tmp_path):
    arguments = [sys.executable, "-c", STUB, "run", "--out", str(tmp_path / "out")]
    with (
        open("/dev/full", "w") as full,
        subprocess.Popen(arguments, stdout=full, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert_lost(process, "[Errno 28] No space left on device")
    assert (tmp_path / "out" / "summary.json").exists()
    with open("/dev/full", "w") as full:
        result = run_stub("run", "--rounds", "none", stderr=full)
    assert (result.returncode, result.stdout) == (2, b"")


def test_without_standard_error_nothing_is_printed_elsewhere(tmp_path, capsys, monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        assert cli.main(["bench", "--out", "/proc/nowhere"]) == 2
        with pytest.raises(SystemExit) as exit_:
            cli.main(["bench", "--batch", "none"])
        assert exit_.value.code == 2
        cli._Terminal().line("shown")
        cli._Terminal().progress("not shown")
    assert capsys.readouterr().out == "shown\nshown\n"


def test_progress_is_shown_at_a_terminal_only(capsys, monkeypatch):
    def tell():
        terminal = cli._Terminal()
        terminal.progress("epoch 1")
        terminal.line("round 1")
        return capsys.readouterr()

    assert tell() == ("round 1\n", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert tell() == ("round 1\n", "\r\033[Kepoch 1\r\033[K")


@pytest.mark.parametrize("arguments", [["run", "--epochs", "1000000"], ["bench"]])
def test_a_disk_without_room_is_told_before_the_work(tmp_path, capsys, monkeypatch, arguments):
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    assert cli.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    needed = {"run": 3 * 4 * 206_922 + NOTES, "bench": NOTES}[arguments[0]]
    assert capsys.readouterr().err == (
        f"sparsenet: error: folder {str(tmp_path / 'out')!r} has room for 1,048,575 bytes, "
        f"and about {needed:,} are to be written\n"
    )


@pytest.mark.parametrize("name", ["dense.sparsenet", "summary.json", "accuracy.png", "report.html"])
def test_a_folder_in_the_place_of_a_result_is_told_before_the_work(tmp_path, capsys, name):
    (tmp_path / name).mkdir()
    assert cli.main(["run", "--epochs", "1000000", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "cannot be written: a folder is in the place of the file" in error
    assert str(tmp_path / name) in error


def test_a_quick_calibration(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert cli.main(["bench", "--quick", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    content = json.loads((out / "calibration.json").read_text())
    assert {path.name for path in out.iterdir()} <= {"calibration.json", "calibration.png", "calibration.html"}
    page = (out / "calibration.html").read_text(encoding="utf-8")
    assert_well_formed(page)
    assert f"sparsenet bench --batch 1 --threads 1 --quick --out {out}" in page
    assert (content["batch"], content["threads"]) == (1, 1)
    assert content["environment"]["numpy"] == np.__version__
    assert list(content["layers"]) == ["16->32 3x3 @14", "1568->128"]
    for name, layer in content["layers"].items():
        assert printed.count(f"{name}: ") == 1
        assert printed.count(f"\n{name} ") == 1
        dense = layer["dense_latency"]["median_us"]
        assert [point["sparsity"] for point in layer["points"]] == content["sparsities"]
        for point in layer["points"]:
            assert point["measured_speedup"] == dense / point["latency"]["median_us"] > 0
            assert point["theoretical_speedup"] == pytest.approx(1 / (1 - point["sparsity"]))
        times = [point["latency"]["median_us"] for point in layer["points"]]
        assert (layer["break_even"] is None) == (times[-1] >= dense)
        assert layer["break_even"] is None or 0 <= layer["break_even"] < content["sparsities"][-1]
    assert "batch of 1, 1 thread" in printed
    assert "\ntheory " in printed
    assert str(out) in printed


def test_an_interrupted_calibration_leaves_whole_files_only(tmp_path, capsys, monkeypatch):

    def interrupt(*arguments):
        raise KeyboardInterrupt

    shape = break_even.LayerShape(4, 4)
    for stage in ("_measure_layer", "plot_break_even", "write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(bench, "QUICK", {"shapes": (shape,), "sparsities": (0.5,), "seconds": 0.01})
            patch.setattr(break_even if stage == "_measure_layer" else bench, stage, interrupt)
            assert cli.main(["bench", "--quick", "--out", str(tmp_path / stage)]) == 130
        assert "interrupted; files written so far are whole" in capsys.readouterr().err
    for stage in ("_measure_layer", "write_json"):
        assert list((tmp_path / stage).iterdir()) == []
    assert [path.name for path in (tmp_path / "plot_break_even").iterdir()] == ["calibration.json"]
