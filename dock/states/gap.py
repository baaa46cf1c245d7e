"""Fermi level and gap of a set of eigenvalues: band edges, their k-points, metal or insulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Edge", "Gap", "find_gap", "placed"]

_SAME = 1e-6  # eV: levels closer than this to the Fermi level or to an edge count as on it


@dataclass(frozen=True)
class Edge:
    """A band edge: its energy (eV, absolute), and the band, spin and k-point that it is in.

    The band is counted from 1 in its spin channel, which is 0 or 1; `k_index` is the number of the
    k-point, `k_frac` its fractional coordinates.
    """

    energy: float
    k_index: int
    k_frac: tuple[float, float, float]
    band: int
    spin: int

    def facts(self) -> dict[str, Any]:
        """Return the edge by the keys of results."""
        return {
            "energy_eV": self.energy,
            "k_frac": list(self.k_frac),
            "band": self.band,
            "spin": self.spin,
        }

    def describe(self, level: float, spins: int = 1) -> str:
        """Return the edge in words, its energy relative to a Fermi level."""
        k = " ".join(f"{x:.4f}" for x in self.k_frac)
        spin = f", spin {('up', 'down')[self.spin]}" if spins == 2 else ""
        return f"{self.energy - level:+.6f} eV at k = ({k}), band {self.band}{spin}"


@dataclass(frozen=True)
class Gap:
    """What the eigenvalues say about the Fermi level.

    Attributes
    ----------
    kind
        ``insulator`` or ``metal``; ``unknown`` when neither a Fermi level nor an electron count
        decides it.
    fermi_level
        eV, absolute, or None.
    fermi_source
        ``given``, ``mid-gap`` or ``unknown``.
    vbm, cbm
        Valence band maximum and conduction band minimum of an insulator.
    direct
        Smallest vertical gap of an insulator, eV.
    """

    kind: Literal["insulator", "metal", "unknown"]
    fermi_level: float | None
    fermi_source: Literal["given", "mid-gap", "unknown"]
    vbm: Edge | None = None
    cbm: Edge | None = None
    direct: float = 0.0

    @property
    def size(self) -> float:
        """The gap, eV; 0 for a metal."""
        if self.vbm is None or self.cbm is None:
            return 0.0
        return self.cbm.energy - self.vbm.energy

    def facts(self) -> dict[str, Any]:
        """Return level, gap and edges by the keys of results; see `dock.results.KEYS`."""
        return {
            "fermi_level_eV": self.fermi_level,
            "fermi_source": self.fermi_source,
            "kind": self.kind,
            "gap_eV": self.size,
            "direct_gap_eV": self.direct,
            "vbm": None if self.vbm is None else self.vbm.facts(),
            "cbm": None if self.cbm is None else self.cbm.facts(),
        }

    def rows(self, where: str, *, spins: int = 1, edges: bool = True) -> list[tuple[str, str]]:
        """Return the gap, seen on a ``path`` or ``mesh``, and its edges in words."""
        if self.vbm is None or self.cbm is None:
            return [("gap", "none: a metal" if self.kind == "metal" else "unknown")]
        kind = "direct" if self.is_direct else f"indirect, smallest direct {self.direct:.6f} eV"
        rows = [("gap", f"{self.size:.6f} eV on this {where} ({kind})")]
        if edges:
            level = self.fermi_level or 0.0
            named = (("VBM", self.vbm), ("CBM", self.cbm))
            rows += [(name, edge.describe(level, spins)) for name, edge in named]
        return rows

    @property
    def is_direct(self) -> bool:
        """Whether both edges lie at one k-point (to within 1 µeV)."""
        return self.size > 0 and self.direct - self.size < _SAME


def find_gap(
    energies: NDArray[np.float64],
    k_frac: NDArray[np.float64],
    *,
    n_filled: float | None,
    fermi_level: float | None,
    n_below: int = 0,
    below: NDArray[np.int64] | None = None,
    covered: tuple[float, float] | None = None,
) -> Gap:
    """Decide between metal and insulator on the given k-points (a denser mesh may see more).

    A Fermi level that is given divides the levels: a band on both sides of it makes a metal. A
    Fermi level on a band edge is moved by nothing; codes place it anywhere in a gap. Without one,
    the electron count fills the lowest levels at each k-point, and the Fermi level of an insulator
    is put into the middle of its gap.

    Parameters
    ----------
    energies
        (n_spin, n_k, n_bands) eV; NaN where a k-point has no such band.
    k_frac
        (n_k, 3) fractional coordinates.
    n_filled
        Number of filled levels per k-point over all spin channels: electrons divided by the
        electrons that one level holds.
    fermi_level
        eV, absolute.
    n_below
        Number of bands below the first column's.
    below
        (n_spin, n_k) number of states below the first one that a k-point has here, where a part of
        the spectrum was computed: a band that is NaN lies below or above this part, by its number.
    covered
        The energies (eV, absolute) between which all states are here, where a window was computed;
        otherwise those between the lowest and the highest of each k-point. Unless the Fermi level
        is among them at every k-point, nothing but a metal is certain.
    """
    levels = energies if below is None else placed(energies, below - n_below)
    if fermi_level is None:
        counted = n_filled is not None and (n_below == 0 or below is not None)
        n_here = (n_filled or 0.0) - len(energies) * n_below if counted else None
        fermi_level = _mid_gap(levels, n_here)
        if fermi_level is None:
            return Gap("unknown", None, "unknown")
        source: Literal["given", "mid-gap"] = "mid-gap"
    else:
        source = "given"
    if below is None:
        reached = np.ones((2, *energies.shape[:2]), dtype=bool)
    else:
        reached = _reached(energies, below, covered, fermi_level)
    # What lies below the states of a k-point lies below the level only if one of them does.
    certain = np.isfinite(levels)
    filled = (levels <= fermi_level + _SAME) & (certain | reached[0][..., None])
    empty = (levels > fermi_level + _SAME) & (certain | reached[1][..., None])
    if np.any(filled.any(axis=1) & empty.any(axis=1)):
        return Gap("metal", fermi_level, source)
    lower = np.where(filled & certain, levels, -np.inf)
    upper = np.where(empty & certain, levels, np.inf)
    if not (np.isfinite(lower).any() and np.isfinite(upper).any() and reached.all()):
        return Gap("unknown", fermi_level, source)
    vertical = upper.min(axis=(0, 2)) - lower.max(axis=(0, 2))
    return Gap(
        "insulator",
        fermi_level,
        source,
        _edge(lower, int(np.argmax(lower)), k_frac, n_below),
        _edge(upper, int(np.argmin(upper)), k_frac, n_below),
        float(vertical.min()) if np.isfinite(vertical.min()) else float("nan"),
    )


def placed(energies: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return energies with ∓∞ for bands below and above what a k-point has.

    `first` (n_spin, n_k) is the column of its first state, or of the first above its window.
    """
    column = np.arange(energies.shape[2])
    outside = np.where(column < first[..., None], -np.inf, np.inf)
    return np.where(np.isnan(energies), outside, energies)


