"""Calculation: matrices are read when asked for, once, and must be what they are called."""

import numpy as np
import pytest
from synthetic import random_case

from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.errors import ConventionError, LayoutError, MissingDataError


class Reader:
    """A function that reads a matrix, and counts how often."""

    def __init__(self, matrix):
        self.matrix, self.calls = matrix, 0

    def __call__(self):
        self.calls += 1
        return self.matrix


def make(spin=Spin.NONE, matrices=None, **options):
    matrix = random_case(6, spin)
    given = {"hamiltonian": matrix} if matrices is None else matrices
    return Calculation(matrix.structure, matrix.basis, spin, given, **options)


def test_lazy():
    reader = Reader(random_case(6))
    calc = make(matrices={"H": reader, "overlap": Reader(random_case(6, quantity="overlap"))},
                fermi_level=-3.0)  # fmt: skip
    assert calc.fermi_level == -3.0
    assert calc.available == ("hamiltonian", "overlap")
    assert reader.calls == 0
    assert calc.hamiltonian is calc.get("H") is calc.require("hamiltonian") is reader.matrix
    assert reader.calls == 1
    calc.release()
    assert calc.hamiltonian is reader.matrix
    assert reader.calls == 2
    assert calc.overlap.quantity == "overlap"
    assert calc.position is None
    assert calc.density_matrix is None


def test_release_keeps_what_was_given():
    calc = make()
    first = calc.hamiltonian
    calc.release()
    assert calc.hamiltonian is first


def test_a_failed_read_is_tried_again():
    def broken():
        raise LayoutError("cut")

    calc = make(matrices={"hamiltonian": broken})
    for _ in range(2):
        with pytest.raises(LayoutError, match="cut"):
            calc.get("hamiltonian")


def test_missing():
    calc = make(source="folder/si")
    assert calc.get("S") is None
    with pytest.raises(MissingDataError) as caught:
        calc.require("S", "Run dock overlap first.")
    text = str(caught.value)
    assert "folder/si: the overlap is missing. Run dock overlap first." in text
    assert "Matrices found: hamiltonian." in text
    with pytest.raises(MissingDataError, match=r"the density matrix is missing\. Matrices found"):
        calc.require("DM")
    with pytest.raises(MissingDataError, match="Matrices found: none"):
        make(matrices={}).require("H")


def test_unknown_quantity():
    with pytest.raises(ConventionError, match="'Q' is no matrix that dock knows"):
        make().get("Q")
    with pytest.raises(ConventionError, match="'fock' is no matrix"):
        make(matrices={"fock": random_case(6)})


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("name", "matrix", "message"),
    [
        ("overlap", random_case(6), "given as overlap is the hamiltonian"),
        ("hamiltonian", random_case(6, n_atoms=2), "has another basis than the calculation"),
        ("hamiltonian", random_case(7), "has another basis than the calculation"),
        ("H", random_case(6, Spin.COLLINEAR), "has spin 'collinear', the calculation 'none'"),
    ],
)
def test_a_matrix_that_does_not_fit(lazy, name, matrix, message):
    with pytest.raises(LayoutError, match=message):
        make(matrices={name: Reader(matrix) if lazy else matrix}).require(name)


def test_structure_and_basis_must_fit():
    matrix = random_case(6)
    with pytest.raises(LayoutError, match="the structure has 2 atoms, the basis 3"):
        Calculation(matrix.structure.select([0, 1]), matrix.basis, Spin.NONE, {})


def test_replace():
    calc = make(fermi_level=1.0, n_electrons=4.0, source="here")
    other = calc.replace(fermi_level=2.0, provenance=Provenance(code="openmx"))
    assert (other.fermi_level, other.n_electrons, other.source) == (2.0, 4.0, "here")
    assert other.provenance.code == "openmx"
    assert other.hamiltonian is calc.hamiltonian
    assert calc.replace(matrices={}).available == ()
    assert calc.replace(n_electrons=0.0).n_electrons == 0.0


def test_permute_atoms():
    reader = Reader(random_case(6))
    calc = make(matrices={"hamiltonian": reader}, fermi_level=1.0)
    turned = calc.permute_atoms([2, 0, 1])
    assert reader.calls == 0
    np.testing.assert_array_equal(turned.structure.positions, calc.structure.positions[[2, 0, 1]])
    assert turned.basis.labels == tuple(calc.basis.labels[a] for a in (2, 0, 1))
    assert turned.fermi_level == 1.0
    wanted = reader.matrix.permute_atoms([2, 0, 1])
    np.testing.assert_array_equal(turned.hamiltonian.pairs.i, wanted.pairs.i)
    np.testing.assert_array_equal(turned.hamiltonian.entries, wanted.entries)


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3]])
def test_no_order(order):
    with pytest.raises(LayoutError, match="each of the atoms 0 to 2 once"):
        make().permute_atoms(order)
