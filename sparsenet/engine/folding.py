"""The weights of a layer as a plan holds them."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from .scipy_reference import to_csr


@dataclass(frozen=True, eq=False)
class FrozenWeights:
    """Weight, mask and bias of a layer with the batch normalisation behind it folded in.

    Notes
    -----
    y = scale (W x + b) + shift = (scale W) x + (scale b + shift), per output unit.
    """

    weight: np.ndarray
    mask: np.ndarray | None
    bias: np.ndarray

    def fold(self, scale: np.ndarray, shift: np.ndarray) -> "FrozenWeights":
        """These weights followed by y -> scale y + shift per output unit."""
        wide = scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return FrozenWeights(self.weight * wide, self.mask, self.bias * scale + shift)

    @property
    def pattern(self) -> np.ndarray:
        """The mask, all True where there is none."""
        return np.ones(self.weight.shape, bool) if self.mask is None else self.mask

    @property
    def full(self) -> np.ndarray:
        """The mask of the dense form."""
        return np.ones(self.weight.shape, bool)

    @property
    def sparsity(self) -> float:
        """Fraction of the weights that the mask removes."""
        return 1 - float(self.pattern.mean()) if self.weight.size else 0.0

    def csr(self, groups: int = 1) -> csr_array:
        """The kept weights as a CSR array (out, in * kh * kw)."""
        return to_csr(self.weight, self.mask, groups)
