"""The Fermi level and the occupations of a spectrum, by counting electrons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dock.core.spin import Spin
from dock.errors import ConvergenceError, SolverError, UsageError
from dock.states.gap import Gap, find_gap
from dock.states.smearing import Smearing
from dock.states.spectrum import Spectrum
from dock.states.tetrahedra import Tetrahedra

__all__ = ["Filling", "Method", "NotReached", "filled_to", "find_level", "occupy"]

Method: TypeAlias = Smearing | Literal["tetrahedra"]
"""How levels are filled."""

_COUNTED = 1e-10  # electrons by which the middle of a gap may miss the count, relative


class NotReached(SolverError):  # noqa: N818 - the caller computes more states
    """The electrons fill states that are not among those of a part of a spectrum.

    `level` is the Fermi level as far as it can be told (eV), `missing` how many more states per
    cell would have to lie below it.
    """

    def __init__(self, level: float, missing: float) -> None:
        self.level, self.missing = level, missing
        super().__init__(
            f"the Fermi level, about {level:.3f} eV, is not among the states that were computed. "
            "Pass more states=N."
        )


@dataclass(frozen=True, eq=False)
class Filling:
    """What an electron count says about a spectrum.

    Attributes
    ----------
    spectrum
        The eigenvalues and their mesh.
    level
        Fermi level, eV, absolute; the middle of the gap of an insulator.
    n_electrons
        Electrons per cell.
    method
        A `Smearing`, or ``"tetrahedra"``.
    occupations
        (n_spin, n_k, n_bands) share of each state in the electrons of the cell: filling × weight
        of the k-point × electrons that a state holds. Their sum is `n_electrons`.
    gap
        Band edges on the mesh.
    """

    spectrum: Spectrum
    level: float
    n_electrons: float
    method: Method
    occupations: NDArray[np.float64]
    gap: Gap

    @cached_property
    def band_energy(self) -> float | None:
        """Σ f ε per cell, eV; None where some states were not computed."""
        if self.spectrum.is_part:
            return None
        return float(np.sum(self.occupations * self.spectrum.energies))

    @cached_property
    def entropy_energy(self) -> float:
        """The −TS term of the smearing, eV per cell; 0 for tetrahedra."""
        if not isinstance(self.method, Smearing):
            return 0.0
        entropy = self.method.entropy(self.spectrum.energies, self.level)
        weights = self.spectrum.mesh.weights[None, :, None]
        return float(-self.method.width * self.spectrum.degeneracy * np.sum(entropy * weights))

    @property
    def spin_moment(self) -> float | None:
        """Electrons with spin up minus those with spin down; None unless the spin is collinear."""
        if self.spectrum.spin is not Spin.COLLINEAR:
            return None
        up, down = self.occupations.sum(axis=(1, 2))
        return float(up - down)

    @property
    def counted(self) -> float:
        """The sum of the occupations, with the states below those that were computed."""
        return float(self.occupations.sum() + self.spectrum.below)

    @cached_property
    def tail(self) -> float:
        """How far the states at the ends of a part of the spectrum are from full and empty.

        What lies beyond them is taken as full and empty; 0 where all states are here.
        """
        if not self.spectrum.is_part or not isinstance(self.method, Smearing):
            return 0.0
        lower, upper = _ends(self.spectrum)
        lower, upper = lower[np.isfinite(lower)], upper[np.isfinite(upper)]
        open_below = 1 - self.method.occupation(lower, self.level)
        open_above = self.method.occupation(upper, self.level)
        return float(np.abs(np.concatenate([open_below, open_above])).max(initial=0.0))

    @property
    def source(self) -> Literal["mid-gap", "counted"]:
        """Where the level is from: the middle of the gap, or a count of electrons in bands."""
        is_middle = self.gap.fermi_source == "mid-gap" and self.level == self.gap.fermi_level
        return "mid-gap" if is_middle else "counted"

    @property
    def method_name(self) -> str:
        """The method in words."""
        if not isinstance(self.method, Smearing):
            return "tetrahedra"
        order = f" of order {self.method.order}" if self.method.kind == "methfessel-paxton" else ""
        return f"{self.method.kind}{order}, {self.method.width:.6g} eV"


def occupy(spectrum: Spectrum, electrons: float, method: Method) -> Filling:
    """Fill the states of a spectrum with electrons.

    `UsageError` for an unknown method, `ConvergenceError` where no Fermi level gives the electrons.
    """
    level, gap = find_level(spectrum, electrons, method)
    return Filling(spectrum, level, electrons, method, _occupations(spectrum, level, method), gap)


def filled_to(spectrum: Spectrum, like: Filling) -> Filling:
    """Return the states of a spectrum filled up to the level that another one told."""
    occupations = _occupations(spectrum, like.level, like.method)
    return replace(like, spectrum=spectrum, occupations=occupations)


def find_level(spectrum: Spectrum, electrons: float, method: Method) -> tuple[float, Gap]:
    """Return the Fermi level in eV and the gap; see `occupy`."""
    if not isinstance(method, Smearing) and method != "tetrahedra":
        raise UsageError(f"the method is a smearing or 'tetrahedra', found '{method}'.")
    n_filled = (electrons - spectrum.below) / spectrum.degeneracy  # of the states that are here
    gap = _gap(spectrum, electrons, None)
    count: Callable[[float], float]
    if isinstance(method, Smearing):
        near = _Near.of(spectrum, n_filled, method)
        count = near.count
        bracket = near.bracket
    else:
        bracket = _band_edges(spectrum, n_filled)
        tetrahedra = Tetrahedra.of(spectrum.mesh, spectrum.structure)
        count = tetrahedra.counter(spectrum.energies, bracket)
        slack = _COUNTED * max(1.0, n_filled)
        if not count(bracket[0]) - slack <= n_filled <= count(bracket[1]) + slack:
            bracket = float(spectrum.energies.min()), float(spectrum.energies.max())
            count = tetrahedra.counter(spectrum.energies, bracket)
    middle = gap.fermi_level
    if middle is not None and abs(count(middle) - n_filled) <= _COUNTED * max(1.0, n_filled):
        _require_reached(spectrum, middle, method)
        return middle, gap
    if isinstance(method, Smearing) and not method.is_monotonic:
        level = _nearest_root(spectrum, n_filled, method, count)
    else:
        level = _root(lambda x: count(x) - n_filled, *bracket)
    _require_reached(spectrum, level, method)
    if gap.kind != "insulator":
        gap = _gap(spectrum, electrons, level)
    return level, gap


def _gap(spectrum: Spectrum, electrons: float, level: float | None) -> Gap:
    """Return the gap on the mesh, at a Fermi level or by the count of electrons."""
    proof = spectrum.certificates if spectrum.is_part else None
    return find_gap(
        spectrum.energies,
        spectrum.mesh.points,
        n_filled=electrons / spectrum.degeneracy,
        fermi_level=level,
        n_below=spectrum.n_below,
        below=None if proof is None else proof.n_below,
        covered=spectrum.window,
    )


def _ends(spectrum: Spectrum) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how low and how high all states are known (n_spin, n_k), ∓∞ where none is beyond."""
    energies, proof = spectrum.energies, spectrum.certificates
    known = np.isfinite(energies)
    lower = np.where(known, energies, np.inf).min(axis=2, initial=np.inf)
    upper = np.where(known, energies, -np.inf).max(axis=2, initial=-np.inf)
    if spectrum.window is not None:
        lower, upper = np.minimum(lower, spectrum.window[0]), np.maximum(upper, spectrum.window[1])
    if proof is not None and spectrum.size is not None:
        lower[proof.n_below == 0] = -np.inf
        upper[proof.n_below + proof.n_states >= spectrum.size] = np.inf
    return lower, upper


