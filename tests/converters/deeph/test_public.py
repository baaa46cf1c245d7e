"""Public folders written by another program, and that program itself as a witness."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters import WriteOptions

FOLDERS = [
    "public/deeph/MoTe2",
    "public/deeph/Si",
    "public/openmx/MoTe2/reference",
    "public/abacus/MoS2/reference",
    "public/analyze_error/benchmark/dft/138",
]
H5 = ("overlap.h5", "hamiltonian.h5", "density_matrix.h5", "position_matrix.h5")


@pytest.mark.shared
@pytest.mark.parametrize("name", FOLDERS)
def test_read_and_written_again_dataset_by_dataset(shared, tmp_path, name):
    source = shared / name
    calc = dock.read(source)
    dock.write(calc, tmp_path / "x")
    files = [file for file in H5 if (source / file).is_file()]
    assert [file for file in H5 if (tmp_path / "x" / file).is_file()] == files
    assert len(files) >= 2
    for file in files:
        with h5py.File(source / file) as one, h5py.File(tmp_path / "x" / file) as two:
            assert set(one) == set(two)
            for key in one:
                np.testing.assert_array_equal(one[key][()], two[key][()], err_msg=f"{file} {key}")
                assert one[key].dtype == two[key].dtype
                assert one[key].shape == two[key].shape
    ours = json.loads((tmp_path / "x" / "info.json").read_text())
    theirs = json.loads((source / "info.json").read_text())
    for key in theirs:
        if key != "elements_orbital_map":
            assert ours[key] == theirs[key], key
        else:  # the elements stand in the order of POSCAR; what each has is the same
            assert ours[key] == theirs[key]
    again = dock.read(tmp_path / "x")
    np.testing.assert_array_equal(again.structure.cell, calc.structure.cell)
    np.testing.assert_array_equal(again.structure.positions, calc.structure.positions)


@pytest.mark.shared
def test_bands_are_those_of_the_reference(shared, tmp_path):
    source = shared / "public" / "deeph" / "MoTe2"
    target = tmp_path / "band.h5"
    answer = samples.cli("bands", source, "--path", source / "K_PATH", "-o", target)
    assert answer.code == 0, answer
    with h5py.File(source / "reference" / "band.h5") as one, h5py.File(target) as two:
        assert set(one) <= set(two)
        for key in one:
            assert one[key].dtype == two[key].dtype, key
            assert one[key].shape == two[key].shape, key
            if one[key].dtype.kind == "O":
                assert one[key][()].tolist() == two[key][()].tolist()
            else:
                np.testing.assert_allclose(two[key][()], one[key][()], rtol=0, atol=1e-9)


@pytest.mark.shared
def test_data_of_a_network_are_single_precision(shared):
    root = shared / "public" / "analyze_error"
    exact = dock.read(root / "benchmark" / "dft" / "138")
    for name in exact.available:
        assert exact.require(name).entries.dtype == np.float64
    with h5py.File(root / "infer" / "dft" / "138" / "hamiltonian_pred.h5") as file:
        assert file["entries"].dtype.itemsize in (4, 8)


# ---------------------------------------------------------------------------------- the peer


def _tell_versions(python, environment):
    """Print the versions of the DeepH programs in an environment: of those that are installed."""
    code = (
        "import importlib.metadata as m\n"
        "print(*(f'{d.name} {d.version}' for d in m.distributions() if d.name.lower().replace('_',"
        " '-') in ('deepx-dock', 'deepx-client', 'aimspy', 'hpro', 'deeph-dock')), sep=', ')"
    )
    command = [str(python), "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, check=True, text=True, timeout=60
    )
    sys.stderr.write(f"peer: {done.stdout.strip() or 'versions unknown'}\n")


def test_versions_of_the_peer_are_told(capfd):
    _tell_versions(sys.executable, dict(os.environ))
    assert "peer: " in capfd.readouterr().err


@pytest.fixture(scope="module")
def peer():
    """Run the released DeepH-dock: a function from arguments to CPU seconds."""
    named = os.environ.get("DOCK_PEER")
    if named is None and "DOCK_PEER_PYTHON" in os.environ:
        named = str(Path(os.environ["DOCK_PEER_PYTHON"]).parent / "dock")
    if not named or not Path(named).is_file():
        pytest.skip("set DOCK_PEER to the dock executable of DeepH-dock in its own environment")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    _tell_versions(Path(named).parent / "python", kept)

    def run(*arguments):
        import resource

        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [named, *map(str, arguments)],
            env=kept,
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        sys.stderr.write(f"peer {' '.join(map(str, arguments[:3]))}: {seconds:.2f} CPU s\n")
        return seconds

    return run


PATHS = {
    "si": "10 0.5 0.5 0.5 0 0 0 L GAMMA\n10 0 0 0 0.5 0 0.5 GAMMA X\n",
    "o2-nc-soc": "6 0 0 0 0.5 0 0 GAMMA X\n",
    "mos2": "6 0 0 0 0.5 0 0 GAMMA M\n",
}


@pytest.mark.peer
class TestPeer:
    @pytest.mark.parametrize("system", PATHS)
    def test_its_bands_of_our_folder_are_ours(self, peer, tmp_path, system):
        folder = samples.unified(tmp_path / "x", system)
        (folder / "K_PATH").write_text(PATHS[system])
        self.compare(peer, folder, tmp_path)

    @pytest.mark.shared
    def test_its_bands_of_a_public_folder_that_we_wrote_are_ours(self, peer, shared, tmp_path):
        source = shared / "public" / "deeph" / "MoTe2"
        dock.write(dock.read(source), tmp_path / "x")
        shutil.copy(source / "K_PATH", tmp_path / "x")
        self.compare(peer, tmp_path / "x", tmp_path)

    def test_its_bands_of_our_prediction_are_ours(self, peer, tmp_path):
        """Under the name that it knows; the pairs have the order of the overlap's beside them."""
        water = samples.ROOT / "fixtures" / "water"
        (tmp_path / "closed.toml").write_text(
            f'[data]\ninputs_dir = "{water}"\noutputs_dir = "{tmp_path / "run"}"\n'
            '[model]\nbackend = "two-centre"\n'
            f'[process.train.dataloader]\ndataset_split_json = "{water / "split.json"}"\n'
        )
        assert samples.cli("train", tmp_path / "closed.toml", "-q").code == 0
        folder = tmp_path / "new"
        folder.mkdir()
        for name in ("POSCAR", "info.json", "overlap.h5"):
            shutil.copy(water / "055" / name, folder)
        assert samples.cli("infer", tmp_path / "run", folder).code == 0
        (folder / "hamiltonian_pred.h5").rename(folder / "hamiltonian.h5")
        (folder / "K_PATH").write_text("4 0 0 0 0.5 0 0 GAMMA X\n")
        self.compare(peer, folder, tmp_path)

    @staticmethod
    def compare(peer, folder, tmp_path):
        peer("compute", "eigen", "calc-band", folder, "-p", 1)
        ours = tmp_path / "ours.h5"
        answer = samples.cli("bands", folder, "--path", folder / "K_PATH", "-o", ours)
        assert answer.code == 0, answer
        with h5py.File(folder / "band.h5") as one, h5py.File(ours) as two:
            assert set(one) <= set(two)
            # It moves an insulator's Fermi level to the valence band maximum; we keep the code's.
            levels = [
                file["band_data"][()] + file["fermi_energy_before_shift_eV"][()]
                for file in (one, two)
            ]
            np.testing.assert_allclose(levels[1], levels[0], rtol=0, atol=1e-8)
            for key in ("kpoints_distance_list", "hsk_distance_list", "kpoints_frac_list", "rlv"):
                np.testing.assert_allclose(two[key][()], one[key][()], rtol=0, atol=1e-8)
            for key in one:
                assert one[key].shape == two[key].shape, key
                assert one[key].dtype == two[key].dtype, key

    @pytest.mark.parametrize("system", ["si", "h2o", "o2-nc-soc"])
    def test_its_converter_reads_the_scfout_that_we_write(self, peer, tmp_path, system):
        """It takes the original and the rewritten file; we take what it made of both."""
        unified = samples.unified(tmp_path / "unified", system)
        run = samples.run_folder(tmp_path / "runs" / "original", system)
        again = samples.run_folder(tmp_path / "runs" / "rewritten", system)
        (again / f"{system}.scfout").unlink()
        dock.write(dock.read(unified), again, "openmx", WriteOptions())
        for folder in (run, again):  # it wants its own names
            (folder / f"{system}.scfout").rename(folder / "openmx.scfout")
            (folder / f"{system}.out").rename(folder / "openmx.out")
            (folder / f"{system}.dat").rename(folder / "openmx_in.dat")
        peer("convert", "openmx", "to-deeph", tmp_path / "runs", tmp_path / "made", "-p", 1)
        ours = dock.read(unified)
        for name in ("original", "rewritten"):
            theirs = dock.read(tmp_path / "made" / name)
            for quantity in ("S", "H"):
                one, two = ours.require(quantity).aligned(theirs.require(quantity))
                two = two.on_pairs(one.pairs)
                np.testing.assert_allclose(two.entries, one.entries, rtol=0, atol=1e-9)

    def test_its_fermi_level(self, peer, tmp_path):
        """find-fermi needs the key `occupation`, which its own converters do not write."""
        folder = samples.unified(tmp_path / "x", "si")
        peer("compute", "eigen", "find-fermi", folder, "-p", 1)
        level = json.loads((folder / "fermi_energy.json").read_text())["fermi_energy_eV"]
        bands = dock.post.bands(dock.read(folder), path="LGX", points=20)
        assert bands.gap.vbm.energy - 0.05 < level < bands.gap.cbm.energy + 0.05
