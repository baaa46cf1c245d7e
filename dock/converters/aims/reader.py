"""From an FHI-aims run to a Calculation: periodic ``rs_*`` files, or a molecule's matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.aims.aims_out import RunLog, find_log, read_log
from dock.converters.aims.basis_indices import read_basis
from dock.converters.aims.geometry_in import read_geometry
from dock.converters.aims.pattern import BlockPattern
from dock.converters.aims.rs_files import read_indices
from dock.converters.format import ReadOptions
from dock.converters.sparse_blocks import orbital_targets
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError
from dock.io.hdf5 import open_hdf5
from dock.io.text import CUT_FIX, TextNumbers, parse_number
from dock.units import AIMS

__all__ = ["SECOND_VARIATION", "detect_run", "read_calculation", "run_files"]

SECOND_VARIATION = (
    "control.in asks for include_spin_orbit: FHI-aims adds it after self-consistency, and the "
    "matrices are those without it."
)
_UNITS = {"overlap": 1.0, "hamiltonian": AIMS.hartree_ev}
_DATASET = "sparse_matrix"


def run_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the matrix files of a run by quantity; spin up before spin down.

    Text files come before HDF5, those of a periodic run before a molecule's.
    """
    choices = {
        "overlap": (("rs_overlap.out",), ("rs_overlap.h5",), ("overlap-matrix.out",)),
        "hamiltonian": (
            ("rs_hamiltonian.out",),
            ("rs_hamiltonian_up.out", "rs_hamiltonian_dn.out"),
            ("rs_hamiltonian.h5",),
            ("rs_hamiltonian_up.h5", "rs_hamiltonian_down.h5"),
            ("rs_hamiltonian_up.h5", "rs_hamiltonian_dn.h5"),
            ("hamiltonian.out",),
        ),
    }
    periodic = (folder / "rs_indices.out").is_file()
    found = {}
    for quantity, names in choices.items():
        for group in names:
            paths = tuple(folder / name for name in group)
            if group[0].startswith("rs_") == periodic and all(path.is_file() for path in paths):
                found[quantity] = paths
                break
    return found


def detect_run(path: Path) -> Path | None:
    """Recognise the folder of a run with matrices, or a file in it; else None."""
    if path.is_file():
        known = path.name in ("geometry.in", "control.in", "rs_indices.out", "basis-indices.out")
        matrix = any(path in group for group in run_files(path.parent).values())
        return detect_run(path.parent) if known or matrix else None
    if not path.is_dir() or not (path / "basis-indices.out").is_file():
        return None
    return path if run_files(path) else None


def read_calculation(path: Path, options: ReadOptions | None = None) -> Calculation:  # noqa: ARG001
    """Read an FHI-aims run; the matrices are read when asked for.

    Atoms keep the order and the positions of geometry.in; the lattice vectors of the pairs count
    from there.

    Parameters
    ----------
    path
        The run's folder.
    options
        Not used.

    Raises
    ------
    MissingDataError
        When geometry.in, basis-indices.out or the matrices are missing.
    FormatError
        When a file is damaged or belongs to another run.
    """
    folder = path.parent if path.is_file() else path
    for name in ("geometry.in", "basis-indices.out"):
        if not (folder / name).is_file():
            raise MissingDataError(name, folder, "Copy it there from the run.")
    structure = read_geometry(folder / "geometry.in")
    basis = read_basis(folder / "basis-indices.out", structure.labels)
    files = run_files(folder)
    _check_files(folder, files)
    log_path = find_log(folder)
    log = read_log(log_path) if log_path is not None else None
    collinear = len(files.get("hamiltonian", ())) == 2
    spin = Spin.COLLINEAR if collinear else Spin.NONE
    control = _control(folder)
    run = _Run(folder, files, structure, basis, spin)
    return Calculation(
        structure,
        basis,
        spin,
        {name: partial(run.read, name) for name in files},
        log.fermi_level if log else None,
        _electrons(structure, log, control),
        _provenance(files, log, control),
        str(path),
    )


def _check_files(folder: Path, files: dict[str, tuple[Path, ...]]) -> None:
    """Refuse a folder without matrices, with one spin only, or with files of two runs."""
    names = ("rs_hamiltonian", "rs_hamiltonian_up", "rs_hamiltonian_dn")
    there = {name for name in names if (folder / f"{name}.out").is_file()}
    if ("rs_hamiltonian" in there and len(there) > 1) or len(there - {"rs_hamiltonian"}) == 1:
        raise FormatError(
            folder,
            "the Hamiltonian files do not belong together",
            expected="rs_hamiltonian.out, or both rs_hamiltonian_up.out and rs_hamiltonian_dn.out",
            found=", ".join(sorted(f"{name}.out" for name in there)),
            fix="Move the files of the other run away, or copy the missing one.",
        )
    if not files:
        raise MissingDataError(
            "a Hamiltonian or overlap of FHI-aims",
            folder,
            "Give 'output_rs_matrices plain' in control.in (periodic), or 'output h_s_matrices'.",
        )


