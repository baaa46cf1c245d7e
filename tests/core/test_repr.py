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


def test_a_notebook_is_shown_what_is_there(bundled):
    calc = dock.read(bundled / "openmx" / "si")
    page = calc._repr_html_()
    assert not calc._loaded
    for text in ("Si2", "10 orbitals: Si 2s1p", "OpenMX 3.9", "si.scfout (414 kB)", "-1.9301 eV"):
        assert text in page
    assert page.count("not read yet") == 5
    assert "lambda" not in page
    assert "OpenMX 3.9" in repr(calc)
    size = "1 × 4350 entries, float64, 34.8 kB"
    assert size in calc.hamiltonian._repr_html_()
    assert size in calc._repr_html_()
    assert "63 lattice vectors" in calc.hamiltonian._repr_html_()
    assert "5 orbitals" in calc.basis._repr_html_()
    assert "40.026 Å³" in calc.structure._repr_html_()
    many = calc.structure.supercell([3, 3, 1])._repr_html_()
    assert many.count("<td") < 20
    assert "and 6 more" in many
    assert "files" not in dock.Calculation(
        calc.structure, calc.basis, calc.spin, {}
    )._repr_html_().replace("the files", "")
