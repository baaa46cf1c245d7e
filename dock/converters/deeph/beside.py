"""What a unified folder has beside the matrices: named, and carried along unchanged."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.deeph.blockfile import ATTRIBUTES
from dock.converters.deeph.fields import (
    DATASETS as FIELD_FILES,
    E0S,
    describe_energies,
    describe_fields,
    others_in,
    read_energies,
    read_fields,
)
from dock.converters.deeph.info import CARRIED, OWN, Info
from dock.converters.deeph.pattern import DATASETS, FIX, HKB
from dock.core.calculation import Calculation, MatrixSource
from dock.core.quantity import FIELDS
from dock.errors import DockError
from dock.io.files import readable
from dock.io.hdf5 import open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = ["MOMENTS", "RESULTS", "SIDE_FILES", "Beside", "inputs_of"]

MOMENTS = "moments.json"
"""Spin moments, a list of three numbers in μ_B for each atom."""

SIDE_FILES = {
    "force.h5": "energy, forces and stress",
    "force_pred.h5": "predicted energy, forces and stress",
    "e0s.json": "reference energies of the elements",
    "hamiltonian.h5": "Hamiltonian; another file was named as H",
    "hamiltonian_raw.h5": "Hamiltonian before a correction",
    "*_pred.h5": "prediction",
    "prediction.json": "report of a prediction",
    "uncertainty.h5": "spread of a prediction",
    "charge_density.h5": "charge density on a grid",
    "potential_r.h5": "potential on a grid",
    "wavefunction_ao.h5": "eigenstates in orbitals",
    "wavefunction_r.h5": "eigenstates on a grid",
    MOMENTS: "spin moments of the atoms",
    "K_PATH": "path of k-points",
    "README*": "description",
    "basis/*.h5": "radial functions of an element",
    "species*.h5": "basis and pseudopotentials",
    HKB: "nonlocal part of a split H, which info.json does not declare (split_hkb): ignored",
}
"""Files that belong to the structure, or its runs, by name or pattern, and what they are."""

RESULTS = (
    *("band.h5", "band.json", "eigval.h5", "*_eigval.h5", "dos.h5", "dos.json"),
    *("fermi_energy.json", "fermi_energy.h5", "populations.h5", "populations.json"),
    *("unfold.h5", "unfold.json", "wavefunction.h5", "wavefunction.json"),
    "wavefunction_ao.json",
    *("errors.h5", "errors.json", "equivariance.h5", "equivariance.json", "evaluation/*"),
)
"""Results of one Hamiltonian, by name or pattern: made again with another, never carried."""

_STATES = ("wavefunction_ao.h5", "wavefunction_r.h5")
"""States that took long to compute: carried along with the very H."""

_WITH_PHASE = ("eigenvectors",)
_OWN = {"POSCAR", "info.json", ".dock.json"}
_UNDER_WAY = re.compile(r"\..*\.(part|kept)")  # see dock.io.files and dock.states.kept
_RESULT = "result of H, not carried to another folder: compute it there"
_UNKNOWN = "unknown"
_FOLDER = "unified folder of its own"
_WAITING = "nonlocal part of a split H, whose other part is not there"
_SMALL = 2**20  # bytes of a file of numbers that is read to be named


@dataclass(frozen=True, eq=False)
class Beside:
    """What a folder has beside what is read of it.

    Attributes
    ----------
    folder, info
        The folder, and its info.json.
    files, readers
        File and reader of each matrix that is read.
    sizes
        Numbers of atoms and orbitals, which its other files must fit.
    read
        Further files that are read.
    unread
        Says what else the files that are read hold, and a new folder has no place for.
    """

    folder: Path
    info: Info
    files: Mapping[str, tuple[str, ...]]
    readers: Mapping[str, MatrixSource]
    sizes: Mapping[str, int] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    unread: Callable[[], list[str]] = list

    @property
    def is_split(self) -> bool:
        """Whether H was read from two files."""
        return HKB in self.files.get("hamiltonian", ())

    @property
    def side_files(self) -> dict[str, str]:
        """Every other file by its name relative to the folder, and what it is."""
        taken = _OWN | {*self.read} | {name for names in self.files.values() for name in names}
        names = (name for name in sorted(_below(self.folder)) if name not in taken)
        return {
            name: _WAITING if name == HKB and self.info.split else _describe(name) for name in names
        }

    def rows(self, calc: Calculation | None = None) -> list[dict[str, str]]:
        """Return name and meaning of every file, key, dataset and attribute that is not read."""
        rows = [(name, self._in_words(name, what)) for name, what in self.side_files.items()]
        if calc is not None:
            mark = cache(lambda: None if calc.hamiltonian is None else calc.hamiltonian.digest())
            rows = [(name, what + self._whose(name, mark)) for name, what in rows]
        keys = [*self.info.others, *(f"dock.{key}" for key in self.info.own if key not in OWN)]
        rows += [(f"info.json: {key}", CARRIED.get(key, _UNKNOWN)) for key in keys]
        for names in self.files.values():
            for file in names:
                rows += [(f"{file}: {name}", _UNKNOWN) for name in self.extras(file)]
        rows += [(name, _UNKNOWN) for name in self.unread()]
        return [{"name": name, "what": what} for name, what in rows]

    def _whose(self, name: str, hamiltonian: Callable[[], str | None]) -> str:
        """Say where a result names the hash of another H than the folder's."""
        if _describe(name) != _RESULT or not name.endswith(".h5"):
            return ""
        with contextlib.suppress(DockError), open_hdf5(self.folder / name, FIX) as file:
            mark = file.attrs.get("hamiltonian_hash")
            if mark is not None and hamiltonian() not in (None, mark):
                return "; it was made from another H than that of this folder"
        return ""

    def names(self) -> list[str]:
        """Return the names of all that is not read."""
        return [row["name"] for row in self.rows()]

    def _in_words(self, name: str, what: str) -> str:
        """Return what a file is, and what it says where that takes no time."""
        path = self.folder / name
        is_small = path.is_file() and path.stat().st_size <= _SMALL
        if not is_small or name not in (*FIELD_FILES, E0S):
            return what
        try:
            if name == E0S:
                return f"{what}; {describe_energies(*read_energies(path))}"
            others = [] if what == _RESULT else others_in(path)
            return f"{what}; {describe_fields(read_fields(path, self.sizes), others)}"
        except DockError:
            return f"{what}; damaged"

    def fields(self) -> dict[str, tuple[str, NDArray[Any]]]:
        """Return unit and values of the numbers beside the matrices, but for results of H.

        States are checked, and not among them: they may need gigabytes, and each has a phase.

        Raises
        ------
        FormatError
            When a file is damaged or belongs to another structure.
        """
        values: dict[str, tuple[str, NDArray[Any]]] = {}
        for file in (name for name, what in self.side_files.items() if what != _RESULT):
            if not (self.folder / file).is_file():
                continue
            if file in FIELD_FILES:
                parts = read_fields(self.folder / file, self.sizes, without=_WITH_PHASE)
                values |= {f"{file}: {key}": (FIELDS[key].unit, parts[key]) for key in parts}
            elif file == E0S:
                e0s = read_energies(self.folder / file)[0]
                values |= {f"{file}: {key}": ("eV", np.array(e0s[key])) for key in e0s}
        return values

    def extras(self, file: str) -> list[str]:
        """Return the datasets, groups and attributes of a matrix file that are not read."""
        with open_hdf5(self.folder / file, FIX) as source:
            return [name for name, _ in _extras(source)]

    def is_own(self, name: str, calc: Calculation) -> bool:
        """Say whether a calculation's matrix is still the one of this folder."""
        return name in self.readers and calc.matrices.get(name) is self.readers[name]

    def carry_into(self, file: str) -> Callable[[h5py.File], None]:
        """Return what copies into a new file all of a matrix's file that is not the matrix."""

        def carry(target: h5py.File) -> None:
            with open_hdf5(self.folder / file, FIX) as source:
                for _, copy in _extras(source):
                    copy(target)

        return carry

    def carry_files(self, target: Path, *, same_hamiltonian: bool) -> tuple[list[Path], list[str]]:
        """Copy the side files into a folder with all its matrices.

        Returns
        -------
        written
            The new files.
        left
            The names that were not carried, each with the reason.
        """
        written, left = [], []
        for name, what in self.side_files.items():
            reason = ""
            if what == _RESULT:
                reason = what
            elif name in _STATES and not same_hamiltonian:
                reason = "it belongs to the H of its folder"
            elif name == "hamiltonian.h5" and (target / "hamiltonian_pred.h5").exists():
                reason = "the prediction is the H of the new folder"
            elif (target / name).exists():
                reason = "a file of this name is written from the matrices"
            elif name.endswith("/"):
                reason = what
            elif not (self.folder / name).is_file():
                reason = "no ordinary file"
            if reason:
                left.append(f"{name} ({reason})")
                continue
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with readable(self.folder / name):
                shutil.copyfile(self.folder / name, place)
            written.append(place)
        return written, left


