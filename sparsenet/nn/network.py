"""The container: named layers in a row, each reading the outputs of earlier ones."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..checks import check_float_array, check_fraction, check_known
from .layer import Layer, Parameter, Shape
from .layers import Weighted

INPUT = "input"


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


class Network:
    """Layers as a graph in topological order; the last node is the output.

    A node may name several inputs, and several nodes may read one output (the gradients then add up), so that a layer
    of two inputs is all that a residual or a concatenation takes.
    """

    def __init__(self, nodes: list[Node]):
        if not nodes:
            raise ValueError("a network needs at least one layer")
        known = {INPUT}
        for node in nodes:
            if node.name in known:
                raise ValueError(f"two layers are named {node.name!r} (and {INPUT!r} is taken)")
            check_known(f"inputs of {node.name!r}", node.inputs, known)
            known.add(node.name)
        self.nodes = list(nodes)

    def __getitem__(self, name: str) -> Layer:
        return self.layers()[name]

    def __repr__(self) -> str:
        lines = [f"  {node.name}: {node.layer!r}" for node in self.nodes]
        return "\n".join(["Network(", *lines, ")"])

    def layers(self) -> dict[str, Layer]:
        """The layers by name, in order."""
        return {node.name: node.layer for node in self.nodes}

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read the output of `name`."""
        return [node for node in self.nodes if name in node.inputs]

    def shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Output shape of every layer, without the sample axis, for inputs of `input_shape`; an error where none is."""
        shapes = {INPUT: tuple(input_shape)}
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
        return next((parameter.value.dtype for parameter in self.parameters().values()), np.dtype(np.float32))

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """Output of the last layer for a batch x."""
        outputs = {INPUT: self.check_input(x)}
        for node in self.nodes:
            outputs[node.name] = node.layer.forward(*(outputs[source] for source in node.inputs), training=training)
        return outputs[self.nodes[-1].name]

    __call__ = forward

    def backward(self, dy: np.ndarray, *, to_input: bool = True) -> np.ndarray | None:
        """Set every parameter's gradient from dy = dL/d(output); return dL/dx unless `to_input` is False."""
        gradients = {self.nodes[-1].name: dy}
        for node in reversed(self.nodes):
            dy = gradients.pop(node.name, None)
            if dy is None:  # nothing reads this node
                continue
            node.layer.set_gradients(dy)
            if not to_input and set(node.inputs) == {INPUT}:
                continue
            dx = node.layer.input_gradient(dy)
            for source, part in zip(node.inputs, dx if isinstance(dx, tuple) else (dx,), strict=True):
                gradients[source] = gradients[source] + part if source in gradients else part
        return gradients.get(INPUT)

    def parameters(self) -> dict[str, Parameter]:
        """Every trained parameter as `layer.parameter`."""
        return {
            f"{node.name}.{name}": parameter
            for node in self.nodes
            for name, parameter in node.layer.parameters().items()
        }

    def buffers(self) -> dict[str, np.ndarray]:
        """Every saved array that is not trained, as `layer.buffer`."""
        return {f"{node.name}.{name}": array for node in self.nodes for name, array in node.layer.buffers().items()}

    def weighted(self) -> dict[str, Weighted]:
        """The layers with a prunable weight, by name."""
        return {node.name: node.layer for node in self.nodes if isinstance(node.layer, Weighted)}

    def weights(self) -> dict[str, Parameter]:
        """The prunable weight of each convolution and linear layer, by the layer's name."""
        return {name: layer.weight for name, layer in self.weighted().items()}

    def masks(self) -> dict[str, np.ndarray]:
        """Mask of each prunable weight (True = kept), by the layer's name; all True where none was set."""
        weights = self.weights()
        return {n: np.ones(w.value.shape, bool) if w.mask is None else w.mask.copy() for n, w in weights.items()}

    def apply_masks(self, masks: Mapping[str, np.ndarray], *, factor: float = 0.0) -> None:
        """Delete the weights where a mask is False, or reduce them.

        Parameters
        ----------
        masks : dict of bool arrays
            By layer name; layers that are not named stay as they are.
        factor : float in [0, 1)
            0 deletes: the weight becomes zero and the mask keeps it there. Above 0 the losing weights are multiplied by
            it, once, and go on being trained: no mask is set.
        """
        check_fraction("factor", factor)
        layers = self.weighted()
        check_known("masks", masks, layers)
        for name, mask in masks.items():
            layer, value = layers[name], layers[name].weight.value
            if np.shape(mask) != value.shape or np.asarray(mask).dtype != bool:
                raise ValueError(f"the mask of {name!r} must be bool of shape {value.shape}, not {np.shape(mask)}")
            if factor:
                layer.set_weight(np.where(mask, value, value * value.dtype.type(factor)))
            else:
                layer.set_mask(mask)

    def sparsity(self) -> float:
        """Fraction of the prunable weights that the masks remove."""
        masks = self.masks().values()
        return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)

    def copy(self) -> "Network":
        """An independent copy: values, gradients, masks, optimiser state, running statistics."""
        return copy.deepcopy(self)

    def restore(self, other: "Network") -> None:
        """Become a copy of `other` in place (a rollback)."""
        self.nodes = copy.deepcopy(other).nodes

    def astype(self, dtype: np.dtype) -> "Network":
        """A copy in another floating type, for instance float64 to verify gradients."""
        return Network(
            [Node(node.name, convert_layer(node.layer, np.dtype(dtype)), node.inputs) for node in self.nodes]
        )


def convert_layer(layer: Layer, dtype: np.dtype) -> Layer:
    """A copy of `layer` with its arrays in `dtype`; whatever it remembered of a forward is dropped."""
    new = copy.copy(layer)
    for name, value in vars(layer).items():
        if name.startswith("_"):
            delattr(new, name)
        elif isinstance(value, Parameter):
            setattr(new, name, value.astype(dtype))
        elif isinstance(value, Layer):
            setattr(new, name, convert_layer(value, dtype))
        elif isinstance(value, np.ndarray):
            setattr(new, name, value.astype(dtype))
        else:
            setattr(new, name, copy.deepcopy(value))
    if "layer" in vars(new):  # a wrapper shares its bias with the layer it wraps
        new.bias = new.layer.bias
    return new
