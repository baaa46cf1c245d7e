"""OpenMX's scfout files (3.9: version 3; 3.8 and older: version 0), read by matrix, and written.

The file is one flat binary without record marks, so that a wrong count shifts everything after it.
Therefore each count is held against the file's size before anything is read or allocated, and
the size must come out exactly.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

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
from dock.errors import FormatError, LayoutError, LossError, MissingDataError, UsageError
from dock.io.binary import BinaryReader, numbers_at, open_reader
from dock.io.files import atomic_path
from dock.io.refusal import FileState

__all__ = [
    "Scfout",
    "ScfoutFile",
    "ScfoutHeader",
    "box_cells",
    "section_counts",
    "split_lines",
    "write_scfout",
]

LINE_BYTES = 256
MAX_ATOMS = 1_000_000
_REPORT_HEAD = 4096  # bytes in which a report of OpenMX names itself
_WHOLE = 2**20  # numbers of a matrix up to which all are read where some are wanted
_PIECE = 2**17  # numbers that are read at a time to see whether all are zero
_VERSIONS = 100  # from here on the second integer is no version
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
    state
        Size of the file and time of its last change.
    end
        The byte behind what OpenMX writes there; text may follow, see `report`.
    """

    path: Path
    byte_order: str
    offsets: dict[str, int]
    state: FileState
    end: int

    @property
    def report(self) -> Path | None:
        """Where OpenMX's report of the run is: the ``.out`` file, or this one, or nowhere.

        The recipes of DeepH-pack and DeepH-E3 append the report to the scfout file.
        """
        beside = self.path.with_suffix(".out")
        if beside.is_file():
            return beside
        return self.path if self.end < self.state.size else None

    @classmethod
    def open(cls, path: str | Path) -> ScfoutFile:
        """Read and check everything but the matrices.

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
            For ``position``: every stored order, in file order, instead of order 1 alone.

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
        count = self.sections[section]
        if section == "position" and not all_orders and self.order_max > 1:
            rows = range(0, count, self.order_max)
            values = np.concatenate([self._fetch(section, row, 1) for row in rows])
        else:
            values = self._fetch(section, 0, count)
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

    def read_pairs(self, section: str, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Read the blocks of some pairs, one behind another; else as `read`.

        Whether they are finite is not checked.
        """
        self._require(section)
        step = self.order_max if section == "position" else 1
        dtype, what = (">f8" if self.byte_order == "big" else "<f8"), f"section {section}"
        first, last = self.pair_offsets[pairs], self.pair_offsets[pairs + 1]
        rows = []
        for matrix in range(0, self.sections[section], step):
            if self.n_entries <= _WHOLE:
                values = self._fetch(section, matrix, 1)[0]
                blocks = [values[a:b] for a, b in zip(first, last, strict=True)]
                rows.append(np.concatenate(blocks))
                continue
            start = self.offsets[section] + 8 * matrix * self.n_entries
            places = zip((start + 8 * first).tolist(), (last - first).tolist(), strict=True)
            blocks = [
                numbers_at(self.path, dtype, place, self.state, what, OPENMX_FILES)
                for place in places
            ]
            rows.append(np.concatenate(blocks).astype(np.float64, copy=False))
        return np.stack(rows)

    def is_zero(self, section: str) -> bool:
        """Say whether a section has zeros only: a placeholder for what nobody had.

        Of one that has numbers only the beginning is read.
        """
        self._require(section)
        dtype = ">f8" if self.byte_order == "big" else "<f8"
        count, start = self.sections[section] * self.n_entries, self.offsets[section]
        for first in range(0, count, _PIECE):
            place = (start + 8 * first, min(_PIECE, count - first))
            if numbers_at(self.path, dtype, place, self.state, section, OPENMX_FILES).any():
                return False
        return True

    def load(self) -> Scfout:
        """Read the whole file into memory; raises as `read`."""
        fields = {name: getattr(self, name) for name in ScfoutHeader.__dataclass_fields__}
        matrices = {name: self.read(name, all_orders=True) for name in self.sections}
        return Scfout(**fields, matrices=matrices)

    def _require(self, section: str) -> None:
        """Say why a section is not in this file, if it is not."""
        if section in self.sections:
            return
        if section == "hamiltonian_imag":
            reason = "Only non-collinear runs store it."
        elif section in section_counts(3, 3):
            reason = "OpenMX 3.8 and older do not store it: run OpenMX 3.9."
        else:
            reason = f"The sections of this file are {', '.join(self.sections)}."
        raise MissingDataError(f"section {section!r}", self.path, reason)

    def _fetch(self, section: str, first: int, count: int) -> NDArray[np.float64]:
        """Read `count` consecutive matrices of a section as native float64."""
        dtype = ">f8" if self.byte_order == "big" else "<f8"
        place = (self.offsets[section] + 8 * first * self.n_entries, count * self.n_entries)
        what = f"section {section}"
        values = numbers_at(self.path, dtype, place, self.state, what, OPENMX_FILES)
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
            state=reader.state,
            version=version,
            spin_switch=spin_switch,
            order_max=order_max,
            regions=(int(head[2]), int(head[3]), int(head[4])),
            **tables,
            **_read_tail(reader),
            end=reader.offset,
        )
    except LayoutError as error:
        raise FormatError(path, str(error), fix=OPENMX_FILES.damaged_fix) from None


