"""Free labels of species: targets that look for an element by its name get such names."""

import dataclasses

import pytest

import dock
from dock.converters.origin import of_elements, relabelled


@pytest.mark.parametrize("target", ["abacus", "aims"])
@pytest.mark.parametrize("labels", [("Ni_layer", "C"), ("C_bn", "C_bn2")])
def test_labels_become_names_of_elements(bundled, tmp_path, target, labels):
    """``Ni_layer`` for carbon was read again as nickel."""
    calc = dock.read(bundled / "siesta" / "graphene")
    shells = calc.basis.shells["C"]
    structure = calc.structure.relabel(labels)
    basis = dataclasses.replace(
        calc.basis, shells=dict.fromkeys(labels, shells), labels=structure.labels
    )
    matrices = {
        name: lambda name=name: dataclasses.replace(
            calc.require(name), structure=structure, basis=basis
        )
        for name in ("overlap", "hamiltonian")
    }
    free = dataclasses.replace(calc, structure=structure, basis=basis, matrices=matrices)
    dock.write(free, tmp_path / "run", target, allow_lossy=True)
    again = dock.read(tmp_path / "run")
    assert again.structure.symbols == ("C", "C")
    assert set(again.structure.labels) == {"C", "C1"}
    again.hamiltonian.aligned(relabelled(free, of_elements(structure)).hamiltonian)


def test_names_that_say_the_element_stay(bundled):
    structure = dock.read(bundled / "siesta" / "graphene").structure
    assert of_elements(structure.relabel(["C1", "C2"])) == {}
    assert of_elements(structure.relabel(["C_a", "C_b"])) == {"C_a": "C", "C_b": "C1"}
