"""H of free atoms, electric response, momentum, and the numbers beside the matrices."""

import shutil

import h5py
import numpy as np
import pytest
from samples import cli

from dock.converters import deeph, deeph_legacy, openmx
from dock.converters.deeph.fields import read_fields
from dock.core.check import check_calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import FormatError, LossError

E1 = "cases/K12-deeph-2026/E1_side_files"
EIGHT = (
    *("e0s.json", "electric_response.h5", "force.h5", "hamiltonian0.h5", "hamiltonian_init.h5"),
    *("momentum.h5", "potential_r.h5", "wavefunction_ao.h5"),
)


def same_datasets(first, second):
    with h5py.File(first) as old, h5py.File(second) as new:
        return set(old) == set(new) and all(np.array_equal(old[k], new[k]) for k in old)


@pytest.mark.shared
def test_side_files_are_named_checked_carried_and_compared(shared, tmp_path):
    for command in ("info", "check"):
        answer = cli(command, shared / E1)
        assert answer.code == 0, answer
        assert all(name in answer.out or name[:-3] in answer.out for name in EIGHT)
    assert cli("convert", shared / E1, "--from", "deeph", "-o", tmp_path / "new").code == 0
    for name in EIGHT:
        old, new = shared / E1 / name, tmp_path / "new" / name
        assert (
            same_datasets(old, new) if name.endswith("h5") else old.read_text() == new.read_text()
        )
    answer = cli("diff", shared / E1, tmp_path / "new")
    for name in ("hamiltonian0", "momentum", "force.h5: force", "potential_r.h5: potential"):
        assert f"{name}: max |Δ| 0.000e+00" in answer.out
    assert "eigenvectors" not in answer.out


@pytest.mark.shared
def test_rows_of_stacked_blocks_are_y_z_x(shared):
    """The two files hold the folder's own position matrix, stacked."""
    calc = deeph.read(shared / E1)
    for name in ("electric_response", "momentum"):
        assert np.array_equal(calc.require(name).entries, calc.position.entries)


@pytest.fixture
def calc(bundled, rng):
    """Water with a response on the pairs of H, and a momentum on pairs of its own."""
    run = openmx.read(bundled / "openmx/h2o")
    H = run.hamiltonian
    parts = {"overlap": run.overlap, "hamiltonian": H, "hamiltonian0": None, "momentum": None}
    parts["hamiltonian0"] = AOMatrix(
        "hamiltonian0", run.structure, run.basis, H.pairs, Spin.NONE, 0.9 * H.entries
    )
    for name in ("electric_response", "momentum"):
        pairs = H.pairs
        if name == "momentum":  # one more, without its partner, and one less
            R, i, j = pairs.R.copy(), pairs.i.copy(), pairs.j.copy()
            R[1], i[1], j[1] = (7, 0, 0), 0, 2
            pairs = Pairs(R, i, j, 3)
        size = int(np.sum(run.basis.counts[pairs.i] * run.basis.counts[pairs.j]))
        values = rng.standard_normal((3, size))
        parts[name] = AOMatrix(name, run.structure, run.basis, pairs, Spin.NONE, values)
    return run.replace(matrices=parts)


