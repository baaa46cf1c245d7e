"""The unified folder: POSCAR, info.json and block files, read lazily."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.deeph.beside import Beside
from dock.converters.deeph.blockfile import (
    FREE,
    LOCAL,
    NONLOCAL,
    detect_spin,
    has_spin_blocks,
    holds_zeros,
    read_attributes,
    read_matrix,
)
from dock.converters.deeph.info import Info, check_counts, read_info
from dock.converters.deeph.pattern import HKB, read_pairs
from dock.converters.deeph.poscar import read_poscar
from dock.converters.format import ReadOptions
from dock.core.basis import Basis
from dock.core.calculation import Calculation, MatrixSource, Provenance
from dock.core.elements import SYMBOLS, atomic_number
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.files import readable
from dock.io.text import read_json

__all__ = [
    "FILES",
    "MADE_BY",
    "PREDICTED",
    "PREDICTION",
    "UNKNOWN_MODEL",
    "Head",
    "read_folder",
    "read_head",
]

_log = logging.getLogger("dock")

FILES = {
    "overlap": "overlap.h5",
    "hamiltonian": "hamiltonian.h5",
    "density_matrix": "density_matrix.h5",
    "position": "position_matrix.h5",
    "energy_density_matrix": "energy_density_matrix.h5",
    "kinetic": "kinetic_matrix.h5",
    "gradient": "gradient_matrix.h5",
    "kinetic_gradient": "kinetic_gradient_matrix.h5",
    "hamiltonian0": "hamiltonian0.h5",
    "hamiltonian_init": "hamiltonian_init.h5",
    "electric_response": "electric_response.h5",
    "momentum": "momentum.h5",
}
"""File of each quantity; the first four and the last four are of the DeepH programs, the others
ours."""

PREDICTION, REPORT = "hamiltonian_pred.h5", "prediction.json"

PREDICTED = "predicted"
"""Key of `Provenance.extra`: the matrices that a model predicted, or that were computed from such,
each with the model's fingerprint."""

MADE_BY = "made_by"
"""Key of `Provenance.extra`: who made the operators that models learn to correct, as their files
say (``source_code``); it may be another program than that of the run."""

UNKNOWN_MODEL = "unknown"
_MADE = ("hamiltonian", "density_matrix", "energy_density_matrix")
_CORRECTED = ("hamiltonian0", "hamiltonian_init")

_PLACEHOLDERS = ("density_matrix", "energy_density_matrix", "position", "gradient")
"""What formats with a place for everything get as zeros, and such a folder may have got of them."""

ZEROS = "{file} holds zeros only: a placeholder for what nobody had. It is left out."


def read_folder(path: Path, options: ReadOptions | None = None) -> Calculation:  # noqa: ARG001
    """Read a unified folder; no matrix is read before it is asked for.

    Parameters
    ----------
    path
        The folder, or one matrix file in it: ``hamiltonian_pred.h5`` then is the Hamiltonian.
    options
        Not used.

    Raises
    ------
    MissingDataError
        When POSCAR or info.json is not there.
    FormatError
        When a file is damaged or two files disagree.
    """
    folder = path.parent if path.is_file() else path
    return read_head(folder).calculation(path)


@dataclass(frozen=True, eq=False)
class BlockSource:
    """One matrix file of a folder: read whole, or the rows of some atoms; see `RowSource`."""

    path: Path
    quantity: str
    structure: Structure
    basis: Basis
    spin: Spin
    split: bool = False

    def __call__(self) -> AOMatrix:
        """Read the matrix."""
        return self._read(None)

    def rows(self, first: int, stop: int) -> AOMatrix:
        """Read the blocks of the atoms first ≤ i < stop, and no others."""
        return self._read((first, stop))

    def pairs(self) -> Pairs:
        """Read which pairs there are."""
        return read_pairs(self.path, self.basis.n_atoms)

    def fingerprint(self) -> str:
        """Return a hash of the file, read in parts."""
        with readable(self.path), self.path.open("rb") as stream:
            return hashlib.file_digest(stream, _hash).hexdigest()

    def _read(self, atoms: tuple[int, int] | None) -> AOMatrix:
        place = (self.structure, self.basis, self.spin)
        return read_matrix(self.path, self.quantity, *place, split=self.split, atoms=atoms)


