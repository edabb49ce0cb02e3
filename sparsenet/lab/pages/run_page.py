"""The report of a run as a page."""

from collections.abc import Iterator, Mapping

import numpy as np

from ...pruning.cycle import Round
from ..costs import CostReport, Costs
from ..tables import count_threads, describe_batch
from .confusion import confusions
from .mask_pictures import mask_figure
from .page import TIMES, Markup, bar, join, lines, page, row, section, speedup, table, tag
from .repeat import command_line, repeat
from .run_record import RunRecord
from .search_page import search_section


def run_page(record: RunRecord, figures: Mapping[str, Markup], note: str = "") -> str:
    """The page of a run: with its figures by name, or with a note why there are none."""
    summary = record.summary
    title = f"{summary['model']} on {summary['dataset']}, {100 * summary['sparsity_achieved']:.1f} % pruned"
    first = join([tag("p", _asked(record)), _summary(record)])
    sections = [
        *([_rounds(record, figures)] if record.history.rounds else []),
        *([search_section(record.search, figures, record.show)] if record.search else []),
        _layers(record, figures),
        _speedups(record, figures),
        _forms(record),
        _places(record, figures),
        _masks(record),
        _weights(record, figures),
        _judged(record, figures),
        _repeat(record),
    ]
    return page(title, record.headline, [each for each in sections if each[1]], note=note, top=first)


def _asked(record: RunRecord) -> str:
    summary, rounds = record.summary, record.summary["rounds_requested"]
    if summary["budget"]:
        goal = f"a network within the budget “{summary['budget']}”"
    elif summary["rate"] is not None:
        goal = f"no weight below {summary['rate']:g} of the largest one of its layer"
    else:
        what = "filters and neurons" if summary["strategy"] == "channelwise" else "weights"
        goal = f"{100 * summary['sparsity_requested']:g} % of the {what} to go"
    return (
        f"Asked for: {goal}, in {rounds} round{'s' * (rounds != 1)}, by the criterion {summary['criterion']} and "
        f"the strategy {summary['strategy']}, with {summary['epochs']} epochs of training and "
        f"{summary['retrain_epochs']} of retraining in each round. It ended with: {summary['stopped']}."
    )


def _summary(record: RunRecord) -> Markup:
    summary, count = record.summary, len(record.targets)
    judged = (record.show_interval(summary[f"accuracy_{which}"], count) for which in ("dense", "pruned", "compiled"))
    kept = summary["parameters_kept"] / summary["parameters_total"]
    size = summary["bytes_sparse"] / summary["bytes_dense"]
    rows = [
        ("sparsity", "0 %", f"{100 * summary['sparsity_achieved']:.1f} %", "", ""),
        (
            "parameters",
            f"{summary['parameters_total']:,}",
            f"{summary['parameters_kept']:,}",
            "",
            f"{100 * kept:.1f} %",
        ),
        (f"test {record.metric}", *judged, _change(record)),
        ("bytes of the file", f"{summary['bytes_dense']:,}", f"{summary['bytes_sparse']:,}", "", f"{100 * size:.1f} %"),
        *(_speed_row(report) for report in record.reports.values()),
    ]
    spread = f"; in brackets where the accuracy may be, with {count:,} test images" if record.classifies else ""
    threads = count_threads(record.summary["threads"])
    caption = f"Before and after; “compiled” is the pruned network as the engine runs it, with {threads}{spread}"
    return table(("", "dense", "pruned", "compiled", "after / before"), rows, caption)


def _change(record: RunRecord) -> str:
    change = record.summary["accuracy_pruned"] - record.summary["accuracy_dense"]
    return f"{100 * change:+.2f} points" if record.classifies else f"{change:+.4f}"


def _speed_row(report: CostReport) -> tuple[object, ...]:
    taken, name = report.total.latency, "1 image" if report.batch == 1 else f"{report.batch} images"
    times = (f"{taken[form].median_us:,.0f} µs" for form in ("dense", "masked", "sparse"))
    return (f"time of {name}", *times, speedup(report.total.speedup()))


