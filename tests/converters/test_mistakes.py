"""``dock check`` finds what people do wrong with folders of matrices, on real runs.

`benchmarks/mistakes.py` prints the whole table; here each kind is found once, by the right check.
"""

import json
import shutil
import tarfile

import h5py
import numpy as np
import pytest
import samples

import dock
from dock.converters import resolve
from dock.converters.inspection import findings_of
from dock.core.calculation import Calculation
from dock.core.check import check_calculation
from dock.core.spin import Spin
from dock.errors import LayoutError
from dock.post import bands
from dock.states import filling_check
from dock.states.filling_check import check_filling


def errors(path, **options):
    """What found an error in a folder, and the messages."""
    entry, main = resolve(path)
    found = findings_of(entry, main, **options)
    return {finding.what: finding.message for finding in found if finding.level == "error"}


def spoiled(run, folder, change):
    calc = dock.read(run)
    dock.write(calc.replace(matrices={"S": calc.require("S"), "H": change(calc)}), folder)
    return folder


RUNS = ["abacus/graphene", "openmx/mos2", "siesta/o2", "openmx/o2-nc-soc"]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize(
    ("factor", "shift", "what", "text"),
    [
        (0.0, 0.0, "hamiltonian", "is zero throughout"),
        (-1.0, 0.0, "filling", "wrong sign or unit"),
        (1 / 27.2114, 0.0, "filling", ""),
        (1.0, 20.0, "filling", "The electrons fill its levels up to about 1"),
    ],
)
def test_another_hamiltonian(bundled, tmp_path, run, factor, shift, what, text):
    folder = spoiled(
        bundled / run, tmp_path, lambda calc: calc.require("H") * factor + calc.require("S") * shift
    )
    found = errors(folder)
    assert list(found) == [what]
    assert text in found[what]


def test_a_hamiltonian_of_zeros_is_not_diagonalised(bundled):
    si = dock.read(bundled / "openmx" / "si")
    zero = si.replace(matrices={"H": 0.0 * si.require("H"), "S": si.require("S")})
    with pytest.raises(LayoutError, match="every entry of the Hamiltonian is zero"):
        bands(zero, "GX", points=2)


@pytest.mark.parametrize("zeros", [True, False])
def test_a_neighbour_that_is_missing(bundled, tmp_path, zeros):
    def without(calc):
        H = calc.require("H")
        lost = int(np.flatnonzero(H.pairs.i != H.pairs.j)[0])
        gone = [lost, int(H.pairs.partner[lost])]
        if not zeros:
            return H.take_pairs(np.setdiff1d(np.arange(len(H.pairs)), gone))
        entries = np.array(H.entries)
        for pair in gone:
            entries[:, H.layout.starts[pair] : H.layout.starts[pair + 1]] = 0
        return H.with_entries(entries)

    found = errors(spoiled(bundled / "openmx" / "si", tmp_path, without))
    assert list(found) == ["pairs"]
    assert "for 2 pairs of atoms that overlap, such as (R=" in found["pairs"]


def test_pairs_that_get_zeros_are_named(bundled, tmp_path):
    """A legacy folder whose H lacks a pair (DeepH-pack's own converters write such ones)."""
    calc = dock.read(bundled / "openmx" / "si")
    legacy = tmp_path / "legacy"
    dock.write(calc, legacy, "deeph-legacy", allow_lossy=True)
    assert "written as zeros" not in samples.cli("convert", legacy, "-o", tmp_path / "whole").err
    lost = ("[0, 0, 0, 1, 2]", "[0, 0, 0, 2, 1]")
    with h5py.File(legacy / "hamiltonians.h5", "r+") as file:
        for key in lost:
            del file[key]
    answer = samples.cli("convert", legacy, "-o", tmp_path / "new")
    assert answer.code == 0, answer
    assert "H has no block, or zeros, for 2 pairs of atoms that overlap" in answer.err
    assert "What is missing is written as zeros." in answer.err
    H = dock.read(tmp_path / "new").require("H")
    place = H.pairs.find([[0, 0, 0]], [0], [1])
    assert H.layout.block_max(H.entries)[place] == 0


@pytest.mark.parametrize("run", ["openmx/o2-spin", "siesta/o2"])
def test_channels_that_are_exchanged(bundled, tmp_path, run):
    calc = dock.read(bundled / run)
    H = calc.require("H")
    matrices = {name: calc.require(name) for name in ("overlap", "density_matrix")}
    matrices["hamiltonian"] = H.with_entries(H.entries[::-1].copy())
    dock.write(calc.replace(matrices=matrices), tmp_path)
    assert "up and down of H are exchanged" in errors(tmp_path)["moment"]
    assert check_filling(calc)[-1].level == "ok"


