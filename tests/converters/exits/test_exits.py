"""The exits: read back by scipy, sisl, or readers written from the formats' descriptions."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
from scipy.linalg import eigh
from scipy.sparse import load_npz

import dock
from dock.converters import npz, petsc, sisl as sisl_exit, wannier90
from dock.converters.format import WriteOptions
from dock.core.calculation import Calculation
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.errors import DependencyError, MissingDataError, OutputError, SolverError, UsageError

independent = samples.beside(__file__, "independent")

ROOT = Path(__file__).resolve().parents[3]
HS = ("overlap", "hamiltonian")
K = np.array([0.1, 0.23, 0.37])
SYSTEMS = ["si", "o2-spin", "o2-nc-soc"]
PRINTED = 1e-11  # twelve decimals of _hr.dat, summed over the lattice vectors


def load(bundled, name):
    return dock.read(bundled / "openmx" / name)


def write(form, calc, folder, quantities=HS, **wanted):
    options = WriteOptions(quantities=quantities, settings=wanted)
    return form.write(calc, folder, options)


def bands(calc, k=K):
    """Return the sorted levels of all spins, eV."""
    hamiltonian = KBuilder(calc.hamiltonian)
    S = KBuilder(calc.overlap, spinor=hamiltonian.spinor).dense(k)
    matrices = np.asarray(hamiltonian.dense(k)).reshape(-1, *S.shape)
    return np.sort(np.concatenate([eigh(H, S, eigvals_only=True) for H in matrices]))


@pytest.mark.parametrize("name", SYSTEMS)
def test_npz_files(bundled, tmp_path, name):
    calc = load(bundled, name)
    written = write(npz.FORMAT, calc, tmp_path, (*HS, "position"))
    index = json.loads((tmp_path / npz.INDEX).read_text())
    assert {line["file"] for line in index["matrices"]} | {npz.INDEX} == {
        path.name for path in written
    }
    names = {"hamiltonian": calc.spin.component_names, "overlap": ("total",)}
    names["position"] = ("x", "y", "z")
    for line in index["matrices"]:
        component = names[line["quantity"]].index(line["component"])
        expected = calc.require(line["quantity"]).to_csr(line["R"], component)
        difference = load_npz(tmp_path / line["file"]) - expected
        assert np.abs(difference.toarray()).max() == 0
    assert index["fermi_level_eV"] == calc.fermi_level
    assert len(index["orbitals"]["m"]) == calc.basis.n_orbitals


def test_npz_in_single_precision(bundled, tmp_path):
    calc = load(bundled, "o2-nc-soc")
    npz.FORMAT.write(calc, tmp_path, WriteOptions(quantities=HS, single_precision=True))
    assert load_npz(tmp_path / "H_ud_0_0_0.npz").dtype == np.complex64


@pytest.mark.parametrize("name", SYSTEMS)
def test_petsc_files(bundled, tmp_path, name):
    calc = load(bundled, name)
    write(petsc.FORMAT, calc, tmp_path)
    overlap = independent.read_petsc(tmp_path / "SR.petsc")
    hamiltonian = independent.read_petsc(tmp_path / "HR.petsc")
    H, S = (independent.bloch(part, K) for part in (hamiltonian, overlap))
    found = eigh(H, S, eigvals_only=True)
    expected = np.repeat(bands(calc), 1)
    assert np.abs(found - expected).max() < 1e-9
    text = (tmp_path / "misc.toml").read_text()
    assert f"matrix_size = {len(H)}" in text
    assert f"spin_info = {0 if calc.spin is Spin.NONE else 3}" in text
    assert len((tmp_path / "HR.petsc.info").read_text().splitlines()) == len(hamiltonian)


@pytest.mark.shared
def test_petsc_agrees_with_the_expected_files(shared, tmp_path):
    calc = dock.read(shared / "public/deeph/Si")
    write(petsc.FORMAT, calc, tmp_path)
    expected = shared / "public/petsc/Si/reference"
    for name in ("SR.petsc", "HR.petsc"):
        ours, theirs = (independent.read_petsc(place / name) for place in (tmp_path, expected))
        assert set(ours) == set(theirs)
        assert max(np.abs(ours[R] - theirs[R]).max() for R in ours) < 1e-12
        assert (tmp_path / name).stat().st_size == (expected / name).stat().st_size
    for name in ("misc.toml", "HR.petsc.info"):
        assert (tmp_path / name).read_text().split() == (expected / name).read_text().split()


@pytest.mark.parametrize("name", SYSTEMS)
def test_wannier90_pairs(bundled, tmp_path, name):
    calc = load(bundled, name)
    write(wannier90.FORMAT, calc, tmp_path, orthogonal="no", name="x")
    S = independent.bloch(independent.read_hr(tmp_path / "x_sr.dat"), K)
    seeds = ["x_up", "x_down"] if calc.spin is Spin.COLLINEAR else ["x"]
    parts = [independent.read_hr(tmp_path / f"{seed}_hr.dat") for seed in seeds]
    found = [eigh(independent.bloch(part, K), S, eigvals_only=True) for part in parts]
    assert np.abs(np.sort(np.concatenate(found)) - bands(calc)).max() < 1e-8
    assert not json.loads((tmp_path / "x_dock.json").read_text())["orthogonal"]


@pytest.mark.parametrize("name", ["o2-spin", "o2-nc-soc"])
def test_orthogonal_molecules_are_exact(bundled, tmp_path, name):
    calc = load(bundled, name)
    write(wannier90.FORMAT, calc, tmp_path)
    seeds = ["dock_up", "dock_down"] if calc.spin is Spin.COLLINEAR else ["dock"]
    parts = [independent.read_hr(tmp_path / f"{seed}_hr.dat") for seed in seeds]
    found = [np.linalg.eigvalsh(independent.bloch(part, [0, 0, 0])) for part in parts]
    difference = np.sort(np.concatenate(found)) - bands(calc, [0, 0, 0])
    assert np.abs(difference).max() < 1e-9


def test_orthogonalisation_converges_and_says_its_error(bundled, tmp_path, caplog):
    calc = load(bundled, "si")
    errors = []
    for mesh in ("5,5,5", "9,9,9", "13,13,13"):
        folder = tmp_path / mesh
        folder.mkdir()
        write(wannier90.FORMAT, calc, folder, mesh=mesh)
        facts = json.loads((folder / "dock_dock.json").read_text())
        errors.append(facts["band_error_below_fermi_eV"])
        matrices = independent.read_hr(folder / "dock_hr.dat")
        on_mesh = np.array([1, 2, 3]) / int(mesh.split(",")[0])
        exact = np.linalg.eigvalsh(independent.bloch(matrices, on_mesh))
        assert np.abs(exact - bands(calc, on_mesh)).max() < 1e-8
        between = np.linalg.eigvalsh(independent.bloch(matrices, [0.37, 0.21, 0.43]))
        expected = bands(calc, [0.37, 0.21, 0.43])
        worst = np.abs(between - expected)[expected <= calc.fermi_level].max()
        assert worst <= errors[-1] + PRINTED
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    said = [r for r in caplog.records if r.levelname == "WARNING" and "off by up to" in r.message]
    assert len(said) == 2  # the last mesh is within the tolerance


def test_default_mesh_meets_the_tolerance(bundled, tmp_path):
    calc = load(bundled, "si")
    write(wannier90.FORMAT, calc, tmp_path, tolerance="0.05")
    facts = json.loads((tmp_path / "dock_dock.json").read_text())
    assert facts["band_error_below_fermi_eV"] < 0.05
    assert f"mp_grid = {facts['mesh'][0]}" in (tmp_path / "dock.win").read_text()


def test_tb_file(bundled, tmp_path):
    calc = load(bundled, "si")
    write(wannier90.FORMAT, calc, tmp_path, mesh="3,3,3", tb="yes")
    lines = (tmp_path / "dock_tb.dat").read_text().splitlines()
    cell = np.array([line.split() for line in lines[1:4]], dtype=float)
    assert np.abs(cell - calc.structure.cell).max() < 1e-11
    size, n_vectors = int(lines[4]), int(lines[5])
    begin = 6 + -(-n_vectors // 15)
    blocks = "\n".join(lines[begin:]).strip().split("\n\n")
    assert len(blocks) == 2 * n_vectors
    hr = independent.read_hr(tmp_path / "dock_hr.dat")
    for number, block in enumerate(blocks):
        head, *rows = block.splitlines()
        R = tuple(int(word) for word in head.split())
        table = np.array([row.split() for row in rows], dtype=float)
        assert len(table) == size**2
        if number < n_vectors:
            values = (table[:, 2] + 1j * table[:, 3]).reshape(size, size).T
            assert np.abs(values - hr[R]).max() < 1e-11
        elif R == (0, 0, 0):
            diagonal = table[table[:, 0] == table[:, 1]]
            places = calc.structure.positions[calc.basis.table.atom]
            assert np.abs(diagonal[:, 2::2] - places).max() < 1e-11
        else:
            assert not table[:, 2:].any()


def test_wannier90_is_read_by_sisl(bundled, tmp_path):
    sisl = pytest.importorskip("sisl")
    calc = load(bundled, "si")
    write(wannier90.FORMAT, calc, tmp_path, mesh="3,3,3")
    sile = sisl.get_sile(str(tmp_path / "dock.win"))
    H = sile.read_hamiltonian(cutoff=0.0)
    matrices = independent.read_hr(tmp_path / "dock_hr.dat")
    expected = np.linalg.eigvalsh(independent.bloch(matrices, K))
    assert np.abs(H.eigh(k=K) - expected).max() < 1e-6


@pytest.mark.parametrize("kind", ["TSHS", "HSX"])
@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.filterwarnings("ignore")
def test_sisl_files(bundled, tmp_path, name, kind):
    sisl = pytest.importorskip("sisl")
    calc = load(bundled, name)
    write(sisl_exit.FORMAT, calc, tmp_path, file=kind)
    H = sisl.get_sile(str(tmp_path / f"dock.{kind}")).read_hamiltonian()
    if calc.spin is Spin.COLLINEAR:
        found = np.sort(np.concatenate([H.eigh(k=K, spin=s) for s in (0, 1)]))
    else:
        found = H.eigh(k=K)
    assert np.abs(found - bands(calc)).max() < 1e-9
    facts = json.loads((tmp_path / "sisl.json").read_text())
    assert facts["fermi_level_eV"] == calc.fermi_level


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux stands for a full disk")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["TSHS", "HSX"])
def test_a_sisl_file_that_is_not_whole(bundled, tmp_path, kind):
    """Fortran says nothing of a full disk."""
    import resource

    pytest.importorskip("sisl")
    calc = load(bundled, "si")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written whole"):
            write(sisl_exit.FORMAT, calc, tmp_path, file=kind)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.filterwarnings("ignore")
def test_sisl_needs_a_hamiltonian(bundled, tmp_path):
    pytest.importorskip("sisl")
    calc = load(bundled, "si")
    with pytest.raises(MissingDataError, match="hamiltonian"):
        write(sisl_exit.FORMAT, calc, tmp_path, ("overlap",))
    with pytest.raises(UsageError, match="nc, TSHS or HSX"):
        write(sisl_exit.FORMAT, calc, tmp_path, file="cube")


@pytest.mark.parametrize(
    "wrong", [{"mesh": "1,2"}, {"orthogonal": "maybe"}, {"tolerance": "-1"}, {"tolerance": "x"}]
)
def test_wrong_settings(bundled, tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        write(wannier90.FORMAT, load(bundled, "si"), tmp_path, **wrong)


def test_the_extra_that_is_named_brings_netcdf(bundled, tmp_path, monkeypatch):
    """``file=nc`` without netCDF4: the extra in the message must contain it, and so must all."""
    import tomllib

    monkeypatch.setitem(sys.modules, "netCDF4", None)
    with pytest.raises(DependencyError) as caught:
        write(sisl_exit.FORMAT, load(bundled, "si"), tmp_path, file="nc")
    extra = re.search(r"dock-dft\[(\w+)\]", str(caught.value))[1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert any(line.startswith("netCDF4") for line in extras[extra])
    assert extra in re.search(r"\[(.*)\]", extras["all"][0])[1].split(",")


def test_wannier90_needs_both_and_a_good_overlap(bundled, tmp_path):
    calc = load(bundled, "si")
    only = Calculation(calc.structure, calc.basis, calc.spin, {"hamiltonian": calc.hamiltonian})
    with pytest.raises(MissingDataError, match="overlap"):
        write(wannier90.FORMAT, only, tmp_path, ("hamiltonian",))
    bad = calc.replace(matrices={"hamiltonian": calc.hamiltonian, "overlap": calc.overlap * -1.0})
    with pytest.raises(SolverError, match=r"orthogonal.: .no"):
        write(wannier90.FORMAT, bad, tmp_path)


def test_centres_stand_at_the_atoms(bundled, tmp_path):
    calc = load(bundled, "si")
    write(wannier90.FORMAT, calc, tmp_path, mesh="1,1,1")
    lines = (tmp_path / "dock_centres.xyz").read_text().splitlines()
    assert int(lines[0]) == len(lines) - 2 == calc.basis.n_orbitals + calc.structure.n_atoms
    assert re.findall(r"^\S+", "\n".join(lines[-2:]), re.MULTILINE) == ["Si", "Si"]
