"""Run folders as users have them: interrupted, of two runs, with a log in another form."""

import re
import shutil

import numpy as np
import pytest
import samples

import dock.converters.abacus as abacus
from dock.converters.abacus import hr_csr
from dock.converters.abacus.matrices import UNITS, sparse_file
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import BOHR
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError

layouts = samples.beside(__file__, "layouts")
_SHARED = samples.beside(__file__, "conftest")
random_calculation, write_run = _SHARED.random_calculation, _SHARED.write_run
UNIT = 1.8897261254578281
FERMI = (7.145486082, 7.2264373741, 7.0592721926)
TABLE = re.compile(
    r"DIRECT COORDINATES[^\n]*\n( +atom[^\n]*\n)((?: *(?:taud_C\d|C|Si)(?: +\S+)+\n)+)"
)


def cartesian(log, cell, unit):
    """The log of a run whose STRU has Cartesian positions."""

    def table(found):
        lines = [f"CARTESIAN COORDINATES ( UNIT = {unit} Bohr )\n", found[1]]
        for words in map(str.split, found[2].splitlines()):
            place = np.array(words[1:4], dtype=float) @ cell / (UNIT * BOHR)
            lines.append(f"  {words[0]} " + " ".join(f"{x:.12f}" for x in place) + " 0.0\n")
        return "".join(lines)

    return TABLE.sub(table, log)


def change(path, edit):
    path.write_text(edit(path.read_text()))


@pytest.fixture
def relax(runs, tmp_path):
    """A copy of the relaxation of three steps."""
    return shutil.copytree(runs / "v311_si2_relax", tmp_path / "relax")


@pytest.fixture
def dynamics(runs, tmp_path):
    """A copy of the molecular dynamics run, a file for each step."""
    return shutil.copytree(runs / "v311_si2_md", tmp_path / "md")


def in_old_layout(folder):
    """Write H and S of the first and last step with ``STEP:``, which has no positions."""
    for name, quantity in (("hrs1", "hamiltonian"), ("srs1", "overlap")):
        path = folder / "OUT.ABACUS" / f"{name}_nao.csr"
        text = b""
        for step in (0, 2):
            calc = abacus.read(folder, step=step)
            matrix, orders = calc.require(quantity), shell_orders(calc.basis, "abacus")
            entries = reorder_entries(matrix.entries, calc.basis, matrix.pairs, orders)
            blocks = layouts.dense_of(matrix.with_entries(entries / UNITS[quantity]))
            text += layouts.old_text(blocks, f"STEP: {step}")
        path.with_suffix(".txt").write_bytes(text)
    for path in (folder / "OUT.ABACUS").glob("*.csr"):
        path.unlink()
    for path in (folder / "OUT.ABACUS").glob("?rs1_nao.txt"):
        path.rename(path.with_suffix(".csr"))


class TestCartesianLogs:
    """A log has the positions in the form that STRU has them."""

    @pytest.mark.parametrize("unit", ["1.88972613", "1.88973"])
    def test_beside_headers_with_the_structure(self, relax, runs, unit):
        cell = abacus.read(relax).structure.cell
        log = relax / "OUT.ABACUS" / "running_relax.log"
        change(log, lambda text: cartesian(text, cell, unit))
        for step in range(3):
            found = abacus.read(relax, step=step)
            wanted = abacus.read(runs / "v311_si2_relax", step=step).structure
            assert found.structure.is_close(wanted, 1e-10)
            assert found.fermi_level == FERMI[step]
            assert not any("other positions" in note for note in found.provenance.extra["notes"])

    def test_six_digits_of_the_unit_move_no_atom(self, copy_run):
        folder = copy_run("graphene")
        wanted = abacus.read(folder).structure
        log = folder / "OUT.ABACUS" / "running_scf.log"
        change(log, lambda text: cartesian(text, wanted.cell, "1.88973"))
        assert "CARTESIAN" in log.read_text()
        np.testing.assert_array_equal(abacus.read(folder).structure.positions, wanted.positions)


