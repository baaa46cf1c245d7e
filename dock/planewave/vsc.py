"""BerkeleyGW's ``VSC``: the total local potential of a run, as pw2bgw.x writes it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe.density import PlaneWaveDensity
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.binary import RecordReader, open_records
from dock.io.refusal import Refusal

__all__ = ["read_vsc"]

_FIX = "pw2bgw.x was still writing, or the file was cut: run it again."
_TITLES = ("VSC", "VXC")  # pw2bgw.x of QE 6.7 writes VXC into a VSC file
_LARGEST = 10**9


def read_vsc(path: str | Path) -> PlaneWaveDensity:
    """Read the plane waves of a local potential, V(r) = Σ_G V(G) exp(iG·r).

    ``VSC`` is written with ``vscg_flag = .true.`` and ``real_or_complex = 2``. Instead of a density
    V(G), in Ry, is returned: one component, or spin up and spin down.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is something else, cut, or of the real flavour.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(
            path.name, path.parent, "Run pw2bgw.x with vscg_flag=.true., or use the density."
        )
    try:
        with open_records(path, "<", Refusal("pw2bgw.x", _FIX, _FIX)) as records:
            return _read(records)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), fix=_FIX) from error


def _read(records: RecordReader) -> PlaneWaveDensity:
    head = records.stream.read(4)
    if head != struct.pack("<i", 96):
        raise FormatError(
            records.path,
            "this is no VSC file of pw2bgw.x",
            expected="a Fortran record of 96 bytes, little-endian",
            found=head.hex(" ") or "an empty file",
            fix="Give the VSC written with vscg_flag=.true.",
        )
    title = records.record("the title", 96)[:32].decode("latin-1").strip()
    kind, _, flavour = title.partition("-")
    if kind not in _TITLES or flavour != "Complex":
        raise FormatError(
            records.path,
            "the title is another",
            expected="VSC-Complex (pw2bgw.x of QE 6.7 writes VXC-Complex)",
            found=repr(title),
            fix="Give the VSC written with vscg_flag=.true. and real_or_complex=2.",
        )
    n_spin, n_waves, n_rotations, _, n_atoms, _ = struct.unpack(
        "<5id", records.record("the sizes", 28)
    )
    counts = {"spins": n_spin, "plane waves": n_waves, "rotations": n_rotations, "atoms": n_atoms}
    if n_spin not in (1, 2) or min(counts.values()) < 1 or max(counts.values()) > _LARGEST:
        raise FormatError(records.path, "the header cannot be right", found=counts, fix=_FIX)
    records.record("the grid", 12)
    records.record("the cell", 160)
    reciprocal = records.numbers("f8", 20, "the reciprocal cell")
    records.record("the rotations", 36 * n_rotations)
    records.record("the translations", 24 * n_rotations)
    records.record("the atoms", 28 * n_atoms)
    miller = np.frombuffer(_pieces(records, 12, n_waves), "<i4").reshape(-1, 3)
    values = np.frombuffer(_pieces(records, 16 * n_spin, n_waves), "<c16").reshape(n_spin, -1)
    # recvol, tpiba, bg(3, 3) in units of tpiba, column by column, bdot(3, 3)
    vectors: NDArray[np.float64] = reciprocal[2:11].reshape(3, 3) * reciprocal[1]
    return PlaneWaveDensity(vectors, miller, values)


def _pieces(records: RecordReader, size: int, count: int) -> bytes:
    """Return `count` items of `size` bytes that come in announced pieces."""
    n_pieces = int(records.numbers("i4", 1, "the number of pieces")[0])
    parts = []
    for _ in range(max(0, min(n_pieces, count))):
        length = int(records.numbers("i4", 1, "the length of a piece")[0])
        parts.append(records.record("a piece", size * length))
    found = sum(map(len, parts)) // size
    if found != count:
        raise FormatError(
            records.path, "plane waves are missing", expected=count, found=found, fix=_FIX
        )
    return b"".join(parts)
