"""Versions and machine, which are written down with every measurement."""

import platform
import sys
from importlib.metadata import version
from pathlib import Path

from .. import __version__


def describe_environment() -> dict[str, str]:
    """Versions of the packages, system, architecture and the processor's name."""
    return {
        "sparsenet": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in ("numpy", "scipy", "numba")},
        "platform": sys.platform,
        "machine": platform.machine(),
        "processor": processor_name(),
    }


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as Linux on x86 tells it in `cpuinfo`; elsewhere what Python knows, or the architecture."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
