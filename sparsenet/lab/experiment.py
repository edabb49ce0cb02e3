"""The whole process on one data set: train, prune round by round, compile, measure, write it all down."""

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .. import __version__
from ..data.datasets import Dataset, load_dataset
from ..engine.compile import compile
from ..files.atomic_write import check_folder, write_atomically
from ..files.checkpoint import save_network
from ..nn import models
from ..nn.network import Network
from ..nn.optimizers import SGD, cosine
from ..nn.training import Epoch, evaluate, fit
from ..pruning import schedules, scores
from ..pruning.cycle import PruneHistory, Round, iterative_prune
from ..pruning.strategies import STRATEGIES
from ..pruning.surgery import remove_pruned_structures
from .costs import CostReport, cost_report
from .plots import plot_accuracy
from .report import describe_gain

BATCH = 64
FILES = ("dense.sparsenet", "pruned.sparsenet", "compacted.sparsenet", "accuracy.png", "summary.json")
NOTES = 1 << 20  # bytes, more than a plot and a JSON take
Seed = int | np.random.Generator


@dataclass(frozen=True)
class Experiment:
    """What `sparsenet run` is asked for, named like its options (`strength` is --sparsity)."""

    dataset: str = "digits"
    model: str = "simple_cnn"
    criterion: str = "l1"
    strategy: str = "layerwise"
    strength: float = 0.95
    rounds: int = 5
    schedule: str = "cubic"
    max_drop: float = 0.02
    epochs: int = 20
    retrain_epochs: int = 4
    threads: int = 1
    seed: int = 0
    data: str | None = None


@dataclass
class Narrator:
    """Where the experiment tells what it does: `line` for what stays, `progress` for what the next one replaces."""

    line: Callable[[str], None] = print
    progress: Callable[[str], None] = lambda text: None

    def epoch(self, stage: str, epochs: int) -> Callable[[Epoch], None]:
        """A hook for `fit`."""
        return lambda e: self.progress(f"{stage}: epoch {e.epoch}/{epochs}, loss {e.loss:.4f}, {e.seconds:.1f} s")

    def round(self, experiment: Experiment) -> Callable[[Round], None]:
        """A hook for `iterative_prune`."""

        def tell(r: Round) -> None:
            self.line(
                f"round {r.round}/{experiment.rounds}: {100 * r.sparsity:.1f} % of the weights gone, "
                f"validation accuracy {100 * r.accuracy_before:.2f} % masked, {100 * r.accuracy:.2f} % retrained, "
                f"{r.seconds:.1f} s" + ("" if r.accepted else " - too low")
            )

        return tell


def run_experiment(experiment: Experiment, folder: str | Path, narrator: Narrator | None = None) -> dict:
    """Run it, write networks, plot and `summary.json` into `folder`, and return the summary.

    Every file is written whole or not at all; the summary comes last.
    """
    narrator = narrator or Narrator()
    data = load_dataset(experiment.dataset, folder=experiment.data)
    dense = getattr(models, experiment.model)(data.input_shape, data.classes, seed=experiment.seed)
    folder, parameters = Path(folder), dense.parameters().values()
    check_folder(folder, FILES, 3 * sum(parameter.value.nbytes for parameter in parameters) + NOTES)
    _train(experiment, data, dense, narrator)
    save_network(folder / "dense.sparsenet", dense)
    pruned = dense.copy()
    history = _prune(experiment, data, pruned, narrator)
    compacted = remove_pruned_structures(pruned)
    save_network(folder / "pruned.sparsenet", pruned)
    save_network(folder / "compacted.sparsenet", compacted)
    narrator.progress("measuring ...")
    reports = {
        batch: cost_report(
            pruned, data.input_shape, dense=dense, compacted=compacted, batch=batch, threads=experiment.threads
        )
        for batch in (1, BATCH)
    }
    summary = _summarize(experiment, data, dense, pruned, history, reports)
    _plot(folder, history, narrator)
    write_json(folder / "summary.json", summary)
    narrator.line(f"\n{reports[BATCH]}\n")
    single = reports[1].total
    narrator.line(
        f"one image at a time: {single.latency['sparse'].median_us:,.0f} us sparse, "
        f"{single.latency['dense'].median_us:,.0f} us dense, {single.speedup():.2f}x\n"
    )
    narrator.line(
        describe_gain(reports[BATCH], pruned.sparsity(), summary["accuracy_dense"], summary["accuracy_pruned"])
    )
    return summary


