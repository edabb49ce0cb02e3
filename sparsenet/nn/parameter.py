"""A trained array with its gradient, its mask and what the optimiser remembers of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import check_float_array, check_mask, check_plain


class Parameter:
    """A trained array with all that belongs to it: `sparsenet` keeps this state nowhere else.

    Parameters
    ----------
    value : float32 or float64 array
    grad : array, optional
        Zeros unless given.
    mask : bool array, optional
        True = kept.
    state : dict of arrays, optional

    Attributes
    ----------
    value : array
        Live: writing into it changes the parameter. A place where the mask is False is zero whenever the value is read,
        whatever was written there. Assigning an array copies it.
    grad : array
        The gradient of the loss; each backward sets it, none adds to it. Live; assigning an array copies it.
    mask : bool array or None
        Not writable; assigning a mask copies it and zeroes what it prunes. None: nothing is pruned.
    state : dict of arrays
        What the optimiser remembers (velocity, moments, steps): arrays of the parameter's own, masked in place.
    """

    def __init__(
        self,
        value: np.ndarray,
        grad: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        state: Mapping[str, np.ndarray] | None = None,
    ):
        self._value = check_float_array("value", value).copy()
        self.set_grad(np.zeros_like(self._value) if grad is None else np.array(grad))
        self.state = {name: np.array(array) for name, array in (state or {}).items()}
        self._mask = self._kept_bits = None
        self.mask = mask

    @property
    def value(self) -> np.ndarray:
        """The trained array; zero where the mask is False."""
        return self.effective()

    @value.setter
    def value(self, value: np.ndarray) -> None:
        if value is not self._value:  # `parameter.value -= step` writes into the array and then assigns it
            self._value = self._checked(value)

    @property
    def grad(self) -> np.ndarray:
        """The gradient of the loss as the last backward left it."""
        return self._grad

    @grad.setter
    def grad(self, grad: np.ndarray) -> None:
        self._grad = np.array(check_plain("grad", grad))  # a mask zeroes it in place

    def set_grad(self, grad: np.ndarray) -> None:
        """Take `grad` over without a copy: for layers, which have just made it."""
        self._grad = grad

    @property
    def mask(self) -> np.ndarray | None:
        """True = kept; None where no mask was set.

        A parameter knows no network: where a mask assigned here leaves a unit without weights, `apply_masks({})` of the
        network makes what belongs to the unit follow (see there).
        """
        return self._mask

    @mask.setter
    def mask(self, mask: np.ndarray | None) -> None:
        self.enforce_mask()  # what the mask so far pruned does not come back
        if mask is None:
            self._mask = self._kept_bits = None
            return
        self._mask = check_mask("mask", mask, self.shape).copy()
        self._mask.flags.writeable = False
        self._kept_bits = -self._mask.astype(f"i{self.dtype.itemsize}")  # all bits set where kept, none where pruned
        self.enforce_mask()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype:
        """Floating type of the value."""
        return self._value.dtype

    def effective(self) -> np.ndarray:
        """The array to compute with: the value, zero where the mask is False. Not to be written."""
        self._zero_pruned(self._value)
        return self._value

    def scale(self, factors: np.ndarray) -> None:
        """Multiply each element of the value by its factor, in place."""
        np.multiply(self._value, factors, out=self._value, casting="same_kind")

    def set_mask(self, mask: np.ndarray) -> None:
        """Keep the weights where `mask` is True; value, gradient and optimiser state of the others become zero."""
        self.mask = check_mask("mask", mask, self.shape)

    def enforce_mask(self) -> None:
        """Zero value, gradient and optimiser state wherever the mask is False, whatever was there."""
        for array in (self._value, self.grad, *self.state.values()):
            if array.shape == self.shape:
                self._zero_pruned(array)

    def _zero_pruned(self, array: np.ndarray) -> None:
        if self._kept_bits is None:
            return
        if array.dtype.itemsize == self._kept_bits.dtype.itemsize:
            bits = array.view(self._kept_bits.dtype)  # 0 * NaN is NaN; and this is twice as fast as a product
            np.bitwise_and(bits, self._kept_bits, out=bits)
        else:
            array[~self._mask] = 0

    def _checked(self, value: Any) -> np.ndarray:
        """A copy of `value` in the parameter's type, when it is real numbers of the parameter's shape."""
        array = np.asarray(check_plain("value", value))
        if array.dtype.kind not in "fiu" or array.shape != self.shape:
            raise ValueError(f"value must be numbers of shape {self.shape}, not {array.dtype} of shape {array.shape}")
        return array.astype(self.dtype, order="C")

    def select(self, keep: np.ndarray, axis: int) -> "Parameter":
        """The parameter with only the indices `keep` along `axis`: value, gradient, mask and optimiser state."""

        def cut(array):
            return np.take(array, keep, axis) if array.shape == self.shape else array

        mask = None if self.mask is None else cut(self.mask)
        return Parameter(cut(self.value), cut(self.grad), mask, {name: cut(a) for name, a in self.state.items()})

    def astype(self, dtype: np.dtype) -> "Parameter":
        """The parameter in another floating type."""
        state = {name: array.astype(dtype) if array.ndim else array for name, array in self.state.items()}
        return Parameter(self.value.astype(dtype), self.grad.astype(dtype), self.mask, state)

    def restore(self, other: "Parameter") -> None:
        """Become a copy of `other`; the array of the value stays the same one where its shape and type do."""
        new = other.astype(other.dtype)
        if (new.shape, new.dtype) == (self.shape, self.dtype):
            self._value[...] = new._value
            new._value = self._value
        self.__dict__.update(new.__dict__)

    def __repr__(self) -> str:
        pruned = "" if self.mask is None else f", {int((~self.mask).sum())} pruned"
        return f"{type(self).__name__}({self.dtype} {self.shape}{pruned})"
