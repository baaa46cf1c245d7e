"""Shares of orbitals in states: what projected densities of states and fat bands are made of.

Of a state c at k, orbital μ has the Mulliken share Re c_μ* (S c)_μ, which can be negative, or the
Löwdin share |(S^½ c)_μ|². Both sum to 1 over the orbitals.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.orbital_names import orbital_names
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.kmesh import Reduction
from dock.states.mulliken import Scheme, overlap_root

__all__ = ["FIELDS", "LevelProjector", "OrbitalProjector", "Projector", "parse_fields"]

FIELDS = ("species", "atom", "shell", "l", "m", "spin")
"""What projections can be resolved by; any combination."""

_ROTATES = {"atom", "m", "spin"}  # fields whose shares differ between symmetric k-points


class Projector(Protocol):
    """Anything that gives each state some numbers, to be summed into spectra."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name per number."""

    @property
    def reduction(self) -> Reduction:
        """How far a mesh may be reduced without changing the sums."""

    def weights(self, channel: int, k_frac: NDArray[np.float64], vectors: NDArray[Any]) -> Any:
        """Return (n_names, n_states) of the states in the columns of `vectors`."""


@runtime_checkable
class LevelProjector(Projector, Protocol):
    """A projector whose numbers depend on the Fermi level, which is known after the states are.

    `weights` holds for a level of 0; each eV of the level adds `slopes`.
    """

    def slopes(self, channel: int, k_frac: NDArray[np.float64], vectors: NDArray[Any]) -> Any:
        """Return (n_names, n_states): what an eV of the Fermi level adds to the weights."""


class OrbitalProjector:
    """Projects states on groups of orbitals.

    Parameters
    ----------
    calc
        A calculation with overlap.
    by
        Fields by which the orbitals are grouped, such as ``"species,l"`` or ``("atom", "shell")``.
        ``shell`` counts the radial functions of one l within an atom (1, 2, …); ``spin`` splits
        spinors into up and down along z (the channels of collinear spin are apart in any case).
        `names` has the groups in order of first appearance.
    scheme
        ``mulliken`` or ``lowdin``.

    Raises
    ------
    UsageError
        For unknown fields or schemes.
    MissingDataError
        Without an overlap.

    Examples
    --------
    >>> import dock
    >>> projector = OrbitalProjector(dock.read("fixtures/openmx/h2o"), "species,l")
    >>> projector.names
    ('O s', 'O p', 'H s', 'H p')
    """

    def __init__(
        self,
        calc: Calculation,
        by: str | Sequence[str] = "species,l",
        scheme: Scheme = "mulliken",
    ) -> None:
        self.fields = parse_fields(by)
        if scheme not in ("mulliken", "lowdin"):
            raise UsageError(f"projections are 'mulliken' or 'lowdin', found '{scheme}'.")
        overlap = calc.require("overlap", "Projections need it.")
        self.scheme: Scheme = scheme
        self._builder = KBuilder(overlap)
        # Groups that a rotation maps on each other need more k-points than sums over them.
        turned = _ROTATES & set(self.fields)
        self.reduction: Reduction = "time-reversal" if turned else "point-group"
        labels = orbital_names(calc.basis, self.fields)
        if calc.spin is Spin.NONCOLLINEAR:
            ends = ("", "")
            if "spin" in self.fields:
                ends, self.reduction = (" up", " down"), "none"
            labels = [f"{label}{end}".strip() for end in ends for label in labels]
        number = {name: index for index, name in enumerate(dict.fromkeys(labels))}
        self.names = tuple(number)
        self._group = np.array([number[label] for label in labels])

    def weights(
        self,
        channel: int,  # noqa: ARG002 - the overlap is the same for both spins
        k_frac: NDArray[np.float64],
        vectors: NDArray[Any],
    ) -> NDArray[np.float64]:
        """Return the share (n_groups, n_states) of each group in each state."""
        n, n_states = self._builder.size, vectors.shape[1]
        spins = vectors.reshape(len(vectors) // n, n, n_states)
        if self.scheme == "lowdin":
            image = overlap_root(self._builder, k_frac) @ spins
            shares = image.real**2 + image.imag**2
        else:
            beside = spins.transpose(1, 0, 2).reshape(n, len(spins) * n_states)
            image = self._builder.times(k_frac, beside).reshape(n, len(spins), n_states)
            shares = (spins.conj() * image.transpose(1, 0, 2)).real
        grouped = np.zeros((len(self.names), vectors.shape[1]))
        np.add.at(grouped, self._group, shares.reshape(vectors.shape))
        return grouped


def parse_fields(by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the fields of a projection in the order of `FIELDS`; `UsageError` lists these."""
    given = [part.strip() for part in by.split(",")] if isinstance(by, str) else list(by)
    unknown = [part for part in given if part not in FIELDS]
    if unknown or not given:
        raise UsageError(
            f"projections are resolved by a combination of {', '.join(FIELDS)}, such as "
            f"species,l; found '{','.join(given)}'."
        )
    return tuple(field for field in FIELDS if field in given)
