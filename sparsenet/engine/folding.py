"""Folding: a layer with weights becomes a sparse matrix, with what follows it folded in."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import bsr_array, csr_array

from ..kernels.sparse_matrix import to_bsr, to_csr, to_weight
from ..nn.layer import Layer
from ..nn.layers import Conv2d, Dropout, Linear, ReLU
from ..nn.merge import Add
from ..nn.network import Network, Node
from ..nn.normalization import BatchNorm, WeightNorm
from ..nn.pooling import MaxPool2d


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """A layer with weights as a plan holds it.

    Attributes
    ----------
    layer : Conv2d or Linear
        Where the sizes are; a weight normalisation around it is worked out.
    matrix : csr_array, (O, C kh kw)
        The kept weights, float32.
    bias : array, (O,)
    relu : bool
        Whether max(y, 0) follows.
    names : tuple of str
        The layers behind it that are folded in.
    """

    layer: Conv2d | Linear
    matrix: csr_array
    bias: np.ndarray
    relu: bool = False
    names: tuple[str, ...] = ()

    def scaled(self, scale: np.ndarray, shift: np.ndarray) -> "FoldedLayer":
        """This layer followed by y -> scale y + shift per output unit.

        Notes
        -----
        scale (W x + b) + shift = (scale W) x + (scale b + shift)
        """
        matrix = self.matrix.copy()
        matrix.data *= np.repeat(scale, np.diff(matrix.indptr)).astype(matrix.dtype)
        return replace(self, matrix=matrix, bias=self.bias * scale + shift)

    @property
    def groups(self) -> int:
        """Groups of a convolution."""
        return self.layer.groups if isinstance(self.layer, Conv2d) else 1

    @cached_property
    def weight(self) -> np.ndarray:
        """The weight as the dense forms multiply by it: (O, C / groups, kh, kw) or (O, I), zero where it is pruned."""
        shape = self.layer.weight.value.shape
        return to_weight(self.matrix, shape, self.groups)

    @property
    def sparsity(self) -> float:
        """Fraction of the weights that are pruned."""
        return 1 - self.matrix.nnz / self.weight.size

    def as_blocks(self, rows: int) -> csr_array | bsr_array:
        """The kept weights in blocks of rows x 1."""
        return self.matrix if rows == 1 else to_bsr(self.matrix, rows)

    def as_dense(self, rows: int) -> csr_array | bsr_array:
        """The same with every block of rows x 1 present: pruned weights are explicit zeros."""
        full = to_csr(self.weight, groups=self.groups)
        return full if rows == 1 else to_bsr(full, rows)


def fold(network: Network, node: Node) -> FoldedLayer:
    """The layer of `node`, with the batch normalisation, dropout and ReLU behind it folded in, as far as they go."""
    layer = node.layer.layer if isinstance(node.layer, WeightNorm) else node.layer
    weight = node.layer.weight
    folded = FoldedLayer(
        layer, to_csr(weight.effective(), weight.mask, getattr(layer, "groups", 1)), node.layer.bias.value.copy()
    )
    for follower in _followers(network, node):
        kind = type(follower.layer)
        if kind is BatchNorm:
            folded = folded.scaled(*follower.layer.affine())
        elif kind not in (ReLU, Dropout):
            break
        folded = replace(folded, names=(*folded.names, follower.name), relu=kind is ReLU)
        if kind is ReLU:
            break
    return folded


def relu_behind(network: Network, node: Node) -> tuple[str, ...]:
    """The names of a ReLU behind a node, and of the dropout between, where each has one reader; else none."""
    names = ()
    for follower in _followers(network, node):
        names += (follower.name,)
        if type(follower.layer) is ReLU:
            return names
        if type(follower.layer) is not Dropout:
            break
    return ()


def addition_behind(network: Network, name: str) -> Node | None:
    """The sum of two inputs that alone reads the output of a node, as one of them."""
    readers = network.consumers(name)
    if (
        len(readers) == 1
        and type(readers[0].layer) is Add
        and len(set(readers[0].inputs)) == 2 == len(readers[0].inputs)
    ):
        return readers[0]
    return None


def is_pool_of_squares(layer: Layer) -> bool:
    """Whether a layer is max pooling of 2 x 2 squares beside each other."""
    return type(layer) is MaxPool2d and layer.window == layer.stride == (2, 2) and layer.padding == (0, 0)


def pool_behind(network: Network, name: str) -> Node | None:
    """The max pooling of 2 x 2 squares that alone reads the output of a node."""
    readers = network.consumers(name)
    return readers[0] if len(readers) == 1 and is_pool_of_squares(readers[0].layer) else None


def _followers(network: Network, node: Node) -> Iterator[Node]:
    """The nodes behind `node` while each has one reader only."""
    readers = network.consumers(node.name)
    while len(readers) == 1 and len(readers[0].inputs) == 1:
        yield readers[0]
        readers = network.consumers(readers[0].name)
