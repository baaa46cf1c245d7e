"""OpenMX's ``.Band`` file: eigenvalues on a band path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.openmx.dat import KpathSegment
from dock.errors import FormatError
from dock.io.text import finite_numbers, load_text

__all__ = ["BandFile", "read_band"]

CUT_FIX = "The run may still be writing, or a copy was interrupted: wait, or copy it again."
MAX_BANDS = 10_000_000
MAX_SEGMENTS = 100_000


@dataclass(frozen=True, eq=False, kw_only=True)
class BandFile:
    """A ``.Band`` file, in Hartree and Bohr.

    Attributes
    ----------
    path
        The file.
    chemical_potential
        Hartree.
    reciprocal
        float64 (3, 3): reciprocal vectors as rows, 1/Bohr, with 2π.
    segments
        The path; end points are counted on both sides of a joint.
    k_frac
        float64 (n_k, 3): in units of `reciprocal`.
    eigenvalues
        float64 (n_spins, n_k, n_bands): Hartree, absolute. One spin for non-spin and for
        non-collinear runs, which then have two bands an orbital.
    """

    path: Path
    chemical_potential: float
    reciprocal: NDArray[np.float64]
    segments: tuple[KpathSegment, ...]
    k_frac: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]


def read_band(path: str | Path) -> BandFile:
    """Read a ``.Band`` file.

    Raises
    ------
    FormatError
        When it is cut, another kind, or contradicts itself.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    lines = load_text(path, "an OpenMX .Band file", "OpenMX").rstrip().split("\n")
    n_bands, switch, potential = _floats(path, lines, 0, 3)
    reciprocal = np.array(_floats(path, lines, 1, 9)).reshape(3, 3)
    n_segments = _floats(path, lines, 2, 1)[0]
    if switch not in (0, 1) or not 1 <= n_bands <= MAX_BANDS or not 0 <= n_segments <= MAX_SEGMENTS:
        _wrong(path, 0, "bands, spin switch 0 or 1, chemical potential", lines[0].strip())
    segments = tuple(_segment(path, lines, 3 + n) for n in range(int(n_segments)))
    start, n_spins = 3 + len(segments), int(switch) + 1
    expected = 2 * n_spins * sum(segment.n_points for segment in segments)
    if len(lines) - start != expected:
        raise FormatError(
            path,
            "the band file has the wrong length",
            expected=f"{start + expected} lines",
            found=f"{len(lines)} lines",
            fix=CUT_FIX,
        )
    heads = [_floats(path, lines, n, 4) for n in range(start, len(lines), 2)]
    if any(head[0] != n_bands for head in heads):
        _wrong(path, start, f"{int(n_bands)} bands at each k point", "another number")
    values = [_floats(path, lines, n, int(n_bands)) for n in range(start + 1, len(lines), 2)]
    k_frac = np.array(heads, dtype=np.float64).reshape(-1, n_spins, 4)[:, :, 1:]
    if (k_frac != k_frac[:, :1]).any():
        _wrong(path, start, "up and down at the same k points", "different ones")
    energies = np.array(values).reshape(-1, n_spins, int(n_bands)).swapaxes(0, 1)
    return BandFile(
        path=path,
        chemical_potential=potential,
        reciprocal=reciprocal,
        segments=segments,
        k_frac=np.ascontiguousarray(k_frac[:, 0]),
        eigenvalues=np.ascontiguousarray(energies),
    )


def _floats(path: Path, lines: list[str], index: int, count: int) -> list[float]:
    """Return exactly `count` finite numbers of a line."""
    if index >= len(lines):
        found = f"{len(lines)} lines"
        raise FormatError(path, "the file is cut", expected="more lines", found=found, fix=CUT_FIX)
    numbers = finite_numbers(lines[index].split(), count)
    if numbers is None:
        _wrong(path, index, f"{count} numbers", repr(lines[index][:60]))
    return numbers


def _segment(path: Path, lines: list[str], index: int) -> KpathSegment:
    """Understand one line of the path: points, start, end, two labels."""
    words = lines[index].split() if index < len(lines) else []
    n, *k = _floats(path, [*lines[:index], " ".join(words[:7])], index, 7)
    if n < 1 or n != int(n):
        _wrong(path, index, "a number of points", words[0])
    first, last = [*words[7:9], "", ""][:2]
    return KpathSegment(int(n), (k[0], k[1], k[2]), (k[3], k[4], k[5]), (first, last))


def _wrong(path: Path, index: int, expected: str, found: str) -> NoReturn:
    place = f"line {index + 1}"
    problem = "the line is not what a .Band file has there"
    raise FormatError(path, problem, expected=expected, found=found, where=place, fix=CUT_FIX)
