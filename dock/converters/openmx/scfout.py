"""Read OpenMX scfout files (3.9: version 3; 3.8 and older: version 0), matrix by matrix.

The file is one flat binary without record marks, so that a wrong count shifts everything after it.
Therefore each count is held against the file's size before anything is read or allocated, and
the size must come out exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.openmx.scfout_content import (
    MAX_ORDER,
    OPENMX_FILES,
    Scfout,
    ScfoutHeader,
    box_cells,
    check_pair_ranges,
    section_counts,
)
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.binary import BinaryReader, numbers_at, open_reader
from dock.io.refusal import FileState

__all__ = ["Scfout", "ScfoutFile", "ScfoutHeader", "box_cells", "section_counts"]

LINE_BYTES = 256
MAX_ATOMS = 1_000_000
CELL_TOLERANCE_BOHR = 1e-6
RECIPROCAL_TOLERANCE = 1e-6
FOREIGN_FIX = "Give the <System.Name>.scfout that OpenMX writes when its input has HS.fileout on."


@dataclass(frozen=True, eq=False, kw_only=True)
class ScfoutFile(ScfoutHeader):
    """An scfout file on disk: the header in memory, the matrices read when asked for.

    No file stays open: the object remembers the path, the byte offsets, and the size and time of
    the file, so that a file replaced in between is noticed.

    Attributes
    ----------
    path
        The file.
    byte_order
        ``"little"`` or ``"big"``.
    offsets
        Section name to the byte where it starts.
    size
        Bytes of the file.
    modified_ns
        Time of its last change, nanoseconds.
    """

    path: Path
    byte_order: str
    offsets: dict[str, int]
    size: int
    modified_ns: int

    @classmethod
    def open(cls, path: str | Path) -> ScfoutFile:
        """Read and check everything but the matrices.

        Parameters
        ----------
        path
            The scfout file.

        Raises
        ------
        FormatError
            When it is cut, too long, damaged, another format, or of a version that no release
            of OpenMX writes.
        MissingDataError
            When it does not exist or cannot be read.
        """
        path = Path(path)
        with open_reader(path, refusal=OPENMX_FILES) as reader:
            return _read_file(reader)

    def read(self, section: str, *, all_orders: bool = False) -> NDArray[np.float64]:
        """Read the matrices of one section.

        Parameters
        ----------
        section
            A name in `sections`.
        all_orders
            For ``position``: every stored order, in file order (x, y, z outer, order inner),
            instead of order 1 alone.

        Returns
        -------
        ndarray, float64, (number of matrices, n_entries)
            Row-major blocks of the pairs, one after another; Hartree for ``hamiltonian``, Bohr
            to the power of the order for ``position``, 1/Bohr for ``momentum``.

        Raises
        ------
        FormatError
            When a value is not finite or the file changed since it was opened.
        MissingDataError
            When this version or spin treatment does not store the section.
        """
        self._require(section)
        rows = np.arange(self.sections[section])
        if section == "position" and not all_orders:
            rows = rows[:: self.order_max]
        if len(rows) == self.sections[section]:
            values = self._fetch(section, 0, len(rows))
        else:
            values = np.concatenate([self._fetch(section, int(row), 1) for row in rows])
        finite = np.isfinite(values)
        if not finite.all():
            raise FormatError(
                self.path,
                f"section {section} holds values that are not finite",
                expected="finite numbers",
                found=f"{int((~finite).sum())} of {values.size} that are NaN or infinite",
                fix="The run diverged or the file is damaged: run OpenMX again.",
            )
        return values

    def load(self) -> Scfout:
        """Read the whole file into memory.

        Raises
        ------
        FormatError
            As `read`.
        """
        fields = {name: getattr(self, name) for name in ScfoutHeader.__dataclass_fields__}
        matrices = {name: self.read(name, all_orders=True) for name in self.sections}
        return Scfout(**fields, matrices=matrices)

    def _require(self, section: str) -> None:
        """Say why a section is not in this file, if it is not."""
        if section in self.sections:
            return
        if section in section_counts(3, 3):
            reason = (
                "Only non-collinear runs store it."
                if section == "hamiltonian_imag"
                else "OpenMX 3.8 and older do not store it: run OpenMX 3.9."
            )
        else:
            reason = f"The sections of this file are {', '.join(self.sections)}."
        raise MissingDataError(f"section {section!r}", self.path, reason)

    def _fetch(self, section: str, first: int, count: int) -> NDArray[np.float64]:
        """Read `count` consecutive matrices of a section as native float64."""
        dtype = ">f8" if self.byte_order == "big" else "<f8"
        place = (self.offsets[section] + 8 * first * self.n_entries, count * self.n_entries)
        state = FileState(self.size, self.modified_ns)
        values = numbers_at(self.path, dtype, place, state, f"section {section}", OPENMX_FILES)
        return values.astype(np.float64, copy=False).reshape(count, self.n_entries)


def _read_file(reader: BinaryReader) -> ScfoutFile:
    """Read the header, locate the matrices and read the tail."""
    path = reader.path
    reader.order, head = _detect(path, reader.data(24, "the header"), reader.size)
    version, spin_switch = divmod(int(head[1]), 4)
    order_max = int(reader.take("i4", 1, "the header")[0]) if version == 3 else 1
    if not 1 <= order_max <= MAX_ORDER:
        found = f"order of the position operator {order_max}"
        OPENMX_FILES.damaged(path, "header cannot be right", "1 in most", found)
    try:
        tables = _read_tables(reader, int(head[0]), int(head[5]) + 1)
        counts = section_counts(version, spin_switch, order_max)
        n_entries = _count_entries(tables, reader.size)
        offsets = {
            name: reader.skip(8 * n_entries * count, f"section {name}")
            for name, count in counts.items()
        }
        return ScfoutFile(
            path=path,
            byte_order="big" if reader.order == ">" else "little",
            offsets=offsets,
            size=reader.state.size,
            modified_ns=reader.state.modified_ns,
            version=version,
            spin_switch=spin_switch,
            order_max=order_max,
            regions=(int(head[2]), int(head[3]), int(head[4])),
            **tables,
            **_read_tail(reader),
        )
    except LayoutError as error:
        raise FormatError(path, str(error), fix=OPENMX_FILES.damaged_fix) from None


def _detect(path: Path, head: bytes, size: int) -> tuple[str, NDArray[np.int32]]:
    """Find the byte order and check the six integers that start the file."""
    found = [(order, np.frombuffer(head, order + "i4")) for order in "<>"]
    plausible = [(order, ints) for order, ints in found if _is_plausible(ints)]
    # A short header may be plausible both ways: then the tables must fit into the file.
    fitting = [
        (order, ints)
        for order, ints in plausible
        if 24 + 48 * (int(ints[5]) + 1) + 48 * int(ints[0]) <= size
    ]
    if not plausible:
        _foreign(path, head, found[0][1])
    order, ints = (fitting or plausible)[0]
    if ints[1] // 4 in (1, 2):
        raise FormatError(
            path,
            f"scfout version {ints[1] // 4} was written by a development version of OpenMX",
            expected="version 3 (OpenMX 3.9) or version 0 (OpenMX 3.8 and older)",
            found=f"the second integer {ints[1]}",
            fix="Run the calculation again with OpenMX 3.9.",
        )
    return order, ints


def _is_plausible(ints: NDArray[np.int32]) -> bool:
    """Tell whether the six integers can start an scfout file."""
    atoms, switch = int(ints[0]), int(ints[1])
    regions_fit = all(0 <= int(n) <= atoms for n in ints[2:5])
    return (
        1 <= atoms < MAX_ATOMS
        and 0 <= switch <= 15
        and switch % 4 != 2
        and regions_fit
        and ints[5] >= 0
    )


def _foreign(path: Path, head: bytes, ints: NDArray[np.int32]) -> NoReturn:
    """Refuse a file of another kind, naming the kind where it shows."""
    if head.startswith(b"\x89HDF"):
        found = "an HDF5 file"
    elif all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head):
        found = f"text: {head.decode('ascii').split(chr(10))[0].strip()!r}"
    else:
        found = f"the integers {ints.tolist()}"
    raise FormatError(
        path,
        "this is not an OpenMX scfout file",
        expected="the number of atoms (1 to 999999), then a spin and version switch (0 to 15)",
        found=found,
        where="first 24 bytes",
        fix=FOREIGN_FIX,
    )


def _read_tables(reader: BinaryReader, n_atoms: int, n_cells: int) -> dict[str, Any]:
    """Read the cell table, the neighbour lists, the lattice and the positions."""
    path = reader.path
    translations = reader.take("f8", 4 * n_cells, "the table of translations").reshape(-1, 4)
    cells = reader.take("i4", 4 * n_cells, "the table of cell indices").reshape(-1, 4)[:, 1:]
    n_orbitals = reader.take("i4", n_atoms, "the orbital counts")
    n_neighbours = reader.take("i4", n_atoms, "the neighbour counts")
    if n_neighbours.min() < 0:
        found = f"{n_neighbours.min()} neighbours"
        OPENMX_FILES.damaged(path, "neighbour counts cannot be right", "0 or more", found)
    slots = n_neighbours.astype(np.int64) + 1
    n_pairs = int(slots.sum())
    # Both lists are held against the size first: the repeat below allocates as many numbers.
    reader.require(8 * n_pairs, "the neighbour lists")
    pair_j = reader.take("i4", n_pairs, "the neighbour list") - np.int32(1)
    pair_cell = reader.take("i4", n_pairs, "the list of neighbour cells")
    vectors = reader.take("f8", 24, "the lattice vectors").reshape(6, 4)[:, 1:]
    positions = reader.take("f8", 4 * n_atoms, "the positions").reshape(-1, 4)[:, 1:]
    _check_lattice(path, vectors, cells, translations[:, 1:])
    check_pair_ranges(n_orbitals, n_cells, pair_j, pair_cell)
    return {
        "cells": cells,
        "n_orbitals": n_orbitals,
        "pair_i": np.repeat(np.arange(n_atoms, dtype=np.int32), slots),
        "pair_j": pair_j,
        "pair_cell": pair_cell,
        "cell": vectors[:3],
        "positions": positions,
    }


def _check_lattice(
    path: Path,
    vectors: NDArray[np.float64],
    cells: NDArray[np.int32],
    translations: NDArray[np.float64],
) -> None:
    """Hold the redundant lattice data against each other: tv, rtv, atv and atv_ijk."""
    for name, array in (("lattice vectors", vectors), ("table of translations", translations)):
        if not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            found = f"{bad} values that are not finite"
            OPENMX_FILES.damaged(path, f"{name} cannot be right", "finite numbers", found)
    with np.errstate(over="ignore", invalid="ignore"):
        product = vectors[:3] @ vectors[3:].T
        error = float(np.abs(product - 2 * np.pi * np.eye(3)).max())
        shift = float(np.abs(translations - cells @ vectors[:3]).max())
    if not error < RECIPROCAL_TOLERANCE:
        found = f"a deviation of {error:.3g}"
        OPENMX_FILES.damaged(path, "reciprocal vectors cannot be right", "tv · rtv = 2π", found)
    if not shift < CELL_TOLERANCE_BOHR:
        found = f"a deviation of {shift:.3g} Bohr"
        OPENMX_FILES.damaged(path, "table of translations cannot be right", "integers · tv", found)


def _count_entries(tables: dict[str, Any], size: int) -> int:
    """Return the entries of one pair matrix; a count beyond the file is not added up exactly."""
    counts = tables["n_orbitals"].astype(np.float64)
    if float((counts[tables["pair_i"]] * counts[tables["pair_j"]]).sum()) > size:
        return size  # more than fits: the first section is then reported as cut
    exact = tables["n_orbitals"].astype(np.int64)
    return int((exact[tables["pair_i"]] * exact[tables["pair_j"]]).sum())


def _read_tail(reader: BinaryReader) -> dict[str, Any]:
    """Read the numbers after the matrices and the input file; the file must end right there."""
    solver = int(reader.take("i4", 1, "the solver code")[0])
    numbers = reader.take("f8", 10, "the numbers after the matrices")
    n_lines = int(reader.take("i4", 1, "the number of input lines")[0])
    if n_lines < 0:
        problem = "number of input lines cannot be right"
        OPENMX_FILES.damaged(reader.path, problem, "0 or more", n_lines)
    text = reader.data(LINE_BYTES * n_lines, "the embedded input file")
    reader.finish()
    return {
        "solver": solver,
        "chemical_potential": float(numbers[0]),
        "temperature": float(numbers[1]),
        "core_dipole": numbers[2:5],
        "background_dipole": numbers[5:8],
        "n_electrons": float(numbers[8]),
        "total_spin": float(numbers[9]),
        "input_text": _join_lines(text),
    }


def _join_lines(slots: bytes) -> str:
    """Join the 256-byte slots of the input file, each cut at its first NUL."""
    starts = range(0, len(slots), LINE_BYTES)
    text = b"".join(slots[start : start + LINE_BYTES].split(b"\0", 1)[0] for start in starts)
    return text.decode("utf-8", errors="surrogateescape")
