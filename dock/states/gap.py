"""Fermi level and gap of a set of eigenvalues: band edges, their k-points, metal or insulator.

Electrons are counted first: where as many states are filled at every k-point, the highest of them
and the lowest empty one tell gap and kind. A Fermi level that is given divides the levels only
where no count does; codes place it anywhere in a gap, and beyond it where their k-points missed
the band edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NEAR", "TOUCHING", "Edge", "Gap", "Kind", "Source", "find_gap", "placed"]

TOUCHING = 1e-3
"""Distance of the band edges in eV, to either side, within which bands touch: a semimetal. A level
that is given may miss the gap by as much and still count as inside."""

NEAR = 0.5
"""eV by which a metal's level may miss the one counted on a mesh: meshes and smearings differ."""

Kind: TypeAlias = Literal["insulator", "semimetal", "metal", "unknown"]
Source: TypeAlias = Literal["given", "mid-gap", "counted", "reference", "unknown"]

_SAME = 1e-6  # eV: levels closer than this to the Fermi level or to an edge count as on it
_WHOLE = 1e-4  # electrons by which a count may miss a whole number: codes print so many digits


def gap_words(kind: str, size: float) -> str:
    """Return a kind of gap and its size, eV, in the words of a title; nothing where unknown.

    Examples
    --------
    >>> gap_words("insulator", 1.1), gap_words("metal", 0.0)
    ('gap 1.100 eV', 'metal')
    """
    if kind == "insulator":
        return f"gap {size:.3f} eV"
    return kind if kind in ("semimetal", "metal") else ""


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
        ``insulator``; ``semimetal`` where the edges meet to within `TOUCHING`; ``metal``; or
        ``unknown`` when neither an electron count nor a Fermi level decides it.
    fermi_level
        eV, absolute, or None.
    fermi_source
        ``given``; ``mid-gap``; ``counted`` on a mesh before; ``reference``: that of other data; or
        ``unknown``.
    vbm, cbm
        Valence band maximum and conduction band minimum of an insulator or semimetal.
    direct
        Smallest vertical gap of an insulator or semimetal, eV.
    stored
        The level that was given, eV, whether it is the Fermi level or not; None without one.
    """

    kind: Kind
    fermi_level: float | None
    fermi_source: Source
    vbm: Edge | None = None
    cbm: Edge | None = None
    direct: float = 0.0
    stored: float | None = None

    @property
    def size(self) -> float:
        """The gap, eV; 0 for a metal, and for a semimetal whose edges overlap."""
        if self.vbm is None or self.cbm is None:
            return 0.0
        return max(0.0, self.cbm.energy - self.vbm.energy)

    @property
    def is_stored_outside(self) -> bool:
        """Whether the level that was given lies in the bands and not in the gap."""
        if self.stored is None or self.vbm is None or self.cbm is None:
            return False
        return not _is_between(self.stored, self.vbm.energy, self.cbm.energy)

    @property
    def words(self) -> str:
        """Kind and size in the words of a title: ``gap 0.520 eV``."""
        return gap_words(self.kind, self.size)

    def facts(self) -> dict[str, Any]:
        """Return level, gap and edges by the keys of results; see `dock.results.KEYS`."""
        return {
            "fermi_level_eV": self.fermi_level,
            "fermi_source": self.fermi_source,
            "stored_fermi_level_eV": self.stored,
            "kind": self.kind,
            "gap_eV": self.size,
            "direct_gap_eV": max(0.0, self.direct) if np.isfinite(self.direct) else None,
            "vbm": None if self.vbm is None else self.vbm.facts(),
            "cbm": None if self.cbm is None else self.cbm.facts(),
        }

    def rows(self, where: str, *, spins: int = 1, edges: bool = True) -> list[tuple[str, str]]:
        """Return the gap, seen on a ``path`` or ``mesh``, and its edges in words."""
        if self.vbm is None or self.cbm is None:
            rows = [("gap", "none: a metal" if self.kind == "metal" else "unknown")]
        else:
            known = np.isfinite(self.direct)
            smallest = f", smallest direct {self.direct:.6f} eV" if known else ""
            kind = "direct" if self.is_direct else f"indirect{smallest}"
            if self.kind == "semimetal":
                kind = f"a semimetal: the band edges meet to within {1e3 * TOUCHING:g} meV"
            rows = [("gap", f"{self.size:.6f} eV on this {where} ({kind})")]
            if edges:
                level = self.fermi_level or 0.0
                named = (("VBM", self.vbm), ("CBM", self.cbm))
                rows += [(name, edge.describe(level, spins)) for name, edge in named]
        return rows + self.stored_rows()

    def stored_rows(self) -> list[tuple[str, str]]:
        """Return what is to be said of a level that was given and lies outside the gap."""
        if self.stored is None or self.vbm is None or self.cbm is None:
            return []
        if not self.is_stored_outside:
            return []
        above = self.stored > self.cbm.energy
        name, edge = ("CBM", self.cbm) if above else ("VBM", self.vbm)
        text = (
            f"{self.stored:.6f} eV lies {abs(self.stored - edge.energy):.6f} eV "
            f"{'above' if above else 'below'} the {name}, not in the gap that the electrons tell"
        )
        return [("stored level", text)]

    def counting_from(
        self, given: float | None, source: Source, counted: float, stored: float | None
    ) -> Gap:
        """Return the gap with the level that energies count from, the same in bands and on a mesh.

        The level `given` is taken where it lies in the gap, or in a metal within `NEAR` of the one
        `counted` on the mesh; else the middle of the gap, or the level that was counted.
        """
        if self.vbm is not None and self.cbm is not None:
            if given is not None and _is_between(given, self.vbm.energy, self.cbm.energy):
                return replace(self, fermi_level=given, fermi_source=source, stored=stored)
            middle = 0.5 * (self.vbm.energy + self.cbm.energy)
            return replace(self, fermi_level=middle, fermi_source="mid-gap", stored=stored)
        if given is not None and abs(given - counted) <= NEAR:
            return replace(self, fermi_level=given, fermi_source=source, stored=stored)
        return replace(self, fermi_level=counted, fermi_source="counted", stored=stored)

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
    is_fixed: bool = False,
) -> Gap:
    """Tell insulator, semimetal and metal on the given k-points (a denser mesh may see more).

    A whole number of filled levels is counted from below at each k-point. Where the highest filled
    and the lowest empty level leave a gap, that is the gap, and the Fermi level is the one given if
    it lies there, else the middle. Bands that overlap make a metal, whose level is the one given.
    Without a count the level that is given divides the levels: a band on both sides of it makes a
    metal.

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
        eV, absolute: the one stored with the data, or found before.
    n_below
        Number of bands below the first column's.
    below
        (n_spin, n_k) number of states below the first one that a k-point has here, where a part of
        the spectrum was computed: a band that is NaN lies below or above this part, by its number.
    covered
        The energies (eV, absolute) between which all states are here, where a window was computed;
        otherwise those between the lowest and the highest of each k-point. Unless they reach over
        the gap at every k-point, nothing but a metal is certain.
    is_fixed
        Take the Fermi level as it is given, wherever it lies.
    """
    part = _Part.of(energies, n_below, below, covered)
    divided = _by_count(part, n_filled, n_below)
    if divided is None:
        return _by_level(part, k_frac, fermi_level, n_below)
    top, bottom = float(divided.below.max()), float(divided.above.min())
    if bottom - top < -TOUCHING:
        return Gap(
            "metal",
            fermi_level,
            "unknown" if fermi_level is None else "given",
            stored=fermi_level,
        )
    inside = fermi_level is not None and _is_between(fermi_level, top, bottom)
    if fermi_level is not None and (inside or is_fixed):
        return _divided_gap(divided, k_frac, fermi_level, "given", n_below, fermi_level)
    middle = 0.5 * (top + bottom)
    return _divided_gap(divided, k_frac, middle, "mid-gap", n_below, fermi_level)


class _Part(NamedTuple):
    """The levels, ∓∞ where they lie below and above what was computed, and how far that reaches."""

    levels: NDArray[np.float64]
    below: NDArray[np.int64] | None
    covered: tuple[float, float] | None

    @classmethod
    def of(
        cls,
        energies: NDArray[np.float64],
        n_below: int,
        below: NDArray[np.int64] | None,
        covered: tuple[float, float] | None,
    ) -> _Part:
        if below is not None:
            return cls(placed(energies, below - n_below), below, covered)
        # Levels that are missing lie below those that are there, or above.
        there = np.isfinite(energies)
        first = np.argmax(there, axis=2) if energies.shape[2] else np.zeros(energies.shape[:2], int)
        return cls(placed(energies, first), below, covered)

    def reached(self, level: float) -> NDArray[np.bool_]:
        """Say whether what was computed reaches below and above an energy, (2, n_spin, n_k)."""
        levels = self.levels
        if self.below is None or (
            self.covered is not None and self.covered[0] <= level <= self.covered[1]
        ):
            return np.ones((2, *levels.shape[:2]), dtype=bool)
        there = np.isfinite(levels)
        low = np.any(there & (levels <= level + _SAME), axis=2) | (self.below == 0)
        return np.stack([low, np.any(there & (levels > level + _SAME), axis=2)])


class _Divided(NamedTuple):
    """The filled levels and −∞, the empty ones and +∞, both (n_spin, n_k, n_bands)."""

    below: NDArray[np.float64]
    above: NDArray[np.float64]


def _is_between(level: float, top: float, bottom: float) -> bool:
    return top - TOUCHING <= level <= bottom + TOUCHING


def _divided_gap(
    divided: _Divided,
    k_frac: NDArray[np.float64],
    level: float,
    source: Source,
    n_below: int,
    stored: float | None,
) -> Gap:
    """Return the gap between filled and empty levels."""
    below, above = divided
    vbm = _edge(below, int(np.argmax(below)), k_frac, n_below)
    cbm = _edge(above, int(np.argmin(above)), k_frac, n_below)
    vertical = float((above.min(axis=(0, 2)) - below.max(axis=(0, 2))).min())
    kind: Kind = "insulator" if cbm.energy - vbm.energy > TOUCHING else "semimetal"
    direct = vertical if np.isfinite(vertical) else float("nan")
    return Gap(kind, level, source, vbm, cbm, direct, stored)


def _by_level(
    part: _Part,
    k_frac: NDArray[np.float64],
    level: float | None,
    n_below: int,
) -> Gap:
    """Return what a Fermi level says where electrons cannot be counted."""
    if level is None:
        return Gap("unknown", None, "unknown")
    levels, reached = part.levels, part.reached(level)
    # What lies below the states of a k-point lies below the level only if one of them does.
    certain = np.isfinite(levels)
    beyond = reached if part.below is not None else np.zeros_like(reached)
    filled = (levels <= level + _SAME) & (certain | beyond[0][..., None])
    empty = (levels > level + _SAME) & (certain | beyond[1][..., None])
    if np.any(filled.any(axis=1) & empty.any(axis=1)):
        return Gap("metal", level, "given", stored=level)
    lower = np.where(filled & certain, levels, -np.inf)
    upper = np.where(empty & certain, levels, np.inf)
    if not (np.isfinite(lower).any() and np.isfinite(upper).any() and reached.all()):
        return Gap("unknown", level, "given", stored=level)
    return _divided_gap(_Divided(lower, upper), k_frac, level, "given", n_below, level)


def _by_count(part: _Part, n_filled: float | None, n_below: int) -> _Divided | None:
    """Divide the levels at each k-point by the number of filled ones over all spin channels.

    None where that number is unknown or a fraction, or the levels here do not reach from filled to
    empty ones. Of a part of the spectrum its certificates say how many lie below; unless it reaches
    over the gap at every k-point, the level has to tell a metal.
    """
    levels = part.levels
    n_spin, n_points, n_bands = levels.shape
    if n_filled is None or abs(n_filled - round(n_filled)) > _WHOLE:
        return None
    count = round(n_filled) - n_spin * n_below
    if not 0 < count < n_spin * n_bands:
        return None
    if part.below is None and not np.isfinite(levels).any(axis=2).all():
        return None
    merged = levels.transpose(1, 0, 2).reshape(n_points, -1)
    order = np.argsort(merged, axis=1, kind="stable")
    is_filled = np.zeros(merged.shape, dtype=bool)
    np.put_along_axis(is_filled, order[:, :count], values=True, axis=1)
    filled = is_filled.reshape(n_points, n_spin, n_bands).transpose(1, 0, 2)
    divided = _Divided(np.where(filled, levels, -np.inf), np.where(filled, np.inf, levels))
    top, bottom = float(divided.below.max()), float(divided.above.min())
    if not np.isfinite([top, bottom]).all():
        return None
    is_sure = part.below is None or (
        bottom - top >= -TOUCHING and part.reached(0.5 * (top + bottom)).all()
    )
    return divided if is_sure else None


def placed(energies: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return energies with ∓∞ for bands below and above what a k-point has.

    `first` (n_spin, n_k) is the column of its first state, or of the first above its window.
    """
    column = np.arange(energies.shape[2])
    outside = np.where(column < first[..., None], -np.inf, np.inf)
    return np.where(np.isnan(energies), outside, energies)


def _edge(
    energies: NDArray[np.float64], place: int, k_frac: NDArray[np.float64], n_below: int
) -> Edge:
    spin, k_index, band = (int(part) for part in np.unravel_index(place, energies.shape))
    x, y, z = (float(part) for part in k_frac[k_index])
    energy = float(energies[spin, k_index, band])
    return Edge(energy, k_index, (x, y, z), band + n_below + 1, spin)
