"""The command `sparsenet`. Nothing heavy is imported before the options are known to be good: NumPy, but no Numba."""

import argparse
import contextlib
import os
import sys
from typing import TextIO

from . import __version__
from .data.datasets import DATASETS
from .lab.progress import Progress, width_of
from .pruning.schedules import SCHEDULES
from .pruning.scores import CRITERIA
from .pruning.strategies import STRATEGIES

# The one table that is written out here: `nn.models` needs Numba.
MODELS = ("simple_cnn", "lenet_300_100", "lenet_5", "resnet20", "vgg_small", "mobilenet_small")
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
    _add_sensitivity(commands)
    _add_verify(commands)
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
        "--dataset",
        choices=DATASETS,
        default="digits",
        help="digits are built in, the others need files or a download; digits_angle is a regression, its accuracy R^2",
    )
    add("--data", metavar="FOLDER", default=os.environ.get("SPARSENET_DATA"), help="data folder; also SPARSENET_DATA")
    add("--model", choices=MODELS, default="simple_cnn", help="network")
    named = f"importance of a weight: {', '.join(CRITERIA)}"
    add("--criterion", choices=tuple(CRITERIA), metavar="NAME", default="l1", help=named)
    add("--strategy", choices=tuple(STRATEGIES), default="layerwise", help="which of the least important go")
    add(
        "--sparsity",
        type=_fraction,
        metavar="S",
        help="fraction of the weights to remove (channelwise: of the filters and neurons; max_threshold: the rate); "
        "0.95, channelwise 0.5, max_threshold 0.2 unless given",
    )
    add(
        "--budget",
        metavar="B",
        help='find the sparsity of each layer for "latency=300us" (one image at a time), "size=40KB", "macs=10%%", or '
        '"drop=0.5" (points of accuracy), in the place of --sparsity, --schedule and --max-drop',
    )
    add("--rounds", type=_count(1), metavar="N", default=5, help="rounds of pruning and retraining")
    add("--schedule", choices=tuple(SCHEDULES), default="cubic", help="how the sparsity rises over the rounds")
    add("--max-drop", type=_fraction, metavar="D", default=0.02, help="stop when validation accuracy falls by more")
    add("--epochs", type=_count(0), metavar="N", default=20, help="epochs of training")
    add("--retrain-epochs", type=_count(0), metavar="N", default=4, help="epochs of retraining in each round")
    add("--threads", type=_count(1), metavar="N", default=1, help="threads, in training and in measuring")
    add("--seed", type=_count(0), metavar="N", default=0, help="settles everything that is random")
    add("--out", metavar="FOLDER", default=FOLDER, help="folder for summary, networks, plot and report.html")


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
    add("--out", metavar="FOLDER", default=FOLDER, help="folder for calibration.json, .png and .html")


def _add_sensitivity(commands: argparse._SubParsersAction) -> None:
    sensitivity = commands.add_parser(
        "sensitivity",
        help="see how much each layer can spare, beside what it costs here",
        description="Prune the layers of a trained network one at a time, and see what that does to accuracy and loss "
        "on the validation data; beside it the measured time, the bytes and the multiply-adds of each layer.",
        formatter_class=_Help,
    )
    add = sensitivity.add_argument
    add("network", metavar="FILE", help="a network that `sparsenet run` or `save_network` wrote")
    add("--dataset", choices=DATASETS, default="digits", help="data set that it was trained on")
    add("--data", metavar="FOLDER", default=os.environ.get("SPARSENET_DATA"), help="data folder; also SPARSENET_DATA")
    named = f"importance of a weight: {', '.join(CRITERIA)}"
    add("--criterion", choices=tuple(CRITERIA), metavar="NAME", default="l1", help=named)
    add("--filters", action="store_true", help="prune whole filters and neurons, all that go together at once")
    add("--batch", type=_count(1), metavar="N", default=1, help="samples in a batch that is timed")
    add("--threads", type=_count(1), metavar="N", default=1, help="threads of the kernels")
    add("--quick", action="store_true", help="few sparsities, short measurements")
    add("--seed", type=_count(0), metavar="N", default=0, help="settles everything that is random")
    add("--out", metavar="FOLDER", default=FOLDER, help="folder for sensitivity.json, .png and .html")


