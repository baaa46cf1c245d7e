"""Real harmonics against scipy and closed forms; each code's table against its own notes."""

import numpy as np
import pytest

from dock.core.harmonics import (
    CONVENTIONS,
    LMAX,
    Convention,
    convention,
    convention_table,
    real_harmonics,
    reorder,
)
from dock.errors import ConventionError, UsageError

PI = np.pi

# Normalised polynomials on the unit sphere as textbooks list them.
POLYNOMIALS = {
    "s": lambda x, y, z: np.full_like(x, np.sqrt(1 / (4 * PI))),
    "x": lambda x, y, z: np.sqrt(3 / (4 * PI)) * x,
    "y": lambda x, y, z: np.sqrt(3 / (4 * PI)) * y,
    "z": lambda x, y, z: np.sqrt(3 / (4 * PI)) * z,
    "z2": lambda x, y, z: np.sqrt(5 / (16 * PI)) * (3 * z**2 - 1),
    "x2-y2": lambda x, y, z: np.sqrt(15 / (16 * PI)) * (x**2 - y**2),
    "xy": lambda x, y, z: np.sqrt(15 / (4 * PI)) * x * y,
    "xz": lambda x, y, z: np.sqrt(15 / (4 * PI)) * x * z,
    "yz": lambda x, y, z: np.sqrt(15 / (4 * PI)) * y * z,
    "z3": lambda x, y, z: np.sqrt(7 / (16 * PI)) * (5 * z**3 - 3 * z),
    "xz2": lambda x, y, z: np.sqrt(21 / (32 * PI)) * x * (5 * z**2 - 1),
    "yz2": lambda x, y, z: np.sqrt(21 / (32 * PI)) * y * (5 * z**2 - 1),
    "z(x2-y2)": lambda x, y, z: np.sqrt(105 / (16 * PI)) * z * (x**2 - y**2),
    "xyz": lambda x, y, z: np.sqrt(105 / (4 * PI)) * x * y * z,
    "x(x2-3y2)": lambda x, y, z: np.sqrt(35 / (32 * PI)) * (x**3 - 3 * x * y**2),
    "y(3x2-y2)": lambda x, y, z: np.sqrt(35 / (32 * PI)) * (3 * x**2 * y - y**3),
}

# What each code's documentation or measured overlaps say its orbitals are, in its order.
FUNCTIONS = {
    "dock": {
        0: "s",
        1: "y z x",
        2: "xy yz z2 xz x2-y2",
        3: "y(3x2-y2) xyz yz2 z3 xz2 z(x2-y2) x(x2-3y2)",
    },
    "openmx": {
        0: "s",
        1: "x y z",
        2: "z2 x2-y2 xy xz yz",
        3: "z3 xz2 yz2 z(x2-y2) xyz x(x2-3y2) y(3x2-y2)",
    },
    "siesta": {0: "s", 1: "-y z -x", 2: "xy -yz z2 -xz x2-y2"},
    "abacus": {
        0: "s",
        1: "z -x -y",
        2: "z2 -xz -yz x2-y2 xy",
        3: "z3 -xz2 -yz2 z(x2-y2) xyz -x(x2-3y2) -y(3x2-y2)",
    },
    "aims": {
        0: "s",
        1: "y z -x",
        2: "xy yz z2 -xz x2-y2",
        3: "y(3x2-y2) xyz yz2 z3 -xz2 z(x2-y2) -x(x2-3y2)",
    },
    "pyscf": {
        0: "s",
        1: "x y z",
        2: "xy yz z2 xz x2-y2",
        3: "y(3x2-y2) xyz yz2 z3 xz2 z(x2-y2) x(x2-3y2)",
    },
}

