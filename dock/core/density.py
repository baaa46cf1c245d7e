"""Whether a density matrix holds the electrons that it should."""

from __future__ import annotations

from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.errors import LayoutError

__all__ = ["require_density"]

_ELECTRONS = 1e-3
"""Deviation of Tr(ρS) from N, relative: room for printed digits and predictions, not for a spin."""


def require_density(calc: Calculation, why: str = "", electrons: float | None = None) -> AOMatrix:
    """Return the density matrix of a calculation, held against its number of electrons.

    Parameters
    ----------
    why
        A sentence for the message where there is none.
    electrons
        Electrons per cell; default those of the calculation. Where nothing says them, or there is
        no overlap, the matrix is returned as it is.

    Raises
    ------
    MissingDataError
        When there is none.
    LayoutError
        When Tr(ρS) is not the number of electrons: it is of another run, of one spin alone, or not
        what it is called.

    Examples
    --------
    >>> import dock
    >>> require_density(dock.read("fixtures/openmx/si")).quantity
    'density_matrix'
    """
    density = calc.require("density_matrix", why)
    wanted = calc.n_electrons if electrons is None else electrons
    overlap = calc.get("overlap")
    if wanted is None or overlap is None:
        return density
    count = density.dot(overlap)
    if abs(count - wanted) > _ELECTRONS * max(1.0, wanted):
        raise LayoutError(
            f"{calc.source}: the density matrix holds {count:.6g} electrons (Tr ρS), expected "
            f"{wanted:g}: it is of another run, of one spin alone, or damaged. Compute it from the "
            "Hamiltonian, or correct the number of electrons (electrons=N, where it can be given)."
        )
    return density