class TestInterruptedRuns:
    """The matrices of the steps that are there, with the levels of their own step."""

    def test_a_log_without_the_last_step(self, relax):
        log = relax / "OUT.ABACUS" / "running_relax.log"
        change(log, lambda text: text[: re.search(r" --> #ION MOVE# +3 ", text).start()])
        calc = abacus.read(relax)
        assert (calc.provenance.extra["step"], calc.fermi_level) == (2, None)
        assert "converged" not in calc.provenance.extra
        assert any("has no ionic step 2" in note for note in calc.provenance.extra["notes"])
        assert abacus.read(relax, step=1).fermi_level == FERMI[1]

    def test_the_next_step_was_not_finished(self, relax):
        """The step that is read converged; the one that ABACUS was at does not matter."""
        out = relax / "OUT.ABACUS"
        for name in ("hrs1", "srs1", "dmrs1"):
            change(out / f"{name}_nao.csr", lambda text: text.split(" --- Ionic Step 3")[0])
        change(out / "running_relax.log", lambda text: text[: text.rindex("#ELEC ITER#")])
        answer = samples.cli("check", relax)
        assert (answer.code, "converged, as running_relax.log says" in answer.out) == (0, True)

    def test_a_log_that_ends_within_a_table(self, relax):
        """Nothing of the next step is there."""
        out = relax / "OUT.ABACUS"
        cut = (out / "running_relax.log").read_text().rindex("DIRECT COORDINATES") + 140
        change(out / "running_relax.log", lambda text: text[:cut])
        for name in ("hrs1", "srs1", "dmrs1"):
            change(out / f"{name}_nao.csr", lambda text: text.split(" --- Ionic Step 3")[0])
        assert abacus.read(relax).fermi_level == FERMI[1]

    def test_a_cell_is_printed_only_when_it_changes(self, relax):
        """In a relaxation of the cell, steps that move atoms alone keep the cell before."""
        log = relax / "OUT.ABACUS" / "running_relax.log"
        text = log.read_text()
        vectors = re.search(r" Lattice vectors:(?:[^\n]*\n){4}", text)[0]
        larger = vectors.replace("2.715", "2.8")
        third = text.index(" DIRECT COORD", text.index(" RELAX STEP: 2"))
        for place in (third, text.index(" RELAX STEP: 3")):  # above the table, or below it
            log.write_text(text[:place] + larger + text[place:])
            cells = [frame.cell[0, 1] for frame in read_log(log).frames]
            np.testing.assert_allclose(cells[:3], [2.715, 2.715, 2.8], rtol=1e-5)

    @pytest.mark.parametrize(
        ("run", "table", "mark"),
        [
            ("v311_graphene", "eig_occ.txt", " spin=1 k-point=11/"),
            ("graphene", "istate.info", "BAND  .*Kpoint = 12 "),
        ],
    )
    def test_a_table_of_levels_that_ends_between_two_k_points(self, copy_run, run, table, mark):
        """Its occupations do not add up to the electrons of the cell."""
        out = copy_run(run) / "OUT.ABACUS"
        (out / "running_scf.log").unlink()
        assert abacus.read(out).n_electrons == 8
        change(out / table, lambda text: text[: re.search(mark, text).start()])
        assert abacus.read(out).n_electrons is None

    def test_npz_of_the_last_finished_step(self, relax):
        """The step is found by the positions, whatever form the log has them in."""
        out = relax / "OUT.ABACUS"
        calc = abacus.read(relax, step=1)
        orders = shell_orders(calc.basis, "abacus")
        for name, matrix in (("hrs1", calc.hamiltonian), ("sr", calc.overlap)):
            entries = reorder_entries(matrix.entries, calc.basis, matrix.pairs, orders)
            native = matrix.with_entries(entries / UNITS[matrix.quantity])
            layouts.write_npz(out / f"{name}_nao.npz", native, calc.structure)
        for path in out.glob("*.csr"):
            path.unlink()
        cell = calc.structure.cell
        change(
            out / "running_relax.log",
            lambda text: cartesian(text[: text.rindex("#ELEC ITER#")], cell, "1.88972613"),
        )
        found = abacus.read(relax)
        assert (found.provenance.extra["step"], found.fermi_level) == (1, FERMI[1])
        assert found.structure.is_close(calc.structure, 1e-10)

    def test_dynamics_that_stopped_between_s_and_h(self, dynamics):
        out = dynamics / "OUT.ABACUS"
        (out / "hrs1g3_nao.csr").unlink()
        assert abacus.read(dynamics).provenance.extra["step"] == 1
        with pytest.raises(MissingDataError, match="ionic step 2 is missing"):
            abacus.read(dynamics, step=2)
        (out / "srs1g2_nao.csr").unlink()
        with pytest.raises(MissingDataError, match="the overlap of ionic step 1 is missing"):
            abacus.read(dynamics)


class TestTwoRunsInOneFolder:
    """What contradicts each other is refused, or the last run is taken."""

    def test_a_relaxation_after_a_run_of_one_step(self, relax):
        in_old_layout(relax)
        out = relax / "OUT.ABACUS"
        first = (out / "running_relax.log").read_text().split(" RELAX STEP: 2")[0]
        (out / "running_scf.log").write_text(first)
        calc = abacus.read(relax)
        assert (calc.provenance.extra["step"], calc.fermi_level) == (2, FERMI[2])
        change(out / "INPUT.info", lambda text: text.replace("calculation ", "# "))
        (relax / "INPUT").unlink()
        with pytest.raises(FormatError, match=r"Expected one ionic step.*Found 3 of them"):
            _ = abacus.read(relax).hamiltonian

    def test_an_overlap_of_get_s_beside_steps(self, dynamics, bundled):
        out = dynamics / "OUT.ABACUS"
        shutil.copy(bundled / "abacus/v311_si2_getS/OUT.ABACUS/sr_nao.csr.gz", out)
        with pytest.raises(FormatError, match="several files hold the same overlap"):
            abacus.read(dynamics)

    def test_stru_with_other_species(self, copy_run):
        folder = copy_run("graphene")
        change(folder / "STRU", lambda text: re.sub(r"^C\b", "Si", text, flags=re.MULTILINE))
        with pytest.raises(FormatError, match=r"have other atoms\. Expected C\. Found Si"):
            abacus.read(folder)