def _require_reached(spectrum: Spectrum, level: float, method: Method) -> None:
    """Raise `NotReached` unless a level is among the computed states of each k-point.

    By tetrahedra the first band must be full and the last empty at all k-points, so that those
    beyond are too.
    """
    if not spectrum.is_part:
        return
    lower, upper = _ends(spectrum)
    if isinstance(method, Smearing):
        good = bool(np.all((lower <= level) & (level <= upper)))
    else:
        first, last = spectrum.energies[..., 0].max(), spectrum.energies[..., -1].min()
        full, empty = first < level, level < last
        good = (full or not np.isfinite(lower).any()) and (empty or not np.isfinite(upper).any())
    if not good:
        raise NotReached(level, 0.0)


def _band_edges(spectrum: Spectrum, n_filled: float) -> tuple[float, float]:
    """Return the lowest level of the first band that is not full and the highest of the last."""
    n_spin, n_points, n_bands = spectrum.energies.shape
    merged = np.sort(spectrum.energies.transpose(1, 0, 2).reshape(n_points, -1), axis=1)
    last = n_spin * n_bands - 1
    if spectrum.is_part and not 0 <= n_filled - 1 < last:
        beyond = 0.0 if n_filled < 1 else n_filled - last
        raise NotReached(float(merged[:, 0 if n_filled < 1 else last].mean()), beyond)
    first_open = merged[:, min(int(np.floor(n_filled + _COUNTED)), last)].min()
    last_used = merged[:, min(max(int(np.ceil(n_filled - _COUNTED)) - 1, 0), last)].max()
    return float(min(first_open, last_used)), float(max(first_open, last_used))


