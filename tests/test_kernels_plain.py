"""The kernel suite again in other modes and for other CPUs, each in a process and a cache folder of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding as llvm
import pytest

HERE = Path(__file__).parent


def run_again(tmp_path, tests, **variables):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)} | variables
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not torch", *tests],
        cwd=HERE.parent,
        env=environment,
        capture_output=True,
        text=True,
    )


TILES = [f"tests/test_{name}.py" for name in ("sparse", "sample_lanes", "tile_widths", "depthwise")]
KERNELS = ["tests/test_convolution.py", "tests/test_layers.py", *TILES, "tests/test_engine.py"]
ENGINE = [*TILES, "tests/test_engine.py"]
FEW = {"SPARSENET_TEST_EXAMPLES": "12"}
HASWELL = (
    "+avx,+avx2,+bmi,+bmi2,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+cx16,+fsgsbase"
)
AVX512 = HASWELL + ",+avx512f,+avx512vl,+avx512bw,+avx512dq,+avx512cd"
HAS_AVX512 = llvm.get_host_cpu_features().get("avx512f", False)
X86 = platform.machine() in ("x86_64", "AMD64")


@pytest.mark.modes
@pytest.mark.parametrize(
    ("variables", "tests", "select"),
    [
        # small sizes: plain Python is a thousand times slower
        pytest.param(
            {"NUMBA_DISABLE_JIT": "1"} | FEW,
            KERNELS,
            "test_sparse or test_depthwise or tile_widths or by_hand or gradients"
            " or csr_linear or csr_convolution or nothing or im2col_agrees",
            id="without JIT",
        ),
        pytest.param(
            {"NUMBA_BOUNDSCHECK": "1"} | FEW,
            KERNELS,
            "not threads and not masked_compacted",
            id="bounds checking",
        ),
        pytest.param(
            {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": HASWELL} | FEW,
            ENGINE,
            "",
            id="AVX2",
            marks=pytest.mark.skipif(not HAS_AVX512, reason="not another mode where the suite itself has no AVX-512"),
        ),
        pytest.param(
            {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""} | FEW,
            ENGINE,
            "",
            id="plain x86-64",
            marks=pytest.mark.skipif(not X86, reason="for x86-64"),
        ),
        pytest.param(
            {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": AVX512} | FEW,
            TILES,
            "",
            id="AVX-512",
            marks=pytest.mark.skipif(not HAS_AVX512, reason="for x86-64 with AVX-512"),
        ),
        pytest.param(
            {"NUMBA_ENABLE_AVX": "0"} | FEW, TILES, "tiles_of or lanes or line_of_sums", id="AVX switched off"
        ),
    ],
)
def test_the_kernels_in_another_mode(tmp_path, variables, tests, select):
    if os.environ.get("SPARSENET_TEST_EXAMPLES"):
        pytest.skip("already in another mode")
    result = run_again(tmp_path, [*tests, "-k", select], **variables)
    assert result.returncode == 0, result.stdout[-3000:]
    assert " passed" in result.stdout