@pytest.fixture(scope="module")
def sic(shared, tmp_path_factory):
    """Two runs of one set, as unified folders."""
    folder = tmp_path_factory.mktemp("sic")
    with tarfile.open(shared / "fixtures/siesta/sic8_set/sic8_set.tar.xz") as archive:
        for member in archive:
            if "/sic_01/" in member.name or "/sic_02/" in member.name:
                archive.extract(member, folder, filter="data")
            if "/sic_03" in member.name:
                break
    for run in sorted((folder / "sic8_set").iterdir()):
        dock.write(dock.read(run), folder / run.name)
    return folder


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("hamiltonian.h5", "neighbours"),
        ("overlap.h5", "distances"),
        ("POSCAR", "distances"),
    ],
)
def test_files_of_two_geometries(sic, tmp_path, file, what):
    shutil.copytree(sic / "sic_01", tmp_path / "a")
    assert errors(tmp_path / "a") == {}
    shutil.copyfile(sic / "sic_02" / file, tmp_path / "a" / file)
    assert what in errors(tmp_path / "a")


@pytest.mark.shared
def test_species_with_each_others_names(sic, tmp_path):
    shutil.copytree(sic / "sic_01", tmp_path / "a")
    poscar = tmp_path / "a" / "POSCAR"
    lines = poscar.read_text().splitlines()
    assert lines[5].split() == ["Si", "C"]
    poscar.write_text("\n".join([*lines[:5], "C Si", *lines[6:]]) + "\n")
    found = errors(tmp_path / "a")
    assert "POSCAR has the elements in the order C Si, info.json in Si C" in found["species"]


CASES = {
    "siesta/mg": (
        "el_032.out",
        ("SCF cycle converged", "SCF_NOT_CONV:"),
        lambda text: text[: text.index("   scf:    4")],
    ),
    "openmx/si": (
        "si.out",
        ("scf.criterion", "scf.criterion 1.0e-30 #"),
        lambda text: text[: text.rindex("SCF=   ")],
    ),
    "abacus/graphene": (
        "running_scf.log",
        ("convergence is achieved", "is large"),
        lambda text: text[: text.index("ELEC=   4-")],
    ),
}


@pytest.mark.parametrize("end", ["whole", "unconverged", "unfinished"])
@pytest.mark.parametrize("run", CASES)
def test_a_run_that_did_not_end_well_stays_so(bundled, tmp_path, run, end):
    """It is said when it is converted, kept in the folder, and an error there, in every command."""
    file, (old, new), cut = CASES[run]
    shutil.copytree(bundled / run, tmp_path / "run", copy_function=shutil.copyfile)
    log = next((tmp_path / "run").rglob(file))
    text = log.read_text()
    if end == "unconverged":
        assert old in text
        log.write_text(text.replace(old, new))
    elif end == "unfinished":
        log.write_text(cut(text))
    answer = samples.cli("convert", tmp_path / "run", "-o", tmp_path / "folder")
    assert answer.code == 0, answer
    said = "do not train on it" in answer.err
    assert said == (end != "whole"), answer.err
    for place in ("run", "folder"):
        found = errors(tmp_path / place)
        assert list(found) == ([] if end == "whole" else ["scf"]), place
    stored = json.loads((tmp_path / "folder" / "info.json").read_text())["dock"]["provenance"]
    if end == "unconverged" or run == "openmx/si":
        assert stored["extra"]["converged"] is (end == "whole")
    elif end == "unfinished":
        assert stored["extra"]["finished"] is False
    samples.cli("convert", tmp_path / "folder", "--from", "deeph", "-o", tmp_path / "c")
    assert list(errors(tmp_path / "c")) == list(errors(tmp_path / "folder"))


@pytest.mark.parametrize(
    ("run", "file", "mark"),
    [
        ("siesta/mg", "el_032.out", "        iscf "),
        ("abacus/graphene", "running_scf.log", "ELEC=   1-"),
    ],
)
def test_a_log_that_ends_before_its_cycle(bundled, tmp_path, run, file, mark):
    """The matrices are of an earlier run then: it was noted by ``check RUN``, and lost."""
    shutil.copytree(bundled / run, tmp_path / "run", copy_function=shutil.copyfile)
    log = next((tmp_path / "run").rglob(file))
    begin, found, _ = log.read_text().partition(mark)
    assert found
    log.write_text(begin.rpartition("\n")[0])
    assert (
        "do not train on it" in samples.cli("convert", tmp_path / "run", "-o", tmp_path / "x").err
    )
    assert list(errors(tmp_path / "run")) == list(errors(tmp_path / "x")) == ["scf"]


