"""The physics that any calculation must obey, as a list of findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.position import POSITION_LIMIT, position_error
from dock.errors import DockError

__all__ = ["ONLY_GAMMA", "Finding", "check_calculation", "lost_blocks", "where_known"]

HERMITICITY_LIMIT = {
    "hamiltonian": 1e-4,
    "overlap": 1e-5,
    "density_matrix": 1e-5,
    "energy_density_matrix": 1e-4,
    "kinetic": 1e-4,
    "gradient": 2e-2,
    "hamiltonian0": 1e-4,
    "hamiltonian_init": 1e-4,
}
"""Largest |O − O†| that integration noise of the codes explains, with room. Measured: 1e-8, and
up to 6e-3 /Å for OpenMX's gradient, which is integrated on its real-space grid."""

ELECTRONS_LIMIT = 1e-4
"""Largest |Tr(ρS) − N| of a converged density matrix with room for printed formats."""

ONLY_GAMMA = (
    "the run was at the Γ point alone and its matrices are summed over all lattice vectors: only "
    "k = 0 has a meaning; a crystal's gap and bands cannot be computed from them."
)
"""What is said of matrices that hold at one k-point."""

INTERPOLATED = (
    "H is known at the {mesh} k-points of the run only: between them it is interpolated, and the "
    "levels are as good as that mesh is fine."
)
"""What is said of matrices that hold at the k-points of a mesh."""

NO_OVERLAP = 1e-7
"""|S| of a pair below which codes leave blocks out."""

STEEPEST = 1.5
"""Largest change of |S| of a pair with its distance, 1/Å and root of the number of orbitals.
Measured: 0.4."""

SAME_OVERLAP = 2e-3
"""Change of |S|, for each root of the number of orbitals, that integration on a grid explains."""

BOND, MANY_BONDS, SPREAD, CORRELATED = 1.25, 7, 0.03, 0.6
"""Bonds are up to so many times as long as the shortest. H is held against S where so many lengths
with such a standard deviation (Å) are there; below this correlation it is of another run."""

DENSE_LIMIT = 3000
"""Orbitals up to which the eigenvalues of S(k) are computed."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked, named `what`; the message has the figure.

    The level is ``ok``, ``note`` (worth knowing) or ``error`` (the data are wrong).
    """

    level: Literal["ok", "note", "error"]
    what: str
    message: str


def check_calculation(calc: Calculation) -> list[Finding]:
    """Check pairs, finiteness, Hermiticity, S(k) > 0, Tr(ρS) = N and the Fermi level.

    Then the matrices are held against one another and the structure: H has a block wherever S has
    one, and the overlap of two atoms follows from their elements and distance. What the reader
    noted of the run is repeated, and a run that did not converge or finish is an error. Whether H
    and S have the electrons at the Fermi level is `dock.states.filling_check`'s.

    Each matrix is read once; one that fails its own check is left out of those that follow. The
    findings stand in the order of the checks; the data are sound when none is an ``error``.
    """
    findings: list[Finding] = []
    loaded: dict[str, AOMatrix] = {}
    broken: set[str] = set()
    for name in calc.available:
        try:
            loaded[name] = calc.require(name)
        except DockError as error:
            findings.append(Finding("error", name, str(error)))
            continue
        own = _check_matrix(loaded[name])
        findings.append(own)
        if own.level == "error":
            broken.add(name)
    if "position" in loaded and "overlap" in loaded:
        findings = [_relation(loaded) if of.what == "position" else of for of in findings]
    is_partial = calc.only_gamma or bool(calc.k_mesh) or bool(broken & {"hamiltonian", "overlap"})
    findings.append(_check_same_pairs(loaded, is_partial=is_partial))
    loaded = {name: matrix for name, matrix in loaded.items() if name not in broken}
    findings += _check_overlap(calc, loaded)
    findings += _check_levels(calc)
    return findings + _check_run(calc)


