"""SIESTA's ``<SystemLabel>.nc`` (CDF.Save): all sparse matrices in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import (
    SIESTA_FILES,
    MatrixFile,
    SpeciesTable,
    check_counts,
    check_nsc,
    damaged,
)
from dock.core.quantity import QUANTITIES
from dock.errors import DockError
from dock.io.binary import Rows
from dock.io.hdf5 import has_names, open_hdf5

if TYPE_CHECKING:
    import h5py

__all__ = ["has_sparse_group", "read_nc"]

_QUANTITIES = ("overlap", "hamiltonian", "density_matrix", "energy_density_matrix")
_SECTIONS = {name: QUANTITIES[name].letter for name in _QUANTITIES}  # SIESTA's are `dock`'s


@dataclass(frozen=True, eq=False)
class _NcRows:
    """One component of a dataset of the group SPARSE."""

    path: Path
    name: str
    component: int | None
    starts: NDArray[np.int64]

    def read(self, begin: int, end: int) -> NDArray[Any]:
        """Return the numbers of some rows."""
        entries = slice(int(self.starts[begin]), int(self.starts[end]))
        with open_hdf5(self.path, SIESTA_FILES.damaged_fix, "NetCDF") as file:
            data = file["SPARSE"][self.name]
            values: NDArray[Any] = np.asarray(
                data[entries] if self.component is None else data[self.component, entries]
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            damaged(self.path, f"{self.name} is not finite", "finite numbers", "NaN or infinity")
        return values


def has_sparse_group(path: Path) -> bool:
    """Say whether a file is a SIESTA .nc file with matrices; never raises.

    One that is cut counts when an XV file of its label stands beside it: it is to be reported.
    """
    try:
        return has_names(path, "SPARSE/list_col")
    except DockError:
        return path.with_suffix(".XV").is_file()


def read_nc(path: Path) -> MatrixFile:
    """Read everything of a SIESTA .nc file but its matrices; raises as `read_hsx`."""
    with open_hdf5(path, SIESTA_FILES.damaged_fix, "NetCDF") as file:
        return _read(path, file)


def _read(path: Path, file: h5py.File) -> MatrixFile:
    sparse = file["SPARSE"]
    counts = np.asarray(sparse["n_col"], dtype=np.int64)
    n_orbitals = len(counts)
    n_spin = next((int(sparse[name].shape[0]) for name in ("H", "DM") if name in sparse), 1)
    last = np.asarray(file["lasto"], dtype=np.int64)
    check_counts(path, n_orbitals, n_spin, len(last))
    nsc = check_nsc(path, np.asarray(file["nsc"], dtype=np.int32))
    images = np.asarray(sparse["isc_off"], dtype=np.int32)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    if counts.min() < 0 or starts[-1] != len(sparse["list_col"]):
        damaged(path, "n_col contradicts list_col", len(sparse["list_col"]), int(starts[-1]))
    if images.shape != (int(np.prod(nsc)), 3):
        damaged(path, "isc_off contradicts nsc", f"{int(np.prod(nsc))} images", len(images))
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), last])
    if last[-1] != n_orbitals or np.any(np.diff(offsets) < 1):
        damaged(path, "lasto is wrong", f"increasing, up to {n_orbitals}", last.tolist()[-3:])
    species, numbers, atom_species = _basis(path, file, len(last))
    sections = _sections(path, sparse, n_spin, starts)
    return MatrixFile(
        path=path,
        kind="SIESTA .nc",
        n_orbitals=n_orbitals,
        n_spin=n_spin,
        counts=counts,
        columns=_NcRows(path, "list_col", None, starts),
        sections=sections,
        images=images,
        nsc=nsc,
        cell=np.asarray(file["cell"], dtype=np.float64),
        positions=np.asarray(file["xa"], dtype=np.float64),
        orbital_offsets=offsets,
        species=species,
        atom_species=atom_species,
        numbers=numbers,
        fermi_ry=_scalar(file, "Ef"),
        electrons=_scalar(file, "Qtot"),
        incomplete_edm="EDM" in sparse and "energy_density_matrix" not in sections,
    )


def _scalar(file: h5py.File, name: str) -> float | None:
    return float(np.ravel(file[name])[0]) if name in file else None


def _sections(
    path: Path, sparse: h5py.Group, n_spin: int, starts: NDArray[np.int64]
) -> dict[str, tuple[Rows, ...]]:
    """Return the matrices that are there; an incomplete spin–orbit EDM is left out."""
    sections: dict[str, tuple[Rows, ...]] = {}
    for quantity, name in _SECTIONS.items():
        if name not in sparse:
            continue
        shape = sparse[name].shape
        if shape[-1] != starts[-1] or (name != "S" and len(shape) != 2):
            damaged(path, f"{name} has the wrong shape", f"(…, {starts[-1]})", shape)
        if name == "S":
            sections[quantity] = (_NcRows(path, name, None, starts),)
        elif shape[0] == n_spin:
            sections[quantity] = tuple(_NcRows(path, name, k, starts) for k in range(n_spin))
    return sections


def _basis(
    path: Path, file: h5py.File, n_atoms: int
) -> tuple[tuple[SpeciesTable, ...], tuple[int, ...], NDArray[np.int64]]:
    """Return the species in order of their number, and that of each atom."""
    group = file["BASIS"]
    species = {}
    for label, item in group.items():
        if not hasattr(item, "items"):
            continue
        columns = [np.ravel(item[f"orbnl_{name}"]) for name in ("n", "l", "z", "ispol")]
        shells = tuple(
            (int(n), int(l), int(zeta), bool(polarised))
            for n, l, zeta, polarised in zip(*columns, strict=True)
        )
        index, number = (int(np.ravel(item.attrs[name])[0]) for name in ("ID", "Atomic_number"))
        species[index] = (SpeciesTable(label, None, shells), number)
    atom_species = np.ravel(group["basis"]).astype(np.int64)
    known, expected = sorted(species), list(range(1, len(species) + 1))
    if known != expected or len(atom_species) != n_atoms:
        damaged(path, "the group BASIS is incomplete", f"species 1 to {len(species)}", known)
    if atom_species.min() < 1 or atom_species.max() > len(species):
        damaged(path, "an atom has no species", f"1 to {len(species)}", atom_species.tolist()[:10])
    tables, numbers = zip(*(species[index] for index in known), strict=True)
    return tables, numbers, atom_species - 1