def write_json(path: Path, content: dict) -> None:
    """Write `content` as JSON, whole or not at all."""
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def _fit(
    experiment: Experiment, network: Network, data: Dataset, stage: str, epochs: int, seed: Seed, narrator: Narrator
) -> list[Epoch]:
    """Training and retraining alike: SGD with momentum, the learning rate falling to zero along a cosine."""
    return fit(
        network,
        data.train,
        epochs=epochs,
        optimizer=SGD(lr=0.05, momentum=0.9, weight_decay=5e-4),
        lr_schedule=cosine,
        batch_size=32 if len(data.train.y) < 10_000 else BATCH,
        seed=seed,
        on_epoch=narrator.epoch(stage, epochs),
        threads=experiment.threads,
    )


def _train(experiment: Experiment, data: Dataset, network: Network, narrator: Narrator) -> None:
    history = _fit(experiment, network, data, "training", experiment.epochs, experiment.seed, narrator)
    accuracy = evaluate(network, data.validation, threads=experiment.threads).accuracy
    seconds = sum(epoch.seconds for epoch in history)
    narrator.line(
        f"{experiment.dataset}, {experiment.model}: {experiment.epochs} epochs over {len(data.train.y):,} images in "
        f"{seconds:.1f} s, validation accuracy {100 * accuracy:.2f} %"
    )


def _prune(experiment: Experiment, data: Dataset, network: Network, narrator: Narrator) -> PruneHistory:
    rng = np.random.default_rng([experiment.seed, 1])
    epochs = experiment.retrain_epochs
    history = iterative_prune(
        network,
        data.train,
        validation=data.validation,
        criterion=getattr(scores, experiment.criterion),
        strategy=STRATEGIES[experiment.strategy],
        schedule=schedules.SCHEDULES[experiment.schedule](experiment.rounds, experiment.strength),
        retrain=lambda net: _fit(experiment, net, data, "retraining", epochs, rng, narrator),
        max_drop=experiment.max_drop,
        seed=experiment.seed,
        on_round=narrator.round(experiment),
        threads=experiment.threads,
    )
    narrator.line(f"stopped: {history.stopped}")
    return history


def _plot(folder: Path, history: PruneHistory, narrator: Narrator) -> None:
    points = [(0.0, history.baseline_accuracy)] + [(r.sparsity, r.accuracy) for r in history.rounds]
    try:
        plot_accuracy(folder / "accuracy.png", *zip(*points, strict=True), history.baseline_accuracy)
    except ImportError as error:
        narrator.line(f"no plot: {error}")


def _summarize(
    experiment: Experiment,
    data: Dataset,
    dense: Network,
    pruned: Network,
    history: PruneHistory,
    reports: dict[int, CostReport],
) -> dict:
    report = reports[BATCH]
    plan = compile(pruned, data.input_shape, batch=BATCH, threads=experiment.threads)
    options = asdict(experiment)
    strength = options.pop("strength")
    before, after = (evaluate(net, data.test, threads=experiment.threads) for net in (dense, pruned))
    return options | {
        "strength": strength,
        "sparsity_requested": None if experiment.strategy == "max_threshold" else strength,
        "sparsity_achieved": pruned.sparsity(),
        "accuracy_dense": before.accuracy,
        "accuracy_pruned": after.accuracy,
        "accuracy_compiled": evaluate(plan, data.test, threads=experiment.threads).accuracy,
        "parameters_total": report.total.parameters,
        "parameters_kept": report.total.nonzeros,
        "bytes_dense": report.total.bytes_dense,
        "bytes_sparse": report.total.bytes_sparse,
        "latency_us": {form: latency.median_us for form, latency in report.total.latency.items()},
        "latency_batch": report.batch,
        "latency_threads": report.threads,
        "rounds_requested": experiment.rounds,
        "rounds": [asdict(round_) for round_ in history.rounds],
        "stopped": history.stopped,
        "costs": {f"batch {batch}": each.to_json() for batch, each in reports.items()},
        "environment": describe_environment(),
    }


def describe_environment() -> dict[str, str]:
    """Versions and machine, for whoever reads the figures later."""
    return {
        "sparsenet": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "scipy", "numba")},
        "platform": sys.platform,
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
