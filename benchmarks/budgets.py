"""Does a strength that is found beat one that is stated? `auto_prune` beside uniform, global and ERK pruning.

    SPARSENET_DATA=... python benchmarks/budgets.py run lenet_5 resnet20 vgg_small      an hour of one core
    python benchmarks/budgets.py predictions lenet_5 resnet20 vgg_small                 some minutes
    python benchmarks/budgets.py table                                                  print what is stored

`run`: a network is trained; then, for a share of its bytes or microseconds, `auto_prune` finds one within it. The
rivals prune by the same criterion, in the same rounds with the same retraining. Their one sparsity is found by
bisection: as little as makes the masked network as cheap as the one that was found, so that all cost the same. A time
is taken in turn with that of the network that was found. Accuracy and loss are of all
images that no choice was made by, those for validation and for test together (of MNIST those for test). LeNet-5 learns
from the first 10,000 images of MNIST, the others from the digits at half their size, 14 x 14.

"found" is `auto_prune` as it is; "searched", with --trials, has coefficients of the layers' errors that trials found,
each trained for one epoch of 1,000 images.

`predictions`: allocations are drawn at random, each layer's sparsity by itself; of each, the measured time over the one
that the table of costs predicts. A network of the table, that of the nearest time, is timed in turn with it, and how
much slower the machine is than it was for the table divided out. Where others run beside it, calls of some
milliseconds are broken off by them, and what is measured is their time too: of such, believe a quiet machine only.

Results go to benchmarks/results/budgets-*.json, one for each network, trained networks to benchmarks/networks/ (not
committed).
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import mean, stdev

import numpy as np

import sparsenet as sn
from sparsenet.lab.cost_table import count_whole, measure_costs
from sparsenet.lab.cuts import find_cuts
from sparsenet.lab.environment import describe_environment
from sparsenet.lab.latency import measure
from sparsenet.lab.sensitivity import Sensitivity

HERE = Path(__file__).parent
RESULTS, NETWORKS = HERE / "results", HERE / "networks"
SETTINGS = {
    "lenet_5": {
        "lr": 0.02,
        "batch": 64,
        "epochs": 5,
        "retrain_epochs": 1,
        "shares": {"size_bytes": [0.02], "latency_us": [0.1]},
    },
    "resnet20": {
        "lr": 0.05,
        "batch": 32,
        "epochs": 8,
        "retrain_epochs": 1,
        "shares": {"size_bytes": [0.06], "latency_us": [0.25]},
    },
    "vgg_small": {
        "lr": 0.02,
        "batch": 32,
        "epochs": 5,
        "retrain_epochs": 1,
        "shares": {"size_bytes": [0.02], "latency_us": [0.08]},
    },
}
SCOPES = {"uniform": "layer", "global": "global", "erk": "erk"}
KINDS = {"size_bytes": "bytes", "latency_us": "time"}
ROUNDS, STEPS = 3, 8
REFIT = 1000  # images
LEAST, MOST = 0.5, 0.9995  # sparsity of a rival
MOST_DRAWN = 0.995  # sparsity of an allocation; what is kept is drawn by its logarithm


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
    options = {"batch_size": SETTINGS[model]["batch"], "lr_schedule": sn.optimizers.cosine, "threads": 1}
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
    low, high = LEAST, MOST
    for _ in range(STEPS):
        middle = 1 - np.sqrt((1 - low) * (1 - high))
        within = figure(pruned(network, middle, scope, lambda net: None, 1)) <= limit
        low, high = (low, middle) if within else (middle, high)
    return pruned(network, high, scope, retrain, ROUNDS)


def figure(network, kind, shape, beside):
    """What a network costs; a time as a part of that of the plan `beside`, in turn."""
    if kind != "latency_us":
        return count_whole(network, shape)[kind]
    plans = sn.compile(network, shape, batch=1, threads=1), beside
    own, other = times_in_turn(plans, 0.2)
    return own / other


def times_in_turn(plans, seconds):
    """Median microseconds of each plan, in turn."""
    x = np.random.default_rng(0).random((plans[0].batch, *plans[0].input_shape), np.float32)
    return [each.median_us for each in measure({n: partial(plan, x) for n, plan in enumerate(plans)}, seconds).values()]


def compare(model, seed, done, trials):
    """A list of rows, one for each method, of each budget that is not done."""
    data, others, shape = load(model)
    network, setting = dense(model, data, shape, seed), SETTINGS[model]
    judge = partial(sn.evaluate, data=others, threads=1)
    scores = sn.score(network, sn.scores.l1)
    table = measure_costs(network, scores, find_cuts(network, scores, sn.Weight()), shape, threads=1, seconds=0.2)
    retrain = partial(train, data=data, model=model, epochs=setting["retrain_epochs"], seed=seed + 1)
    refit = partial(train, data=sn.Split(*(part[:REFIT] for part in data)), model=model, epochs=1, seed=seed)
    options = {"retrain": retrain, "rounds": ROUNDS, "threads": 1}
    options["tables"] = Sensitivity({}, {}, table, "", "")  # the errors by norm need costs only
    methods = {"found": {}} | ({"searched": {"trials": trials, "refit": refit}} if trials else {})
    for kind, share in ((kind, share) for kind, shares in setting["shares"].items() for share in shares):
        if (kind, share) in done:
            continue
        limit = share * getattr(table.whole[0], kind)
        row = {"seed": seed, "kind": kind, "share": share, "limit": limit, "dense": judge(network).accuracy}
        rows, spent, beside = [], [], None
        for name, own in methods.items():
            found, report = sn.auto_prune(network, data, others, sn.Budget(**{kind: limit}), **options, **own)
            beside = beside or sn.compile(found, shape, batch=1, threads=1)
            spent.append(figure(found, kind, shape, beside))
            tried = {"ratio": report.chosen.ratio, "sparsities": report.chosen.sparsities}
            rows.append(row | describe(name, judge(found), spent[-1]) | tried)
        for name, scope in SCOPES.items():
            other = rival(network, scope, max(spent), partial(figure, kind=kind, shape=shape, beside=beside), retrain)
            rows.append(row | describe(name, judge(other), figure(other, kind, shape, beside)))
        yield rows


def describe(method, judged, spent):
    return {"method": method, "accuracy": judged.accuracy, "loss": judged.loss, "spent": spent}


def run(models, options):
    """What is stored already is left: a run that was broken off goes on."""
    for model in models:
        for seed in range(options.seeds):
            done = {(row["kind"], row["share"]) for row in read(model).get("rows", []) if row["seed"] == seed}
            for rows in compare(model, seed, done, options.trials):
                write(model, {"settings": SETTINGS[model], "rows": read(model).get("rows", []) + rows})
                for row in rows:
                    print(model, {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


def predictions(models, options):
    for model in models:
        data, _, shape = load(model)
        network = dense(model, data, shape, 0)
        scores = sn.score(network, sn.scores.l1)
        cuts = find_cuts(network, scores, sn.Weight())
        for batch in options.batches:
            found = ratios(network, scores, cuts, shape, batch, options.count)
            low, median, high = np.percentile(found, (10, 50, 90))
            print(f"{model}, batch {batch}: {median:.3f} ({low:.3f} to {high:.3f})", flush=True)
            write(model, {"predictions": read(model).get("predictions", {}) | {str(batch): found}})


def ratios(network, scores, cuts, shape, batch, count):
    """Measured over predicted time of allocations drawn at random."""
    rng, conditions = np.random.default_rng(0), {"batch": batch, "threads": 1}
    table = measure_costs(network, scores, cuts, shape, seconds=0.5, **conditions)
    known, alike, found = np.array([cost.latency_us for cost in table.whole]), {}, []

    def plan_of(sparsities):
        return sn.compile(cuts.cut(network, scores, sparsities), shape, **conditions)

    for _ in range(count):
        drawn = np.minimum(1 - (1 - MOST_DRAWN) ** rng.random(len(cuts.units)), MOST_DRAWN)
        sparsities = dict(zip(cuts.units, drawn.tolist(), strict=True))
        predicted = table.predict("latency_us", sparsities)
        nearest = int(np.abs(np.log(known / predicted)).argmin())
        if nearest not in alike:
            alike[nearest] = plan_of(dict.fromkeys(cuts.units, table.sparsities[nearest]))
        own, beside = times_in_turn((plan_of(sparsities), alike[nearest]), 0.3)
        found.append(own / beside * known[nearest] / predicted)
    return found


def read(model):
    path = RESULTS / f"budgets-{model}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write(model, result):
    """Put these entries in the place of those of their names."""
    RESULTS.mkdir(exist_ok=True)
    result = read(model) | result | {"environment": describe_environment()}
    (RESULTS / f"budgets-{model}.json").write_text(json.dumps(result, indent=1) + "\n")


def table(results):
    """Both tables in Markdown, from the results by network."""
    rows = [row | {"model": model} for model, result in results.items() for row in result.get("rows", [])]
    return "\n\n".join([accuracy_table(rows), prediction_table(results)])


def accuracy_table(rows):
    """Means over the seeds, with the standard deviation, and what `auto_prune` has above the best rival, seed by seed.

    The cost is the real one, retrained, over that of the network that was found.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    ours = [method for method in methods if method not in SCOPES]
    head = (
        "network",
        "budget",
        "seeds",
        "dense",
        *methods,
        *(f"{name} above the best rival; loss, of its" for name in ours),
    )
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for model, kind, share in dict.fromkeys((row["model"], row["kind"], row["share"]) for row in rows):
        own = [row for row in rows if (row["model"], row["kind"], row["share"]) == (model, kind, share)]
        by = {method: [row for row in own if row["method"] == method] for method in methods}
        spent = {method: mean(row["spent"] for row in each) for method, each in by.items()}
        cells = [
            f"{spread(percent(each))}, loss {mean(row['loss'] for row in each):.4f}, "
            f"cost {spent[method] / spent['found']:.2f}"
            for method, each in by.items()
        ]
        best = max(SCOPES, key=lambda method: mean(row["accuracy"] for row in by[method]))
        least = min(SCOPES, key=lambda method: mean(row["loss"] for row in by[method]))
        for name in ours:
            more = [a - b for a, b in zip(percent(by[name]), percent(by[best]), strict=True)]
            part = [a["loss"] / b["loss"] for a, b in zip(by[name], by[least], strict=True)]
            cells.append(f"{spread(more, '+')} ({best}); {spread(part)} ({least})")
        start = mean(100 * row["dense"] for row in own)
        lines.append(
            f"| {model} | {100 * share:g} % of {KINDS[kind]} | {len(by['found'])} | {start:.2f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def percent(rows):
    return [100 * row["accuracy"] for row in rows]


def spread(values, sign=""):
    """Mean and standard deviation."""
    shown = f"{mean(values):{sign}.2f}"
    return f"{shown} ± {stdev(values):.2f}" if len(values) > 1 else shown


def prediction_table(results):
    lines = [
        "| network | batch | allocations | measured / predicted time | 10th to 90th percentile |",
        f"|{' --- |' * 5}",
    ]
    for model, result in results.items():
        for batch, found in result.get("predictions", {}).items():
            low, median, high = np.percentile(found, (10, 50, 90))
            lines.append(f"| {model} | {batch} | {len(found)} | {median:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "predictions", "table"))
    parser.add_argument("models", nargs="*", metavar="network", help=f"of {', '.join(SETTINGS)}; all unless given")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=0, help="of coefficients; 0: no such search")
    parser.add_argument("--count", type=int, default=30, help="allocations to predict")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    options = parser.parse_args()
    if not SETTINGS.keys() >= set(options.models):
        parser.error(f"the networks are {', '.join(SETTINGS)}")
    if options.what == "table":
        print(table({model: read(model) for model in options.models or SETTINGS}))
    else:
        {"run": run, "predictions": predictions}[options.what](options.models or list(SETTINGS), options)


if __name__ == "__main__":
    main()
