"""Latency of the dense and the compacted networks that `benchmarks/mnist.py targets` has stored, side by side.

    python benchmarks/latency.py [--threads 1]

Both run as dense plans, interleaved in one process, for batch 1 and 64; the stored JSON holds medians and quartiles.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

import sparsenet as sn
from sparsenet.lab.environment import describe_environment
from sparsenet.lab.latency import measure

HERE = Path(__file__).parent
BASELINE = "SimpleCNN, dense"
FORMS = {
    BASELINE: ("dense", "dense"),
    "channelwise, half, compacted": ("channelwise-0.5", "dense"),
    "proportional 90 %, sparse": ("proportional-0.9", "auto"),
    "proportional 95 %, sparse": ("proportional-0.95", "auto"),
    "proportional 98 %, sparse": ("proportional-0.98", "auto"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    result = {"threads": options.threads, "environment": describe_environment(), "latency_us": {}}
    print("| network, seed 0 | batch 1, µs | speed-up | batch 64, µs | speed-up |\n| --- | --- | --- | --- | --- |")
    rows = {name: [] for name in FORMS}
    for batch in (1, 64):
        x = np.random.default_rng(0).random((batch, 1, 28, 28), np.float32)
        plans = {}
        for name, (file, form) in FORMS.items():
            network = sn.load_network(HERE / "networks" / f"{file}-0.sparsenet")
            plans[name] = sn.compile(network, (1, 28, 28), batch=batch, threads=options.threads, form=form)
        latency = measure({name: partial(plan, x) for name, plan in plans.items()}, options.seconds)
        for name, each in latency.items():
            ratio = latency[BASELINE].median_us / each.median_us
            rows[name].append(f"{each.median_us:,.0f} ({each.low_us:,.0f} to {each.high_us:,.0f}) | {ratio:.2f}")
            result["latency_us"][f"{name}, batch {batch}"] = [each.low_us, each.median_us, each.high_us]
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")
    (HERE / "results" / "latency.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
