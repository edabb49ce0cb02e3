"""`sparsenet bench`: measure break-even sparsities on this machine, tell them, write them down."""

from pathlib import Path

from ..files.atomic_write import check_folder
from .break_even import DEFAULT_SHAPES, BreakEvenReport, LayerLatency, LayerShape, calibrate
from .output import NOTES, Narrator, draw, write_json, write_text
from .pages.bench_page import bench_page, bench_pictures
from .pages.figures import show
from .pages.plots import plot_break_even
from .report import describe_layer

FILES = ("calibration.json", "calibration.png", "calibration.html")
QUICK = {
    "shapes": (LayerShape(16, 32, kernel=3, size=14), LayerShape(1568, 128)),
    "sparsities": (0.0, 0.5, 0.8, 0.95),
    "seconds": 0.5,
}


def run_bench(
    folder: str | Path, *, batch: int = 1, threads: int = 1, quick: bool = False, narrator: Narrator | None = None
) -> BreakEvenReport:
    """Measure, tell each layer and the table, and write `calibration.json`, its plot and `calibration.html`.

    Every file is written whole or not at all; the JSON comes first. `quick` takes two small layers and few sparsities.
    """
    narrator, folder = narrator or Narrator(), Path(folder)
    check_folder(folder, FILES, NOTES)
    settings = QUICK if quick else {"shapes": DEFAULT_SHAPES}
    waiting = [shape.name for shape in settings["shapes"]]
    total = len(waiting)

    def tell(layer: LayerLatency | None) -> None:
        if layer is not None:
            narrator.line(describe_layer(layer))
        if waiting:
            narrator.progress(f"measuring {waiting.pop(0)} ...", total - len(waiting) - 1, total)

    tell(None)
    report = calibrate(batch=batch, threads=threads, on_layer=tell, **settings)
    narrator.line(f"\n{report}")
    write_json(folder / "calibration.json", report.to_json())
    draw(lambda: plot_break_even(folder / "calibration.png", report), narrator)
    arguments = {"batch": batch, "threads": threads, "quick": quick, "out": folder}
    write_text(
        folder / "calibration.html", bench_page(report, arguments, *show(bench_pictures(report), narrator.progress))
    )
    return report
