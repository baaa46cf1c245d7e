"""Figures of the PySCF converter against PySCF's own numbers: (system, quantity, found, limit)."""

from collections.abc import Iterator

import numpy as np
from scipy.linalg import eigh

from dock.converters.pyscf import band_error, from_scf, initial_density
from dock.core.kspace import KBuilder
from dock.units import PYSCF

EIGENVALUE_LIMIT = 1e-6  # eV
STORED_LIMIT = 2e-4  # eV; stored levels belong to the Fock matrix before the last update
ELECTRON_LIMIT = 1e-8


def levels(calc, k_frac):
    """Return all eigenvalues at k-points, (n_channels, n_k, n_bands) eV."""
    hamiltonian = KBuilder(calc.hamiltonian)
    overlap = KBuilder(calc.overlap, spinor=hamiltonian.spinor)
    rows = []
    for k in np.atleast_2d(k_frac):
        S = overlap.dense(k)
        matrices = np.asarray(hamiltonian.dense(k)).reshape(-1, *S.shape)
        rows.append([eigh(H, S, eigvals_only=True) for H in matrices])
    return np.array(rows).swapaxes(0, 1)


def own_levels(mf, n_channels, n_k):
    """Return PySCF's mo_energy in the same shape, eV."""
    return np.asarray(mf.mo_energy).reshape(n_channels, n_k, -1) * PYSCF.hartree_ev


def molecules():
    """Yield a converged object of each kind of molecular run."""
    from pyscf import dft, gto, scf

    water = gto.M(atom="O 0 0 0.1; H 0 0 1.06; H 0.93 0.1 -0.24", basis="def2-svp", verbose=0)
    oxygen = gto.M(atom="O 0 0 0.1; O 0.2 0 1.3", basis="def2-svp", spin=2, verbose=0)
    for name, mf in (
        ("water RKS", dft.RKS(water, xc="pbe")),
        ("oxygen UKS", dft.UKS(oxygen, xc="pbe")),
        ("water GHF", scf.GHF(water)),
    ):
        mf.conv_tol, mf.conv_tol_grad = 1e-13, 1e-9
        if hasattr(mf, "grids"):
            mf.grids.level = 1
        yield name, mf.run()


def crystal(kind="KRKS", mesh=(3, 3, 2), tolerance=1e-11):
    """Return a small crystal of low symmetry, converged."""
    from pyscf.pbc import dft, gto

    cell = gto.M(
        a=np.eye(3) * 3.6 + 0.2,
        atom="H 0 0 0; H 0.8 0.1 0.2; He 1.9 1.9 1.5",
        basis={"H": "gth-szv", "He": "sto-3g"},
        pseudo={"H": "gth-pade"},
        verbose=0,
        ke_cutoff=60,
    )
    kpts = cell.make_kpts(mesh)
    mf = getattr(dft, kind)(cell, kpts) if kind.startswith("K") else getattr(dft, kind)(cell)
    mf.xc, mf.conv_tol = "lda,vwn", tolerance
    return mf


def rows() -> Iterator[tuple[str, str, float, float]]:
    """Yield system, quantity, largest deviation and limit."""
    for name, mf in molecules():
        calc = from_scf(mf)
        found, expected = levels(calc, [0, 0, 0]), own_levels(mf, calc.spin.n_channels, 1)
        yield name, "eigenvalues, eV", float(np.abs(found - expected).max()), EIGENVALUE_LIMIT
        electrons = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
        yield name, "Tr(rho S) - N", electrons, ELECTRON_LIMIT
        change = np.abs(initial_density(calc, mf.mol) - mf.make_rdm1()).max()
        yield name, "density matrix and back", float(change), 1e-12
    for kind in ("KRKS", "KUKS", "KGKS"):
        mf = crystal(kind).run()
        calc, k_frac = from_scf(mf), mf.cell.get_scaled_kpts(mf.kpts)
        expected = own_levels(mf, calc.spin.n_channels, len(k_frac))
        deviation = float(np.abs(levels(calc, k_frac) - expected).max())
        yield f"crystal {kind}", "eigenvalues at the mesh, eV", deviation, 1e-6
        electrons = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
        yield f"crystal {kind}", "Tr(rho S) - N", electrons, ELECTRON_LIMIT
    mf = crystal().run()
    fine = from_scf(mf, mesh=[5, 5, 5])
    yield "crystal, 5x5x5", "bands off the mesh, eV", band_error(mf, fine, [[0.1, 0.2, 0.3]]), 1e-6


def reference_rows(shared, n_water=3):
    """Yield rows of stored runs of water, made again, against the stored eigenvalues.

    The stored diamond takes minutes to make again: `crystal` stands for periodic runs.
    """
    import h5py
    from pyscf import dft, gto

    folder = shared / "fixtures" / "pyscf"
    worst = dict.fromkeys(("eigenvalues, eV", "Tr(rho S) - N"), 0.0)
    with h5py.File(folder / "water_600" / "water.h5") as file:
        for index in range(n_water):
            atoms = list(zip("OHH", file["positions_angstrom"][index], strict=True))
            mf = dft.RKS(gto.M(atom=atoms, basis="def2-svp", verbose=0), xc="pbe")
            mf.conv_tol, mf.grids.level = 1e-12, 3
            mf.run(mf.get_init_guess() * 0 + file["density_matrix"][index])
            calc = from_scf(mf)
            off = np.abs(levels(calc, [0, 0, 0]) - file["eigenvalues_eV"][index]).max()
            worst["eigenvalues, eV"] = max(worst["eigenvalues, eV"], float(off))
            off = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
            worst["Tr(rho S) - N"] = max(worst["Tr(rho S) - N"], off)
    limits = {"eigenvalues, eV": STORED_LIMIT, "Tr(rho S) - N": ELECTRON_LIMIT}
    for quantity, value in worst.items():
        yield f"water_600, first {n_water}", quantity, value, limits[quantity]
