"""KBuilder: folded, compiled and sparse sums against a loop over pairs (`synthetic.bloch`)."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import (
    bloch,
    hermitian_matrices,
    k_points,
    pairs_of,
    random_case,
    random_matrix,
    seeds,
    spins,
    triples_of,
)

from dock.core import kspace
from dock.core.kspace import KBuilder, is_time_reversal_invariant
from dock.core.spin import Spin
from dock.errors import LayoutError, UsageError

EXACT = 1e-12
TRIM = [[0, 0, 0], [0.5, 0, 0], [0.5, -0.5, 1.5], [1, 2, -3]]
QUANTITIES = st.sampled_from(["hamiltonian", "overlap", "gradient"])


def compiled(matrix, **options):
    """A builder that does not fold."""
    builder = KBuilder(matrix, **options)
    builder.__dict__["_folded"] = None
    return builder


def stacked(found):
    """Dense arrays (n_channels, n, n) of whatever a builder gives."""
    if isinstance(found, np.ndarray):
        return found if found.ndim == 3 else found[None]
    return np.stack([one.toarray() for one in (found if isinstance(found, list) else [found])])


def close(found, wanted, atol=EXACT):
    np.testing.assert_allclose(stacked(found), wanted, rtol=0, atol=atol)


@given(hermitian_matrices(quantity=QUANTITIES), k_points)
def test_every_way_is_the_naive_sum(matrix, k):
    wanted = bloch(matrix, k)
    close(KBuilder(matrix).dense(k), wanted)
    close(compiled(matrix).dense(k), wanted)
    close(matrix.k(k), wanted)
    close(compiled(matrix).sparse(k, triangle="full"), wanted)
    close(compiled(matrix).sparse(k), np.triu(wanted))
    sign = matrix.facts.parity
    np.testing.assert_allclose(wanted, sign * wanted.conj().swapaxes(1, 2), rtol=0, atol=EXACT)
    in_atoms = bloch(matrix, k, gauge="atom")
    close(KBuilder(matrix).dense(k, gauge="atom"), in_atoms)
    close(KBuilder(matrix).sparse(k, gauge="atom", triangle="full"), in_atoms)


def test_they_are_two_ways():
    """A small matrix is folded, a large one is not; the builder above really goes round it."""
    matrix = random_case(1)
    assert KBuilder(matrix)._folded is not None
    assert compiled(matrix)._folded is None


def test_large_matrices_are_not_folded(monkeypatch):
    monkeypatch.setattr(kspace, "_FOLDED_LIMIT", 100)
    matrix = random_case(1, Spin.NONCOLLINEAR)
    assert KBuilder(matrix)._folded is None
    close(KBuilder(matrix).dense([0.1, 0.2, 0.3]), bloch(matrix, [0.1, 0.2, 0.3]))


@given(seeds, spins, k_points, st.sampled_from([np.float32, np.complex64, np.complex128]))
def test_every_precision(seed, spin, k, dtype):
    if spin is Spin.NONCOLLINEAR and dtype is np.float32:
        dtype = np.complex64
    base = random_case(seed, spin)
    matrix = random_matrix(
        np.random.default_rng(seed), base.structure, base.basis, base.pairs, spin=spin, dtype=dtype
    )
    double = matrix.astype(np.complex128)
    for found in (
        KBuilder(matrix).dense(k),
        compiled(matrix).dense(k),
        compiled(matrix).sparse(k, triangle="full"),
    ):
        # Sums are in double precision whatever the entries are.
        close(found, bloch(double, k))


@given(hermitian_matrices(), k_points, st.sampled_from(["cell", "atom"]))
def test_second_derivative(matrix, k, gauge):
    wanted = bloch(matrix, k, gauge=gauge, derivative=(0, 2))
    close(KBuilder(matrix).dense(k, gauge=gauge, derivative=(0, 2)), wanted, 1e-10)
    close(compiled(matrix).dense(k, gauge=gauge, derivative=(2, 0)), wanted, 1e-10)


@given(hermitian_matrices(), k_points, st.sampled_from(["cell", "atom"]), st.integers(0, 2))
def test_derivative(matrix, k, gauge, axis):
    wanted = bloch(matrix, k, gauge=gauge, derivative=axis)
    close(KBuilder(matrix).dense(k, gauge=gauge, derivative=axis), wanted, 1e-10)
    close(compiled(matrix).dense(k, gauge=gauge, derivative=axis), wanted, 1e-10)
    # The same by finite differences: k in fractional coordinates moves by h a_axis / 2π.
    h = 1e-4
    step = h * matrix.structure.cell[:, axis] / (2 * np.pi)
    difference = bloch(matrix, k + step, gauge=gauge) - bloch(matrix, k - step, gauge=gauge)
    scale = 1 + np.abs(wanted).max()
    np.testing.assert_allclose(difference / (2 * h), wanted, rtol=0, atol=1e-4 * scale)


@given(hermitian_matrices(), k_points)
def test_gradient_is_the_three_derivatives(matrix, k):
    for builder in (KBuilder(matrix), compiled(matrix)):
        wanted = np.stack([builder.dense(k, derivative=axis) for axis in range(3)])
        np.testing.assert_allclose(builder.gradient(k), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize("k", TRIM)
@pytest.mark.parametrize("spin", list(Spin))
def test_real_where_time_reversal_allows(k, spin):
    matrix = random_case(3, spin)
    assert is_time_reversal_invariant(k)
    real = spin is not Spin.NONCOLLINEAR
    for builder in (KBuilder(matrix), compiled(matrix)):
        assert builder.is_real(k) == real
        assert not builder.is_real(k, "atom")
        assert np.isrealobj(builder.dense(k)) == real
        close(builder.dense(k), bloch(matrix, k))
        one = builder.sparse(k)
        assert (one[0] if isinstance(one, list) else one).dtype.kind == ("f" if real else "c")
        close(builder.sparse(k, triangle="full"), bloch(matrix, k))
    assert np.iscomplexobj(KBuilder(matrix).dense([0.1, 0, 0]))
    assert not KBuilder(matrix).is_real([0.1, 0, 0])


@given(k_points)
def test_time_reversal_invariant(k):
    doubled = 2 * np.array(k)
    distance = np.abs(doubled - np.rint(doubled)).max()
    if distance > 1e-12:
        assert not is_time_reversal_invariant(k)
    elif distance == 0:
        assert is_time_reversal_invariant(k)


# ----------------------------------------------------------------------------- spinors, patterns


@given(seeds, k_points, st.sampled_from(["overlap", "gradient", "position"]))
def test_operators_without_spin_are_doubled(seed, k, quantity):
    matrix = random_case(seed, Spin.NONCOLLINEAR, quantity="gradient")
    rng = np.random.default_rng(seed)
    matrix = random_matrix(
        rng, matrix.structure, matrix.basis, matrix.pairs, quantity=quantity,
        spin=Spin.NONCOLLINEAR,
    )  # fmt: skip
    wanted = bloch(matrix, k, spinor=True)  # a k of 1e-14 is taken as Γ: 1e-12 of many pairs
    builder = KBuilder(matrix, spinor=True)
    assert builder.size == 2 * matrix.basis.n_orbitals
    assert builder.n_channels == matrix.facts.n_vector
    close(builder.dense(k), wanted, 1e-11)
    close(compiled(matrix, spinor=True).dense(k), wanted, 1e-11)
    close(builder.sparse(k, triangle="full"), wanted, 1e-11)
    close(builder.sparse(k), np.triu(wanted), 1e-11)
    close(KBuilder(matrix).dense(k), bloch(matrix, k), 1e-11)


def two_patterns(seed, spin):
    """H and S of one calculation on different pairs, and their union."""
    hamiltonian = random_case(seed, spin)
    rng = np.random.default_rng(seed)
    kept = triples_of(hamiltonian.pairs)[::2]
    n = hamiltonian.basis.n_atoms
    kept += [((0, 0, 0), a, a) for a in range(n) if ((0, 0, 0), a, a) not in kept]
    kept += [((7, 0, 0), 0, n - 1)]
    overlap = random_matrix(
        rng, hamiltonian.structure, hamiltonian.basis, pairs_of(kept, n), quantity="overlap",
        spin=spin,
    )  # fmt: skip
    return hamiltonian, overlap, hamiltonian.pairs.union(overlap.pairs)


@given(seeds, spins, k_points, st.sampled_from(["upper", "full"]))
def test_shared_pattern(seed, spin, k, triangle):
    hamiltonian, overlap, union = two_patterns(seed, spin)
    spinor = spin is Spin.NONCOLLINEAR
    H = KBuilder(hamiltonian, pattern=union).sparse(k, triangle=triangle)
    S = KBuilder(overlap, pattern=union, spinor=spinor).sparse(k, triangle=triangle)
    part = np.triu if triangle == "upper" else np.asarray
    close(H, part(bloch(hamiltonian, k)))
    close(S, part(bloch(overlap, k, spinor=spinor)))
    for one in H if isinstance(H, list) else [H]:
        np.testing.assert_array_equal(one.indptr, S.indptr)
        np.testing.assert_array_equal(one.indices, S.indices)
        check_canonical(one)


def check_canonical(matrix):
    """Sorted columns, none twice, as the flags promise without scipy having looked."""
    assert matrix.has_sorted_indices
    assert matrix.has_canonical_format
    for begin, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        assert np.all(np.diff(matrix.indices[begin:end]) > 0)


def test_the_data_of_two_channels_are_two_arrays():
    matrix = random_case(1, Spin.COLLINEAR)
    up, down = KBuilder(matrix).sparse([0, 0, 0.1])
    before = down.toarray()
    up.data[:] = 0
    np.testing.assert_array_equal(down.toarray(), before)


def test_patterns_that_lose_something_are_refused():
    hamiltonian, overlap, union = two_patterns(5, Spin.NONE)
    lost = [key for key in triples_of(union) if (key[1], key[2]) != (0, 1)]
    with pytest.raises(LayoutError, match=r"no place for \(R=.*, i=0, j=1\) of the hamiltonian"):
        KBuilder(hamiltonian, pattern=pairs_of(lost, 3))
    with pytest.raises(LayoutError, match="the pattern has 2 atoms, the matrix 3"):
        KBuilder(overlap, pattern=pairs_of([((0, 0, 0), 0, 1)], 2))


def test_only_some_atoms_have_pairs():
    """Rows without any block stay empty."""
    base = random_case(4)
    index = np.flatnonzero(base.pairs.i != 1)
    matrix = base.take_pairs(index)
    k = [0.1, 0.3, 0.2]
    close(KBuilder(matrix).sparse(k, triangle="full"), bloch(matrix, k))
    close(KBuilder(matrix).sparse(k), np.triu(bloch(matrix, k)))
    none = base.take_pairs(index[:0])
    close(KBuilder(none).dense(k), bloch(none, k))
    close(compiled(none).dense(k), bloch(none, k))
    close(KBuilder(none).sparse(k), bloch(none, k))
    below = base.take_pairs(np.flatnonzero(base.pairs.i > base.pairs.j))
    close(KBuilder(below).sparse(k), 0 * bloch(below, k))


# --------------------------------------------------------------------------------------- errors


def test_errors():
    spinor, collinear = random_case(1, Spin.NONCOLLINEAR), random_case(1, Spin.COLLINEAR)
    with pytest.raises(LayoutError, match="spinors cannot be built without spin"):
        KBuilder(spinor, spinor=False)
    with pytest.raises(LayoutError, match="hamiltonian with collinear spin has no spinors"):
        KBuilder(collinear, spinor=True)
    builder = KBuilder(collinear)
    for k in ([0, 0], [0, 0, np.nan], [[0, 0, 0]], 0.5):
        with pytest.raises(UsageError, match="three finite fractional coordinates"):
            builder.dense(k)
        with pytest.raises(UsageError, match="three finite fractional coordinates"):
            builder.sparse(k)
    with pytest.raises(UsageError, match="a gauge is 'cell' or 'atom', found 'x'"):
        builder.dense([0, 0, 0], gauge="x")
    with pytest.raises(UsageError, match="found 3"):
        builder.dense([0, 0, 0], derivative=3)
    with pytest.raises(UsageError, match="found -1"):
        builder.dense([0, 0, 0], derivative=-1)
    with pytest.raises(UsageError, match="a triangle is 'upper' or 'full', found 'lower'"):
        builder.sparse([0, 0, 0], triangle="lower")