def _hash() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


@dataclass(frozen=True)
class Head:
    """What a unified folder says of its matrices.

    Attributes
    ----------
    folder
        Where it is.
    info
        The content of info.json.
    structure, basis
        The atoms, and their orbitals.
    """

    folder: Path
    info: Info
    structure: Structure
    basis: Basis

    @classmethod
    def of(cls, folder: Path, info: Info, structure: Structure) -> Head:
        """Put the content of info.json and the atoms of POSCAR together.

        Raises
        ------
        FormatError
            When they disagree.
        """
        structure = _with_own_facts(structure, info)
        unknown = [
            name for name in dict.fromkeys(structure.symbols) if name not in info.element_shells
        ]
        if unknown:
            raise FormatError(
                folder / "info.json",
                f"elements of POSCAR are missing: {', '.join(unknown)}",
                where="elements_orbital_map",
                expected=", ".join(dict.fromkeys(structure.symbols)),
                found=", ".join(info.element_shells),
                fix="The files belong to different structures; convert the run again.",
            )
        shells = {label: info.element_shells[name] for label, name in structure.element_of.items()}
        basis = Basis.from_ls(shells, structure.labels)
        check_counts(folder / "info.json", info, structure, basis)
        return cls(folder, info, _with_own_elements(structure, info), basis)

    def calculation(self, source: Path | None = None) -> Calculation:
        """Return the calculation; its matrices are read when they are asked for.

        Parameters
        ----------
        source
            The folder (default), or one matrix file in it, which then is the Hamiltonian.
        """
        folder, info = self.folder, self.info
        source = folder if source is None else source
        files = _matrix_files(folder, source.name if source.is_file() else None)
        zeros = {name: files.pop(name) for name in _PLACEHOLDERS if self._is_zero(files.get(name))}
        parts: dict[str, tuple[str, ...]] = {name: (file,) for name, file in files.items()}
        split, has_hkb = info.split and "hamiltonian" in files, (folder / HKB).is_file()
        if split and not has_hkb:
            raise MissingDataError(
                HKB,
                folder,
                "info.json says that H is split (split_hkb): the file holds its nonlocal part, "
                "without which all levels are wrong. Copy it there.",
            )
        if has_hkb and "hamiltonian" in files and not info.split:
            _log.warning(
                "%s: ignored, because info.json does not say that H is split (split_hkb)",
                folder / HKB,
            )
        spin = info.spin or _spin_of_content(folder, files, self.basis)
        readers: dict[str, MatrixSource] = {
            name: self._reader(name, file, spin) for name, file in files.items()
        }
        if split:
            file = files["hamiltonian"]
            parts["hamiltonian"] = (file, HKB)
            readers["hamiltonian"] = partial(self._read_split, file)
        provenance = _provenance(info, sum(parts.values(), ()), self.structure.n_atoms, zeros)
        level, stored = info.fermi_level, provenance.extra.get(PREDICTED)
        provenance = self._with_makers(self._with_predictions(provenance, files), files)
        predicted = provenance.extra.get(PREDICTED)
        model = predicted.get("hamiltonian") if isinstance(predicted, dict) else None
        is_known = isinstance(stored, dict) and "hamiltonian" in stored
        if model is not None and not is_known:
            level = None  # that in info.json is of the run that gave the overlap
            made = {"file": files["hamiltonian"], "model": model, **_report(folder, model)}
            provenance = replace(provenance, extra={**provenance.extra, "prediction": made})
        return Calculation(
            self.structure,
            self.basis,
            spin,
            readers,
            level,
            info.n_electrons,
            provenance,
            str(source),
            Beside(folder, info, parts, readers, self._sizes, tuple(zeros.values())),
        )

    def _with_predictions(self, provenance: Provenance, files: Mapping[str, str]) -> Provenance:
        """Add which matrices a model predicted, by what their files say."""
        stored = provenance.extra.get(PREDICTED)
        known: Mapping[str, Any] = stored if isinstance(stored, dict) else {}
        predicted = {name: by for name, by in known.items() if name in files and name not in _MADE}
        for name in (name for name in _MADE if name in files):
            by: Any = UNKNOWN_MODEL if files[name] == PREDICTION else None
            with contextlib.suppress(DockError):  # reported when the matrix is read
                by = read_attributes(self.folder / files[name]).get("model") or by
            predicted |= {} if by is None else {name: str(by)}
        extra = {key: value for key, value in provenance.extra.items() if key != PREDICTED}
        extra |= {PREDICTED: predicted} if predicted else {}
        return replace(provenance, extra=extra)

    def _with_makers(self, provenance: Provenance, files: Mapping[str, str]) -> Provenance:
        """Add who made the operators that models correct, by what their files say."""
        makers: dict[str, str] = {}
        for name in (name for name in _CORRECTED if name in files):
            with contextlib.suppress(DockError):  # reported when the matrix is read
                by = read_attributes(self.folder / files[name]).get("source_code")
                makers |= {} if by is None else {name: str(by)}
        extra = {key: value for key, value in provenance.extra.items() if key != MADE_BY}
        return replace(provenance, extra=extra | ({MADE_BY: makers} if makers else {}))

    def _is_zero(self, file: str | None) -> bool:
        return file is not None and holds_zeros(self.folder / file)

    @property
    def _sizes(self) -> dict[str, int]:
        return {"n_atoms": self.structure.n_atoms, "n_orbitals": self.basis.n_orbitals}

    def _reader(self, name: str, file: str, spin: Spin) -> BlockSource:
        place = (self.structure, self.basis, spin)
        return BlockSource(self.folder / file, name, *place, self.info.split)

    def read_parts(self, file: str) -> tuple[AOMatrix, AOMatrix]:
        """Return the part of a split Hamiltonian that is the same for both spins, and the rest.

        Raises
        ------
        FormatError
            When the pairs of the two files, or of the overlap, are not the same in one order.
        """
        place = (self.structure, self.basis)
        local = read_matrix(self.folder / file, "hamiltonian", *place, Spin.NONE, part=LOCAL)
        rest = read_matrix(
            self.folder / HKB, "hamiltonian", *place, Spin.NONCOLLINEAR, part=NONLOCAL
        )
        self._require_pairs(self.folder / HKB, rest.pairs, local.pairs, file)
        overlap = self.folder / FILES["overlap"]
        if overlap.is_file():
            pairs = read_pairs(overlap, self.structure.n_atoms)
            self._require_pairs(overlap, pairs, local.pairs, file)
        return local, rest

    def _require_pairs(self, path: Path, pairs: Pairs, wanted: Pairs, file: str) -> None:
        if not pairs.is_same(wanted):
            difference = pairs.difference(wanted)
            raise FormatError(
                path,
                "a split H needs the same pairs in the same order in all its files",
                where="atom_pairs",
                expected=f"those of {file}",
                found=f"{difference} (first: this file)"
                if difference
                else "the same pairs in another order",
                fix="The files belong to different runs: make them again.",
            )

    def _read_split(self, file: str) -> AOMatrix:
        """Return H of its two files; a prediction may be the full H."""
        path = self.folder / file
        if file != FILES["hamiltonian"] and has_spin_blocks(path, self.basis):
            return read_matrix(path, "hamiltonian", self.structure, self.basis, Spin.NONCOLLINEAR)
        local, rest = self.read_parts(file)
        entries = rest.entries.astype(np.result_type(rest.entries, local.entries))
        entries[[0, 3]] += local.entries
        return rest.with_entries(entries)


