"""Figures of merit against SIESTA's own numbers, as rows (system, quantity, deviation, limit).

Every run goes through a unified folder, which is written, read again and then diagonalised.
"""

import json
import lzma
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import scipy.sparse
from trip import through_folder

from dock.converters.format import ReadOptions
from dock.converters.siesta.eig import read_eig, read_kp
from dock.converters.siesta.ion import read_ion
from dock.converters.siesta.reader import read_calculation
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.overlap.assemble import compute_overlap
from dock.units import CODATA2018, SIESTA4

OWN = ("h2o", "o2", "graphene", "si2", "fe_bcc", "fe2_nc", "fept_soc", "gaas_soc", "bilayer_AB")
NEW = ("H2O_dipole", "Pt2_soc", "Si_pdos_k", "fe_bcc_simple")
SYSTEMS = (
    *(f"fixtures/siesta/{name}" for name in (*OWN, "tbg_scf_m1")),
    "public/siesta/Si",
    *(f"public/siesta/siesta51_sislfiles/{name}" for name in NEW),
)
BAR = 1e-4
"""eV: the code prints nine digits; the rest is the k-points' six digits where no fractions are
known, and the empty states at 100 eV of a basis with overlap eigenvalues of 4e-4."""
SINGLE_BAR = 1e-5
"""eV, occupied states of files in single precision."""
N_K = 5
TABLES = 2e-5
"""SIESTA interpolates its own two-centre tables: as `dock compute-overlap` is held against them."""


