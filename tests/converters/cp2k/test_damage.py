"""CP2K runs that are cut, mixed up, incomplete or of a kind that is not read: a sentence each."""

import shutil

import numpy as np
import pytest
import samples

import dock
from dock.converters.cp2k import read
from dock.converters.cp2k.check import check_run
from dock.converters.cp2k.input_file import read_input
from dock.errors import DockError, FormatError, MissingDataError


def everything(folder):
    calc = read(folder)
    return [calc.require(name) for name in calc.available]


def refuse(folder, error, *words):
    with pytest.raises(error) as caught:
        everything(folder)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("name", ["h2o", "si2"])
def test_cut_matrices(copy, name):
    """Wherever a file ends, it is refused, and never read as a smaller matrix."""
    folder = copy(name)
    file = min(folder.glob("*KS*.csr"))
    data = file.read_bytes()
    rng = np.random.default_rng(5)
    lines = [place + 1 for place in range(len(data)) if data[place : place + 1] == b"\n"]
    for end in [0, 1, 24, 48, *rng.integers(1, len(data), 20).tolist(), *lines[:-1:97]]:
        file.write_bytes(data[:end])
        with pytest.raises(DockError) as caught:
            read(folder).require("hamiltonian")
        assert file.name in str(caught.value) or "files of the hamiltonian" in str(caught.value)


def test_cut_text_of_ao_matrices(copy):
    folder = copy("oh")
    file = folder / "oh-ao-1_0.Log"
    text = file.read_text()
    for end in (1, 400, len(text) // 3, len(text) // 2 + 7, len(text) - 20):
        file.write_text(text[:end])
        with pytest.raises(DockError):
            everything(folder)
    file.write_text(text.replace("3d+1 ", "3d+2 ", 1) if "3d+1 " in text else text[:9])
    with pytest.raises(DockError):
        everything(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("0.", "0.***", "a number"), ("E+001", "E+301", "not finite")],
)
def test_damaged_numbers(copy, edit, old, new, words):
    folder = copy("h2o")
    edit(folder / "h2o-S_SPIN_1-1_0.csr", old, new, 1)
    refuse(folder, FormatError, "h2o-S_SPIN_1-1_0.csr", words)


def test_matrix_of_another_basis(copy, edit, runs):
    folder = copy("h2o")
    edit(folder / "BASIS_TEST", "H DOCK-DZP\n 1\n 1 0 1 3 2 1", "H DOCK-DZP\n 1\n 1 0 1 3 1 1")
    refuse(folder, FormatError, "BASIS_TEST", "H DOCK-DZP")
    shutil.copy(runs / "h2o" / "BASIS_TEST", folder / "BASIS_TEST")
    edit(folder / "h2o.inp", "DOCK-DZP", "DOCK-ALL")
    refuse(folder, FormatError, "does not fit the basis")


def test_mixed_up_files(copy, runs):
    folder = copy("h2o")
    shutil.copy(runs / "o2" / "o2-S_SPIN_1-1_0.csr", folder / "h2o-S_SPIN_1-1_0.csr")
    refuse(folder, FormatError, "h2o-S_SPIN_1-1_0.csr")
    shutil.copy(runs / "o2" / "o2-S_SPIN_1-1_0.csr", folder)
    refuse(folder, FormatError, "another run", "folder of its own")


def test_log_of_another_run(copy, runs):
    folder = copy("h2o")
    (folder / "h2o.out").unlink()
    refuse(folder, MissingDataError, "the log", "copy what CP2K printed")
    shutil.copy(runs / "o2" / "o2.out", folder)
    refuse(folder, FormatError, "o2.out of the project o2")


def test_cell_of_another_run(copy, edit):
    """Also what SYMMETRY HEXAGONAL does: CP2K makes an angle of 120° one of 60°."""
    folder = copy("si2")
    edit(folder / "si2.inp", "A 0.000 2.715", "A 0.000 2.735")
    refuse(folder, FormatError, "si2.inp", "other cells", "0.02 Å", "SYMMETRY")


def test_missing_files(copy):
    folder = copy("si2")
    (folder / "si2-S_SPIN_1_R_17-1_0.csr").unlink()
    refuse(folder, FormatError, "spin 1, image 17 is missing")
    o2 = copy("o2")
    (o2 / "o2-KS_SPIN_2-1_0.csr").unlink()
    refuse(o2, FormatError, "spin 2")
    h2o = copy("h2o")
    (h2o / "h2o.inp").rename(h2o / "other.inp")
    refuse(h2o, MissingDataError, "h2o.inp", "copy it beside the log")