def _check_run(calc: Calculation) -> list[Finding]:
    """Say how the run ended, what its reader noted, and at which k-points its matrices hold."""
    findings = []
    if calc.unsound:
        findings.append(Finding("error", "scf", calc.unsound))
    findings += [Finding("note", "run", note) for note in calc.notes]
    if text := where_known(calc):
        findings.append(Finding("note", "k-points", text))
    return findings


def where_known(calc: Calculation) -> str:
    """Say at which k-points alone the matrices hold; empty where they hold at all."""
    if calc.only_gamma:
        return ONLY_GAMMA
    return INTERPOLATED.format(mesh="×".join(map(str, calc.k_mesh))) if calc.k_mesh else ""


def _check_overlap(calc: Calculation, loaded: dict[str, AOMatrix]) -> list[Finding]:
    """Check S by its eigenvalues and distances, and the other matrices against it."""
    if "overlap" not in loaded:
        return []
    overlap = loaded["overlap"]
    findings = [_check_positive(overlap)]
    if "density_matrix" in loaded:
        findings.append(_check_electrons(calc, loaded["density_matrix"], overlap))
    findings += _check_distances(overlap)
    if "hamiltonian" in loaded:
        findings += _check_neighbours(loaded["hamiltonian"], overlap)
    return findings


def _judge(name: str, text: str, *, sound: bool) -> Finding:
    return Finding("ok" if sound else "error", name, text)


def _check_matrix(matrix: AOMatrix) -> Finding:
    """Check one matrix by itself: finite, closed, every atom there, Hermitian."""
    name = matrix.quantity
    bad = matrix.entries.size - int(np.count_nonzero(np.isfinite(matrix.entries)))
    if bad:
        return Finding("error", name, f"{bad} of {matrix.entries.size} entries are NaN or Inf.")
    if matrix.facts.own_pairs:
        return Finding("ok", name, f"finite, on {len(matrix.pairs)} pairs of its own.")
    if not matrix.pairs.is_closed:
        missing = np.flatnonzero(matrix.pairs.partner < 0)
        pair = matrix.pairs.describe(int(missing[0]))
        text = f"{len(missing)} pairs have no partner (−R, j, i), such as {pair}."
        return Finding("error", name, text)
    if len(matrix.pairs.onsite) != matrix.basis.n_atoms:
        text = f"{matrix.basis.n_atoms - len(matrix.pairs.onsite)} atoms have no on-site block."
        return Finding("error", name, text)
    limit = HERMITICITY_LIMIT.get(name)
    if limit is None:
        return Finding("ok", name, "finite, every pair has its partner.")
    error = matrix.hermiticity_error()
    unit = "" if matrix.facts.unit == "1" else f" {matrix.facts.unit}"
    sign = "+" if matrix.facts.parity < 0 else "−"
    text = f"largest |O {sign} O†| is {error:.1e}{unit} (limit {limit:.0e})."
    return _judge(name, text, sound=error <= limit)


def _relation(loaded: dict[str, AOMatrix]) -> Finding:
    """Give the figure of the relation that `Calculation.get` has held the position matrix to."""
    position = loaded["position"]
    if not position.pairs.is_closed:
        return _check_matrix(position)
    error = position_error(position, loaded["overlap"])
    text = f"largest |r_ij(R) − R S_ij(R) − r_ji(−R)ᵀ| is {error:.1e} Å (limit {POSITION_LIMIT:g})."
    return _judge("position", text, sound=error <= POSITION_LIMIT)


