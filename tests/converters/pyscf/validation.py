"""Figures of the PySCF converter against PySCF's own numbers: (system, quantity, found, limit).

Every run goes through a unified folder, which is written, read again and then diagonalised.
"""

from collections.abc import Iterator
from functools import cache

import h5py
import numpy as np
from scipy.linalg import eigh
from trip import through_folder

import dock
from dock.converters.pyscf import band_error, from_scf, initial_density
from dock.converters.pyscf.basis import atoms_of
from dock.converters.pyscf.scf import ScfRun
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.units import CODATA2018, PYSCF

EIGENVALUE_LIMIT = 1e-6  # eV
LAGGING_LIMIT = 2e-4  # eV; mo_energy belongs to the Fock matrix before the last update
FINE_MESH_LIMIT = 2e-4  # eV; error of the stored interpolation itself
OTHER_RUN_LIMIT = 1e-4  # eV; how well another program's run was converged is not known
ELECTRON_LIMIT = 1e-8
COARSE = 12  # Ha: no cut-off for physics, but two programs' matrices on one grid agree on any
UNIT = PYSCF.hartree_ev / CODATA2018.hartree_ev  # the stored runs were turned to eV with CODATA's
S_Y_Z_X = [0, 2, 3, 1]  # of PySCF's s x y z


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


def crystal(kind="KRKS", mesh=(3, 3, 2), tolerance=1e-11, cutoff=COARSE):
    """Return a small crystal of low symmetry, not run yet; `cutoff` (Ha) is that of its grid."""
    from pyscf.pbc import dft, gto

    cell = gto.M(
        a=np.eye(3) * 3.6 + 0.2,
        atom="H 0 0 0; H 0.8 0.1 0.2; He 1.9 1.9 1.5",
        basis={"H": "gth-szv", "He": "sto-3g"},
        pseudo={"H": "gth-pade"},
        verbose=0,
        ke_cutoff=cutoff,
    )
    kpts = cell.make_kpts(mesh)
    mf = getattr(dft, kind)(cell, kpts) if kind.startswith("K") else getattr(dft, kind)(cell)
    mf.xc, mf.conv_tol = "lda,vwn", tolerance
    return mf


def converged(kind="KRKS", cutoff=COARSE):
    """Return the crystal's run, made once for all who look at it; nobody may change it."""
    return _converged(kind, cutoff)


@cache  # which tells a default left out from the same one given
def _converged(kind, cutoff):
    return crystal(kind, cutoff=cutoff).run()


def finer(cutoff=COARSE):
    """Return the crystal's calculation with the Hamiltonian of a finer mesh, made once."""
    return _finer(cutoff)


@cache
def _finer(cutoff):
    return from_scf(_converged("KRKS", cutoff), mesh=[5, 5, 5])


def rows(cutoff=60) -> Iterator[tuple[str, str, float, float]]:
    """Yield system, quantity, largest deviation and limit.

    Both sides have the crystals' grid of `cutoff` (Ha), so that the limits hold for every one.
    """
    for name, mf in molecules():
        calc = through_folder(from_scf(mf))
        found, expected = levels(calc, [0, 0, 0]), own_levels(mf, calc.spin.n_channels, 1)
        yield name, "eigenvalues, eV", float(np.abs(found - expected).max()), EIGENVALUE_LIMIT
        electrons = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
        yield name, "Tr(rho S) - N", electrons, ELECTRON_LIMIT
        change = np.abs(initial_density(calc, mf.mol) - mf.make_rdm1()).max()
        yield name, "density matrix and back", float(change), 1e-12
    for kind in ("KRKS", "KUKS", "KGKS"):
        mf = converged(kind, cutoff)
        calc, k_frac = through_folder(from_scf(mf)), mf.cell.get_scaled_kpts(mf.kpts)
        expected = own_levels(mf, calc.spin.n_channels, len(k_frac))
        deviation = float(np.abs(levels(calc, k_frac) - expected).max())
        yield f"crystal {kind}", "eigenvalues at the mesh, eV", deviation, 1e-6
        electrons = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
        yield f"crystal {kind}", "Tr(rho S) - N", electrons, ELECTRON_LIMIT
    mf = converged(cutoff=cutoff)
    fine = through_folder(finer(cutoff))
    yield "crystal, 5x5x5", "bands off the mesh, eV", band_error(mf, fine, [[0.1, 0.2, 0.3]]), 1e-6


