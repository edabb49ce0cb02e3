"""SimpleCNN beside torch eager: training and dense inference, images per second, interleaved processes, medians.

    python benchmarks/beside_torch.py            needs torch (pip install 'sparsenet[bench]', or a CPU build)

Each engine runs in processes of its own, in turn, `--rounds` times. A process gives the median time of its calls; shown
are the median over the processes with the lowest and the highest, and the median of the ratios within a round. Threads
are set explicitly: for torch its own, for sparsenet ours with one BLAS thread. All start from the same weights; before
anything is timed, outputs and gradients are compared. Allocators are the defaults on both sides. Inference is that of
the dense network, which is what every speed-up by sparsity in this package is measured against.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import sparsenet as sn
from sparsenet.lab.environment import describe_environment
from sparsenet.nn.training import train_step

CALLS, WARMUP = 40, 5
ENGINES = ("sparsenet", "torch", "torch channels-last")
TASKS = {"training, batch 64": 64, "inference, batch 64": 64, "inference, batch 1": 1}
RESULT = Path(__file__).parent / "results" / "beside_torch.json"


def make_batch(size):
    rng = np.random.default_rng(0)
    return rng.standard_normal((size, 1, 28, 28), dtype=np.float32), rng.integers(0, 10, size)


def prepare_ours(task, threads):
    """(network, call) of sparsenet; a call returns the output of inference."""
    network, (x, y), sgd = sn.models.simple_cnn(seed=0), make_batch(TASKS[task]), sn.SGD(lr=1e-3, momentum=0.9)
    if task.startswith("training"):
        return network, lambda: train_step(network, x, y, sgd, sgd.lr, sn.softmax_cross_entropy)
    plan = sn.compile(network, (1, 28, 28), batch=len(x), threads=threads)
    return network, lambda: plan(x)


def prepare_torch(task, threads, channels_last):
    """(model, call) of torch, from the same weights."""
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10)]
    model, (x, y) = nn.Sequential(*layers), make_batch(TASKS[task])
    with torch.no_grad():
        for twin, parameter in zip(model.parameters(), prepare_ours(task, 1)[0].parameters().values(), strict=True):
            twin.copy_(torch.from_numpy(parameter.value))
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    if channels_last:
        model, x = (thing.to(memory_format=torch.channels_last) for thing in (model, x))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def train():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    @torch.inference_mode()
    def infer():
        return model(x).numpy()

    return model, train if task.startswith("training") else infer


def check_agreement():
    """The outputs, and the gradients of a first step, agree before anything is timed."""
    for task in TASKS:
        network, our_call = prepare_ours(task, 1)
        model, their_call = prepare_torch(task, 1, False)
        pairs = [(our_call(), their_call())]
        if task.startswith("training"):
            parameters = zip(network.parameters().values(), model.parameters(), strict=True)
            pairs = [(mine.grad, twin.grad.numpy()) for mine, twin in parameters]
        for mine, expected in pairs:
            np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def work(engine, task, threads):
    """Print the median seconds of a call."""
    ours = engine == "sparsenet"
    call = (prepare_ours(task, threads) if ours else prepare_torch(task, threads, "channels-last" in engine))[1]
    with sn.threads(threads):
        times = []
        for _ in range(WARMUP + CALLS * (64 // TASKS[task])):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    print(statistics.median(times[WARMUP:]))


def compare(task, threads, rounds):
    """{engine: (lowest, median, highest images per second, median ratio of sparsenet to it)}."""
    speeds = {engine: [] for engine in ENGINES}
    for _ in range(rounds):
        for engine in ENGINES:
            command = [sys.executable, __file__, "--worker", engine, task, str(threads)]
            seconds = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            speeds[engine].append(TASKS[task] / seconds)
    return {
        engine: (
            min(values),
            statistics.median(values),
            max(values),
            statistics.median(o / t for o, t in zip(speeds["sparsenet"], values, strict=True)),
        )
        for engine, values in speeds.items()
    }


def print_table(result):
    print("| images per second (lowest to highest) | sparsenet | torch eager | sparsenet / torch | ", end="")
    print("torch channels-last | sparsenet / torch |\n| --- | --- | --- | --- | --- | --- |")
    for name, engines in result.items():
        cells = [f"{middle:,.0f} ({low:,.0f} to {high:,.0f})" for low, middle, high, _ in engines.values()]
        ratios = [f"{ratio:.2f}" for *_, ratio in engines.values()]
        print(f"| {name} | {cells[0]} | {cells[1]} | {ratios[1]} | {cells[2]} | {ratios[2]} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        engine, task, threads = options.worker
        work(engine, task, int(threads))
        return
    check_agreement()
    result = {}
    for task in TASKS:
        for threads in (1, 2):
            result[f"{task}, {threads} thread{'s' * (threads > 1)}"] = compare(task, threads, options.rounds)
    print_table(result)
    RESULT.write_text(json.dumps({"results": result, "environment": describe_environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
