"""The container: named layers in a row, each reading the outputs of earlier ones."""

import copy
import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..checks import (
    FLOATS,
    check_float_array,
    check_fraction,
    check_known,
    check_mask,
    check_output_gradient,
    check_shape,
)
from ..machine.threads import threads as use_threads
from .channels import INPUT
from .layer import Layer, Shape
from .layers import Weighted
from .normalization import NormalizedWeight
from .parameter import Parameter
from .units import take_along


@dataclass(frozen=True, eq=False)
class Node:
    """A layer under its name, and the names of the nodes whose outputs it reads (`"input"`: the network's input)."""

    name: str
    layer: Layer
    inputs: tuple[str, ...]


def chain(layers: Mapping[str, Layer]) -> "Network":
    """Network in which each layer reads the one before it."""
    before = [INPUT, *layers][:-1]
    return Network([Node(name, layer, (source,)) for (name, layer), source in zip(layers.items(), before, strict=True)])


class Graph:
    """A network with branches, written down layer by layer; `network()` makes it.

    Examples
    --------
    A residual block on features: y = relu(W2 relu(W1 x) + x).

    >>> from sparsenet.nn.layers import Linear, ReLU
    >>> from sparsenet.nn.merge import Add
    >>> graph = Graph()
    >>> graph.add("fc1", Linear(4, 4))
    'fc1'
    >>> y = graph.add("relu1", ReLU())
    >>> y = graph.add("fc2", Linear(4, 4))
    >>> y = graph.add("sum", Add(), y, "input")
    >>> y = graph.add("relu2", ReLU())
    >>> [(node.name, node.inputs) for node in graph.network().nodes][-2:]
    [('sum', ('fc2', 'input')), ('relu2', ('sum',))]
    """

    def __init__(self):
        self._nodes = []

    def add(self, name: str, layer: Layer, *sources: str | None) -> str:
        """Add a layer that reads `sources`, by name (unless given, or None: the layer added last); returns its name."""
        last = self._nodes[-1].name if self._nodes else INPUT
        named = tuple(last if source is None else source for source in sources) or (last,)
        self._nodes.append(Node(name, layer, named))
        return name

    def network(self) -> "Network":
        """The network of the layers so far."""
        return Network(self._nodes)


