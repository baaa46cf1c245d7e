"""Write OpenMX scfout files: version 3 for OpenMX 3.9 and its tools, version 0 for the older."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dock.converters.openmx.scfout import LINE_BYTES
from dock.converters.openmx.scfout_content import Scfout, section_counts
from dock.errors import LossError, MissingDataError, UsageError
from dock.io.files import atomic_path

__all__ = ["split_lines", "write_scfout"]


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
        Order of the bytes of all numbers.
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
    lost = [
        name
        for name in ("momentum", "density_imag")
        if name in scfout.matrices and scfout.matrices[name].any()
    ]
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
        zeros = np.zeros(scfout.n_entries)
        for _ in range(count):
            yield zeros
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
