"""Memory of the operations on matrices: a gigabyte must not become five."""

import tracemalloc

import numpy as np
import pytest
from synthetic import bloch, n_entries

from dock.core import blocks as blocks_module
from dock.core.basis import Basis
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure


def large_matrix(megabytes, spin=Spin.NONE):
    """A periodic random matrix of about this size, in random order of pairs."""
    rng = np.random.default_rng(1)
    structure = Structure(30 * np.eye(3), rng.uniform(0, 30, (40, 3)), [6, 8] * 20)
    basis = Basis.from_ls({"C": [0, 0, 1, 1, 2], "O": [0, 1, 1]}, structure.labels)
    width = 16 * 4 if spin is Spin.NONCOLLINEAR else 8 * spin.n_components
    n_pairs = int(megabytes * 1e6 / width / 100)
    R = rng.integers(-9, 10, (n_pairs, 3))
    i, j = rng.integers(0, 40, (2, n_pairs))
    i, j = np.concatenate([i, j]), np.concatenate([j, i])
    triples = np.unique(np.column_stack([np.concatenate([R, -R]), i, j]), axis=0)
    triples = triples[rng.permutation(len(triples))]
    pairs = Pairs(triples[:, :3], triples[:, 3], triples[:, 4], 40)
    shape = (spin.n_components, n_entries(basis, pairs))
    entries = np.empty(shape, dtype=complex if spin is Spin.NONCOLLINEAR else float)
    entries[...] = rng.normal(size=shape[1])
    return AOMatrix("H", structure, basis, pairs, spin, entries)


def peak_above(action):
    """The result and the most memory held at once during the call, above what was there."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    result = action()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return result, peak


OPERATIONS = {
    "adjoint": (lambda matrix: matrix.adjoint(), 2.0),
    "hermitian_part": (lambda matrix: matrix.hermitian_part(), 2.0),
    "hermiticity_error": (lambda matrix: matrix.hermiticity_error(), 1.0),
    "difference": (lambda matrix: matrix - matrix, 2.0),
    "dot": (lambda matrix: matrix.dot(matrix), 1.0),
    "rotate": (lambda matrix: matrix.rotate(np.diag([1.0, -1, -1])), 2.0),
    "drop_small": (lambda matrix: matrix.drop_small(2.0), 2.0),
    "digest": (lambda matrix: matrix.digest(), 0.5),
    "permute_atoms": (lambda matrix: matrix.permute_atoms(np.arange(40)[::-1]), 1.0),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("spin", [Spin.NONE, Spin.NONCOLLINEAR])
def test_memory(name, spin, monkeypatch):
    """At most twice the matrix above it; slices are scaled down with the matrix."""
    monkeypatch.setattr(blocks_module, "_SLICE", 2**14)
    operation, bound = OPERATIONS[name]
    matrix = large_matrix(12, spin)
    matrix.pairs.require_closed()
    _, peak = peak_above(lambda: operation(matrix))
    assert peak <= bound * matrix.entries.nbytes


@pytest.fixture(scope="module", params=[Spin.NONE, Spin.NONCOLLINEAR])
def larger(request):
    matrix = large_matrix(50, request.param)
    # Dozens of slices, one of which takes half of the matrix at the most; a copy would be 1 more.
    assert matrix.entries.nbytes > 95e6
    matrix.pairs.require_closed()
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_memory_of_a_larger_matrix(name, larger):
    operation, bound = OPERATIONS[name]
    _, peak = peak_above(lambda: operation(larger))
    assert peak <= bound * larger.entries.nbytes


def chain(n_atoms, spin):
    """A long sparse chain of atoms, two shells each, with neighbours within three atoms."""
    rng = np.random.default_rng(3)
    structure = Structure(np.diag([2.0 * n_atoms, 9, 9]), np.outer(np.arange(n_atoms), [2.0, 0, 0]),
                          [6] * n_atoms)  # fmt: skip
    basis = Basis.from_ls({"C": [0, 0, 1, 1, 2]}, structure.labels)
    first = np.repeat(np.arange(n_atoms), 7)
    second = first + np.tile(np.arange(-3, 4), n_atoms)
    R = np.zeros((len(first), 3), dtype=int)
    R[:, 0] = second // n_atoms
    order = rng.permutation(len(first))
    pairs = Pairs(R[order], first[order], (second % n_atoms)[order], n_atoms)
    shape = (spin.n_components, n_entries(basis, pairs))
    entries = rng.normal(size=shape)
    if spin is Spin.NONCOLLINEAR:
        entries = entries * (1 + 1j)
    return AOMatrix("H", structure, basis, pairs, spin, entries)


def peak_of_sparse(matrix, k):
    builder = KBuilder(matrix)
    builder.sparse(k)  # compiles the kernels for these types
    fresh = KBuilder(matrix)
    tracemalloc.start()
    found = fresh.sparse(k)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, peak


@pytest.mark.parametrize("spin", [Spin.NONE, Spin.NONCOLLINEAR])
def test_memory_of_the_sparse_sum(spin):
    """Pattern and one O(k): at most twice the matrix above it."""
    matrix = chain(2000 if spin is Spin.NONE else 500, spin)
    assert matrix.entries.nbytes > 15e6
    found, peak = peak_of_sparse(matrix, [0.3, 0, 0])
    assert found.shape[0] == matrix.basis.n_orbitals * (2 if spin is Spin.NONCOLLINEAR else 1)
    assert peak <= 2 * matrix.entries.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("spin", [Spin.NONE, Spin.NONCOLLINEAR])
def test_memory_of_a_larger_sparse_sum(spin):
    matrix = chain(9_000 if spin is Spin.NONE else 1_800, spin)
    assert matrix.entries.nbytes > 80e6
    _, peak = peak_of_sparse(matrix, [0.3, 0, 0])
    assert peak <= 2 * matrix.entries.nbytes


def test_the_sparse_sum_of_a_chain_is_the_dense_one():
    matrix = chain(30, Spin.NONE)
    k = [0.3, 0.1, 0]
    found = KBuilder(matrix).sparse(k, triangle="full")
    np.testing.assert_allclose(found.toarray(), bloch(matrix, k)[0], rtol=0, atol=1e-12)
    upper = KBuilder(matrix).sparse(k).toarray()
    np.testing.assert_allclose(upper, np.triu(bloch(matrix, k)[0]), rtol=0, atol=1e-12)