class Network:
    """Layers as a graph in topological order; the last node is the output.

    A node may name several inputs, and several nodes may read one output (the gradients then add up), so that a layer
    of two inputs is all that a residual or a concatenation takes.
    """

    def __init__(self, nodes: list[Node]):
        if not nodes:
            raise ValueError("a network needs at least one layer")
        known, unread = {INPUT}, set()
        for node in nodes:
            if node.name in known:
                raise ValueError(f"two layers are named {node.name!r} (and {INPUT!r} is taken)")
            if not node.name or {".", "/"} & set(node.name):
                raise ValueError(f"a layer's name must not be empty or hold '.' or '/', as {node.name!r} does")
            if not node.inputs:
                raise ValueError(f"layer {node.name!r} must read something: the input or a layer before it")
            check_known(f"inputs of {node.name!r}", node.inputs, known)
            _check_arity(node)
            known.add(node.name)
            unread = unread - set(node.inputs) | {node.name}
        if len(unread) > 1:
            raise ValueError(f"only the last layer may go unread, not {', '.join(map(repr, sorted(unread)))}")
        if len({id(node.layer) for node in nodes}) < len(nodes):
            raise ValueError("a layer object may stand in one place only: it remembers its last input")
        self.nodes = list(nodes)
        self._output = None
        self.parameters()  # refuses one that is shared

    def __getitem__(self, name: str) -> Layer:
        return self.layers()[name]

    def __repr__(self) -> str:
        before = [INPUT, *(node.name for node in self.nodes)]
        lines = [f"  {n.name}: {n.layer!r}{_reading(n, last)}" for n, last in zip(self.nodes, before, strict=False)]
        return "\n".join(["Network(", *lines, ")"])

    def layers(self) -> dict[str, Layer]:
        """The layers by name, in order."""
        return {node.name: node.layer for node in self.nodes}

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read the output of `name`."""
        return [node for node in self.nodes if name in node.inputs]

    def shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Output shape of every layer, without the sample axis, for inputs of `input_shape`; an error where none is."""
        shapes = {INPUT: check_shape("input_shape", input_shape)}
        for node in self.nodes:
            try:
                shapes[node.name] = node.layer.output_shape(*(shapes[source] for source in node.inputs))
            except ValueError as error:
                raise ValueError(f"layer {node.name!r}: {error}") from None
        return shapes

    def check_input(self, x: np.ndarray) -> np.ndarray:
        """Return x when it is a batch this network takes, else raise."""
        check_float_array("x", x)
        if x.ndim < 2:
            raise ValueError(f"x must be a batch: samples on the first axis, not shape {x.shape}")
        dtype = self.dtype
        if x.dtype != dtype:
            raise TypeError(f"x is {x.dtype} and the network {dtype}: convert one (x.astype, network.astype)")
        self.shapes(x.shape[1:])
        return x

    @property
    def dtype(self) -> np.dtype:
        """Floating type of the parameters (float32 unless converted)."""
        return next((parameter.dtype for parameter in self.parameters().values()), np.dtype(np.float32))

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Output of the last layer for a batch x: an array of the caller's own.

        Layers remember x itself for `backward`, without a copy: it must not be changed in between.
        """
        return self.outputs(x, training)[self.nodes[-1].name].copy()  # it may be x, or what a layer has saved

    __call__ = forward

    def outputs(self, x: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
        """What every layer makes of a batch, by name, and `"input"`: the forward pass, to be read and not written."""
        outputs = {INPUT: self.check_input(x)}
        with use_threads():  # as many as the caller set, and one for BLAS
            for node in self.nodes:
                outputs[node.name] = node.layer.forward(*(outputs[n] for n in node.inputs), training=training)
        output = outputs[self.nodes[-1].name]
        self._output = output.shape, output.dtype
        return outputs

    def backward(
        self, dy: np.ndarray, *, to_input: bool = True, record: dict[str, np.ndarray] | None = None
    ) -> np.ndarray | None:
        """Set every parameter's gradient from dy = dL/d(output); return dL/dx unless `to_input` is False.

        `record`, when given, receives dL/d(output) of every layer by name, to be read and not written.
        """
        if self._output is None:
            raise RuntimeError("backward needs a forward before it")
        self.parameters()  # refuses one that has come to be shared since
        upstream = check_output_gradient(dy, *self._output)
        gradients = {self.nodes[-1].name: upstream}
        with use_threads():
            for node in reversed(self.nodes):
                dy = gradients.pop(node.name)
                if record is not None:
                    record[node.name] = dy
                node.layer.set_gradients(dy)
                if not to_input and set(node.inputs) == {INPUT}:
                    continue
                dx = node.layer.input_gradient(dy)
                for source, part in zip(node.inputs, dx if isinstance(dx, tuple) else (dx,), strict=True):
                    gradients[source] = gradients[source] + part if source in gradients else part
        dx = gradients.get(INPUT)
        return dx.copy() if dx is not None and np.may_share_memory(dx, upstream) else dx

    def forget(self) -> None:
        """Drop what the layers saved of the last forward: it can be many times the size of the parameters."""
        self._output = None
        for layer in self.layers().values():
            forget(layer)

    def parameters(self) -> dict[str, Parameter]:
        """Every trained parameter as `layer.parameter`, live; an error where two places hold one and the same."""
        parameters = self._parameters()
        shared = self._shared()
        if shared:
            raise ValueError(
                f"{' and '.join(map(repr, shared))} share a Parameter: it may stand in one place only, "
                "for each backward sets its gradient anew"
            )
        for name, parameter in parameters.items():
            if isinstance(parameter, NormalizedWeight):
                raise ValueError(
                    f"{name!r} is the product of a weight normalisation, which cannot be trained itself: "
                    "its layer must stand inside a WeightNorm"
                )
        return parameters

    def _parameters(self) -> dict[str, Parameter]:
        return {
            f"{node.name}.{name}": parameter
            for node in self.nodes
            for name, parameter in node.layer.parameters().items()
        }

    def _shared(self) -> list[str]:
        """The names under which a Parameter stands that stands under another one too: a trained one, or a weight."""
        places = self._parameters()
        for name, layer in self.weighted().items():
            if layer.weight not in layer.parameters().values():  # weight normalisation trains (g, v) in its place
                places[f"{name}.weight"] = layer.weight
        counts = Counter(map(id, places.values()))
        return [name for name, parameter in places.items() if counts[id(parameter)] > 1]

    def buffers(self) -> dict[str, np.ndarray]:
        """Every saved array that is not trained, as `layer.buffer`; live, like the parameters."""
        return {f"{node.name}.{name}": array for node in self.nodes for name, array in node.layer.buffers().items()}

    def weighted(self) -> dict[str, Weighted]:
        """The layers with a prunable weight, by name."""
        return {node.name: node.layer for node in self.nodes if isinstance(node.layer, Weighted)}

    def weights(self) -> dict[str, Parameter]:
        """The prunable weight of each convolution and linear layer, by the layer's name."""
        return {name: layer.weight for name, layer in self.weighted().items()}

    def masks(self) -> dict[str, np.ndarray]:
        """A copy of each prunable weight's mask (True = kept), by the layer's name; all True where none was set."""
        weights = self.weights()
        return {n: np.ones(w.shape, bool) if w.mask is None else w.mask.copy() for n, w in weights.items()}

    def apply_masks(self, masks: Mapping[str, np.ndarray], *, factor: float = 0.0) -> None:
        """Delete the weights where a mask is False, or reduce them.

        Parameters
        ----------
        masks : dict of bool arrays
            By layer name; layers that are not named stay as they are.
        factor : float in [0, 1)
            0 deletes: the weight becomes zero and the mask keeps it there. Above 0 the losing weights are multiplied by
            it, once, and go on being trained: no mask is set.

        Notes
        -----
        What a unit (filter, neuron) owns goes with it:

        - A unit that no weight reaches emits exactly 0. It keeps none, or those that it keeps read such units only; its
          bias goes, and scale and shift of a batch normalisation behind it, whether a mask of filters or one of single
          weights emptied it. Once it has a weight again, they are trained again, as in a new layer (bias and shift 0,
          scale 1). The units of the output layer keep their bias.
        - A channel of a sum is 0 where it is in all terms, and read where anything behind the sum reads it.
        - Where a call takes whole units and nothing else (outputs or inputs of a layer with all the weights they still
          had, as `Filter` and `Channel` do), the weights go that read units which emit 0, and all that units own which
          nothing reads. A call that takes single weights takes no others: the sparsity is exactly that of the masks.

        A mask that was set at a layer (`layer.set_mask`, `layer.weight.mask = ...`) is as if it had always been there:
        `apply_masks({})` then does what the first rule says of units that keep nothing, bias, scale and shift. The
        weights that read such units stay, which changes no output, for it is not known whether whole units were taken;
        `remove_pruned_structures` removes them with the units. A unit that was given a weight again at the layer keeps
        its bias deleted.
        """
        check_fraction("factor", factor)
        layers = self.weighted()
        check_known("masks", masks, layers)
        masks = {n: check_mask(f"the mask of {n!r}", mask, layers[n].weight.shape) for n, mask in masks.items()}
        if factor:
            for name, mask in masks.items():
                layers[name].scale_weight(np.where(mask, 1.0, factor))
            return
        before = self.masks()
        for name, mask in masks.items():
            layers[name].set_mask(mask)
        take_along({node.name: (node.layer, node.inputs) for node in self.nodes}, before)

    def sparsity(self) -> float:
        """Fraction of the prunable weights that the masks remove."""
        masks = self.masks().values()
        total = sum(mask.size for mask in masks)
        return 1 - sum(int(mask.sum()) for mask in masks) / total if total else 0.0

    def copy(self) -> "Network":
        """An independent copy: values, gradients, masks, optimiser state, running statistics."""
        return self.astype(self.dtype)

    def restore(self, other: "Network") -> None:
        """Become a copy of `other` in place (a rollback).

        A layer of `other` whose name and type this network has too is restored into the layer that stands here, its
        parameters into the same `Parameter` objects and, where shapes agree, the same arrays. Any other layer comes as
        a copy, and so do layers that have come to share a parameter.
        """
        copies, own = other.copy().nodes, self.layers()
        for name in self._shared():
            own.pop(name.split(".")[0], None)
        self.nodes = [
            replace(node, layer=restore_layer(own[node.name], node.layer))
            if type(own.get(node.name)) is type(node.layer)
            else node
            for node in copies
        ]
        self._output = None

    def astype(self, dtype: np.dtype) -> "Network":
        """A copy in another floating type, for instance float64 to verify gradients."""
        if dtype not in FLOATS:
            raise TypeError(f"dtype must be float32 or float64, not {dtype}")
        self.parameters()  # a copy would undo the sharing of one without a word
        return Network(
            [Node(node.name, convert_layer(node.layer, np.dtype(dtype)), node.inputs) for node in self.nodes]
        )


