"""From a converged PySCF object to a Calculation: molecules and crystals, with or without spin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.bloch_mesh import from_mesh, mesh_of, shortest_images
from dock.converters.pyscf.basis import atoms_of, from_pyscf_order, is_periodic
from dock.converters.pyscf.integrals import HOME, INTEGRALS, all_pairs, integral
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError, UsageError
from dock.extras import require
from dock.states.problem import Problem
from dock.states.stream import levels
from dock.units import PYSCF

__all__ = ["ScfRun", "band_error", "from_scf", "middle_of_gap", "spin_components"]

HARTREE = PYSCF.hartree_ev
_IMAGINARY_LIMIT = 1e-5  # of the largest entry: more is no rounding of the self-consistency
_ALIASING_LIMIT = 1e-3  # error of an interpolated overlap above which a mesh is called coarse
_CHUNK = 16  # k-points whose Fock matrices are built at once
_NO_BANDS = (
    "PySCF builds no Fock matrix of {kind} at k-points other than those of the run. Run it on the "
    "fine mesh itself."
)
_log = logging.getLogger("dock")


def from_scf(mf: Any, *, mesh: Sequence[int] | None = None) -> Calculation:
    """Return the calculation of a converged PySCF mean-field object.

    Parameters
    ----------
    mf
        Any of RHF, ROHF, UHF, GHF and their Kohn–Sham kin, of a molecule or of a crystal with
        k-points (``KRKS`` …) or the Γ-point alone. The Hamiltonian is the Fock matrix of the final
        density.
    mesh
        For crystals: divisions of a Γ-centred mesh on which the Fock matrix is built once more,
        without self-consistency. The default is the run's own mesh. PySCF has no real-space
        matrices; the Hamiltonian is an interpolation that is exact at the mesh, and a mesh that
        is too coarse for the Gaussians ruins it (see `band_error`). Overlap and kinetic energy
        are exact lattice sums in any case.

    Returns
    -------
    Calculation
        Overlap, Hamiltonian, density matrix, kinetic energy and position, computed when asked for.
        The Fermi level is the middle between the highest occupied and the lowest empty level.

    Raises
    ------
    ConventionError
        For Cartesian Gaussians.
    LayoutError
        When the k-points are no Γ-centred mesh, or use symmetry.
    UsageError
        When the object has not been run.

    Examples
    --------
    >>> from pyscf import gto, scf  # doctest: +SKIP
    >>> mol = gto.M(atom="O 0 0 0; H 0 0 1; H 1 0 0", basis="def2-svp")  # doctest: +SKIP
    >>> mf = scf.RHF(mol).run()  # doctest: +SKIP
    >>> from_scf(mf).hamiltonian.entries.shape  # doctest: +SKIP
    (1, 576)
    """
    if getattr(mf, "mo_coeff", None) is None:
        raise UsageError("this PySCF object has no result. Call its run() first.")
    mol = getattr(mf, "cell", None) or mf.mol
    structure, basis = atoms_of(mol)
    k_frac = _k_points(mf, mol)
    density = spin_components(mf.make_rdm1(), basis.n_orbitals, k_axis=_has_k_axis(mf))
    fine = None if mesh is None else _checked_mesh(mesh, mol)
    run = ScfRun(mol, structure, basis, density, k_frac, fine, mf)
    levels, occupations = _flat(mf.mo_energy), _flat(mf.mo_occ)
    version = str(require("pyscf", "pyscf").__version__)
    extra = {"converged": bool(mf.converged)} if hasattr(mf, "converged") else {}
    return run.calculation(
        middle_of_gap(levels, occupations, run.spin) * HARTREE,
        Provenance("PySCF", version, extra=extra),
    )


@dataclass(frozen=True, eq=False)
class ScfRun:
    """What `from_scf` and the chkfile reader have in common.

    Attributes
    ----------
    mol, structure, basis
        The PySCF object and what it became.
    density
        (n_components, n_k, N, N) density matrix in PySCF's order.
    k_frac
        (n_k, 3) k-points of the run; None for a molecule.
    fine
        Mesh of the Hamiltonian; None for the run's own.
    mf
        The mean-field object, which builds Fock matrices; or an array like `density`, Hartree.
    """

    mol: Any
    structure: Structure
    basis: Basis
    density: NDArray[Any]
    k_frac: NDArray[np.float64] | None
    fine: tuple[int, int, int] | None
    mf: Any

    @property
    def spin(self) -> Spin:
        """The spin treatment, from the number of components."""
        return {1: Spin.NONE, 2: Spin.COLLINEAR, 4: Spin.NONCOLLINEAR}[len(self.density)]

    def calculation(self, fermi_level: float, provenance: Provenance) -> Calculation:
        """Return the calculation; its matrices are computed when asked for.

        Those of a crystal hold at the k-points of the run; of the Γ point alone, there only.
        """
        if self.k_frac is not None and self.fine is None:
            extra = {**provenance.extra, **_known_at(self.k_frac)}
            provenance = replace(provenance, extra=extra)
        readers: dict[str, Callable[[], AOMatrix]] = {
            name: partial(self._integral, name) for name in INTEGRALS
        }
        readers["hamiltonian"] = self._hamiltonian
        readers["density_matrix"] = self._density_matrix
        return Calculation(
            self.structure,
            self.basis,
            self.spin,
            readers,
            fermi_level,
            float(self.mol.nelectron),
            provenance,
            f"the PySCF calculation of {self.structure.formula}",
        )

    @cached_property
    def _overlap(self) -> AOMatrix:
        return integral("overlap", self.mol, self.structure, self.basis)

    def _integral(self, quantity: str) -> AOMatrix:
        if quantity == "overlap":
            return self._overlap
        return integral(quantity, self.mol, self.structure, self.basis)

    def _sorted(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring (…, N, N) into the order of `dock`."""
        order = from_pyscf_order(self.basis)
        return values[..., order[:, None], order[None, :]]

    def _density_matrix(self) -> AOMatrix:
        """P(R) on the pairs of the overlap: it is periodic with the mesh, and Tr(ρS) exact."""
        if self.k_frac is None:
            return self._wrap("density_matrix", *self._home(self.density))
        mesh, place = mesh_of(self.k_frac)
        bloch = self._sorted(self.density[:, np.argsort(place)])
        pairs = self._overlap.pairs
        return self._wrap("density_matrix", pairs, from_mesh(bloch, mesh, self.basis, pairs))

    def _hamiltonian(self) -> AOMatrix:
        if self.k_frac is None:
            return self._wrap("hamiltonian", *self._home(self._fock_of_run() * HARTREE))
        if self.fine is None:
            mesh, place = mesh_of(self.k_frac)
            bloch = self._fock_of_run()[:, np.argsort(place)]
        else:
            mesh, bloch = self.fine, self._fock_on_mesh(self.fine)
        self._warn_of_coarse(mesh)
        images = shortest_images(self.structure, mesh)
        entries = from_mesh(self._sorted(bloch) * HARTREE, mesh, self.basis, images.pairs)
        sizes = self.basis.counts[images.pairs.i] * self.basis.counts[images.pairs.j]
        entries *= np.repeat(images.weights, sizes)
        return self._wrap("hamiltonian", images.pairs, entries)

    def _fock_of_run(self) -> NDArray[Any]:
        """Return the Fock matrix of the final density at the run's own k-points, Hartree."""
        if isinstance(self.mf, np.ndarray):
            return self.mf
        dm = self.mf.make_rdm1()
        fock = np.asarray(self.mf.get_hcore()) + np.asarray(self.mf.get_veff(self.mol, dm))
        return spin_components(fock, self.basis.n_orbitals, k_axis=_has_k_axis(self.mf))

    def _fock_on_mesh(self, mesh: tuple[int, int, int]) -> NDArray[Any]:
        """Build the Fock matrix on a finer mesh; k and −k are conjugate without spin–orbit."""
        steps = np.indices(mesh).reshape(3, -1).T
        minus = np.ravel_multi_index(tuple((-steps % mesh).T), mesh)
        wanted = np.arange(len(steps))
        if self.spin is not Spin.NONCOLLINEAR:
            wanted = wanted[wanted <= minus]
        dm, cell, size = self.mf.make_rdm1(), self.mol, self.basis.n_orbitals
        own = {"kpts": self.mf.kpts} if _has_k_axis(self.mf) else {}
        bloch = np.empty((len(self.density), len(steps), size, size), dtype=np.complex128)
        for begin in range(0, len(wanted), _CHUNK):
            places = wanted[begin : begin + _CHUNK]
            k = cell.get_abs_kpts(steps[places] / np.array(mesh))
            core = np.asarray(self.mf.get_hcore(cell, k))
            try:
                field = np.asarray(self.mf.get_veff(cell, dm, **own, kpts_band=k))
            except NotImplementedError:
                raise UsageError(_NO_BANDS.format(kind=type(self.mf).__name__)) from None
            part = spin_components(core + field, size, k_axis=True)
            if self.spin is not Spin.NONCOLLINEAR:
                bloch[:, minus[places]] = part.conj()
            bloch[:, places] = part
        return bloch

    def _home(self, components: NDArray[Any]) -> tuple[Pairs, NDArray[Any]]:
        """Return the pairs of a molecule and the entries of (n_components, 1, N, N)."""
        pairs = all_pairs(HOME, self.structure.n_atoms)
        return pairs, from_mesh(self._sorted(components), (1, 1, 1), self.basis, pairs)

    def _wrap(self, quantity: str, pairs: Pairs, entries: NDArray[Any]) -> AOMatrix:
        """Return the matrix, real where its spin treatment says so."""
        if self.spin is not Spin.NONCOLLINEAR:
            largest, imaginary = np.abs(entries).max(), np.abs(entries.imag).max()
            if imaginary > _IMAGINARY_LIMIT * largest:
                raise LayoutError(
                    f"{quantity}: the real-space blocks have imaginary parts up to "
                    f"{imaginary:.1e} (of {largest:.1e}); the state breaks time reversal, or the "
                    "run is not converged."
                )
            entries = np.ascontiguousarray(entries.real)
        matrix = AOMatrix(quantity, self.structure, self.basis, pairs, self.spin, entries)
        return matrix.hermitian_part() if self.k_frac is not None else matrix

    def _warn_of_coarse(self, mesh: tuple[int, int, int]) -> None:
        """Interpolate the overlap as the Hamiltonian is, and compare it with the exact one."""
        error = _aliasing(self._overlap, mesh)
        if error > _ALIASING_LIMIT:
            _log.warning(
                "PySCF: the %d×%d×%d mesh is coarse for this basis (the overlap interpolated like "
                "the Hamiltonian is off by %.1e between the mesh points). Run PySCF with more "
                "k-points, or in Python use from_scf(mf, mesh=...) and band_error.",
                *mesh,
                error,
            )