def read_head(folder: Path) -> Head:
    """Read POSCAR and info.json of a unified folder.

    Raises
    ------
    MissingDataError
        When one of them is not there.
    FormatError
        When one is damaged, or they disagree.
    """
    poscar = folder / "POSCAR"
    if not poscar.is_file():
        raise MissingDataError("POSCAR", folder, "It holds the structure: copy it there.")
    info = read_info(folder / "info.json")
    return Head.of(folder, info, read_poscar(poscar))


def _matrix_files(folder: Path, given: str | None) -> dict[str, str]:
    """Return the matrix files that are there; a prediction stands in for a missing Hamiltonian."""
    files = {name: file for name, file in FILES.items() if (folder / file).is_file()}
    if given in (PREDICTION, *(FILES[name] for name in FREE)) or (
        "hamiltonian" not in files and (folder / PREDICTION).is_file() and given is None
    ):
        files["hamiltonian"] = given or PREDICTION
    elif given is not None and given not in (*FILES.values(), "info.json", "POSCAR"):
        if "hamiltonian" not in given:
            known = ", ".join([*FILES.values(), PREDICTION])
            raise FormatError(folder / given, "this is no file of a unified folder", expected=known)
        files["hamiltonian"] = given
    elif given is not None and given.endswith(".h5") and given != FILES["hamiltonian"]:
        files.pop("hamiltonian", None)  # another matrix was named: H is not what is meant
    return files