@pytest.mark.parametrize("mark", [">> End of run", "siesta: Stress tensor (static)"])
def test_a_job_that_ended_behind_a_converged_cycle(bundled, tmp_path, mark):
    """Forces look like steps of old versions: it was said that the cycle had not finished."""
    shutil.copytree(bundled / "siesta/mg", tmp_path / "run", copy_function=shutil.copyfile)
    log = tmp_path / "run" / "el_032.out"
    log.write_text(log.read_text().partition(mark)[0])
    assert errors(tmp_path / "run") == {}
    assert "not finished" not in samples.cli("convert", tmp_path / "run", "-o", tmp_path / "x").err


def test_a_batch_counts_what_is_noted(bundled, tmp_path):
    for number in range(3):
        shutil.copytree(
            bundled / "siesta/mg", tmp_path / f"runs/{number}", copy_function=shutil.copyfile
        )
    log = tmp_path / "runs/1/el_032.out"
    log.write_text(log.read_text().replace("SCF cycle converged", "SCF_NOT_CONV"))
    answer = samples.cli("convert", tmp_path / "runs", "-o", tmp_path / "set")
    assert answer.code == 0
    assert "1 of 3 runs: the self-consistency cycle did not converge" in answer.err
    quiet = samples.cli("convert", tmp_path / "runs", "-o", tmp_path / "quiet", "-q")
    assert "runs:" not in quiet.err
    lines = samples.cli("convert", tmp_path / "runs", "-o", tmp_path / "j", "--json").out
    notes = [json.loads(line)["notes"] for line in lines.splitlines()]
    assert [bool(found) for found in notes] == [False, True, False]
    assert samples.cli("check", tmp_path / "set").code == 2


def test_what_a_folder_noted_is_repeated(bundled, tmp_path):
    dock.write(dock.read(bundled / "siesta" / "h2o_v0"), tmp_path)
    found = check_calculation(dock.read(tmp_path))
    notes = [finding.message for finding in found if finding.what == "run"]
    assert any("single precision" in note for note in notes)
    assert any("Γ point without auxiliary supercell" in note for note in notes)
    assert ("k-points", "note") in {(finding.what, finding.level) for finding in found}


def test_an_old_folder_whose_note_alone_tells(bundled):
    calc = dock.read(bundled / "openmx" / "si")
    said = {"notes": ["The log says that the self-consistent field did not converge."]}
    old = calc.replace(provenance=dock.core.calculation.Provenance(extra=said))
    assert ("scf", "error") in {(found.what, found.level) for found in check_calculation(old)}


def test_large_systems_say_what_was_left_out(bundled, monkeypatch, tmp_path):
    monkeypatch.setattr(filling_check, "LARGEST", 5)
    dock.write(dock.read(bundled / "openmx" / "si"), tmp_path)
    answer = samples.cli("check", tmp_path)
    assert answer.code == 0
    assert "were not counted: H(k) has 10 rows. Give --thorough to count them." in answer.out
    assert "H has 8.00 electrons" in samples.cli("check", tmp_path, "--thorough").out


def test_nothing_to_compare(bundled):
    si = dock.read(bundled / "openmx" / "si")
    bare = Calculation(si.structure, si.basis, Spin.NONE, {"S": si.require("S")}, -2.0, 8.0)
    assert check_filling(bare) == []
    assert check_filling(Calculation(si.structure, si.basis, Spin.NONE, si.matrices)) == []
    (finding,) = check_filling(si.replace(n_electrons=7.5))
    assert finding.level == "ok"  # half an electron: a few k-points tell no more
    (finding,) = check_filling(si.replace(n_electrons=7.0))
    assert finding.level == "note"  # as many states below the level at every k-point
    assert "8.00 electrons" in finding.message
    assert "but another charge does" in finding.message


@pytest.mark.parametrize("lost", ["POSCAR", "info.json"])
def test_a_folder_that_lost_a_file_is_not_passed_over(bundled, tmp_path, lost):
    for name in ("a", "b"):
        shutil.copytree(
            bundled / "water/000", tmp_path / "set" / name, copy_function=shutil.copyfile
        )
    assert samples.cli("check", tmp_path / "set").code == 0
    (tmp_path / "set" / "b" / lost).unlink()
    answer = samples.cli("check", tmp_path / "set")
    assert answer.code == 2
    assert "1 sound, 1 with errors" in answer.out
    assert f"{lost} is missing" in answer.out
    counted = samples.cli("dataset", "stats", tmp_path / "set", "-o", tmp_path / "stats.h5")
    assert counted.code == 1
    assert f"{lost} is missing; it is left out" in counted.err
