"""Planes through reciprocal space."""

import numpy as np
import pytest

from dock.errors import UsageError
from dock.states.kplane import KPlane


@pytest.mark.parametrize("n", [4, 5])
def test_a_closed_plane_has_its_middle_and_no_point_twice(n):
    plane = KPlane.of((3, 1), at=(0.1, 0.2, 0.3), points=n)
    points = plane.points.reshape(n, n, 3)
    np.testing.assert_allclose(points[n // 2, n // 2], (0.1, 0.2, 0.3), atol=1e-15)
    np.testing.assert_allclose(points[..., 1], 0.2)
    assert len({tuple(k) for k in np.mod(points, 1).reshape(-1, 3).round(9)}) == n * n
    assert np.ptp(points[:, 0, 2]) == pytest.approx(1 - 1 / n)  # the first side is along b3


def test_a_part_of_a_plane_has_both_ends():
    plane = KPlane.of((1, 2), points=5, extent=0.2)
    assert plane.points[0].tolist() == [-0.1, -0.1, 0.0]
    assert plane.points[-1].tolist() == [0.1, 0.1, 0.0]
    assert not plane.is_closed


def test_unit_vectors_of_an_oblique_plane():
    reciprocal = np.array([[2.0, 0, 0], [1.0, 3.0, 0], [0, 0, 1.0]])
    first, second = KPlane.of((1, 2)).in_plane(reciprocal)
    assert (first.tolist(), second.tolist()) == ([1, 0, 0], [0, 1, 0])


def test_planes_along_cartesian_axes():
    reciprocal = np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]]) * 1.1
    plane = KPlane.cartesian("zx", reciprocal, at=(0.5, 0, 0), points=3, extent=0.4)
    k = plane.points @ reciprocal - 0.5 * reciprocal[0]
    np.testing.assert_allclose(k[0], (-0.2, 0, -0.2), atol=1e-12)
    np.testing.assert_allclose(k[1], (0, 0, -0.2), atol=1e-12)  # along x, the second side
    np.testing.assert_allclose(plane.in_plane(reciprocal), np.eye(3)[[2, 0]], atol=1e-12)
    assert not plane.is_closed
    assert "along z and x" in plane.describe()
    with pytest.raises(UsageError, match="two of 1, 2, 3 or two of x, y, z"):
        KPlane.cartesian(("x", "1"), reciprocal)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"axes": (1, 1)}, "two different axes"),
        ({"axes": (0, 1)}, "two different axes"),
        ({"axes": (1, 2), "points": 0}, "from 1 to"),
        ({"axes": (1, 2), "extent": 1.5}, "extent"),
        ({"axes": (1, 2), "at": (0, np.nan, 0)}, "three numbers"),
    ],
)
def test_planes_that_are_none(settings, words):
    with pytest.raises(UsageError, match=words):
        KPlane.of(settings.pop("axes"), **settings)