def _check_arity(node: Node) -> None:
    """Refuse a node that reads more, or fewer, outputs than its layer takes."""
    try:
        inspect.signature(node.layer.output_shape).bind(*node.inputs)
    except TypeError:
        kind, count = type(node.layer).__name__, len(node.inputs)
        raise ValueError(
            f"layer {node.name!r}: {kind} does not take {count} inputs ({', '.join(node.inputs)})"
        ) from None


def _reading(node: Node, last: str) -> str:
    """What a node reads, where that is not the one before it alone."""
    return "" if node.inputs == (last,) else f" of {', '.join(node.inputs)}"


def forget(layer: Layer) -> None:
    """Drop what a layer, and one that it wraps, saved of the last forward."""
    layer.saved = None
    for value in vars(layer).values():
        if isinstance(value, Layer):
            forget(value)


def restore_layer(layer: Layer, copy_: Layer) -> Layer:
    """Move all that `copy_` holds into `layer`, keeping its parameters, buffers and wrapped layer as objects."""
    for name, new in vars(copy_).items():
        old = vars(layer).get(name)
        if type(old) is type(new) and isinstance(new, Parameter):
            old.restore(new)
        elif type(old) is type(new) and isinstance(new, Layer):
            restore_layer(old, new)
        elif isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and _alike(old, new):
            old[...] = new
        else:
            setattr(layer, name, new)
    return layer


def _alike(old: np.ndarray, new: np.ndarray) -> bool:
    return (old.shape, old.dtype) == (new.shape, new.dtype)


def convert_layer(layer: Layer, dtype: np.dtype) -> Layer:
    """An independent copy of `layer` with its arrays in `dtype`, without what it saved of a forward."""
    new, memo = copy.copy(layer), {}
    for name, value in vars(layer).items():
        if name == "saved":
            converted = None
        elif isinstance(value, Parameter):
            converted = value.astype(dtype)
        elif isinstance(value, Layer):
            converted = convert_layer(value, dtype)
        elif isinstance(value, np.ndarray) and value.dtype in FLOATS:
            converted = value.astype(dtype)
        else:
            converted = copy.deepcopy(value, memo)
        setattr(new, name, converted)
    return new
