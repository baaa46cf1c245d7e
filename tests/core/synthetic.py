"""Random structures, bases, pairs and matrices, and an exactly covariant synthetic Hamiltonian.

The Hamiltonian of `covariant` is a sum of terms that turn with the structure by construction:
Slater–Koster blocks in the frame of each bond, crystal fields of the neighbours, ξ L·σ, a
two-centre (σ·d)(L·d) and an exchange field σ·m with an axial vector m of the surroundings. It is
what the rotation of matrices must reproduce to rounding, reflections included.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from hypothesis import strategies as st

from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.core.wigner import shell_rotation

PAULI = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
SPECIES = {"H": 1, "C": 6, "Mo": 42}


# ------------------------------------------------------------------------------ random objects


def random_structure(rng, n_atoms=3, *, size=3.5):
    """Atoms in a skewed cell, some of them outside it: positions are never wrapped."""
    cell = size * (np.eye(3) + 0.2 * rng.uniform(-1, 1, (3, 3)))
    fractional = rng.uniform(-0.7, 1.4, (n_atoms, 3))
    names = list(SPECIES)
    labels = [names[index % len(names)] for index in range(n_atoms)]
    return Structure(cell, fractional @ cell, np.array([SPECIES[x] for x in labels]))


def random_basis(rng, structure, lmax=3):
    """One to three shells per species, in any order."""
    ls = {x: rng.integers(0, lmax + 1, rng.integers(1, 4)).tolist() for x in SPECIES}
    return Basis.from_ls(ls, structure.labels)


def full_basis(structure):
    """Shells up to l = 3 on the first species, fewer on the others."""
    return Basis.from_ls({"H": [0, 1, 2, 3], "C": [0, 1, 1], "Mo": [2, 0]}, structure.labels)


def neighbour_pairs(structure, cutoff=4.0, rng=None):
    """All pairs within a distance, by brute force; shuffled if a generator is given."""
    cells = np.array(list(itertools.product(range(-4, 5), repeat=3)))
    vectors = (
        structure.positions[None, None, :, :]
        + (cells @ structure.cell)[:, None, None, :]
        - structure.positions[None, :, None, :]
    )
    cell, i, j = np.nonzero(np.linalg.norm(vectors, axis=-1) < cutoff)
    order = np.arange(len(i)) if rng is None else rng.permutation(len(i))
    return Pairs(cells[cell][order], i[order], j[order], structure.n_atoms)


def random_pairs(rng, n_atoms, n_pairs=12, reach=2):
    """A closed pattern in random order with every on-site pair."""
    some = {((0, 0, 0), a, a) for a in range(n_atoms)}
    for _ in range(n_pairs):
        R = rng.integers(-reach, reach + 1, 3)
        i, j = (int(x) for x in rng.integers(0, n_atoms, 2))
        some |= {(tuple(R.tolist()), i, j), (tuple((-R).tolist()), j, i)}
    return pairs_of(sorted(some), n_atoms, rng)


def pairs_of(triples, n_atoms, rng=None):
    """Pairs from (R, i, j) triples."""
    triples = list(triples)
    if rng is not None:
        triples = [triples[index] for index in rng.permutation(len(triples))]
    R = np.array([R for R, _, _ in triples], dtype=int).reshape(-1, 3)
    i = np.array([i for _, i, _ in triples], dtype=int)
    j = np.array([j for _, _, j in triples], dtype=int)
    return Pairs(R, i, j, n_atoms)


def triples_of(pairs):
    """(R, i, j) triples of pairs, in order."""
    return [
        (tuple(R), i, j)
        for R, i, j in zip(pairs.R.tolist(), pairs.i.tolist(), pairs.j.tolist(), strict=True)
    ]


def n_entries(basis, pairs):
    """Number of entries of a matrix on the pairs."""
    return int(np.sum(basis.counts[pairs.i] * basis.counts[pairs.j]))


def random_matrix(
    rng, structure, basis, pairs, *, quantity="hamiltonian", spin=Spin.NONE, dtype=None
):
    """Random entries that obey no symmetry."""
    facts = quantity_of(quantity)
    n_spin = spin.n_components if facts.has_spin else 1
    shape = (facts.n_vector * n_spin, n_entries(basis, pairs))
    entries = rng.normal(size=shape)
    if n_spin == 4:
        entries = entries + 1j * rng.normal(size=shape)
    if dtype is not None:
        entries = entries.astype(dtype)
    return AOMatrix(quantity, structure, basis, pairs, spin, entries)


def random_hermitian(rng, structure, basis, pairs, **options):
    """Random entries made Hermitian (anti-Hermitian for the gradient) block by block."""
    matrix = random_matrix(rng, structure, basis, pairs, **options)
    return from_blocks(matrix, hermitian_blocks(matrix, blocks_of(matrix)))


def random_position(rng, overlap):
    """A position matrix of a Hermitian overlap: r_ji(−R) = r_ij(R)ᵀ − R S_ij(R)ᵀ."""
    place = (overlap.structure, overlap.basis, overlap.pairs)
    symmetric = random_hermitian(rng, *place, quantity="overlap")
    blocks, S, cell = blocks_of(symmetric), blocks_of(overlap), overlap.structure.cell
    moved = {
        key: blocks[key] + 0.5 * (np.array(key[0]) @ cell)[:, None, None] * S[key] for key in S
    }
    template = random_matrix(rng, *place, quantity="position")
    return from_blocks(template, moved)


def random_case(seed, spin=Spin.NONE, *, n_atoms=3, quantity="hamiltonian", dtype=None):
    """A Hermitian matrix on a random structure, basis and closed pattern."""
    rng = np.random.default_rng(seed)
    structure = random_structure(rng, n_atoms)
    basis = random_basis(rng, structure)
    pairs = random_pairs(rng, n_atoms)
    return random_hermitian(rng, structure, basis, pairs, quantity=quantity, spin=spin, dtype=dtype)


# --------------------------------------------------------------------------- blocks as a dict


def positive_overlap(hamiltonian):
    """A random overlap on the pairs of a Hamiltonian that is near 1, and what goes on drawing."""
    rng = np.random.default_rng(8)
    parts = (rng, hamiltonian.structure, hamiltonian.basis, hamiltonian.pairs)
    small = random_hermitian(*parts, quantity="overlap", spin=hamiltonian.spin) * 0.003
    blocks = blocks_of(small)
    for key in triples_of(small.pairs):
        if key[0] == (0, 0, 0) and key[1] == key[2]:
            blocks[key] = blocks[key] + np.eye(blocks[key].shape[1])
    return from_blocks(small, blocks), parts


def blocks_of(matrix):
    """Every block by its pair, always (n_components, rows, cols): the naive twin of AOMatrix."""
    counts, begin, found = matrix.basis.counts, 0, {}
    for R, i, j in triples_of(matrix.pairs):
        shape = (len(matrix.entries), int(counts[i]), int(counts[j]))
        end = begin + shape[1] * shape[2]
        found[R, i, j] = matrix.entries[:, begin:end].reshape(shape)
        begin = end
    return found


def from_blocks(matrix, blocks):
    """The matrix with the blocks of a dictionary."""
    rows = [np.asarray(blocks[key]) for key in triples_of(matrix.pairs)]
    flat = [row.reshape(len(row), -1) for row in rows]
    return matrix.with_entries(np.concatenate(flat, axis=1))


def adjoint_block(matrix, blocks, key):
    """Block (R, i, j) of the adjoint: conjugate transpose, spins exchanged."""
    R, i, j = key
    partner = blocks[tuple(-x for x in R), j, i]
    turned = partner.conj().swapaxes(-1, -2)
    return turned[[0, 2, 1, 3]] if len(turned) == 4 else turned


def hermitian_blocks(matrix, blocks):
    """(O ± O†)/2 block by block."""
    sign = matrix.facts.parity
    return {key: 0.5 * (block + sign * adjoint_block(matrix, blocks, key))
            for key, block in blocks.items()}  # fmt: skip


def bloch(matrix, k, *, gauge="cell", spinor=False, derivative=None):
    """Σ_R exp(2πi k·R) O(R) pair by pair: (n_channels, N, N), complex; the definition."""
    basis, structure = matrix.basis, matrix.structure
    n, parts = basis.n_orbitals, len(matrix.entries)
    out = np.zeros((parts, n, n), dtype=complex)
    for (R, i, j), block in blocks_of(matrix).items():
        d = np.array(R) @ structure.cell
        if gauge == "atom":
            d = d + structure.positions[j] - structure.positions[i]
        phase = np.exp(1j * (np.asarray(k) @ structure.reciprocal) @ d)
        for axis in () if derivative is None else np.atleast_1d(derivative):
            phase = phase * 1j * d[axis]
        rows = slice(basis.offsets[i], basis.offsets[i + 1])
        cols = slice(basis.offsets[j], basis.offsets[j + 1])
        out[:, rows, cols] += phase * block
    if parts == 4:
        return np.block([[out[0], out[1]], [out[2], out[3]]])[None]
    if spinor:
        return np.stack([np.kron(np.eye(2), part) for part in out])
    return out


# -------------------------------------------------------------------------- covariant matrices


def angular_momentum(l):
    """(3, 2l+1, 2l+1) matrices L_x, L_y, L_z between the real harmonics of `dock`."""
    m = np.arange(-l, l + 1)
    up = np.diag(np.sqrt(l * (l + 1) - m[:-1] * (m[:-1] + 1)), -1)
    complex_form = np.array([(up + up.T) / 2, (up - up.T) / 2j, np.diag(m)])
    U = np.zeros((2 * l + 1, 2 * l + 1), dtype=complex)  # real = U · complex (Condon–Shortley)
    U[l, l] = 1
    for k in range(1, l + 1):
        U[l + k, l - k], U[l + k, l + k] = 1 / np.sqrt(2), (-1) ** k / np.sqrt(2)
        U[l - k, l - k], U[l - k, l + k] = 1j / np.sqrt(2), -1j * (-1) ** k / np.sqrt(2)
    return U.conj() @ complex_form @ U.T


def atom_momentum(basis, atom):
    """(3, n, n) L of all shells of an atom, block-diagonal."""
    n, begin = int(basis.counts[atom]), 0
    full = np.zeros((3, n, n), dtype=complex)
    for l in basis.ls(basis.labels[atom]):
        end = begin + 2 * l + 1
        full[:, begin:end, begin:end] = angular_momentum(l)
        begin = end
    return full


def frame(d):
    """A rotation that takes z to the direction of d."""
    z = d / np.linalg.norm(d)
    x = np.cross(z, np.eye(3)[np.argmin(np.abs(z))])
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])


@lru_cache(maxsize=1024)  # the blocks of a bond, its parts and its ends take one after another
def _turn_of_bond(d, ls):
    """The matrix D(F) of some shells for the frame of a bond."""
    return shell_rotation(frame(np.array(d)), ls)


def bond_block(basis, i, j, d, seed):
    """D(F) Λ D(F)ᵀ with Λ between equal m, alike for ±m, falling off with the distance."""
    table = np.random.default_rng([seed, *basis.species_index[[i, j]].tolist()])
    ls_i, ls_j = basis.ls(basis.labels[i]), basis.ls(basis.labels[j])
    rows = []
    for l in ls_i:
        row = []
        for lp in ls_j:
            cell, values = np.zeros((2 * l + 1, 2 * lp + 1)), table.normal(size=8)
            for m in range(-min(l, lp), min(l, lp) + 1):
                cell[l + m, lp + m] = values[abs(m)]
            row.append(cell)
        rows.append(row)
    bond = tuple(d.tolist())
    block = _turn_of_bond(bond, ls_i) @ np.block(rows) @ _turn_of_bond(bond, ls_j).T
    return np.exp(-np.linalg.norm(d)) * block


def covariant(structure, basis, pairs, *, quantity="hamiltonian", spin=Spin.NONE):
    """A Hermitian operator that is an exact, covariant function of the structure."""
    facts = quantity_of(quantity)
    n_spin = spin.n_components if facts.has_spin else 1
    shape = (facts.n_vector * n_spin, n_entries(basis, pairs))
    kind = complex if n_spin == 4 else float
    empty = AOMatrix(quantity, structure, basis, pairs, spin, np.zeros(shape, dtype=kind))
    blocks = {}
    for R, i, j in triples_of(pairs):
        d = np.array(R) @ structure.cell + structure.positions[j] - structure.positions[i]
        if np.linalg.norm(d) < 1e-9:
            blocks[R, i, j] = _onsite(empty, i)
        else:
            blocks[R, i, j] = _two_centre(empty, i, j, d)
    if facts.parity:
        blocks = hermitian_blocks(empty, blocks)
    return from_blocks(empty, blocks)


def surroundings(structure, pairs, atom):
    """Bond vectors from an atom to its neighbours, with the neighbour's number."""
    found = []
    for R, i, j in triples_of(pairs):
        d = np.array(R) @ structure.cell + structure.positions[j] - structure.positions[i]
        if i == atom and np.linalg.norm(d) > 1e-9:
            found.append((j, d))
    return found


