"""`compile`: a network frozen for inference, each layer in its fastest form."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..checks import check_count, check_positive
from ..machine.threads import available_threads
from ..machine.threads import threads as use_threads
from ..nn.layer import Shape
from ..nn.layers import Conv2d, Dropout, Flatten, Linear, ReLU
from ..nn.network import Network, Node
from ..nn.normalization import BatchNorm, WeightNorm
from .autotune import FORMS, candidates, choose, pays
from .fallbacks import Step, freeze_plain, is_pool_of_squares, run_forward
from .folding import FrozenWeights
from .lowering import native_single
from .plan import Plan
from .program import Native


def compile(
    network: Network,
    input_shape: Shape,
    *,
    batch: int = 1,
    threads: int | None = None,
    form: str = "auto",
    seconds: float = 0.05,
) -> Plan:
    """Freeze a network into a plan of float32 kernels.

    Parameters
    ----------
    input_shape : tuple
        Of one sample, (C, H, W) or (features,).
    batch : int
        The batch size that buffers and choices are made for.
    threads : int, optional
        Threads of the kernels (None: all available ones).
    form : str
        How layers with weights run. "auto" measures the forms that may be the fastest for each layer, on this machine,
        at this batch and with these threads: "dense" (by tiles in registers), "blas" (im2col and BLAS), "csr" (direct
        sparse convolution), "bsr 2x1", "bsr 4x1" and "bsr 16x1" (the same for blocks of output channels). "dense"
        measures the dense forms only; "csr" and "blas" are fixed choices, as are "loops" (plain loops over CSR, to
        read) and "scipy" (SciPy's own sparse product, the reference).
    seconds : float
        Time to spend on measuring each layer.

    Notes
    -----
    Batch normalisation is folded into the layer before it, ReLU into the kernel's last pass over its output, and behind
    a convolution max pooling of 2 x 2 squares too, where tiles allow it and it is faster (with a fixed choice, wherever
    they do); dropout disappears. The pattern of a sparse layer is its mask: a pruned weight contributes nothing, not
    0 x NaN. A layer whose fastest form is a dense one multiplies pruned weights as zeros, as the network itself does.

    A plan gives the same bits for the same samples in every call, from whichever threads. Another plan of the same
    network, for another batch or other threads or with other choices, adds in another order.
    """
    check_count("batch", batch)
    check_positive("seconds", seconds)
    threads = available_threads() if threads is None else check_count("threads", threads)
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
    network = network.astype(np.float32)
    shapes = network.shapes(tuple(input_shape))
    steps, done = [], set()
    with use_threads(threads):
        for node in network.nodes:
            if node.name in done:
                continue
            step = _freeze(network, node, shapes, batch, threads, form, seconds)
            if step is not None:
                steps.append(step)
                done |= set(step.folded)
    return Plan(steps, input_shape, shapes[network.nodes[-1].name], batch, threads)


def _freeze(
    network: Network, node: Node, shapes: dict[str, Shape], batch: int, threads: int, form: str, seconds: float
) -> Step | None:
    """The step of a node with the nodes folded into it; None for one that leaves no trace."""
    if len(node.inputs) != 1:
        raise ValueError(f"layer {node.name!r} joins branches: a plan takes layers of one input")
    kind, source = type(node.layer), node.inputs[0]
    if kind in (Conv2d, Linear, WeightNorm):
        return _freeze_weighted(network, node, shapes, batch, threads, form, seconds)
    if kind in (Dropout, Flatten):
        return None
    native = freeze_plain(node.layer, shapes[source], shapes[node.name])
    run = None if native else run_forward(node.layer)
    return Step(node.name, "", shapes[source], shapes[node.name], native=native, run=run)


def _followers(network: Network, node: Node) -> Iterator[Node]:
    """The nodes behind `node` while each has one reader only."""
    readers = network.consumers(node.name)
    while len(readers) == 1 and len(readers[0].inputs) == 1:
        yield readers[0]
        readers = network.consumers(readers[0].name)


def _fold(network: Network, node: Node) -> tuple[FrozenWeights, list[str], bool]:
    """Weights with what follows folded in, the names of the folded layers, and whether the last of them is a ReLU."""
    layer = node.layer
    frozen = FrozenWeights(layer.weight.effective(), layer.weight.mask, layer.bias.value)
    folded = []
    for follower in _followers(network, node):
        kind = type(follower.layer)
        if kind is BatchNorm:
            frozen = frozen.fold(*follower.layer.affine())
        elif kind not in (ReLU, Dropout):
            break
        folded.append(follower.name)
        if kind is ReLU:
            return frozen, folded, True
    return frozen, folded, False


def _freeze_weighted(
    network: Network, node: Node, shapes: dict[str, Shape], batch: int, threads: int, form: str, seconds: float
) -> Step:
    frozen, folded, relu = _fold(network, node)
    layer = node.layer.layer if isinstance(node.layer, WeightNorm) else node.layer
    source, shape = node.inputs[0], shapes[node.name]
    found = candidates(form, layer, frozen, relu, shapes[source], batch, threads)
    chosen, candidate, measured = choose(found, shapes[source], shape, batch, threads, seconds)
    native, run = (candidate, None) if isinstance(candidate, Native) else (None, candidate)
    pool = _pool_behind(network, folded[-1] if folded else node.name)
    if native and pool and isinstance(layer, Conv2d):
        fused, after = found[chosen](pool=True), freeze_plain(pool.layer, shape, shapes[pool.name])
        if fused and (not measured or pays(fused, [native, after], batch, threads, seconds)):
            native, folded = fused, [*folded, pool.name]
    single = None
    if native and batch > 1 and not isinstance(layer, Conv2d):
        single = native_single(frozen, frozen.full if chosen == "dense" else frozen.pattern, relu)
    kept = frozen.pattern.sum() if chosen not in ("dense", "blas") else frozen.weight.size
    out = shapes[folded[-1] if folded else node.name]
    step = Step(node.name, chosen, shapes[source], out, native, single, run, tuple(folded))
    return replace(step, kept=int(kept) * int(np.prod(shape[1:])), measured=measured)


def _pool_behind(network: Network, name: str) -> Node | None:
    """The max pooling of 2 x 2 squares that alone reads the output of a node."""
    readers = network.consumers(name)
    if len(readers) == 1 and is_pool_of_squares(readers[0].layer):
        return readers[0]
    return None
