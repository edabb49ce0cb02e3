"""A short run on CIFAR-10: resnet20 on a part of the training images, pruned in two ways, accuracy beside latency.

    SPARSENET_DATA=... python benchmarks/cifar.py run --networks FOLDER         an hour on one core
    python benchmarks/cifar.py latency --networks FOLDER  measure the stored networks again, on a quiet machine
    python benchmarks/cifar.py table                      print what the stored result says

Three networks: dense; half of the filters gone, channel by channel, and compacted; 90 % of the weights gone, wherever
they are. Both pruned ones start from the dense one, and are retrained as long in all: in two rounds, the channelwise
one after compaction too. The result goes to benchmarks/results/cifar.json. An epoch over 5,000 images takes 25 to
50 s on one core.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
from subsets import part_of

import sparsenet as sn
from sparsenet.lab.environment import describe_environment
from sparsenet.lab.latency import measure
from sparsenet.nn.counting import count_total

RESULTS = Path(__file__).parent / "results"
DENSE, COMPACT, SPARSE = "dense", "channelwise 50 %, compacted", "proportional 90 %, sparse"
FORMS = {DENSE: "dense", COMPACT: "dense", SPARSE: "auto"}  # of the plans
BATCHES, SHAPE = (1, 32), (3, 32, 32)
AUGMENT = sn.augment.compose(sn.augment.shift(4), sn.augment.flip())


def train(network, data, epochs, lr, options):
    """SGD as in the ResNet paper, the learning rate falling to zero along a cosine, images shifted and mirrored."""
    return sn.fit(
        network,
        data,
        epochs=epochs,
        optimizer=sn.SGD(lr=lr, momentum=0.9, weight_decay=1e-4),
        lr_schedule=sn.optimizers.cosine,
        batch_size=64,
        augment=AUGMENT,
        seed=options.seed,
        threads=options.threads,
    )


def prune(network, data, strategy, sparsities, options):
    """Score, mask and retrain, round by round; the retraining is shared out among the rounds."""
    for sparsity in sparsities:
        sn.prune(network, sn.score(network, sn.scores.l1), strategy, sparsity)
        train(network, data, max(1, options.retrain_epochs // 2), 0.02, options)


def networks_of(data, options):
    """(the networks by name, seconds of an epoch of dense training)."""
    dense = sn.models.resnet20(data.input_shape, data.classes, seed=options.seed)
    images = part_of(data.train, options.images)
    history = train(dense, images, options.epochs, 0.1, options)
    halved, sparse = dense.copy(), dense.copy()
    prune(halved, images, sn.strategies.channelwise, [0.5], options)
    compact = sn.remove_pruned_structures(halved)
    train(compact, images, max(1, options.retrain_epochs // 2), 0.02, options)
    prune(sparse, images, sn.strategies.proportional, [0.7, 0.9], options)
    return {DENSE: dense, COMPACT: compact, SPARSE: sparse}, [epoch.seconds for epoch in history]


def latencies(networks, shape, batch, options):
    """Microseconds for a batch: quartiles and median of each network's plan, all measured in turn."""
    x = np.random.default_rng(0).standard_normal((batch, *shape), np.float32)
    plans = {
        name: sn.compile(network, shape, batch=batch, threads=options.threads, form=FORMS[name])
        for name, network in networks.items()
    }
    measured = measure({name: partial(plan, x) for name, plan in plans.items()}, options.seconds)
    return {name: [each.low_us, each.median_us, each.high_us] for name, each in measured.items()}


def file_of(options, name):
    return Path(options.networks) / f"{name}.sparsenet"


def add_latencies(rows, networks, shape, options):
    """Fill in the latencies of each row."""
    for batch in BATCHES:
        for name, quartiles in latencies(networks, shape, batch, options).items():
            rows[name]["latency_us"][str(batch)] = quartiles


def run(options):
    start, data = time.perf_counter(), sn.load_dataset("cifar10")
    networks, seconds = networks_of(data, options)
    test = part_of(data.test, options.test_images)
    if options.networks:
        Path(options.networks).mkdir(parents=True, exist_ok=True)
        for name, network in networks.items():
            sn.save_network(file_of(options, name), network)
    rows = {}
    for name, network in networks.items():
        counts = count_total(network, data.input_shape)
        rows[name] = {
            "accuracy": sn.evaluate(network, test, threads=options.threads).accuracy,
            "parameters": counts.parameters_kept,
            "macs": counts.macs_kept,
            "latency_us": {},
        }
        print(name, rows[name], flush=True)
    add_latencies(rows, networks, data.input_shape, options)
    settings = {name: value for name, value in vars(options).items() if name not in ("what", "networks")}
    return settings | {
        "files_checked_by": data.check,
        "epoch_seconds": seconds,
        "seconds": time.perf_counter() - start,
        "rows": rows,
        "environment": describe_environment(),
    }


def table(result):
    """Lines of the table: what is left of the arithmetic, and what it takes of the time, against dense."""
    first = f"{result['images']:,} images, {result['epochs']} epochs"
    heads = [first, "accuracy", "parameters", "MACs"]
    heads += [head for batch in BATCHES for head in (f"batch {batch}, µs", "speed-up")]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    rows = result["rows"]
    for name, row in rows.items():
        cells = [f"{100 * row['accuracy']:.1f} %", f"{row['parameters']:,}", share(rows[DENSE]["macs"], row["macs"])]
        for batch, (low, median, high) in row["latency_us"].items():
            gain = rows[DENSE]["latency_us"][batch][1] / median
            cells += [f"{median:,.0f} ({low:,.0f} to {high:,.0f})", f"{gain:.2f}"]
        yield f"| {name} | {' | '.join(cells)} |"


def share(dense, kept):
    return f"{kept / 1e6:.1f} M (1/{dense / kept:.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "latency", "table"))
    parser.add_argument("--images", type=int, default=10_000, help="training images")
    parser.add_argument("--test-images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=15, help="of the dense network")
    parser.add_argument("--retrain-epochs", type=int, default=6, help="of each pruned network, in two halves")
    parser.add_argument("--seconds", type=float, default=4.0, help="of measuring, for each size of batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", help="folder that the networks are saved in, to be measured again")
    parser.add_argument("--out", default=str(RESULTS / "cifar.json"))
    options = parser.parse_args()
    out = Path(options.out)
    if options.what == "run":
        del options.out
        out.write_text(json.dumps(run(options), indent=1) + "\n")
    if options.what == "latency":
        result, networks = json.loads(out.read_text()), {}
        for name in result["rows"]:
            networks[name] = sn.load_network(file_of(options, name))
        add_latencies(result["rows"], networks, SHAPE, options)
        out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(table(json.loads(out.read_text()))))


if __name__ == "__main__":
    main()
