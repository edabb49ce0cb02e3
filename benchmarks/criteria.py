"""What criteria say against the truth: how much the loss changes when one weight, or one filter, is deleted.

    python benchmarks/criteria.py run                                           on the built-in digits, a few minutes
    SPARSENET_DATA=... python benchmarks/criteria.py run --dataset mnist --out benchmarks/results/criteria-mnist.json
    python benchmarks/criteria.py table                                         print what the stored result says

A small network (two convolutions with batch normalisation, two linear layers) is trained; then a sample of the weights
of each layer, and every filter and hidden neuron, is deleted one at a time, and the loss over all training images is
taken in float64. Of each criterion: Spearman's rank correlation of its scores with |L without - L|, within each layer
(the mean over the layers) and over all layers at once. Then, in one step, 90 % of the weights go (of each layer, or of
all), or half of the filters and hidden neurons of each layer: accuracy on the test images at once, and after a brief
retraining. Where a criterion scores nothing, or all alike, there is no correlation; where it leaves a hidden layer out,
its accuracies would be of another sparsity, and are not taken. Criteria that judge filters give all weights of one the
same score: of weights they say what they say of the filter, and single weights are not what they are for.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import sparsenet as sn
from sparsenet.data.datasets import positions_in_class
from sparsenet.lab.environment import describe_environment
from sparsenet.pruning.granularity import sum_over_structures
from sparsenet.pruning.probe import activation_of
from sparsenet.pruning.scoring import needs_of

RESULTS = Path(__file__).parent / "results"
SETTINGS = {
    "90 % of each layer": (sn.strategies.layerwise, 0.9),
    "90 % of all": (sn.strategies.proportional, 0.9),
    "half of the filters": (sn.strategies.channelwise, 0.5),
}
STRUCTURES = ("weights", "filters")


def small_cnn(input_shape, classes, seed):
    """conv 8 - conv 12 - linear 32 - linear `classes`: small enough to delete every filter and many weights."""
    channels, height, width = input_shape
    rng = np.random.default_rng(seed)
    layers = {
        "conv1": sn.Conv2d(channels, 8, 3, padding=1, seed=rng),
        "norm1": sn.BatchNorm(8),
        "relu1": sn.ReLU(),
        "pool1": sn.MaxPool2d(2),
        "conv2": sn.Conv2d(8, 12, 3, padding=1, seed=rng),
        "norm2": sn.BatchNorm(12),
        "relu2": sn.ReLU(),
        "pool2": sn.MaxPool2d(2),
        "flatten": sn.Flatten(),
        "fc1": sn.Linear(12 * (height // 4) * (width // 4), 32, seed=rng),
        "relu3": sn.ReLU(),
        "fc2": sn.Linear(32, classes, seed=rng),
    }
    return sn.chain(layers)


def train(network, data, epochs, lr, options):
    sn.fit(
        network,
        data,
        epochs=epochs,
        optimizer=sn.optimizers.Movement(sn.SGD(lr=lr, momentum=0.9, weight_decay=5e-4)),
        lr_schedule=sn.optimizers.cosine,
        batch_size=32,
        seed=options.seed,
        threads=options.threads,
    )


def loss_behind(network, outputs, changed, y):
    """The loss where the outputs of some layers are `changed`: only what reads them is computed again."""
    new = dict(changed)
    for node in network.nodes:
        if node.name not in new and not new.keys().isdisjoint(node.inputs):
            new[node.name] = node.layer.forward(*(new.get(source, outputs[source]) for source in node.inputs))
    last = network.nodes[-1].name
    return sn.softmax_cross_entropy(new.get(last, outputs[last]), y)[0]


def changes_by_weight(network, data, sample, seed):
    """By layer: which weights, a fixed random sample, and L(without it) - L of each."""
    rng, outputs = np.random.default_rng(seed), network.outputs(data.x)
    before, found = loss_behind(network, outputs, {}, data.y), {}
    for node in network.nodes:
        if node.name not in network.weights():
            continue
        weight = node.layer.weight.value
        picks = np.sort(rng.permutation(weight.size)[:sample])
        changes = []
        for pick in picks:
            index = np.unravel_index(pick, weight.shape)
            kept, weight[index] = weight[index], 0
            output = node.layer.forward(outputs[node.inputs[0]])
            changes.append(loss_behind(network, outputs, {node.name: output}, data.y) - before)
            weight[index] = kept
        found[node.name] = picks, np.array(changes)
    return found


def changes_by_filter(network, data):
    """By layer, the last one left out: L(without it) - L of each filter, its map set to 0."""
    outputs = network.outputs(data.x)
    before, found = loss_behind(network, outputs, {}, data.y), {}
    for name in list(network.weights())[:-1]:
        place, changes = activation_of(network, name), []
        for o in range(outputs[place].shape[1]):
            emitted = outputs[place].copy()
            emitted[:, o] = 0
            changes.append(loss_behind(network, outputs, {place: emitted}, data.y) - before)
        found[name] = np.arange(len(changes)), np.array(changes)
    return found


def rank_correlation(scores, changes):
    """Spearman's; None where either is constant."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(changes) == 0:
        return None
    return float(spearmanr(scores, changes).statistic)


def correlations(scores, truth):
    """Of scores by layer with |L without - L| and with L without - L: within each layer, and over all together."""
    of = {}
    for name, signed in (("magnitude", False), ("signed", True)):
        pairs = {layer: (scores[layer][picks], changes) for layer, (picks, changes) in truth.items() if layer in scores}
        if not signed:
            pairs = {layer: (found, np.abs(changes)) for layer, (found, changes) in pairs.items()}
        layers = {layer: rank_correlation(*pair) for layer, pair in pairs.items()}
        known = [value for value in layers.values() if value is not None]
        together = [np.concatenate(parts) for parts in zip(*pairs.values(), strict=True)]
        of[name] = {
            "layers": layers,
            "mean": float(np.mean(known)) if known else None,
            "all": rank_correlation(*together) if together else None,
        }
    return of


