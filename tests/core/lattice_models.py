"""Small models with known answers, as calculations: hopping on lattices, random hermitian ones."""

import numpy as np
import synthetic

from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure


def lattice(
    dimensions, *, hopping=-1.0, onsite=0.0, overlap=0.0, electrons=1.0, spin=Spin.NONE, field=0.0
):
    """One s orbital per cell of a cubic lattice, coupled along the first axes.

    E(k) = (onsite + 2 t Σ cos) / (1 + 2 s Σ cos); `field` splits the spins by ±field along z.
    """
    structure = Structure(np.eye(3) * 3.0, [[0, 0, 0]], [1], pbc=(True, True, True))
    basis = Basis.from_ls({"H": [0]}, ["H"])
    vectors = [np.zeros(3, dtype=int)]
    for axis in range(dimensions):
        step = np.eye(3, dtype=int)[axis]
        vectors += [step, -step]
    zeros = np.zeros(len(vectors), dtype=int)
    pairs = Pairs(np.array(vectors), zeros, zeros, 1)
    h = np.full((1, len(vectors)), hopping)
    h[0, 0] = onsite
    s = np.full((1, len(vectors)), overlap)
    s[0, 0] = 1.0
    split = np.zeros_like(h)
    split[0, 0] = field
    if spin is Spin.COLLINEAR:
        h = np.concatenate([h - split, h + split])
    elif spin is Spin.NONCOLLINEAR:
        zero = np.zeros_like(h)
        h = np.concatenate([h - split, zero, zero, h + split]).astype(complex)
    matrices = {
        "H": AOMatrix("hamiltonian", structure, basis, pairs, spin, h),
        "S": AOMatrix("overlap", structure, basis, pairs, Spin.NONE, s),
    }
    return Calculation(structure, basis, spin, matrices, None, electrons, source="the model")


def random_calculation(seed, spin=Spin.NONE, *, n_atoms=3, electrons=6.0):
    """A random Hermitian H and a positive S near the unit matrix, on one random pattern."""
    H = synthetic.random_case(seed, spin, n_atoms=n_atoms)
    rng = np.random.default_rng(seed + 1)
    S = synthetic.random_hermitian(rng, H.structure, H.basis, H.pairs, quantity="overlap")
    blocks = synthetic.blocks_of(S)
    for (R, i, j), block in blocks.items():
        blocks[R, i, j] = 0.01 * block
        if R == (0, 0, 0) and i == j:
            blocks[R, i, j] = blocks[R, i, j] + np.eye(block.shape[1])
    S = synthetic.from_blocks(S, blocks)
    return Calculation(H.structure, H.basis, spin, {"H": H, "S": S}, None, electrons)
