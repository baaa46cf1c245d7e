"""What is printed of objects: a line, whatever their size, and nothing is read for it."""

import pytest

import dock


@pytest.mark.parametrize("run", ["openmx/si", "siesta/h2o", "siesta/graphene"])
def test_objects_are_printed_as_a_line(bundled, run):
    calc = dock.read(bundled / run)
    text = repr(calc)
    assert not calc._loaded
    parts = (calc.structure, calc.basis, calc.hamiltonian, calc.hamiltonian.pairs, calc.provenance)
    for line in (text, str(calc), *map(repr, parts)):
        assert "\n" not in line
        assert len(line) < 300
    assert calc.structure.formula in text
    assert f"{calc.n_electrons:g}" in text
    assert "hamiltonian" in text
    assert str(len(calc.hamiltonian.pairs)) in repr(calc.hamiltonian)


def test_a_basis_of_many_species(bundled):
    from dock.core.basis import Basis

    names = [f"X{number}" for number in range(50)]
    basis = Basis.from_ls(dict.fromkeys(names, (0, 1)), names)
    assert len(repr(basis)) < 120
