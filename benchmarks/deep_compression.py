"""Deep Compression (Han et al. 2016) of both LeNets on MNIST: pruned, quantised, shared weights retrained, saved.

    SPARSENET_DATA=... python benchmarks/deep_compression.py run lenet_300_100 lenet_5 --seed 0
    python benchmarks/deep_compression.py table                          print what the stored result says

Each stage says the test error and the bytes of the real file. About four minutes for LeNet-300-100 and half an hour for
LeNet-5, on one core. Every run that ended is kept: none was chosen by its test error.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import sparsenet as sn
from sparsenet.files.checkpoint import bytes_by_layer
from sparsenet.lab.environment import describe_environment

HERE = Path(__file__).parent
RESULT, NETWORKS = HERE / "results" / "deep_compression.json", HERE / "networks"
PAPER = {"lenet_300_100": {"error": 1.58, "kilobytes": 27}, "lenet_5": {"error": 0.74, "kilobytes": 44}}  # table 1
BITS = {"conv1": 6, "conv2": 5, "fc1": 4, "fc2": 5}
# shift: training images are moved by up to so many pixels, which the paper does not say of its own
SETTINGS = {
    "lenet_300_100": {"model": "lenet_300_100", "lr": 0.05, "sparsity": 0.92, "bits": 5},  # the paper's sparsity
    "lenet_300_100_smaller": {"model": "lenet_300_100", "lr": 0.05, "sparsity": 0.95, "bits": 4},
    "lenet_300_100_shifted": {"model": "lenet_300_100", "lr": 0.05, "sparsity": 0.95, "bits": 4, "shift": 1},
    "lenet_5": {"model": "lenet_5", "lr": 0.02, "sparsity": 0.96, "bits": BITS},
    "lenet_5_shifted": {"model": "lenet_5", "lr": 0.02, "sparsity": 0.96, "bits": BITS, "shift": 1},
}
ROUNDS = 5


def train(network, data, epochs, options, optimizer, seed, pixels):
    sn.fit(
        network,
        data.train,
        epochs=epochs,
        optimizer=optimizer,
        lr_schedule=sn.optimizers.cosine,
        batch_size=64,
        seed=seed,
        threads=options.threads,
        augment=sn.augment.shift(pixels) if pixels else None,
        on_epoch=lambda e: print(f"  epoch {e.epoch}: loss {e.loss:.4f}, {e.seconds:.0f} s", flush=True),
    )


def measure(network, data, path, stage, start, threads):
    """The stage's test error and file; of the network as it is read back from that file."""
    sn.save_network(path, network)
    again = sn.load_network(path)
    test = sn.evaluate(again, data.test, threads=threads)
    row = {
        "stage": stage,
        "error": 100 * (1 - test.accuracy),
        "loss": test.loss,
        "bytes": path.stat().st_size,
        "bytes_by_layer": bytes_by_layer(path),
        "sparsity": again.sparsity(),
        "seconds": time.perf_counter() - start,
    }
    print(f"{stage}: error {row['error']:.2f} %, {row['bytes']:,} bytes, {row['seconds']:.0f} s", flush=True)
    return row


def compress(name, data, options):
    """The rows of all stages of one network."""
    setting, start, rows = SETTINGS[name], time.perf_counter(), []
    NETWORKS.mkdir(exist_ok=True)
    path = NETWORKS / f"{name}-{options.seed}.sparsenet"
    network = sn.models.MODELS[setting["model"]](data.input_shape, data.classes, seed=options.seed)
    learn = partial(train, network, data, options=options, pixels=setting.get("shift"))

    def note(stage):
        rows.append(measure(network, data, path, stage, start, options.threads))

    optimizer = sn.SGD(lr=setting["lr"], momentum=0.9, weight_decay=5e-4)
    learn(epochs=options.epochs, optimizer=optimizer, seed=options.seed)
    note("dense")
    for number, sparsity in enumerate(sn.schedules.cubic(ROUNDS, setting["sparsity"]), 1):
        sn.prune(network, sn.score(network, sn.scores.l1, data.train), sn.strategies.proportional, sparsity)
        epochs = options.last_epochs if number == ROUNDS else options.retrain_epochs
        optimizer = sn.SGD(lr=setting["lr"], momentum=0.9, weight_decay=1e-4)
        learn(epochs=epochs, optimizer=optimizer, seed=[options.seed, number])
    note("pruned and retrained")
    sn.quantize(network, setting["bits"])
    note("quantised")
    optimizer = sn.optimizers.SharedWeights(sn.Adam(lr=options.shared_lr))
    learn(epochs=options.shared_epochs, optimizer=optimizer, seed=[options.seed, ROUNDS + 1])
    note("shared weights retrained")
    return rows


def run(options):
    data = sn.load_dataset("mnist")
    stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    asked = {key: value for key, value in vars(options).items() if key not in ("what", "models")}
    for name in options.models or SETTINGS:
        rows = compress(name, data, options)
        stored[name] = {
            "settings": SETTINGS[name],
            "options": asked,
            "rows": rows,
            "environment": describe_environment(),
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(stored, indent=1) + "\n")


def format_table(stored):
    lines = [
        "| network | stage | weights gone | test error | bytes | of dense |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in stored.items():
        dense = result["rows"][0]["bytes"]
        for row in result["rows"]:
            lines.append(
                f"| {name} | {row['stage']} | {100 * row['sparsity']:.1f} % | {row['error']:.2f} % | {row['bytes']:,} "
                f"| 1 / {dense / row['bytes']:.1f} |"
            )
        paper = PAPER[result["settings"]["model"]]
        lines.append(f"| {name} | the paper | | {paper['error']:.2f} % | {1000 * paper['kilobytes']:,} | |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("models", nargs="*", metavar="network", help=f"of {', '.join(SETTINGS)}; all unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10, help="of the dense network")
    parser.add_argument("--retrain-epochs", type=int, default=2, help="behind each round of pruning but the last")
    parser.add_argument("--last-epochs", type=int, default=6, help="behind the last")
    parser.add_argument("--shared-epochs", type=int, default=3, help="of the shared weights")
    parser.add_argument("--shared-lr", type=float, default=1e-4)
    options = parser.parse_args()
    if not SETTINGS.keys() >= set(options.models):
        parser.error(f"the networks are {', '.join(SETTINGS)}")
    if options.what == "table":
        print(format_table(json.loads(RESULT.read_text())))
    else:
        run(options)


if __name__ == "__main__":
    main()