def test_stacked_to_components_and_back(calc, tmp_path):
    deeph.write(calc, tmp_path / "a")
    again = deeph.read(tmp_path / "a")
    for name in ("electric_response", "momentum", "hamiltonian0"):
        mine, other = calc.require(name), again.require(name)
        assert mine.pairs.is_same(other.pairs)
        assert np.array_equal(mine.entries, other.entries)
    assert again.hamiltonian.pairs.is_same(calc.hamiltonian.pairs)  # not those of the momentum
    with h5py.File(tmp_path / "a" / "momentum.h5") as file:
        rows, cols = file["chunk_shapes"][0]
        block = file["entries"][: rows * cols].reshape(3, rows // 3, cols)
    first = calc.require("momentum").layout
    x, y, z = calc.require("momentum").entries[:, : first.rows[0] * first.cols[0]]
    assert np.array_equal(block.reshape(3, -1), [y, z, x])
    deeph.write(again, tmp_path / "b")
    for file in (tmp_path / "a").glob("*.h5"):
        assert same_datasets(file, tmp_path / "b" / file.name)
    levels = {finding.what: finding.level for finding in check_calculation(calc)}
    assert levels["momentum"] == "ok"


def test_components_that_do_not_stand_one_below_another(calc, tmp_path):
    deeph.write(calc, tmp_path)
    with h5py.File(tmp_path / "momentum.h5", "r+") as file:
        file["chunk_shapes"][...] = file["chunk_shapes"][()][:, ::-1]
    with pytest.raises(FormatError, match=r"from info.json, three components") as caught:
        deeph.read(tmp_path).require("momentum")
    assert "spin" not in str(caught.value)


def test_regrouped_atoms_take_their_response_along(calc, tmp_path):
    order = [1, 0, 2]  # H O H: the folder groups them as H H O
    deeph.write(calc.permute_atoms(order), tmp_path)
    again = deeph.read(tmp_path)
    back = np.argsort([order[atom] for atom in again.provenance.extra["source_order"]]).tolist()
    for name in ("electric_response", "momentum"):
        wanted = calc.require(name)
        moved = again.permute_atoms(back).require(name).on_pairs(wanted.pairs)
        assert np.array_equal(moved.entries, wanted.entries)


def test_letters_and_formats_without_a_place(calc, tmp_path):
    deeph.write(calc, tmp_path / "a")
    words = ("-o", tmp_path / "b", "--from", "deeph", "--matrices", "S,H0,p,dHdE")
    answer = cli("convert", tmp_path / "a", *words)
    assert answer.code == 0, answer
    wanted = {"overlap", "hamiltonian0", "momentum", "electric_response"}
    assert set(deeph.read(tmp_path / "b").available) == wanted
    with pytest.raises(LossError, match="hamiltonian0, momentum, electric_response"):
        deeph_legacy.write(calc, tmp_path / "c")


def test_the_h_of_free_atoms_is_named_as_h(calc, tmp_path):
    deeph.write(calc, tmp_path)
    found = deeph.read(tmp_path / "hamiltonian0.h5")
    assert np.array_equal(found.hamiltonian.entries, calc.require("H0").entries)
    shutil.copy(tmp_path / "hamiltonian0.h5", tmp_path / "hamiltonian.h5")
    with pytest.raises(FormatError, match="holds another matrix"):
        deeph.read(tmp_path).require("H")


@pytest.mark.parametrize("with_free", [True, False])
def test_h_minus_h0_is_recognised(calc, tmp_path, with_free):
    H, free = calc.hamiltonian, calc.require("H0")
    parts = {"overlap": calc.overlap, "hamiltonian": H.with_entries(H.entries - free.entries)}
    parts |= {"hamiltonian0": free} if with_free else {}
    deeph.write(calc.replace(matrices=parts), tmp_path)
    answer = cli("check", tmp_path)
    assert answer.code == 2
    assert ("H + hamiltonian0 has 8.00" if with_free else "It is H − H₀, or") in answer.out
    assert cli("check", tmp_path).out.count("filling") == 1
    assert not [f for f in check_calculation(calc) if f.what == "filling"]


def test_free_atoms_beside_a_split_h(bundled, tmp_path):
    """Its layout is that of hamiltonian.h5, which holds no spin."""
    calc = openmx.read(bundled / "openmx/o2-nc-soc")
    H = calc.hamiltonian
    scalar = np.stack([H.entries[0].real, 0 * H.entries[0].real] * 2)[[0, 1, 3, 2]]
    free = AOMatrix("hamiltonian0", calc.structure, calc.basis, H.pairs, calc.spin, scalar)
    parts = {"overlap": calc.overlap, "hamiltonian": H, "hamiltonian0": free}
    deeph.write(calc.replace(matrices=parts), tmp_path, settings={"layout": "split-hkb"})
    shapes = []
    for name in ("hamiltonian0.h5", "hamiltonian.h5"):
        with h5py.File(tmp_path / name) as file:
            shapes.append(file["chunk_shapes"][()])
    assert np.array_equal(*shapes)
    assert np.array_equal(deeph.read(tmp_path).require("H0").entries, scalar)


def edit(file, name, value):
    with h5py.File(file, "r+") as content:
        del content[name]
        if value is not None:
            content[name] = value


@pytest.mark.parametrize(
    ("name", "dataset", "value", "words"),
    [
        ("force.h5", "force", np.zeros((3, 3)), "2 × 3"),
        ("force.h5", "force", None, "Expected force"),
        ("force.h5", "energy", np.nan, "not finite"),
        ("force.h5", "stress", np.zeros((3, 3)), "Expected 6"),
        ("force.h5", "cell", np.eye(3), "not that of POSCAR"),
        ("potential_r.h5", "shape", [2, 2, 3], "Expected 12. Found 8"),
        ("wavefunction_ao.h5", "eigenvalues", np.zeros((2, 10)), "1 × any"),
    ],
)
def test_numbers_that_do_not_fit_are_errors(bundled, tmp_path, name, dataset, value, words):
    place = tmp_path / "a"
    shutil.copytree(bundled / "deeph/forces", place)
    assert cli("check", place).code == 0
    edit(place / name, dataset, value)
    answer = cli("check", place)
    assert answer.code == 2
    assert words in answer.out
    assert cli("info", place).code == 0


def test_energies_and_forces_are_compared(bundled, tmp_path):
    shutil.copytree(bundled / "deeph/forces", tmp_path / "a")
    edit(tmp_path / "a/force.h5", "energy", -213.0)
    edit(tmp_path / "a/potential_r.h5", "entries", np.arange(8.0))
    answer = cli("diff", bundled / "deeph/forces", tmp_path / "a")
    assert "force.h5: energy: max |Δ| 5.000e-01 eV" in answer.out
    assert "potential_r.h5: potential: max |Δ| 7.000e+00" in answer.out


def test_states_files_of_before_and_of_the_program(bundled, tmp_path):
    words = ("wavefunction", bundled / "openmx/si", "--mesh", 2, 1, 1, "-o")
    assert cli(*words, tmp_path / "wavefunction_ao.h5").code == 0
    sizes = {"n_atoms": 2, "n_orbitals": 10}
    today = read_fields(tmp_path / "wavefunction_ao.h5", sizes)
    assert today["eigenvectors"].shape == (2, 10, 1, 10)
    with h5py.File(tmp_path / "wavefunction_ao.h5", "r+") as file:
        file["el"], file["wfnao"] = file["eigenvalues"][()], file["eigenvectors"][:, :, 0]
        del file["eigenvalues"], file["eigenvectors"]
    before = read_fields(tmp_path / "wavefunction_ao.h5", sizes)
    assert all(np.array_equal(today[name], before[name]) for name in today)


def test_bands_without_a_gap_and_a_partial_spectrum(bundled, tmp_path):
    """As the sparse solver of the DeepH programs writes them."""
    run = bundled / "openmx/si"
    assert cli("bands", run, "--points", 2, "-o", tmp_path / "band.h5").code == 0
    for name in ("band_gap", "is_metal"):
        edit(tmp_path / "band.h5", name, None)
    found = read_fields(tmp_path / "band.h5", {})
    assert "gap" not in found
    assert found["bands"].shape[::-1] == (len(found["k_points"]), 10)
    assert cli("fermi", run, "--mesh", 2, 2, 2, "-o", tmp_path / "fermi_energy.json").code == 0
    assert not read_fields(tmp_path / "eigval.h5", {})["partial_spectrum"]


def test_states_are_checked_a_part_at_a_time(bundled, tmp_path, monkeypatch):
    """They may need gigabytes; one k-point of them is in memory."""
    folder = tmp_path / "x"
    shutil.copytree(bundled / "deeph/forces", folder)
    read = []
    plain = h5py.Dataset.__getitem__

    def watched(self, place, **options):
        if self.name == "/eigenvectors":
            read.append(place)
        return plain(self, place, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    fields = deeph.read(folder).beside.fields()
    assert "wavefunction_ao.h5: eigenvalues" in fields
    assert "wavefunction_ao.h5: eigenvectors" not in fields
    assert read == list(range(len(read)))
    assert read
    with h5py.File(folder / "wavefunction_ao.h5", "r+") as file:
        values = file["eigenvectors"][()]
        values[-1, 0, 0, 0] = np.nan
        file["eigenvectors"][...] = values
    with pytest.raises(FormatError, match="not finite"):
        deeph.read(folder).beside.fields()
