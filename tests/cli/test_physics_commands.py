"""`dock fermi`, `dos`, `density-matrix`, `populations` and `bands --project` as users type them."""

import json

import pytest
from click.testing import CliRunner

import dock
from dock.cli.bands import bands
from dock.cli.density_matrix import density_matrix
from dock.cli.dos import dos
from dock.cli.fermi import fermi
from dock.cli.populations import populations
from dock.cli.wording import in_options
from dock.errors import DockError


@pytest.fixture
def folder(tmp_path, bundled):
    """Return a unified folder of silicon."""
    target = tmp_path / "si"
    calc = dock.read(bundled / "openmx" / "si")
    matrices = {"hamiltonian": calc.hamiltonian, "overlap": calc.overlap}
    dock.write(calc.replace(matrices=matrices), target)
    return target


def run(command, *arguments):
    result = CliRunner().invoke(command, [str(part) for part in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_fermi(folder):
    mesh = ("--mesh", 3, 3, 3)
    content = json.loads(run(fermi, folder, *mesh, "--json", "-q"))
    assert content["kind"] == "insulator"
    assert content["counted_electrons"] == pytest.approx(8)
    assert (folder / "fermi_energy.json").is_file()
    with pytest.raises(DockError, match="--overwrite"):
        run(fermi, folder, *mesh, "-q")
    # Another name has eigenvalues of its own.
    text = run(fermi, folder, "--mesh", 2, 2, 2, "-q", "-o", folder / "other.json")
    assert "other_eigval.h5" in text
    text = run(fermi, folder, *mesh, "-q", "-o", folder / "tetra.json", "--smearing", "tetrahedra")
    assert "tetrahedra" in text
    # Of the name that is taken again another mesh would replace them; another smearing would not.
    (folder / "fermi_energy.json").unlink()
    with pytest.raises(DockError, match=r"eigval\.h5: exists already\. Give --overwrite"):
        run(fermi, folder, "--mesh", 2, 2, 2, "-q")
    run(fermi, folder, *mesh, "-q", "--smearing", "cold")
    run(fermi, folder, "--mesh", 2, 2, 2, "-q", "--overwrite")


def test_eigenvalues_of_the_folder_serve_other_names(folder, monkeypatch):
    mesh = ("--mesh", 2, 2, 2, "-q")
    run(fermi, folder, *mesh)

    def refuse(*args, **kwargs):
        raise AssertionError("diagonalised again")

    monkeypatch.setattr("dock.post.fermi.compute_spectrum", refuse)
    run(fermi, folder, *mesh, "-o", folder / "cold.json", "--smearing", "cold")
    assert (folder / "cold_eigval.h5").is_file()
    run(dos, folder, *mesh, "--step", 0.1)


@pytest.mark.parametrize(("command", "name"), [(fermi, "f.json"), (dos, "d.h5")])
def test_a_folder_that_is_missing_is_found_first(folder, monkeypatch, command, name):
    def refuse(*args, **kwargs):
        raise AssertionError("diagonalised for nothing")

    monkeypatch.setattr("dock.states.dense.Dense.solve", refuse)
    with pytest.raises(DockError, match=r"no folder .*missing"):
        run(command, folder, "--mesh", 2, 2, 2, "-q", "-o", folder / "missing" / name)
    with pytest.raises(DockError, match=r"no folder .*missing"):
        run(command, folder, "--mesh", 2, 2, 2, "-q", "--plot", folder / "missing" / "a.png")
    with pytest.raises(DockError, match="ends in"):
        run(command, folder, "--mesh", 2, 2, 2, "-q", "--plot", folder / "a.txt")


def test_dos(folder):
    options = ("--mesh", 3, 3, 3, "--step", 0.1, "-q")
    text = run(dos, folder, *options, "--project", "l", "--plot", folder / "dos.png")
    assert "8.0000000000 of 8 electrons" in text
    assert "20.0000000000 of 20 states" in text
    assert (folder / "dos.png").is_file()
    other = ("-o", folder / "bond.h5")
    content = json.loads(run(dos, folder, *options, *other, "--cohp", "1-2@0,0,0", "--json"))
    assert content["projection_names"] == ["COHP Si1-Si2 (0,0,0)"]
    with pytest.raises(DockError, match="at a time"):
        run(dos, folder, "-o", folder / "x.h5", "--cohp", "1-2", "--project", "l")


def test_density_matrix_and_populations(folder):
    mesh = ("--mesh", 3, 3, 3, "-q")
    first = json.loads(run(density_matrix, folder, *mesh, "--json", "--energy-weighted"))
    assert first["n_electrons"] == pytest.approx(8)
    assert first["trace_energy_density_S_eV"] == pytest.approx(first["band_energy_eV"], abs=1e-5)
    poles = ("--method", "poles", "-o", folder / "poles.h5", "--json")
    second = json.loads(run(density_matrix, folder, *mesh, *poles))
    assert second["band_energy_eV"] == pytest.approx(first["band_energy_eV"], abs=1e-5)
    text = run(populations, folder, "--stored", "-q")
    assert "4.000000" in text
    other = ("-o", folder / "lowdin.h5", "--scheme", "lowdin", "--json")
    content = json.loads(run(populations, folder, *mesh, *other))
    assert content["n_electrons"] == pytest.approx(8)


def test_fat_bands(folder):
    text = run(
        bands, folder, "--path", "LGX", "--points", 5, "--project", "l", "-q",
        "--plot", folder / "fat.png",
    )  # fmt: skip
    assert "band.h5" in text
    content = json.loads((folder / "band.json").read_text())
    assert content["projection_names"] == ["s", "p"]


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (fermi, ("--mesh", 0, 1, 1), "three positive whole numbers"),
        (fermi, ("--electrons", 0, "--mesh", 1, 1, 1), "do not fit"),
        (fermi, ("--electrons", 20, "--mesh", 1, 1, 1), "do not fit"),
        (fermi, ("--smearing", "tetrahedra", "--width", 0.1), "no width"),
        (fermi, ("--width", 0.1, "--temperature", 10), "not both"),
        (fermi, ("--spacing", -1), "spacing"),
        (dos, ("--project", "flavour"), "resolved by"),
        (dos, ("--mesh", 1, 1, 1, "--window", 2, 1), "empty"),
        (density_matrix, ("--method", "poles", "--smearing", "cold"), "fermi-dirac"),
        (density_matrix, ("--method", "poles", "--poles", 0), "1 or more"),
        (density_matrix, ("--method", "poles", "--poles", -5), "1 or more"),
        (bands, ("--project", "flavour"), "resolved by"),
    ],
)
def test_bad_input_is_a_sentence(folder, command, options, message):
    with pytest.raises(DockError, match=message) as caught:
        run(command, folder, *options, "-q")
    assert caught.value.exit_code == 2


def test_too_few_poles_did_not_converge(folder):
    with pytest.raises(DockError, match="2 poles do not represent") as caught:
        run(density_matrix, folder, "--method", "poles", "--poles", 2, "--mesh", 1, 1, 1)
    assert caught.value.exit_code == 4
    assert not (folder / "density_matrix.h5").exists()


def test_unknown_electrons_name_the_option(folder):
    info = json.loads((folder / "info.json").read_text())
    info.pop("occupation")
    (folder / "info.json").write_text(json.dumps(info))
    with pytest.raises(DockError) as caught:
        run(fermi, folder, "--mesh", 2, 2, 2, "-q")
    assert "Give --electrons N" in in_options(str(caught.value))
    content = json.loads(run(fermi, folder, "--mesh", 2, 2, 2, "--electrons", 8, "-q", "--json"))
    assert content["kind"] == "insulator"