def reference_rows(shared) -> Iterator[tuple[str, str, float, float]]:
    """Yield rows of the stored runs."""
    yield from water_rows(shared / "fixtures" / "pyscf" / "water_600" / "water.h5")
    yield from pseudo_water_rows(shared / "fixtures" / "pyscf" / "water_gth" / "water_gth.npz")
    yield from diamond_rows(shared / "fixtures" / "pyscf" / "diamond" / "diamond.h5")
    yield from public_rows(shared / "public" / "pyscf")


def water_rows(path, n_water=3):
    """Take the density matrix of stored runs, and compare with the Fock matrix stored beside it.

    The density matrix is not made self-consistent once more: its Fock matrix is the stored one.
    """
    from pyscf import dft, gto

    worst = dict.fromkeys(("final", "lagging", "electrons"), 0.0)
    with h5py.File(path) as file:
        for index in range(n_water):
            atoms = list(zip("OHH", file["positions_angstrom"][index], strict=True))
            mf = dft.RKS(gto.M(atom=atoms, basis="def2-svp", verbose=0), xc="pbe")
            mf.grids.level = 3
            calc = through_folder(from_scf(_with_result(mf, file, index)))
            fock = UNIT * file["hamiltonian_eV"][index]
            final = eigh(fock, file["overlap"][index], eigvals_only=True)
            found = levels(calc, [0, 0, 0])
            off = {
                "final": np.abs(found - final).max(),
                "lagging": np.abs(found - UNIT * file["eigenvalues_eV"][index]).max(),
                "electrons": abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons),
            }
            worst = {key: max(value, float(off[key])) for key, value in worst.items()}
    name = f"water_600, first {n_water}"
    yield name, "eigenvalues of the run's last Fock matrix, eV", worst["final"], EIGENVALUE_LIMIT
    yield name, "eigenvalues that PySCF keeps, eV", worst["lagging"], LAGGING_LIMIT
    yield name, "Tr(rho S) - N", worst["electrons"], ELECTRON_LIMIT


def _with_result(mf, file, index):
    """Give an object that was not run the result of a stored run."""
    density = np.array(file["density_matrix"][index])
    mf.mo_energy = file["eigenvalues_eV"][index] / CODATA2018.hartree_ev
    mf.mo_occ, mf.mo_coeff = file["occupations"][index], np.eye(len(density))
    mf.make_rdm1 = lambda *_, **__: density
    return mf


def pseudo_water_rows(path, n_water=2):
    """Run stored molecules with pseudopotentials again; their H and S are stored, no levels."""
    from pyscf import dft, gto

    data, worst, electrons = np.load(path), 0.0, 0.0
    for index in range(n_water):
        atoms = list(zip("OHH", data["pos"][index], strict=True))
        mol = gto.M(atom=atoms, basis="gth-dzvp", pseudo="gth-pbe", verbose=0)
        mf = dft.RKS(mol, xc="pbe")
        mf.conv_tol = 1e-10
        calc = through_folder(from_scf(mf.run()))
        expected = eigh(UNIT * data["H"][index], data["S"][index], eigvals_only=True)
        worst = max(worst, float(np.abs(levels(calc, [0, 0, 0]) - expected).max()))
        electrons = max(electrons, abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons))
    name = f"water_gth, first {n_water}"
    yield name, "eigenvalues of the stored H and S, eV", worst, EIGENVALUE_LIMIT
    yield name, "Tr(rho S) - N", electrons, ELECTRON_LIMIT


