"""The whole process on one data set: train, prune round by round, compile, measure, write it all down."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..data.datasets import Dataset, load_dataset
from ..engine.compile import compile
from ..engine.plan import Plan
from ..files.atomic_write import check_folder
from ..files.checkpoint import count_bytes, save_network
from ..nn.counting import count_total
from ..nn.models import MODELS
from ..nn.network import Network
from ..nn.optimizers import SGD, Movement, cosine
from ..nn.training import Epoch, evaluate, fit
from ..pruning.cycle import PruneHistory, iterative_prune
from ..pruning.quantities import OF_A_BATCH, OF_ALL_BATCHES
from ..pruning.schedules import SCHEDULES
from ..pruning.scores import CRITERIA
from ..pruning.scoring import needs_of, score
from ..pruning.strategies import STRATEGIES
from ..pruning.surgery import remove_pruned_structures
from .auto_prune import AutoPruneReport, auto_prune
from .budget import Budget, parse_budget
from .costs import CostReport, cost_report
from .environment import describe_environment
from .output import NOTES, Narrator, draw, write_json, write_text
from .pages.figures import show
from .pages.plots import plot_accuracy
from .pages.run_page import run_page
from .pages.run_plots import run_pictures
from .pages.run_record import RunRecord, outputs_of, step_shares
from .report import describe_gain
from .task import task_of

BATCH = 64
RATES = {"lenet_5": 0.02}  # of SGD, for a network that diverges at the rate which the others are trained with
FILES = ("dense.sparsenet", "pruned.sparsenet", "compacted.sparsenet", "accuracy.png", "summary.json", "report.html")
Seed = int | np.random.Generator


@dataclass(frozen=True)
class Experiment:
    """What `sparsenet run` is asked for, named like its options.

    `sparsity` is the fraction of the weights to remove, with the strategy channelwise of the filters and neurons; with
    max_threshold it is the rate, the part of a layer's largest weight below which weights go. With a `budget`, as
    `parse_budget` reads it, the sparsity of each layer is found (see `auto_prune`), for one image at a time.
    """

    dataset: str = "digits"
    model: str = "simple_cnn"
    criterion: str = "l1"
    strategy: str = "layerwise"
    sparsity: float = 0.95
    rounds: int = 5
    schedule: str = "cubic"
    max_drop: float = 0.02
    epochs: int = 20
    retrain_epochs: int = 4
    threads: int = 1
    seed: int = 0
    data: str | None = None
    budget: str | None = None


def run_experiment(experiment: Experiment, folder: str | Path, narrator: Narrator | None = None) -> dict:
    """Run it, write networks, `summary.json`, plot and report into `folder`, and return the summary.

    Every file is written whole or not at all; the summary comes after the networks, what is drawn last. It has
    `experiment.sparsity` under `sparsity_requested`, or with the strategy max_threshold under `rate`; the other of the
    two is null. With a budget both are, and `auto_prune` has what was tried. Its accuracies are those of `metric`: of a
    regression R^2.
    """
    narrator = narrator or Narrator()
    data = load_dataset(experiment.dataset, folder=experiment.data)
    dense = MODELS[experiment.model](data.input_shape, data.outputs, seed=experiment.seed)
    folder, parameters = Path(folder), dense.parameters().values()
    check_folder(folder, FILES, 3 * sum(parameter.value.nbytes for parameter in parameters) + NOTES)
    if not needs_of(CRITERIA[experiment.criterion]) & {*OF_A_BATCH, *OF_ALL_BATCHES, "movement"}:
        score(dense, CRITERIA[experiment.criterion])  # where the model lacks what it asks for: now, not once trained
    if experiment.budget is not None:
        _budget_of(experiment, dense, data)  # what is wrong with it, too
    _train(experiment, data, dense, narrator)
    save_network(folder / "dense.sparsenet", dense)
    pruned = dense.copy()
    if experiment.budget is None:
        history, found = _prune(experiment, data, pruned, narrator), None
    else:
        pruned, history, found = _prune_to_budget(experiment, data, dense, narrator)
    compacted = remove_pruned_structures(pruned)
    save_network(folder / "pruned.sparsenet", pruned)
    save_network(folder / "compacted.sparsenet", compacted)
    conditions = {"threads": experiment.threads, "on_progress": narrator.progress}
    reports = {
        batch: cost_report(pruned, data.input_shape, dense=dense, compacted=compacted, batch=batch, **conditions)
        for batch in (1, BATCH)
    }
    return _report(experiment, folder, data, (dense, pruned), history, found, reports, narrator)


def _report(
    experiment: Experiment,
    folder: Path,
    data: Dataset,
    networks: tuple[Network, Network],
    history: PruneHistory,
    found: AutoPruneReport | None,
    reports: dict[int, CostReport],
    narrator: Narrator,
) -> dict:
    """Tell and write what was found: the summary first, which nothing that is drawn may cost."""
    dense, pruned = networks
    plan = compile(pruned, data.input_shape, batch=BATCH, threads=experiment.threads)
    summary = _summarize(experiment, data, dense, pruned, plan, history, reports)
    summary |= {"auto_prune": found and found.to_json()}
    write_json(folder / "summary.json", summary)
    _plot(folder, history, data, narrator)
    headline = _tell(reports, pruned, summary, data, narrator)
    record = RunRecord(
        task_of(data),
        summary,
        headline,
        _arguments(experiment) | {"out": folder},
        history,
        found,
        reports,
        step_shares(plan),
        dense,
        pruned,
        data.test.y,
        outputs_of(dense, pruned, data.test.x, experiment.threads),
        len(data.validation.y),
    )
    write_text(folder / "report.html", run_page(record, *show(run_pictures(record), narrator.progress)))
    return summary


def _arguments(experiment: Experiment) -> dict:
    """The options that the command has to be given to repeat it: a budget takes the place of three."""
    unused = ("sparsity", "schedule", "max_drop") if experiment.budget else ()
    return {name: value for name, value in asdict(experiment).items() if name not in unused}


def _tell(reports: dict[int, CostReport], pruned: Network, summary: dict, data: Dataset, narrator: Narrator) -> str:
    """The costs, and what was gained as a sentence, which is returned too."""
    narrator.line(f"\n{reports[BATCH]}\n")
    single = reports[1].total
    narrator.line(
        f"one image at a time: {single.latency['sparse'].median_us:,.0f} us sparse, "
        f"{single.latency['dense'].median_us:,.0f} us dense, {single.speedup():.2f}x\n"
    )
    judged = summary["accuracy_dense"], summary["accuracy_pruned"]
    headline = describe_gain(reports[BATCH], pruned.sparsity(), *judged, task_of(data))
    narrator.line(headline)
    return headline


def _fit(
    experiment: Experiment,
    network: Network,
    data: Dataset,
    epochs: int,
    seed: Seed,
    told: Callable[[Epoch], None],
) -> list[Epoch]:
    """Training and retraining alike: the task's optimiser, its learning rate falling to zero along a cosine."""
    task = task_of(data)
    optimizer = task.optimizer
    if isinstance(optimizer, SGD):
        optimizer = replace(optimizer, lr=RATES.get(experiment.model, optimizer.lr))
    if "movement" in needs_of(CRITERIA[experiment.criterion]):
        optimizer = Movement(optimizer)
    return fit(
        network,
        data.train,
        epochs=epochs,
        optimizer=optimizer,
        lr_schedule=cosine,
        batch_size=32 if len(data.train.y) < 10_000 else BATCH,
        seed=seed,
        on_epoch=told,
        threads=experiment.threads,
        **task.judge,
    )


