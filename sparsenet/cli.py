"""The command `sparsenet`. Nothing heavy is imported before the options are known to be good."""

import argparse
import contextlib
import os
import sys
from typing import TextIO

from . import __version__

DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10")
MODELS = ("simple_cnn", "lenet_300_100", "lenet_5", "resnet20", "vgg_small", "mobilenet_small")
CRITERIA = (
    *("l1", "l2", "sensitivity", "full_batch_sensitivity", "taylor", "snip", "grasp", "synflow", "movement", "random"),
)
STRATEGIES = ("layerwise", "channelwise", "proportional", "max_threshold")
SCHEDULES = ("one-shot", "linear", "cubic", "geometric")
SPARSITIES = {"channelwise": 0.5, "max_threshold": 0.2}  # unless given; the others: 0.95
FOLDER = "sparsenet-out"


def _show(stream: TextIO | None, text: str) -> None:
    """Write text to a stream, and go on whatever that is: results are files, no stream may cost them.

    A stream is None under `pythonw`; it may be closed, its reader gone, its disk full, its alphabet too small.
    """
    if stream is None or stream.closed:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode(stream.encoding, "backslashreplace").decode(stream.encoding))
        stream.flush()
    except (OSError, ValueError) as error:
        _detach(stream)
        if stream is sys.stdout:
            _show(sys.stderr, f"sparsenet: standard output is lost ({error}), the rest goes on\n")


def _detach(stream: TextIO) -> None:
    """Lead a stream nowhere: what it holds back would fail again, the last time when Python ends."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def _print_message(self, message, file=None):
        _show(file, message)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that names each default, where there is one."""

    def _get_help_string(self, action):
        silent = action.default is None or action.default is False
        return action.help if silent else super()._get_help_string(action)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), not {text}")
    return value


def _count(at_least: int):
    def count(text: str) -> int:
        value = int(text)
        if value < at_least:
            raise argparse.ArgumentTypeError(f"must be at least {at_least}, not {text}")
        return value

    return count


_fraction.__name__ = "fraction"  # argparse names the type so, in "invalid fraction value"


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = _Parser(prog="sparsenet", description="Sparsity-based pruning of neural networks, and the speed it gives.")
    parser.add_argument("--version", action="version", version=f"sparsenet {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    _add_run(commands)
    _add_bench(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser(
        "run",
        help="train, prune round by round, retrain, compile and measure a network",
        description="Train a network, prune it round by round, compile it and measure what was gained.",
        formatter_class=_Help,
    )
    add = run.add_argument
    add(
        "--dataset", choices=DATASETS, default="digits", help="digits are built in; the others need files or a download"
    )
    add("--data", metavar="FOLDER", default=os.environ.get("SPARSENET_DATA"), help="data folder; also SPARSENET_DATA")
    add("--model", choices=MODELS, default="simple_cnn", help="network")
    add("--criterion", choices=CRITERIA, default="l1", help="importance of a weight")
    add("--strategy", choices=STRATEGIES, default="layerwise", help="which of the least important go")
    add(
        "--sparsity",
        type=_fraction,
        metavar="S",
        help="fraction of the weights to remove (channelwise: of the filters and neurons; max_threshold: the rate); "
        "0.95, channelwise 0.5, max_threshold 0.2 unless given",
    )
    add("--rounds", type=_count(1), metavar="N", default=5, help="rounds of pruning and retraining")
    add("--schedule", choices=SCHEDULES, default="cubic", help="how the sparsity rises over the rounds")
    add("--max-drop", type=_fraction, metavar="D", default=0.02, help="stop when validation accuracy falls by more")
    add("--epochs", type=_count(0), metavar="N", default=20, help="epochs of training")
    add("--retrain-epochs", type=_count(0), metavar="N", default=4, help="epochs of retraining in each round")
    add("--threads", type=_count(1), metavar="N", default=1, help="threads, in training and in measuring")
    add("--seed", type=_count(0), metavar="N", default=0, help="settles everything that is random")
    add("--out", metavar="FOLDER", default=FOLDER, help="folder for summary, networks and plot")


def _add_bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure from which sparsity on the sparse form of a layer is the faster one, here",
        description="Measure layers in their dense and sparse forms, and find the sparsity from which on the sparse "
        "one is faster on this machine.",
        formatter_class=_Help,
    )
    add = bench.add_argument
    add("--batch", type=_count(1), metavar="N", default=1, help="samples in a batch")
    add("--threads", type=_count(1), metavar="N", default=1, help="threads of the kernels")
    add("--quick", action="store_true", help="two small layers, few sparsities, a few seconds")
    add("--out", metavar="FOLDER", default=FOLDER, help="folder for calibration.json and calibration.png")


class _Terminal:
    """Lines on standard output; passing progress on standard error, where that is a terminal."""

    def __init__(self):
        stream = sys.stderr  # None under `pythonw`
        self.passing = stream is not None and not stream.closed and stream.isatty()

    def line(self, text: str) -> None:
        self.clear()
        _show(sys.stdout, f"{text}\n")

    def progress(self, text: str) -> None:
        if self.passing:
            _show(sys.stderr, f"\r\033[K{text}")

    def clear(self) -> None:
        if self.passing:
            _show(sys.stderr, "\r\033[K")


def _run(options: argparse.Namespace) -> None:
    from .lab.experiment import Experiment, run_experiment
    from .lab.output import Narrator

    settings = vars(options).copy()
    folder = settings.pop("out")
    del settings["command"]
    if options.sparsity is None:
        settings["sparsity"] = SPARSITIES.get(options.strategy, 0.95)
    terminal = _Terminal()
    run_experiment(Experiment(**settings), folder, Narrator(line=terminal.line, progress=terminal.progress))
    terminal.line(f"\nsummary, networks and plot: {folder}")


def _bench(options: argparse.Namespace) -> None:
    from .lab.bench import run_bench
    from .lab.output import Narrator

    terminal = _Terminal()
    narrator = Narrator(line=terminal.line, progress=terminal.progress)
    run_bench(options.out, batch=options.batch, threads=options.threads, quick=options.quick, narrator=narrator)
    terminal.line(f"\ncalibration and plot: {options.out}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for what the user can mend, 130 after Ctrl-C.

    Where SIGINT is ignored when the command starts, as in the background jobs of a script, it stays ignored.
    """
    options = build_parser().parse_args(arguments)
    try:
        (_bench if options.command == "bench" else _run)(options)
    except KeyboardInterrupt:
        _show(sys.stderr, "\nsparsenet: interrupted; files written so far are whole\n")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        _show(sys.stderr, f"sparsenet: error: {error}\n")
        return 2
    return 0
