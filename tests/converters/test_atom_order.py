"""What is read beside the user's own input has the atoms in that input's order."""

import json

import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions
from dock.converters.siesta.dm import read_dm

restart = samples.beside(samples.ROOT / "tests/converters/openmx/x", "independent_restart")


@pytest.fixture
def mixed(bundled, tmp_path):
    """A folder that groups the atoms H O H of a structure file, as ``compute-overlap`` does."""
    calc = dock.read(bundled / "siesta" / "h2o").permute_atoms([1, 0, 2])
    assert calc.structure.symbols == ("H", "O", "H")
    strange = calc.replace(provenance=dock.core.calculation.Provenance("dock"))
    dock.write(strange, tmp_path / "grouped")
    assert dock.read(tmp_path / "grouped").structure.symbols == ("H", "H", "O")
    own = json.loads((tmp_path / "grouped" / "info.json").read_text())["dock"]
    assert own["source_order"] == [0, 2, 1]
    return calc, tmp_path / "grouped"


def test_density_matrix_of_siesta(mixed, tmp_path):
    calc, folder = mixed
    answer = samples.cli("convert", folder, "--to", "siesta", "-o", tmp_path / "run")
    assert answer.code == 0, answer
    assert "atoms in the order of the input that it was made of, not grouped: H O H" in answer.err
    again = dock.read(tmp_path / "run")
    assert again.structure.symbols == ("H", "O", "H")
    samples.same_matrices(calc, again, 1e-12)
    rows = read_dm(tmp_path / "run" / "dock.DM").counts
    assert len(rows) == 23  # 5 orbitals of H, 13 of O, 5 of H: rows of O stand in the middle
    density = again.require("DM")
    assert density.block([0, 0, 0], 1, 1).shape == (13, 13)


@pytest.mark.parametrize("target", ["openmx", "aims", "abacus", "pyscf"])
def test_other_codes(mixed, tmp_path, target):
    _, folder = mixed
    only = WriteOptions(quantities=("hamiltonian", "overlap"))
    mesh = {"mesh": "1,1,1"} if target == "pyscf" else {}
    written = dock.write(dock.read(folder), tmp_path / target, target, only, settings=mesh)
    if target == "pyscf":
        symbols = [str(name) for name in np.load(written[0])["atoms"]]
    else:
        symbols = list(dock.read(tmp_path / target).structure.symbols)
    # ABACUS groups by species itself, in the order of the input
    assert symbols == (["H", "H", "O"] if target == "abacus" else ["H", "O", "H"])


def test_restart_files_of_openmx(mixed, tmp_path):
    _, folder = mixed
    options = WriteOptions(
        quantities=("hamiltonian", "overlap"), settings={"grid": "8,8,8", "name": "x"}
    )
    dock.write(dock.read(folder), tmp_path / "run", "openmx-restart", options)
    sizes = [
        restart.read_atom(tmp_path / "run" / "x_rst" / f"x.rst{atom}").n_orbitals
        for atom in (1, 2, 3)
    ]
    assert sizes == [5, 13, 5]


@pytest.mark.shared
def test_the_run_with_interleaved_species(shared, tmp_path):
    """Al N N Al: the density matrix beside the user's fdf is the run's own, number by number."""
    run = shared / "cases/K14-atom-order/il"
    calc = dock.read(run)
    assert calc.structure.symbols == ("Al", "N", "N", "Al")
    dock.write(calc.replace(provenance=dock.core.calculation.Provenance("dock")), tmp_path / "x")
    dock.write(dock.read(tmp_path / "x"), tmp_path / "back", "siesta", settings={"name": "il"})
    own, again = calc.require("DM"), dock.read(tmp_path / "back").require("DM")
    mine, theirs = own.aligned(again)
    assert np.abs(mine.entries - theirs.entries).max() < 1e-12
