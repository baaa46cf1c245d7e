import subprocess
import sys
import warnings

import ase.spacegroup
import h5py
import numpy as np
import pytest
import spglib
from hypothesis import assume, given, settings, strategies as st

from dock.errors import (
    FormatError,
    LayoutError,
    MissingDataError,
    OutputError,
    SolverError,
    UsageError,
)
from dock.states.kpath import KPath, special_points, text as kpath_text, vacuum_axes
from dock.states.kpath.plane import plane_points

FCC = 2.715 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
SI = (FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14])
GRAPHENE_120 = ([[2.46, 0, 0], [-1.23, 2.46 * np.sqrt(0.75), 0], [0, 0, 20]], [[0, 0, 0.5]], [6])
GRAPHENE_60 = ([[2.46, 0, 0], [1.23, 2.46 * np.sqrt(0.75), 0], [0, 0, 20]], [[0, 0, 0.5]], [6])


def crystal(group, cellpar, basis, symbols="Si"):
    atoms = ase.spacegroup.crystal(
        symbols, basis, spacegroup=group, cellpar=cellpar, primitive_cell=True
    )
    return np.array(atoms.cell), atoms.get_scaled_positions(), atoms.numbers


CRYSTALS = {
    "cF2": SI,
    "cI1": crystal(229, [2.87] * 3 + [90] * 3, [(0, 0, 0)]),
    "cP2": crystal(221, [3.0] * 3 + [90] * 3, [(0, 0, 0)]),
    "hP2": crystal(194, [3.2, 3.2, 5.2, 90, 90, 120], [(1 / 3, 2 / 3, 0.25)]),
    "hR1": crystal(166, [3.0, 3.0, 9.0, 90, 90, 120], [(0, 0, 0.1)]),
    "tP1": crystal(123, [3.0, 3.0, 4.0, 90, 90, 90], [(0, 0, 0)]),
    "tI2": crystal(139, [3.0, 3.0, 4.2, 90, 90, 90], [(0, 0, 0.11)]),
    "oP1": crystal(47, [3.0, 3.7, 4.2, 90, 90, 90], [(0.1, 0.12, 0.13)]),
    "oC1": crystal(65, [3.0, 4.4, 3.9, 90, 90, 90], [(0.1, 0.2, 0.13)]),
    "oI1": crystal(71, [5.0, 4.2, 6.0, 90, 90, 90], [(0.1, 0.21, 0.13)]),
    "mP1": crystal(11, [3.0, 3.7, 5.2, 90, 105, 90], [(0.1, 0.2, 0.13)]),
    "mC1": crystal(12, [5.0, 3.7, 4.2, 90, 110, 90], [(0.1, 0.21, 0.13)]),
    "aP3": crystal(2, [3.0, 3.7, 4.2, 95, 103, 111], [(0.1, 0.2, 0.13)]),
}


def rotations_of(structure):
    cell, positions, numbers = structure
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Set OLD_ERROR_HANDLING", DeprecationWarning)
        return spglib.get_symmetry_dataset((cell, positions, numbers), symprec=1e-3).rotations


def little_group_order(rotations, k):
    images = np.einsum("gji,j->gi", rotations, k) - k
    return int((np.abs(images - np.rint(images)).max(axis=1) < 1e-4).sum())


def cartesian(cell, k):
    return np.linalg.inv(cell) @ k


def same_crystal(structure, seed):
    """The structure in another basis of its lattice, rotated, possibly left-handed, shifted."""
    rng = np.random.default_rng(seed)
    change = np.eye(3)
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        change[i] += rng.integers(-1, 2) * change[j]
    change = change[rng.permutation(3)] * rng.choice([-1, 1], 3)[:, None]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.linalg.det(rotation)
    cell, positions, numbers = structure
    moved = (np.asarray(positions) + rng.random(3)) @ np.linalg.inv(change)
    return change @ np.asarray(cell) @ rotation, moved, numbers


