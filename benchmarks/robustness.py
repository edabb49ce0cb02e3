"""Does pruning cost robustness that accuracy does not show? Dense against pruned LeNet-5 on MNIST, three seeds.

    SPARSENET_DATA=... python benchmarks/robustness.py run            about a quarter of an hour on one core
    python benchmarks/robustness.py table                             print what the stored result says
    python benchmarks/robustness.py plot                              and draw it

Every network of a seed starts from the same dense one and is trained for the same number of further epochs, plain or
with augmentation (shift, rotation, noise): what pruning does and what augmentation does are told apart by the two dense
ones that were trained as long. Shift, rotation and noise are corruptions of the suite, too: "seen" is the mean over
these three, "unseen" over blur, contrast, occlusion and quantised input. All networks run as compiled plans.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from subsets import part_of

import sparsenet as sn
from sparsenet.lab.environment import describe_environment

RESULT = Path(__file__).parent / "results" / "robustness.json"
SEEN = ("shift", "rotation", "noise")
AUGMENT = sn.augment.compose(sn.augment.shift(2), sn.augment.rotate(15), sn.augment.noise(0.2))
SPARSITIES = (0.9, 0.95, 0.98)
ROUNDS = (1, 2)  # epochs of retraining in each round of pruning
LR = 0.02


def load(images):
    data = sn.load_dataset("mnist")
    return part_of(data.train, images), data.test


def train(network, data, epochs, seed, lr=LR, **options):
    sn.fit(
        network,
        data,
        epochs=epochs,
        optimizer=sn.SGD(lr=lr, momentum=0.9, weight_decay=5e-4),
        lr_schedule=sn.optimizers.cosine,
        batch_size=64,
        seed=seed,
        threads=1,
        **options,
    )


def train_dense(model, data, epochs, seed, **options):
    network = model(data.x.shape[1:], 10, seed=seed)
    train(network, data, epochs, seed, **options)
    return network


def retrained(dense, data, sparsity, seed, **options):
    """A copy, pruned globally by magnitude in rounds and trained in each; a sparsity of 0 prunes nothing."""
    network = dense.copy()
    for number, (now, epochs) in enumerate(zip(sn.schedules.cubic(len(ROUNDS), sparsity), ROUNDS, strict=True)):
        if now:
            sn.prune(network, sn.score(network, sn.scores.l1), sn.strategies.proportional, now)
        train(network, data, epochs, [seed, number], **options)
    return network


def judged(network, test, corrupted, reference):
    """Clean figures are of all test images, corrupted ones of a part; `reference` are the dense network's logits."""
    plan = sn.compile(network, test.x.shape[1:], batch=256, threads=1)
    logits = sn.predict(plan, test.x, threads=1)
    found = sn.robustness(plan, corrupted, threads=1)
    return {
        "accuracy": sn.losses.accuracy(logits, test.y),
        "calibration": sn.losses.expected_calibration_error(logits, test.y),
        "agreement": sn.losses.agreement(logits, reference),
        "corrupted": found.corrupted,
        "mean": found.mean,
        "worst": found.worst,
        "sparsity": network.sparsity(),
    }


def run_seed(data, test, corrupted, seed, epochs):
    dense, rows = train_dense(sn.models.lenet_5, data, epochs, seed), {}
    reference = sn.predict(dense, test.x, threads=1)

    def note(name, network):
        rows[name] = judged(network, test, corrupted, reference)
        shown = {key: round(value, 4) for key, value in rows[name].items() if key != "corrupted"}
        print(f"seed {seed}, {name}: {shown}", flush=True)

    note("dense, as it was", dense)
    for sparsity in (0.0, *SPARSITIES):
        for how, options in {"plain": {}, "augmented": {"augment": AUGMENT}}.items():
            name = f"{100 * sparsity:g} %" if sparsity else "dense"
            note(f"{name}, {how}", retrained(dense, data, sparsity, seed, **options))
    return rows


def run(options):
    seeds = []
    data, test = load(options.images)
    corrupted = part_of(test, options.corrupted)
    for seed in options.seeds:
        seeds.append(run_seed(data, test, corrupted, seed, options.epochs))
        asked = {key: value for key, value in vars(options).items() if key != "what"}
        result = {"options": asked | {"rounds": ROUNDS, "lr": LR}, "seeds": seeds}
        result |= {"environment": describe_environment()}
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


def spread(values, digits=1, sign=""):
    """Mean and standard deviation, in percent."""
    deviation = f" ± {100 * stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{100 * mean(values):{sign}.{digits}f}{deviation}"


def format_table(stored):
    lines = [
        "| LeNet-5, retrained | clean | corrupted | worst | seen | unseen | calibration error | as the dense one |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in stored["seeds"][0]:
        rows = [rows[name] for rows in stored["seeds"]]
        columns = [[row[key] for row in rows] for key in ("accuracy", "mean", "worst")]
        for seen in (True, False):
            columns.append(
                [np.mean([v for name, v in row["corrupted"].items() if (name in SEEN) == seen]) for row in rows]
            )
        columns += [[row[key] for row in rows] for key in ("calibration", "agreement")]
        lines.append(f"| {name} | {' | '.join(map(spread, columns))} |")
    return "\n".join(lines)


def plot(stored, path):
    """Clean and corrupted accuracy against sparsity, a point for each network, a bar for the standard deviation."""
    import matplotlib.figure

    matplotlib.rcParams.update({"svg.hashsalt": "robustness", "svg.fonttype": "none", "font.size": 9})
    figure = matplotlib.figure.Figure(figsize=(7.2, 2.8), layout="constrained")
    figure.patch.set_facecolor("white")
    places = [0.0, *SPARSITIES]
    panels = {"accuracy": "clean", "mean": "corrupted, mean"}
    for axes, (key, title) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        for how, style in {"plain": "o-", "augmented": "s--"}.items():
            names = [f"{100 * sparsity:g} %, {how}" if sparsity else f"dense, {how}" for sparsity in places]
            values = [[100 * seed[name][key] for seed in stored["seeds"]] for name in names]
            means, deviations = map(mean, values), [stdev(each) if len(each) > 1 else 0 for each in values]
            axes.errorbar(range(len(places)), list(means), deviations, fmt=style, capsize=3, label=f"{how} retraining")
        axes.set_xticks(range(len(places)), ["dense", *(f"{100 * sparsity:g} %" for sparsity in SPARSITIES)])
        axes.set(title=f"accuracy, {title} (%)", xlabel="sparsity")
        axes.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower left")
    figure.savefig(path, metadata={"Date": None})


def add_options(parser):
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=12_000, help="to train on, as many of each class")
    parser.add_argument("--epochs", type=int, default=6, help="of the dense network")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "plot"))
    add_options(parser)
    parser.add_argument("--corrupted", type=int, default=2_000, help="test images that are corrupted")
    options = parser.parse_args()
    if options.what == "table":
        print(format_table(json.loads(RESULT.read_text())))
    elif options.what == "plot":
        plot(json.loads(RESULT.read_text()), RESULT.with_suffix(".svg"))
    else:
        run(options)


if __name__ == "__main__":
    main()
