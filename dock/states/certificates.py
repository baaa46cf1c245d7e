"""What the certificates of many eigenproblems say together: the proof that a result carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.states.solver import Eigenstates

__all__ = ["Certificates"]


@dataclass(frozen=True, eq=False)
class Certificates:
    """Why no state is missing at many k-points, and how exact the states are.

    Attributes
    ----------
    reasons : str (n_channels, N_k)
        The clause of each certificate.
    n_below, n_states : int64 (n_channels, N_k)
        States below those that were computed, and how many these are.
    counted : int64 (n_channels, N_k)
        States by an independent count in the range that the certificate names, which may reach
        further than the states that were asked for; −1 where the method needs no count.
    residuals : float64 (n_channels, N_k)
        Largest ‖H x − e S x‖ in eV; NaN where it was not measured.
    n_unproven
        Eigenproblems in which a state may be missing.
    """

    reasons: NDArray[np.str_]
    n_below: NDArray[np.int64]
    n_states: NDArray[np.int64]
    counted: NDArray[np.int64]
    residuals: NDArray[np.float64]
    n_unproven: int = 0

    @classmethod
    def of(cls, results: Sequence[Eigenstates], n_channels: int = 1) -> Certificates:
        """Gather those of results, channel after channel."""
        shape = (n_channels, len(results) // n_channels)
        given = [result.certificate for result in results]
        counted = [-1 if one is None or one.counted is None else one.counted for one in given]
        residuals = [None if one is None else one.residual_eV for one in given]
        return cls(
            np.array(["" if one is None else one.reason for one in given]).reshape(shape),
            np.array([result.n_below for result in results], dtype=np.int64).reshape(shape),
            np.array([len(result.energies) for result in results], dtype=np.int64).reshape(shape),
            np.array(counted, dtype=np.int64).reshape(shape),
            np.array(residuals, dtype=np.float64).reshape(shape),  # None becomes NaN
            sum(one is not None and not one.proven for one in given),
        )

    @property
    def largest_residual(self) -> float | None:
        """The largest residual that was measured, eV."""
        known = self.residuals[np.isfinite(self.residuals)]
        return float(known.max()) if known.size else None

    @property
    def n_certified(self) -> int:
        """Eigenproblems in which an independent count gave the number of states that were found."""
        return int(np.sum(self.counted >= self.n_states))

    def facts(self) -> dict[str, Any]:
        """Return what they say, by key; see `dock.results.KEYS`."""
        different = [str(one) for one in dict.fromkeys(self.reasons.ravel()) if one]
        first = different[0] if different else None
        more = f" (first of {len(different)}, see certificates)" if len(different) > 1 else ""
        return {
            "certificate": f"{first}{more}" if first else None,
            "n_certified": self.n_certified,
            "largest_residual_eV": self.largest_residual,
        }

    def arrays(self) -> dict[str, Any]:
        """Return what they say of each spin channel and k-point, by key."""
        return {
            "states_below": self.n_below,
            "states_found": self.n_states,
            "states_counted": self.counted,
            "residual_eV": self.residuals,
            "certificates": self.reasons,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return count and residual in words, where there is something to say."""
        if self.n_unproven:
            text = f"none: {self.n_unproven} of {self.counted.size} eigenproblems were not counted"
        elif not self.n_certified:
            return []
        else:
            text = f"{self.n_certified} of {self.counted.size} eigenproblems counted independently"
        if self.largest_residual is not None:
            text += f", residuals up to {self.largest_residual:.1e} eV"
        return [("certificate", text)]
