"""`compile`: a network frozen for inference, each layer in its fastest form."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from ..checks import check_count, check_known, check_positive, check_shape
from ..machine.threads import available_threads
from ..machine.threads import threads as use_threads
from ..machine.vectors import WIDTHS
from ..nn.layer import Shape
from ..nn.layers import Conv2d, Dropout, Flatten, Linear
from ..nn.merge import Add
from ..nn.network import INPUT, Network, Node
from ..nn.normalization import WeightNorm
from .autotune import ANY_DENSE, FORMS, Candidate, Setting, candidates, choose, pays
from .fallbacks import run_forward
from .folding import FoldedLayer, addition_behind, fold, pool_behind, relu_behind
from .layout import Step
from .lowering import exact_form, is_in_place, lower_convolution, lower_merge, lower_plain, lower_single
from .plan import Plan
from .program import CompiledStep

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
          where so many output channels share what they keep. Where registers hold 512 bits, tiles may be made of whole
          ones or of halves ("csr, 16 lanes", "csr, 8 lanes"): unless the model is sure, both are measured. Of a
          depthwise convolution also what reads its input where it lies ("csr, in place", "dense, in place").
        - "dense": every weight multiplied, pruned ones as zeros: the baseline to compare with. The faster of "dense"
          (tiles in registers) and "blas".
        - "csr": direct sparse convolution, whatever the sparsity; to compare sparsities without a change of form.
        - "blas": im2col and BLAS, what the network itself does.
        - "csr loops": plain loops over CSR: to read, and as an oracle; "scipy": SciPy's own product, the reference.
    seconds : float
        Time to spend on measuring each layer; up to four times that where the clock contradicts the model of costs.
    on_layer : function (name, number, count), optional
        Called before each layer that is not folded into one before it is compiled, the number-th of `count`: the first
        time this takes seconds, later kernels come from the cache.

    Notes
    -----
    Batch normalisation is folded into the layer before it, ReLU into the kernel's last pass over its output, and behind
    a convolution max pooling of 2 x 2 squares too, where tiles allow it and it is faster (with a fixed choice, wherever
    they do), or the sum of two branches, which runs once the other one is there; all that where a layer has one reader.
    Dropout disappears. What is concatenated is written to its place at once, where both ends are compiled.

    The pattern of a sparse layer is its mask: a pruned weight contributes nothing, not 0 x NaN. A layer whose fastest
    form is a dense one multiplies pruned weights as zeros, as the network itself does.

    A plan gives the same bits for the same samples in every call, from whichever threads. Another plan of the same
    network, for another batch or other threads or with other choices, adds in another order.
    """
    check_count("batch", batch)
    check_positive("seconds", seconds)
    input_shape = check_shape("input_shape", input_shape)
    threads = available_threads() if threads is None else check_count("threads", threads)
    network = network.astype(np.float32)
    forms = _check_forms(form, network)
    frozen = _Frozen(network, input_shape, forms, partial(Setting, batch=batch, threads=threads, seconds=seconds))
    with use_threads(threads):
        for number, node in enumerate(network.nodes, 1):
            if on_layer is not None and not frozen.has(node):
                on_layer(node.name, number, len(network.nodes))
            frozen.add(node)
        steps, output_shape = frozen.steps, frozen.shapes[network.nodes[-1].name]
        chosen = {step.name: exact_form(step.form, step.compiled) for step in steps if step.form}
        for parameter in network.parameters().values():
            parameter.state.clear()  # the copy is for inference
        again = partial(compile, network, input_shape, batch=batch, threads=threads, form=chosen)
        plan = Plan(steps, input_shape, output_shape, batch, threads, again)
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


