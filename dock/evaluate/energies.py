"""Energies of a data set relative to those of its elements: fitted, subtracted, restored.

A total energy is mostly the sum of energies that belong to the elements; E ≈ Σ n_el E0_el by least
squares. What is left is what a model of energies and forces learns.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.deeph import fields
from dock.converters.deeph.dataset import find_structures
from dock.converters.deeph.poscar import read_poscar
from dock.errors import MissingDataError, UsageError
from dock.io.files import folder_transaction, link_or_copy, readable, write_text
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.progress import Progress, Report
from dock.io.text import json_text

__all__ = ["FILE", "ReferenceEnergies", "fit_energies", "read_energies", "shift_energies"]

FILE, FORCES = fields.E0S, "force.h5"
_log = logging.getLogger("dock")
_FIX = "Copy it again, or make the folder again."


@dataclass(frozen=True)
class ReferenceEnergies:
    """Energies of the elements, eV.

    `standardized` says whether they are subtracted from the energies beside the file;
    `n_structures` had energies, `n_unknown` none (0.0 is aimspy's placeholder); `residual` is the
    root mean square of what is left, eV per atom; `rank` below the number of elements means that
    only their sums in these compositions are determined.
    """

    e0s: Mapping[str, float]
    standardized: bool = False
    n_structures: int = 0
    n_unknown: int = 0
    residual: float | None = None
    rank: int | None = None

    def of(self, counts: Mapping[str, int], source: Path) -> float:
        """Return Σ n_el E0_el, eV; a `UsageError` where an element has none."""
        missing = [name for name in counts if name not in self.e0s]
        if missing:
            raise UsageError(
                f"{source}: no energy of {', '.join(missing)} among {', '.join(self.e0s)}. Fit the "
                "energies of this data set."
            )
        return float(sum(n * self.e0s[name] for name, n in counts.items()))

    def facts(self) -> dict[str, Any]:
        """Return the energies, and how they were fitted, by key; see `dock.results.KEYS`."""
        facts: dict[str, Any] = {"e0s_eV": dict(self.e0s), "standardized": self.standardized}
        if self.residual is not None:
            facts["residual_eV_per_atom"] = self.residual
            facts |= {"n_structures": self.n_structures, "n_without_energy": self.n_unknown}
            facts["rank"] = self.rank
        return facts

    def rows(self) -> list[list[str]]:
        """Return how the energies were fitted, in words."""
        if self.residual is None:
            return []
        rows = [["left", f"{self.residual:.6f} eV per atom (root mean square)"]]
        rows += [["structures", f"{self.n_structures}, and {self.n_unknown} without an energy"]]
        if self.rank is not None and self.rank < len(self.e0s):
            rows += [
                ["rank", f"{self.rank} of {len(self.e0s)}: only sums over them are determined"]
            ]
        return rows

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``e0s.json`` as the DeepH programs have it; return the file."""
        content = {"e0s": dict(self.e0s), "standardized": self.standardized}
        write_text(path, json_text(content) + "\n", overwrite=overwrite)
        return Path(path)


def read_energies(path: str | Path) -> ReferenceEnergies:
    """Read ``e0s.json``; raises as `dock.converters.deeph.fields.read_energies`."""
    return ReferenceEnergies(*fields.read_energies(Path(path)))


def fit_energies(folder: str | Path, *, progress: Report = None) -> ReferenceEnergies:
    """Fit the energies of the elements to the total energies of a data set.

    Raises
    ------
    MissingDataError
        When no structure has an energy.
    UsageError
        When they have been subtracted already.
    FormatError
        When a file is damaged.
    """
    _require_state(Path(folder), standardized=False)
    found = list(_energies(folder, Progress.of(progress).each))
    known = [(counts, energy) for _, counts, energy in found if energy]
    if not known:
        raise MissingDataError(
            "a total energy", folder, "No structure has a force.h5 with an energy other than 0."
        )
    elements = list(dict.fromkeys(name for counts, _ in known for name in counts))
    table = np.array([[counts[name] for name in elements] for counts, _ in known], dtype=float)
    energies = np.array([energy for _, energy in known])
    e0s, _, rank, _ = np.linalg.lstsq(table, energies, rcond=None)
    left = (energies - table @ e0s) / table.sum(axis=1)
    return ReferenceEnergies(
        dict(zip(elements, e0s.tolist(), strict=True)),
        n_structures=len(known),
        n_unknown=len(found) - len(known),
        residual=float(np.sqrt(np.mean(left**2))),
        rank=int(rank),
    )


def shift_energies(
    folder: str | Path,
    output: str | Path,
    energies: ReferenceEnergies,
    *,
    restore: bool = False,
    overwrite: bool = False,
    progress: Report = None,
) -> list[Path]:
    """Make a data set whose energies lack, or have again, those of the elements.

    Nothing of the data set itself is changed. The new one has all its files (matrices as links
    where the disk can), new ``force.h5`` and, at its top, ``e0s.json``. An energy of 0.0, which is
    unknown, is left out when energies are subtracted.

    Parameters
    ----------
    folder, output
        The data set, and the folder of the new one.
    energies
        Of the elements.
    restore
        Add them instead. Where the data set has no ``e0s.json``, `energies` must be standardized.
    overwrite
        Replace files that exist.
    progress
        Told the structures done and their number.

    Returns
    -------
    list of Path
        The new ``force.h5`` and ``e0s.json``.

    Raises
    ------
    UsageError
        When they have been subtracted already, or were not; when an element has none.
    OutputError
        When files exist or cannot be written.
    """
    source, target = Path(folder), Path(output)
    if (source / FILE).is_file():
        _require_state(source, standardized=restore)
    elif restore and not energies.standardized:
        raise UsageError(
            f"{source}: nothing says that the energies of the elements are subtracted: it has no "
            f"{FILE}, and the given energies do not say standardized."
        )
    elif energies.standardized and not restore:
        _log.warning(
            "%s: the given energies say that they are subtracted already (standardized); it is "
            "taken to be said of another data set, since this one has no %s.",
            source,
            FILE,
        )
    if target.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"{target}: the new data set cannot lie in the old one. Pass another.")
    written, places = [target / FILE], []
    with folder_transaction(target, overwrite=overwrite) as temporary:
        for place, counts, energy in _energies(source, Progress.of(progress).each):
            places.append(place)
            if energy is None:
                continue
            shift = energies.of(counts, place)
            is_unknown = energy == 0 and not restore
            new = None if is_unknown else energy + (shift if restore else -shift)
            file = place.relative_to(source) / FORCES
            (temporary / file).parent.mkdir(parents=True, exist_ok=True)
            _write_forces(place / FORCES, temporary / file, new)
            written.append(target / file)
        ReferenceEnergies(energies.e0s, not restore).save(temporary / FILE)
        for path in (path for folder in (source, *places) for path in sorted(folder.rglob("*"))):
            copy = temporary / path.relative_to(source)
            if path.is_file() and not copy.exists():
                copy.parent.mkdir(parents=True, exist_ok=True)
                with readable(path):
                    (link_or_copy if path.suffix == ".h5" else shutil.copyfile)(path, copy)
    return written