def _known_at(k_frac: NDArray[np.float64]) -> dict[str, object]:
    """Return at which k-points H is known; nothing for k-points that H is refused for."""
    try:
        mesh = mesh_of(k_frac)[0]
    except LayoutError:
        return {}
    return {"gamma_only": True} if mesh == (1, 1, 1) else {"k_mesh": [int(n) for n in mesh]}


def band_error(mf: Any, calc: Calculation, k_frac: ArrayLike) -> float:
    """Return the largest error of the interpolated bands at given k-points, eV.

    PySCF's own bands at these k-points, from Fock matrices built there, are the reference. `calc`
    is what `from_scf` made of `mf`; `k_frac` are (n, 3) fractional coordinates, preferably between
    the mesh points.

    Raises
    ------
    UsageError
        For a kind of run (KGHF, KGKS) whose bands PySCF cannot make.
    """
    k_points = np.atleast_2d(np.asarray(k_frac, dtype=np.float64))
    cell = getattr(mf, "cell", None) or mf.mol
    try:
        bands, _ = mf.get_bands(cell.get_abs_kpts(k_points))
    except NotImplementedError:
        raise UsageError(_NO_BANDS.format(kind=type(mf).__name__)) from None
    energies = levels(Problem.of(calc), k_points).energies
    expected = np.asarray(bands).reshape(energies.shape) * HARTREE
    return float(np.abs(energies - expected).max())