def accuracies(dense, scores, data, options):
    """Test accuracy by setting: pruned in one step, and after retraining."""
    found = {}
    for setting, (strategy, sparsity) in SETTINGS.items():
        network = dense.copy()
        sn.prune(network, scores, strategy, sparsity)
        at_once = sn.evaluate(network, data.test, threads=options.threads).accuracy
        train(network, data.train, options.retrain_epochs, 0.02, options)
        retrained = sn.evaluate(network, data.test, threads=options.threads).accuracy
        found[setting] = {"sparsity": network.sparsity(), "at_once": at_once, "retrained": retrained}
    return found


def row_of(criterion, dense, truth, data, options):
    start = time.perf_counter()
    scores = sn.score(dense, criterion, data.train, max_batches=None, seed=options.seed, threads=options.threads)
    seconds = time.perf_counter() - start
    units = {name: sum_over_structures(array, sn.Filter()) for name, array in scores.items()}
    flat = {name: array.reshape(-1) for name, array in scores.items()}
    hidden = list(dense.weights())[:-1]
    return {
        "needs": sorted(needs_of(criterion)),
        "seconds": seconds,
        "scored": list(scores),
        "weights": correlations(flat, truth["weights"]),
        "filters": correlations(units, truth["filters"]),
        "accuracy": accuracies(dense, scores, data, options) if set(hidden) <= set(scores) else None,
    }


def load(options):
    """The data set, of the training images the first of each class, as many of each."""
    data = sn.load_dataset(options.dataset)
    chosen = positions_in_class(data.train.y) < options.images // data.classes
    return sn.Dataset(
        data.name, sn.Split(data.train.x[chosen], data.train.y[chosen]), data.validation, data.test, data.classes
    )


def run(options):
    start, data = time.perf_counter(), load(options)
    dense = small_cnn(data.input_shape, data.classes, options.seed)
    train(dense, data.train, options.epochs, 0.05, options)
    exact, train64 = dense.astype(np.float64), sn.Split(data.train.x.astype(np.float64), data.train.y)
    with sn.threads(options.threads):
        truth = {
            "weights": changes_by_weight(exact, train64, options.sample, options.seed),
            "filters": changes_by_filter(exact, train64),
        }
    print(f"{time.perf_counter() - start:.0f} s: the truth", flush=True)
    rows = {}
    warnings.filterwarnings("ignore", message=".*(not scored, for want of|one and the same score)")
    for name, criterion in sn.scores.CRITERIA.items():
        rows[name] = row_of(criterion, dense, truth, data, options)
        print(f"{time.perf_counter() - start:.0f} s: {name}", flush=True)
    evaluations = {part: sn.evaluate(dense, getattr(data, part), threads=options.threads) for part in ("train", "test")}
    settings = {name: value for name, value in vars(options).items() if name != "what"}
    return settings | {
        "trained_on": len(data.train.y),
        "loss_train": evaluations["train"].loss,
        "accuracy_test": evaluations["test"].accuracy,
        "deleted": {kind: {layer: len(picks) for layer, (picks, _) in truth[kind].items()} for kind in STRUCTURES},
        "seconds": time.perf_counter() - start,
        "rows": rows,
        "environment": describe_environment(),
    }


def table(result):
    """Lines of two tables: correlations with the truth, and accuracies."""
    weights, filters = (sum(result["deleted"][kind].values()) for kind in STRUCTURES)
    yield (
        f"{result['dataset']}, {result['trained_on']:,} images, dense {percent(result['accuracy_test'])} on the test "
        f"images; the loss without each of {weights:,} weights, {filters} filters and neurons"
    )
    yield ""
    heads = ["rank correlation", "weights, in a layer", "of all", "filters, in a layer", "of all"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for name, row in result["rows"].items():
        cells = [number(row[kind]["magnitude"][which]) for kind in STRUCTURES for which in ("mean", "all")]
        yield f"| `{name}` | {' | '.join(cells)} |"
    yield ""
    yield f"| accuracy, at once → retrained for {result['retrain_epochs']} epochs | {' | '.join(SETTINGS)} |"
    yield f"|{' --- |' * (1 + len(SETTINGS))}"
    for name, row in result["rows"].items():
        found = row["accuracy"]
        cells = [
            f"{percent(found[setting]['at_once'])} → {percent(found[setting]['retrained'])}" if found else "-"
            for setting in SETTINGS
        ]
        yield f"| `{name}` | {' | '.join(cells)} |"


def number(value):
    return "-" if value is None else f"{value:+.2f}"


def percent(value):
    return f"{100 * value:.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--dataset", choices=("digits", "mnist"), default="digits")
    parser.add_argument("--images", type=int, default=1_000, help="training images")
    parser.add_argument("--epochs", type=int, default=12, help="of the dense network")
    parser.add_argument("--retrain-epochs", type=int, default=2)
    parser.add_argument("--sample", type=int, default=400, help="weights that are deleted, of each layer")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=str(RESULTS / "criteria.json"))
    options = parser.parse_args()
    out = Path(options.out)
    if options.what == "run":
        del options.out
        out.write_text(json.dumps(run(options), indent=1) + "\n")
    print("\n".join(table(json.loads(out.read_text()))))


if __name__ == "__main__":
    main()