def test_missing_basis(copy, tmp_path, monkeypatch):
    folder = copy("h2o")
    monkeypatch.delenv("CP2K_DATA_DIR", raising=False)
    place = tmp_path / "data"
    place.mkdir()
    (folder / "BASIS_TEST").rename(place / "BASIS_TEST")
    refuse(folder, MissingDataError, "the basis set DOCK-DZP of O", "--basis")
    assert read(folder, basis=place).overlap.entries.any()
    assert read(folder, basis=place / "BASIS_TEST").overlap.entries.any()
    monkeypatch.setenv("CP2K_DATA_DIR", str(place))
    assert read(folder).overlap.entries.any()


def test_wrong_basis_of_the_same_shells_is_seen_by_the_check(copy, edit):
    folder = copy("h2o")
    edit(folder / "BASIS_TEST", "  10.0  -0.10", "  10.0   0.90")
    found = {finding.what: finding for finding in check_run(folder)}
    assert found["basis"].level == "error"


def test_unknown_version_is_held_against_its_basis_set(copy, edit):
    folder = copy("h2o")
    edit(folder / "h2o.out", "CP2K version 2023.1", "CP2K version 2031.2")
    calc = read(folder)
    assert calc.hamiltonian.entries.any()
    assert any("2031.2 was not measured" in note for note in calc.notes)
    edit(folder / "BASIS_TEST", "  10.0  -0.10", "  10.0   0.90")
    refuse(folder, FormatError, "2031.2", "not that of its basis set")
    (folder / "h2o-S_SPIN_1-1_0.csr").unlink()
    (folder / "h2o-ao-1_0.Log").unlink()
    refuse(folder, FormatError, "no overlap to verify it", "S_CSR_WRITE")


def test_not_converged_and_not_finished(copy, edit, caplog):
    folder = copy("h2o")
    edit(
        folder / "h2o.out",
        "*** SCF run converged in    13 steps ***",
        "*** SCF run NOT converged ***",
    )
    dock.read(folder)
    assert "did not converge" in caplog.text
    edit(folder / "h2o.out", "PROGRAM ENDED AT", "")
    assert "had not finished" in read(folder).unsound
    assert next(iter(check_run(folder))).level == "error"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    &MGRID", "    ROKS\n    &MGRID", "restricted open shell"),
        ("    &QS\n", "    &QS\n      METHOD XTB\n", "METHOD XTB"),
        (
            "    &COORD",
            "    &TOPOLOGY\n MULTIPLE_UNIT_CELL 2 1 1\n&END TOPOLOGY\n    &COORD",
            "2 1 1",
        ),
        ("ABC 7.0 7.0 7.0", "ABC [furlong] 7.0 7.0 7.0", "furlong"),
        ("ABC 7.0 7.0 7.0", "CELL_FILE_NAME cell.dat", "CELL_FILE_NAME"),
        ("O 3.50 3.50 3.40", "O 3.50 3.50", "O 3.50 3.50"),
        ("O 3.50 3.50 3.40", "O 3.50 3.50 3.50", "other atoms"),
        ("    &KIND O", "    &KIND N", "kind of the atom O"),
        ("&END FORCE_EVAL", "", "ends within a section"),
        ("    &END COORD", "    &END CELL", "do not fit into one another"),
        ("&GLOBAL", "@IF 1\n&GLOBAL", "@IF is not followed"),
        ("CUTOFF 200", "CUTOFF ${CUT}", "CUT is not set"),
    ],
)
def test_inputs_that_are_not_read(copy, edit, old, new, words):
    folder = copy("h2o")
    edit(folder / "h2o.inp", old, new, 1)
    refuse(folder, FormatError, "h2o.inp", words)


def test_variables_includes_and_units(copy, edit):
    folder = copy("h2o")
    before = read(folder)
    bohr = 3.5 / 0.529177208590
    edit(folder / "h2o.inp", "ABC 7.0 7.0 7.0", "@SET L 7.0\nABC ${L} $L 7.0 ! a box")
    edit(folder / "h2o.inp", "      ADDED_MOS 4\n", "@INCLUDE 'scf.inc'\n")
    (folder / "scf.inc").write_text("      ADDED_MOS \\\n 4\n")
    edit(folder / "h2o.inp", "O 3.50 3.50 3.40", f"O {bohr!r} {bohr!r} 3.40", 1)
    (folder / "xyz").mkdir()
    after = read_input(folder / "h2o.inp")
    assert after.find("FORCE_EVAL", "DFT", "SCF").value("ADDED_MOS") == "4"
    assert after.find("FORCE_EVAL", "SUBSYS", "CELL").value("ABC") == "7.0 7.0 7.0"
    np.testing.assert_allclose(before.structure.cell, 7 * np.eye(3), atol=1e-12)


