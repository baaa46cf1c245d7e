"""What energies of a figure count from: the Fermi level, the valence band maximum, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Self, TypeAlias

from dock.errors import UsageError

__all__ = ["SHOWN", "ZEROS", "HasZero", "Zero", "zero_words"]

Zero: TypeAlias = Literal["fermi", "vbm", "absolute"]

ZEROS: tuple[Zero, ...] = ("fermi", "vbm", "absolute")
"""The zeros that there are."""

SHOWN = 6.0
"""eV on both sides of the Fermi level that are drawn and compared when no window is given."""


class HasZero:
    """Base of what is drawn over the energy; a subclass is a dataclass with these fields.

    Attributes
    ----------
    fermi_level, vbm
        eV, absolute; None where unknown, or where there is no gap.
    formula, name
        What it is, and what a legend calls it beside others.
    """

    fermi_level: Any
    vbm: float | None
    formula: str
    name: str

    def called(self, name: str) -> Self:
        """Return the same by another name in legends."""
        return replace(self, name=name)  # type: ignore[type-var]

    def origin(self, zero: Zero = "fermi") -> float:
        """Return the energy, eV absolute, that is zero in a figure.

        Without a Fermi level that is 0. `UsageError` for a valence band maximum that is not there.
        """
        if zero == "vbm":
            if self.vbm is None:
                raise UsageError(
                    f"{self.name or self.formula} has no gap, hence no valence band maximum: take "
                    "the Fermi level or absolute energies as zero."
                )
            return self.vbm
        if zero not in ZEROS:
            raise UsageError(f"energies count from {', '.join(ZEROS)}; found '{zero}'.")
        return 0.0 if zero == "absolute" else self._level

    def moved(self, window: tuple[float, float] | None, zero: Zero) -> tuple[float, float] | None:
        """Return a window that counts from the Fermi level as it stands on the axis; None for none.

        In eV; raises as `origin`.
        """
        move = self._level - self.origin(zero)
        return None if window is None else (window[0] + move, window[1] + move)

    @property
    def _level(self) -> float:
        return 0.0 if self.fermi_level is None else float(self.fermi_level)


def zero_words(zero: Zero, *, is_known: bool = True) -> str:
    """Return the name of an axis of energies that count from `zero`."""
    if zero == "vbm":
        return "energy − VBM (eV)"
    return "energy − Fermi level (eV)" if zero == "fermi" and is_known else "energy (eV)"
