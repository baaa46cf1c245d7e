"""Tall matrices: the same by one thread and by several, and orthonormal to rounding."""

import numpy as np
import pytest

from dock.states.sparse.tall import Tall

N = 9000  # rows: three chunks, the last one shorter


@pytest.fixture(params=[np.float64, np.complex128])
def block(request, rng):
    def make(columns, n=N):
        X = rng.normal(size=(n, columns))
        if request.param is np.complex128:
            X = X + 1j * rng.normal(size=X.shape)
        return np.asfortranarray(X)

    return make


def test_products_are_those_of_whole_matrices(block):
    A, B = block(7), block(4)
    inner = Tall(N, 2).inner(A, B)
    np.testing.assert_allclose(inner, A.conj().T @ B, rtol=1e-12, atol=1e-10)
    expected = B - A @ inner
    Tall(N, 2).subtract(B, A, inner)
    np.testing.assert_allclose(B, expected, rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("n", [5, 4096, 4100, N])
def test_columns_become_orthonormal_and_small_ones_go(block, n):
    W = block(4, n)
    W /= np.linalg.norm(W, axis=0)
    W[:, 2] = W[:, 0] + 1e-13 * W[:, 1]  # nothing of its own
    Q = Tall(n, 2).orthonormal(W, 1e-11)
    assert Q.shape == (n, 3)
    np.testing.assert_allclose(Q.conj().T @ Q, np.eye(3), atol=1e-14)
    np.testing.assert_allclose(Q @ (Q.conj().T @ W), W, atol=1e-12)
    assert Tall(n, 2).orthonormal(W[:, :0], 1e-11).shape == (n, 0)


def test_the_number_of_threads_changes_no_bit(block):
    A, B = block(5), block(3)
    one, three = Tall(N, 1), Tall(N, 3)
    assert np.array_equal(one.inner(A, B), three.inner(A, B))
    assert np.array_equal(one.orthonormal(B, 0.0), three.orthonormal(B, 0.0))
