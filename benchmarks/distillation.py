"""Does the dense network help its pruned copy as a teacher? LeNet-300-100 on MNIST, three seeds, equal epochs.

    SPARSENET_DATA=... python benchmarks/distillation.py run          about five minutes on one core
    python benchmarks/distillation.py table                           print what the stored result says

Both copies are pruned alike and retrained on the same images in the same order; one learns from the labels alone, the
other from the labels and the dense network's outputs (temperature 4, weight 0.5: the defaults, none was tuned). The
gradient of the two losses differs in size, so that one learning rate for both compares rates as well as teachers. Hence
two: 0.02, which is too low for three epochs, and 0.2, in a trial on two seeds the best of 0.02, 0.05, 0.1 and 0.2 with
and without a teacher.
"""

import argparse
import json
from pathlib import Path

import robustness
from robustness import ROUNDS, load, retrained, spread, train_dense

import sparsenet as sn
from sparsenet.lab.environment import describe_environment

RESULT = Path(__file__).parent / "results" / "distillation.json"
SPARSITIES = (0.95, 0.98, 0.99)
RATES = (0.02, 0.2)
DENSE_RATE = 0.1
TEMPERATURE, WEIGHT = 4.0, 0.5


def judged(network, test, reference):
    logits = sn.predict(sn.compile(network, test.x.shape[1:], batch=256, threads=1), test.x, threads=1)
    return {
        "accuracy": sn.losses.accuracy(logits, test.y),
        "loss": sn.softmax_cross_entropy(logits, test.y)[0],
        "calibration": sn.losses.expected_calibration_error(logits, test.y),
        "agreement": sn.losses.agreement(logits, reference),
        "sparsity": network.sparsity(),
    }


def taught(dense, data, sparsity, seed, **options):
    """Retrained with the dense network's logits beside the labels."""
    y = sn.with_teacher(data.y, sn.predict(dense, data.x, threads=1))
    loss = sn.distillation(temperature=TEMPERATURE, weight=WEIGHT)
    options |= {"loss": loss, "metric": sn.label_accuracy}
    return retrained(dense, sn.Split(data.x, y), sparsity, seed, **options)


def run_seed(data, test, seed, epochs):
    dense, rows = train_dense(sn.models.lenet_300_100, data, epochs, seed, lr=DENSE_RATE), {}
    reference = sn.predict(dense, test.x, threads=1)

    def note(name, network):
        rows[name] = judged(network, test, reference)
        print(f"seed {seed}, {name}: { {key: round(value, 4) for key, value in rows[name].items()} }", flush=True)

    note("the dense network", dense)
    for rate in RATES:
        for sparsity in SPARSITIES:
            named = f"{100 * sparsity:g} %, learning rate {rate:g}"
            note(f"{named}, labels", retrained(dense, data, sparsity, seed, lr=rate))
            note(f"{named}, distilled", taught(dense, data, sparsity, seed, lr=rate))
    return rows


def run(options):
    seeds = []
    data, test = load(options.images)
    for seed in options.seeds:
        seeds.append(run_seed(data, test, seed, options.epochs))
        asked = {key: value for key, value in vars(options).items() if key != "what"}
        asked |= {"rounds": ROUNDS, "dense_lr": DENSE_RATE, "temperature": TEMPERATURE, "weight": WEIGHT}
        result = {"options": asked, "seeds": seeds}
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result | {"environment": describe_environment()}, indent=1) + "\n")


def format_table(stored):
    """Beside the accuracy what the teacher changed, seed by seed, against the row before it, without one."""
    lines = [
        "| LeNet-300-100, retrained | accuracy | against labels alone | loss | calibration error | as the dense one |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in stored["seeds"][0]:
        rows, alone = [rows[name] for rows in stored["seeds"]], name.replace("distilled", "labels")
        accuracy, calibration, agreement = (
            spread([row[key] for row in rows], 2) for key in ("accuracy", "calibration", "agreement")
        )
        gains = ""
        if name != alone:
            gains = spread([rows[name]["accuracy"] - rows[alone]["accuracy"] for rows in stored["seeds"]], 2, "+")
        loss = sum(row["loss"] for row in rows) / len(rows)
        lines.append(f"| {name} | {accuracy} | {gains} | {loss:.3f} | {calibration} | {agreement} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    robustness.add_options(parser)
    options = parser.parse_args()
    if options.what == "table":
        print(format_table(json.loads(RESULT.read_text())))
    else:
        run(options)


if __name__ == "__main__":
    main()
