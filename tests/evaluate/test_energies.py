"""Energies of the elements: fitted, subtracted into a new data set, restored."""

import json

import h5py
import numpy as np
import pytest
from samples import cli, refused, unified

from dock.errors import FormatError, MissingDataError, UsageError
from dock.evaluate.energies import fit_energies, read_energies, shift_energies

E0 = {"Si": -106.75, "O": -430.25, "H": -12.5}


def add_forces(folder, energy, n_atoms):
    with h5py.File(folder / "force.h5", "w") as file:
        file.attrs["natoms"] = n_atoms
        file["force"] = np.full((n_atoms, 3), 0.001)
        file["stress"] = np.zeros(6)
        if energy is not None:
            file["energy"] = energy
            file["energy"].attrs["unit"] = "eV"


@pytest.fixture
def data(tmp_path):
    """Two silicon, two water, one without an energy, one with aimspy's placeholder."""
    wanted = {"si": 2 * E0["Si"], "h2o": E0["O"] + 2 * E0["H"]}
    folder = tmp_path / "set"
    for number, (system, shift) in enumerate((("si", 0.5), ("si", -0.5), ("h2o", 0), ("h2o", 0))):
        unified(folder / str(number), system)
        add_forces(folder / str(number), wanted[system] + shift, 2 if system == "si" else 3)
    for name, energy in (("none", None), ("zero", 0.0)):
        unified(folder / name, "si")
        add_forces(folder / name, energy, 2)
    return folder


def energy_of(folder):
    with h5py.File(folder / "force.h5") as file:
        return file["energy"][()] if "energy" in file else None


def test_fit_subtract_restore(data, tmp_path):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    found = fit_energies(data)
    assert found.e0s["Si"] == pytest.approx(E0["Si"], abs=1e-9)
    assert found.e0s["O"] + 2 * found.e0s["H"] == pytest.approx(E0["O"] + 2 * E0["H"], abs=1e-9)
    assert (found.rank, found.n_structures, found.n_unknown) == (2, 4, 2)
    assert found.residual == pytest.approx(0.25 / np.sqrt(2))
    shift_energies(data, tmp_path / "less", found)
    left = [energy_of(tmp_path / "less" / str(number)) for number in range(4)]
    assert left == pytest.approx([0.5, -0.5, 0, 0], abs=1e-9)
    assert energy_of(tmp_path / "less" / "zero") is energy_of(tmp_path / "less" / "none") is None
    assert json.loads((tmp_path / "less/e0s.json").read_text())["standardized"] is True
    again = read_energies(tmp_path / "less/e0s.json")
    shift_energies(tmp_path / "less", tmp_path / "back", again, restore=True)
    for number in range(4):
        name = str(number)
        assert energy_of(tmp_path / "back" / name) == pytest.approx(
            energy_of(data / name), rel=1e-14
        )
        with h5py.File(tmp_path / "back" / name / "force.h5") as file:
            assert file.attrs["natoms"] == len(file["force"])
            assert file["energy"].attrs["unit"] == "eV"
    assert {path: path.read_bytes() for path in before} == before
    names = {path.relative_to(data) for path in before}
    for copy in ("less", "back"):
        place = tmp_path / copy
        there = {path.relative_to(place) for path in place.rglob("*") if path.is_file()}
        assert names == {path for path in there if str(path) != "e0s.json"}


def test_command(data, tmp_path):
    answer = cli("dataset", "energies", data)
    assert "only sums over them are determined" in answer.out
    refused(cli("dataset", "energies", data), "--overwrite")
    answer = cli("dataset", "energies", data, "--subtract", "-q")
    assert answer.code == 0, answer.err
    less = tmp_path / "set_standardized"
    refused(cli("dataset", "energies", less), "are subtracted")
    refused(cli("dataset", "energies", less, "--subtract", "-o", tmp_path / "x"), "are subtracted")
    refused(cli("dataset", "energies", data, "--restore", "-o", tmp_path / "x"), "not subtracted")
    refused(cli("dataset", "energies", data, "--subtract", "-o", data / "x"), "in the old one")
    (tmp_path / "some.json").write_text(json.dumps({"e0s": {"Si": -1.0}}))
    words = ("--e0s", tmp_path / "some.json", "-o", tmp_path / "x")
    refused(cli("dataset", "energies", data, "--subtract", *words), "no energy of")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"e0s": {"Si": "x"}}', '{"e0s": {}, "standardized": 1}', '{"e0s": {"Si": NaN}}'],
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "e0s.json").write_text(text)
    with pytest.raises(FormatError, match=r"e0s\.json"):
        read_energies(tmp_path / "e0s.json")


def test_damaged_and_absent_energies(data):
    with h5py.File(data / "0" / "force.h5", "r+") as file:
        del file["force"]
        file["force"] = np.zeros((3, 3))
    with pytest.raises(FormatError, match=r"wrong shape or type\. Expected 2 × 3"):
        fit_energies(data)
    for path in data.rglob("force.h5"):
        path.unlink()
    with pytest.raises(MissingDataError, match=r"force\.h5"):
        fit_energies(data)
    with pytest.raises(UsageError, match="cannot lie in"):
        shift_energies(data, data / "below", read_energies_of({"Si": 0.0}))


def read_energies_of(e0s):
    from dock.evaluate.energies import ReferenceEnergies

    return ReferenceEnergies(e0s)


def test_energies_kept_elsewhere_tell_the_state(data, tmp_path):
    """DeepH's own program leaves e0s.json in the working directory."""
    shift_energies(data, tmp_path / "less", fit_energies(data))
    kept = (tmp_path / "less" / "e0s.json").rename(tmp_path / "e0s.json")
    words = ("dataset", "energies", tmp_path / "less", "--e0s", kept)
    answer = cli(*words, "--restore", "-o", tmp_path / "back")
    assert answer.code == 0, answer
    assert energy_of(tmp_path / "back" / "0") == pytest.approx(energy_of(data / "0"), rel=1e-14)
    answer = cli(*words, "--subtract", "-o", tmp_path / "twice")
    assert "say that they are subtracted already" in answer.err
    kept.write_text(kept.read_text().replace("true", "false"))
    refused(cli(*words, "--restore", "-o", tmp_path / "x"), "nothing says")
