"""Figures of merit against ABACUS's own numbers, as rows (system, quantity, deviation, limit).

Every run goes through a unified folder, which is written, read again and then diagonalised.
"""

import json
from fractions import Fraction

import numpy as np
from trip import through_folder

from dock.converters.abacus import read
from dock.converters.deeph.folder import read_folder
from dock.core.kspace import KBuilder

SYSTEMS = ("si2", "graphene", "fe", "gaas_soc")
EIGENVALUES = 1e-5
"""eV, below 50 eV: ABACUS printed H and S with nine digits here."""
SIX_DIGITS = 6
"""Significant digits of istate.info with two spins."""
ELECTRONS = 1e-6
PEER = 1e-9
HIGHEST = 50.0


def exact(k_points):
    """The k-points of a mesh, which are printed with six digits."""
    return [[float(Fraction(float(x)).limit_denominator(48)) for x in k] for k in k_points]


def eigenvalues(calc, k):
    """(n_spins, n_bands) eV."""
    import scipy.linalg

    hamiltonian = KBuilder(calc.hamiltonian)
    overlap = KBuilder(calc.overlap, spinor=hamiltonian.spinor).dense(k)
    parts = hamiltonian.dense(k)
    parts = parts[None] if parts.ndim == 2 else parts
    return np.array([scipy.linalg.eigh(part, overlap, eigvals_only=True) for part in parts])


def half_a_digit(values, digits):
    """Half a unit of the last digit of numbers that are printed with so many digits."""
    with np.errstate(divide="ignore"):
        leading = np.floor(np.log10(np.abs(values)))
    return 0.5 * 10.0 ** (leading - digits + 1)


def largest_error(calc, k_points, printed, digits=None):
    """Largest deviation of the bands below 50 eV; `printed` is (n_k, n_spins, n_bands).

    With `digits`, the part of it that the rounding of the printed numbers cannot explain.
    """
    worst = 0.0
    for k, reference in zip(k_points, printed, strict=True):
        found = eigenvalues(calc, k)
        n = min(found.shape[1], reference.shape[1])
        low = reference[:, :n] < HIGHEST
        off = np.abs(found[:, :n] - reference[:, :n])
        if digits is not None:
            off = np.maximum(off - half_a_digit(reference[:, :n], digits), 0.0)
        worst = max(worst, float(off[low].max()))
    return worst


def by_k(values):
    """(n_k, n_bands) or (n_k, n_spins, n_bands) as the latter."""
    values = np.array(values)
    return values[:, None] if values.ndim == 2 else values


def rows_of(name, folder):
    """The rows of one system."""
    calc = through_folder(read(folder))
    reference = json.loads((folder / "reference.json").read_text())
    two_spins = len(calc.hamiltonian.entries) == 2
    printed = by_k(reference["eigenvalues_eV"])
    digits = SIX_DIGITS if two_spins else None
    error = largest_error(calc, exact(reference["k_fractional"]), printed, digits)
    beyond = " beyond the last printed digit" if two_spins else ""
    yield name, f"eigenvalues of the SCF mesh{beyond} (eV)", error, EIGENVALUES
    bands = np.array(reference["bands_eV"])
    bands = bands.swapaxes(0, 1) if bands.ndim == 3 else bands[:, None]
    error = largest_error(calc, reference["bands_k_fractional"], bands)
    yield name, "bands off the mesh (eV)", error, EIGENVALUES
    yield name, "Fermi level (eV)", abs(calc.fermi_level - reference["fermi_eV"]), 1e-9
    if "density_matrix" in calc.available:
        error = abs(calc.density_matrix.dot(calc.overlap) - calc.n_electrons)
        yield name, "Tr(rho S) - electrons", error, ELECTRONS
    for quantity in ("hamiltonian", "overlap"):
        yield name, f"{quantity}: Hermiticity", calc.require(quantity).hermiticity_error(), 1e-9
    if "position" in calc.available:
        yield name, "position: r_ji(-R) = r_ij(R) - R S_ij(R) (angstrom)", partner_error(calc), 1e-6


def partner_error(calc):
    """Largest violation of r_ji(−R) = r_ij(R) − R S_ij(R), Å."""
    position = calc.position
    pairs, layout = position.pairs, position.layout
    union = pairs.union(calc.overlap.pairs)
    overlap = calc.overlap.on_pairs(union).take_pairs(union.find(pairs.R, pairs.i, pairs.j))
    turned = layout.transpose(np.array(position.entries), pairs.require_closed())
    moved = np.repeat(pairs.R @ calc.structure.cell, layout.rows * layout.cols, axis=0).T
    return float(np.abs(turned - position.entries + moved * overlap.entries).max())


def istate_rows(name, folder):
    """Compare with istate.info itself, where there is no reference.json."""
    calc = through_folder(read(folder))
    text = (folder / "OUT.ABACUS" / "istate.info").read_text()
    worst = 0.0
    for part in text.split("BAND")[1:]:
        lines = part.strip().splitlines()
        k = [float(x) for x in lines[0].rsplit("(", 1)[1].rstrip(") ").split()]
        printed = np.array([[float(line.split()[1]) for line in lines[1:] if line.strip()]])
        worst = max(worst, largest_error(calc, exact([k]), printed[None]))
    yield name, "eigenvalues of the SCF mesh (eV)", worst, EIGENVALUES


def peer_rows(name, folder):
    """Compare with the reference conversion of another program, on its pairs."""
    calc, reference = through_folder(read(folder)), read_folder(folder / "reference")
    for quantity in ("hamiltonian", "overlap"):
        mine, theirs = calc.require(quantity), reference.require(quantity)
        index = mine.pairs.find(theirs.pairs.R, theirs.pairs.i, theirs.pairs.j)
        missing = int((index < 0).sum())
        error = np.abs(mine.take_pairs(index).entries - theirs.entries).max() if not missing else 1
        yield name, f"{quantity}: reference conversion", float(error), PEER


def rows(shared):
    """All rows."""
    for name in SYSTEMS:
        yield from rows_of(f"abacus/{name}", shared / "fixtures" / "abacus" / name)
    public = shared / "public" / "abacus" / "MoS2"
    yield from istate_rows("abacus/MoS2 (public)", public)
    yield from peer_rows("abacus/MoS2 (public)", public)
