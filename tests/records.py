"""Small runs, and what they leave for their reports."""

from dataclasses import replace

import numpy as np
import pytest

import sparsenet as sn
from sparsenet.lab.break_even import BreakEvenReport, LayerLatency
from sparsenet.lab.latency import Latency
from sparsenet.lab.pages import figures
from sparsenet.lab.pages.run_record import RunRecord, outputs_of, step_shares
from sparsenet.lab.task import CLASSIFICATION, REGRESSION


def silent(text, done, total):
    pass


def shown(pictures):
    pytest.importorskip("matplotlib")
    drawn, note = figures.show(pictures, silent)
    assert note == ""
    return drawn, note


def small_network(outputs, name="conv"):
    return sn.chain(
        {
            name: sn.Conv2d(1, 8, 3, padding=1, seed=0),
            "relu": sn.ReLU(),
            "pool": sn.MaxPool2d(2),
            "flatten": sn.Flatten(),
            "fc": sn.Linear(8 * 14 * 14, outputs, seed=1),
        }
    )


def record_of(data, strategy="layerwise", *, regression=False, budget=None, name="conv", **summary):
    """A run in small: two rounds, no retraining, a hundred images, short measurements."""
    x, y = data.test.x[:100], data.test.y[:100]
    y = (y[:, None] / 10).astype(np.float32) if regression else y
    judge = {"loss": sn.losses.mean_squared_error, "metric": sn.losses.r_squared} if regression else {}
    dense = small_network(1 if regression else 10, name)
    options = {"strategy": sn.strategies.STRATEGIES[strategy], "schedule": (0.1, 0.4), "retrain": lambda net: None}
    pruned, search = dense.copy(), None
    if budget is None:
        history = sn.iterative_prune(pruned, (x, y), validation=(x, y), **options, **judge)
    else:
        kind = {"retrain": lambda net: None, "rounds": 1, "seconds": 0.01, "sparsities": (0.5, 0.9), "threads": 1}
        pruned, search = sn.auto_prune(dense, (x, y), (x, y), sn.Budget(size_bytes=budget), **kind, **judge)
        history = sn.iterative_prune(dense.copy(), (x, y), validation=(x, y), **(options | {"schedule": ()}), **judge)
    reports = {
        batch: sn.cost_report(pruned, (1, 28, 28), dense=dense, batch=batch, threads=1, seconds=0.01)
        for batch in (1, 4)
    }
    before, after = (float(sn.evaluate(network, (x, y), **judge).accuracy) for network in (dense, pruned))
    total = reports[4].total
    found = {"model": "small", "dataset": "digits", "criterion": "l1", "strategy": strategy, "threads": 1}
    found |= {"budget": budget and f"size={budget}B", "rate": 0.4 if strategy == "max_threshold" else None}
    found |= {"sparsity_requested": 0.4, "sparsity_achieved": pruned.sparsity(), "epochs": 0, "retrain_epochs": 0}
    found |= {"accuracy_dense": before, "accuracy_pruned": after, "accuracy_compiled": after}
    found |= {"parameters_total": total.parameters, "parameters_kept": total.nonzeros, "rounds_requested": 2}
    found |= {"bytes_dense": total.bytes_dense, "bytes_sparse": total.bytes_sparse, "environment": {"python": "3"}}
    found |= {"stopped": history.stopped}
    plan = sn.compile(pruned, (1, 28, 28), batch=4, threads=1)
    outputs, arguments = outputs_of(dense, pruned, x, 1), {"seed": 0, "out": "here"}
    rest = (step_shares(plan), dense, pruned, y, outputs, len(y))
    task = REGRESSION if regression else CLASSIFICATION
    return RunRecord(task, found | summary, "A sentence.", arguments, history, search, reports, *rest)


def latency(microseconds):
    return Latency(microseconds, microseconds, microseconds, 5)


def with_loss(record, layer):
    """The record with the sparse form of a layer slower than the dense one, and one batch alone."""
    report = record.reports[max(record.reports)]
    costs = report.layers[layer]
    slower = replace(costs, latency=costs.latency | {"sparse": latency(4 * costs.latency["dense"].median_us)})
    return replace(record, reports={report.batch: replace(report, layers=report.layers | {layer: slower})})


def bench_of(dense, environment):
    """A report of one layer that takes 20 us at 50 % and 5 us at 90 %."""
    shape = sn.LayerShape(1568, 128)
    layer = LayerLatency(shape, "blas", latency(dense), {0.5: latency(20.0), 0.9: latency(5.0)})
    return BreakEvenReport({shape.name: layer}, (0.5, 0.9), 1, 2, environment)


def sensitivity_of(data, name):
    """Of the small network, on fifty images."""
    images = data.validation.x[:50], data.validation.y[:50]
    return sn.sensitivity(small_network(10, name), images, sparsities=(0.5,), seconds=0.01, threads=1)