@pytest.mark.parametrize("path", [".", "hrs1_nao.csr.gz", "../OUT.ABACUS/", "below/.."])
def test_from_within_the_output_folder(copy_run, monkeypatch, path):
    """STRU and the suffix are found from there, too."""
    out = copy_run("v311_graphene") / "OUT.ABACUS"
    (out / "below").mkdir()
    monkeypatch.chdir(out)
    extra = abacus.read(path).provenance.extra
    assert ("notes" in extra, extra["suffix"]) == (False, "ABACUS")


def test_a_header_that_is_cut_by_the_pieces_counts_once(tmp_path, monkeypatch):
    """Files are read in pieces; ``STEP:`` also stands in ``IONIC_STEP:``."""
    monkeypatch.setattr(hr_csr, "_SCAN", 100)
    path = tmp_path / "dmrs1_nao.csr"
    for length in range(120):
        lines = ["1" * length, "IONIC_STEP: 1", "2 " * 80, "IONIC_STEP: 2", "3 " * 90]
        path.write_text("\n".join(lines))
        assert [step.number for step in sparse_file(path, 0).steps] == [0, 1]


def test_without_the_log_stru_must_have_the_atoms_of_the_matrices(copy_run):
    folder = copy_run("v311_graphene")
    (folder / "OUT.ABACUS" / "running_scf.log").unlink()
    atom = "\n0.6666666667 0.3333333333 0.5000000000 0 0 0"
    change(folder / "STRU", lambda text: text.replace(atom, "").replace("\n2\n", "\n1\n"))
    with pytest.raises(FormatError, match=r"STRU and \w+\.csr.* Expected 2 atoms"):
        abacus.read(folder)


class TestSmallRuns:
    """Runs from random matrices."""

    @pytest.fixture
    def spinors(self, tmp_path):
        """A run with spinors as native records, without its log."""
        folder = tmp_path / "run"
        calc = random_calculation(3, Spin.NONCOLLINEAR)
        write_run(calc, folder, layout="new")
        out = folder / "OUT.ABACUS"
        size = 2 * calc.basis.n_orbitals
        for path in out.glob("*.csr"):
            file = sparse_file(path, size)
            blocks = {}
            for part in file.blocks(file.choose(None)):
                dense = blocks.setdefault(part.R, np.zeros((size, size), dtype=complex))
                dense[part.rows, part.cols] = part.values
            path.with_suffix(".dat").write_bytes(layouts.binary(blocks))
        return folder

    def test_native_records_without_the_log(self, spinors):
        out = spinors / "OUT.ABACUS"
        dat = [path.rename(path.with_suffix(".kept")) for path in out.glob("*.dat")]
        wanted = abacus.read(spinors).hamiltonian
        for path in out.glob("*.csr"):
            path.unlink()
        for path in dat:
            path.rename(path.with_suffix(".dat"))
        found = abacus.read(spinors, settings={"log": "no"})
        mine, theirs = found.hamiltonian.aligned(wanted)
        np.testing.assert_allclose(mine.entries, theirs.entries, rtol=1e-13, atol=1e-13)
        (spinors / "INPUT").unlink()
        with pytest.raises(FormatError, match=r"as with nspin 4. Log, INPUT \(nspin\)"):
            _ = abacus.read(spinors, settings={"log": "no"}).hamiltonian

    def test_packed_records_are_named(self, spinors):
        out = spinors / "OUT.ABACUS"
        for path in out.glob("*.csr"):
            path.unlink()
        for path in out.glob("*.dat"):
            path.rename(f"{path}.gz")
        with pytest.raises(FormatError, match="Unpack it with gunzip"):
            abacus.read(spinors)

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (
                lambda text: text[: text.index("\n\n", text.index("CSR Format"))],
                "the overlap is zero",
            ),
            (lambda text: re.sub(r"(?<=# CSR values\n )\S+", "nan", text), "NaN or infinite"),
        ],
    )
    def test_an_overlap_without_numbers(self, tmp_path, edit, message):
        write_run(random_calculation(5), tmp_path / "run", layout="new")
        change(tmp_path / "run" / "OUT.ABACUS" / "srs1_nao.csr", edit)
        with pytest.raises(FormatError, match=message):
            _ = abacus.read(tmp_path / "run").overlap

    def test_gamma_only_comes_back(self, tmp_path):
        write_run(random_calculation(5), tmp_path / "run")
        change(tmp_path / "run" / "INPUT", lambda text: text.replace("only 0", "only 1"))
        calc = abacus.read(tmp_path / "run")
        assert calc.only_gamma
        for layout in ("old", "new"):
            write_run(calc, tmp_path / layout, layout=layout)
            assert abacus.read(tmp_path / layout).only_gamma
