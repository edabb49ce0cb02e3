"""Which rows and columns of weights are one unit: labels are carried through the network, and sets that meet are one.

The network is only read: its nodes, and each layer's kind and sizes.
"""

from typing import Any

import numpy as np

from .graphs import outputs

Label = tuple[str, int, int]  # layer, axis of its parameters, index


def units(network: Any, x: np.ndarray) -> list[set[Label]]:
    """The labels of each unit, for inputs like x.

    A layer with weights labels its rows, and each of its columns joins what it reads; a batch normalisation and a
    depthwise convolution add a label to each channel that they pass on.
    """
    shapes = {name: y.shape[1:] for name, y in outputs(network, x[:1]).items()}
    carried: dict[str, list[set[Label]]] = {"input": [{("input", 0, c)} for c in range(shapes["input"][0])]}
    sets = list(carried["input"])
    for node in network.nodes:
        read = [carried[name] for name in node.inputs]
        carried[node.name], more = _carried(node, read, shapes)
        sets += [*carried[node.name], *more]
    return [unit for unit in _joined(sets) if unit]


def _carried(node: Any, read: list[list[set[Label]]], shapes: dict) -> tuple[list[set[Label]], list[set[Label]]]:
    """(labels of each output channel, further labels that are one)."""
    name, layer = node.name, getattr(node.layer, "layer", node.layer)
    kind, first = type(layer).__name__, read[0]
    if kind in ("Conv2d", "Linear"):
        rows = [{(name, 0, o)} for o in range(len(layer.weight.value))]
        if kind == "Conv2d" and layer.groups > 1:  # depthwise, as many outputs as inputs
            return [channel | row for channel, row in zip(first, rows, strict=True)], []
        return rows, [channel | {(name, 1, i)} for i, channel in enumerate(first)]
    if kind == "BatchNorm":
        return [channel | {(name, 0, c)} for c, channel in enumerate(first)], []
    if kind == "Add":
        return [set().union(*channels) for channels in zip(*read, strict=True)], []
    if kind == "Concat":
        return [channel for channels in read for channel in channels], []
    if kind == "PadShortcut":
        return [first[c] if c >= 0 else set() for c in layer.channels], []
    if kind == "Flatten":
        places = int(np.prod(shapes[node.inputs[0]][1:]))
        return [channel for channel in first for _ in range(places)], []
    return first, []


def _joined(sets: list[set[Label]]) -> list[set[Label]]:
    """Sets that share a label become one, until none do."""
    joined: list[set[Label]] = []
    for labels in sets:
        apart, labels = [], set(labels)
        for other in joined:
            if labels & other:
                labels |= other
            else:
                apart.append(other)
        joined = [*apart, labels]
    return joined


def filter_masks(network: Any, x: np.ndarray, scores: dict[str, np.ndarray], sparsity: float) -> dict[str, np.ndarray]:
    """Masks that take round(sparsity n) of each n units alike, those of the lowest sums over their rows.

    Units are alike that own as much in the same layers; those of the output layer, and of the inputs, stay. A unit
    takes its rows of the layers that make it; a depthwise convolution, which passes it on, is no such layer.
    """
    last = list(scores)[-1]
    made = [n for n in scores if getattr(getattr(network[n], "layer", network[n]), "groups", 1) == 1]
    alike: dict[str, list[tuple[float, int, set[Label]]]] = {}
    for number, unit in enumerate(sorted(units(network, x), key=sorted)):
        rows = {label for label in unit if label[0] in made and not label[1]}
        if rows and not any(label[0] == "input" or label[:2] == (last, 0) for label in unit):
            signature = str(sorted(label[:2] for label in unit))
            score = sum(float(scores[name][index].sum()) for name, _, index in rows)
            alike.setdefault(signature, []).append((score, number, rows))
    masks = {name: np.ones(array.shape, bool) for name, array in scores.items()}
    for group in alike.values():
        for _, _, rows in sorted(group, key=lambda entry: entry[:2])[
            : min(round(sparsity * len(group)), len(group) - 1)
        ]:
            for name, _, index in rows:
                masks[name][index] = False
    return masks
