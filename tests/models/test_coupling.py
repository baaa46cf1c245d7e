"""Clebsch–Gordan coefficients in dock's real harmonics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dock.core.wigner import rotation_matrix
from dock.errors import UsageError
from dock.models.coupling import clebsch_gordan, shell_product, spin_product

PAIRS = [(l1, l2) for l1 in range(5) for l2 in range(5)]


@pytest.mark.parametrize(("l1", "l2"), PAIRS)
def test_orthogonal_and_covariant(l1, l2):
    turn = Rotation.random(random_state=l1 * 7 + l2).as_matrix()
    both = np.kron(rotation_matrix(turn, l1), rotation_matrix(turn, l2))
    for factor, (parts, matrix) in (
        (both, shell_product(l1, l2)),
        (np.kron(rotation_matrix(turn, 1), both), spin_product(l1, l2)),
    ):
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(len(matrix)), atol=1e-13)
        begin = 0
        for L in parts:
            part = matrix[:, begin : begin + 2 * L + 1]
            begin += 2 * L + 1
            np.testing.assert_allclose(factor @ part, part @ rotation_matrix(turn, L), atol=1e-13)
        assert begin == len(matrix)


def test_large_l_stays_accurate():
    table = clebsch_gordan(6, 7, 8).reshape(-1, 17)
    np.testing.assert_allclose(table.T @ table, np.eye(17), atol=1e-11)


def test_spin_product_counts_its_parts():
    assert spin_product(1, 1)[0] == (1, 0, 1, 2, 1, 2, 3)


def test_triangle_is_required():
    with pytest.raises(UsageError, match="do not couple to L = 4"):
        clebsch_gordan(1, 2, 4)
