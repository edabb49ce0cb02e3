"""Accuracy of pruned networks on MNIST: the figures of the README, from whole runs.

    SPARSENET_DATA=... python benchmarks/mnist.py targets --seed 0     one seed of the table of targets (run 0, 1, 2)
    SPARSENET_DATA=... python benchmarks/mnist.py grid                 every criterion x strategy pair at 90 %
    python benchmarks/mnist.py table                                   print what the stored results say

Results go to benchmarks/results/, the trained networks to benchmarks/networks/ (not committed). About 20 minutes a seed
and half an hour for the grid, on one core each.
"""

import argparse
import json
import platform
import time
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import sparsenet as sn
from sparsenet.pruning.strategies import STRATEGIES

HERE = Path(__file__).parent
RESULTS, NETWORKS = HERE / "results", HERE / "networks"
CRITERIA = ("l1", "l2", "sensitivity", "taylor", "random")
BATCH = 64
DENSE_EPOCHS = 10


def train_dense(data, seed, threads):
    net = sn.models.simple_cnn(data.input_shape, data.classes, seed=seed)
    sn.fit(
        net,
        data.train,
        epochs=DENSE_EPOCHS,
        optimizer=sn.SGD(lr=0.05, momentum=0.9, weight_decay=5e-4),
        lr_schedule=sn.optimizers.warmup(0.1),
        batch_size=BATCH,
        seed=seed,
        threads=threads,
    )
    return net


def retrainer(data, seed, threads, epochs):
    """Retrain the survivors: SGD with the learning rate falling to zero; other orders of the samples each round."""
    rng = np.random.default_rng([seed, 1])
    sgd = sn.SGD(lr=0.05, momentum=0.9, weight_decay=5e-4)

    def retrain(net):
        sn.fit(
            net,
            data.train,
            epochs=epochs,
            optimizer=sgd,
            lr_schedule=sn.optimizers.cosine,
            batch_size=BATCH,
            seed=rng,
            threads=threads,
        )

    return retrain


def measure(net, data, threads):
    result = sn.evaluate(net, data.test, threads=threads)
    return {"accuracy": result.accuracy, "loss": result.loss, "sparsity": net.sparsity()}


def prune(net, data, strategy, schedule, retrain, threads):
    sn.iterative_prune(
        net,
        data.train,
        validation=data.validation,
        strategy=STRATEGIES[strategy],
        schedule=schedule,
        retrain=retrain,
        threads=threads,
        on_round=lambda r: print(
            f"  {strategy} {r.sparsity:.4f}: {r.accuracy_before:.4f} -> {r.accuracy:.4f}", flush=True
        ),
    )


def run_targets(data, seed, threads):
    """All rows of the table of targets for one seed."""
    start = time.perf_counter()
    NETWORKS.mkdir(exist_ok=True)
    dense = train_dense(data, seed, threads)
    rows = {"dense": measure(dense, data, threads)}
    sn.save_network(NETWORKS / f"dense-{seed}.sparsenet", dense)
    print(rows, flush=True)

    net, before = dense.copy(), 0.0
    for sparsity, rounds in ((0.9, 5), (0.95, 3), (0.98, 3)):
        schedule = sn.schedules.cubic(rounds, sparsity, initial=before)
        prune(net, data, "proportional", schedule, retrainer(data, seed, threads, epochs=2), threads)
        before = sparsity
        rows[f"proportional {sparsity}"] = measure(net, data, threads)
        sn.save_network(NETWORKS / f"proportional-{sparsity}-{seed}.sparsenet", net)
        print(rows, flush=True)

    net = dense.copy()
    prune(net, data, "channelwise", sn.schedules.linear(3, 0.5), retrainer(data, seed, threads, epochs=2), threads)
    compact = sn.remove_pruned_structures(net)
    retrainer(data, seed, threads, epochs=4)(compact)
    rows["channelwise 0.5"] = measure(compact, data, threads) | {"parameters": count(compact), "of": count(dense)}
    sn.save_network(NETWORKS / f"channelwise-0.5-{seed}.sparsenet", compact)

    net = dense.copy()
    sn.prune(net, sn.score(net, sn.scores.l1), sn.strategies.max_threshold, 0.2)
    rows["max_threshold 0.2, not retrained"] = measure(net, data, threads)
    retrainer(data, seed, threads, epochs=2)(net)
    rows["max_threshold 0.2, retrained"] = measure(net, data, threads)
    write(f"mnist-seed{seed}", {"seed": seed, "rows": rows, "seconds": time.perf_counter() - start, "threads": threads})


