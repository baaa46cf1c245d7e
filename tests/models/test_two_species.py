"""Two species of one element, with different shells: two kinds of atoms all the way.

The unified folder holds one basis for each element; the second is written as the custom element
My1, and its label is kept.
"""

from __future__ import annotations

import numpy as np
import pytest
import samples
from datasets import calculation, molecule, small_toml

import dock
from dock.converters import WriteOptions
from dock.models import load

SHELLS = {"C": [0, 1], "C1": [0, 0], "H": [0]}


@pytest.fixture
def data(tmp_path, rng):
    """Eight molecules C, C1, H, C1."""
    for number in range(8):
        structure = molecule(rng, labels=["C", "C", "H", "C"], n_atoms=4)
        structure = structure.relabel(["C", "C1", "H", "C1"])
        calc = calculation(structure, shells=SHELLS, cutoff=9.0)  # one shape, one program
        place = tmp_path / "set" / f"m{number}"
        dock.write(calc, place, options=WriteOptions(allow_lossy=True))
    return tmp_path / "set"


@pytest.mark.parametrize(("backend", "bound"), [("three-centre", 0.2), ("jax", 0.2)])
def test_train_and_infer(data, tmp_path, backend, bound):
    """The second carbon keeps its own shells, label and weights, to the file that is read again."""
    if backend == "jax":
        pytest.importorskip("jax")
    changes = {"model.backend": backend, "model.baseline": "three-centre"}
    toml = small_toml(tmp_path / "t.toml", data, tmp_path / "run", **changes)
    answer = samples.cli("train", str(toml), "--quiet")
    assert answer.code == 0, answer
    answer = samples.cli(
        "infer", str(tmp_path / "run"), str(data / "m0"), "-o", str(tmp_path / "o")
    )
    assert answer.code == 0, answer
    found = dock.read(tmp_path / "o").require("hamiltonian")
    wanted = dock.read(data / "m0").require("hamiltonian")
    assert found.structure.labels == ("C", "C1", "C1", "H")  # POSCAR groups them
    assert found.basis.ls("C1") == (0, 0)
    assert found.basis.species == wanted.basis.species
    found = found.on_pairs(wanted.pairs)
    typical = np.abs(wanted.entries).mean()
    assert np.abs(found.entries - wanted.entries).mean() < bound * typical


def test_the_other_species_is_refused_by_name(data, tmp_path, rng):
    """A structure whose second carbon has the shells of the first was not trained on."""
    changes = {"model.backend": "three-centre"}
    toml = small_toml(tmp_path / "t.toml", data, tmp_path / "run", **changes)
    assert samples.cli("train", str(toml), "--quiet").code == 0
    structure = molecule(rng, labels=["C", "C", "H"], n_atoms=3).relabel(["C", "C1", "H"])
    calc = calculation(structure, shells=SHELLS | {"C1": [0, 1]})
    with pytest.raises(dock.DockError, match="C1"):
        load(tmp_path / "run").predict(structure, calc.require("overlap"))
