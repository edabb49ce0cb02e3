"""`sparsenet sensitivity`: how much each layer of a saved network can spare, told and written down."""

from pathlib import Path

from ..data.datasets import load_dataset
from ..files.atomic_write import check_folder
from ..files.checkpoint import load_network
from ..pruning.granularity import Filter, Weight
from ..pruning.scores import CRITERIA
from .output import NOTES, Narrator, draw, write_json, write_text
from .pages.figures import show
from .pages.plots import plot_sensitivity
from .pages.search_page import sensitivity_pictures
from .pages.sensitivity_page import sensitivity_page
from .sensitivity import Sensitivity, sensitivity
from .task import task_of

FILES = ("sensitivity.json", "sensitivity.png", "sensitivity.html")
QUICK = {"sparsities": (0.5, 0.9), "seconds": 0.05}


def run_sensitivity(
    folder: str | Path,
    *,
    network: str | Path,
    dataset: str = "digits",
    data: str | None = None,
    criterion: str = "l1",
    filters: bool = False,
    batch: int = 1,
    threads: int = 1,
    quick: bool = False,
    seed: int = 0,
    narrator: Narrator | None = None,
) -> Sensitivity:
    """Measure on the validation data, tell the tables, and write `sensitivity.json`, its plot and `sensitivity.html`.

    Every file is written whole or not at all; the JSON comes first.
    """
    narrator, folder = narrator or Narrator(), Path(folder)
    loaded, samples = load_network(network), load_dataset(dataset, folder=data)
    check_folder(folder, FILES, NOTES)
    report = sensitivity(
        loaded,
        samples.validation,
        criterion=CRITERIA[criterion],
        granularity=Filter() if filters else Weight(),
        batch=batch,
        threads=threads,
        seed=seed,
        on_progress=narrator.progress,
        **task_of(samples).judge,
        **(QUICK if quick else {}),
    )
    narrator.line(str(report))
    write_json(folder / "sensitivity.json", report.to_json())
    draw(lambda: plot_sensitivity(folder / "sensitivity.png", report), narrator)
    arguments = {"dataset": dataset, "data": data, "criterion": criterion, "filters": filters, "batch": batch}
    arguments |= {"threads": threads, "quick": quick, "seed": seed, "out": folder}
    drawn = show(sensitivity_pictures(report), narrator.progress)
    write_text(folder / "sensitivity.html", sensitivity_page(report, str(network), arguments, *drawn))
    return report
