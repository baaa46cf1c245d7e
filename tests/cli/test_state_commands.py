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
        (("velocities", "si", "--k", 0, 0, 0, "-o", "v.txt"), ("HDF5", "v.h5", "--plot FILE")),
        (("velocities", "si", "--path", "LG", "--window", 5, -4), ("5 … -4 eV is empty",)),
        (("spin-texture", "si", "--path", "LG", "--window", 5, -4), ("5 … -4 eV is empty",)),
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


def test_masses_of_both_edges_and_of_a_k_point(place):
    found = samples.cli("masses", "si", "--mesh", 3, 3, 3, "--json")
    assert found.code == 0, found.err
    hole, electron = (json.loads(line) for line in found.out.splitlines())
    assert (hole["at"], hole["k_name"], electron["at"]) == ("vbm", "Γ", "cbm")
    assert np.array(hole["masses_me"]).max() < 0 < np.array(electron["masses_me"]).min()
    assert (place / "si" / "masses_vbm.h5").is_file()
    assert "another level is" in found.err
    assert "give --tolerance" in found.err
    words = ("--at", -0.5, -0.5, 0, "--band", 1, "-o", "x.h5", "--json")
    point = samples.cli("masses", *words, "si")  # the numbers before the folder
    assert point.code == 0, point.err
    assert json.loads(point.out)["k_name"] == "X"
    same = samples.cli("masses", "si", "--at", "0.5 0.5 0", *words[4:], "--overwrite")
    np.testing.assert_allclose(
        json.loads(same.out)["masses_me"], json.loads(point.out)["masses_me"], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "gamma"), "vbm, cbm or three numbers"),
        (("--at", 0, 0), "vbm, cbm or three numbers"),
        (("--at", 0, 0, 0), "give --band N"),
        (("--plot", "m.png"), "give --at vbm"),
        (("-o", "m.png"), "--plot m.png"),
        (("--s-removal", "orbital"), "masses are those of all orbitals"),
        (("--direction", 0, 0, 0), "not all zero"),
    ],
)
def test_masses_that_are_refused(place, words, said):
    samples.refused(samples.cli("masses", "si", "--mesh", 2, 2, 2, *words), said)
    assert not list((place / "si").glob("masses*"))


def test_fermi_surfaces_in_files_and_figures(place):
    words = ("fermi-surface", "si", "--mesh", 3, 3, 3, "--fermi", -4)
    found = samples.cli(*words, "-o", "si.frmsf")
    assert found.code == 0, found.err
    assert (place / "si.frmsf").read_text().startswith("3 3 3\n1\n3\n")
    figure = samples.cli(*words, "-o", "si.png", "--json")
    assert json.loads(figure.out)["files"] == ["si.h5", "si.json", "si.png"]
    plane = samples.cli("fermi-surface", "si", "--plane", 1, 2, "--points", 5, "--fermi", -4)
    assert plane.code == 0, plane.err
    assert (place / "si" / "fermi_surface.h5").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--mesh", 2, 2, 2), ("no Fermi surface", "Give --fermi E")),
        ((), ("--mesh N1 N2 N3", "--plane A B")),
        (("--plane", 1, 2, "-o", "a.bxsf"), ("a viewer's file is of a mesh",)),
        (("--mesh", 2, 2, 2, "-o", "a.png", "--plot", "b.png"), ("not twice",)),
        (("--mesh", 2, 2, 2, "--plane", 1, 2), ("one of --plane, --mesh",)),
        (("--mesh", 2, 2, 2, "--shift", 0.5, 0, 0, "--fermi", -4), ("surface has Γ",)),
        (("--mesh", 2, 2, 2, "-o", "no/a.bxsf"), ("no folder",)),
    ],
)
def test_surfaces_that_are_refused(place, words, said):
    samples.refused(samples.cli("fermi-surface", "si", *words), *said)
    assert sorted(path.name for path in place.iterdir()) == ["si"]


def test_what_shards_have_done_is_not_done_again(place):
    words = ("velocities", "si", "--mesh", 2, 2, 1)
    for shard in ("0/2", "1/2"):
        assert samples.cli(*words, "--shard", shard).code == 0
    found = samples.cli(*words)
    assert found.code == 0
    assert "solver:" not in found.err  # nothing was left to solve
    assert not list((place / "si").glob(".*kept"))