def spin_components(values: Any, n_orbitals: int, *, k_axis: bool) -> NDArray[Any]:
    """Return PySCF matrices as (1, 2 or 4, n_k, N, N); two-component ones are cut into blocks.

    The values are (N, N), (2, N, N) or (2N, 2N); `k_axis` says whether they have an axis of
    k-points before the last two, as those of KRHF … do.
    """
    array = np.asarray(values)
    if not k_axis:
        array = array[..., None, :, :]
    if array.shape[-1] == 2 * n_orbitals:
        size = n_orbitals
        halves = (slice(0, size), slice(size, 2 * size))
        return np.stack([array[..., s, t] for s in halves for t in halves]).astype(np.complex128)
    return array.reshape(-1, *array.shape[-3:])


def middle_of_gap(levels: NDArray[Any], occupations: NDArray[Any], spin: Spin) -> float:
    """Return the middle between the highest occupied and the lowest empty level.

    A level counts as occupied when more than half full.
    """
    occupied = occupations > 0.5 * spin.degeneracy
    if not occupied.any() or occupied.all():
        return float(levels.max() if occupied.all() else levels.min())
    return 0.5 * float(levels[occupied].max() + levels[~occupied].min())


def _has_k_axis(mf: Any) -> bool:
    """Say whether the object's matrices have an axis of k-points."""
    return isinstance(mf, require("pyscf.pbc.scf.khf", "pyscf").KSCF)


