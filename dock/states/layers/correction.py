"""About (H − σS)⁻¹ from the states of the layers: exact in a window, the layers alone outside.

In the basis of the layers' states K = H − σS is nearly diagonal outside a window of energies about
σ, and a small matrix within. That matrix is taken from H and S of the whole stack; what couples
window and outside is left to the iteration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import SolverError
from dock.states.layers.bloch import LayerStates
from dock.states.sparse.products import Products

__all__ = ["Correction"]

Block = NDArray[Any]

_COLUMNS = 64  # vectors that H and S are applied to at once
_NOISE = 1e-4  # of the squared length of a direction that vectors have in common
_LEAST = 1e-3  # eV: how near a state of the window may lie to the shift


class Correction:
    """Approximate solutions of (H − σS) X = R.

    Parameters
    ----------
    products
        H and S of the stack.
    layers
        The states of its layers at the same k-point.
    shift
        σ, eV.
    n_window
        At least so many of the layers' states, those nearest to the shift, make the window.

    Attributes
    ----------
    energies : float64 (n,)
        The Ritz values of H and S in the window, eV, ascending.
    """

    def __init__(
        self, products: Products, layers: LayerStates, shift: float, n_window: int
    ) -> None:
        import scipy.linalg

        self._layers, self._is_complex, self.shift = layers, products.is_complex, shift
        away = np.abs(layers.energies - shift)
        n_window = min(n_window, len(away))
        # with all that are degenerate with the last one: k and −k together
        half_width = float(np.partition(away, n_window - 1)[n_window - 1]) + 1e-6
        self.window = np.flatnonzero(away <= half_width)
        h, s = self._inside(products)
        try:
            self.energies, self._ritz = scipy.linalg.eigh(h, s)
        except np.linalg.LinAlgError as error:
            raise SolverError(
                "S is not positive definite in the space of the layers' states. Look at it with: "
                "dock check."
            ) from error
        apart = layers.energies - shift
        apart[self.window] = np.inf
        self._outside = (1 / apart).astype(np.float32)
        taus = self.energies - shift
        taus = np.where(np.abs(taus) < _LEAST, np.copysign(_LEAST, taus), taus)
        self._inverse = ((self._ritz / taus) @ self._ritz.conj().T).astype(np.complex64)

    def n_below(self, energies: NDArray[np.float64]) -> int:
        """Return how many states lie below some that were found, ascending, as the layers have it.

        The levels of the window are moved a little, by nearly the same energy: the found ones are
        those beside which their differences vary least.
        """
        outside = int(np.count_nonzero(self._outside < 0))
        n, most = len(energies), len(self.energies)
        if not 0 < n <= most:
            return outside + int(np.sum(self.energies < self.shift))
        moved = [energies - self.energies[first : first + n] for first in range(most - n + 1)]
        spread = [float(np.abs(d - np.median(d)).sum() + np.abs(np.median(d))) for d in moved]
        return outside + int(np.argmin(spread))

    def start(self, number: int) -> Block:
        """Return the Ritz vectors of the window nearest to the shift, at least so many (n, m)."""
        nearest = np.sort(np.argsort(np.abs(self.energies - self.shift))[:number])
        X = self._expanded(self._ritz[:, nearest])
        if self._is_complex:
            return X.astype(np.complex128)
        # Of real matrices both parts are solutions. They are twice as many as are independent, and
        # what single precision leaves of the others is noise.
        both = np.hstack([X.real, X.imag]).astype(np.float64)
        both /= np.linalg.norm(both, axis=0)
        sizes, mixing = np.linalg.eigh(both.T @ both)
        return np.asfortranarray(both @ mixing[:, sizes > _NOISE * sizes[-1]])

    def solve(self, R: Block) -> Block:
        """Return about (H − σS)⁻¹ R of a block (n, m)."""
        c = self._layers.coefficients(R)
        inside = self._inverse @ c[self.window]
        c *= self._outside[:, None]
        c[self.window] = inside
        X = self._layers.vectors(c)
        return X if self._is_complex else X.real

    def _expanded(self, small: Block) -> Block:
        """Return vectors of their coefficients in the window (n_window, m)."""
        c = np.zeros((self._layers.size, small.shape[1]), dtype=np.complex64)
        c[self.window] = small
        return self._layers.vectors(c)

    def _inside(self, products: Products) -> tuple[Block, Block]:
        """Return H and S between the states of the window."""
        n = len(self.window)
        h, s = np.empty((2, n, n), dtype=np.complex128)
        for begin in range(0, n, _COLUMNS):
            some = slice(begin, min(begin + _COLUMNS, n))
            Z = self._expanded(np.eye(n, dtype=np.complex64)[:, some]).astype(np.complex128)
            if products.is_complex:
                images = products.apply(Z)
            else:
                H, S = products.apply(np.hstack([Z.real, Z.imag]))
                half = Z.shape[1]
                images = H[:, :half] + 1j * H[:, half:], S[:, :half] + 1j * S[:, half:]
            for matrix, image in zip((h, s), images, strict=True):
                matrix[:, some] = self._layers.coefficients(image)[self.window]
        return 0.5 * (h + h.conj().T), 0.5 * (s + s.conj().T)
