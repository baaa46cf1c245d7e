"""From an FHI-aims run to a Calculation: periodic ``rs_*`` files, or a molecule's matrices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.aims.aims_out import AimsLog, find_log, read_log
from dock.converters.aims.basis_indices import read_basis
from dock.converters.aims.geometry_in import read_geometry
from dock.converters.aims.h_s_matrices import read_triangle
from dock.converters.aims.pattern import BlockPattern
from dock.converters.aims.rs_files import read_indices, read_values
from dock.converters.aims.run import check_files, read_control, run_files, unread_files
from dock.converters.aims.shell_kinds import shell_kinds
from dock.converters.format import ReadOptions
from dock.converters.sparse_blocks import orbital_targets
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.interop import orbital_indices
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError
from dock.io.text import parse_number
from dock.units import AIMS

__all__ = ["SECOND_VARIATION", "read_calculation"]

SECOND_VARIATION = (
    "control.in asks for include_spin_orbit: FHI-aims adds it after self-consistency, and the "
    "matrices are those without it."
)
_UNITS = {"overlap": 1.0, "hamiltonian": AIMS.hartree_ev}


def read_calculation(path: Path, options: ReadOptions | None = None) -> Calculation:  # noqa: ARG001
    """Read an FHI-aims run; the matrices are read when asked for.

    Atoms keep the order and the positions of geometry.in; the lattice vectors of the pairs count
    from there. `path` is the run's folder or a file in it.

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
    check_files(folder, files)
    log_path = find_log(folder)
    log = read_log(log_path) if log_path is not None else None
    spin = Spin.COLLINEAR if len(files.get("hamiltonian", ())) == 2 else Spin.NONE
    control = read_control(folder)
    kinds = shell_kinds(folder / "control.in", basis)
    run = _Run(folder, files, structure, basis, spin)
    return Calculation(
        structure,
        basis,
        spin,
        {name: partial(run.read, name) for name in files},
        log.fermi_level if log else None,
        _electrons(structure, log, control),
        _provenance(files, log, control, unread_files(folder, files), kinds),
        str(path),
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
        entries *= _UNITS[quantity]
        spin = self.spin if quantity == "hamiltonian" else Spin.NONE
        return AOMatrix(quantity, self.structure, self.basis, pairs, spin, entries)

    def _periodic(self, paths: tuple[Path, ...]) -> tuple[Pairs, NDArray[np.float64]]:
        entries = np.zeros((len(paths), self.pattern.n_entries))
        for path, part in zip(paths, entries, strict=True):
            self.pattern.scatter(read_values(path, self.pattern.indices.n_stored), part)
        return self.pattern.pairs, entries

    def _cluster(self, path: Path) -> tuple[Pairs, NDArray[np.float64]]:
        """Read ``i j value`` lines of the upper triangle, column by column."""
        basis, n_atoms = self.basis, self.basis.n_atoms
        matrix = read_triangle(path, basis.n_orbitals)
        place, sign = orbital_targets(basis, "aims")
        order = basis.offsets[basis.table.atom] + place
        turned = np.empty_like(matrix)
        turned[np.ix_(order, order)] = matrix * np.outer(sign, sign)
        i, j = np.divmod(np.arange(n_atoms**2), n_atoms)
        pairs = Pairs(np.zeros((n_atoms**2, 3), dtype=np.int32), i, j, n_atoms)
        row, col = orbital_indices(basis, pairs)
        return pairs, turned[row, col][None]


def _electrons(structure: Structure, log: AimsLog | None, control: dict[str, str]) -> float | None:
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
    log: AimsLog | None,
    control: dict[str, str],
    unread: list[str],
    kinds: dict[str, dict[str, list[int]]],
) -> Provenance:
    names = [path.name for group in files.values() for path in group]
    names += ["geometry.in", "basis-indices.out"]
    notes = [SECOND_VARIATION] if "include_spin_orbit" in control else []
    extra: dict[str, Any] = {"shell_kinds": kinds} if kinds else {}
    if log is not None and log.converged is not None:
        extra["converged"] = log.converged
    if log is not None and log.converged is False:
        notes.append("The log says that the self-consistency cycle did not converge.")
    if log is not None and not log.finished:
        extra["finished"] = False
        notes.append("The log ends within a self-consistency cycle: the run had not finished.")
    if log is None:
        notes.append("There is no log: the Fermi level is unknown.")
    if unread:
        notes.append(f"Two files of one matrix: HDF5 was read, and not {', '.join(unread)}.")
    if notes:
        extra["notes"] = notes
    return Provenance("FHI-aims", log.version if log else "", tuple(names), "", extra)