def _onsite(matrix, i):
    """Level, crystal field, ξ L·σ and the exchange field of the surroundings."""
    basis, structure = matrix.basis, matrix.structure
    around = surroundings(structure, matrix.pairs, i)
    one = np.eye(int(basis.counts[i]))
    field = sum((bond_block(basis, i, i, d, 7) for _, d in around), 0 * one)
    if matrix.quantity == "position":
        return np.stack([x * one for x in structure.positions[i]])
    if matrix.quantity == "gradient":
        return np.stack([sum((d[a] * bond_block(basis, i, i, d, 8) for _, d in around), 0 * one)
                         for a in range(3)])  # fmt: skip
    if matrix.quantity == "overlap":
        return (one + 0.0 * field)[None]
    shells = np.diag(np.repeat(np.arange(1.0, 1 + len(basis.ls(basis.labels[i]))),
                               [2 * l + 1 for l in basis.ls(basis.labels[i])]))  # fmt: skip
    if len(matrix.entries) < 4:
        return np.stack([shells + (1 + s) * field for s in range(len(matrix.entries))])
    near = sum((np.exp(-2 * np.linalg.norm(d)) * d for _, d in around), np.zeros(3))
    far = sum((np.exp(-0.3 * np.linalg.norm(d)) * d for _, d in around), np.zeros(3))
    moment = np.cross(near, far)
    spin_orbit = np.einsum("ast,aij->stij", PAULI, atom_momentum(basis, i))
    exchange = np.einsum("ast,a,ij->stij", PAULI, moment, one)
    scalar = np.einsum("st,ij->stij", np.eye(2), shells + field)
    return (scalar + 0.7 * spin_orbit + exchange).reshape(4, *one.shape)


