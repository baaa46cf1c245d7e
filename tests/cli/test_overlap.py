"""``dock compute-overlap``: what it writes, what it keeps, what it refuses."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import dock
from dock.cli.overlap import compute_overlap
from dock.converters import read
from dock.converters.deeph.poscar import format_poscar
from dock.core.structure import Structure
from dock.errors import DockError, FormatError, MissingDataError, OutputError, UsageError
from dock.overlap import compute_integrals


def table(l):
    """Return an .orb table of a normalised function (6 Bohr² − r²)² r^l, zero at 6 Bohr."""
    r = np.linspace(0, 6, 601)
    values = (36 - r * r) ** 2 * r**l
    return values / np.sqrt(np.trapezoid((values * r) ** 2, r))


def orbitals(element, ls):
    """Return the text of an .orb file with one shell of each l."""
    names = "SPDFG"
    lines = [f"Element  {element}", "Radius Cutoff(a.u.)  6"]
    lines += [f"Number of {names[l]}orbital-->  {ls.count(l)}" for l in range(max(ls) + 1)]
    lines += ["SUMMARY  END", "Mesh 601", "dr 0.01"]
    for l in ls:
        lines += ["Type L N", f"0 {l} 0", " ".join(f"{value:.12e}" for value in table(l))]
    return "\n".join(lines)


@pytest.fixture
def case(tmp_path):
    basis = tmp_path / "basis"
    basis.mkdir()
    (basis / "B.orb").write_text(orbitals("B", [0, 1]))
    (basis / "N.orb").write_text(orbitals("N", [0, 1, 2]))
    cell = [[2.5, 0, 0], [1.25, 2.165, 0], [0, 0, 15]]
    structure = Structure(np.array(cell), [[0, 0, 5], [1.25, 0.7217, 5]], [5, 7])
    run = tmp_path / "run"
    run.mkdir()
    (run / "POSCAR").write_text(format_poscar(structure))
    return run, basis


def call(*arguments):
    result = CliRunner().invoke(compute_overlap, [str(word) for word in arguments])
    if isinstance(result.exception, DockError):
        raise result.exception
    assert result.exception is None, result.exception
    assert result.exit_code == 0
    return result.stdout


def test_a_folder_is_complete_and_reads_back(case):
    run, basis = case
    out = call(run / "POSCAR", "--basis", basis, "--quantities", "S,T,r,dS,dT", "--jobs", 1)
    assert "overlap.h5" in out
    calc = read(run)
    assert set(calc.available) >= {"overlap", "kinetic", "position", "gradient"}
    assert calc.basis.ls("N") == (0, 1, 2)
    from dock.converters.basis_files import basis_for, read_basis_folder

    expected = compute_integrals(
        calc.structure, basis_for(calc.structure, read_basis_folder(basis)), ["S", "dS"]
    )
    assert np.abs((calc.overlap - expected["overlap"]).entries).max() < 1e-13
    assert np.abs((calc.require("gradient") - expected["gradient"]).entries).max() < 1e-13
    assert np.linalg.eigvalsh(calc.overlap.k([0, 0, 0]))[0] > 0
    info = json.loads((run / "info.json").read_text())
    assert info["fermi_energy_eV"] is None
    assert info["spinful"] is False


def test_existing_files_are_kept(case):
    run, basis = case
    call(run, "--basis", basis)
    info = json.loads((run / "info.json").read_text())
    info["fermi_energy_eV"] = -3.25
    (run / "info.json").write_text(json.dumps(info))
    before = {name: (run / name).read_bytes() for name in ("POSCAR", "info.json", "overlap.h5")}
    with pytest.raises(OutputError, match=r"overlap\.h5: exists already.*overwrite=True"):
        call(run, "--basis", basis)
    assert {name: (run / name).read_bytes() for name in before} == before
    call(run, "--basis", basis, "--overwrite", "--single-precision")
    assert (run / "info.json").read_bytes() == before["info.json"]
    with h5py.File(run / "overlap.h5") as file:
        assert file["entries"].dtype == np.float32


def test_an_info_json_that_contradicts_the_basis_is_refused(case):
    run, basis = case
    call(run, "--basis", basis)
    (run / "overlap.h5").unlink()
    (basis / "N.orb").write_text(orbitals("N", [0, 1]))
    before = (run / "info.json").read_bytes()
    with pytest.raises(FormatError, match=r"orbitals of N are not those.*\[0, 1\].*\[0, 1, 2\]"):
        call(run, "--basis", basis)
    assert (run / "info.json").read_bytes() == before
    assert not (run / "overlap.h5").exists()


def test_another_structure_in_the_folder_is_refused(case, tmp_path):
    run, basis = case
    other = tmp_path / "other"
    other.mkdir()
    (other / "POSCAR").write_text((run / "POSCAR").read_text().replace("5.0\n", "5.5\n"))
    with pytest.raises(FormatError, match="this folder holds another structure"):
        call(run / "POSCAR", "--basis", basis, "-o", other)


def test_atoms_are_grouped_and_json_lines_tell_the_files(case, tmp_path):
    run, basis = case
    import ase.io

    atoms = ase.io.read(run / "POSCAR", format="vasp") * (2, 1, 1)
    ase.io.write(tmp_path / "mixed.xyz", atoms, format="extxyz")
    rows = call(tmp_path / "mixed.xyz", "--basis", basis, "-o", tmp_path / "out", "--json")
    row = json.loads(rows)
    assert row["quantity"] == "overlap"
    calc = read(tmp_path / "out")
    assert calc.structure.symbols == ("B", "B", "N", "N")
    assert len(calc.overlap.pairs) == row["n_pairs"]


def test_the_pattern_of_a_file(case):
    run, basis = case
    call(run, "--basis", basis)
    (run / "overlap.h5").rename(run / "hamiltonian.h5")
    with h5py.File(run / "hamiltonian.h5", "r+") as file:
        del file.attrs["quantity"]
    call(run, "--basis", basis, "--pairs", run / "hamiltonian.h5")
    with h5py.File(run / "hamiltonian.h5") as one, h5py.File(run / "overlap.h5") as two:
        assert np.array_equal(one["atom_pairs"][()], two["atom_pairs"][()])
        assert np.array_equal(one["entries"][()], two["entries"][()])
    with pytest.raises(MissingDataError, match="radius of the projectors"):
        call(run, "--basis", basis, "--pairs", "kb", "--overwrite")


def test_bad_input(case, tmp_path):
    run, basis = case
    with pytest.raises(MissingDataError, match="no such file or folder"):
        call(tmp_path / "nothing", "--basis", basis)
    with pytest.raises(MissingDataError, match="folder of basis files"):
        call(run, "--basis", tmp_path / "nothing")
    with pytest.raises(UsageError, match="no basis files of 'vasp'"):
        call(run, "--basis", basis, "--code", "vasp")
    with pytest.raises(UsageError, match="no two-centre integral"):
        call(run, "--basis", basis, "--quantities", "S,H")
    (basis / "N.orb").unlink()
    with pytest.raises(MissingDataError, match=r"basis of species N is missing\. They hold: B"):
        call(run, "--basis", basis)
    (basis / "N.orb").write_text(orbitals("N", [0, 1])[:5000])
    with pytest.raises(FormatError, match="cut"):
        call(run, "--basis", basis)
    (tmp_path / "odd.cif").write_text("nonsense")
    with pytest.raises(FormatError, match="the structure cannot be read"):
        call(tmp_path / "odd.cif", "--basis", basis)
    assert sorted(path.name for path in run.iterdir()) == ["POSCAR"]


class TestDefaults:
    """Alone, the command takes the current folder, and finds the basis beside the structure."""

    def test_in_a_folder_with_structure_and_basis(self, case, monkeypatch):
        run, basis = case
        for file in basis.iterdir():
            file.rename(run / file.name)
        monkeypatch.chdir(run)
        assert "overlap.h5" in call()
        assert read(run).basis.ls("N") == (0, 1, 2)

    def test_in_the_folder_of_an_input(self, tmp_path, monkeypatch, bundled):
        """No POSCAR and no finished run: the code's own structure file is found."""
        for name in ("graphene.fdf", "C.ion.nc"):
            shutil.copy(bundled / "siesta" / "graphene" / name, tmp_path)
        monkeypatch.chdir(tmp_path)
        call()
        expected = read(bundled / "siesta" / "graphene").overlap
        k = [0.1, 0.2, 0.0]
        assert np.abs(read(tmp_path).overlap.k(k) - expected.k(k)).max() < 1e-4

    def test_of_a_run(self, tmp_path, bundled):
        run = tmp_path / "run"
        shutil.copytree(bundled / "siesta" / "graphene", run)
        call(run, "-o", tmp_path / "out")
        assert read(tmp_path / "out").structure.formula == "C2"

    def test_what_is_missing_is_said(self, case, tmp_path, monkeypatch):
        run, _ = case
        with pytest.raises(MissingDataError, match=r"folder of basis files.*basis=DIR"):
            call(run)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FormatError, match="not recognised"):
            call()
        (run / "a.cif").write_text("x")
        (run / "b.cif").write_text("x")
        (run / "POSCAR").unlink()
        with pytest.raises(FormatError, match=r"several structures.*a\.cif, b\.cif"):
            call(run)


