"""SIESTA's basis files: ``.ion.xml``, ``.ion.nc`` and ``.ion``, the orbitals of one species.

All three hold the same tables: R(r)/r^l in Bohr^(−3/2−l) on an even mesh from 0 to the cutoff,
the orbitals in the order of SIESTA's matrices, then the Kleinman–Bylander projectors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import Radial, Shell, shell_letter
from dock.errors import FormatError, MissingDataError
from dock.io.hdf5 import open_hdf5
from dock.io.refusal import Refusal
from dock.io.text import NotANumber, parse_number, parse_numbers
from dock.units import SIESTA5, Constants

__all__ = ["IonFile", "IonOrbital", "read_ion", "xml_elements", "xml_table"]

MAX_L = 6
_FIX = "The file is cut or edited: copy it again from the SIESTA run."
_STEP_TOLERANCE = 1e-6  # of the mesh step: the text files print 12 digits
_fail = Refusal("SIESTA", damaged_fix=_FIX).damaged


@dataclass(frozen=True, eq=False)
class IonOrbital:
    """One radial function of an ion file, in Bohr.

    Attributes
    ----------
    l, n, zeta
        Angular momentum, principal quantum number (depends on SIESTA's version), zeta from 1.
    polarised
        Whether it is a polarisation orbital.
    delta_bohr, cutoff_bohr
        Step of the mesh, which starts at 0, and radius beyond which the orbital is zero.
    values
        (n_mesh,) R(r)/r^l, Bohr^(−3/2−l).
    """

    l: int
    n: int
    zeta: int
    polarised: bool
    delta_bohr: float
    cutoff_bohr: float
    values: NDArray[np.float64]

    def shell(self, constants: Constants) -> Shell:
        """Return the shell with R(r) in Å and Å^(−3/2)."""
        r = self.delta_bohr * np.arange(len(self.values))
        bohr = constants.bohr_angstrom
        radial = Radial(r * bohr, self.values * r**self.l / bohr**1.5, self.cutoff_bohr * bohr)
        mark = "P" if self.polarised else ""
        return Shell(self.l, f"{self.n}{mark}{shell_letter(self.l)} z{self.zeta}", radial)


@dataclass(frozen=True, eq=False, kw_only=True)
class IonFile:
    """The basis of one SIESTA species.

    Attributes
    ----------
    symbol, label
        Element and species label.
    number
        Atomic number.
    orbitals
        Radial functions in the order of SIESTA's matrices.
    projector_cutoff_bohr
        Radius of the longest Kleinman–Bylander projector; 0 without projectors.
    valence
        Valence electrons of the species.
    """

    symbol: str
    label: str
    number: int
    orbitals: tuple[IonOrbital, ...]
    projector_cutoff_bohr: float
    valence: float

    def shells(self, constants: Constants = SIESTA5) -> tuple[Shell, ...]:
        """Return the shells in Å of the SIESTA that made the structure: 4.x has 0.529177 a Bohr."""
        return tuple(orbital.shell(constants) for orbital in self.orbitals)


def read_ion(path: str | Path) -> IonFile:
    """Read an ``.ion.xml``, ``.ion.nc`` or ``.ion`` file, told apart by content.

    Raises
    ------
    MissingDataError
        When the file cannot be read.
    FormatError
        When it is cut, is another kind, contradicts itself or holds numbers that are not finite.
    """
    path = Path(path)
    try:
        head = path.read_bytes()[:8]
    except OSError as error:
        raise MissingDataError(
            f"{path.name} ({error.strerror})", path.parent, "It is a basis file of SIESTA."
        ) from error
    if head[:3] == b"CDF":
        ion = _from_netcdf(path, _load_netcdf3(path))
    elif head[1:4] == b"HDF":
        ion = _from_netcdf(path, _load_hdf5(path))
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                path, "this is neither a text nor a NetCDF file", expected="a SIESTA .ion file"
            ) from error
        ion = _from_xml(path, text) if "<ion " in text[:400] else _from_text(path, text)
    if not ion.orbitals:
        _fail(path, "there are no orbitals", "at least one", "none")
    return ion


class _Mesh(NamedTuple):
    """Number of points, step and cutoff of a radial function, Bohr."""

    n_points: int
    delta: float
    cutoff: float


def _orbital(
    path: Path, numbers: Sequence[float], mesh: _Mesh, values: NDArray[np.float64]
) -> IonOrbital:
    """Return one orbital after checking its quantum numbers, mesh and values."""
    l, n, zeta, polarised = (int(number) for number in numbers)
    count, delta, cutoff = mesh
    where = f"orbital n = {n}, l = {l}, zeta {zeta}"
    if not 0 <= l <= MAX_L:
        _fail(path, "the angular momentum is out of range", f"0 to {MAX_L}", l, where)
    if len(values) != count or count < 4:
        _fail(path, "the table is cut", f"{count} points, at least 4", len(values), where)
    if not (np.isfinite(values).all() and np.isfinite([delta, cutoff]).all()):
        _fail(path, "numbers are not finite", "finite numbers", "NaN or infinity", where)
    end = delta * (count - 1)
    if delta <= 0 or not 0 < cutoff <= end * (1 + 1e-6) + 1e-6:
        expected = f"0 < cutoff ≤ (npts − 1) · delta = {end:.6g} Bohr"
        found = f"delta {delta:.6g}, cutoff {cutoff:.6g}"
        _fail(path, "the mesh does not fit the cutoff", expected, found, where)
    values = np.array(values, dtype=np.float64)
    return IonOrbital(l, n, zeta, bool(polarised), delta, min(cutoff, end), values)


def _even(path: Path, table: NDArray[np.float64], delta: float, where: str) -> NDArray[np.float64]:
    """Return the second column of a table whose first one must be a multiple of delta."""
    expected = delta * np.arange(len(table))
    off = np.abs(table[:, 0] - expected)
    if len(off) and not off.max() <= _STEP_TOLERANCE * abs(delta) * max(1, len(table)):
        bad = int(np.argmax(off))
        wanted = f"r = {expected[bad]:.8g} at point {bad + 1} (delta {delta:.8g})"
        _fail(path, "the radial mesh is not even", wanted, f"r = {table[bad, 0]:.8g}", where)
    return table[:, 1]


def _number(path: Path, text: str, what: str, where: str) -> float:
    try:
        return parse_number(text.strip())
    except ValueError:
        _fail(path, f"{what} is not a number", "a number", repr(text.strip()[:30]), where)


def _table(path: Path, text: str, where: str) -> NDArray[np.float64]:
    """Return the numbers of a two-column table, (n, 2)."""
    try:
        values = parse_numbers(text)
    except NotANumber as error:
        place = f"{where}, number {error.index + 1}"
        _fail(path, "a table holds a word", "numbers", error.shown, place)
    if len(values) % 2:
        _fail(path, "a table is cut", "pairs r, R(r)/r^l", f"{len(values)} numbers", where)
    return values.reshape(-1, 2)


def _from_xml(path: Path, text: str) -> IonFile:
    """Read an .ion.xml; by tags, as the preamble of some versions is no valid XML."""
    if "</ion>" not in text:
        _fail(path, "the file is cut", "a closing tag </ion>", f"an end at byte {len(text)}")

    def header(tag: str) -> str:
        match = re.search(rf"<{tag}>\s*(\S+)\s*</{tag}>", text)
        return match[1] if match else _fail(path, f"<{tag}> is missing", f"a tag <{tag}>", "none")

    orbitals = []
    for where, tags, body in xml_elements(text, "orbital"):
        numbers = [
            _number(path, tags.get(key, ""), f"attribute {key}", where)
            for key in ("l", "n", "z", "ispol")
        ]
        mesh, table = _radfunc(path, body, where)
        orbitals.append(_orbital(path, numbers, mesh, _even(path, table, mesh.delta, where)))
    projectors = [
        _radfunc(path, body, where)[0].cutoff for where, _, body in xml_elements(text, "projector")
    ]
    for tag, counted in (("norbs_nl", len(orbitals)), ("nprojs_nl", len(projectors))):
        stated = int(_number(path, header(tag), tag, "header"))
        if stated != counted:
            _fail(path, f"{tag} and the tables disagree", f"{stated} tables", counted)
    return IonFile(
        symbol=header("symbol"),
        label=header("label"),
        number=int(_number(path, header("z"), "the atomic number", "header")),
        orbitals=tuple(orbitals),
        projector_cutoff_bohr=max(projectors, default=0.0),
        valence=_number(path, header("valence"), "the valence charge", "header"),
    )


def xml_elements(text: str, tag: str) -> Iterator[tuple[str, Mapping[str, str], str]]:
    """Yield place, attributes and body of each element of a kind."""
    pattern = re.compile(rf"<{tag}\b([^>]*)>(.*?)</{tag}>", re.DOTALL)
    for number, match in enumerate(pattern.finditer(text), 1):
        yield f"{tag} {number}", dict(re.findall(r'(\w+)="([^"]*)"', match[1])), match[2]


def xml_table(path: Path, body: str, where: str) -> tuple[float, NDArray[np.float64]]:
    """Return the cutoff (Bohr) of a <radfunc> and its table r (Bohr), value; checked."""
    mesh, table = _radfunc(path, body, where)
    if len(table) != mesh.n_points or mesh.n_points < 4:
        _fail(path, "the table is cut", f"{mesh.n_points} points, at least 4", len(table), where)
    _even(path, table, mesh.delta, where)
    if not (np.isfinite(table).all() and np.isfinite(mesh.cutoff)):
        _fail(path, "numbers are not finite", "finite numbers", "NaN or infinity", where)
    return mesh.cutoff, table


def _radfunc(path: Path, body: str, where: str) -> tuple[_Mesh, NDArray[np.float64]]:
    """Return mesh and table of a <radfunc>."""
    parts = {}
    for tag in ("npts", "delta", "cutoff", "data"):
        match = re.search(rf"<{tag}>(.*?)</{tag}>", body, re.DOTALL)
        if match is None:
            _fail(path, f"<{tag}> is missing", f"a tag <{tag}>", "none", where)
        parts[tag] = match[1]
    delta, cutoff = (_number(path, parts[tag], tag, where) for tag in ("delta", "cutoff"))
    mesh = _Mesh(int(_number(path, parts["npts"], "npts", where)), delta, cutoff)
    return mesh, _table(path, parts["data"], where)


def _from_text(path: Path, text: str) -> IonFile:
    """Read an .ion file."""
    lines = text.splitlines()
    start = next((k for k, line in enumerate(lines) if "# Symbol" in line), None)
    if start is None or start + 8 >= len(lines):
        _fail(path, "this is no SIESTA .ion file, or it is cut", "a line with '# Symbol'", "none")
    words = [line.split("#")[0].split() for line in lines[start : start + 8]]
    # Files made for HPRO have no line between the valence charge and the orbitals.
    is_short = lines[start + 4].lstrip().startswith("# PAOs")
    if is_short:
        n_orbitals = sum("#orbital" in line for line in lines[start:])
        words[4:] = [[], [], [str(n_orbitals)], ["0"]]
    counts = []
    for k, what in ((2, "the atomic number"), (6, "the number of orbitals"), (7, "of projectors")):
        where = f"line {start + k + 1}"
        counts.append(int(_number(path, words[k][-1] if words[k] else "", what, where)))
    where = f"line {start + 4}"
    valence = _number(path, words[3][0] if words[3] else "", "the valence charge", where)
    begin = start + (5 if is_short else 9)
    orbitals, projectors = _text_tables(path, lines, begin, (counts[1], counts[2]))
    return IonFile(
        symbol=words[0][0],
        label=words[1][0],
        number=counts[0],
        orbitals=tuple(orbitals),
        projector_cutoff_bohr=max(projectors, default=0.0),
        valence=valence,
    )


def _text_tables(
    path: Path, lines: list[str], place: int, counts: tuple[int, int]
) -> tuple[list[IonOrbital], list[float]]:
    """Return the orbitals and the projectors' radii of an .ion file, from line `place`."""
    orbitals: list[IonOrbital] = []
    projectors: list[float] = []
    for kind in ["orbital"] * counts[0] + ["projector"] * counts[1]:
        if place < len(lines) and lines[place].lstrip().startswith("#"):
            place += 1
        where = f"{kind} at line {place + 1}"
        if place + 2 > len(lines):
            expected = f"{counts[0]} orbitals, {counts[1]} projectors"
            _fail(path, "the file is cut", expected, "its end")
        head, grid = (lines[place + k].split("#")[0].split() for k in (0, 1))
        numbers = [_number(path, word, "a header", where) for word in (head + grid)]
        if len(grid) != 3 or len(head) < (4 if kind == "orbital" else 3):
            expected = "quantum numbers; npts, delta, cutoff"
            _fail(path, "a header is wrong", expected, head + grid, where)
        mesh = _Mesh(int(numbers[-3]), numbers[-2], numbers[-1])
        table = _table(path, "\n".join(lines[place + 2 : place + 2 + mesh.n_points]), where)
        place += 2 + mesh.n_points
        if len(table) != mesh.n_points:
            _fail(path, "a table is cut", f"{mesh.n_points} lines", len(table), where)
        if kind == "projector":
            projectors.append(mesh.cutoff)
        else:
            values = _even(path, table, mesh.delta, where)
            orbitals.append(_orbital(path, numbers[:4], mesh, values))
    return orbitals, projectors


def _load_netcdf3(path: Path) -> dict[str, Any]:
    """Return attributes and variables of a classic NetCDF file, copied."""
    from scipy.io import netcdf_file

    try:
        with netcdf_file(path, "r", mmap=False) as file:
            variables = {name: np.array(item[...]) for name, item in file.variables.items()}
            return {**file._attributes, **variables}
    except (TypeError, ValueError, EOFError, IndexError, OSError, AttributeError) as error:
        # scipy has no error class of its own for files that are cut.
        problem = "the NetCDF file cannot be read"
        raise FormatError(path, problem, found=str(error), fix=_FIX) from error


def _load_hdf5(path: Path) -> dict[str, Any]:
    """Return attributes and variables of a NetCDF-4 file."""
    with open_hdf5(path, _FIX, "NetCDF") as file:
        return {**file.attrs, **{name: np.array(item[()]) for name, item in file.items()}}


def _from_netcdf(path: Path, content: Mapping[str, Any]) -> IonFile:
    """Make the species of a NetCDF file's content."""
    names = ("orbnl_l", "orbnl_n", "orbnl_z", "orbnl_ispol", "cutoff", "delta", "orb")
    wanted = (*names, "Element", "Label", "Atomic_number")
    missing = [name for name in wanted if name not in content]
    if missing:
        _fail(path, "this is no SIESTA .ion.nc file", "its variables", f"no {', '.join(missing)}")
    columns = [np.atleast_1d(content[name]) for name in names[:6]]
    tables = np.atleast_2d(content["orb"])
    if len({len(column) for column in (*columns, tables)}) != 1:
        _fail(path, "the variables disagree", "one entry for each orbital", "different lengths")
    orbitals = [
        _orbital(path, numbers, _Mesh(len(table), float(delta), float(cutoff)), table)
        for *numbers, cutoff, delta, table in zip(*columns, tables, strict=True)
    ]
    projectors = np.atleast_1d(content.get("kbcutoff", np.zeros(0)))
    return IonFile(
        symbol=_text(content["Element"]),
        label=_text(content["Label"]),
        number=int(np.ravel(content["Atomic_number"])[0]),
        orbitals=tuple(orbitals),
        projector_cutoff_bohr=float(projectors.max(initial=0.0)),
        valence=float(np.ravel(content.get("Valence_charge", np.nan))[0]),
    )


def _text(value: Any) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip()