def test_coordinates_in_an_xyz_file(copy):
    folder = copy("h2o")
    before = read(folder).structure
    text = (folder / "h2o.inp").read_text()
    begin, end = text.index("    &COORD"), text.index("&END COORD") + len("&END COORD")
    rows = text[begin:end].splitlines()[1:-1]
    topology = "&TOPOLOGY\n COORD_FILE_NAME h2o.xyz\n COORD_FILE_FORMAT XYZ\n&END TOPOLOGY"
    (folder / "h2o.inp").write_text(text[:begin] + topology + text[end:])
    with pytest.raises(MissingDataError, match=r"h2o\.xyz"):
        read(folder)
    (folder / "h2o.xyz").write_text(f"{len(rows)}\n\n" + "\n".join(rows) + "\n")
    assert read(folder).structure.is_close(before)
    (folder / "h2o.xyz").write_text(f"{len(rows) + 4}\n\n" + "\n".join(rows) + "\n")
    with pytest.raises(FormatError, match="cut or of another kind"):
        read(folder)


def test_bytes_that_are_no_text(copy):
    folder = copy("h2o")
    for name, old in (
        ("h2o.inp", b"FORCE"),
        ("BASIS_TEST", b"DOCK-DZP"),
        ("h2o-ao-1_0.Log", b"2s"),
        ("h2o-S_SPIN_1-1_0.csr", b"E-001"),
        ("h2o.out", b"Input file name"),
    ):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data.replace(old, b"\xff\xfe\xfd"))
        with pytest.raises(DockError):
            everything(folder)
        (folder / name).write_bytes(data)
    (folder / "h2o.inp").write_bytes(b"# r\xe9sum\xe9\n" + (folder / "h2o.inp").read_bytes())
    assert everything(folder)


def test_matrices_at_k_points_and_several_steps(copy):
    folder = copy("h2o")
    file = folder / "h2o-S_SPIN_1-1_0.csr"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line} 0.0E+000\n" for line in lines))
    refuse(folder, FormatError, "at a k-point", "REAL_SPACE")
    file.rename(folder / "h2o-S_SPIN_1_K_1-1_0.csr")
    refuse(folder, FormatError, "those at k-points", "REAL_SPACE")
    h2o = folder / "h2o-KS_SPIN_1-1_0.csr"
    (folder / "h2o-S_SPIN_1_K_1-1_0.csr").unlink()
    shutil.copy(h2o, folder / "h2o-KS_SPIN_1-1_1.csr")
    refuse(folder, FormatError, "several geometries", "RUN_TYPE ENERGY_FORCE")


def test_density_of_other_images_is_refused(copy):
    """The images of AO_MATRICES are not named: the overlap beside must fit, or none is read."""
    folder = copy("si2")
    file = folder / "si2-ao-1_0.Log"
    parts = file.read_text().split(" OVERLAP MATRIX")
    parts[2], parts[9] = parts[9], parts[2]
    file.write_text(" OVERLAP MATRIX".join(parts))
    calc = read(folder)
    assert calc.hamiltonian.entries.any()
    with pytest.raises(FormatError, match="not that of the CSR files"):
        calc.require("density_matrix")


def test_run_of_a_crystal_at_gamma_is_named_so(copy, edit):
    folder = copy("h2o")
    edit(folder / "h2o.inp", "PERIODIC NONE\n    &END CELL", "PERIODIC XYZ\n    &END CELL")
    calc = read(folder)
    assert calc.only_gamma
    assert any("SCHEME GAMMA" in note for note in calc.notes)


def test_commands_say_it_in_a_sentence(copy, tmp_path):
    folder = copy("h2o")
    (folder / "BASIS_TEST").unlink()
    answer = samples.cli("convert", folder, "-o", tmp_path / "out")
    samples.refused(answer, "DOCK-DZP", "--basis")
    assert not (tmp_path / "out").exists()
    for file in folder.glob("*-1_0.*"):
        file.unlink()
    samples.refused(samples.cli("convert", folder, "-o", tmp_path / "out"), "KS_CSR_WRITE")