def _reached(
    energies: NDArray[np.float64],
    below: NDArray[np.int64],
    covered: tuple[float, float] | None,
    level: float,
) -> NDArray[np.bool_]:
    """Say whether what was computed reaches below and above an energy, (2, n_spin, n_k)."""
    if covered is not None and covered[0] <= level <= covered[1]:
        return np.ones((2, *below.shape), dtype=bool)
    low = np.any(energies <= level + _SAME, axis=2) | (below == 0)
    return np.stack([low, np.any(energies > level + _SAME, axis=2)])


def _mid_gap(energies: NDArray[np.float64], n_filled: float | None) -> float | None:
    """Return the middle of the gap above `n_filled` levels, None for a metal or a fraction."""
    if n_filled is None or abs(n_filled - round(n_filled)) > 1e-6:
        return None
    count = round(n_filled)
    levels = np.sort(energies.transpose(1, 0, 2).reshape(energies.shape[1], -1), axis=1)
    if not 0 < count < levels.shape[1] or np.any(np.isnan(levels[:, : count + 1])):
        return None
    top, bottom = float(levels[:, count - 1].max()), float(levels[:, count].min())
    if not np.isfinite([top, bottom]).all():  # a band edge outside what was computed
        return None
    return 0.5 * (top + bottom) if bottom - top > _SAME else None


def _edge(
    energies: NDArray[np.float64], place: int, k_frac: NDArray[np.float64], n_below: int
) -> Edge:
    spin, k_index, band = (int(part) for part in np.unravel_index(place, energies.shape))
    x, y, z = (float(part) for part in k_frac[k_index])
    energy = float(energies[spin, k_index, band])
    return Edge(energy, k_index, (x, y, z), band + n_below + 1, spin)
