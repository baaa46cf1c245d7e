"""The files of other programs that functions on a grid go to: Gaussian cube, XCrySDen xsf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dock.core.structure import AnyStructure, Structure
from dock.errors import FormatError, UsageError
from dock.io.files import atomic_path
from dock.units import CODATA2018

__all__ = ["read_cube", "write_cube", "write_xsf"]

_BOHR = CODATA2018.bohr_angstrom
_PER_LINE = 6


def write_cube(
    path: str | Path,
    structure: AnyStructure,
    values: NDArray[np.float64],
    *,
    comment: str = "",
    overwrite: bool = False,
) -> Path:
    """Write one real function as a Gaussian cube file; the comment is its first line.

    Lengths go out in Bohr; the values (N_1, N_2, N_3) as they are: give a density in electrons per
    Bohr³. The grid begins at the origin and has N points along each lattice vector, the last one
    step before the next cell. Six numbers with six digits on a line, the third axis fastest.

    Raises
    ------
    OutputError
        When the file exists or cannot be written.
    UsageError
        For values that are not real on a grid.
    """
    structure = Structure.of(structure)
    _require_grid(values)
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="ascii", errors="replace") as file,
    ):
        file.write(f"{comment or structure.formula}\nwritten by dock; lengths in Bohr\n")
        file.write(f"{structure.n_atoms:5d}{0.0:12.6f}{0.0:12.6f}{0.0:12.6f}\n")
        for n, vector in zip(values.shape, structure.cell / _BOHR, strict=True):
            x, y, z = vector / n
            file.write(f"{n:5d}{x:18.12f}{y:18.12f}{z:18.12f}\n")
        for number, place in zip(structure.numbers, structure.positions / _BOHR, strict=True):
            x, y, z = place
            file.write(f"{number:5d}{float(number):12.6f}{x:18.12f}{y:18.12f}{z:18.12f}\n")
        _write_rows(file, values, " %12.5E")
    return Path(path)


def write_xsf(
    path: str | Path,
    structure: AnyStructure,
    fields: Mapping[str, NDArray[np.float64]],
    *,
    overwrite: bool = False,
) -> Path:
    """Write real functions (N_1, N_2, N_3) by name as one xsf file; raises as `write_cube`.

    Lengths are in Å. A "general grid" of xsf repeats its first point at the end of each axis, and
    has the first axis fastest.
    """
    structure = Structure.of(structure)
    for values in fields.values():
        _require_grid(values)
    with (
        atomic_path(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="ascii", errors="replace") as file,
    ):
        file.write("CRYSTAL\nPRIMVEC\n")
        cell = "".join(f"{x:18.12f}{y:18.12f}{z:18.12f}\n" for x, y, z in structure.cell)
        file.write(f"{cell}PRIMCOORD\n{structure.n_atoms} 1\n")
        for number, (x, y, z) in zip(structure.numbers, structure.positions, strict=True):
            file.write(f"{number:4d}{x:18.12f}{y:18.12f}{z:18.12f}\n")
        file.write("BEGIN_BLOCK_DATAGRID_3D\n  dock\n")
        for name, values in fields.items():
            whole = np.pad(values, ((0, 1),) * 3, mode="wrap")
            n1, n2, n3 = whole.shape
            file.write(f"  BEGIN_DATAGRID_3D_{name.replace(' ', '_')}\n  {n1} {n2} {n3}\n")
            file.write(f"{0.0:18.12f}{0.0:18.12f}{0.0:18.12f}\n{cell}")
            _write_rows(file, whole.transpose(2, 1, 0), " %14.7E")
            file.write("  END_DATAGRID_3D\n")
        file.write("END_BLOCK_DATAGRID_3D\n")
    return Path(path)


def _require_grid(values: NDArray[np.float64]) -> None:
    if values.ndim != 3 or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise UsageError(
            f"a function on a grid is a finite real (N1, N2, N3) array, found {values.dtype} "
            f"{values.shape}."
        )


def _write_rows(file: IO[str], values: NDArray[np.float64], number: str) -> None:
    """Write the last axis of each row in lines of six numbers, a slab of rows at a time."""
    n = values.shape[2]
    full, rest = divmod(n, _PER_LINE)
    line = number * _PER_LINE + "\n"
    row = line * full + (number * rest + "\n" if rest else "")
    for slab in values:
        file.write((row * len(slab)) % tuple(slab.ravel().tolist()))


def read_cube(path: str | Path) -> tuple[Structure, NDArray[np.float64]]:
    """Return the structure (Å) and the values (N_1, N_2, N_3), as they stand, of a cube file.

    Raises `FormatError` where it is cut, has several functions, or its grid does not begin at the
    origin.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="ascii", errors="replace").split("\n")
        head = lines[2].split()
        n_atoms = int(head[0])
        origin = [float(word) for word in head[1:4]]
        axes = [lines[3 + axis].split() for axis in range(3)]
        shape = tuple(int(words[0]) for words in axes)
        cell = np.array([[float(word) for word in words[1:4]] for words in axes])
        atoms = np.array([line.split() for line in lines[6 : 6 + n_atoms]], dtype=np.float64)
        values = np.array(" ".join(lines[6 + n_atoms :]).split(), dtype=np.float64)
    except (OSError, ValueError, IndexError) as error:
        raise FormatError(path, f"this is no cube file ({error})") from error
    if n_atoms < 0 or min(shape) < 1 or np.abs(origin).max() > 1e-9:
        raise FormatError(
            path, "only a density in Bohr with its grid from the origin is read", where="header"
        )
    if values.size != np.prod(shape):
        raise FormatError(
            path,
            "the file is cut or has several functions",
            expected=f"{np.prod(shape)} values",
            found=values.size,
        )
    full = cell * np.array(shape)[:, None] * _BOHR
    structure = Structure(full, atoms[:, 2:5] * _BOHR, atoms[:, 0].astype(np.int64))
    return structure, values.reshape(shape)