def _add_verify(commands: argparse._SubParsersAction) -> None:
    verify = commands.add_parser(
        "verify",
        help="check every formula against a slow independent definition of it",
        description="Check formulas against slow independent definitions of them, on numbers drawn from a seed. "
        "Without a name a table of all; with names each in full: formula, where it is, its oracle, digits of both. "
        "The exit status is 1 where one does not hold.",
        formatter_class=_Help,
    )
    add = verify.add_argument
    add("names", nargs="*", metavar="NAME", help="a formula, as the table names it or in part: taylor, Conv2d, losses")
    add("--json", metavar="FILE", help='write the results as JSON too; "-": to standard output, in place of the table')
    add("--seed", type=_count(0), metavar="N", default=0, help="settles the numbers that are compared")


class _Terminal:
    """Lines on standard output; passing progress on standard error, where that is a terminal."""

    def __init__(self):
        stream = sys.stderr  # None under `pythonw`
        self.passing = stream is not None and not stream.closed and stream.isatty()
        self.bars = Progress()

    def line(self, text: str) -> None:
        self.clear()
        _show(sys.stdout, f"{text}\n")

    def progress(self, text: str, done: int = 0, total: int = 0) -> None:
        if self.passing:
            unicode = (sys.stderr.encoding or "").lower().startswith("utf")
            shown = self.bars.line(text, done, total, width=width_of(sys.stderr), unicode=unicode)
            _show(sys.stderr, f"\r\033[K{shown}")

    def clear(self) -> None:
        if self.passing:
            _show(sys.stderr, "\r\033[K")


def _run(options: argparse.Namespace) -> None:
    from .lab.experiment import Experiment, run_experiment
    from .lab.output import Narrator

    settings = vars(options).copy()
    folder = settings.pop("out")
    del settings["command"]
    if options.budget is not None and options.sparsity is not None:
        raise ValueError("--budget and --sparsity exclude each other")
    if options.sparsity is None:
        settings["sparsity"] = SPARSITIES.get(options.strategy, 0.95)
    terminal = _Terminal()
    run_experiment(Experiment(**settings), folder, Narrator(line=terminal.line, progress=terminal.progress))
    terminal.line(f"\nsummary, networks, plot and report: {folder}")


def _bench(options: argparse.Namespace) -> None:
    from .lab.bench import run_bench
    from .lab.output import Narrator

    terminal = _Terminal()
    narrator = Narrator(line=terminal.line, progress=terminal.progress)
    run_bench(options.out, batch=options.batch, threads=options.threads, quick=options.quick, narrator=narrator)
    terminal.line(f"\ncalibration, plot and report: {options.out}")


def _sensitivity(options: argparse.Namespace) -> None:
    from .lab.output import Narrator
    from .lab.sensitivity_run import run_sensitivity

    terminal, settings = _Terminal(), vars(options).copy()
    folder = settings.pop("out")
    del settings["command"]
    run_sensitivity(folder, narrator=Narrator(line=terminal.line, progress=terminal.progress), **settings)
    terminal.line(f"\nsensitivity, plot and report: {folder}")


def _verify(options: argparse.Namespace) -> int:
    from .files.atomic_write import check_path, write_atomically
    from .verify.report import format_entry, format_json, format_results
    from .verify.runner import run, select

    terminal, entries, to_file = _Terminal(), select(options.names), options.json not in (None, "-")
    if to_file:
        check_path(options.json)
    results = run(entries, seed=options.seed, progress=terminal.progress)
    if options.json == "-":
        terminal.line(format_json(results))
    else:
        terminal.line("\n\n".join(map(format_entry, results)) if options.names else format_results(results))
    if to_file:
        write_atomically(options.json, lambda file: file.write(f"{format_json(results)}\n".encode()))
    return int(not all(result.ok for result in results))


COMMANDS = {"run": _run, "bench": _bench, "sensitivity": _sensitivity, "verify": _verify}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 0, 2 for what the user can mend, 130 after Ctrl-C.

    It is 1 where `verify` finds a formula that does not hold. Where SIGINT is ignored when the command starts, as in
    the background jobs of a script, it stays ignored.
    """
    options = build_parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options) or 0
    except KeyboardInterrupt:
        _show(sys.stderr, "\nsparsenet: interrupted; files written so far are whole\n")
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        _show(sys.stderr, f"sparsenet: error: {error}\n")
        return 2
