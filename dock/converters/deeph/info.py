"""info.json: what the matrices of a unified folder refer to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError
from dock.io.text import read_json, without_folders

__all__ = [
    "CARRIED",
    "FORMAT_VERSION",
    "LAYOUT_VERSION",
    "OWN",
    "SHELL_KINDS",
    "Info",
    "check_counts",
    "optional_number",
    "read_info",
    "require_version",
    "required_flag",
    "unknown_keys",
]

FORMAT_VERSION = "1.0"
"""What a folder of plain matrices says, so that older programs take it."""

LAYOUT_VERSION = "1.1"
"""What a folder says whose H is split, or whose blocks are expanded or stacked."""

_READ = (
    *("atoms_quantity", "orbits_quantity", "orthogonal_basis", "spinful", "fermi_energy_eV"),
    *("elements_orbital_map", "occupation", "dock"),
    *("split_hkb", "hamiltonian_storage", "spin_treatment"),
)
OWN = (
    *("format_version", "dock_version", "spin", "pbc", "species", "elements", "source_order"),
    "provenance",
)
"""Keys below ``dock``."""

SHELL_KINDS = "shell_kinds"
"""Key of `Provenance.extra`: numbers of the core, valence and unoccupied shells of the species."""

CARRIED = {
    "basis": "name of the basis (PySCF)",
    "elements_core_orbital_index": "core shells (FHI-aims)",
    "elements_valence_orbital_index": "valence shells (FHI-aims)",
    "elements_unoccupied_orbital_index": "unoccupied shells (FHI-aims)",
    "elements_force_rcut_map": "radii of a force field",
    "max_num_neighbors": "neighbours of a force field",
    "elements_fitting_map": "shells of a charge-density fit",
}
"""Keys of other programs that are passed on, and what they are."""

_MATRICES = ("hamiltonian_", "overlap_", "density_matrix_", "position_")
_MEANING = re.compile(
    r"(?:^|_)(?:storage|split|units?|treatment|conventions?|layout|gauge|phase|minus|shifted|"
    r"transposed|conjugated|harmonics|order|ordering|format_version|triangle|triangular|half|"
    r"scale|delta|hermitian)(?:_|$)"
)
_WORD_ENDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|\W")
_SPLIT_WORDS = {"full": False, "spinless_plus_hkb": True}


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
    split
        Whether H is the sum of ``hamiltonian.h5``, on both spins alike, and ``hkb.h5``.
    stacked
        Whether the spin treatment is said to be collinear, as blocks (2n_i, n_j) need it.
    orthogonal
        Whether the basis is said to be orthonormal.
    others
        The keys that are passed on: they touch no number that is read here. A key ``dock`` that is
        not ours is among them, and is not.
    """

    element_shells: Mapping[str, tuple[int, ...]]
    spinful: bool
    fermi_level: float | None = None
    n_electrons: float | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    n_atoms: float | None = None
    n_orbitals: float | None = None
    split: bool = False
    stacked: bool = False
    orthogonal: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self, structure: Structure, basis: Basis) -> str:
        """Return the file's single line of JSON."""
        electrons = self.n_electrons
        if electrons is not None and abs(electrons - round(electrons)) < 1e-9:
            electrons = round(electrons)
        content: dict[str, Any] = {
            "atoms_quantity": structure.n_atoms,
            "orbits_quantity": basis.n_orbitals,
            "orthogonal_basis": self.orthogonal,
            "spinful": self.spinful,
            "fermi_energy_eV": self.fermi_level,
            "elements_orbital_map": {name: list(ls) for name, ls in self.element_shells.items()},
        }
        if electrons is not None:
            content["occupation"] = electrons
        if self.split:
            content["split_hkb"] = True
        if self.stacked:
            content["spin_treatment"] = "collinear"
        content["dock"] = {
            key: without_folders(value) if key == "provenance" else value
            for key, value in self.own.items()
        }
        # Bytes of a source that are no UTF-8 are escaped, and come back as they were.
        text = json.dumps(content, allow_nan=False, ensure_ascii=_has_foreign_bytes(content))
        others = {name: value for name, value in self.others.items() if name != "dock"}
        if others:  # as they were, NaN too
            written = json.dumps(others, ensure_ascii=_has_foreign_bytes(others))
            text = f"{text[:-1]}, {written[1:]}"
        return text + "\n"

    @property
    def spin(self) -> Spin | None:
        """The spin treatment where the file says it; None where the matrices must be looked at."""
        if not self.spinful:
            return Spin.NONE
        if self.split or self.stacked:
            return Spin.NONCOLLINEAR if self.split else Spin.COLLINEAR
        try:
            return Spin(self.own.get("spin"))
        except ValueError:
            return None


def _refused(
    path: Path, problem: str, key: str, expected: str, value: Any, fix: str | None = None
) -> FormatError:
    """Return what to raise for the value of a key; its beginning is shown."""
    found = json.dumps(value)[:80]
    return FormatError(path, problem, where=key, expected=expected, found=found, fix=fix)


