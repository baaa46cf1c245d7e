"""What is made is a result: facts, a table, a POSCAR."""

import numpy as np
import pytest

from dock.converters.deeph.poscar import read_poscar
from dock.core.structure import Structure
from dock.errors import OutputError, UsageError
from dock.results import KEYS
from dock.structures import BuiltStructure, commensurate_integers, hexagonal_layer, twisted_bilayer


@pytest.fixture
def made():
    layer = hexagonal_layer("MoS2")
    return twisted_bilayer(layer, layer, commensurate_integers(1), distance=3)


def test_the_face_of_the_result(made, tmp_path):
    assert set(made.json()) <= set(KEYS)
    assert made.json()["n_atoms"] == made.structure.n_atoms == 42
    assert made.json()["strain_top"] == list(made.strain_top) == [0.0, 0.0]
    assert "42 atoms, twist 21.7868°" in made.table()
    assert len(repr(made)) < 250
    assert "strain of the top layer" in made._repr_html_()
    with pytest.raises(UsageError, match="no figure"):
        made.plot(tmp_path / "x.png")


def test_a_poscar_has_each_element_together(made, tmp_path):
    target = tmp_path / "new" / "POSCAR"
    assert made.save(target) == made.files(target) == [target]
    written = read_poscar(target)
    assert written.symbols == ("Mo",) * 14 + ("S",) * 28
    assert sorted(map(tuple, written.positions)) == sorted(map(tuple, made.structure.positions))
    before = target.read_bytes()
    with pytest.raises(OutputError, match="overwrite"):
        made.save(target)
    assert target.read_bytes() == before
    made.save(target, overwrite=True)


def test_a_structure_alone(tmp_path):
    mixed = Structure(np.eye(3) * 9, np.diag([1.0, 2.0, 3.0]), [8, 1, 8])
    built = BuiltStructure(mixed)
    assert built.facts() == {"formula": "O2H", "n_atoms": 3}
    assert read_poscar(built.save(tmp_path / "POSCAR")[0]).symbols == ("O", "O", "H")
