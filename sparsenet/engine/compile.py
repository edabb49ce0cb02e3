"""`compile`: a network frozen for inference, each layer in its fastest form."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from ..checks import check_count, check_known, check_positive, check_shape
from ..machine.threads import available_threads
from ..machine.threads import threads as use_threads
from ..nn.layer import Shape
from ..nn.layers import Conv2d, Dropout, Flatten, Linear
from ..nn.network import Network, Node
from ..nn.normalization import WeightNorm
from .autotune import ANY_DENSE, FORMS, Setting, candidates, choose, pays
from .fallbacks import run_forward
from .folding import fold
from .lowering import is_pool_of_squares, lower_convolution, lower_plain, lower_single
from .plan import Plan, Step

OnLayer = Callable[[str, int, int], None]


def compile(
    network: Network,
    input_shape: Shape,
    *,
    batch: int = 1,
    threads: int | None = None,
    form: str | Mapping[str, str] = "auto",
    seconds: float = 0.05,
    on_layer: OnLayer | None = None,
) -> Plan:
    """Freeze a network into a plan of float32 kernels, compiled for batches of this size and for one sample.

    Parameters
    ----------
    input_shape : tuple
        Of one sample, (C, H, W) or (features,).
    batch : int
        The batch size that buffers and choices are made for.
    threads : int, optional
        Threads of the kernels (None: all available ones).
    form : str, or dict of layer name -> str
        How layers with weights run. A dict names forms exactly; layers that it does not name are "auto". Which when:

        - "auto": unless there is a reason. It measures the forms that may be the fastest for each layer, on this
          machine, at this batch and with these threads: "dense", "blas", "csr", and "bsr 2x1", "bsr 4x1", "bsr 16x1"
          where so many output channels share what they keep.
        - "dense": every weight multiplied, pruned ones as zeros: the baseline to compare with. The faster of "dense"
          (tiles in registers) and "blas".
        - "csr": direct sparse convolution, whatever the sparsity; to compare sparsities without a change of form.
        - "blas": im2col and BLAS, what the network itself does.
        - "csr loops": plain loops over CSR: to read, and as an oracle; "scipy": SciPy's own product, the reference.
    seconds : float
        Time to spend on measuring each layer.
    on_layer : function (name, number, count), optional
        Called before each layer that is not folded into one before it is compiled, the number-th of `count`: the first
        time this takes seconds, later kernels come from the cache.

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
    input_shape = check_shape("input_shape", input_shape)
    threads = available_threads() if threads is None else check_count("threads", threads)
    network = network.astype(np.float32)
    forms = _check_forms(form, network)
    shapes = network.shapes(input_shape)
    steps, done = [], set()
    with use_threads(threads):
        for number, node in enumerate(network.nodes, 1):
            if node.name in done:
                continue
            if on_layer is not None:
                on_layer(node.name, number, len(network.nodes))
            setting = _setting(node, shapes, batch, threads, seconds)
            step = _freeze(network, node, shapes, forms, setting)
            if step is not None:
                step.compile()
                steps.append(step)
                done |= set(step.folded)
        chosen = {step.name: step.form for step in steps if step.form}
        for parameter in network.parameters().values():
            parameter.state.clear()  # the copy is for inference
        again = partial(compile, network, input_shape, batch=batch, threads=threads, form=chosen)
        plan = Plan(steps, input_shape, shapes[network.nodes[-1].name], batch, threads, again)
        plan.warm_up()
    return plan


def _check_forms(form: str | Mapping[str, str], network: Network) -> dict[str, str]:
    """The form of each layer with weights."""
    names = network.weighted()
    if isinstance(form, str):
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
        return dict.fromkeys(names, ANY_DENSE if form == "dense" else form)
    check_known("form", form, names)
    return {name: form.get(name, "auto") for name in names}


def _setting(node: Node, shapes: dict[str, Shape], batch: int, threads: int, seconds: float) -> Setting:
    if len(node.inputs) != 1:
        raise ValueError(f"layer {node.name!r} joins branches: a plan takes layers of one input")
    return Setting(shapes[node.inputs[0]], shapes[node.name], batch, threads, seconds)


def _freeze(
    network: Network, node: Node, shapes: dict[str, Shape], forms: dict[str, str], setting: Setting
) -> Step | None:
    """The step of a node with the nodes folded into it; None for one that leaves no trace."""
    kind = type(node.layer)
    if kind in (Conv2d, Linear, WeightNorm):
        return _freeze_weighted(network, node, shapes, forms[node.name], setting)
    if kind in (Dropout, Flatten):
        return None
    compiled = lower_plain(node.layer, setting.input_shape, setting.shape)
    run = None if compiled else run_forward(node.layer)
    return Step(node.name, "", setting.input_shape, setting.shape, compiled=compiled, run=run)


def _freeze_weighted(network: Network, node: Node, shapes: dict[str, Shape], form: str, setting: Setting) -> Step:
    folded = fold(network, node)
    found = candidates(form, folded, setting)
    if not found:
        raise ValueError(f"form of {node.name!r} must be one that this layer can take, not {form!r}")
    chosen, candidate, measured = choose(found, setting)
    compiled, names = candidate.compiled, folded.names
    pool = _pool_behind(network, names[-1] if names else node.name)
    if compiled and pool and isinstance(folded.layer, Conv2d):
        fused = lower_convolution(folded, candidate.matrix(), setting.input_shape, pool=True)
        after = lower_plain(pool.layer, setting.shape, shapes[pool.name])
        if fused and (not measured or pays(fused, [compiled, after], setting)):
            compiled, names = fused, (*names, pool.name)
    single = None
    if compiled and setting.batch > 1 and not isinstance(folded.layer, Conv2d):
        single = lower_single(folded, folded.as_dense(1) if chosen == "dense" else folded.matrix)
    dense = chosen in ("dense", "blas")
    positions = int(np.prod(setting.shape[1:]))
    return Step(
        node.name,
        chosen,
        setting.input_shape,
        shapes[names[-1] if names else node.name],
        compiled,
        single,
        candidate.run,
        names,
        macs=(folded.weight.size if dense else folded.matrix.nnz) * positions,
        measured=measured,
        matrix=candidate.matrix,
    )


def _pool_behind(network: Network, name: str) -> Node | None:
    """The max pooling of 2 x 2 squares that alone reads the output of a node."""
    readers = network.consumers(name)
    if len(readers) == 1 and is_pool_of_squares(readers[0].layer):
        return readers[0]
    return None