@pytest.mark.parametrize("name", CRYSTALS)
@pytest.mark.parametrize("seed", range(4))
def test_crystal_points_do_not_depend_on_the_cell(name, seed):
    """|k| and the number of symmetries that keep k are those of the untouched crystal."""
    reference = special_points(*CRYSTALS[name], periodic_axes=(0, 1, 2))
    assert reference.lattice == f"{name} lattice"
    given = same_crystal(CRYSTALS[name], seed)
    found = special_points(*given, periodic_axes=(0, 1, 2))
    assert found.path == reference.path
    assert found.points.keys() == reference.points.keys()
    rotations = [rotations_of(CRYSTALS[name]), rotations_of(given)]
    assert len(rotations[0]) == len(rotations[1])
    for label, k in reference.points.items():
        there = found.points[label]
        length = np.linalg.norm(cartesian(CRYSTALS[name][0], k))
        assert np.linalg.norm(cartesian(given[0], there)) == pytest.approx(length, abs=1e-6)
        orders = little_group_order(rotations[0], k), little_group_order(rotations[1], there)
        assert orders[0] == orders[1], label


def test_points_keep_more_symmetry_than_their_neighbours():
    rotations = rotations_of(SI)
    known = special_points(*SI)
    orders = {name: little_group_order(rotations, k) for name, k in known.points.items()}
    assert orders["GAMMA"] == 48
    assert orders["X"] == 16
    assert orders["L"] == 12
    assert orders["W"] == 8
    assert little_group_order(rotations, known.points["L"] + [0.01, 0.02, 0.03]) == 1


@pytest.mark.parametrize("name", ["cF2", "hP2", "mC1", "aP3"])
@pytest.mark.parametrize(
    "multiple", [np.diag([2, 1, 3]), np.array([[1, 1, 0], [-1, 1, 0], [0, 1, 2]])]
)
def test_a_supercell_has_the_points_of_its_primitive_cell(name, multiple):
    cell, positions, numbers = CRYSTALS[name]
    copies = round(np.linalg.det(multiple))
    grid = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3)
    shifts = grid[
        ((inside := grid @ np.linalg.inv(multiple)) > -1e-9).all(1) & (inside < 1 - 1e-9).all(1)
    ]
    assert len(shifts) == copies
    everything = (np.asarray(positions)[:, None] + shifts).reshape(-1, 3) @ np.linalg.inv(multiple)
    big = (multiple @ cell, everything, np.repeat(numbers, copies))
    small = special_points(cell, positions, numbers, periodic_axes=(0, 1, 2))
    found = special_points(*big, periodic_axes=(0, 1, 2))
    assert f"holds {copies} primitive cells" in found.note
    assert "primitive cells" not in small.note
    for label, k in small.points.items():
        length = np.linalg.norm(cartesian(cell, k))
        assert np.linalg.norm(cartesian(big[0], found.points[label])) == pytest.approx(length)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_triclinic_points_lie_in_the_first_zone(seed):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + 3 * np.eye(3) * rng.choice([-1, 1], 3)
    assume(abs(np.linalg.det(cell)) > 10)
    found = special_points(cell, rng.random((3, 3)), [1, 2, 3], periodic_axes=(0, 1, 2))
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    lattice = grid @ np.linalg.inv(cell).T
    for k in found.points.values():
        at = cartesian(cell, k)
        assert np.linalg.norm(at) <= np.linalg.norm(at - lattice, axis=1).min() + 1e-9


def test_the_zone_centre_keeps_the_letter_g():
    known = special_points(*CRYSTALS["tI2"])
    assert "G" not in known.points
    assert ("G_1", "M") in known.path
    path = KPath.from_string("G-G1", *CRYSTALS["tI2"])
    assert path.labels == (("GAMMA", "G_1"),)


def test_edge_cases_become_remarks():
    nearly = crystal(139, [3.0, 3.0, 3.0, 90, 90, 90], [(0, 0, 0.11)])
    assert "Edge case" in special_points(*nearly).note


def test_coinciding_atoms():
    with pytest.raises(SolverError, match="symmetry search failed"):
        special_points(FCC, [[0, 0, 0], [0, 0, 0]], [14, 14])


def distances_to_lattice(cell, k, axes):
    grid = np.zeros((169, 3))
    grid[:, list(axes)] = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 2), -1).reshape(-1, 2)
    plane = np.asarray(cell)[list(axes)]
    points = grid[:, list(axes)] @ np.linalg.pinv(plane).T
    return np.sort(np.linalg.norm(points - cartesian(cell, k), axis=1))