def _two_centre(matrix, i, j, d):
    """Slater–Koster, and with spinors (σ·d)(L·d) and L·σ on the bond."""
    basis, n = matrix.basis, len(matrix.entries)
    if matrix.quantity == "position":
        centre = matrix.structure.positions[i] + d / 2
        plain, along = bond_block(basis, i, j, d, 1), bond_block(basis, i, j, d, 2)
        return np.stack([centre[a] * plain + d[a] * along for a in range(3)])
    if matrix.quantity == "gradient":
        return np.stack([d[a] * bond_block(basis, i, j, d, 2) for a in range(3)])
    if matrix.quantity == "overlap":
        return 0.1 * bond_block(basis, i, j, d, 1)[None]
    if n < 4:
        return np.stack([bond_block(basis, i, j, d, 3 + s) for s in range(n)])
    plain, along = bond_block(basis, i, j, d, 3), bond_block(basis, i, j, d, 4)
    L_i, L_j = atom_momentum(basis, i), atom_momentum(basis, j)
    turning = L_i @ along + along @ L_j
    scalar = np.einsum("st,ij->stij", np.eye(2), plain)
    bond = np.einsum("ast,a,b,bij->stij", PAULI, d, d, turning)
    spin_orbit = np.einsum("ast,aij->stij", PAULI, turning)
    return (scalar + 0.3 * bond + 0.5 * spin_orbit).reshape(4, *plain.shape)


