"""The zero of energy: H + μS has the states of H, all levels moved by μ, so μ is free.

Two Hamiltonians are compared after the μ that brings them closest has been taken off.
"""

from __future__ import annotations

from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import LayoutError

__all__ = ["hamiltonian_difference", "hamiltonian_shift", "require_comparable"]


def require_comparable(predicted: AOMatrix, benchmark: AOMatrix) -> None:
    """Raise a `LayoutError` where two Hamiltonians do not have the same spin and basis."""
    if predicted.spin is not benchmark.spin:
        raise LayoutError(
            f"the prediction has spin '{predicted.spin.value}', the reference "
            f"'{benchmark.spin.value}': they cannot be compared. Predict with a model that was "
            "trained for the reference's spin, or give the reference that belongs to it."
        )
    if not predicted.basis.is_same(benchmark.basis):
        raise LayoutError(
            "the prediction and the reference have different atoms or bases: "
            f"{_bases(predicted)} and {_bases(benchmark)}. Give the reference that belongs to it."
        )


def _bases(matrix: AOMatrix) -> str:
    basis = matrix.basis
    counts = ", ".join(f"{label} {basis.describe(label)}" for label in basis.species)
    return f"{basis.n_atoms} atoms ({counts})"


def hamiltonian_shift(predicted: AOMatrix, benchmark: AOMatrix | None, overlap: AOMatrix) -> float:
    """Return the least-squares Δμ = Σ (H_pred − H_bm) S / Σ S² in eV.

    The sums go over all matrix elements of all pairs; with spin over both spin-diagonal parts.
    This is equation (15) of the DeepH-pack paper (arXiv:2601.02938). A benchmark of None stands for
    zero. `LayoutError` where the matrices do not have the same spin and basis.
    """
    difference = predicted
    if benchmark is not None:
        require_comparable(predicted, benchmark)
        difference = predicted - benchmark
    copies = 1 if predicted.spin is Spin.NONE else 2
    return difference.dot(overlap) / (copies * overlap.dot(overlap))


def hamiltonian_difference(
    predicted: AOMatrix, benchmark: AOMatrix, overlap: AOMatrix, shift: float | None = None
) -> AOMatrix:
    """Return H_pred − H_bm − Δμ S, whose mean absolute entry is equation (11) of that paper.

    Pairs that one of the matrices lacks count as zero in it. The mean is over the stored entries:
    of collinear spin the two spin-diagonal parts, of spinors all four. `shift` is Δμ in eV; default
    `hamiltonian_shift`, which has the errors. 0 leaves the difference as it is.
    """
    require_comparable(predicted, benchmark)
    value = hamiltonian_shift(predicted, benchmark, overlap) if shift is None else shift
    return (predicted - benchmark) - value * overlap