def _report(folder: Path, model: str) -> dict[str, str]:
    """Return from what and by which command a model predicted, where its report lies beside it."""
    with contextlib.suppress(DockError, AttributeError):
        report = read_json(folder / REPORT)
        if model in (UNKNOWN_MODEL, "+".join(report.get("models", []))):
            return {key: str(report[key]) for key in ("source", "command") if report.get(key)}
    return {}


def _spin_of_content(folder: Path, files: Mapping[str, str], basis: Basis) -> Spin:
    """Tell collinear from non-collinear spin by the first spin-dependent matrix there is."""
    for name in ("hamiltonian", "density_matrix", "energy_density_matrix"):
        if name in files:
            return detect_spin(folder / files[name], basis)
    return Spin.NONCOLLINEAR


def _with_own_facts(structure: Structure, info: Info) -> Structure:
    """Restore periodicity and species labels where `dock` wrote them."""
    labels, pbc = info.own.get("species"), info.own.get("pbc")
    if isinstance(labels, list) and len(labels) == structure.n_atoms:
        structure = structure.relabel([str(label) for label in labels])
    if isinstance(pbc, list) and len(pbc) == 3:
        structure = replace(structure, pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])))
    return structure


def _with_own_elements(structure: Structure, info: Info) -> Structure:
    """Restore the elements of species that POSCAR calls by a custom one, such as ghosts."""
    stored = info.own.get("elements")
    known = stored if isinstance(stored, dict) else {}
    names = [
        known.get(label, name)
        for label, name in zip(structure.labels, structure.symbols, strict=True)
    ]
    if list(structure.symbols) == names or not all(name in SYMBOLS for name in known.values()):
        return structure
    return replace(structure, numbers=np.array([atomic_number(name) for name in names]))


def _provenance(
    info: Info, files: tuple[str, ...], n_atoms: int, zeros: Mapping[str, str]
) -> Provenance:
    stored = info.own.get("provenance")
    known: Mapping[str, Any] = stored if isinstance(stored, dict) else {}
    extra = known.get("extra")
    extra = dict(extra) if isinstance(extra, dict) else {}
    order = info.own.get("source_order")
    atoms = [atom for atom in order if type(atom) is int] if isinstance(order, list) else []
    if sorted(atoms) == list(range(n_atoms)):
        extra["source_order"] = atoms
    if zeros:
        stated = extra.get("notes")
        notes = [*(stated if isinstance(stated, list) else [])]
        extra["notes"] = notes + [ZEROS.format(file=file) for file in zeros.values()]
    origin = known.get("files")
    return Provenance(
        str(known.get("code", "unknown")),
        str(known.get("version", "")),
        tuple(str(name) for name in origin) if isinstance(origin, list) else files,
        str(known.get("command", "")),
        extra,
    )
