"""What a unified folder holds beside matrices: energy and forces, grids, states."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import is_wanted_shape
from dock.core.quantity import FIELDS, Field
from dock.errors import FormatError, MissingDataError
from dock.io.hdf5 import open_hdf5
from dock.io.text import read_json

if TYPE_CHECKING:
    import h5py

__all__ = [
    "DATASETS",
    "E0S",
    "describe_energies",
    "describe_fields",
    "others_in",
    "read_energies",
    "read_fields",
]

_FORCE = {"force": "force", "energy": "energy", "stress": "stress", "cell": "cell"}
_STATES = {"kpts": "k_points", "kgrid": "k_mesh", "efermi": "fermi_level"}
_NEEDED = {"force", "grid", "charge_density", "potential", "k_points", "eigenvalues", "bands"}
_FIX = "The file was damaged or belongs to another structure: make it again."

DATASETS: Mapping[str, Mapping[str, str]] = {
    "force.h5": _FORCE,
    "force_pred.h5": _FORCE,
    "charge_density.h5": {"shape": "grid", "entries": "charge_density"},
    "potential_r.h5": {"shape": "grid", "entries": "potential"},
    "wavefunction_ao.h5": {
        **_STATES,
        "eigenvalues": "eigenvalues",
        "eigenvectors": "eigenvectors",
    },
    "eigval.h5": {
        "kmesh": "k_mesh",
        "kpoints": "k_points",
        "eigval_data": "eigenvalues",
        "partial_spectrum": "partial_spectrum",
    },
    "band.h5": {"band_data": "bands", "kpoints_frac_list": "k_points", "band_gap": "gap"},
}
"""Files of numbers: what quantity each dataset is."""

E0S = "e0s.json"
_OLD = {"el": "eigenvalues", "wfnao": "eigenvectors"}  # names in wavefunction files of before
_ALSO = {
    "wavefunction_ao.h5": {*_OLD, "bands", "spin_channel"},
    "charge_density.h5": {"cell", "magnetization"},
}
"""Datasets of older files, and of `dock`'s own, which are no quantities of the folder."""