def inputs_of(path: Path) -> list[Path]:
    """Return the files that decide whether a folder has changed: all but results of its H."""
    folder = path.parent if path.is_file() else path
    names = [
        name
        for name in _below(folder)
        if name != ".dock.json" and not name.endswith("/") and _describe(name) != _RESULT
    ]
    return [folder / name for name in sorted(names)]


def _below(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, and other unified folders there as ``name/`` without theirs.

    What is being written is not among them.
    """
    for here, folders, files in os.walk(folder):
        place = Path(here)
        inside = [name for name in folders if not _UNDER_WAY.fullmatch(name)]
        others = [name for name in inside if _is_unified(place / name)]
        links = [name for name in inside if (place / name).is_symlink() and name not in others]
        folders[:] = sorted(set(inside) - {*links, *others})
        for name in (*files, *links, *(f"{name}/" for name in others)):
            if not _UNDER_WAY.fullmatch(name):
                yield f"{(place / name).relative_to(folder).as_posix()}{'/' * name.endswith('/')}"


def _is_unified(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("POSCAR", "info.json"))


def _describe(name: str) -> str:
    if name.endswith("/"):
        return _FOLDER
    names = (name, name.rpartition("/")[2])
    if any(fnmatchcase(each, pattern) for pattern in RESULTS for each in names):
        return _RESULT
    known = (what for pattern, what in SIDE_FILES.items() if fnmatchcase(name, pattern))
    return next(known, _UNKNOWN)


def _extras(source: h5py.File) -> Iterator[tuple[str, Callable[[h5py.File], None]]]:
    """Yield each dataset, group and attribute that is not the format's, and what copies it."""
    for name in source:
        if name not in DATASETS:
            yield name, partial(_copy_object, source, name)
    for place in ("/", *DATASETS):
        for name in source[place].attrs:
            if place != "/" or name not in ATTRIBUTES:
                label = f"attribute {name}" + ("" if place == "/" else f" of {place}")
                yield label, partial(_copy_attribute, source, place, name)


def _copy_object(source: h5py.File, name: str, target: h5py.File) -> None:
    """Copy a dataset or group; a link stays one, wherever it leads."""
    import h5py

    link = source.get(name, getlink=True)
    if isinstance(link, h5py.HardLink):
        source.copy(name, target)
    else:
        target[name] = link


def _copy_attribute(source: h5py.File, place: str, name: str, target: h5py.File) -> None:
    attributes = source[place].attrs
    kind = attributes.get_id(name).dtype
    target[place].attrs.create(name, attributes[name], dtype=kind)