@pytest.mark.parametrize("structure", [GRAPHENE_60, GRAPHENE_120])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_k_of_a_hexagonal_slab_is_a_corner_of_the_zone(structure, order):
    cell, positions, numbers = structure
    cell, positions = np.array(cell)[list(order)], np.array(positions)[:, list(order)]
    known = special_points(cell, positions, numbers)
    axes = known.periodic_axes
    assert order.index(2) not in axes
    assert known.lattice == "hexagonal slab"
    assert known.path == (("GAMMA", "M", "K", "GAMMA"),)
    for label, equidistant, length in (
        ("GAMMA", 1, 0.0),
        ("M", 2, 1 / (2.46 * np.sqrt(3))),
        ("K", 3, 2 / (3 * 2.46)),
        ("K'", 3, 2 / (3 * 2.46)),
    ):
        found = distances_to_lattice(cell, known.points[label], axes)
        np.testing.assert_allclose(found[:equidistant], length, atol=1e-9)
        assert found[equidistant] > length + 1e-3
        assert np.linalg.norm(cartesian(cell, known.points[label])) == pytest.approx(length)
    total = (known.points["K"] + known.points["K'"])[list(axes)]
    np.testing.assert_allclose(total, np.rint(total), atol=1e-12)
    double = 2 * known.points["K"][list(axes)]
    assert np.abs(double - np.rint(double)).max() > 0.1, "K and K' differ"


def test_both_hexagonal_settings_by_number():
    for structure, k in ((GRAPHENE_120, [1 / 3, 1 / 3, 0]), (GRAPHENE_60, [2 / 3, 1 / 3, 0])):
        known = special_points(*structure)
        np.testing.assert_allclose(known.points["K"], k, atol=1e-12)
        np.testing.assert_allclose(known.points["M"], [0.5, 0, 0], atol=1e-12)


PLANES = {
    "square": [[3.0, 0], [0, 3.0]],
    "rectangular": [[3.0, 0], [0, 4.5]],
    "hexagonal": [[3.0, 0], [-1.5, 3 * np.sqrt(0.75)]],
    "centred rectangular": [[2.0, 1.5], [2.0, -1.5]],
    "oblique": [[3.0, 0], [1.0, 4.0]],
}
EQUIDISTANT = {
    "square": {"X": 2, "M": 4},
    "rectangular": {"X": 2, "S": 4, "Y": 2},
    "hexagonal": {"M": 2, "K": 3, "K'": 3},
    "centred rectangular": {"X": 3, "S": 2, "X_1": 3, "Y": 2},
    "oblique": {"X": 2, "Y": 2, "C": 2, "H": 3, "H_1": 3},
}


@pytest.mark.parametrize("lattice", PLANES)
@pytest.mark.parametrize("vacuum", [0, 1, 2])
@pytest.mark.parametrize(
    "change",
    [[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 1], [0, 1]], [[1, 0], [-2, 1]], [[2, 1], [1, 1]]],
)
def test_plane_lattices_in_any_basis(rng, lattice, vacuum, change):
    """Named in any basis; every point is a Bragg point of the zone, consecutive ones adjacent."""
    vectors = np.array(change) @ np.array(PLANES[lattice])
    cell = np.zeros((3, 3))
    axes = [axis for axis in range(3) if axis != vacuum]
    cell[axes, :2] = vectors
    cell[vacuum] = [0.7, -0.4, 25.0]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    known = special_points(cell @ rotation, [[0.2, 0.3, 0.4]], [6])
    assert known.lattice == f"{lattice} slab"
    assert known.periodic_axes == tuple(axes)
    for label, count in EQUIDISTANT[lattice].items():
        found = distances_to_lattice(cell @ rotation, known.points[label], axes)
        length = np.linalg.norm(cartesian(cell @ rotation, known.points[label]))
        np.testing.assert_allclose(found[:count], length, atol=1e-9, err_msg=label)
        assert found[count] > length + 1e-6


@pytest.mark.parametrize("ratio", [0.35, 0.8, 1.3, 2.6])
def test_centred_cells_of_any_shape(ratio):
    """Primitive vectors of a centred rectangle, from long and thin to short and fat."""
    plane = plane_points(np.array([[2.0, ratio, 0], [2.0, -ratio, 0]]))
    assert plane.lattice == "centred rectangular"
    cell = np.array([[2.0, ratio, 0], [2.0, -ratio, 0], [0, 0, 20]])
    for label, count in EQUIDISTANT["centred rectangular"].items():
        found = distances_to_lattice(cell, np.append(plane.points[label], 0.0), (0, 1))
        np.testing.assert_allclose(found[:count], found[0], atol=1e-9, err_msg=label)
        assert found[count] > found[0] + 1e-6