def read_fields(
    path: Path, sizes: Mapping[str, int], *, without: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read the quantities of a file of `DATASETS`, by name; datasets that are optional may lack.

    Parameters
    ----------
    path
        The file.
    sizes
        Sizes that are known: ``n_atoms``, ``n_orbitals``.
    without
        Quantities that are checked a part at a time, and not kept: states may need gigabytes.

    Raises
    ------
    FormatError
        For a dataset that is needed and is not there, is no number or not finite, or has a shape
        that contradicts the structure or another dataset.
    """
    names, known = dict(DATASETS[path.name]), dict(sizes)
    values: dict[str, NDArray[Any]] = {}
    with open_hdf5(path, _FIX) as file:
        if path.name == "wavefunction_ao.h5" and "eigenvalues" not in file:
            names = {**_STATES, **_OLD}
        for dataset, name in names.items():
            if dataset in file and name in without:
                _check_parts(path, dataset, FIELDS[name], file[dataset], known)
            elif dataset in file:
                values[name] = _checked(path, dataset, FIELDS[name], file[dataset][()], known)
            elif name in _NEEDED:
                raise FormatError(
                    path,
                    "a dataset is missing",
                    expected=dataset,
                    found=", ".join(file) or "none",
                    fix=_FIX,
                )
    if "grid" in values and (n := int(np.prod(values["grid"]))) != known["n_points"]:
        raise FormatError(
            path, "grid and values disagree", expected=n, found=known["n_points"], fix=_FIX
        )
    return values


def _checked(
    path: Path, dataset: str, field: Field, value: Any, known: dict[str, int]
) -> NDArray[Any]:
    """Return numbers of the right shape; sizes that are new become known."""
    array = np.asarray(value)
    if array.shape == (1,) and not field.shape:
        array = array[0]
    array = array.reshape(_shape(path, dataset, field, array, known))
    # A k-point has no number for a band outside the window that was computed.
    good = ~np.isinf(array) if field.name == "bands" else np.isfinite(array)
    if not good.all() and field.name not in ("fermi_level", "gap"):
        raise FormatError(path, "values are not finite", where=dataset, fix=_FIX)
    return array


def _check_parts(
    path: Path, dataset: str, field: Field, stored: h5py.Dataset, known: dict[str, int]
) -> None:
    """Check numbers as `_checked` does, one part of the first axis after another."""
    _shape(path, dataset, field, stored, known)
    if not all(np.isfinite(part).all() for part in stored):
        raise FormatError(path, "values are not finite", where=dataset, fix=_FIX)


def _shape(
    path: Path,
    dataset: str,
    field: Field,
    stored: NDArray[Any] | h5py.Dataset,
    known: dict[str, int],
) -> tuple[int, ...]:
    """Return the shape that numbers should have and have; sizes that are new become known."""
    shape, wanted = (
        stored.shape,
        tuple(size if isinstance(size, int) else known.get(size) for size in field.shape),
    )
    n = known.get("n_orbitals", 0)
    if field.name == "eigenvectors" and len(shape) == 3 and n and shape[2] % n == 0:
        shape = (*shape[:2], shape[2] // n, n)  # as before: the spinor in the orbitals
    good = len(shape) == len(wanted) and is_wanted_shape(shape, wanted)
    if not good or stored.dtype.kind not in "iufcb":
        words = " × ".join(str(n if n is not None else "any") for n in wanted) or "one number"
        raise FormatError(
            path,
            "a dataset has the wrong shape or type",
            where=dataset,
            expected=words,
            found=f"{stored.dtype} {' × '.join(map(str, stored.shape)) or 'one number'}",
            fix=_FIX,
        )
    sizes = zip(field.shape, shape, strict=True)
    known.update((name, size) for name, size in sizes if isinstance(name, str))
    return shape


def others_in(path: Path) -> list[str]:
    """Return the datasets and groups of a file of `DATASETS` that are not read."""
    known = {*DATASETS[path.name]} | _ALSO.get(path.name, set())
    with open_hdf5(path, _FIX) as file:
        return [name for name in file if name not in known]


def describe_energies(e0s: Mapping[str, float], standardized: bool) -> str:
    """Return the energies of the elements in words."""
    words = ", ".join(f"{name} {value:.6g} eV" for name, value in e0s.items())
    return f"{words} (subtracted from energies)" if standardized else words


def describe_fields(values: Mapping[str, NDArray[Any]], others: Sequence[str] = ()) -> str:
    """Return the quantities of a file in words, with what is a placeholder; `others` by name."""
    parts = []
    for name, array in values.items():
        unit = FIELDS[name].unit
        if array.dtype.kind == "b":
            text = name.replace("_", " ") if array else ""
        elif array.ndim == 0:
            text = f"{name} {float(array.real):.6g} {unit}"
            text += " (unknown, unless subtracted)" if name == "energy" and array == 0 else ""
        else:
            text = f"{name} {'×'.join(map(str, array.shape))}"
            largest = f"{np.abs(array).max(initial=0.0):.3g} {unit}"
            text += f" up to {largest}" if name in ("force", "stress") and array.any() else ""
            text += " (all zero: not computed)" if name == "stress" and not array.any() else ""
        parts.append(text)
    parts += [f"{name} (unknown)" for name in others]
    return ", ".join(filter(None, parts))


def read_energies(path: Path) -> tuple[dict[str, float], bool]:
    """Read ``e0s.json``: ``{"e0s": {symbol: eV}, "standardized": bool}``.

    Returns the energies of the elements, and whether they are subtracted.

    Raises
    ------
    MissingDataError
        When it is not there.
    FormatError
        When it is something else.
    """
    if not path.is_file():
        raise MissingDataError("the energies of the elements", path, "Fit them first.")
    content = read_json(path)
    e0s, flag = content.get("e0s"), content.get("standardized", False)
    numbers: list[Any] = list(e0s.values()) if isinstance(e0s, dict) else [None]
    good = all(type(x) in (int, float) and np.isfinite(x) for x in numbers)
    if not good or not isinstance(flag, bool):
        raise FormatError(
            path,
            "these are no energies of elements",
            expected='{"e0s": {"Si": -106.75}, "standardized": false}, eV',
            found=json.dumps(content)[:80],
        )
    return {str(name): float(x) for name, x in content["e0s"].items()}, flag
