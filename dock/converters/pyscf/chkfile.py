"""PySCF's checkpoint files: orbitals and levels, from which the matrices are made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import ReadOptions
from dock.converters.pyscf.basis import atoms_of, is_periodic
from dock.converters.pyscf.molecule import damaged, stored_molecule
from dock.converters.pyscf.scf import ScfRun, middle_of_gap, spin_components
from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.errors import ConventionError, DockError, FormatError
from dock.extras import require
from dock.io.hdf5 import has_names
from dock.units import PYSCF

__all__ = ["detect_chkfile", "read_chkfile"]

_SUFFIXES = (".chk", ".chkfile", ".h5", ".hdf5", "")
_NEEDED = ("mo_coeff", "mo_energy", "mo_occ")
_ORTHONORMAL = 1e-5
_NOT_SAID = (
    "PySCF's checkpoint does not say whether the self-consistency cycle converged: "
    "see the run's log."
)


def detect_chkfile(path: Path) -> Path | None:
    """Recognise a checkpoint file by its content, or a folder with exactly one ``*.chk``."""
    if path.is_dir():
        files = [file for file in sorted(path.glob("*.chk*")) if _is_chkfile(file)]
        return files[0] if len(files) == 1 else None
    return path if _is_chkfile(path) else None


def _is_chkfile(path: Path) -> bool:
    """Look at the names in the root of the HDF5 file."""
    if not path.is_file() or path.suffix not in _SUFFIXES:
        return False
    try:
        return has_names(path, "mol", "scf")
    except DockError:
        return False


def read_chkfile(path: Path, options: ReadOptions) -> Calculation:  # noqa: ARG001
    """Read a checkpoint file.

    The Hamiltonian is made from orbitals and levels, S C ε C† S: it is the Fock matrix that was
    diagonalised last, one step before that of the final density (`dock.converters.pyscf.from_scf`
    gives the latter). For crystals it is interpolated from the mesh of the run. PySCF must be
    installed, as the file holds no integrals.

    Raises
    ------
    FormatError
        When the file is damaged, or orbitals were removed from it.
    ConventionError
        For ROHF, whose levels belong to no Fock matrix.
    DependencyError
        When PySCF is not installed.
    """
    mol, scf = _load(path)
    structure, basis = atoms_of(mol)
    kpts = scf.get("kpts", scf.get("kpt")) if is_periodic(mol) else None
    if is_periodic(mol):
        kpts = np.zeros((1, 3)) if kpts is None else np.reshape(kpts, (-1, 3))
    n_k = 1 if kpts is None else len(kpts)
    size = basis.n_orbitals
    orbitals, levels, filling = (_stacked(path, scf[name], n_k, name) for name in _NEEDED)
    spinor = orbitals.shape[-2] == 2 * size
    rows = 2 * size if spinor else size
    expected = (orbitals.shape[0], n_k, rows, rows)
    if orbitals.shape != expected or levels.shape != expected[:3] or filling.shape != expected[:3]:
        raise FormatError(
            path,
            "orbitals and basis disagree",
            where="scf/mo_coeff",
            expected=" × ".join(map(str, expected)),
            found=" × ".join(map(str, orbitals.shape)),
            fix="Orbitals were removed for linear dependence; use from_scf on the live object.",
        )
    spin = Spin.NONCOLLINEAR if spinor else (Spin.COLLINEAR if len(orbitals) == 2 else Spin.NONE)
    if spin is Spin.NONE and np.all(np.isin(filling, (0.0, 1.0, 2.0))) and np.any(filling == 1.0):
        raise ConventionError(
            f"{path}: these are the orbitals of a restricted open-shell run, whose levels belong "
            "to no Fock matrix. Use from_scf on the live object, or run UHF or UKS."
        )
    overlap = _overlap(mol, kpts)
    if spinor:
        overlap = np.kron(np.eye(2), overlap)
    fock, density = _matrices(path, overlap, (orbitals, levels, filling))
    if spinor:
        fock, density = (
            spin_components(values[0], size, k_axis=True) for values in (fock, density)
        )
    k_frac = None if kpts is None else np.asarray(mol.get_scaled_kpts(kpts))
    run = ScfRun(mol, structure, basis, density, k_frac, None, fock)
    fermi_level = middle_of_gap(levels.ravel(), filling.ravel(), spin) * PYSCF.hartree_ev
    return run.calculation(
        fermi_level, Provenance("PySCF", "", (path.name,), extra={"notes": [_NOT_SAID]})
    )


def _load(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the ``Mole`` or ``Cell`` and the group ``scf`` of the file."""
    chkfile = require("pyscf.lib.chkfile", "pyscf")
    if not path.is_file():
        raise FormatError(path, "there is no such file", fix="Check its name.")
    try:
        text = chkfile.load(str(path), "mol")
        scf = chkfile.load(str(path), "scf")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise damaged(path, "PySCF cannot read this file", found=error) from error
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    mol = stored_molecule(path, words)
    if not isinstance(scf, dict) or any(name not in scf for name in _NEEDED):
        have = ", ".join(scf) if isinstance(scf, dict) else "none"
        raise damaged(path, "results are missing", expected=", ".join(_NEEDED), found=have)
    return mol, scf