class TestSpinful:
    """1₂⊗S, as other programs want it for predictions with spin–orbit coupling."""

    def test_it_is_the_overlap_written_twice(self, case, tmp_path):
        run, basis = case
        words = ("--basis", basis, "--quantities", "S,r", "--jobs", 1)
        call(run / "POSCAR", *words, "-o", tmp_path / "plain")
        call(run / "POSCAR", *words, "--spinful", "-o", tmp_path / "both")
        info = json.loads((tmp_path / "both" / "info.json").read_text())
        assert info["spinful"] is True
        plain, both = read(tmp_path / "plain"), read(tmp_path / "both")
        for name in ("S", "r"):
            one, two = plain.require(name), both.require(name)
            assert one.pairs.is_same(two.pairs)
            assert np.array_equal(one.entries, two.entries)
        with h5py.File(tmp_path / "both" / "overlap.h5") as file:
            stored, shapes = file["entries"][()], file["chunk_shapes"][()]
        S = plain.require("S")
        first = stored[: np.prod(shapes[0])].reshape(shapes[0])
        block = S.block(S.pairs.R[0], int(S.pairs.i[0]), int(S.pairs.j[0]))
        assert np.array_equal(first, np.kron(np.eye(2), block))

    def test_in_slabs_of_a_few_blocks(self, case, tmp_path, monkeypatch):
        run, basis = case
        monkeypatch.setattr("dock.overlap.assemble._SLAB_ENTRIES", 40)
        words = ("--basis", basis, "--quantities", "S,r", "--jobs", 1)
        call(run / "POSCAR", *words, "-o", tmp_path / "plain")
        call(run / "POSCAR", *words, "--spinful", "-o", tmp_path / "both")
        for name in ("S", "r"):
            one, two = (read(tmp_path / x).require(name).entries for x in ("plain", "both"))
            assert np.array_equal(one, two)

    @pytest.mark.parametrize("changes", [{"spinful": False}, {"spinful": True, "split_hkb": True}])
    def test_a_folder_that_cannot_have_it(self, case, changes):
        run, basis = case
        call(run / "POSCAR", "--basis", basis)
        path = run / "info.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        before = {file.name: file.read_bytes() for file in run.iterdir()}
        with pytest.raises(FormatError, match="both spins does not belong"):
            call(run / "POSCAR", "--basis", basis, "--spinful", "--overwrite")
        assert before == {file.name: file.read_bytes() for file in run.iterdir()}