def _rounds(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    head = ("round", "sparsity", "masked", "retrained", "parameters", "seconds")
    rows = [_round(record, each) for each in record.history.rounds]
    dense = record.show_interval(record.history.baseline_accuracy, record.validated)
    caption = f"{record.metric.capitalize()} on {record.validated:,} validation images; dense it is {dense}"
    shown = row(figures.get("accuracy", ""), table(head, rows, caption))
    return section(f"{record.metric.capitalize()} against sparsity", shown)


def _round(record: RunRecord, each: Round) -> tuple[object, ...]:
    return (
        join([each.round, "" if each.accepted else tag("strong", "refused", class_="loss")], " "),
        f"{100 * each.sparsity:.1f} %",
        record.show(each.accuracy_before),
        record.show_interval(each.accuracy, record.validated),
        f"{each.parameters_kept:,}",
        f"{each.seconds:.1f}",
    )


def _layers(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    rows = []
    for name, mask in record.pruned.masks().items():
        gone, matrix = 1 - mask.mean(), mask.reshape(len(mask), -1)
        units = f"{int(matrix.any(axis=1).sum()):,} of {len(mask):,}"
        shape = f" {TIMES} ".join(map(str, mask.shape))
        rows.append((name, shape, bar(gone, f"{100 * gone:.1f} %"), f"{mask.sum():,} of {mask.size:,}", units))
    head = ("layer", "shape", "sparsity", "kept weights", "outputs left")
    numbers = table(head, rows, "What is gone of each layer")
    return section("Sparsity by layer", row(figures.get("layers", ""), numbers))


def _speedups(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    return section(
        "Theory beside measurement",
        lines(
            "In theory a layer is as many times faster as it has fewer multiply-adds. Measured is the sparse form, as "
            "the engine runs it, against the dense form of the same engine, at the median of many runs in turn. What "
            "is slower than dense is in red, and says so."
        ),
        row(*(figures.get(f"speed{batch}", "") for batch in record.reports)),
        *(_costs(report) for report in record.reports.values()),
    )


def _costs(report: CostReport) -> Markup:
    head = ("layer", "MACs", "kept", "dense µs", "masked µs", "compact µs", "sparse µs", "theory", "measured")
    rows = [_cost_row(name, costs) for name, costs in zip(_names(report), report.layers.values(), strict=True)]
    caption = f"A {describe_batch(report.batch, report.threads)}; microseconds"
    return table(head, [*rows, _cost_row("total", report.total)], caption, last=True)


def _cost_row(name: str, costs: Costs) -> tuple[object, ...]:
    macs = (f"{n:,}" if n else "" for n in (costs.macs, costs.macs_kept))
    times = (f"{latency.median_us:,.1f}" for latency in costs.latency.values())
    theory = f"{costs.theoretical_speedup:.1f}{TIMES}" if np.isfinite(costs.theoretical_speedup) else ""
    return (name, *macs, *times, theory, speedup(costs.speedup()))


def _forms(record: RunRecord) -> tuple[str, Markup]:
    rows = [
        (
            each.name,
            each.form,
            f"{each.latency_us:,.1f}",
            bar(each.share, f"{100 * each.share:.1f} %"),
            ", ".join(f"{form} {taken:,.1f}" for form, taken in each.tried.items()) or "the only candidate",
        )
        for each in record.shares
    ]
    batch = max(record.reports)
    caption = f"How the engine runs each layer, for a batch of {batch}; microseconds"
    return section(
        "Chosen forms",
        lines(
            "The peak is how fast this machine multiplies and adds with all numbers in registers. The share of it "
            "counts the multiply-adds of the form: those of the kept weights, in a dense form all."
        ),
        table(("layer", "form", "time", "share of the peak", "candidates when it was compiled"), rows, caption),
    )


def _places(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    report = record.reports[max(record.reports)]
    spent = {name: _spent(costs) for name, costs in zip(_names(report), report.layers.values(), strict=True)}
    total = [sum(column) for column in zip(*spent.values(), strict=True)]
    rows = [(name, *map(_share, each, total)) for name, each in (spent | {"all of these": total}).items()]
    caption = (
        f"Microseconds of a batch of {report.batch}, each layer by itself, and bytes in the files; in brackets shares"
    )
    numbers = table(("layer", "µs dense", "µs sparse", "bytes dense", "bytes pruned"), rows, caption, last=True)
    return section("Where time and bytes go", row(figures.get("time", ""), figures.get("bytes", "")), numbers)


def _spent(costs: Costs) -> tuple[float, ...]:
    return *(costs.latency[form].median_us for form in ("dense", "sparse")), costs.bytes_dense, costs.bytes_sparse


def _share(value: float, total: float) -> str:
    return f"{value:,.0f} ({100 * value / total:.1f} %)" if value else ""


def _names(report: CostReport) -> list[str]:
    return [" + ".join([name, *report.together.get(name, ())]) for name in report.layers]


def _masks(record: RunRecord) -> tuple[str, Markup]:
    shown = [mask_figure(name, mask) for name, mask in record.pruned.masks().items()]
    said = "Blue is kept, grey is gone. The strip beneath a matrix shows which columns, its inputs, keep a weight."
    return section("Masks", lines(said), row(*shown))


def _weights(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    shown = [each for name, each in figures.items() if name.startswith("weights-")]
    pictures = tag("div", join(shown), class_="row small") if shown else ""
    said = "How large the weights are before pruning and after, the kept ones alone; counts on a logarithmic scale."
    rows = list(_weight_rows(record))
    head = ("layer", "before", "after", "typical before", "typical after", "largest before", "largest after")
    numbers = table(head, rows, "Weights of each layer: how many, the median and the largest of their absolute values")
    return section("Weights before and after", lines(said) if shown else "", pictures, numbers)


def _weight_rows(record: RunRecord) -> Iterator[tuple[object, ...]]:
    masks = record.pruned.masks()
    for name, weight in record.pruned.weights().items():
        sizes = [np.abs(record.dense.weights()[name].value).ravel(), np.abs(weight.value[masks[name]])]
        counts = [f"{len(each):,}" for each in sizes]
        typical = [f"{np.median(each):.4f}" if len(each) else "" for each in sizes]
        yield (name, *counts, *typical, *(f"{each.max():.4f}" if len(each) else "" for each in sizes))


def _judged(record: RunRecord, figures: Mapping[str, Markup]) -> tuple[str, Markup]:
    if record.classifies:
        return section("What is taken for what", confusions(record.targets, record.outputs))
    return section("Predicted and true", row(*(figures.get(name, "") for name in record.outputs)))


def _repeat(record: RunRecord) -> tuple[str, Markup]:
    return section("To repeat it", repeat(command_line("run", record.arguments), record.summary["environment"]))
