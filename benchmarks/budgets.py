"""Does a strength that is found beat one that is stated? `auto_prune` beside uniform, global and ERK pruning.

    SPARSENET_DATA=... python benchmarks/budgets.py run lenet_5 resnet20 vgg_small      an hour of one core
    python benchmarks/budgets.py predictions lenet_5 resnet20 vgg_small                 some minutes
    python benchmarks/budgets.py table                                                  print what the stored result says

`run`: a network is trained; then, for a share of its bytes or microseconds, `auto_prune` finds one within it. The
rivals prune by the same criterion, in the same rounds with the same retraining. Their one sparsity is found by
bisection: as little as makes the masked network as cheap as the one that was found, so that all cost the same. A time
is taken in turn with that of the dense network, and the machine's drift divided out. Accuracy and loss are of all
images that no choice was made by, those for validation and for test together (of MNIST those for test). LeNet-5 learns
from the first 10,000 images of MNIST, the others from the digits at half their size, 14 x 14.

`predictions`: allocations are drawn at random, each layer's sparsity by itself; of each, the measured time over the one
that the table of costs predicts, the drift divided out.

Results go to benchmarks/results/budgets.json, trained networks to benchmarks/networks/ (not committed).
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import sparsenet as sn
from sparsenet.lab.cost_table import measure_costs, whole_costs
from sparsenet.lab.cuts import find_cuts
from sparsenet.lab.environment import describe_environment

HERE = Path(__file__).parent
RESULT, NETWORKS = HERE / "results" / "budgets.json", HERE / "networks"
SETTINGS = {
    "lenet_5": {"lr": 0.02, "epochs": 6, "retrain_epochs": 1, "shares": {"size_bytes": [0.03], "latency_us": [0.1]}},
    "resnet20": {"lr": 0.05, "epochs": 12, "retrain_epochs": 2, "shares": {"size_bytes": [0.06], "latency_us": [0.2]}},
    "vgg_small": {"lr": 0.02, "epochs": 8, "retrain_epochs": 2, "shares": {"size_bytes": [0.03], "latency_us": [0.03]}},
}
SCOPES = {"uniform": "layer", "global": "global", "erk": "erk"}
KINDS = {"size_bytes": "bytes", "latency_us": "time"}
ROUNDS, BATCH, STEPS = 3, 32, 10
MOST = 0.9995  # sparsity of a rival
SPREAD = (0.0, 0.99)  # of sparsities that are drawn


def load(model):
    """(training images, all others, input shape)."""
    if model == "lenet_5":
        data = sn.load_dataset("mnist")
        train, others = sn.Split(*(part[:10_000] for part in data.train)), (data.test,)
    else:
        data = sn.load_dataset("digits")
        train, *others = (sn.Split(halve(x), y) for x, y in (data.train, data.validation, data.test))
    return train, sn.Split(*map(np.concatenate, zip(*others, strict=True))), train.x.shape[1:]


def halve(x):
    """The means of 2 x 2 pixels."""
    count, channels, height, width = x.shape
    return x.reshape(count, channels, height // 2, 2, width // 2, 2).mean(axis=(3, 5), dtype=np.float32)


def train(network, data, model, epochs, seed):
    sgd = sn.SGD(lr=SETTINGS[model]["lr"], momentum=0.9, weight_decay=5e-4)
    options = {"batch_size": BATCH, "lr_schedule": sn.optimizers.cosine, "threads": 1}
    sn.fit(network, data, epochs=epochs, optimizer=sgd, seed=seed, **options)


def dense(model, data, shape, seed):
    """The trained network of a seed; from the folder, where it is there."""
    path = NETWORKS / f"budgets-{model}-{seed}.sparsenet"
    if not path.exists():
        NETWORKS.mkdir(exist_ok=True)
        network = sn.models.MODELS[model](shape, 10, seed=seed)
        train(network, data, model, SETTINGS[model]["epochs"], seed)
        sn.save_network(path, network)
    return sn.load_network(path)


def pruned(network, sparsity, scope, retrain, rounds):
    found = network.copy()
    for now in sn.schedules.cubic(rounds, sparsity):
        masks = sn.make_masks(sn.score(found, sn.scores.l1), now, scope=scope, current=found.masks())
        found.apply_masks(masks)
        retrain(found)
    return found


def rival(network, scope, limit, figure, retrain):
    """The network of the lowest sparsity whose masked cost is within the limit, and that sparsity."""
    low, high = 0.0, MOST
    for _ in range(STEPS):
        middle = 1 - np.sqrt((1 - low) * (1 - high))
        within = figure(pruned(network, middle, scope, lambda net: None, 1)) <= limit
        low, high = (low, middle) if within else (middle, high)
    return pruned(network, high, scope, retrain, ROUNDS)


class Costs:
    """What networks of a shape cost; times on a machine as fast as it was when the dense network was timed first."""

    def __init__(self, network, shape):
        self.network, self.shape = network, shape
        self.dense = self._all(network, network, seconds=2.0)[0]

    def _all(self, *networks, seconds=0.3):
        return whole_costs(networks, self.shape, batch=1, threads=1, seconds=seconds)

    def of(self, network, kind):
        if kind != "latency_us":
            return getattr(self._all(network, seconds=0.001)[0], kind)
        own, beside = self._all(network, self.network)
        return own.latency_us / beside.latency_us * self.dense.latency_us


def compare(model, seed, options):
    """A row for each method within each budget."""
    data, others, shape = load(model)
    network, setting = dense(model, data, shape, seed), SETTINGS[model]
    judge, costs = partial(sn.evaluate, data=others, threads=1), Costs(network, shape)
    start = judge(network)
    retrain = partial(train, data=data, model=model, epochs=setting["retrain_epochs"], seed=seed + 1)
    for kind, shares in setting["shares"].items():
        figure = partial(costs.of, kind=kind)
        for share in shares:
            limit = share * getattr(costs.dense, kind)
            row = {"model": model, "seed": seed, "kind": kind, "share": share, "limit": limit, "dense": start.accuracy}
            budget = sn.Budget(**{kind: limit})
            found, report = sn.auto_prune(network, data, others, budget, retrain=retrain, threads=1, **options)
            spent = figure(network=found)
            tried = {"ratio": report.chosen.ratio, "tries": len(report.tries), "sparsities": report.chosen.sparsities}
            yield row | describe("found", judge(found), spent) | tried
            for name, scope in SCOPES.items():
                other = rival(network, scope, spent, lambda net, own=figure: own(network=net), retrain)
                yield row | describe(name, judge(other), figure(network=other))


def describe(method, judged, spent):
    return {"method": method, "accuracy": judged.accuracy, "loss": judged.loss, "spent": spent}


def run(models, options):
    for seed in range(options.seeds):
        for model in models:
            rows = []
            for row in compare(model, seed, {}):
                rows.append(row)
                print({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
            stored = read()
            kept = [r for r in stored.get("rows", []) if (r["model"], r["seed"]) != (model, seed)]
            write(stored | {"settings": SETTINGS, "rows": kept + rows})


def predictions(models, options):
    for model in models:
        data, _, shape = load(model)
        network = dense(model, data, shape, 0)
        scores = sn.score(network, sn.scores.l1)
        cuts = find_cuts(network, scores)
        for batch in options.batches:
            found = {
                "model": model,
                "batch": batch,
                "ratios": ratios(network, scores, cuts, shape, batch, options.count),
            }
            low, median, high = np.percentile(found["ratios"], (10, 50, 90))
            print(f"{model}, batch {batch}: {median:.3f} ({low:.3f} to {high:.3f})", flush=True)
            stored = read()
            kept = [r for r in stored.get("predictions", []) if (r["model"], r["batch"]) != (model, batch)]
            write(stored | {"predictions": [*kept, found]})


def ratios(network, scores, cuts, shape, batch, count):
    """Measured over predicted time of allocations drawn at random."""
    rng, conditions = np.random.default_rng(0), {"batch": batch, "threads": 1}
    table = measure_costs(network, scores, cuts, shape, seconds=0.5, **conditions)
    found = []
    for _ in range(count):
        kept = np.exp(rng.uniform(*np.log(1 - np.array(SPREAD)), len(cuts.units)))
        sparsities = dict(zip(cuts.units, (1 - kept).clip(*SPREAD).tolist(), strict=True))
        both = [cuts.cut(network, scores, sparsities), network]
        own, beside = whole_costs(both, shape, seconds=0.3, **conditions)
        drift = beside.latency_us / table.whole[0].latency_us
        found.append(own.latency_us / drift / table.predict("latency_us", sparsities))
    return found


def read():
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


def write(result):
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result | {"environment": describe_environment()}, indent=1) + "\n")


def table(result):
    """Both tables in Markdown."""
    return "\n\n".join([accuracy_table(result["rows"]), prediction_table(result.get("predictions", []))])


def accuracy_table(rows):
    """Means over the seeds, with the standard deviation; the difference to the best rival, seed by seed."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [
        f"| network | budget | dense | {' | '.join(methods)} | above the best rival | loss, of the best rival's |",
        f"|{' --- |' * (len(methods) + 5)}",
    ]
    for model, kind, share in dict.fromkeys((row["model"], row["kind"], row["share"]) for row in rows):
        own = [row for row in rows if (row["model"], row["kind"], row["share"]) == (model, kind, share)]
        by = {method: [row for row in own if row["method"] == method] for method in methods}
        cells = []
        for each in by.values():
            accuracy = spread([100 * row["accuracy"] for row in each], 2)
            cells.append(f"{accuracy}, loss {mean(row['loss'] for row in each):.4f}")
        rivals = [method for method in methods if method != "found"]
        best = max(rivals, key=lambda method: mean(row["accuracy"] for row in by[method]))
        least = min(rivals, key=lambda method: mean(row["loss"] for row in by[method]))
        more = [100 * (a["accuracy"] - b["accuracy"]) for a, b in zip(by["found"], by[best], strict=True)]
        part = [a["loss"] / b["loss"] for a, b in zip(by["found"], by[least], strict=True)]
        lines.append(
            f"| {model} | {100 * share:g} % of {KINDS[kind]} | {100 * mean(row['dense'] for row in own):.2f} "
            f"| {' | '.join(cells)} | {spread(more, 2, '+')} ({best}) | {spread(part, 2)} ({least}) |"
        )
    return "\n".join(lines)


def spread(values, digits, sign=""):
    """Mean and standard deviation."""
    shown = f"{mean(values):{sign}.{digits}f}"
    return f"{shown} ± {stdev(values):.{digits}f}" if len(values) > 1 else shown


def prediction_table(found):
    lines = [
        "| network | batch | allocations | measured / predicted time | 10th to 90th percentile |",
        f"|{' --- |' * 5}",
    ]
    for each in found:
        low, median, high = np.percentile(each["ratios"], (10, 50, 90))
        count = len(each["ratios"])
        lines.append(f"| {each['model']} | {each['batch']} | {count} | {median:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "predictions", "table"))
    parser.add_argument("models", nargs="*", metavar="network", help=f"of {', '.join(SETTINGS)}; all unless given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=30, help="allocations to predict")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    options = parser.parse_args()
    if not SETTINGS.keys() >= set(options.models):
        parser.error(f"the networks are {', '.join(SETTINGS)}")
    if options.what == "table":
        print(table(read()))
    else:
        {"run": run, "predictions": predictions}[options.what](options.models or list(SETTINGS), options)


if __name__ == "__main__":
    main()