class TestFreeAtoms:
    """H of superposed free atoms beside the matrices of a run."""

    IONS = "fixtures/models/bilayer"

    def test_on_the_pairs_of_the_folder(self, tmp_path):
        dock.write(dock.read("fixtures/siesta/graphene"), tmp_path / "run")
        out = call(tmp_path / "run", "--basis", self.IONS, "--quantities", "H0", "--jobs", 1)
        assert "hamiltonian0.h5" in out
        calc = read(tmp_path / "run")
        free = calc.require("hamiltonian0")
        assert free.pairs.is_same(calc.overlap.pairs)
        assert np.abs((free - replace(calc.hamiltonian, quantity="hamiltonian0")).entries).max() < 2
        with pytest.raises(OutputError, match="exists already"):
            call(tmp_path / "run", "--basis", self.IONS, "--quantities", "H0")

    def test_of_a_structure_alone(self, tmp_path):
        """It comes on the pairs that meet through projectors, too."""
        structure = Structure(np.eye(3) * 8.0, [[1, 1, 1], [2.3, 1, 1]], [6, 6])
        (tmp_path / "POSCAR").write_text(format_poscar(structure))
        words = ("--basis", self.IONS, "--quantities", "S,H0", "--jobs", 1)
        call(tmp_path / "POSCAR", *words)
        calc = read(tmp_path)
        assert calc.require("hamiltonian0").hermiticity_error() == 0
        assert calc.require("hamiltonian0").pairs.is_same(calc.overlap.pairs)

    def test_basis_files_of_another_code(self, case):
        run, basis = case
        with pytest.raises(MissingDataError, match=r"potential and the density.*\.ion\.xml"):
            call(run, "--basis", basis, "--quantities", "S,H0")
        assert not (run / "overlap.h5").exists()

    def test_spin_must_be_known(self, case):
        run, basis = case
        with pytest.raises(UsageError, match="whether spin is collinear"):
            call(run, "--basis", basis, "--quantities", "H0", "--spinful")