@dataclass(frozen=True, eq=False)
class _Run:
    """The files of one run and what they refer to."""

    folder: Path
    files: dict[str, tuple[Path, ...]]
    structure: Structure
    basis: Basis
    spin: Spin

    @cached_property
    def pattern(self) -> BlockPattern:
        indices = read_indices(self.folder / "rs_indices.out", self.basis.n_orbitals)
        return BlockPattern(indices, self.structure, self.basis)

    def read(self, quantity: str) -> AOMatrix:
        """Read one matrix."""
        paths = self.files[quantity]
        if paths[0].name.startswith("rs_"):
            pairs, entries = self._periodic(paths)
        else:
            pairs, entries = self._cluster(paths[0])
        if _UNITS[quantity] != 1.0:
            entries *= _UNITS[quantity]
        spin = self.spin if quantity == "hamiltonian" else Spin.NONE
        return AOMatrix(quantity, self.structure, self.basis, pairs, spin, entries)

    def _periodic(self, paths: tuple[Path, ...]) -> tuple[Pairs, NDArray[np.float64]]:
        entries = np.zeros((len(paths), self.pattern.n_entries))
        for path, part in zip(paths, entries, strict=True):
            self.pattern.scatter(_values(path, self.pattern.indices.n_stored), part)
        return self.pattern.pairs, entries

    def _cluster(self, path: Path) -> tuple[Pairs, NDArray[np.float64]]:
        """Read ``i j value`` lines of the upper triangle, column by column."""
        size, n_atoms = self.basis.n_orbitals, self.basis.n_atoms
        matrix = _triangle(path, size)
        place, sign = orbital_targets(self.basis, "aims")
        order = self.basis.offsets[self.basis.table.atom] + place
        turned = np.empty_like(matrix)
        turned[np.ix_(order, order)] = matrix * np.outer(sign, sign)
        matrix = turned
        i, j = np.divmod(np.arange(n_atoms**2), n_atoms)
        pairs = Pairs(np.zeros((n_atoms**2, 3), dtype=np.int32), i, j, n_atoms)
        if n_atoms == 1:
            return pairs, matrix.reshape(1, -1)
        bounds = self.basis.offsets
        parts = [
            matrix[bounds[a] : bounds[a + 1], bounds[b] : bounds[b + 1]].ravel()
            for a in range(n_atoms)
            for b in range(n_atoms)
        ]
        return pairs, np.concatenate(parts)[None]


def _values(path: Path, count: int) -> NDArray[np.float64]:
    """Return the numbers of a sparse file, text or HDF5, the dummy included."""
    if path.suffix != ".h5":
        with TextNumbers(path) as numbers:
            return numbers.take_rest(count, np.float64, "entries of rs_indices.out")
    with open_hdf5(path, CUT_FIX) as file:
        values = np.asarray(file[_DATASET][...], dtype=np.float64).ravel()
    if len(values) != count:
        raise FormatError(
            path,
            "the file does not fit its indices",
            where=_DATASET,
            expected=f"{count} numbers, as rs_indices.out says",
            found=f"{len(values)}",
            fix="Both must come from one run.",
        )
    return values


def _triangle(path: Path, size: int) -> NDArray[np.float64]:
    """Return the symmetric matrix of a file with all elements of the upper triangle."""
    count = size * (size + 1) // 2
    with TextNumbers(path) as numbers:
        table = numbers.take_rest(3 * count, np.float64, "lines 'i j value'").reshape(-1, 3)
    cols = np.repeat(np.arange(size), np.arange(1, size + 1))
    rows = np.arange(count) - np.repeat(np.cumsum(np.arange(size)), np.arange(1, size + 1))
    wrong = np.flatnonzero((table[:, 0] != rows + 1) | (table[:, 1] != cols + 1))
    if len(wrong):
        line = int(wrong[0])
        raise FormatError(
            path,
            "the elements are not those of one upper triangle",
            where=f"line {line + 1}",
            expected=f"{count} lines, columns 1 to {size} one after another",
            found=f"{table[line, :2].tolist()}",
            fix="It belongs to another basis, is damaged, or has two spins (not supported).",
        )
    matrix = np.zeros((size, size))
    matrix[rows, cols] = table[:, 2]
    matrix[cols, rows] = table[:, 2]
    return matrix


def _control(folder: Path) -> dict[str, str]:
    """Return the keywords of control.in, lower case, with the rest of their line."""
    path = folder / "control.in"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    words = [line.split("#")[0].split(maxsplit=1) for line in lines]
    return {word[0].lower(): word[1].strip() if len(word) > 1 else "" for word in words if word}


def _electrons(structure: Structure, log: RunLog | None, control: dict[str, str]) -> float | None:
    """Return the electrons: as the log says, else all of the neutral atoms less the charge."""
    if log is not None and log.n_electrons is not None:
        return log.n_electrons
    try:
        charge = parse_number(control.get("charge", "0").split()[0])
    except (ValueError, IndexError):
        return None
    return float(structure.numbers.sum()) - charge


def _provenance(
    files: dict[str, tuple[Path, ...]],
    log: RunLog | None,
    control: dict[str, str],
) -> Provenance:
    names = [path.name for group in files.values() for path in group]
    names += ["geometry.in", "basis-indices.out"]
    notes = [SECOND_VARIATION] if "include_spin_orbit" in control else []
    extra: dict[str, Any] = {}
    if log is not None and log.converged is not None:
        extra["converged"] = log.converged
    if log is not None and log.converged is False:
        notes.append("The log says that the self-consistency cycle did not converge.")
    if log is None:
        notes.append("There is no log: the Fermi level is unknown.")
    if notes:
        extra["notes"] = notes
    return Provenance("FHI-aims", log.version if log else "", tuple(names), "", extra)


def inputs(path: Path) -> list[Path]:
    """Return the files that decide whether a run has changed."""
    found = [file for group in run_files(path).values() for file in group]
    names = ("rs_indices.out", "basis-indices.out", "geometry.in", "control.in")
    found += [path / name for name in names if (path / name).is_file()]
    log = find_log(path)
    return [*found, log] if log is not None else found