def unpacked(source, target):
    """Put a run's files into `target`, those in .xz unpacked."""
    for file in source.iterdir():
        if file.suffix == ".xz" and not file.name.endswith(".tar.xz"):
            (target / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        elif file.is_file():
            (target / file.name).symlink_to(file)
    return target


def k_fractions(folder, printed):
    """Return the exact fractions of the grid, from reference.json or by rounding."""
    path = folder / "reference.json"
    reference = json.loads(path.read_text()) if path.is_file() else {}
    known = reference.get("k_frac", []) if isinstance(reference, dict) else []
    if len(known) == len(printed):
        return np.array(known)
    near = np.array([[float(Fraction(x).limit_denominator(60)) for x in k] for k in printed])
    return np.where(np.abs(near - printed) < 2e-5, near, printed)


def levels(calc, k):
    """Return the eigenvalues (n_channels, n_bands) at one k-point, eV."""
    spinor = calc.spin is Spin.NONCOLLINEAR
    hamiltonian = KBuilder(calc.require("H")).dense(k)
    overlap = KBuilder(calc.require("S"), spinor=spinor).dense(k)
    factor = np.linalg.cholesky(overlap)
    parts = hamiltonian if hamiltonian.ndim == 3 else hamiltonian[None]
    left = np.linalg.solve(factor, parts)
    reduced = np.linalg.solve(factor, left.conj().swapaxes(-1, -2))
    return np.linalg.eigvalsh(reduced)


def matrix_files(folder):
    """Return the files of a folder from which H and S can be read."""
    found = [file for file in sorted(folder.iterdir()) if file.suffix in (".HSX", ".TSHS", ".nc")]
    return [file for file in found if not file.name.endswith(".ion.nc")]


def eigenvalue_deviation(calc, folder):
    """Return the largest deviation from EIG at some k-points: of all states, of the occupied."""
    label = calc.provenance.extra["system_label"]
    printed = read_eig(folder / f"{label}.EIG")
    bohr = 0.529177 if calc.provenance.extra["rydberg_ev"] == 13.6058 else 0.529177210903
    points = read_kp(folder / f"{label}.KP").fractional(calc.structure.cell / bohr)
    points = k_fractions(folder, points)
    every, occupied = 0.0, 0.0
    for index in np.unique(np.linspace(0, len(points) - 1, N_K).astype(int)):
        off = np.abs(levels(calc, points[index]) - printed.energies[index])
        every = max(every, float(off.max()))
        filled = off[printed.energies[index] < printed.fermi]
        occupied = max(occupied, float(filled.max()))
    return every, occupied


def rows_of(folder):
    """Yield (system, quantity, deviation, limit) of every matrix file in an unpacked folder."""
    for file in matrix_files(folder):
        calc = through_folder(read_calculation(file, ReadOptions()))
        name = f"{folder.name}: {file.name}"
        single = any("single precision" in note for note in calc.provenance.extra.get("notes", []))
        every, occupied = eigenvalue_deviation(calc, folder)
        if single:
            yield name, "occupied eigenvalues against EIG (eV)", occupied, SINGLE_BAR
        else:
            yield name, "all eigenvalues against EIG (eV)", every, BAR
            yield name, "occupied eigenvalues against EIG (eV)", occupied, 1e-6
        hermiticity = calc.require("H").hermiticity_error()
        yield name, "largest |H − H†| (eV)", hermiticity, 1e-6
        if "density_matrix" in calc.available:
            count = calc.require("DM").dot(calc.require("S"))
            limit = 1e-6 if single else 1e-10
            yield name, "Tr(ρS) − N", abs(count - calc.n_electrons), limit
        if "energy_density_matrix" in calc.available:
            energy = calc.require("EDM").dot(calc.require("S"))
            band = calc.require("DM").dot(calc.require("H"))
            yield name, "Tr(EDM·S) − Tr(ρH) (eV)", abs(energy - band), 1e-3


def rows(shared):
    """Yield the rows of all reference runs that are there."""
    for system in SYSTEMS:
        source = Path(shared) / system
        if source.is_dir():
            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / source.name
                target.mkdir()
                yield from rows_of(unpacked(source, target))
    yield from overlap_rows(Path(shared) / "fixtures" / "siesta")


def overlap_rows(folder):
    """Yield the rows of the overlap-only runs: there are no levels, but the spectrum of S(Γ)."""
    basis = folder / "graphene"
    for name in ("tbg_m1", "tbg_m2"):
        if not (folder / name).is_dir():
            continue
        reference = np.linalg.eigvalsh(gamma_sum(folder / name / "S.npz"))
        if any((folder / name).glob("*.onlyS.xz")):
            with tempfile.TemporaryDirectory() as place:
                run = next(unpacked(folder / name, Path(place)).glob("*.onlyS"))
                calc = through_folder(read_calculation(run, ReadOptions(basis=basis)))
            found = np.linalg.eigvalsh(calc.require("S").hermitian_part().k([0, 0, 0]))
            yield f"{name}: onlyS", "eigenvalues of S(Γ)", np.abs(found - reference).max(), 1e-12
        found = np.linalg.eigvalsh(computed_overlap(folder / name, basis).k([0, 0, 0]))
        off = np.abs(found - reference).max() / reference.max()
        yield f"{name}: computed", "eigenvalues of S(Γ), relative to the largest", off, TABLES


def gamma_sum(path):
    """Return S(Γ) of a matrix whose columns are those of all cells, one after the other."""
    stored = scipy.sparse.load_npz(path)
    n = stored.shape[0]
    whole = sum(stored[:, at : at + n] for at in range(0, stored.shape[1], n)).toarray()
    return 0.5 * (whole + whole.T)  # the file is symmetric to 3e-9


def computed_overlap(folder, basis):
    """Return what `dock` computes for the run's structure, through a unified folder."""
    geometry = np.load(folder / "geometry.npz")
    scale = SIESTA4.bohr_angstrom / CODATA2018.bohr_angstrom
    positions = geometry["xyz_Ang"] * scale
    structure = Structure(geometry["cell_Ang"] * scale, positions, [6] * len(positions))
    shells = read_ion(basis / "C.ion.xml").shells(SIESTA4)
    overlap = compute_overlap(structure, Basis({"C": shells}, structure.labels), jobs=1)
    calc = Calculation(structure, overlap.basis, Spin.NONE, {"overlap": overlap})
    return through_folder(calc).require("S")