# ---------------------------------------------------------------------------------- strategies

seeds = st.integers(0, 2**32 - 1)
spins = st.sampled_from(list(Spin))
k_points = st.tuples(*[st.floats(-1.5, 1.5, allow_subnormal=False)] * 3)


@st.composite
def structures(draw, max_atoms=4):
    """Random structures of one to four atoms."""
    return random_structure(np.random.default_rng(draw(seeds)), draw(st.integers(1, max_atoms)))


@st.composite
def hermitian_matrices(draw, spin=spins, quantity=None):
    """Random Hermitian matrices with random structure, basis (l ≤ 3) and closed pairs."""
    return random_case(
        draw(seeds),
        draw(spin),
        n_atoms=draw(st.integers(1, 4)),
        quantity="hamiltonian" if quantity is None else draw(quantity),
    )


@st.composite
def triple_sets(draw, n_atoms=3, reach=2):
    """Lists of distinct (R, i, j), in any order, closed or not."""
    component = st.integers(-reach, reach)
    atom = st.integers(0, n_atoms - 1)
    triple = st.tuples(st.tuples(component, component, component), atom, atom)
    return draw(st.lists(triple, unique=True, max_size=30))


@st.composite
def orthogonals(draw):
    """Rotations and reflections, evenly distributed."""
    q = np.random.default_rng(draw(seeds)).normal(size=(3, 3))
    turn, triangle = np.linalg.qr(q)
    return turn * np.sign(np.diag(triangle))
