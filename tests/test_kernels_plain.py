"""The kernel suite again without the JIT, and with bounds checking, each in a process and a cache folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def run_again(tmp_path, tests, **variables):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)} | variables
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


SUITE = ["tests/test_convolution.py", "tests/test_layers.py", "tests/test_engine.py"]


@pytest.mark.parametrize(
    ("variables", "select"),
    [
        # small sizes: plain Python is a thousand times slower
        (
            {"NUMBA_DISABLE_JIT": "1"},
            "by_hand or gradients or csr_linear or csr_convolution or nothing or im2col_agrees",
        ),
        ({"NUMBA_BOUNDSCHECK": "1"}, "not torch and not threads"),
    ],
    ids=["without JIT", "with bounds checking"],
)
def test_the_kernels_in_another_mode(tmp_path, variables, select):
    if os.environ.get("NUMBA_DISABLE_JIT") or os.environ.get("NUMBA_BOUNDSCHECK"):
        pytest.skip("already in another mode")
    result = run_again(tmp_path, [*SUITE, "-k", select], **variables)
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout


def test_the_cache_on_disk_hits_in_a_new_process(tmp_path):
    code = (
        "import numpy as np; from sparsenet.kernels import conv\n"
        "one = np.ones((1, 1, 3, 3), np.float32)\n"
        "conv.conv2d(one, one, np.zeros(1, np.float32), (1, 1), (0, 0))\n"
        "print(sum(conv._forward.stats.cache_hits.values()), sum(conv._forward.stats.cache_misses.values()))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert [run.stdout.strip() for run in runs] == ["0 1", "1 0"]
