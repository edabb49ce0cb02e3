"""A line of sums for one sample of a fully connected layer: the lanes are outputs, or entries of one output.

Sixteen weights are loaded at once; the numbers that they meet lie anywhere, and are gathered one by one. Each operation
is a few lines of NumPy here, and the LLVM instructions of `machine/gather.py` when compiled.
"""

import numpy as np

from ..machine import gather
from ..machine.vectors import LINE, compiled_as


@compiled_as(gather.zero_line)
def zero_line():
    """LINE zeros."""
    return np.zeros(LINE, np.float32)


@compiled_as(gather.load_line)
def load_line(numbers, k):
    """LINE numbers from the k-th on."""
    return numbers[k : k + LINE].copy()


@compiled_as(gather.add_lines)
def add_lines(line, other):
    """The sums of two lines, lane by lane."""
    return line + other


@compiled_as(gather.number_of)
def number_of(line, lane):
    """The number in one lane."""
    return line[lane]


@compiled_as(gather.fma_line)
def fma_line(line, values, offsets, k, count, x, base):
    """line[l] + values[k + l] x[base + offsets[k + l]] for l < count, line[l] for the others, which may be read too."""
    line, entries = line.copy(), slice(k, k + min(count, LINE))
    line[: min(count, LINE)] += values[entries] * x[base + offsets[entries].astype(np.intp)]
    return line


@compiled_as(gather.zero_pairs)
def zero_pairs():
    """2 LINE zeros: the sums of two samples, those of each output beside each other."""
    return np.zeros(2 * LINE, np.float32)


@compiled_as(gather.load_twice)
def load_twice(numbers, k):
    """LINE numbers from the k-th on, each for both samples."""
    return numbers[k : k + LINE].repeat(2)


@compiled_as(gather.fma_pairs)
def fma_pairs(line, values, offsets, k, count, pairs):
    """line[2 l + n] + values[k + l] pairs[2 offsets[k + l] + n], n = 0, 1: the same as `fma_line` for two samples."""
    line, lanes, entries = line.copy(), min(count, LINE), slice(k, k + min(count, LINE))
    places = 2 * offsets[entries].astype(np.intp)
    for n in range(2):
        line[n : 2 * lanes : 2] += values[entries] * pairs[places + n]
    return line


@compiled_as(gather.sum_line)
def sum_line(line):
    """The sum of a line: halves are added to each other."""
    while len(line) > 1:
        line = line[: len(line) // 2] + line[len(line) // 2 :]
    return line[0]