def test_rectangular_x_belongs_to_the_first_vector():
    long_first = special_points(np.diag([6.0, 3.0, 20.0]), [[0, 0, 0], [0.5, 0, 0]], [6, 6])
    np.testing.assert_array_equal(long_first.points["X"], [0.5, 0, 0])


def test_a_tilted_vacuum_axis_does_not_change_lengths():
    straight = KPath.automatic(*GRAPHENE_120)
    cell = np.array(GRAPHENE_120[0])
    cell[2, :2] = [0.8, 0.3]
    tilted = KPath.automatic(cell, *GRAPHENE_120[1:])
    np.testing.assert_allclose(tilted.distances, straight.distances, atol=1e-12)
    assert np.abs(tilted.kpoints_frac[:, 2]).max() > 0


@pytest.mark.parametrize(("axis", "label"), [(0, "X"), (1, "Y"), (2, "Z")])
def test_a_chain(axis, label):
    cell = np.diag([15.0, 16.0, 17.0])
    cell[axis, axis] = 2.5
    path = KPath.automatic(cell, [[0, 0, 0]], [6], points=11)
    assert path.labels == (("GAMMA", label),)
    assert path.n_kpoints == 11
    assert path.distances[-1] == pytest.approx(0.5 / 2.5)
    assert path.kpoints_frac[-1, axis] == 0.5


def test_a_molecule():
    path = KPath.automatic(np.eye(3) * 20, [[0, 0, 0], [0.04, 0, 0]], [8, 1])
    np.testing.assert_array_equal(path.kpoints_frac, [[0, 0, 0]])
    np.testing.assert_array_equal(path.distances, [0.0])
    assert path.ticks == ((0.0, "Γ"),)
    assert KPath.from_string("G", *SI).n_kpoints == 1


def test_the_caller_knows_the_periodic_axes():
    known = special_points(*SI, periodic_axes=[1])
    assert known.periodic_axes == (1,)
    assert special_points(*GRAPHENE_120, periodic_axes=(0, 1, 2)).lattice == "hP2 lattice"
    for wrong in ([3], [0, 0], [-1]):
        with pytest.raises(UsageError, match="Periodic axes"):
            special_points(*SI, periodic_axes=wrong)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([[0.5, 0.5, 0.1], [0.5, 0.5, 0.9]], (2,)),
        ([[0.5, 0.5, -0.3], [0.5, 0.5, 1.3]], (2,)),
        ([[0.5, 0.5, -0.3], [0.5, 0.5, 1.05], [0, 0, 0.38]], ()),
        ([[0, 0, 0], [0, 0, 0.35], [0, 0, 0.68]], ()),
    ],
)
def test_vacuum_is_the_largest_gap(positions, expected):
    cell = np.diag([3.0, 3.0, 20.0])
    assert vacuum_axes(cell, positions) == expected
    sheared = cell + np.array([[0, 0, 0], [0, 0, 0], [40.0, 0, 0]])
    assert vacuum_axes(sheared, positions) == expected


# the dataclass


def test_samples_contain_both_ends_and_jumps_have_no_length():
    path = KPath(
        [3, 2], [[0, 0, 0], [0, 0.5, 0]], [[0.5, 0, 0], [0, 0, 0]], (("G", "U"), ("K", "G")),
        cell=np.diag([2.0, 4.0, 5.0]),
    )  # fmt: skip
    np.testing.assert_allclose(
        path.kpoints_frac, [[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0]]
    )
    np.testing.assert_allclose(path.distances, [0, 0.125, 0.25, 0.25, 0.375])
    np.testing.assert_allclose(path.hsk_distance, [0, 0.25, 0.375])
    assert path.segment.tolist() == [0, 0, 0, 1, 1]
    assert path.ticks == ((0.0, "Γ"), (0.25, "U|K"), (0.375, "Γ"))
    np.testing.assert_allclose(path.reciprocal @ path.cell.T, 2 * np.pi * np.eye(3), atol=1e-14)
    assert path.hsk_vectors.shape == (2, 2, 3)
    for array in (path.n_points, path.starts, path.kpoints_frac, path.distances, path.cell):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n_segments=st.integers(1, 6))