def diamond_rows(path):
    """Put the stored Bloch matrices and real-space blocks of a crystal through a folder."""
    with h5py.File(path) as file:
        data = {name: file[name][()] for name in file}
        n_electrons = float(file.attrs["n_electrons"])
    calc = through_folder(diamond_on_mesh(data))
    found = levels(calc, data["k_fractional"])[0]
    off = float(np.abs(found - UNIT * data["eigenvalues_eV"]).max())
    yield "diamond, SCF mesh", "eigenvalues at the mesh, eV", off, EIGENVALUE_LIMIT
    off = abs(calc.density_matrix.dot(calc.overlap) - n_electrons)
    yield "diamond, SCF mesh", "Tr(rho S) - N", off, ELECTRON_LIMIT
    calc = through_folder(diamond_blocks(data))
    found = levels(calc, data["band_k_fractional"])[0]
    off = float(np.abs(found - data["band_eigenvalues_eV"]).max())
    yield "diamond, stored blocks", "bands off the mesh, eV", off, FINE_MESH_LIMIT


def diamond_on_mesh(data):
    """Return the calculation of a crystal's stored Fock and density matrices, not run again."""
    from pyscf.pbc import gto

    atoms = [("C", position) for position in data["positions_angstrom"]]
    lattice = data["lattice_angstrom"]
    cell = gto.M(a=lattice, atom=atoms, basis="gth-szv", pseudo="gth-pbe", verbose=0)
    fock = data["fock_k_eV"][None] / CODATA2018.hartree_ev
    density, k_frac = data["density_matrix_k"][None], data["k_fractional"]
    run = ScfRun(cell, *atoms_of(cell), density, k_frac, None, fock)
    return run.calculation(0.0, Provenance("PySCF"))


def diamond_blocks(data):
    """Return H and S of the real-space blocks that the fine mesh gave."""
    structure = Structure(data["lattice_angstrom"], data["positions_angstrom"], [6, 6])
    basis = Basis.from_ls({"C": [0, 1]}, structure.labels)
    table, order = data["pairs"], np.array(S_Y_Z_X)
    pattern = (structure, basis, Pairs(table[:, :3], table[:, 3], table[:, 4], 2), Spin.NONE)
    matrices = {
        name: AOMatrix(name, *pattern, data[key][:, order[:, None], order[None, :]].reshape(1, -1))
        for name, key in (("hamiltonian", "hamiltonian_R_eV"), ("overlap", "overlap_R"))
    }
    return Calculation(structure, basis, Spin.NONE, matrices)


def public_rows(folder):
    """Compare with what another program made of PySCF runs: a molecule is run again."""
    from pyscf import dft, gto

    if (folder / "H2O").is_dir():
        theirs = dock.read(folder / "H2O" / "reference")
        atoms = list(zip(theirs.structure.symbols, theirs.structure.positions, strict=True))
        mf = dft.RKS(gto.M(atom=atoms, basis="cc-pvdz", verbose=0), xc="b3lyp").run()
        mine = through_folder(from_scf(mf))
        off = np.abs(mine.overlap.k([0, 0, 0]) - theirs.overlap.k([0, 0, 0])).max()
        yield "H2O (public)", "overlap: reference conversion", float(off), 1e-9
        off = np.abs(levels(mine, [0, 0, 0]) - levels(theirs, [0, 0, 0])).max()
        yield "H2O (public)", "eigenvalues of the reference conversion, eV", off, OTHER_RUN_LIMIT
    if (folder / "MgO").is_dir():
        calc = through_folder(dock.read(folder / "MgO" / "reference"))
        with h5py.File(folder / "MgO" / "reference" / "band_data.h5") as file:
            k_frac, bands = file["kpoints_frac_list"][()], file["band_data"][()]
            zero = file["fermi_energy_before_shift_eV"][()]
        off = np.abs(levels(calc, k_frac)[0].T - zero - bands).max()
        yield "MgO (public)", "bands of the reference conversion, eV", off, EIGENVALUE_LIMIT