# dock[k] = signs[k] * code[source[k]], written out by hand from the description of the formats.
TABLES = {
    ("dock", 2): ([0, 1, 2, 3, 4], "+++++"),
    ("deeph", 3): ([0, 1, 2, 3, 4, 5, 6], "+++++++"),
    ("siesta", 1): ([0, 1, 2], "-+-"),
    ("siesta", 2): ([0, 1, 2, 3, 4], "+-+-+"),
    ("siesta", 3): ([0, 1, 2, 3, 4, 5, 6], "-+-+-+-"),
    ("openmx", 1): ([1, 2, 0], "+++"),
    ("openmx", 2): ([2, 4, 0, 3, 1], "+++++"),
    ("openmx", 3): ([6, 4, 2, 0, 1, 3, 5], "+++++++"),
    ("openmx", 4): ([8, 6, 4, 2, 0, 1, 3, 5, 7], "+++++++++"),
    ("deeph-legacy", 1): ([1, 2, 0], "+++"),
    ("deeph-legacy", 2): ([2, 4, 0, 3, 1], "+++++"),
    ("deeph-legacy", 3): ([6, 4, 2, 0, 1, 3, 5], "+++++++"),
    ("deeph-legacy", 4): ([8, 6, 4, 2, 0, 1, 3, 5, 7], "+++++++++"),
    ("abacus", 1): ([2, 0, 1], "-+-"),
    ("abacus", 2): ([4, 2, 0, 1, 3], "+-+-+"),
    ("abacus", 3): ([6, 4, 2, 0, 1, 3, 5], "-+-+-+-"),
    ("abacus", 4): ([8, 6, 4, 2, 0, 1, 3, 5, 7], "+-+-+-+-+"),
    ("aims", 1): ([0, 1, 2], "++-"),
    ("aims", 2): ([0, 1, 2, 3, 4], "+++-+"),
    ("aims", 3): ([0, 1, 2, 3, 4, 5, 6], "++++-+-"),
    ("aims", 4): ([0, 1, 2, 3, 4, 5, 6, 7, 8], "+++++-+-+"),
    ("pyscf", 1): ([1, 2, 0], "+++"),
    ("pyscf", 2): ([0, 1, 2, 3, 4], "+++++"),
    ("pyscf", 3): ([0, 1, 2, 3, 4, 5, 6], "+++++++"),
    ("pyscf", 4): ([0, 1, 2, 3, 4, 5, 6, 7, 8], "+++++++++"),
}


@pytest.fixture
def points(rng):
    return rng.normal(size=(200, 3))


def evaluate(names, points):
    """Evaluate signed function names, ``-xz z2``, on the directions of `points`."""
    x, y, z = (points / np.linalg.norm(points, axis=1, keepdims=True)).T
    return np.stack(
        [
            -POLYNOMIALS[name[1:]](x, y, z) if name.startswith("-") else POLYNOMIALS[name](x, y, z)
            for name in names
        ],
        axis=1,
    )


@pytest.mark.parametrize("l", range(8))
def test_values_are_those_of_scipy(l, points):
    pytest.importorskip("scipy", minversion="1.15")
    from scipy.special import sph_harm_y

    x, y, z = points.T
    theta, phi = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    expected = np.empty((len(points), 2 * l + 1))
    expected[:, l] = sph_harm_y(l, 0, theta, phi).real
    for m in range(1, l + 1):
        # scipy keeps the Condon-Shortley phase (-1)^m.
        value = (-1) ** m * np.sqrt(2) * sph_harm_y(l, m, theta, phi)
        expected[:, l + m], expected[:, l - m] = value.real, value.imag
    np.testing.assert_allclose(real_harmonics(l, points), expected, rtol=0, atol=1e-13)


def test_orthonormal_over_the_sphere():
    lmax = 8
    nodes, weights = np.polynomial.legendre.leggauss(lmax + 1)
    phi = 2 * PI * np.arange(2 * lmax + 1) / (2 * lmax + 1)
    rho = np.sqrt(1 - nodes**2)[:, None]
    grid = np.stack(
        [
            rho * np.cos(phi),
            rho * np.sin(phi),
            np.broadcast_to(nodes[:, None], (lmax + 1, phi.size)),
        ],
        axis=-1,
    )
    area = (weights * 2 * PI / phi.size)[:, None, None]
    values = np.concatenate([real_harmonics(l, grid) for l in range(lmax + 1)], axis=-1)
    gram = np.einsum("abi,abj->ij", values * area, values)
    np.testing.assert_allclose(gram, np.eye((lmax + 1) ** 2), rtol=0, atol=1e-13)