def test_a_file_reads_back_exactly(tmp_path_factory, data, n_segments):
    number = st.floats(-2, 2, allow_nan=False)
    points = st.lists(number, min_size=3, max_size=3)
    label = st.text("ABGKMXΓ_12'", min_size=1, max_size=6)
    rows = [
        (data.draw(st.integers(2, 99)), data.draw(points), data.draw(points))
        for _ in range(n_segments)
    ]
    labels = tuple((data.draw(label), data.draw(label)) for _ in rows)
    path = KPath([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], labels)
    file = tmp_path_factory.mktemp("k") / "K_PATH"
    path.to_file(file)
    again = KPath.from_file(file)
    for name in ("n_points", "starts", "ends", "kpoints_frac"):
        np.testing.assert_array_equal(getattr(again, name), getattr(path, name))
    assert again.labels == labels


def test_lengths_need_a_cell():
    path = KPath([2], [[0, 0, 0]], [[0.5, 0, 0]], (("G", "X"),))
    with pytest.raises(MissingDataError, match="with_cell"):
        _ = path.distances
    assert path.with_cell(np.eye(3) * 2).distances[-1] == 0.25


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_points": [1]}, UsageError, "Segment 1 .G–X. has 1 points"),
        ({"n_points": [2, 2]}, LayoutError, "starts"),
        ({"n_points": [], "starts": np.empty((0, 3)), "ends": np.empty((0, 3)), "labels": ()},
         LayoutError, "at least one"),
        ({"labels": ()}, LayoutError, "pair of labels"),
        ({"labels": (("G", "a b"),)}, UsageError, "contains a space"),
        ({"labels": (("G", ""),)}, UsageError, "empty"),
        ({"starts": [[0, np.nan, 0]]}, LayoutError, "NaN"),
        ({"ends": [[0.5, 0]]}, LayoutError, "ends"),
        ({"cell": np.zeros((3, 3))}, LayoutError, "no volume"),
        ({"cell": np.eye(2)}, LayoutError, "cell"),
    ],
)  # fmt: skip
def test_contradictory_paths(change, error, message):
    fields = {"n_points": [2], "starts": [[0, 0, 0]], "ends": [[0.5, 0, 0]], "labels": [("G", "X")]}
    with pytest.raises(error, match=message):
        KPath(**(fields | change))


# sampling


def test_points_are_for_the_longest_segment_and_density_for_all():
    path = KPath.automatic(*GRAPHENE_120, points=61)
    lengths = np.diff(path.hsk_distance)
    assert path.n_points.max() == 61
    assert path.n_points[np.argmax(lengths)] == 61
    np.testing.assert_allclose((path.n_points - 1) / lengths, 60 / lengths.max(), rtol=0.03)
    dense = KPath.automatic(*GRAPHENE_120, density=200.0)
    np.testing.assert_allclose(dense.n_points - 1, 200 * lengths, atol=0.5)
    assert KPath.automatic(*GRAPHENE_120, density=0.01).n_points.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "sampling",
    [{"points": 1}, {"density": 0.0}, {"density": np.nan}, {"points": 5, "density": 3.0}],
)
def test_samplings_without_meaning(sampling):
    with pytest.raises(UsageError):
        KPath.automatic(*SI, **sampling)


# strings


@pytest.mark.parametrize("text", ["GMKG", "G-M-K-G", "Γ–M–K–Γ", "gamma,m,k,gamma", "G M K G"])
def test_one_path_written_in_many_ways(text):
    path = KPath.from_string(text, *GRAPHENE_120, points=10)
    automatic = KPath.automatic(*GRAPHENE_120, points=10)
    assert path.labels == automatic.labels
    np.testing.assert_array_equal(path.kpoints_frac, automatic.kpoints_frac)


def test_jumps_and_long_labels():
    path = KPath.from_string("L-G-X|U-G", *SI)
    assert path.labels == (("L", "GAMMA"), ("GAMMA", "X"), ("U", "GAMMA"))
    known = ["GAMMA", "H_2", "X_1", "K'", "SIGMA_0"]
    branches = kpath_text.parse_labels("GH2-X_1K'|SIGMA0Γ", known)
    assert branches == [("GAMMA", "H_2", "X_1", "K'"), ("SIGMA_0", "GAMMA")]
    assert KPath.from_string("GMK'", *GRAPHENE_60).labels[-1] == ("M", "K'")


@pytest.mark.parametrize("text", ["GQ", "G-X-3", "G?X", "K7G"])
def test_unknown_labels_list_the_known_ones(text):
    with pytest.raises(
        UsageError, match=r"hexagonal slab does not have. Known labels: GAMMA, M, K"
    ):
        KPath.from_string(text, *GRAPHENE_120)


