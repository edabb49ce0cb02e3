"""Training speed of SimpleCNN, batch 64, beside torch eager: images per second, interleaved processes, medians.

    python benchmarks/training_speed.py            needs torch (pip install 'sparsenet[bench]', or a CPU build)

Each engine runs in processes of its own, in turn, `--rounds` times; the figure is the median step of each process, and
of these the median with the lowest and the highest. Threads are set explicitly: for torch its own, for sparsenet ours
with one BLAS thread. Both train on the same data from the same initial weights; before anything is timed, the gradients
of a first step are compared. Allocators are the defaults on both sides.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BATCH, STEPS, WARMUP = 64, 40, 5
ENGINES = ("sparsenet", "torch", "torch channels-last")
RESULT = Path(__file__).parent / "results" / "training_speed.json"


def batch():
    rng = np.random.default_rng(0)
    return rng.standard_normal((BATCH, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, BATCH)


def ours():
    import sparsenet as sn
    from sparsenet.nn.training import train_step

    network, (x, y), sgd = sn.models.simple_cnn(seed=0), batch(), sn.SGD(lr=1e-3, momentum=0.9)
    return network, lambda: train_step(network, x, y, sgd, sgd.lr, sn.softmax_cross_entropy)


def theirs(threads, channels_last):
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)]
    model, (x, y) = nn.Sequential(*layers), batch()
    network, _ = ours()
    with torch.no_grad():
        for twin, parameter in zip(model.parameters(), network.parameters().values(), strict=True):
            twin.copy_(torch.from_numpy(parameter.value))
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if channels_last:
        model, x = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return model, step


def check_gradients():
    """The first step's gradients agree before anything is timed."""
    network, our_step = ours()
    model, their_step = theirs(1, False)
    our_step()
    their_step()
    for mine, twin in zip(network.parameters().values(), model.parameters(), strict=True):
        expected = twin.grad.numpy()
        np.testing.assert_allclose(mine.grad, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def worker(engine, threads):
    """Median seconds of a step, printed."""
    import sparsenet as sn

    step = ours()[1] if engine == "sparsenet" else theirs(threads, "channels-last" in engine)[1]
    with sn.threads(threads):
        times = []
        for _ in range(WARMUP + STEPS):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    print(statistics.median(times[WARMUP:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker[0], int(options.worker[1]))
        return
    from sparsenet.lab.experiment import describe_environment

    check_gradients()
    result = {"batch": BATCH, "environment": describe_environment(), "images_per_second": {}}
    for threads in (1, 2):
        speeds = {engine: [] for engine in ENGINES}
        for _ in range(options.rounds):
            for engine in ENGINES:
                command = [sys.executable, __file__, "--worker", engine, str(threads)]
                seconds = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                speeds[engine].append(BATCH / seconds)
        for engine, values in speeds.items():
            low, middle, high = min(values), statistics.median(values), max(values)
            result["images_per_second"][f"{engine}, {threads} threads"] = [low, middle, high]
            ratio = statistics.median(o / t for o, t in zip(speeds["sparsenet"], values, strict=True))
            speed = f"{middle:.0f} img/s ({low:.0f} to {high:.0f})"
            print(f"{threads} threads  {engine:20} {speed:28} sparsenet is {ratio:.2f}x")
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
