"""OpenMX's basis files (``.pao``): radial functions on a logarithmic mesh, and their shells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.openmx.dat import OpenmxInput
from dock.converters.openmx.species import Species
from dock.core.basis import Radial, Shell, shell_letter, shell_numbers
from dock.errors import FormatError, MissingDataError
from dock.io.text import NotANumber, finite_numbers, load_text, parse_numbers
from dock.units import OPENMX

__all__ = ["PaoFile", "radial_of_pao", "read_pao", "shells_of_input", "shells_of_pao"]

MAX_L = 6
MESH_TOLERANCE = 1e-6
CUT_FIX = "The file is cut or edited: copy it again from OpenMX's DFT_DATA/PAO."
SUBDIVISION = 8
"""Pieces that each step of a `.pao` mesh is divided into."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PaoFile:
    """The radial functions of a PAO file, in Bohr.

    A basis function is R(r) Y(r̂) with R exactly as tabulated (no further power of r). OpenMX
    interpolates the table by piecewise cubic Hermite polynomials and takes zero beyond it.

    Attributes
    ----------
    path
        The file.
    number
        Atomic number (``AtomSpecies``), or None where the file does not say it.
    valence_electrons
        ``valence.electron``, or None.
    cutoff_bohr
        ``radial.cutoff.pao``.
    mesh
        float64 (n_mesh,): radii in Bohr, increasing; the last ones lie beyond the cutoff.
    radial
        For each l from 0: float64 (n_zeta, n_mesh), Bohr^(−3/2); ∫R² r² dr is 1 or nearly so.
        A basis ``s2p1`` takes the first two rows of l = 0 and the first of l = 1.
    """

    path: Path
    number: int | None
    valence_electrons: float | None
    cutoff_bohr: float
    mesh: NDArray[np.float64]
    radial: tuple[NDArray[np.float64], ...]

    def __post_init__(self) -> None:
        self.mesh.flags.writeable = False
        for table in self.radial:
            table.flags.writeable = False

    @property
    def l_max(self) -> int:
        """Highest angular momentum in the file."""
        return len(self.radial) - 1


def read_pao(path: str | Path) -> PaoFile:
    """Read a PAO file.

    Raises
    ------
    FormatError
        When the file is cut, is another kind, contradicts itself, or holds numbers that are
        not finite or radii that do not increase.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    lines = load_text(path, "an OpenMX PAO file", "OpenMX").split("\n")
    values = _keywords(lines)
    l_max = _integer(path, values, "PAO.Lmax", (0, MAX_L))
    n_zeta = _integer(path, values, "PAO.Mul", (1, 1000))
    n_mesh = _integer(path, values, "grid.num.output", (10, 1_000_000))
    tables = [_block(path, lines, l_value, (n_mesh, n_zeta)) for l_value in range(l_max + 1)]
    mesh = _mesh(path, tables)
    cutoff = _number(path, values, "radial.cutoff.pao")
    if not 0 < cutoff <= mesh[-1]:
        _fail(path, "the mesh ends before the cutoff", f"up to {cutoff} Bohr", f"{mesh[-1]} Bohr")
    has_number, has_valence = "atomspecies" in values, "valence.electron" in values
    return PaoFile(
        path=path,
        number=_integer(path, values, "AtomSpecies", (0, 130)) if has_number else None,
        valence_electrons=_number(path, values, "valence.electron") if has_valence else None,
        cutoff_bohr=cutoff,
        mesh=mesh,
        radial=tuple(np.ascontiguousarray(table[:, 2:].T) for table in tables),
    )


def _keywords(lines: list[str]) -> dict[str, tuple[int, str]]:
    """Return the lower-case first word of each line with its second word and line number."""
    keywords: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(lines, 1):
        # Data lines start with a number, a blank or a mark; only keywords start with a letter.
        if line[:1].isalpha():
            words = line.split("#", 1)[0].split()
            if len(words) > 1:
                keywords.setdefault(words[0].lower(), (number, words[1]))
    return keywords


def _number(path: Path, values: dict[str, tuple[int, str]], keyword: str) -> float:
    """Return the number after a keyword that must be there."""
    if keyword.lower() not in values:
        _fail(path, f"{keyword} is missing", f"a line {keyword} and a number", None)
    line, word = values[keyword.lower()]
    numbers = finite_numbers([word], 1)
    if numbers is None:
        _fail(path, f"{keyword} is not a number", "a number", repr(word), f"line {line}")
    return numbers[0]


def _integer(
    path: Path, values: dict[str, tuple[int, str]], keyword: str, limits: tuple[int, int]
) -> int:
    """Return the integer after a keyword, held against its limits."""
    number = _number(path, values, keyword)
    if number != int(number) or not limits[0] <= number <= limits[1]:
        line = values[keyword.lower()][0]
        expected = f"an integer from {limits[0]} to {limits[1]}"
        _fail(path, f"{keyword} is out of range", expected, number, f"line {line}")
    return int(number)


def _block(
    path: Path, lines: list[str], l_value: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the table of one l: ln r, r and the radial functions, one row a mesh point."""
    n_mesh, n_zeta = shape
    name = f"pseudo.atomic.orbitals.L={l_value}"
    try:
        start = lines.index(f"<{name}") + 1
    except ValueError:
        _fail(path, f"the block <{name} is missing", f"blocks for L=0 to PAO.Lmax={l_value}+", None)
    rows = lines[start : start + n_mesh]
    closing = lines[start + n_mesh].strip() if start + n_mesh < len(lines) else "the file's end"
    if len(rows) < n_mesh or closing != f"{name}>":
        _fail(
            path,
            f"the block {name} has the wrong length",
            f"{n_mesh} lines (grid.num.output), then {name}>",
            f"{len(rows)} lines, then {closing[:40]!r}",
            f"line {start}",
        )
    words = [row.split() for row in rows]
    wrong = next((n for n, row in enumerate(words) if len(row) != n_zeta + 2), None)
    if wrong is not None:
        expected, found = f"{n_zeta + 2} columns (2 + PAO.Mul)", f"{len(words[wrong])} columns"
        _fail(path, f"a row of {name} is wrong", expected, found, f"line {start + wrong + 1}")
    try:
        table = parse_numbers("\n".join(rows)).reshape(n_mesh, n_zeta + 2)
    except NotANumber as error:
        place = f"line {start + error.index // (n_zeta + 2) + 1}"
        _fail(path, f"the block {name} holds a word", "numbers", error.shown, place)
    bad = ~np.isfinite(table).all(axis=1)
    if bad.any():
        place = f"line {start + int(np.argmax(bad)) + 1}"
        _fail(path, f"the block {name} is not finite", "finite numbers", "NaN or infinity", place)
    return table