def _matrices(
    path: Path, overlap: NDArray[Any], states: tuple[NDArray[Any], ...]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return Fock matrix S C ε C† S and density matrix C n C† of orbitals, levels, occupations."""
    orbitals, levels, filling = states
    with np.errstate(over="ignore", invalid="ignore"):
        half = overlap @ orbitals
        _require_orthonormal(path, orbitals, half)
        fock = (half * levels[..., None, :]) @ half.conj().swapaxes(-1, -2)
        density = (orbitals * filling[..., None, :]) @ orbitals.conj().swapaxes(-1, -2)
    for name, values in (("mo_energy", fock), ("mo_occ", density)):
        if not np.isfinite(values).all():
            raise damaged(path, "the numbers are far too large", where=f"scf/{name}")
    return fock, density


def _require_orthonormal(path: Path, orbitals: NDArray[Any], half: NDArray[Any]) -> None:
    """Refuse orbitals C with C† S C ≠ 1: they are of another molecule or basis."""
    product = orbitals.conj().swapaxes(-1, -2) @ half
    off = float(np.abs(product - np.eye(product.shape[-1])).max())
    if not off <= _ORTHONORMAL:
        raise damaged(
            path,
            "orbitals and Gaussians do not belong together",
            where="scf/mo_coeff",
            expected="orthonormal orbitals",
            found=f"a deviation of {off:.1e}",
        )


def _stacked(path: Path, values: Any, n_k: int, name: str) -> NDArray[Any]:
    """Return (n_spins, n_k, …) of what PySCF stores as an array or as lists of arrays."""
    n_axes = 2 if name == "mo_coeff" else 1
    try:
        array = np.asarray(values)
        stacked = array.reshape(-1, n_k, *array.shape[array.ndim - n_axes :])
    except ValueError as error:
        raise FormatError(
            path,
            "the k-points have different numbers of orbitals",
            where=f"scf/{name}",
            fix="Use from_scf on the live object.",
        ) from error
    if array.dtype.kind not in "fc" or not np.all(np.isfinite(array)):
        raise damaged(path, "the numbers are not finite", where=f"scf/{name}")
    return stacked


def _overlap(mol: Any, kpts: NDArray[Any] | None) -> NDArray[Any]:
    """Return PySCF's own overlap, (N, N) or (n_k, N, N)."""
    if kpts is None:
        return np.asarray(mol.intor("int1e_ovlp"))
    return np.asarray(mol.pbc_intor("int1e_ovlp", hermi=1, kpts=kpts))