def _train(experiment: Experiment, data: Dataset, network: Network, narrator: Narrator) -> None:
    told = narrator.epoch("training", experiment.epochs)
    history = _fit(experiment, network, data, experiment.epochs, experiment.seed, told)
    task = task_of(data)
    judged = evaluate(network, data.validation, threads=experiment.threads, **task.judge).accuracy
    seconds = sum(epoch.seconds for epoch in history)
    narrator.line(
        f"{experiment.dataset}, {experiment.model}: {experiment.epochs} epochs over {len(data.train.y):,} images in "
        f"{seconds:.1f} s, validation {task.name} {task.show(judged)}"
    )


def _retraining(experiment: Experiment, data: Dataset, narrator: Narrator) -> Callable[[Network], object]:
    """The function that retrains a network in each round, all from one generator."""
    rng, epochs = np.random.default_rng([experiment.seed, 1]), experiment.retrain_epochs
    told = narrator.epoch("retraining", epochs, experiment.rounds)
    return lambda network: _fit(experiment, network, data, epochs, rng, told)


def _prune(experiment: Experiment, data: Dataset, network: Network, narrator: Narrator) -> PruneHistory:
    history = iterative_prune(
        network,
        data.train,
        validation=data.validation,
        criterion=CRITERIA[experiment.criterion],
        strategy=STRATEGIES[experiment.strategy],
        schedule=SCHEDULES[experiment.schedule](experiment.rounds, experiment.sparsity),
        retrain=_retraining(experiment, data, narrator),
        max_drop=experiment.max_drop,
        seed=experiment.seed,
        on_round=narrator.round(experiment.rounds, task_of(data)),
        threads=experiment.threads,
        **task_of(data).judge,
    )
    narrator.line(f"stopped: {history.stopped}")
    return history


