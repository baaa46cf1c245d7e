"""AOMatrix: blocks, adjoint and algebra against dictionaries of blocks; memory; refusals."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import (
    adjoint_block,
    bloch,
    blocks_of,
    from_blocks,
    hermitian_blocks,
    hermitian_matrices,
    pairs_of,
    random_case,
    random_matrix,
    seeds,
    spins,
    triples_of,
)

from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import LayoutError

EXACT = 1e-14
QUANTITIES = st.sampled_from(["hamiltonian", "overlap", "density_matrix", "kinetic", "gradient"])
DTYPES = st.sampled_from([None, np.complex64, np.complex128])


@st.composite
def cases(draw):
    """Matrices of every quantity, spin and precision, with no symmetry."""
    seed, spin, quantity = draw(seeds), draw(spins), draw(QUANTITIES)
    base = random_case(seed, spin, quantity=quantity)
    rng = np.random.default_rng(seed)
    dtype = draw(DTYPES)
    return random_matrix(
        rng, base.structure, base.basis, base.pairs, quantity=quantity, spin=spin, dtype=dtype
    )


def assert_blocks(matrix, wanted, atol=EXACT):
    found = blocks_of(matrix)
    assert found.keys() == wanted.keys()
    for key, block in found.items():
        np.testing.assert_allclose(block, wanted[key], rtol=0, atol=atol)


# -------------------------------------------------------------------------------- construction


@given(cases())
def test_block(matrix):
    for (R, i, j), wanted in blocks_of(matrix).items():
        found = matrix.block(R, i, j)
        np.testing.assert_array_equal(found, wanted[0] if len(wanted) == 1 else wanted)
    with pytest.raises(LayoutError, match=r"has no pair \(R=\(9, 0, 0\), i=0, j=0\)"):
        matrix.block([9, 0, 0], 0, 0)


@given(cases())
def test_construction_keeps_the_numbers(matrix):
    again = AOMatrix(
        matrix.facts.letter, matrix.structure, matrix.basis, matrix.pairs, matrix.spin,
        matrix.entries,
    )  # fmt: skip
    assert np.shares_memory(again.entries, matrix.entries)
    assert again.quantity == matrix.quantity
    with pytest.raises(ValueError, match="read-only"):
        again.entries[0, 0] = 1


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [
        ("<f4", "f4"), ("<f8", "f8"), (">f8", "f8"), ("<c8", "c8"), ("<c16", "c16"),
        (">c16", "c16"), ("f2", "f8"), ("i8", "f8"), ("?", "f8"), ("longdouble", "f8"),
        ("clongdouble", "c16"),
    ],
)  # fmt: skip
def test_types_that_every_kernel_can_take(given_type, kept):
    matrix = random_case(1)
    values = np.ones(matrix.entries.shape, dtype=given_type)
    entries = matrix.with_entries(values).entries
    assert entries.dtype == np.dtype(kept)
    assert entries.dtype.isnative
    np.testing.assert_array_equal(entries, 1)


def test_entries_are_rows_in_memory():
    matrix = random_case(1, Spin.COLLINEAR)
    assert matrix.with_entries(np.asfortranarray(matrix.entries)).entries.flags.c_contiguous
    single = random_case(1)
    assert single.with_entries(single.entries[0]).entries.shape == single.entries.shape


def test_construction_errors(rng):
    matrix = random_case(1)
    parts = [matrix.structure, matrix.basis, matrix.pairs]
    other = random_case(1, n_atoms=2)
    with pytest.raises(LayoutError, match="structure has 2 atoms, the basis 3, the pairs 3"):
        AOMatrix("H", other.structure, *parts[1:], Spin.NONE, matrix.entries)
    with pytest.raises(LayoutError, match=r"need entries of shape \(2, \d+\) \(spin collinear\)"):
        AOMatrix("H", *parts, Spin.COLLINEAR, matrix.entries)
    with pytest.raises(LayoutError, match="need entries of shape"):
        AOMatrix("H", *parts, Spin.NONE, matrix.entries[:, 1:])
    with pytest.raises(LayoutError, match=r"need entries of shape \(3, "):
        AOMatrix("position", *parts, Spin.NONCOLLINEAR, matrix.entries)
    with pytest.raises(LayoutError, match="entries must be numbers, found <U1"):
        AOMatrix("H", *parts, Spin.NONE, np.full(matrix.entries.shape, "a"))


def test_astype():
    real, spinor = random_case(1), random_case(1, Spin.NONCOLLINEAR)
    assert real.astype(np.float32).entries.dtype == np.float32
    assert real.astype("c8").is_complex
    assert spinor.astype(np.complex64).entries.dtype == np.complex64
    with pytest.raises(LayoutError, match="complex entries cannot become float64"):
        spinor.astype(float)
    with pytest.raises(LayoutError, match="real entries cannot become int64"):
        real.astype(int)


# -------------------------------------------------------------------------------- Hermiticity


@given(cases())
def test_adjoint(matrix):
    blocks = blocks_of(matrix)
    wanted = {key: adjoint_block(matrix, blocks, key) for key in blocks}
    adjoint = matrix.adjoint()
    assert_blocks(adjoint, wanted, 0)
    assert adjoint.entries.dtype == matrix.entries.dtype
    np.testing.assert_array_equal(adjoint.adjoint().entries, matrix.entries)


@given(cases())
def test_hermitian_part_and_error(matrix):
    part, blocks = matrix.hermitian_part(), blocks_of(matrix)
    tolerance = 1e-6 if matrix.entries.dtype.itemsize < 16 and matrix.is_complex else EXACT
    assert_blocks(part, hermitian_blocks(matrix, blocks), tolerance)
    assert part.entries.dtype == matrix.entries.dtype
    assert part.hermiticity_error() <= tolerance
    sign = matrix.facts.parity
    error = max(
        np.abs(block - sign * adjoint_block(matrix, blocks, key)).max()
        for key, block in blocks.items()
    )
    assert matrix.hermiticity_error() == pytest.approx(error, rel=1e-6)


@given(hermitian_matrices(), st.tuples(*[st.floats(-1, 1)] * 3))
def test_hermitian_in_real_space_is_hermitian_at_every_k(matrix, k):
    assert matrix.hermiticity_error() <= EXACT
    for part in bloch(matrix, k):
        np.testing.assert_allclose(part, part.conj().T, rtol=0, atol=1e-12)
    one = blocks_of(matrix)
    key = triples_of(matrix.pairs)[-1]
    spoiled = {other: block + (other == key) * 0.25j for other, block in one.items()}
    # i/4 on one block: twice that on the diagonal of an on-site block, once off it.
    assert from_blocks(matrix, spoiled).hermiticity_error() >= 0.25 - 1e-12


def test_the_spins_are_exchanged():
    one = Structure(np.eye(3) * 5, [[0, 0, 0]], [1])
    basis = Basis.from_ls({"H": [0]}, ["H"])
    pairs = pairs_of([((0, 0, 0), 0, 0)], 1)
    values = np.array([[1], [2 + 3j], [5 + 7j], [11]])
    adjoint = AOMatrix("H", one, basis, pairs, Spin.NONCOLLINEAR, values).adjoint()
    np.testing.assert_array_equal(adjoint.entries[:, 0], [1, 5 - 7j, 2 - 3j, 11])


def test_nan_is_an_error_of_hermiticity():
    matrix = random_case(2)
    entries = np.array(matrix.entries)
    entries[0, 5] = np.nan
    assert np.isnan(matrix.with_entries(entries).hermiticity_error())


def test_what_has_no_adjoint():
    matrix = random_case(1, quantity="position")
    for operation in ("adjoint", "hermitian_part", "hermiticity_error"):
        with pytest.raises(LayoutError, match="position: its adjoint needs the overlap"):
            getattr(matrix, operation)()
    base = random_case(1)
    R = np.flatnonzero(np.any(base.pairs.R > 0, axis=1))[:1]
    open_one = base.take_pairs(np.setdiff1d(np.arange(len(base.pairs)), R))
    for operation in ("adjoint", "hermitian_part", "hermiticity_error"):
        with pytest.raises(LayoutError, match="has no partner"):
            getattr(open_one, operation)()


# -------------------------------------------------------------------------------------- algebra


def pair_of_matrices(seed, spin, other="overlap"):
    """Two matrices of one calculation with different pairs, both Hermitian."""
    rng = np.random.default_rng(seed)
    mine = random_case(seed, spin)
    triples = triples_of(mine.pairs)
    kept = {key for key in triples if key[1] == key[2] or rng.random() < 0.5}
    kept |= {(tuple(-x for x in R), j, i) for R, i, j in kept}
    R = (3, 0, 0)
    extra = {(R, 0, 1), ((-3, 0, 0), 1, 0)}
    pairs = pairs_of(sorted(kept | extra), mine.basis.n_atoms, rng)
    theirs = random_matrix(rng, mine.structure, mine.basis, pairs, quantity=other, spin=spin)
    return mine, from_blocks(theirs, hermitian_blocks(theirs, blocks_of(theirs)))


@given(seeds, spins)
def test_union(seed, spin):
    hamiltonian, overlap = pair_of_matrices(seed, spin)
    first, second = hamiltonian.aligned(overlap)
    first.assert_same_layout(second)
    assert first.aligned(second)[0] is first
    for before, after in ((hamiltonian, first), (overlap, second)):
        old, new = blocks_of(before), blocks_of(after)
        for key, block in new.items():
            np.testing.assert_array_equal(block, old.get(key, np.zeros_like(block)))
        assert old.keys() <= new.keys()


@given(seeds, spins, st.floats(-2, 2))
def test_h_minus_mu_s(seed, spin, mu):
    hamiltonian, overlap = pair_of_matrices(seed, spin)
    k = [0.1, 0.2, 0.3]
    shifted = hamiltonian - mu * overlap
    spinor = spin is Spin.NONCOLLINEAR
    wanted = bloch(hamiltonian, k) - mu * bloch(overlap, k, spinor=spinor)
    np.testing.assert_allclose(bloch(shifted, k), wanted, atol=1e-12)
    assert shifted.quantity == "hamiltonian"
    np.testing.assert_allclose(bloch(shifted + overlap * mu, k), bloch(hamiltonian, k), atol=1e-12)
    np.testing.assert_array_equal((-hamiltonian).entries, -hamiltonian.entries)
    np.testing.assert_array_equal((hamiltonian + hamiltonian).entries, 2 * hamiltonian.entries)


def test_precision_stays():
    matrix = random_case(1, dtype=np.float32)
    for product in (matrix * 2, np.float64(2) * matrix, matrix * np.float64(2), 2 * matrix):
        assert isinstance(product, AOMatrix)
        assert product.entries.dtype == np.float32
    with pytest.raises(TypeError):
        np.ones(2) * matrix  # and no array of matrices
    assert (matrix - matrix).entries.dtype == np.float32
    double = random_case(1)
    assert (matrix + double).entries.dtype == (double + matrix).entries.dtype == np.float64


def test_algebra_errors():
    spinless, collinear = random_case(1), random_case(1, Spin.COLLINEAR)
    position = random_case(1, quantity="position")
    overlap = random_case(1, quantity="overlap")
    for left, right in (
        (spinless, collinear),
        (collinear, spinless),
        (position, overlap),
        (overlap, collinear),
    ):
        with pytest.raises(LayoutError, match="they cannot be combined"):
            left + right
    with pytest.raises(LayoutError, match="they cannot be combined"):
        position.dot(overlap)
    with pytest.raises(LayoutError, match="they cannot be combined"):
        collinear.dot(spinless)
    with pytest.raises(LayoutError, match="different bases"):
        spinless + random_case(2)
    with pytest.raises(LayoutError, match="pairs of 3 atoms meet pairs of 2 atoms"):
        spinless.dot(random_case(1, n_atoms=2))
    for wrong in (None, 2.0, "H"):
        with pytest.raises(TypeError):
            spinless + wrong
    with pytest.raises(TypeError):
        spinless * spinless
    with pytest.raises(TypeError):
        spinless * 1j


def test_assert_same_layout_says_what_differs():
    matrix = random_case(1)
    with pytest.raises(LayoutError, match="the same pairs in another order"):
        matrix.assert_same_layout(matrix.take_pairs(np.arange(len(matrix.pairs))[::-1]))
    with pytest.raises(LayoutError, match="1 pairs only in the first, such as"):
        matrix.assert_same_layout(matrix.take_pairs(np.arange(len(matrix.pairs) - 1)))


def test_on_pairs_errors():
    matrix = random_case(1)
    fewer = matrix.pairs.take(np.arange(3))
    with pytest.raises(LayoutError, match="pairs only in the first"):
        matrix.on_pairs(fewer)
    with pytest.raises(LayoutError, match="of 3 atoms cannot stand on pairs of 4 atoms"):
        matrix.on_pairs(Pairs(matrix.pairs.R, matrix.pairs.i, matrix.pairs.j, 4))


@given(cases(), seeds)
def test_take_pairs(matrix, seed):
    order = np.random.default_rng(seed).permutation(len(matrix.pairs))
    taken = matrix.take_pairs(order)
    blocks = blocks_of(matrix)
    assert_blocks(taken, blocks, 0)
    assert list(blocks_of(taken)) == [list(blocks)[index] for index in order]
    np.testing.assert_array_equal(taken.on_pairs(matrix.pairs).entries, matrix.entries)
    half = matrix.take_pairs(order[: len(order) // 2])
    assert blocks_of(half).keys() == set(list(blocks_of(taken))[: len(order) // 2])


@given(hermitian_matrices(), st.floats(0, 4))
def test_drop_small(matrix, threshold):
    kept = matrix.drop_small(threshold)
    assert kept.pairs.is_closed
    assert len(kept.pairs.onsite) == matrix.basis.n_atoms
    for key, block in blocks_of(matrix).items():
        onsite = key[0] == (0, 0, 0) and key[1] == key[2]
        here = int(kept.pairs.find(*key)) >= 0
        assert here == (onsite or np.abs(block).max() >= threshold)
    np.testing.assert_array_equal(matrix.drop_small(0).entries, matrix.entries)


def test_drop_small_keeps_a_small_partner_of_a_large_block():
    matrix = random_case(2)
    far = int(np.flatnonzero(np.any(matrix.pairs.R != 0, axis=1))[0])
    begin, end = matrix.layout.starts[far : far + 2]
    entries = np.zeros_like(matrix.entries)
    entries[:, begin:end] = 1
    kept = matrix.with_entries(entries).drop_small(0.5).pairs
    assert len(kept) == matrix.basis.n_atoms + 2
    assert kept.is_closed


# --------------------------------------------------------------------------------------- traces


def mesh(n=5):
    axis = np.arange(n) / n
    return np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3)


@pytest.mark.parametrize("spin", list(Spin))
def test_dot_is_the_trace_over_the_brillouin_zone(spin):
    """With R inside −2 … 2 a mesh of 5³ integrates products exactly: Σ_k Tr ρ(k) O(k) / N_k."""
    density = random_case(11, spin, quantity="density_matrix")
    hamiltonian = random_case(11, spin)
    overlap = random_case(11, spin, quantity="overlap")
    spinor = spin is Spin.NONCOLLINEAR
    number = energy = 0.0
    for k in mesh():
        rho, H, S = bloch(density, k), bloch(hamiltonian, k), bloch(overlap, k, spinor=spinor)
        number += np.einsum("sij,tji->", rho, S).real / 125
        energy += np.einsum("sij,sji->", rho, H).real / 125
    assert density.dot(overlap) == pytest.approx(number, abs=1e-10)
    assert overlap.dot(density) == pytest.approx(number, abs=1e-10)
    assert density.dot(hamiltonian) == pytest.approx(energy, abs=1e-10)


@given(seeds, spins)
def test_dot_on_different_pairs(seed, spin):
    hamiltonian, overlap = pair_of_matrices(seed, spin)
    first, second = hamiltonian.aligned(overlap)
    assert hamiltonian.dot(overlap) == pytest.approx(first.dot(second), abs=1e-12)


def test_dot_of_single_precision_sums_in_double():
    n = 2_000_000
    rng = np.random.default_rng(5)
    structure = Structure(np.eye(3), [[0, 0, 0]], [1])
    basis = Basis.from_ls({"H": [0] * 100}, ["H"])
    R = np.column_stack([np.arange(n // 10_000), *np.zeros((2, n // 10_000), dtype=int)])
    zeros = np.zeros(len(R), dtype=int)
    values = rng.random((1, n)).astype(np.float32)
    matrix = AOMatrix("S", structure, basis, Pairs(R, zeros, zeros, 1), Spin.NONE, values)
    exact = float(np.sum(values.astype(np.longdouble) ** 2))
    assert matrix.dot(matrix) == pytest.approx(exact, rel=1e-13)


def test_spin_channels():
    up_and_down = random_case(5, Spin.COLLINEAR)
    assert up_and_down.n_channels == 2
    for number in (0, 1):
        alone = up_and_down.channel(number)
        assert alone.spin is Spin.NONE
        assert alone.quantity == "hamiltonian"
        assert np.shares_memory(alone.entries, up_and_down.entries)
        np.testing.assert_array_equal(alone.entries, up_and_down.entries[number : number + 1])
    with pytest.raises(LayoutError, match=r"'collinear' has 2 channel\(s\).*no channel 2"):
        up_and_down.channel(2)


@pytest.mark.parametrize(
    ("spin", "quantity"),
    [
        (Spin.NONE, "hamiltonian"),
        (Spin.NONCOLLINEAR, "hamiltonian"),
        (Spin.COLLINEAR, "overlap"),
        (Spin.COLLINEAR, "gradient"),
    ],
)
def test_without_independent_channels_the_first_is_the_matrix_itself(spin, quantity):
    matrix = random_case(5, spin, quantity=quantity)
    assert matrix.n_channels == 1
    assert matrix.channel(0) is matrix
    with pytest.raises(LayoutError, match="no channel 1"):
        matrix.channel(1)
