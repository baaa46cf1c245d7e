"""Radial functions in HDF5, as the DeepH programs keep them: ``species_*.h5`` and ``basis/El.h5``.

Both hold R(r) in Bohr^(−3/2) on a mesh in Bohr: one row a shell, padded with zeros to the longest.
``basis/El.h5`` has one element, its shells by l and then zeta; older ones have one mesh for all
shells. ``species_*.h5`` has a group for each species, its shells in the order of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dock.core.basis import LARGEST_L, Radial, Shell, shell_letter, shell_numbers
from dock.core.elements import SYMBOLS, atomic_number
from dock.errors import ConventionError
from dock.io.hdf5 import open_hdf5
from dock.io.refusal import Refusal
from dock.units import ABACUS, AIMS, OPENMX, PYSCF, QE, SIESTA5

if TYPE_CHECKING:
    import h5py

__all__ = ["BOHR_ATTRIBUTE", "RadialSpecies", "bohr_of", "radial_files", "read_radial_file"]

BOHR_ATTRIBUTE = "bohr_angstrom"
"""Attribute of ours: the Bohr radius in Å that the numbers were made with."""

_FIX = "The file is cut, edited or another kind: copy it again, or make it again."
_CODES = {
    "siesta": SIESTA5, "openmx": OPENMX, "abacus": ABACUS, "aims": AIMS, "pyscf": PYSCF,
    "espresso": QE,
}  # fmt: skip
_VALUES = ("radius_basis", "radius_data", "radial_basis")
_MESHES = ("radius_grid", "radial_grid")
_NORM_TOLERANCE = 0.1
_fail = Refusal("the DeepH programs", damaged_fix=_FIX).damaged


class RadialSpecies(NamedTuple):
    """The basis of one species.

    Attributes
    ----------
    label, number
        Name of the species, and atomic number.
    shells
        Shells with R(r) in Å and Å^(−3/2), in the order of the file.
    projector_cutoff
        Radius of the longest projector, Å; None where the file has none.
    valence
        Electrons that the species brings, or None.
    """

    label: str
    number: int
    shells: tuple[Shell, ...]
    projector_cutoff: float | None = None
    valence: float | None = None


def radial_files(path: Path) -> list[Path]:
    """Return the file itself, or those of a folder: ``species*.h5``, ``El.h5``, ``basis/El.h5``.

    The first kind that is there counts, since the kinds repeat one another.
    """
    if path.is_file():
        return [path] if path.suffix == ".h5" else []
    by_species = sorted(path.glob("species*.h5"))
    return by_species or _by_element(path) or _by_element(path / "basis")


def _by_element(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.h5") if path.stem in SYMBOLS)


def bohr_of(source: str) -> float:
    """Return the Bohr radius, Å, of the program that a basis is from; DeepH's own for others.

    Examples
    --------
    >>> bohr_of("FHI-aims"), bohr_of("HPRO")
    (0.52917721, 0.529177249)
    """
    known = (units for code, units in _CODES.items() if code in source.lower())
    return next(known, OPENMX).bohr_angstrom


def read_radial_file(path: Path) -> list[RadialSpecies]:
    """Read ``species_*.h5`` or ``El.h5``, told apart by content.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is cut, contradicts itself, or has radial functions of another kind.
    """
    with open_hdf5(path, _FIX) as file:
        if "mul_list" in file:
            return [_element(path, file)]
        groups = [group for group in file.values() if "basis" in getattr(group, "keys", tuple)()]
        if not groups:
            found = ", ".join(file) or "nothing"
            _fail(path, "this is no basis file", "mul_list, or groups with 'basis'", found)
        return [_species(path, group) for group in groups]


def _element(path: Path, file: h5py.File) -> RadialSpecies:
    """Return the species of an ``El.h5``."""
    counts = _integers(path, file, "mul_list", (None,))
    ls = [l for l, count in enumerate(counts.tolist()) for _ in range(count)]
    symbol = str(_attribute(file, "element", path.stem))
    if path.stem in SYMBOLS and path.stem != symbol:
        _fail(path, "name and content disagree", f"the element {path.stem}", symbol, "element")
    names = [f"{shell_letter(l)} z{zeta}" for l, zeta in zip(ls, shell_numbers(ls), strict=True)]
    return RadialSpecies(symbol, _number(path, symbol), _shells(path, file, ls, names))


def _species(path: Path, group: h5py.Group) -> RadialSpecies:
    """Return one species of a ``species_*.h5``."""
    label = group.name.strip("/")
    symbol = str(_attribute(group, "element", label))
    table = _integers(path, group["basis"], "nljz_list", (None, 4))
    if np.any(table[:, 2] % 2):
        _fail(
            path,
            "radial functions are given for each j",
            "2j = 0: functions without spin–orbit coupling",
            f"2j = {sorted(set(table[:, 2].tolist()))}",
            f"{label}/basis/nljz_list",
        )
    names = [f"{n}{shell_letter(l)} z{zeta}" for n, l, _, zeta in table.tolist()]
    valence = float(_attribute(group, "valence_electrons", np.nan))
    return RadialSpecies(
        str(_attribute(group, "species_name", label)),
        _number(path, symbol),
        _shells(path, group["basis"], table[:, 1].tolist(), names),
        _projector_cutoff(path, group),
        valence if np.isfinite(valence) else None,
    )


def _projector_cutoff(path: Path, group: h5py.Group) -> float | None:
    """Return the radius of the longest projector, Å."""
    if "projector_cutoff" in group.attrs:  # ours, beside a basis without its pseudopotential
        return float(group.attrs["projector_cutoff"]) * _bohr(path, group)
    if "pseudopotential/nonlocal/cutoff_radii" not in group:
        return None
    radii = np.asarray(group["pseudopotential/nonlocal/cutoff_radii"][()], np.float64)
    return float(radii.max(initial=0.0)) * _bohr(path, group)


def _shells(
    path: Path, group: h5py.Group, ls: Sequence[int], names: Sequence[str]
) -> tuple[Shell, ...]:
    """Return the shells of one species from its rows of meshes and values."""
    where = group.name.strip("/")
    values = _rows(path, group, _VALUES)
    n_rows, width = values.shape
    if len(ls) != n_rows or not n_rows or not all(0 <= l <= LARGEST_L for l in ls):
        expected = f"l from 0 to {LARGEST_L} of each of {n_rows} rows"
        _fail(path, "shells and tables disagree", expected, f"l = {list(ls)}", where)
    mesh = _rows(path, group, _MESHES)
    if mesh.shape not in {(n_rows, width), (1, width)}:
        _fail(path, "meshes and values disagree", values.shape, mesh.shape, where)
    mesh = np.broadcast_to(mesh, values.shape)
    lengths = np.full(n_rows, width)
    if "grid_length" in group:
        lengths = _integers(path, group, "grid_length", (n_rows,))
    cutoffs = np.zeros(n_rows)
    if "cutoff_radii" in group:
        cutoffs = np.asarray(group["cutoff_radii"][()], np.float64)
    if cutoffs.shape != (n_rows,) or lengths.min() < 4 or lengths.max() > width:
        found = f"lengths {lengths.tolist()}, {cutoffs.size} cutoffs"
        _fail(path, "the tables are cut", f"{n_rows} of 4 to {width} points", found, where)
    bohr = _bohr(path, group)
    shells = [
        Shell(l, name, _radial(path, (r[:n], y[:n], cutoff), bohr, f"{where} shell {row}".lstrip()))
        for row, (l, name, r, y, n, cutoff) in enumerate(
            zip(ls, names, mesh, values, lengths, cutoffs, strict=True), 1
        )
    ]
    _check_convention(path, group, shells)
    return tuple(shells)


def _radial(
    path: Path,
    table: tuple[NDArray[np.float64], NDArray[np.float64], float],
    bohr: float,
    where: str,
) -> Radial:
    """Return one function in Å after checking its mesh."""
    r, values, cutoff = table
    if not (np.isfinite(r).all() and np.isfinite(values).all() and np.isfinite(cutoff)):
        _fail(path, "numbers are not finite", "finite numbers", "NaN or infinity", where)
    if r[0] < 0 or not np.all(np.diff(r) > 0):
        _fail(path, "the radii do not increase", "a mesh from 0 outwards", "other radii", where)
    ends_early = r[-1] < cutoff * (1 - 1e-3) and abs(values[-1]) > 1e-3 * abs(values).max()
    if cutoff < 0 or ends_early:
        _fail(path, "the mesh ends before the cutoff", f"up to {cutoff:.6g}", f"{r[-1]:.6g}", where)
    end = min(cutoff, float(r[-1])) if cutoff else float(r[-1])
    return Radial(r * bohr, values / bohr**1.5, end * bohr)


def _check_convention(path: Path, group: h5py.Group, shells: Sequence[Shell]) -> None:
    """Refuse values that are said to be something else than R(r), unless their norms are 1."""
    tables = next(group[name] for name in _VALUES if name in group)
    word = str(_attribute(tables, "radial_value_convention", ""))
    norms = [shell.radial.norm for shell in shells if shell.radial is not None]
    if word and max(abs(norm - 1) for norm in norms) > _NORM_TOLERANCE:
        _fail(
            path,
            "the radial values are of an unknown kind",
            "R(r), or u/r, with ∫R²r²dr = 1",
            f"{word!r}, ∫R²r²dr from {min(norms):.4g} to {max(norms):.4g}",
            "radial_value_convention",
        )


def _bohr(path: Path, node: h5py.Group) -> float:
    """Return the unit of length in Å: that of the file, or of the program that it names."""
    unit = str(_attribute(node, "units_length", "bohr")).lower()
    if unit in {"angstrom", "ang", "å"}:
        return 1.0
    if unit not in {"bohr", "a.u.", "au", "a0"}:
        _fail(path, "the unit of length is unknown", "bohr or angstrom", unit, "units_length")
    own = _attribute(node, BOHR_ATTRIBUTE, None)
    return bohr_of(str(_attribute(node, "source", ""))) if own is None else float(own)


def _attribute(node: h5py.Group | h5py.Dataset, name: str, default: Any) -> Any:
    """Return an attribute of a group or dataset, or of the nearest group above that has it."""
    while name not in node.attrs:
        if node.name == "/":
            return default
        node = node.parent
    value = node.attrs[name]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _number(path: Path, symbol: str) -> int:
    try:
        return atomic_number(symbol)
    except ConventionError as error:
        _fail(path, str(error).rstrip("."), "an element", symbol, "element")


def _rows(path: Path, group: h5py.Group, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the first of some datasets that is there, as rows."""
    where = group.name.strip("/")
    name = next((name for name in names if name in group), None)
    if name is None:
        _fail(path, "a dataset is missing", " or ".join(names), ", ".join(group), where)
    rows = np.atleast_2d(np.asarray(group[name][()], np.float64))
    if rows.ndim != 2:
        _fail(path, "a dataset has the wrong shape", "rows of numbers", rows.shape, name)
    return rows


def _integers(
    path: Path, group: h5py.Group, name: str, shape: tuple[int | None, ...]
) -> NDArray[np.int64]:
    """Return a dataset of integers of a shape; None stands for any length."""
    if name not in group:
        _fail(path, "a dataset is missing", name, ", ".join(group), group.name.strip("/"))
    values = np.asarray(group[name][()])
    fits = len(values.shape) == len(shape) and all(
        wanted in {None, length} for wanted, length in zip(shape, values.shape, strict=True)
    )
    if not fits or values.dtype.kind not in "iu" or values.min(initial=0) < -1:
        _fail(path, "a dataset is wrong", "counts", f"{values.dtype} {values.shape}", name)
    return values.astype(np.int64)