def _require_state(folder: Path, *, standardized: bool) -> None:
    """Refuse to subtract twice, or to restore what was not subtracted."""
    path = folder / FILE
    if (path.is_file() and read_energies(path).standardized) != standardized:
        raise UsageError(
            f"{folder}: the energies of the elements are "
            + ("not subtracted: e0s.json does not say so." if standardized else "subtracted.")
        )


def _energies(
    folder: str | Path, each: Callable[[list[str]], Iterable[str]]
) -> Iterator[tuple[Path, Counter[str], float | None]]:
    """Yield folder, atoms of each element and total energy (None if there is none)."""
    root, names = find_structures(folder)
    for name in each(names):
        structure, energy = read_poscar(root / name / "POSCAR"), None
        if (root / name / FORCES).is_file():
            values = fields.read_fields(root / name / FORCES, {"n_atoms": structure.n_atoms})
            energy = float(values["energy"]) if "energy" in values else None
        yield root / name, Counter(structure.symbols), energy


def _write_forces(source: Path, target: Path, energy: float | None) -> None:
    """Copy a file of forces with another energy, or without one."""
    with open_hdf5(source, _FIX) as old, new_hdf5(target) as new:
        for name in old:
            if name != "energy":
                old.copy(old[name], new, name)
        new.attrs.update(old.attrs)
        if energy is not None:
            new.create_dataset("energy", data=np.full(old["energy"].shape, energy))
            new["energy"].attrs.update(old["energy"].attrs)