def _check_same_pairs(loaded: dict[str, AOMatrix], *, is_partial: bool) -> Finding:
    """Compare the pairs of H and S, where both are there: H has a block wherever S has one.

    Not so where H is known at some k-points only: its blocks are sums over the images that these
    do not tell apart; nor where one of both is damaged, which is said already (`is_partial`).
    """
    for name in ("hamiltonian", "overlap"):
        if name not in loaded:
            return Finding("note", "pairs", f"no {name}: bands cannot be computed.")
    H, S = loaded["hamiltonian"], loaded["overlap"]
    overlap = S.pairs
    if not H.entries.any():
        return Finding("error", "pairs", "every entry of H is zero: nothing was computed into it.")
    text = "" if is_partial else lost_blocks(H, S)
    if text:
        return Finding("error", "pairs", text)
    difference = H.pairs.difference(overlap)
    if difference:
        text = f"hamiltonian (first) and overlap (second) differ: {difference}."
        return Finding("note", "pairs", text)
    return Finding("ok", "pairs", f"{len(overlap)} pairs, the same in H and S.")


def lost_blocks(hamiltonian: AOMatrix, overlap: AOMatrix) -> str:
    """Say for which pairs of atoms that overlap H has no block, or zeros; empty without any."""
    pairs = overlap.pairs
    norms = overlap.layout.block_norm(overlap.entries)
    place = hamiltonian.pairs.find(pairs.R, pairs.i, pairs.j)
    filled = hamiltonian.layout.block_max(hamiltonian.entries) > 0
    lost = np.flatnonzero(~((place >= 0) & filled[place]) & (norms > NO_OVERLAP))
    if not len(lost):
        return ""
    worst = int(lost[np.argmax(norms[lost])])
    return (
        f"H has no block, or zeros, for {len(lost)} pairs of atoms that overlap, such as "
        f"{pairs.describe(worst)} with |S| = {norms[worst]:.2g}: it lacks neighbours, or H "
        "and S are of different structures."
    )


def _distances(matrix: AOMatrix) -> NDArray[np.float64]:
    """Return the distance of each pair's atoms, Å."""
    structure, pairs = matrix.structure, matrix.pairs
    places = structure.positions[pairs.j] + pairs.R @ structure.cell
    distances: NDArray[np.float64] = np.linalg.norm(places - structure.positions[pairs.i], axis=1)
    return distances


def _kinds(matrix: AOMatrix) -> NDArray[np.int64]:
    """Return a number for the two species of each pair, in this order."""
    names, species = np.unique(matrix.structure.labels, return_inverse=True)
    kinds: NDArray[np.int64] = species[matrix.pairs.i] * len(names) + species[matrix.pairs.j]
    return kinds


def _check_neighbours(hamiltonian: AOMatrix, overlap: AOMatrix) -> list[Finding]:
    """Hold H against S: blocks of nearest neighbours are the larger the more the atoms overlap.

    In a structure whose bonds have several lengths, |H| and |S| of them are correlated (0.92 to
    1.00 in 50 sets of SIESTA and OpenMX); where H is of another structure they are not (up to 0.4).
    """
    pairs, distances, kinds = overlap.pairs, _distances(overlap), _kinds(overlap)
    apart = distances > 0
    place = hamiltonian.pairs.find(pairs.R, pairs.i, pairs.j)
    if not apart.any():
        return []
    nearest = distances[apart].min()
    chosen = np.flatnonzero(apart & (distances < BOND * nearest) & (pairs.i <= pairs.j))
    chosen = chosen[place[chosen] >= 0]
    sizes = [
        matrix.layout.block_norm(matrix.entries)[index]
        for matrix, index in ((overlap, chosen), (hamiltonian, place[chosen]))
    ]
    for kind in np.unique(kinds[chosen]):
        mine = (kinds[chosen] == kind) & (sizes[0] > 0) & (sizes[1] > 0)
        lengths = distances[chosen][mine]
        if len(np.unique(lengths.round(6))) < MANY_BONDS or lengths.std() < SPREAD:
            continue
        correlation = float(np.corrcoef(np.log(sizes[0][mine]), np.log(sizes[1][mine]))[0, 1])
        if correlation < CORRELATED:
            text = (
                f"the blocks of nearest neighbours in H do not follow their overlap (correlation "
                f"{correlation:.2f} over {mine.sum()} bonds): H and S are of different structures."
            )
            return [Finding("error", "neighbours", text)]
    return []


