"""Does a strength that is found beat one that is stated? `auto_prune` beside uniform, global and ERK pruning.

    python benchmarks/budgets.py --model lenet_5 --seeds 3 --out result.json      on the built-in digits, some minutes

A network is trained; then, for a share of its bytes, multiply-adds or microseconds, `auto_prune` finds one within it.
The rivals prune by the same criterion, in the same rounds with the same retraining, to the highest cost within the same
budget that bisection over their one sparsity finds. Test accuracy and loss; the real figure beside the predicted one.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import mean

import sparsenet as sn
from sparsenet.lab.cost_table import whole_costs
from sparsenet.lab.environment import describe_environment
from sparsenet.lab.tables import format_table

SCOPES = {"uniform": "layer", "global": "global", "erk": "erk"}
SHARES = {"size_bytes": (0.1, 0.05), "latency_us": (0.25, 0.15), "macs": (0.1, 0.05)}
ROUNDS = 3


def pruned(network, sparsity, scope, retrain, rounds):
    found = network.copy()
    for number in range(1, rounds + 1):
        part = 1 - (1 - number / rounds) ** 3
        masks = sn.make_masks(sn.score(found, sn.scores.l1), part * sparsity, scope=scope, current=found.masks())
        found.apply_masks(masks)
        retrain(found)
    return found


def rival(network, scope, kind, limit, figure, retrain):
    """The network of the lowest sparsity whose masked cost is within the limit."""
    low, high = 0.0, 0.998
    for _ in range(9):
        middle = (low + high) / 2
        within = figure(pruned(network, middle, scope, lambda net: None, 1), kind) <= limit
        low, high = (low, middle) if within else (middle, high)
    return pruned(network, high, scope, retrain, ROUNDS)


def compare(data, model, seed, lr, epochs, retrain_epochs, shares):
    network = sn.models.MODELS[model](data.input_shape, data.classes, seed=seed)
    schedule = sn.optimizers.cosine
    fit = partial(sn.fit, data=data.train, lr_schedule=schedule, batch_size=32, threads=1)
    fit(network, epochs=epochs, seed=seed, optimizer=sn.SGD(lr=lr, momentum=0.9, weight_decay=5e-4))

    def retrain(net):
        fit(net, epochs=retrain_epochs, seed=seed, optimizer=sn.SGD(lr=lr, momentum=0.9, weight_decay=5e-4))

    def figure(net, kind):
        (cost,) = whole_costs([net], data.input_shape, batch=1, threads=1, seconds=0.2)
        return getattr(cost, kind)

    judge = partial(sn.evaluate, data=data.test, threads=1)
    for kind, parts in shares.items():
        for part in parts:
            limit = part * figure(network, kind)
            found, report = sn.auto_prune(
                network, data.train, data.validation, sn.Budget(**{kind: limit}), retrain=retrain, threads=1
            )
            tried = {"ratio": report.chosen.ratio, "tries": len(report.tries)}
            networks = {"found": found} | {
                name: rival(network, scope, kind, limit, figure, retrain) for name, scope in SCOPES.items()
            }
            for name, net in networks.items():
                accuracy, loss = judge(net)
                row = {"seed": seed, "kind": kind, "part": part, "limit": limit, "method": name, "accuracy": accuracy}
                row |= {"loss": loss, "measured": figure(net, kind), "dense": judge(network).accuracy}
                yield row | (tried if name == "found" else {})


def table(rows):
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [("accuracy, % (loss)", *methods)]
    for kind, part in dict.fromkeys((row["kind"], row["part"]) for row in rows):
        cells = []
        for method in methods:
            own = [row for row in rows if (row["kind"], row["part"], row["method"]) == (kind, part, method)]
            cells.append(f"{100 * mean(r['accuracy'] for r in own):.2f} ({mean(r['loss'] for r in own):.3f})")
        lines.append((f"{part:.0%} of {kind}", *cells))
    return format_table(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--model", default="lenet_5")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--retrain-epochs", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=tuple(SHARES), default=tuple(SHARES))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data, rows = sn.load_dataset(options.dataset), []
    for seed in range(options.seeds):
        shares = {kind: SHARES[kind] for kind in options.kinds}
        for row in compare(data, options.model, seed, options.lr, options.epochs, options.retrain_epochs, shares):
            rows.append(row)
            print(
                {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True
            )
    print(table(rows))
    if options.out:
        settings = {key: str(value) for key, value in vars(options).items() if key != "out"}
        options.out.write_text(json.dumps({"settings": settings, "environment": describe_environment(), "rows": rows}))


if __name__ == "__main__":
    main()
