"""What a user may get wrong: each ends with exit code 2 and one sentence with the remedy."""

import json

import numpy as np
import pytest
import samples
from samples import OPENMX, cli

import dock

MESH = ("--mesh", 2, 2, 2)


@pytest.fixture
def si(tmp_path):
    """Return the unified folder of silicon."""
    return samples.unified(tmp_path / "si")


def without(folder, *keys):
    """Take keys out of info.json."""
    path = folder / "info.json"
    content = json.loads(path.read_text())
    for key in keys:
        content.pop(key, None)
    path.write_text(json.dumps(content))
    return folder


def damaged(folder, name, change):
    """Change the entries of one matrix of a unified folder."""
    samples.rewrite(folder / f"{name}.h5", entries=change)
    return folder


def refused(answer, *words):
    """Assert exit code 2 and a message of one to three lines that has the words."""
    samples.refused(answer, *words)
    lines = [line for line in answer.err.strip().splitlines() if line]
    assert 1 <= len(lines) <= 3, answer.err
    assert answer.out == ""


def commands(out):
    """Return every command that diagonalises on a mesh, with a target of its own."""
    return {
        "fermi": ("fermi", "-o", out / "f.json"),
        "dos": ("dos", "-o", out / "d.h5"),
        "density-matrix": ("density-matrix", "-o", out / "p.h5"),
        "poles": ("density-matrix", "--method", "poles", "-o", out / "q.h5"),
        "populations": ("populations", "-o", out / "m.h5"),
    }


COMMANDS = sorted(commands(OPENMX))


def run(name, folder, out, *options):
    command, *rest = commands(out)[name]
    return cli(command, folder, *rest, *options, "-q")


def without_density(folder):
    (folder / "density_matrix.h5").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_no_electron_count(si, tmp_path, name):
    folder = without_density(without(si, "occupation"))
    refused(run(name, folder, tmp_path, *MESH), "electrons", "--electrons")


@pytest.mark.parametrize("name", COMMANDS)
def test_mesh_of_zero(si, tmp_path, name):
    answer = run(name, si, tmp_path, "--mesh", 0, 2, 2)
    refused(answer, "three positive whole numbers", "--mesh")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("electrons", [52, 60, -1, "nan"])
def test_all_states_occupied(si, tmp_path, name, electrons):
    answer = run(name, without_density(si), tmp_path, *MESH, "--electrons", electrons)
    refused(answer, "--electrons")


@pytest.mark.parametrize("name", COMMANDS)
def test_overlap_that_is_not_positive(si, tmp_path, name):
    folder = damaged(without_density(si), "overlap", lambda old: np.where(old > 0.999, -1.0, old))
    refused(run(name, folder, tmp_path, *MESH), "not positive definite")


@pytest.mark.parametrize("name", COMMANDS)
def test_nan_blocks(si, tmp_path, name):
    def spoil(entries):
        entries[7] = np.nan
        return entries

    folder = damaged(without_density(si), "hamiltonian", spoil)
    refused(run(name, folder, tmp_path, *MESH), "NaN")


@pytest.mark.parametrize("what", ["overlap", "hamiltonian"])
def test_bands_and_states_of_unsound_matrices(si, tmp_path, what):
    damaged(si, what, lambda old: np.full_like(old, np.nan))
    for command in ("bands", "wavefunction", "unfold"):
        more = ("--supercell", "1 1 1") if command == "unfold" else ()
        refused(cli(command, si, *more, "-o", tmp_path / "x.h5", "-q"), "NaN")


def test_bands_with_an_overlap_that_is_not_positive(si, tmp_path):
    damaged(si, "overlap", lambda old: np.where(old > 0.999, -1.0, old))
    answer = cli("bands", si, "-o", tmp_path / "b.h5", "-q")
    refused(answer, "not positive definite", "--s-threshold")


@pytest.mark.parametrize("path", ["G", "K_PATH"])
def test_path_of_one_point(si, tmp_path, path):
    if path == "K_PATH":
        path = tmp_path / "K_PATH"
        path.write_text("1  0.0 0.0 0.0  0.0 0.0 0.0  G G\n")
    for command, *more in (("bands",), ("unfold", "--supercell", "1 1 1")):
        answer = cli(command, si, *more, "--path", path, "-o", tmp_path / "b.h5", "-q")
        refused(answer, "one point", "--path GX")
        assert not (tmp_path / "b.h5").exists()


def test_no_fermi_level_for_an_evaluation(si, tmp_path, monkeypatch):
    """It is refused before the k-points of the mesh are diagonalised."""
    monkeypatch.setattr("dock.evaluate.structure.compute_spectrum", None)
    without_density(without(si, "occupation", "fermi_energy_eV", "dock"))
    predicted = samples.unified(tmp_path / "pred")
    answer = cli("evaluate", predicted, si, "-o", tmp_path / "e", "-q")
    refused(answer, "Fermi level", "--electrons", "--fermi")


def test_mixed_spins(tmp_path):
    predicted = samples.unified(tmp_path / "pred", "h2o")
    reference = samples.unified(tmp_path / "ref", "o2-spin")
    answer = cli("evaluate", predicted, reference, "-o", tmp_path / "e", "-q")
    refused(answer, "reference")
    calc = dock.read(reference)
    entries = calc.hamiltonian.entries[:1]
    H, S = calc.hamiltonian, calc.overlap
    plain = dock.AOMatrix("hamiltonian", H.structure, H.basis, H.pairs, dock.Spin.NONE, entries)
    single = dock.Calculation(
        calc.structure, calc.basis, dock.Spin.NONE, {"H": plain, "S": S}, 0.0, 12.0
    )
    dock.write(single, tmp_path / "single")
    answer = cli("evaluate", tmp_path / "single", reference, "-o", tmp_path / "e", "-q")
    refused(answer, "spin 'none'", "'collinear'")


def test_nan_in_a_prediction(si, tmp_path):
    predicted = samples.unified(tmp_path / "pred")
    damaged(predicted, "hamiltonian", lambda old: old * np.nan)
    refused(cli("evaluate", predicted, si, "-o", tmp_path / "e", "-q"), "NaN")


@pytest.mark.parametrize(
    "command",
    [
        ("charge-density",),
        ("charge-density", "--window", -1, 0),
        ("wavefunction", "--spacing", 0.5),
        ("wavefunction", "--grid", 8, 8, 8),
    ],
)
def test_grid_without_radial_functions(si, tmp_path, command):
    name, *options = command
    refused(cli(name, si, *options, "-o", tmp_path / "x.h5", "-q"), "radial", "--basis")


def test_window_without_a_fermi_level(tmp_path):
    """A window about a level that nobody knows, in a folder with radial functions."""
    run_folder = samples.ROOT / "fixtures" / "siesta" / "graphene"
    folder = tmp_path / "graphene"
    dock.write(dock.read(run_folder), folder)
    without(folder, "occupation", "fermi_energy_eV", "dock")
    answer = cli(
        "charge-density", folder, "--basis", run_folder, "--window", -1, 0, "--spacing", 0.5,
        "--mesh", 2, 2, 1, "-o", tmp_path / "x.h5", "-q",
    )  # fmt: skip
    refused(answer, "--electrons")