def _budget_of(experiment: Experiment, dense: Network, data: Dataset) -> Budget:
    if experiment.strategy not in ("layerwise", "channelwise"):
        raise ValueError(
            f"with a budget the strategy must be layerwise or channelwise, not {experiment.strategy}: how much of each "
            "layer goes is found"
        )
    counts = {"size_bytes": sum(count_bytes(dense).values()), "macs": count_total(dense, data.input_shape).macs}
    return parse_budget(experiment.budget, **counts)


def _prune_to_budget(
    experiment: Experiment, data: Dataset, dense: Network, narrator: Narrator
) -> tuple[Network, PruneHistory, AutoPruneReport]:
    pruned, report = auto_prune(
        dense,
        data.train,
        data.validation,
        _budget_of(experiment, dense, data),
        criterion=CRITERIA[experiment.criterion],
        granularity=STRATEGIES[experiment.strategy].granularity,
        rounds=experiment.rounds,
        retrain=_retraining(experiment, data, narrator),
        seed=experiment.seed,
        threads=experiment.threads,
        on_progress=narrator.progress,
        **task_of(data).judge,
    )
    narrator.line(str(report))
    before = evaluate(dense, data.validation, threads=experiment.threads, **task_of(data).judge)
    return pruned, PruneHistory(before.accuracy, before.loss, (), report.stopped), report


def _plot(folder: Path, history: PruneHistory, data: Dataset, narrator: Narrator) -> None:
    if not history.rounds:
        (folder / "accuracy.png").unlink(missing_ok=True)  # of an earlier run
        return
    points = [(0.0, history.baseline_accuracy)] + [(r.sparsity, r.accuracy) for r in history.rounds]
    columns = zip(*points, strict=True)
    dense, task = history.baseline_accuracy, task_of(data)
    draw(lambda: plot_accuracy(folder / "accuracy.png", *columns, dense, task), narrator)


def _summarize(
    experiment: Experiment,
    data: Dataset,
    dense: Network,
    pruned: Network,
    plan: Plan,
    history: PruneHistory,
    reports: dict[int, CostReport],
) -> dict:
    report = reports[BATCH]
    options, is_rate = asdict(experiment), experiment.strategy == "max_threshold"
    requested = options.pop("sparsity")
    requested = None if experiment.budget else requested
    judge = {"threads": experiment.threads, **task_of(data).judge}
    before, after = (evaluate(net, data.test, **judge) for net in (dense, pruned))
    return options | {
        "sparsity_requested": None if is_rate else requested,
        "rate": requested if is_rate else None,
        "sparsity_achieved": pruned.sparsity(),
        "metric": task_of(data).metric.__name__,
        "accuracy_dense": before.accuracy,
        "accuracy_pruned": after.accuracy,
        "accuracy_compiled": evaluate(plan, data.test, **judge).accuracy,
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