@dataclass(frozen=True, eq=False)
class _Near:
    """The states near the Fermi level: only their filling depends on where exactly it lies."""

    energies: NDArray[np.float64]
    weights: NDArray[np.float64]
    below: float
    smearing: Smearing
    bracket: tuple[float, float]

    @classmethod
    def of(cls, spectrum: Spectrum, n_filled: float, smearing: Smearing) -> _Near:
        energies = spectrum.energies.ravel()
        weights = np.broadcast_to(
            spectrum.mesh.weights[None, :, None], spectrum.energies.shape
        ).ravel()
        order = np.argsort(energies, kind="stable")
        energies, weights = energies[order], weights[order]
        filled = np.cumsum(weights)
        last = min(int(np.searchsorted(filled, n_filled - 1e-9)), len(energies) - 2)
        if spectrum.is_part:
            _require_counted(energies, filled, n_filled, last)
        margin = 1.5 * smearing.reach
        low, high = float(energies[last]) - margin, float(energies[last + 1]) + margin
        first = int(np.searchsorted(energies, low - margin))
        stop = int(np.searchsorted(energies, high + margin))
        below = float(filled[first - 1]) if first else 0.0
        return cls(energies[first:stop], weights[first:stop], below, smearing, (low, high))

    def count(self, level: float) -> float:
        """Return the number of filled states per cell."""
        filling = self.smearing.occupation(self.energies, level)
        return self.below + float(filling @ self.weights)


def _require_counted(
    energies: NDArray[np.float64], filled: NDArray[np.float64], n_filled: float, last: int
) -> None:
    """Raise `NotReached` unless the last filled state and the next one were computed."""
    if n_filled > 0 and np.isfinite(energies[last : last + 2]).all():
        return
    inside = np.flatnonzero(np.isfinite(energies))
    if not len(inside):
        raise NotReached(float("nan"), n_filled)
    lowest, highest = inside[0], inside[-1]
    if n_filled <= 0 or last < lowest:
        before = float(filled[lowest - 1]) if lowest else 0.0
        raise NotReached(float(energies[lowest]), n_filled - before)
    raise NotReached(float(energies[highest]), n_filled - float(filled[highest]))


def _nearest_root(
    spectrum: Spectrum, n_filled: float, method: Smearing, count: Callable[[float], float]
) -> float:
    """Return the level nearest to that of Gaussian smearing, where several give the count."""
    plain = _Near.of(spectrum, n_filled, Smearing("gaussian", method.width))
    start = _root(lambda x: plain.count(x) - n_filled, *plain.bracket)
    first = count(start) - n_filled
    if first == 0:
        return start
    step = 0.05 * method.width
    # Too many electrons ask for a lower level; both sides are searched, that one first.
    for number in range(1, 400):
        for sign in (-np.sign(first), np.sign(first)):
            near, far = start + sign * (number - 1) * step, start + sign * number * step
            if (count(far) - n_filled) * (count(near) - n_filled) <= 0:
                return _root(lambda x: count(x) - n_filled, min(near, far), max(near, far))
    raise ConvergenceError(
        f"no Fermi level gives {n_filled * spectrum.degeneracy:g} electrons with {method.kind} "
        f"smearing of {method.width:g} eV. Choose a smaller width or Fermi–Dirac."
    )


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return a sign change of a function between two energies, by bisection and secants.

    Where the function is zero over an interval (a gap), its middle is returned as far as the
    bracket resolves it.
    """
    f_low, f_high = function(low), function(high)
    if f_low * f_high >= 0:
        return low if abs(f_low) <= abs(f_high) else high
    if f_low > 0:
        low, high, f_low, f_high = high, low, f_high, f_low
    for iteration in range(200):
        width = high - low  # negative where the function falls
        if abs(width) <= 1e-14 * max(1.0, abs(low), abs(high)):
            break
        middle = 0.5 * (low + high)
        if iteration % 2:
            share = min(max(-f_low / (f_high - f_low), 1e-3), 1 - 1e-3)
            middle = low + share * width
        value = function(middle)
        if value == 0:
            return middle
        if value < 0:
            low, f_low = middle, value
        else:
            high, f_high = middle, value
    return 0.5 * (low + high)


def _occupations(spectrum: Spectrum, level: float, method: Method) -> NDArray[np.float64]:
    """Return filling × weight × degeneracy of every state."""
    if isinstance(method, Smearing):
        filling = method.occupation(spectrum.energies, level)
        weights = spectrum.mesh.weights[None, :, None]
        result: NDArray[np.float64] = filling * weights * spectrum.degeneracy
    else:
        tetrahedra = Tetrahedra.of(spectrum.mesh, spectrum.structure)
        parts = [tetrahedra.occupations(part, level) for part in spectrum.energies]
        result = np.stack(parts) * spectrum.degeneracy
    result.flags.writeable = False
    return result
