"""Structures of ASE and pymatgen where ours are taken, and k-points by their labels."""

import numpy as np
import pytest
from ase.build import bulk, graphene, molecule

import dock
from dock.core.basis import Shell
from dock.core.structure import Structure
from dock.errors import LayoutError, UsageError
from dock.grid.cube_xsf import write_cube, write_xsf
from dock.overlap.neighbours import orbital_pairs
from dock.overlap.radial import gaussian_radial
from dock.post import KPath
from dock.structures import perturb, shift_layers, twisted_bilayer
from dock.structures.modify import find_layers


def of_pymatgen(atoms):
    return pytest.importorskip("pymatgen.io.ase").AseAtomsAdaptor.get_structure(atoms)


@pytest.mark.parametrize("make", [lambda atoms: atoms, of_pymatgen], ids=["ase", "pymatgen"])
def test_foreign_structures(make, tmp_path):
    foreign = make(bulk("Si"))
    ours = Structure.from_ase(bulk("Si"))
    assert Structure.accepts(foreign)
    assert Structure.of(foreign).is_close(ours)
    basis = dock.Basis({"Si": (Shell(0, radial=gaussian_radial(0, 0.8)),)}, ours.labels)
    given = dock.compute_overlap(foreign, basis)
    np.testing.assert_array_equal(given.entries, dock.compute_overlap(ours, basis).entries)
    calc = dock.Calculation(foreign, basis, given.spin, {"overlap": given})
    assert isinstance(calc.structure, Structure)
    moved = perturb(foreign, 0.05, seed=1)
    assert moved.is_close(perturb(ours, 0.05, seed=1))
    cutoffs = {"Si": 3.0}
    assert orbital_pairs(foreign, cutoffs).is_same(orbital_pairs(ours, cutoffs))
    values = np.ones((2, 2, 2))
    for write in (write_cube, lambda path, one, grid: write_xsf(path, one, {"x": grid})):
        files = [write(tmp_path / name, one, values) for name, one in (("a", foreign), ("b", ours))]
        assert files[0].read_bytes() == files[1].read_bytes()
        for file in files:
            file.unlink()
    path = KPath.of("GX", foreign, points=5)
    assert path.labels == (("GAMMA", "X"),)


def test_layers_of_ase():
    layer = graphene(vacuum=10.0)
    made = twisted_bilayer(layer, layer, ([[2, 1], [-1, 1]], [[2, 1], [-1, 1]]), distance=3.35)
    assert made.structure.n_atoms == 12
    both = made.structure.to_ase()
    assert find_layers(both).max() == 1
    assert shift_layers(both, [0.5, 0, 0]).n_atoms == 12


def test_what_is_no_structure():
    assert not Structure.accepts([2, 2, 1])
    for wrong in ("POSCAR", np.eye(3), None):
        with pytest.raises(LayoutError, match=r"ASE's Atoms or pymatgen's.*found"):
            Structure.of(wrong)
    with pytest.raises(UsageError, match="O"):
        dock.compute_overlap(molecule("H2O"), dock.Basis.from_ls({"H": [0]}, ["H"]))


def test_molecules_of_ase_and_pymatgen():
    """A cell that nobody gave does not repeat; a molecule without lattice is refused."""
    atoms = molecule("H2O")
    atoms.pbc = True
    assert Structure.of(atoms).pbc == (False, False, False)
    with pytest.raises(LayoutError, match="at least one atom"):
        Structure.of(atoms[:0])
    wrong = pytest.importorskip("pymatgen.core").Molecule(["H"], [[0, 0, 0]])
    assert not Structure.accepts(wrong)
    with pytest.raises(LayoutError, match=r"ASE's Atoms or pymatgen's.*found Molecule"):
        Structure.of(wrong)


def test_a_primitive_cell_of_ase(bundled):
    from dock.post.supercell import supercell_of

    calc = dock.read(bundled / "openmx" / "si")
    double = calc.structure.supercell([2, 1, 1])
    transform, _ = supercell_of(double, calc.structure.to_ase())
    assert transform.tolist() == np.diag([2, 1, 1]).tolist()


@pytest.mark.parametrize(
    ("run", "label", "point"),
    [
        ("openmx/si", "L", [0.5, 0.5, 0.5]),
        ("openmx/si", "Γ", [0, 0, 0]),
        ("siesta/graphene", "K", [2 / 3, 1 / 3, 0]),
    ],
)
def test_matrices_at_labels(bundled, run, label, point):
    H = dock.read(bundled / run).hamiltonian
    levels = np.linalg.eigvalsh(H.k(label))
    np.testing.assert_allclose(levels, np.linalg.eigvalsh(H.k(point)), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("label", "message"),
    [("Q", "does not have. Known labels: GAMMA, X, L"), ("GX", "several k-points"), ("", "empty")],
)
def test_labels_that_are_none(bundled, label, message):
    with pytest.raises(UsageError, match=message):
        dock.read(bundled / "openmx" / "si").hamiltonian.k(label)