class _Frozen:
    """The steps of a network so far, node by node."""

    def __init__(self, network: Network, input_shape: Shape, forms: dict[str, str], setting: Callable[..., Setting]):
        self.network, self.forms, self.setting = network, forms, setting
        self.shapes = network.shapes(input_shape)
        self.steps: list[Step] = []
        # Steps that include a sum, by its name: they run where all that is added exists.
        self._held: dict[str, Step] = {}
        self._folded: set[str] = set()
        self._writer = {INPUT: INPUT}  # the step whose output a node's output is

    def has(self, node: Node) -> bool:
        """Whether a step before this node includes it."""
        return node.name in self._folded

    def add(self, node: Node) -> None:
        """Freeze the next node; nothing of it is left where it is folded into another, or changes no number."""
        kind = type(node.layer)
        if node.name in self._held:
            self._append(self._held.pop(node.name))
        elif node.name in self._folded:
            return
        elif kind in (Dropout, Flatten):
            self._writer[node.name] = self._writer[node.inputs[0]]
        elif kind in (Conv2d, Linear, WeightNorm):
            self._add_weighted(node)
        else:
            self._append(self._freeze_other(node))

    def _append(self, step: Step) -> None:
        """Take a step that names the nodes that it reads."""
        step.compile()
        self.steps.append(replace(step, inputs=tuple(self._writer[name] for name in step.inputs)))
        self._writer |= dict.fromkeys((step.name, *step.folded), step.name)
        self._folded |= set(step.folded)

    def _add_weighted(self, node: Node) -> None:
        step = self._freeze_weighted(node)
        if len(step.inputs) == 1:
            self._append(step)
            return
        (added,) = (name for name in step.folded if isinstance(self.network[name], Add))
        self._held[added] = step
        self._folded |= set(step.folded)

    def _freeze_other(self, node: Node) -> Step:
        shapes, shape = tuple(self.shapes[name] for name in node.inputs), self.shapes[node.name]
        folded = relu_behind(self.network, node) if type(node.layer) is Add else ()
        if len(shapes) > 1:
            compiled = lower_merge(node.layer, shapes, relu=bool(folded))
        else:
            compiled = lower_plain(node.layer, shapes[0], shape)
        run = None if compiled else run_forward(node.layer)
        return Step(node.name, "", shapes, shape, node.inputs, compiled=compiled, run=run, folded=folded)

    def _freeze_weighted(self, node: Node) -> Step:
        setting, form = self.setting(self.shapes[node.inputs[0]], self.shapes[node.name]), self.forms[node.name]
        folded = fold(self.network, node)
        found = candidates(form, folded, setting)
        if not found:
            raise ValueError(f"form of {node.name!r} must be one that this layer can take, not {form!r}")
        choice = choose(found, setting)
        chosen, candidate = choice.form.partition(",")[0], choice.candidate
        compiled, names, inputs = candidate.compiled, folded.names, node.inputs
        if compiled and compiled.samples == 1 and isinstance(folded.layer, Conv2d):
            compiled, names, inputs = self._fuse(node, folded, candidate, setting, fixed=not choice.measured)
        single = None
        if compiled and compiled.samples > 1:
            single = self._for_one_sample(folded, candidate, chosen, setting)
        dense = chosen in ("dense", "blas")
        positions = int(np.prod(setting.shape[1:]))
        return Step(
            node.name,
            chosen,
            tuple(self.shapes[name] for name in inputs),
            self.shapes[names[-1] if names else node.name],
            inputs,
            compiled,
            single,
            candidate.run,
            names,
            macs=(folded.weight.size if dense else folded.matrix.nnz) * positions,
            measured=choice.measured,
            costs=choice.costs,
            matrix=candidate.matrix,
        )

    def _for_one_sample(self, folded: FoldedLayer, candidate: Candidate, chosen: str, setting: Setting) -> CompiledStep:
        """What runs in the place of a step whose lanes are samples."""
        if isinstance(folded.layer, Conv2d):
            return lower_convolution(folded, candidate.matrix(), setting.input_shape)
        return lower_single(folded, folded.as_dense(1) if chosen == "dense" else folded.matrix)

    def _fuse(
        self, node: Node, folded: FoldedLayer, candidate: Candidate, setting: Setting, *, fixed: bool
    ) -> tuple[CompiledStep, tuple[str, ...], tuple[str, ...]]:
        """A convolution with what fits behind it, a sum or a max pooling: the step, all folded into it, what it reads.

        Unless the form was `fixed`, pooling is left apart where that is faster. A step that reads its input in place
        cannot be fused: it stays where it was asked for, and where no pooling follows.
        """
        names, matrix, tile = folded.names, candidate.matrix(), candidate.compiled.tile
        widths = (tile.width,) if tile else WIDTHS
        last = names[-1] if names else node.name
        in_place = is_in_place(candidate.compiled)
        pool = None if in_place and fixed else pool_behind(self.network, last)
        if pool:
            fused = lower_convolution(folded, matrix, setting.input_shape, pool=True, widths=widths)
            after = lower_plain(pool.layer, setting.shape, self.shapes[pool.name])
            if fused and (fixed or pays(fused, [candidate.compiled, after], setting)):
                return fused, (*names, pool.name), node.inputs
        added = None if folded.relu or in_place else addition_behind(self.network, last)
        if added and added.name not in self._folded:
            behind = relu_behind(self.network, added)
            ahead = replace(folded, relu=bool(behind))
            fused = lower_convolution(ahead, matrix, setting.input_shape, adds=True, widths=widths)
            if fused:
                (other,) = set(added.inputs) - {last}
                return fused, (*names, added.name, *behind), (*node.inputs, other)
        return candidate.compiled, names, node.inputs