@pytest.mark.parametrize("text", ["", "|", "GM||KG", "G|M", "  "])
def test_paths_with_nothing_in_them(text):
    with pytest.raises(UsageError, match="k-path"):
        KPath.from_string(text, *GRAPHENE_120)


# files

GOOD = """# a comment
<Band.kpath
 20  0.0 0.0 0.0   0.5 0.0 0.0   g M

 11  0.5 0.0 0.0   0.333333 0.333333 0.0   M K   # trailing
Band.kpath>
"""


def test_comments_blank_lines_and_the_frame_of_openmx(tmp_path):
    (tmp_path / "K_PATH").write_text(GOOD)
    path = KPath.from_file(tmp_path / "K_PATH", cell=np.eye(3))
    assert path.n_points.tolist() == [20, 11]
    assert path.labels == (("g", "M"), ("M", "K"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("20 0 0 0 0.5 0 0", r"line 2.*9 fields, not 7"),
        ("20 0 0 0 0.5 0 0 G M X", r"line 2.*9 fields, not 10"),
        ("20.5 0 0 0 0.5 0 0 G M", r"line 2.*number cannot be read"),
        ("20 0 0 zero 0.5 0 0 G M", r"line 2.*number cannot be read"),
        ("1 0 0 0 0.5 0 0 G M", r"line 2.*too few points"),
        ("0 0 0 0 0 0 0 G G", r"line 2.*too few points"),
        ("20 0 0 nan 0.5 0 0 G M", r"line 2.*not finite"),
    ],
)
def test_broken_lines_are_named(tmp_path, line, message):
    file = tmp_path / "K_PATH"
    file.write_text(f"5 0 0 0 0.5 0 0 G X\n{line}\n")
    with pytest.raises(FormatError, match=message):
        KPath.from_file(file)


def test_files_that_are_no_k_path(tmp_path):
    with pytest.raises(MissingDataError, match="k-path file"):
        KPath.from_file(tmp_path / "absent")
    (tmp_path / "empty").write_text("# nothing\n\n")
    with pytest.raises(FormatError, match="no segment"):
        KPath.from_file(tmp_path / "empty")
    (tmp_path / "binary").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(FormatError, match="not a text file"):
        KPath.from_file(tmp_path / "binary")
    with pytest.raises(OutputError, match="exists"):
        KPath.automatic(*SI).to_file(tmp_path / "empty")
    KPath.automatic(*SI).to_file(tmp_path / "empty", overwrite=True)


@pytest.mark.parametrize(
    "structure",
    [
        (np.eye(2), [[0, 0, 0]], [6]),
        (np.eye(3), [[0, 0]], [6]),
        (np.eye(3), np.empty((0, 3)), []),
        (np.ones((3, 3)), [[0, 0, 0]], [6]),
        (np.eye(3), [[0, 0, np.nan]], [6]),
    ],
)
def test_structures_that_are_none(structure):
    with pytest.raises(LayoutError):
        special_points(*structure)


def test_nothing_heavy_is_imported():
    code = (
        "import sys, dock.states.kpath, dock.states.stream; "
        "print([m for m in ('scipy', 'spglib', 'seekpath', 'threadpoolctl') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.shared
def test_deeph_band_file_has_the_same_samples(shared):
    """K_PATH and band.h5 of monolayer MoTe2, both written by DeepH's own tool."""
    folder = shared / "public" / "deeph" / "MoTe2"
    with h5py.File(folder / "reference" / "band.h5") as file:
        cell = 2 * np.pi * np.linalg.inv(file["rlv"][...]).T
        path = KPath.from_file(folder / "K_PATH", cell)
        np.testing.assert_allclose(path.kpoints_frac, file["kpoints_frac_list"], atol=1e-9)
        np.testing.assert_allclose(path.distances, file["kpoints_distance_list"], atol=1e-9)
        np.testing.assert_allclose(path.hsk_distance, file["hsk_distance_list"], atol=1e-9)
        np.testing.assert_allclose(path.hsk_vectors, file["hsk_vector_list"], atol=1e-9)
        np.testing.assert_array_equal(path.n_points, file["k_path_density_list"])
        automatic = KPath.automatic(cell, [[0, 0, 0]], [42], periodic_axes=(0, 1))
        np.testing.assert_allclose(automatic.hsk_distance, file["hsk_distance_list"], atol=1e-9)
        np.testing.assert_allclose(automatic.hsk_vectors, file["hsk_vector_list"], atol=1e-9)