def _k_points(mf: Any, mol: Any) -> NDArray[np.float64] | None:
    """Return the run's fractional k-points; a Γ-point run of a crystal has one."""
    if not is_periodic(mol):
        return None
    kpts: Any = getattr(mf, "kpts", None)
    if hasattr(kpts, "kpts_ibz"):
        raise LayoutError(
            "this PySCF run uses k-point symmetry. Run it with the full mesh "
            "kpts=cell.make_kpts([n1, n2, n3])."
        )
    if kpts is None:
        kpts = getattr(mf, "kpt", np.zeros(3))
    return np.asarray(mol.get_scaled_kpts(np.reshape(kpts, (-1, 3))))


def _checked_mesh(mesh: Sequence[int], mol: Any) -> tuple[int, int, int]:
    if not is_periodic(mol):
        raise UsageError("a molecule has no k-point mesh: leave mesh out.")
    numbers = [int(n) for n in mesh]
    if len(numbers) != 3 or min(numbers) < 1:
        raise UsageError(f"a mesh is three whole numbers of 1 or more, found {list(mesh)}.")
    return numbers[0], numbers[1], numbers[2]


def _flat(values: Any) -> NDArray[np.float64]:
    """Return levels or occupations of all k-points and spins in one row."""
    if isinstance(values, (list, tuple)):
        return np.concatenate([_flat(part) for part in values])
    return np.ravel(values)


def _aliasing(overlap: AOMatrix, mesh: tuple[int, int, int]) -> float:
    """Return the error of the overlap, interpolated from a mesh, between the mesh points."""
    half = 0.5 / np.array(mesh) * np.array(overlap.pairs.periodic_axes)
    k_frac = np.indices(mesh).reshape(3, -1).T / np.array(mesh)
    builder = KBuilder(overlap)
    bloch = np.stack([np.asarray(builder.dense(k)) for k in k_frac])[None]
    images, counts = shortest_images(overlap.structure, mesh), overlap.basis.counts
    entries = from_mesh(bloch.astype(np.complex128), mesh, overlap.basis, images.pairs).real
    entries *= np.repeat(images.weights, counts[images.pairs.i] * counts[images.pairs.j])
    coarse = AOMatrix("overlap", overlap.structure, overlap.basis, images.pairs, Spin.NONE, entries)
    return float(np.abs(KBuilder(coarse).dense(half) - builder.dense(half)).max())