def _check_distances(overlap: AOMatrix) -> list[Finding]:
    """Hold S against the structure: |S| of two atoms follows from their species and distance.

    The norm of a block over whole shells does not depend on the direction. Pairs of one kind are
    sorted by distance; between neighbours in that order the norm changes by no more than the
    steepest radial functions explain. Matrices of another structure, or atoms in another order,
    scatter.
    """
    pairs, distances, kinds = overlap.pairs, _distances(overlap), _kinds(overlap)
    norms = overlap.layout.block_norm(overlap.entries) / np.sqrt(len(overlap.entries))
    scale = np.sqrt(np.minimum(overlap.layout.rows, overlap.layout.cols))
    order = np.lexsort((distances, kinds))
    rise = np.abs(np.diff(norms[order]))
    allowed = scale[order][1:] * (STEEPEST * np.diff(distances[order]) + SAME_OVERLAP)
    excess = np.where(np.diff(kinds[order]) == 0, rise - allowed, 0.0)
    if not len(excess) or excess.max() <= 0:
        return [Finding("ok", "distances", "S follows the distances of the atoms.")]
    first, second = (int(order[np.argmax(excess) + shift]) for shift in (0, 1))
    text = (
        f"S does not follow the distances of the atoms: the pairs {pairs.describe(first)} and "
        f"{pairs.describe(second)} of one kind are {distances[first]:.4f} and "
        f"{distances[second]:.4f} Å apart, but |S| is {norms[first]:.4f} and {norms[second]:.4f}. "
        "S is of another structure, or the atoms are in another order."
    )
    return [Finding("error", "distances", text)]


def _check_positive(overlap: AOMatrix) -> Finding:
    """Look for the smallest eigenvalue of S(k) at Γ, a corner and a general point."""
    if overlap.basis.n_orbitals > DENSE_LIMIT:
        return Finding("note", "S > 0", f"not checked above {DENSE_LIMIT} orbitals.")
    builder = KBuilder(overlap)
    axes = np.array(overlap.pairs.periodic_axes, dtype=np.float64)
    k_points = [np.zeros(3), 0.5 * axes, axes / 3]
    smallest = min(float(np.linalg.eigvalsh(builder.dense(k))[0]) for k in k_points)
    if smallest <= 0:
        text = f"S(k) has the eigenvalue {smallest:.2e}: it is not positive definite."
        return Finding("error", "S > 0", text)
    text = f"smallest eigenvalue of S(k) is {smallest:.2e}."
    return Finding("ok" if smallest > 1e-6 else "note", "S > 0", text)


def _check_electrons(calc: Calculation, density: AOMatrix, overlap: AOMatrix) -> Finding:
    """Compare Tr(ρS) with the number of electrons."""
    count = density.dot(overlap)
    if calc.n_electrons is None:
        return Finding("note", "Tr(ρS)", f"Tr(ρS) = {count:.6f}; no electron count to compare.")
    text = f"Tr(ρS) = {count:.6f}, electrons {calc.n_electrons:g}."
    return _judge("Tr(ρS)", text, sound=abs(count - calc.n_electrons) <= ELECTRONS_LIMIT)


def _check_levels(calc: Calculation) -> list[Finding]:
    """Check that the Fermi level and the electrons are known and possible."""
    findings = []
    if calc.fermi_level is None:
        findings.append(Finding("note", "fermi level", "unknown."))
    elif not np.isfinite(calc.fermi_level):
        findings.append(Finding("error", "fermi level", f"{calc.fermi_level} is no energy."))
    if calc.n_electrons is None:
        findings.append(Finding("note", "electrons", "the number of electrons is unknown."))
    capacity = 2 * calc.basis.n_orbitals
    if calc.n_electrons is not None and not 0 <= calc.n_electrons <= capacity:
        text = f"{calc.n_electrons:g} electrons do not fit into {capacity} states."
        findings.append(Finding("error", "electrons", text))
    return findings
