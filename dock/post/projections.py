"""Shares of orbitals in states: what projected densities of states and fat bands are made of.

Of a state c at k, orbital μ has the Mulliken share Re c_μ* (S c)_μ, which can be negative, or the
Löwdin share |(S^½ c)_μ|². Both sum to 1 over the orbitals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.orbital_names import orbital_names
from dock.core.orbital_words import EXAMPLES, Word, chosen_orbitals, parse_words
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.states.kmesh import Reduction
from dock.states.mulliken import Scheme, overlap_root

__all__ = [
    "FIELDS",
    "LevelProjector",
    "OrbitalGroups",
    "OrbitalProjector",
    "Projector",
    "orbital_groups",
    "parse_projection",
]

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
        Fields by which the orbitals are grouped, such as ``"species,l"`` or ``("atom", "shell")``;
        or the groups themselves in words, such as ``"C-pz"`` or ``"Mo-d,S-p"``: see
        `dock.core.orbital_words`. Orbitals that no word names are in no group then.
        ``shell`` counts the radial functions of one l within an atom (1, 2, …); ``spin`` splits
        spinors into up and down along z (the channels of collinear spin are apart in any case).
        `names` has the groups in order of first appearance.
    scheme
        ``mulliken`` or ``lowdin``.

    Raises
    ------
    UsageError
        For unknown fields or schemes, and words for orbitals that are not there.
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
        groups = orbital_groups(calc, by)
        if scheme not in ("mulliken", "lowdin"):
            raise UsageError(f"projections are 'mulliken' or 'lowdin', found '{scheme}'.")
        overlap = calc.require("overlap", "Projections need it.")
        self.scheme: Scheme = scheme
        self._builder = KBuilder(overlap)
        self.names, self._groups, self.reduction = groups

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
        rows = shares.reshape(vectors.shape)
        return np.stack([rows[members].sum(axis=0) for members in self._groups])


class OrbitalGroups(NamedTuple):
    """Groups of orbitals: names, rows of H(k) of each, and how far a mesh may be reduced."""

    names: tuple[str, ...]
    rows: list[NDArray[np.int64]]
    reduction: Reduction


def orbital_groups(calc: Calculation, by: str | Sequence[str]) -> OrbitalGroups:
    """Return the groups that fields or words name; see `OrbitalProjector`, also for errors."""
    asked = parse_projection(by)
    if isinstance(asked, dict):
        return _groups_in_words(calc, asked)
    # Groups that a rotation maps on each other need more k-points than sums over them.
    reduction: Reduction = "time-reversal" if _ROTATES & set(asked) else "point-group"
    labels = orbital_names(calc.basis, asked)
    if calc.spin is Spin.NONCOLLINEAR:
        ends = ("", "")
        if "spin" in asked:
            ends, reduction = (" up", " down"), "none"
        labels = [f"{label}{end}".strip() for end in ends for label in labels]
    number = {name: index for index, name in enumerate(dict.fromkeys(labels))}
    members = np.array([number[label] for label in labels])
    rows = [np.flatnonzero(members == place) for place in range(len(number))]
    return OrbitalGroups(tuple(number), rows, reduction)


def _groups_in_words(calc: Calculation, asked: Mapping[str, tuple[Word, ...]]) -> OrbitalGroups:
    """Return the groups that are named in words."""
    symmetric = {*calc.structure.labels, *calc.structure.symbols, None}
    turned = any(w.function or w.where not in symmetric for words in asked.values() for w in words)
    rows = []
    for words in asked.values():
        found = [chosen_orbitals(word, calc.structure, calc.basis) for word in words]
        members = np.unique(np.concatenate(found))
        spinors = calc.spin is Spin.NONCOLLINEAR
        both = (members, members + calc.basis.n_orbitals) if spinors else (members,)
        rows.append(np.concatenate(both))
    return OrbitalGroups(tuple(asked), rows, "time-reversal" if turned else "point-group")


def parse_projection(
    by: str | Sequence[str],
) -> tuple[str, ...] | dict[str, tuple[Word, ...]]:
    """Return the fields of a projection, or the words of each of its groups.

    `UsageError` for what is neither, and for both at once.
    """
    given = [part.strip() for part in by.split(",")] if isinstance(by, str) else list(by)
    if not given or all(not part or part in FIELDS for part in given):
        return _parse_fields(by)
    if mixed := [part for part in given if part in FIELDS]:
        raise UsageError(
            f"'{','.join(given)}' mixes fields ({', '.join(mixed)}) with orbitals in words: give "
            f"one or the other, such as species,l or {EXAMPLES}."
        )
    try:
        return parse_words(",".join(given))
    except UsageError as error:
        raise UsageError(
            f"{error} Or projections are resolved by a combination of {', '.join(FIELDS)}."
        ) from error


def _parse_fields(by: str | Sequence[str]) -> tuple[str, ...]:
    """Return the fields of a projection in the order of `FIELDS`; `UsageError` lists these."""
    given = [part.strip() for part in by.split(",")] if isinstance(by, str) else list(by)
    unknown = [part for part in given if part not in FIELDS]
    if unknown or not given:
        raise UsageError(
            f"projections are resolved by a combination of {', '.join(FIELDS)}, such as "
            f"species,l; found '{','.join(given)}'."
        )
    return tuple(field for field in FIELDS if field in given)
