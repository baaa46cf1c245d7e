"""info.json: what the matrices of a unified folder refer to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError
from dock.io.text import read_json

__all__ = [
    "FORMAT_VERSION",
    "Info",
    "check_counts",
    "optional_number",
    "read_info",
    "required_flag",
]

FORMAT_VERSION = "1.0"


@dataclass(frozen=True)
class Info:
    """The content of info.json.

    Attributes
    ----------
    element_shells
        Angular momenta of the shells by element symbol, in matrix order.
    spinful
        Whether H and ρ blocks carry spin.
    fermi_level
        Fermi level, eV, or None.
    n_electrons
        Electrons per cell or None.
    own
        What `dock` adds under the key ``dock``: format version, spin, periodicity, species labels,
        the source's atom order and provenance. Other programs ignore it.
    n_atoms, n_orbitals
        The counts that the file claims, to be compared with POSCAR.
    """

    element_shells: Mapping[str, tuple[int, ...]]
    spinful: bool
    fermi_level: float | None = None
    n_electrons: float | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    n_atoms: float | None = None
    n_orbitals: float | None = None

    def to_json(self, structure: Structure, basis: Basis) -> str:
        """Return the file's single line of JSON."""
        electrons = self.n_electrons
        if electrons is not None and abs(electrons - round(electrons)) < 1e-9:
            electrons = round(electrons)
        content: dict[str, Any] = {
            "atoms_quantity": structure.n_atoms,
            "orbits_quantity": basis.n_orbitals,
            "orthogonal_basis": False,
            "spinful": self.spinful,
            "fermi_energy_eV": self.fermi_level,
            "elements_orbital_map": {name: list(ls) for name, ls in self.element_shells.items()},
        }
        if electrons is not None:
            content["occupation"] = electrons
        content["dock"] = dict(self.own)
        return json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n"

    @property
    def spin(self) -> Spin | None:
        """The spin treatment where the file says it; None where the matrices must be looked at."""
        if not self.spinful:
            return Spin.NONE
        try:
            return Spin(self.own.get("spin"))
        except ValueError:
            return None


def read_info(path: str | Path) -> Info:
    """Read info.json; keys that are not known are passed over.

    Raises
    ------
    MissingDataError
        When the file is not there.
    FormatError
        When it is not JSON, or a key is missing or has the wrong type.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(
            "info.json", path.parent, "It holds the orbitals of each element: copy it there."
        )
    content = read_json(path)
    own = content.get("dock")
    return Info(
        _read_shells(path, content.get("elements_orbital_map")),
        required_flag(path, content, "spinful"),
        optional_number(path, content, "fermi_energy_eV"),
        optional_number(path, content, "occupation"),
        own if isinstance(own, dict) else {},
        optional_number(path, content, "atoms_quantity"),
        optional_number(path, content, "orbits_quantity"),
    )


def check_counts(path: Path, info: Info, structure: Structure, basis: Basis) -> None:
    """Raise where the counts of info.json contradict POSCAR and the element map."""
    counts = (
        ("atoms_quantity", info.n_atoms, structure.n_atoms),
        ("orbits_quantity", info.n_orbitals, basis.n_orbitals),
    )
    for key, counted, expected in counts:
        if counted is not None and counted != expected:
            raise FormatError(
                path,
                "info.json and POSCAR disagree",
                where=key,
                expected=f"{expected} (from POSCAR and elements_orbital_map)",
                found=f"{counted:g}",
                fix="The files belong to different structures; convert the run again.",
            )


def _read_shells(path: Path, value: Any) -> dict[str, tuple[int, ...]]:
    good = (
        isinstance(value, dict)
        and bool(value)
        and all(
            isinstance(ls, list) and ls and all(type(x) is int and 0 <= x <= 12 for x in ls)
            for ls in value.values()
        )
    )
    if not good:
        raise FormatError(
            path,
            "the orbitals of the elements are unknown",
            where="elements_orbital_map",
            expected='a map such as {"Si": [0, 0, 1, 1, 2]}, one l for each radial shell',
            found=json.dumps(value)[:80],
        )
    return {name: tuple(ls) for name, ls in value.items()}


def required_flag(path: Path, content: Mapping[str, Any], key: str) -> bool:
    """Return a truth value of info.json that must be there."""
    value = content.get(key)
    if not isinstance(value, bool):
        found = json.dumps(value) if key in content else "no such key"
        raise FormatError(
            path, "a key is missing or wrong", where=key, expected="true or false", found=found
        )
    return value


def optional_number(path: Path, content: Mapping[str, Any], key: str) -> float | None:
    """Return a finite number of info.json; None where it is null or not there."""
    value = content.get(key)
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not -1e300 < value < 1e300:
        raise FormatError(
            path, "a key is wrong", where=key, expected="a finite number or null", found=value
        )
    return float(value)
