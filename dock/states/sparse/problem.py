"""What the solver ``sparse`` needs of a problem: said apart, so that asking loads no solver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dock.core.kspace import Triangle
from dock.states.solver import Eigenproblem

if TYPE_CHECKING:
    import scipy.sparse

    from dock.states.sparse.factorisation import Pattern

__all__ = ["SparseProblem"]


@runtime_checkable
class SparseProblem(Eigenproblem, Protocol):
    """What this solver needs of a problem; `dock.states.problem.Problem` is one."""

    def sparse(
        self, channel: int, k_frac: NDArray[np.float64], triangle: Triangle = "full"
    ) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
        """Return H(k) and S(k) on one pattern, the same at every k."""

    def pattern(self) -> Pattern:
        """Return where the entries of H(k) and S(k) stand, at every k."""

    def atom_graph(self) -> tuple[scipy.sparse.csr_array, NDArray[np.int64]]:
        """Return which atoms H and S couple, and the rows of each."""
