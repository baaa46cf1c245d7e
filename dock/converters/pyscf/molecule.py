"""The atoms and Gaussians of a PySCF file, taken as plain data and checked.

PySCF's own loader evaluates parts of the text as Python code, and hands its tables of addresses to
compiled routines that trust them. Neither is done with a file from elsewhere.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import FormatError
from dock.extras import require

__all__ = ["damaged", "stored_molecule"]

_FIX = (
    "The file was cut or damaged, or its run has not finished: run PySCF with mf.chkfile set again."
)
damaged = partial(FormatError, fix=_FIX)
"""The error for a file that is not what a finished run leaves."""

_PLAIN = {"charge": int, "spin": int, "cart": bool, "_atom": list}
_PLAIN_OF_CELL = {"dimension": int, "precision": float, "_rcut": float}
_TABLES = {"_atm": (np.int32, 6), "_bas": (np.int32, 8), "_env": (np.float64, None)}
_LARGEST_L = 12
_LARGEST_RADIUS = 500.0  # Bohr: no Gaussian of any basis reaches further
_SAME_PLACE = 1e-6  # Bohr


def stored_molecule(path: Path, text: str) -> Any:
    """Return the ``Mole`` or ``Cell`` that a file's JSON text describes, ready for integrals.

    The text is what ``mol.dumps()`` wrote; `path` is for messages.

    Raises
    ------
    FormatError
        When the text is no description of a molecule, or an address in it leads nowhere.
    DependencyError
        When PySCF is not installed.
    """
    try:
        stored = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, "the molecule is no JSON text", where="mol", found=error) from error
    if not isinstance(stored, dict):
        raise _damaged(path, "a JSON object", type(stored).__name__)
    gto = require("pyscf.pbc.gto" if "a" in stored else "pyscf.gto", "pyscf")
    mol = gto.Cell() if "a" in stored else gto.Mole()
    mol.verbose = 0
    for name, kind in {**_PLAIN, **(_PLAIN_OF_CELL if "a" in stored else {})}.items():
        if stored.get(name) is not None:
            setattr(mol, name, _plain(path, name, stored[name], kind))
    for name, (dtype, width) in _TABLES.items():
        setattr(mol, name, _table(path, name, stored.get(name), dtype, width))
    if "a" in stored:
        _set_lattice(path, mol, stored)
    _check_addresses(path, mol)
    mol._built = True
    return mol


def _plain(path: Path, name: str, value: Any, kind: type) -> Any:
    """Return a number or list of the kind that it must be."""
    number = kind in (int, float) and isinstance(value, (int, float)) and np.isfinite(value)
    if not (number or isinstance(value, kind)):
        raise _damaged(path, f"a {kind.__name__} as '{name}'", repr(value)[:40])
    return kind(value)


def _table(path: Path, name: str, value: Any, dtype: type, width: int | None) -> NDArray[Any]:
    """Return one of the three tables of numbers."""
    try:
        table = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _damaged(path, f"a table of numbers as '{name}'", str(error)) from error
    fits = table.ndim == 1 if width is None else table.ndim == 2 and table.shape[1] == width
    whole = dtype is np.float64 or (np.all(np.abs(table) < 2**31) and np.all(table % 1 == 0))
    if not (fits and len(table) and np.all(np.isfinite(table)) and whole):
        raise _damaged(path, f"a table of finite numbers as '{name}'", f"shape {table.shape}")
    return table.astype(dtype)


def _set_lattice(path: Path, cell: Any, stored: dict[str, Any]) -> None:
    """Give a cell its lattice vectors, in the unit of the file."""
    unit = stored.get("unit", "angstrom")
    if not isinstance(unit, (str, int, float)):
        raise _damaged(path, "a unit of length", repr(unit)[:40])
    cell.unit, cell.a = unit, stored["a"]
    try:
        vectors = np.asarray(cell.lattice_vectors(), dtype=np.float64)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _damaged(path, "three lattice vectors", str(error)) from error
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
        raise _damaged(path, "three lattice vectors", f"shape {vectors.shape}")
    if cell._rcut is not None and not 0 < cell._rcut < _LARGEST_RADIUS:
        raise _damaged(path, f"a cut-off below {_LARGEST_RADIUS:g} Bohr", str(cell._rcut))


def _check_addresses(path: Path, mol: Any) -> None:
    """Refuse tables that lead outside each other, and positions that are not the same twice."""
    gto = require("pyscf.gto", "pyscf")
    atm, bas, size = mol._atm.astype(np.int64), mol._bas.astype(np.int64), len(mol._env)
    n_primitive, n_contracted = bas[:, gto.NPRIM_OF], bas[:, gto.NCTR_OF]
    l, place = bas[:, gto.ANG_OF], atm[:, gto.PTR_COORD]
    ranges = (
        (place, place + 3),
        (atm[:, gto.PTR_ZETA], atm[:, gto.PTR_ZETA] + 1),
        (bas[:, gto.PTR_EXP], bas[:, gto.PTR_EXP] + n_primitive),
        (bas[:, gto.PTR_COEFF], bas[:, gto.PTR_COEFF] + n_primitive * n_contracted),
    )
    conditions = [(begin >= 0) & (end <= size) for begin, end in ranges]
    conditions += [(n_primitive > 0) & (n_contracted > 0), (l >= 0) & (l <= _LARGEST_L)]
    conditions.append((bas[:, gto.ATOM_OF] >= 0) & (bas[:, gto.ATOM_OF] < len(atm)))
    if len(mol._atom) != len(atm) or not all(condition.all() for condition in conditions):
        raise _damaged(path, "addresses within the tables '_atm', '_bas' and '_env'", "others")
    try:
        named = np.array([position for _, position in mol._atom], dtype=np.float64)
        words = all(isinstance(name, str) and name for name, _ in mol._atom)
    except (TypeError, ValueError) as error:
        raise _damaged(path, "a name and a position for each atom", str(error)) from error
    positions = mol._env[place[:, None] + np.arange(3)]
    if not words or named.shape != positions.shape or np.any(named != named):
        raise _damaged(path, "a name and a position for each atom", f"shape {named.shape}")
    if np.abs(named - positions).max() > _SAME_PLACE:
        raise _damaged(path, "one position for each atom", "two that differ")


def _damaged(path: Path, expected: str, found: str) -> FormatError:
    return damaged(path, "the molecule is damaged", where="mol", expected=expected, found=found)