@pytest.mark.parametrize("l", [20, 60])
def test_the_recurrence_stays_stable(l, points):
    # Addition theorem: the sum over m of Y^2 is (2l+1)/(4 pi) in every direction.
    total = (real_harmonics(l, points) ** 2).sum(axis=1)
    np.testing.assert_allclose(total, (2 * l + 1) / (4 * PI), rtol=1e-12)


@pytest.mark.parametrize("l", range(8))
def test_solid_harmonics_carry_r_to_the_l(l, points):
    r = np.linalg.norm(points, axis=1, keepdims=True)
    np.testing.assert_allclose(
        real_harmonics(l, points, solid=True), r**l * real_harmonics(l, points), rtol=0, atol=1e-9
    )
    at_origin = real_harmonics(l, np.zeros((1, 3)), solid=True)
    np.testing.assert_allclose(at_origin, np.full((1, 2 * l + 1), 0 if l else (4 * PI) ** -0.5))


def test_shapes_and_lengths():
    vectors = np.arange(1.0, 25.0).reshape(2, 4, 3)
    values = real_harmonics(2, vectors)
    assert values.shape == (2, 4, 5)
    np.testing.assert_allclose(values, real_harmonics(2, 1e-8 * vectors), rtol=0, atol=1e-14)
    assert real_harmonics(3, [0, 0, 1]).shape == (7,)
    assert real_harmonics(3, np.empty((0, 3))).shape == (0, 7)
    assert real_harmonics(0, [1, 2, 3]).dtype == np.float64


@pytest.mark.parametrize(
    ("l", "directions", "message"),
    [
        (-1, [1, 0, 0], "l is -1"),
        (1, [1, 0], r"shape \(2,\); expected \(\.\.\., 3\)"),
        (1, 1.0, r"shape \(\)"),
        (0, [[1, 0, 0], [0, 0, 0]], r"directions\[1\] is \[0.0, 0.0, 0.0\].*non-zero length"),
        (1, [0, np.nan, 1], "nan.*finite"),
        (1, [[[np.inf, 0, 1]]], r"directions\[0, 0\].*inf"),
    ],
)
def test_directions_that_are_none(l, directions, message):
    with pytest.raises(UsageError, match=message):
        real_harmonics(l, directions)


def test_solid_harmonics_refuse_what_is_not_finite():
    with pytest.raises(UsageError, match="finite"):
        real_harmonics(1, [np.nan, 0, 0], solid=True)


@pytest.mark.parametrize(("code", "l"), [(c, l) for c, shells in FUNCTIONS.items() for l in shells])
def test_a_codes_functions_become_docks(code, l, points):
    native = evaluate(FUNCTIONS[code][l].split(), points)
    np.testing.assert_allclose(
        reorder([l], source=code).apply_vector(native), real_harmonics(l, points), atol=1e-13
    )
    np.testing.assert_allclose(
        reorder([l], source="dock", target=code).apply_vector(real_harmonics(l, points)),
        native,
        atol=1e-13,
    )


@pytest.mark.parametrize(("code", "l"), TABLES)
def test_tables_are_those_of_the_formats(code, l):
    source, signs = TABLES[code, l]
    change = reorder([l], source=code, target="dock")
    assert change.permutation.tolist() == source
    assert "".join("+" if sign > 0 else "-" for sign in change.signs) == signs


