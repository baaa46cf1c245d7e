"""Figures of merit for the public FHI-aims data, as rows (system, quantity, deviation, limit).

Every run goes through a unified folder, which is written, read again and then diagonalised.
"""

import json
import warnings

import h5py
import numpy as np
from trip import through_folder

from dock.converters.aims import read
from dock.core.kspace import KBuilder
from dock.core.wigner import shell_rotation

CODATA = 27.211386245988
"""The Hartree in eV that the reference eigenvalues were made with."""
AIMS = 27.2113845
REDIAGONALISED = 1e-7
"""eV, relative above 10 keV: the references were computed from the same files, to 1e-8 eV."""
PRINTED = 1e-9
"""Relative to the deepest level: hamiltonian.out has ten digits, the log's levels 1e-5 eV."""
SYMMETRY = {"Si": 1e-6, "MoS2": 5e-3}
"""eV: the angular grids of silicon have the symmetry of the site; a threefold axis has no grid."""


def levels(calc, k):
    """(n_spins, n_bands) eV."""
    import scipy.linalg

    parts = KBuilder(calc.hamiltonian).dense(k)
    parts = parts[None] if parts.ndim == 2 else parts
    overlap = KBuilder(calc.overlap).dense(k)
    return np.array([scipy.linalg.eigh(part, overlap, eigvals_only=True) for part in parts])


def periodic_rows(name, folder):
    """Spectrum, range of the pairs and site symmetry of a periodic run."""
    calc = through_folder(read(folder))
    reference = json.loads((folder / "reference.json").read_text())
    worst = 0.0
    for label, k in reference["k_fractional"].items():
        printed = [one[label] for one in reference["eigenvalues_eV"].values()]
        found = levels(calc, k)
        wanted = np.array(printed) * (AIMS / CODATA)
        worst = max(worst, float(np.abs(found - wanted).max()))
    yield name, "eigenvalues, re-diagonalised elsewhere (eV)", worst, REDIAGONALISED
    reach = longest_pair(calc)
    yield name, "longest pair beyond 2 x 5 angstrom", max(0.0, reach - 10.0), 1e-6
    error = abs(reach - reference["max_pair_distance_angstrom"])
    yield name, "longest pair against the reference (angstrom)", error, 1e-3
    yield name, "Hermiticity of H (eV)", calc.hamiltonian.hermiticity_error(), 1e-10
    for quantity in ("hamiltonian", "overlap"):
        error = site_asymmetry(calc, quantity)
        yield (
            name,
            f"{quantity}: on-site blocks against site symmetry",
            error,
            SYMMETRY[folder.name],
        )


def longest_pair(calc):
    """Largest distance with an overlap above 1e-12, Å."""
    pairs, structure = calc.overlap.pairs, calc.structure
    vectors = structure.positions[pairs.j] + pairs.R @ structure.cell - structure.positions[pairs.i]
    strong = calc.overlap.layout.block_max(calc.overlap.entries) > 1e-12
    return float(np.linalg.norm(vectors, axis=1)[strong].max())


def site_operations(structure, atom):
    """Cartesian rotations, improper ones too, that leave an atom's surroundings as they are."""
    import spglib

    cell = (structure.cell, structure.fractional, structure.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib announces another error style
        symmetry = spglib.get_symmetry(cell, symprec=1e-4)
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = rotation @ structure.fractional[atom] + translation
        difference = moved - structure.fractional[atom]
        if np.abs(difference - np.rint(difference)).max() < 1e-4:
            yield structure.cell.T @ rotation @ np.linalg.inv(structure.cell.T)


def site_asymmetry(calc, quantity, shells=None):
    """Largest |D B Dᵀ − B| of the on-site blocks B under the site's symmetry, each shell apart.

    `shells` exchanges the order of the shells, to see what a wrong grouping gives.
    """
    matrix, worst = calc.require(quantity), 0.0
    for atom in range(calc.structure.n_atoms):
        ls = shells or calc.basis.ls(calc.basis.labels[atom])
        block = matrix.block([0, 0, 0], atom, atom)
        block = block if block.ndim == 3 else block[None]
        for rotation in site_operations(calc.structure, atom):
            D = shell_rotation(np.round(rotation, 12), ls)
            worst = max(worst, float(np.abs(D @ block @ D.T - block).max()))
    return worst


def atom_rows(name, folder):
    """Levels that FHI-aims printed, the spherical symmetry, and the reference conversion."""
    calc = through_folder(read(folder))
    reference = json.loads((folder / "reference.json").read_text())
    printed = np.array(reference["eigenvalues_eV"])
    found = levels(calc, [0, 0, 0])[0][: len(printed)]
    error = np.abs(found - printed).max() / np.abs(printed).max()
    yield name, "printed levels, relative to the deepest", float(error), PRINTED
    for quantity in ("hamiltonian", "overlap"):
        with h5py.File(folder / "reference" / f"{quantity}.h5") as file:
            theirs = file["entries"][()]
        error = np.abs(calc.require(quantity).entries[0] - theirs).max()
        yield name, f"{quantity}: reference conversion", float(error), 1e-9


def rows(shared):
    """All rows."""
    for name in ("Si", "MoS2"):
        yield from periodic_rows(f"aims/{name} (public)", shared / "public" / "aims" / name)
    atom = shared / "public" / "aims" / "single_atoms" / "Mo"
    yield from atom_rows("aims/Mo atom (public)", atom)