def _detect(path: Path, head: bytes, size: int) -> tuple[str, NDArray[np.int32]]:
    """Find the byte order and check the six integers that start the file."""
    readings = [(order, np.frombuffer(head, order + "i4")) for order in "<>"]
    plausible = [(order, ints) for order, ints in readings if _is_plausible(ints)]
    # A short header may be plausible both ways: then the tables must fit into the file.
    fitting = [
        (order, ints)
        for order, ints in plausible
        if 24 + 48 * (int(ints[5]) + 1) + 48 * int(ints[0]) <= size
    ]
    if not plausible:
        _refuse_newer(path, readings, size)
        _foreign(path, head, readings[0][1])
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


def _refuse_newer(path: Path, readings: list[tuple[str, NDArray[np.int32]]], size: int) -> None:
    """Name the version of a file that is an scfout file but for a higher version number."""
    for _, ints in readings:
        version, spin = divmod(int(ints[1]), 4)
        older = np.array([ints[0], spin, *ints[2:]])
        fits = 24 + 48 * (int(ints[5]) + 1) + 48 * int(ints[0]) <= size
        if 4 <= version < _VERSIONS and _is_plausible(older) and fits:
            raise FormatError(
                path,
                f"this scfout file is of version {version}, which is not known",
                expected="version 3 (OpenMX 3.9) or version 0 (OpenMX 3.8 and older)",
                found=f"the second integer {ints[1]}",
                fix="A newer dock may know it; or run the calculation with OpenMX 3.9.",
            )


def _is_plausible(ints: NDArray[np.int32]) -> bool:
    """Tell whether the six integers can start an scfout file."""
    atoms, switch = int(ints[0]), int(ints[1])
    known = 1 <= atoms < MAX_ATOMS and 0 <= switch <= 15 and switch % 4 != 2
    return known and all(0 <= int(n) <= atoms for n in ints[2:5]) and int(ints[5]) >= 0


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
    if not _is_report(reader):
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


def _is_report(reader: BinaryReader) -> bool:
    """Say whether a report of OpenMX follows, and nothing else."""
    reader.stream.seek(reader.offset)
    head = reader.stream.read(_REPORT_HEAD)
    return b"performed by OpenMX" in head and b"\0" not in head


def _join_lines(slots: bytes) -> str:
    """Join the 256-byte slots of the input file, each cut at its first NUL."""
    starts = range(0, len(slots), LINE_BYTES)
    text = b"".join(slots[start : start + LINE_BYTES].split(b"\0", 1)[0] for start in starts)
    return text.decode("utf-8", errors="surrogateescape")


def write_scfout(
    path: str | Path,
    scfout: Scfout,
    *,
    version: int = 3,
    byte_order: Literal["little", "big"] = "little",
    zero_missing: bool = False,
    allow_lossy: bool = False,
    overwrite: bool = False,
) -> None:
    """Write an scfout file.

    The cell table is written as `scfout.cells` has it; `box_cells` makes the full box that
    OpenMX itself writes. Unused components are 0 and unused bytes of the input lines are NUL.

    Parameters
    ----------
    path
        The file to write.
    scfout
        The contents, in Hartree and Bohr.
    version
        3, which OpenMX 3.9 and its tools demand, or 0, the layout of OpenMX 3.8.
    byte_order
        Of all numbers.
    zero_missing
        Fill sections that `scfout` does not have (density, position, ...) with zeros.
    allow_lossy
        Leave out what version 0 cannot hold.
    overwrite
        Replace an existing file.

    Raises
    ------
    MissingDataError
        When a section is missing and `zero_missing` is not set.
    LossError
        When version 0 would lose numbers that are not zero.
    OutputError
        When the file exists or cannot be written.
    """
    if version not in (0, 3) or byte_order not in ("little", "big"):
        raise UsageError(
            f"scfout version {version!r}, byte order {byte_order!r}: "
            "expected version 3 or 0 and little or big."
        )
    path = Path(path)
    counts = section_counts(version, scfout.spin_switch, scfout.order_max if version else 1)
    missing = [name for name in counts if name not in scfout.matrices]
    if missing and not zero_missing:
        raise MissingDataError(
            f"the section {' and '.join(missing)}",
            path,
            "Compute it, or say that it may be written as zeros (zero_missing).",
        )
    if version == 0 and not allow_lossy:
        _refuse_loss(path, scfout)
    order = "<" if byte_order == "little" else ">"
    with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as stream:
        for array in _header(scfout, version):
            stream.write(_encode(array, order))
        for name, count in counts.items():
            for array in _section(scfout, name, count):
                stream.write(_encode(array, order))
        for array in _tail(scfout):
            stream.write(_encode(array, order))
        stream.write(split_lines(scfout.input_text))


