"""Commands about single states: velocities, spin textures."""

import json
import shutil

import h5py
import numpy as np
import pytest
import samples

SOC = samples.ROOT / "fixtures" / "deeph" / "o2_soc"


@pytest.fixture
def place(tmp_path, monkeypatch):
    samples.unified(tmp_path / "si")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_velocities_of_a_prediction(place):
    """What is there of a prediction alone does: no Fermi level, no position."""
    folder = place / "pred"
    folder.mkdir()
    for name in ("POSCAR", "overlap.h5"):
        shutil.copy(place / "si" / name, folder)
    info = json.loads((place / "si" / "info.json").read_text())
    del info["fermi_energy_eV"]
    (folder / "info.json").write_text(json.dumps(info))
    shutil.copy(place / "si" / "hamiltonian.h5", folder / "hamiltonian_pred.h5")
    words = ("velocities", "pred/hamiltonian_pred.h5", "--k", 0.1, 0.2, 0.3, "--json")
    found = samples.cli(*words)
    assert found.code == 0, found.err
    answer = json.loads(found.out)
    same = json.loads(samples.cli("velocities", "si", *words[2:]).out)
    np.testing.assert_allclose(answer["velocities_eV_ang"], same["velocities_eV_ang"], atol=1e-12)
    with h5py.File(folder / "velocities.h5") as file:
        assert file["velocities_eV_ang"].shape == (1, 1, 10, 3)
        assert file.attrs["velocity"].startswith("dE/dk")
        assert file.attrs["hamiltonian_hash"]


def test_a_table_lists_the_states_of_a_few_points(place):
    found = samples.cli("velocities", "si", "--k", 0, 0, 0, "--bands", "2..4")
    assert found.code == 0, found.err
    assert "(0, 0, 0) 3" in found.out
    assert "level of 2" in found.out
    assert "2 states share theirs: the eigenvalues of each component" in found.out
    samples.refused(
        samples.cli("velocities", "si", "--k", 0, 0, 0), "exists already", "--overwrite"
    )


def test_figures_on_a_path_and_on_cartesian_planes(place):
    path = ("velocities", "si", "--path", "LG", "--points", 3, "--plot", "p.png")
    assert samples.cli(*path).code == 0
    assert (place / "p.png").is_file()
    words = ("velocities", "si", "--plane", "x", "y", "--points", 5, "--extent", 0.5)
    found = samples.cli(*words, "--bands", "4", "--plot", "xy.png", "-o", "xy.h5", "--json")
    assert found.code == 0, found.err
    answer = json.loads(found.out)
    assert answer["plane_axes"] == ["x", "y"]
    cell = np.array(answer["kpoints_frac"])
    assert len(cell) == 25
    assert (place / "xy.png").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("velocities", "si", "--plane", 1, 2, "--plot", "a.png"), ("--bands N..M",)),
        (("velocities", "si", "--mesh", 2, 2, 2, "--plot", "a.png"), ("not those of --mesh",)),
        (("velocities", "si", "--plane", 1, "x"), ("two of 1, 2, 3 or two of x, y, z",)),
        (("velocities", "si", "--k", 0, 0, 0, "--bands", "9..12"), ("--bands 9..12",)),
        (("velocities", "si", "--k", 0, 0, 0, "--mesh", 2, 2, 2), ("one of --k, --mesh",)),
        (("spin-texture", "si", "--k", 0, 0, 0), ("spin directions", "spin is 'none'")),
    ],
)
def test_what_is_refused(place, words, said):
    samples.refused(samples.cli(*words), *said)
    assert sorted(path.name for path in place.iterdir()) == ["si"]


def test_spins_of_a_molecule(place):
    words = ("spin-texture", SOC, "--k", 0, 0, 0, "--bands", "9..12", "-o", "s.h5", "--json")
    found = samples.cli(*words)
    assert found.code == 0, found.err
    answer = json.loads(found.out)
    assert np.shape(answer["spin"]) == (1, 1, 4, 3)