def _has_foreign_bytes(content: Mapping[str, Any]) -> bool:
    """Say whether a text in plain data holds bytes that are no UTF-8."""
    return re.search("[\ud800-\udfff]", json.dumps(content, ensure_ascii=False)) is not None


def read_info(path: str | Path) -> Info:
    """Read info.json; keys that are not known are kept, unless their name touches the matrices.

    Raises
    ------
    MissingDataError
        When the file is not there.
    FormatError
        When it is not JSON, a key is missing, has the wrong type or an unknown word, keys
        contradict each other, or an unknown one may change what the matrices mean.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(
            "info.json", path.parent, "It holds the orbitals of each element: copy it there."
        )
    content = read_json(path)
    own = content.get("dock")
    own = own if isinstance(own, dict) else {}
    require_version(path, own.get("format_version"), "dock.format_version")
    spinful = required_flag(path, content, "spinful")
    orthogonal = "orthogonal_basis" in content and required_flag(path, content, "orthogonal_basis")
    split, stacked = _read_split(path, content), _read_treatment(path, content)
    if not spinful and (split or stacked):
        raise FormatError(
            path,
            "H with spin parts needs 'spinful'",
            where="split_hkb" if split else "spin_treatment",
            expected='"spinful": true',
            found="false",
            fix="hamiltonian.h5 is H without its nonlocal part, which hkb.h5 holds."
            if split
            else "A run without spin has no such key.",
        )
    if split and stacked:
        raise FormatError(
            path,
            "a split H is non-collinear",
            where="spin_treatment",
            expected="one of spin_treatment and split_hkb",
            found="both",
        )
    return Info(
        _read_shells(path, content.get("elements_orbital_map")),
        spinful,
        optional_number(path, content, "fermi_energy_eV"),
        optional_number(path, content, "occupation"),
        own,
        optional_number(path, content, "atoms_quantity"),
        optional_number(path, content, "orbits_quantity"),
        split,
        stacked,
        orthogonal,
        unknown_keys(path, content, _READ),
    )


def require_version(path: Path, version: Any, where: str) -> None:
    """Refuse a folder or file of another major version of the format; None is no version."""
    if version is None or re.fullmatch(r"1(\.\d+)*", str(version)):
        return
    raise FormatError(
        path,
        "this version of the format is not known",
        where=where,
        expected=f"1.0 to {LAYOUT_VERSION}, or a later 1.x",
        found=version,
        fix="Read it with the version of dock that wrote it, or a newer one.",
    )


def _read_split(path: Path, content: Mapping[str, Any]) -> bool:
    """Return whether H is split, from the key of today and the older one."""
    said = [required_flag(path, content, "split_hkb")] if "split_hkb" in content else []
    if "hamiltonian_storage" in content:
        word = content["hamiltonian_storage"]
        if not isinstance(word, str) or word not in _SPLIT_WORDS:
            words = " or ".join(_SPLIT_WORDS)
            raise _refused(
                path, "it is unknown how H is stored", "hamiltonian_storage", words, word
            )
        said.append(_SPLIT_WORDS[word])
    if len(set(said)) > 1:
        raise FormatError(
            path,
            "two keys disagree on how H is stored",
            where="split_hkb, hamiltonian_storage",
            expected="the same in both, or split_hkb alone",
            found=f"{json.dumps(said[0])} and {content['hamiltonian_storage']}",
        )
    return any(said)


def _read_treatment(path: Path, content: Mapping[str, Any]) -> bool:
    """Return whether the file says that spin is collinear, in the words of aimspy."""
    word = content.get("spin_treatment")
    if word in (None, "collinear") or (word == "none" and content.get("spinful") is False):
        return word == "collinear"
    expected = "collinear, or no such key"
    raise _refused(path, "the treatment of spin is unknown", "spin_treatment", expected, word)


def unknown_keys(path: Path, content: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys to pass on; refuse one that may change what the matrices mean."""
    others = {name: value for name, value in content.items() if name not in known}
    if not isinstance(content.get("dock", {}), dict):
        others["dock"] = content["dock"]
    for name, value in others.items():
        words = _WORD_ENDS.sub("_", name).lower()
        touches = _MEANING.search(words) or words.startswith(_MATRICES)
        if touches and name not in CARRIED and value is not None and value is not False:
            raise _refused(
                path,
                "an unknown key may change what the matrices mean",
                name,
                ", ".join(known),
                value,
                fix="A newer dock may know it; where it does not touch the numbers, take it out.",
            )
    return others


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
        expected = 'a map such as {"Si": [0, 0, 1, 1, 2]}, one l for each radial shell'
        problem = "the orbitals of the elements are unknown"
        raise _refused(path, problem, "elements_orbital_map", expected, value)
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
