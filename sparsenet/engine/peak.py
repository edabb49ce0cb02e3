"""How fast one core multiplies and adds: what `Plan.explain` compares with, and how wide its arithmetic is."""

import time
from functools import cache

import numpy as np

from ..kernels.tile import keep, load, scale_add
from ..machine.jit import kernel
from ..machine.tile_shape import Tile
from ..machine.vectors import REGISTERS, WIDEST, WIDTHS

ROUNDS = 20_000  # of one timed call
SECONDS = 0.05
WHOLE = 1.5  # times as many numbers as with half registers: less is what two halves in turn do on a noisy machine


@kernel
def _multiply_registers(tile, rounds, numbers):
    """Multiply-adds on all registers but two, which hold the factor and the addend: no loads, no stores."""
    sums = load(tile, numbers, 0)
    for _ in range(rounds):
        sums = scale_add(sums, np.float32(0.5), np.float32(1))
    keep(tile, sums, numbers, 0)


@cache
def measure_peak(lanes: int = WIDEST) -> float:
    """Multiply-adds a second of one core in float32, all operands in registers: the best of many short runs."""
    tile = Tile(1, REGISTERS - 2, 1, width=lanes)
    numbers = np.zeros(tile.size * tile.lanes, np.float32)
    _multiply_registers(tile, 1, numbers)
    best, deadline = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < deadline:
        start = time.perf_counter()
        _multiply_registers(tile, ROUNDS, numbers)
        best = min(best, time.perf_counter() - start)
    return ROUNDS * numbers.size / best


@cache
def numbers_at_once() -> int:
    """Numbers that the machine multiplies in one go: those of a register, or half of them where it works in halves.

    Measured where registers hold 512 bits: there are CPUs of both kinds, and the instructions are the same.
    """
    if len(WIDTHS) == 1:
        return WIDEST
    half = WIDTHS[0]
    return WIDEST if measure_peak(WIDEST) > WHOLE * measure_peak(half) else half