def _mesh(path: Path, tables: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the radii, which all tables must share."""
    logarithm, radii = tables[0][:, 0], tables[0][:, 1]
    if radii[0] <= 0 or (np.diff(radii) <= 0).any():
        _fail(path, "the radii do not increase", "a mesh from above 0 outwards", "other radii")
    if np.abs(np.exp(logarithm) / radii - 1).max() > MESH_TOLERANCE:
        _fail(path, "the first two columns disagree", "ln r and r", "other numbers")
    for l_value, table in enumerate(tables):
        if (table[:, 1] != radii).any():
            _fail(path, f"the mesh of L={l_value} differs", "the mesh of L=0", "other radii")
    return np.ascontiguousarray(radii)


def _fail(
    path: Path, problem: str, expected: object, found: object, where: str | None = None
) -> NoReturn:
    raise FormatError(path, problem, expected=expected, found=found, where=where, fix=CUT_FIX)


def shells_of_input(
    source: OpenmxInput, *, contracted: bool, folder: Path | None = None
) -> dict[str, tuple[Shell, ...]]:
    """Return the shells of each species of an input, with radial functions if a folder is given.

    The folder holds ``.pao`` files. Contracted orbitals have no radial functions on file.
    """
    if folder is not None and not contracted:
        return {kind.label: shells_of_pao(kind, folder) for kind in source.species}
    ls = {kind.label: kind.pao.shells(contracted=contracted) for kind in source.species}
    return {label: tuple(_named(shells)) for label, shells in ls.items()}


def shells_of_pao(species: Species, folder: Path) -> tuple[Shell, ...]:
    """Return the shells of one species with the radial functions of its ``.pao`` file.

    Raises
    ------
    MissingDataError
        When the folder lacks the file.
    FormatError
        When the file holds fewer functions than the basis string takes.
    """
    path = folder / f"{species.pao.base_name}.pao"
    if not path.is_file():
        raise MissingDataError(
            path.name, folder, "It belongs to OpenMX's DFT_DATA/PAO; pass that folder as basis=DIR."
        )
    pao = read_pao(path)
    ls = species.pao.shells()
    shells = []
    for shell, number in zip(_named(ls), shell_numbers(ls), strict=True):
        if shell.l >= len(pao.radial) or number > len(pao.radial[shell.l]):
            raise FormatError(
                path,
                f"it has no function {number} of l = {shell.l}",
                expected=f"the basis {species.pao}",
                found=", ".join(f"{len(r)} of l = {l}" for l, r in enumerate(pao.radial)),
            )
        shells.append(Shell(shell.l, shell.label, radial_of_pao(pao, shell.l, number - 1)))
    return tuple(shells)


def radial_of_pao(pao: PaoFile, l: int, zeta: int) -> Radial:
    """Return one radial function in Å units; beyond the file's cutoff it is zero.

    It is the function that OpenMX makes of its table, cubic Hermite pieces with parabolic slopes,
    on a mesh that is finer by `SUBDIVISION`: far out the table is so coarse that a spline through
    it differs by up to 5e-6 in the norm.
    """
    bohr = OPENMX.bohr_angstrom
    x = np.asarray(pao.mesh) * bohr
    y = np.asarray(pao.radial[l][zeta]) / bohr**1.5
    slopes = np.gradient(y, x)
    t = np.arange(SUBDIVISION) / SUBDIVISION
    h, s = np.diff(x)[:, None], 1 - t
    values = (
        s * s * ((1 + 2 * t) * y[:-1, None] + t * h * slopes[:-1, None])
        + t * t * ((1 + 2 * s) * y[1:, None] - s * h * slopes[1:, None])
    )  # fmt: skip
    fine = (x[:-1, None] + h * t).ravel()
    radii, function = np.append(fine, x[-1]), np.append(values.ravel(), y[-1])
    return Radial(radii, function, pao.cutoff_bohr * bohr)


def _named(ls: tuple[int, ...]) -> list[Shell]:
    """Return shells labelled as OpenMX users know them: s0, s1, p0."""
    return [
        Shell(l, f"{shell_letter(l)}{n - 1}") for l, n in zip(ls, shell_numbers(ls), strict=True)
    ]
