"""How spin is stored: which components a matrix has and what they are."""

from __future__ import annotations

import enum

__all__ = ["Spin"]


class Spin(enum.Enum):
    """The spin treatment of a calculation.

    ============ ========== ==============================================================
    member       components meaning
    ============ ========== ==============================================================
    NONE         1          one matrix for both spins, real
    COLLINEAR    2          up-up, down-down, real
    NONCOLLINEAR 4          up-up, up-down, down-up, down-down, complex; with or without
                            spin–orbit coupling
    ============ ========== ==============================================================

    A spinor matrix at a k-point has all up orbitals first, then all down:
    ``[[uu, ud], [du, dd]]``. The quantisation axis is z; for a density matrix ρ the moments in μ_B
    are m_x = 2 Re Tr ρ_ud S, m_y = −2 Im Tr ρ_ud S, m_z = Tr (ρ_uu − ρ_dd) S.
    """

    NONE = "none"
    COLLINEAR = "collinear"
    NONCOLLINEAR = "noncollinear"

    @property
    def n_components(self) -> int:
        """Number of stored components of a spin-dependent matrix."""
        return {Spin.NONE: 1, Spin.COLLINEAR: 2, Spin.NONCOLLINEAR: 4}[self]

    @property
    def component_names(self) -> tuple[str, ...]:
        """Name of each component in stored order."""
        return {
            Spin.NONE: ("total",),
            Spin.COLLINEAR: ("uu", "dd"),
            Spin.NONCOLLINEAR: ("uu", "ud", "du", "dd"),
        }[self]

    @property
    def n_channels(self) -> int:
        """Number of independent eigenproblems per k-point (2 for collinear)."""
        return 2 if self is Spin.COLLINEAR else 1

    @property
    def degeneracy(self) -> int:
        """Electrons that one eigenstate holds (2 without spin, else 1)."""
        return 2 if self is Spin.NONE else 1