@pytest.mark.parametrize("name", CONVENTIONS)
def test_every_convention_is_complete(name):
    entry = CONVENTIONS[name]
    assert entry.name == name
    assert entry.lmax == LMAX
    assert entry.rule
    for l in range(LMAX + 1):
        assert sorted(m for m, _ in entry.shell(l)) == list(range(-l, l + 1))
    assert {0, 1, 2} <= entry.verified_l <= set(range(LMAX + 1))


def test_labels_read_as_documented():
    assert CONVENTIONS["dock"].labels[2] == ("s2", "s1", "c0", "c1", "c2")
    assert CONVENTIONS["siesta"].labels[1] == ("-s1", "c0", "-c1")
    assert CONVENTIONS["openmx"].labels[2] == ("c0", "c2", "s2", "c1", "s1")
    assert CONVENTIONS["abacus"].labels[3] == ("c0", "-c1", "-s1", "c2", "s2", "-c3", "-s3")
    assert CONVENTIONS["aims"].labels[3] == ("s3", "s2", "s1", "c0", "-c1", "c2", "-c3")
    assert CONVENTIONS["pyscf"].labels[1] == ("c1", "s1", "c0")


def test_unverified_shells_are_recorded_not_refused():
    assert CONVENTIONS["siesta"].unverified([0, 1, 2, 3, 3]) == [3]
    assert CONVENTIONS["pyscf"].unverified([4, 5]) == [5]
    assert CONVENTIONS["dock"].unverified(range(LMAX + 1)) == []
    assert len(reorder([3], source="siesta")) == 7


def test_the_registry_is_read_only():
    with pytest.raises(TypeError):
        CONVENTIONS["dock"] = CONVENTIONS["openmx"]


def test_shell_order_is_kept():
    change = reorder([1, 0, 2], source="openmx")
    assert change.permutation.tolist() == [1, 2, 0, 3, 6, 8, 4, 7, 5]
    assert reorder([], source="openmx").permutation.size == 0


@pytest.mark.parametrize("code", CONVENTIONS)
def test_between_any_two_conventions_through_dock(code):
    ls = [0, 2, 1, 3, 6]
    through = reorder(ls, "siesta", "dock").then(reorder(ls, "dock", code))
    assert through == reorder(ls, "siesta", code)
    assert reorder(ls, code, "siesta") == through.inverse


def test_a_convention_of_ones_own():
    mine = Convention("mine", (("c0",), ("c0", "-s1", "c1")), frozenset({0}), "z, -y, x")
    assert convention(mine) is mine
    change = reorder([1], source=mine)
    assert change.permutation.tolist() == [1, 0, 2]
    assert change.signs.tolist() == [-1, 1, 1]
    with pytest.raises(ConventionError, match="mine has no order for l = 2; expected 0 to 1"):
        reorder([2], source=mine)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((("c0",), ("c1", "s1")), "labels of l = 1"),
        ((("c0",), ("c1", "-c1", "c0")), "labels of l = 1"),
        ((("p",),), "'p' is not understood"),
        ((("+c0",),), "not understood"),
    ],
)
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises(ConventionError, match=message):
        Convention("wrong", labels, frozenset(), "")


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ConventionError, match=r"'OpenMX'.*dock, deeph, openmx"):
        reorder([1], source="OpenMX")
    with pytest.raises(ConventionError, match="l = 7; expected 0 to 6"):
        reorder([7], source="openmx")
    with pytest.raises(ConventionError, match="l = -1"):
        reorder([-1], source="openmx")


def test_the_documentation_table():
    rows = convention_table("siesta")
    assert [row.l for row in rows] == list(range(LMAX + 1))
    assert rows[2] == (
        2,
        "d",
        ("s2", "-s1", "c0", "-c1", "c2"),
        ("xy", "-yz", "z2", "-xz", "x2-y2"),
        (0, 1, 2, 3, 4),
        (1, -1, 1, -1, 1),
        True,
    )
    assert not rows[3].verified
    assert rows[4].functions == rows[4].labels
    assert len(convention_table("openmx", 2)) == 3
    with pytest.raises(ConventionError, match="l = 7"):
        convention_table("openmx", 7)