def count(net):
    return sum(p.value.size for p in net.parameters().values())


def rate_for(scores, sparsity):
    """The rate at which `max_threshold` prunes this sparsity: the quantile of the scores relative to their maximum."""
    relative = [array.ravel() / array.max() for array in scores.values()]
    return float(np.quantile(np.concatenate(relative), sparsity))


def run_grid(data, threads, sparsity=0.9, epochs=2):
    """Every criterion x strategy pair: one-shot to 90 % from the same dense network, retrained for two epochs."""
    dense = train_dense(data, 0, threads)
    cells = {"dense": measure(dense, data, threads)}
    for criterion in CRITERIA:
        scores = sn.score(dense, getattr(sn.scores, criterion), data.train, threads=threads)
        for name, strategy in STRATEGIES.items():
            net = dense.copy()
            requested = rate_for(scores, sparsity) if name == "max_threshold" else sparsity
            sn.prune(net, scores, strategy, requested)
            before = sn.evaluate(net, data.test, threads=threads).accuracy
            retrainer(data, 0, threads, epochs)(net)
            cells[f"{criterion} {name}"] = measure(net, data, threads) | {"before": before, "requested": requested}
            print(criterion, name, cells[f"{criterion} {name}"], flush=True)
    write("mnist-grid", {"cells": cells, "sparsity": sparsity, "epochs": epochs, "threads": threads})


def write(name, result):
    RESULTS.mkdir(exist_ok=True)
    versions = {package: __import__(package).__version__ for package in ("sparsenet", "numpy", "scipy", "numba")}
    result |= {"machine": platform.machine(), "python": platform.python_version(), **versions}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def removed(row):
    """Fraction removed: of the weights by masks, or of all parameters by surgery."""
    return 1 - row["parameters"] / row["of"] if "parameters" in row else row["sparsity"]


def print_tables():
    seeds = [json.loads(path.read_text())["rows"] for path in sorted(RESULTS.glob("mnist-seed*.json"))]
    print(f"| test accuracy, {len(seeds)} seeds | mean ± standard deviation | against dense | removed |")
    print("| --- | --- | --- | --- |")
    for row in seeds[0]:
        accuracy = [100 * rows[row]["accuracy"] for rows in seeds]
        drop = [100 * (rows[row]["accuracy"] - rows["dense"]["accuracy"]) for rows in seeds]
        gone = 100 * mean(removed(rows[row]) for rows in seeds)
        print(f"| {row} | {mean(accuracy):.2f} ± {stdev(accuracy):.2f} | {mean(drop):+.2f} | {gone:.1f} % |")
    grid = json.loads((RESULTS / "mnist-grid.json").read_text())["cells"]
    print(f"\n| 90 %, retrained | {' | '.join(STRATEGIES)} |\n| --- |{' --- |' * len(STRATEGIES)}")
    for criterion in CRITERIA:
        print(
            f"| {criterion} | "
            + " | ".join(f"{100 * grid[f'{criterion} {s}']['accuracy']:.2f}" for s in STRATEGIES)
            + " |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("targets", "grid", "table"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.what == "table":
        return print_tables()
    data = sn.load_dataset("mnist")
    return (
        run_targets(data, options.seed, options.threads)
        if options.what == "targets"
        else run_grid(data, options.threads)
    )


if __name__ == "__main__":
    main()