def split_lines(text: str) -> bytes:
    r"""Put each line of the input file into 256-byte slots, as OpenMX's line buffer does.

    A slot holds up to 255 bytes with the newline, then NULs; a longer line takes several.

    Raises
    ------
    UsageError
        When the text holds a NUL, which would end its line.

    Examples
    --------
    >>> slots = split_lines("System.Name si\n" + 300 * "x")
    >>> len(slots) // 256, slots[:16]
    (3, b'System.Name si\n\x00')
    """
    data = text.encode("utf-8", errors="surrogateescape")
    if b"\0" in data:
        raise UsageError("The input text for the scfout file holds a NUL character. Remove it.")
    step = LINE_BYTES - 1
    pieces = [
        line[start : start + step]
        for line in io.BytesIO(data)  # ends lines at newlines only, like the C library
        for start in range(0, len(line), step)
    ]
    return b"".join(piece.ljust(LINE_BYTES, b"\0") for piece in pieces)


def _refuse_loss(path: Path, scfout: Scfout) -> None:
    """Name what version 0 has no place for."""
    lost = [name for name in ("momentum", "density_imag") if np.any(scfout.matrices.get(name, 0))]
    if scfout.order_max > 1 and "position" in scfout.matrices:
        lost.append(f"the position operator beyond order 1 (of {scfout.order_max})")
    if lost:
        raise LossError(
            f"{path}: scfout version 0 cannot hold {', '.join(lost)}; nothing was written. "
            "Write version 3, or allow the loss (allow_lossy)."
        )


def _encode(array: NDArray[np.int32] | NDArray[np.float64], order: str) -> bytes:
    """Return the bytes of an array of int32 or float64 in the given byte order."""
    kind = "i4" if array.dtype.kind == "i" else "f8"
    return array.astype(np.dtype(order + kind), copy=False).tobytes()


def _four(vectors: NDArray[np.int32] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Put an unused component 0 before each 3-vector."""
    return np.pad(vectors, ((0, 0), (1, 0))).astype(vectors.dtype)


def _header(scfout: Scfout, version: int) -> Iterator[NDArray[np.int32] | NDArray[np.float64]]:
    """Yield everything that stands before the matrices."""
    switch = scfout.spin_switch + 4 * version
    head = [scfout.n_atoms, switch, *scfout.regions, len(scfout.cells) - 1]
    yield np.array(head + [scfout.order_max] * (version == 3), dtype=np.int32)
    a, b, c = scfout.cell
    i, j, k = scfout.cells.T[:, :, None]
    yield _four(i * a + j * b + k * c)
    yield _four(scfout.cells)
    yield scfout.n_orbitals
    yield np.bincount(scfout.pair_i, minlength=scfout.n_atoms).astype(np.int32) - np.int32(1)
    yield scfout.pair_j + np.int32(1)
    yield scfout.pair_cell
    normals = np.array([np.cross(b, c), np.cross(c, a), np.cross(a, b)])
    yield _four(scfout.cell)
    yield _four(2 * np.pi * normals / np.dot(a, normals[0]))
    yield _four(scfout.positions)


def _section(scfout: Scfout, name: str, count: int) -> Iterator[NDArray[np.float64]]:
    """Yield `count` matrices of a section, one at a time; zeros where it is missing."""
    if name not in scfout.matrices:
        yield from itertools.repeat(np.zeros(scfout.n_entries), count)
        return
    matrices = scfout.matrices[name]
    # Version 0 stores order 1 alone; the source runs x, y, z outer and order inner.
    step = scfout.order_max if name == "position" and count < len(matrices) else 1
    yield from matrices[::step]


def _tail(scfout: Scfout) -> Iterator[NDArray[np.int32] | NDArray[np.float64]]:
    """Yield the numbers between the matrices and the input file."""
    yield np.array([scfout.solver], dtype=np.int32)
    yield np.array([scfout.chemical_potential, scfout.temperature], dtype=np.float64)
    yield scfout.core_dipole
    yield scfout.background_dipole
    yield np.array([scfout.n_electrons, scfout.total_spin], dtype=np.float64)
    yield np.array([len(split_lines(scfout.input_text)) // LINE_BYTES], dtype=np.int32)
