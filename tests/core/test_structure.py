"""Structure: validation, supercells, and the way to ASE and pymatgen and back."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from synthetic import orthogonals, random_structure, seeds, structures

from dock.core.structure import Structure, lattice_points, supercell_matrix
from dock.errors import ConventionError, LayoutError

EXACT = 1e-12


@pytest.fixture
def silicon():
    cell = 2.715 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])
    return Structure(cell, [[0, 0, 0], [1.3575, 1.3575, 1.3575]], [14, 14])


def test_facts(silicon):
    assert silicon.n_atoms == 2
    assert silicon.formula == "Si2"
    assert silicon.symbols == silicon.labels == ("Si", "Si")
    assert silicon.volume == pytest.approx(2 * 2.715**3)
    two_pi = 2 * np.pi * np.eye(3)
    np.testing.assert_allclose(silicon.cell @ silicon.reciprocal.T, two_pi, atol=EXACT)
    np.testing.assert_allclose(silicon.fractional, [[0, 0, 0], [0.25, 0.25, 0.25]], atol=EXACT)


def test_formula_keeps_the_order_of_appearance():
    assert Structure(np.eye(3), np.zeros((4, 3)), [16, 42, 16, 0]).formula == "S2MoX"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell": np.eye(2)}, r"cell: expected shape \(3, 3\), found \(2, 2\)"),
        ({"cell": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]}, "the cell has no volume"),
        ({"cell": np.zeros((3, 3))}, "the cell has no volume"),
        ({"positions": [[0, 0]]}, r"positions: expected shape \(n, 3\)"),
        ({"positions": [[0, 0, np.nan]]}, "positions: 1 of 3 values are NaN"),
        ({"positions": [[np.inf, -np.inf, 0]]}, "positions: 2 of 3 values are NaN or infinite"),
        ({"positions": np.zeros((0, 3)), "numbers": []}, "at least one atom"),
        ({"positions": [[0, 0], [0, 0, 0]]}, "positions: expected rows of one length"),
        ({"positions": [["a", "b", "c"]]}, "positions: expected float64 numbers"),
        ({"numbers": [1, 1]}, r"numbers: expected shape \(1\), found \(2,\)"),
        ({"numbers": [1.5]}, "whole numbers"),
        ({"numbers": [2**40]}, "int32 can hold"),
        ({"labels": ("a", "b")}, "labels: expected 1, found 2"),
        ({"pbc": (True, True)}, "pbc: expected three flags"),
    ],
)
def test_errors(change, message):
    good = {"cell": np.eye(3), "positions": [[0, 0, 0]], "numbers": [1]}
    with pytest.raises(LayoutError, match=message):
        Structure(**(good | change))


def test_no_element():
    with pytest.raises(ConventionError, match="200 is no atomic number"):
        Structure(np.eye(3), [[0, 0, 0]], [200])


def test_a_small_cell_is_a_cell():
    assert Structure(1e-3 * np.eye(3), [[0, 0, 0]], [1]).volume == pytest.approx(1e-9)


def test_nobody_changes_it_from_outside(silicon):
    positions = np.zeros((1, 3))
    structure = Structure(np.eye(3), positions, [1])
    positions += 1
    assert not structure.positions.any()
    with pytest.raises(ValueError, match="read-only"):
        structure.positions[0] = 1
    with pytest.raises(AttributeError):
        silicon.cell = np.eye(3)


def test_labels_become_plain_strings(silicon):
    labelled = silicon.relabel(np.array(["Si1", "Si2"]))
    assert labelled.labels == ("Si1", "Si2")
    assert all(type(label) is str for label in labelled.labels)
    assert labelled.symbols == ("Si", "Si")


def test_select(silicon):
    two = silicon.relabel(["a", "b"]).select([1, 0])
    assert two.labels == ("b", "a")
    np.testing.assert_array_equal(two.positions, silicon.positions[::-1])


@pytest.mark.parametrize("atoms", [[2], [-1], [], [0.5], [True, False], ["0"]])
def test_select_refuses_what_is_no_atom(silicon, atoms):
    with pytest.raises(LayoutError, match="atoms must be numbers from 0 to 1"):
        silicon.select(atoms)


@given(structures(), orthogonals(), orthogonals())
def test_rotation_keeps_fractional_positions_and_composes(structure, Q, P):
    turned = structure.rotate(Q)
    np.testing.assert_allclose(turned.fractional, structure.fractional, atol=1e-9)
    assert turned.volume == pytest.approx(structure.volume)
    assert turned.rotate(P).is_close(structure.rotate(P @ Q), 1e-10)


def test_rotation_refuses_what_is_none(silicon):
    with pytest.raises(ConventionError, match="not orthogonal"):
        silicon.rotate(1.01 * np.eye(3))
    with pytest.raises(ConventionError, match=r"shape \(3,\)"):
        silicon.rotate([1, 1, 1])


def test_is_close(silicon):
    assert silicon.is_close(silicon)
    moved = Structure(silicon.cell, silicon.positions + 1e-5, silicon.numbers)
    assert not silicon.is_close(moved)
    assert silicon.is_close(moved, 1e-4)
    assert not silicon.is_close(silicon.select([0]))
    assert not silicon.is_close(Structure(silicon.cell, silicon.positions, [14, 32]))


# ------------------------------------------------------------------------------------ supercells

MATRICES = [
    [1, 1, 1],
    [2, 3, 1],
    [[1, 1, 0], [-1, 1, 0], [0, 0, 2]],
    [[2, 1, 0], [0, 3, -1], [1, 0, 2]],
    [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
    [[-1, 0, 0], [0, -1, 0], [0, 0, 1]],
]


@pytest.mark.parametrize("matrix", MATRICES)
def test_lattice_points(matrix):
    transform = supercell_matrix(matrix)
    points = lattice_points(transform)
    assert len(points) == round(np.linalg.det(transform))
    assert not points[0].any()
    inside = points @ np.linalg.inv(transform)
    assert np.all((inside > -1e-9) & (inside < 1 - 1e-9))
    assert len(np.unique(points, axis=0)) == len(points)


@given(seeds)
def test_lattice_points_of_any_matrix(seed):
    rng = np.random.default_rng(seed)
    transform = rng.integers(-3, 4, (3, 3))
    determinant = round(np.linalg.det(transform))
    if determinant <= 0:
        with pytest.raises(LayoutError, match="no positive determinant"):
            supercell_matrix(transform)
        return
    points = lattice_points(transform)
    assert len(points) == determinant
    # No two of them differ by a vector of the supercell's lattice.
    inside = np.round(points @ np.linalg.inv(transform), 9) % 1
    assert len(np.unique(inside.round(6) % 1, axis=0)) == determinant


@pytest.mark.parametrize(
    "matrix", [[1, 2], [1.5, 1, 1], "abc", np.eye(4), [[1, 0, 0]], [np.nan] * 3]
)
def test_no_supercell(matrix):
    with pytest.raises(LayoutError, match="three integers or a 3×3 integer matrix"):
        supercell_matrix(matrix)


@pytest.mark.parametrize("matrix", MATRICES)
def test_supercell_as_ase_makes_it(matrix, rng):
    from ase.build import make_supercell

    structure = random_structure(rng, 3)
    ours = structure.supercell(matrix)
    theirs = make_supercell(structure.to_ase(), supercell_matrix(matrix))
    np.testing.assert_allclose(ours.cell, np.array(theirs.cell), atol=EXACT)

    def as_set(positions, numbers):
        inside = np.round(positions @ np.linalg.inv(ours.cell), 8) % 1
        rows = np.column_stack([numbers, inside.round(6) % 1])
        return rows[np.lexsort(rows.T)]

    np.testing.assert_allclose(
        as_set(ours.positions, ours.numbers),
        as_set(theirs.get_positions(), theirs.get_atomic_numbers()),
        atol=1e-6,
    )
    np.testing.assert_array_equal(ours.positions[:3], structure.positions)


# ------------------------------------------------------------------------------ ASE and pymatgen


@given(structures(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_ase_round_trip(structure, pbc):
    structure = Structure(structure.cell, structure.positions, structure.numbers, pbc=pbc)
    back = Structure.from_ase(structure.to_ase())
    assert back.is_close(structure, 0)
    assert back.pbc == pbc


def test_ase_molecule_and_slab():
    import ase

    molecule = Structure.from_ase(ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]]))
    np.testing.assert_allclose(molecule.cell, 10.74 * np.eye(3))
    assert molecule.pbc == (False, False, False)
    slab = Structure.from_ase(
        ase.Atoms("C", positions=[[0, 0, 0]], cell=[[2, 0, 0], [0, 3, 0], [0, 0, 0]], pbc=(1, 1, 0))
    )
    np.testing.assert_allclose(slab.cell, np.diag([2, 3, 10.0]))
    assert slab.pbc == (True, True, False)


def test_ase_does_not_know_the_custom_elements():
    assert Structure(np.eye(3), [[0, 0, 0]], [131]).to_ase().get_chemical_symbols() == ["X"]


@given(structures(), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_pymatgen_round_trip(structure, pbc):
    pytest.importorskip("pymatgen.core")
    structure = Structure(structure.cell, structure.positions, structure.numbers, pbc=pbc)
    back = Structure.from_pymatgen(structure.to_pymatgen())
    assert back.is_close(structure, 1e-10)
    assert back.pbc == pbc


def test_pymatgen_errors():
    theirs = pytest.importorskip("pymatgen.core")
    mixed = theirs.Structure(theirs.Lattice.cubic(3), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]])
    with pytest.raises(LayoutError, match="not one element"):
        Structure.from_pymatgen(mixed)
    with pytest.raises(LayoutError, match="no counterpart of the atoms My1, X"):
        Structure(np.eye(3), np.zeros((2, 3)), [0, 131]).to_pymatgen()


def test_species_and_elements():
    iron = Structure(
        np.eye(3) * 9, np.diag([1, 2, 3]), [26, 8, 26], labels=("Fe1", "O", "Fe2"), pbc=(0, 0, 0)
    )
    assert iron.element_of == {"Fe1": "Fe", "O": "O", "Fe2": "Fe"}
    assert iron.number_of == {"Fe1": 26, "O": 8, "Fe2": 26}
    assert iron.element_order == [0, 2, 1]
    assert iron.select(iron.element_order).element_order == [0, 1, 2]
