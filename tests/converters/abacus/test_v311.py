"""ABACUS 3.9–3.11: real runs of 3.11.0-beta.1, and every layout that these versions write."""

from __future__ import annotations

import gzip
import json
import re
import shutil

import numpy as np
import pytest
import samples

import dock.converters.abacus as abacus
from dock.converters.abacus.levels import read_levels
from dock.converters.abacus.matrices import UNITS
from dock.converters.abacus.run import find_run
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import BOHR
from dock.core.kspace import KBuilder
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.errors import FormatError, MissingDataError, UsageError

layouts = samples.beside(__file__, "layouts")
HIGHEST = 50.0  # eV; above, the digits of H show


def level_error(calc, printed, constant=1.8897261254578281):
    """Largest |own − printed| of the levels below 50 eV; `printed` are those of one step."""
    import scipy.linalg

    H, S = KBuilder(calc.hamiltonian), KBuilder(calc.overlap)
    k_frac = printed.fractional(calc.structure.cell, constant * BOHR)
    worst = 0.0
    for k, wanted in zip(k_frac, printed.energies[0], strict=True):
        found = scipy.linalg.eigh(H.dense(k), S.dense(k), eigvals_only=True)
        worst = max(worst, float(np.abs(found - wanted)[wanted < HIGHEST].max()))
    return worst


def native(calc, quantity):
    """A matrix in ABACUS's order and units."""
    matrix = calc.require(quantity)
    orders = shell_orders(calc.basis, "abacus")
    entries = reorder_entries(matrix.entries, calc.basis, matrix.pairs, orders)
    return matrix.with_entries(entries / UNITS[quantity])


class TestRealRuns:
    """Numbers of ABACUS's own output."""

    def test_graphene(self, graphene):
        calc = abacus.read(graphene)
        assert set(calc.available) == {
            "overlap", "hamiltonian", "density_matrix", "kinetic", "position",
        }  # fmt: skip
        assert (calc.fermi_level, calc.n_electrons) == (-0.4394156555, 8.0)
        assert calc.provenance.version == "3.11.0-beta.1"
        assert calc.provenance.extra["converged"] is True
        assert "notes" not in calc.provenance.extra
        (printed,) = read_levels(graphene / "OUT.ABACUS" / "eig_occ.txt")
        assert printed.energies.shape == (1, 20, 26)
        assert level_error(calc, printed) < 1e-6
        assert abs(calc.density_matrix.dot(calc.overlap) - 8) < 1e-9
        assert abs(printed.occupations.sum() - 8) < 1e-9
        np.testing.assert_allclose(calc.structure.fractional[0, :2], [1 / 3, 2 / 3], atol=1e-10)
        answer = samples.cli("check", graphene)
        assert answer.code == 0
        assert "occupied levels of eig_occ.txt" in answer.out

    def test_every_step_of_a_relaxation(self, runs):
        printed = read_levels(runs / "v311_si2_relax" / "OUT.ABACUS" / "eig_occ.txt")
        log = read_log(runs / "v311_si2_relax" / "OUT.ABACUS" / "running_relax.log")
        first = [[0, 0, 0], [0.26, 0.25, 0.245]]
        for step, fermi in enumerate((7.145486082, 7.2264373741, 7.0592721926)):
            calc = abacus.read(runs / "v311_si2_relax", step=step)
            assert (calc.fermi_level, printed[step].step) == (fermi, step)
            own = first if step == 0 else log.frames[step].coordinates
            np.testing.assert_allclose(calc.structure.fractional, own, atol=1e-11)
            assert level_error(calc, printed[step]) < 1e-6
            assert abs(calc.density_matrix.dot(calc.overlap) - 8) < 1e-9
            assert ("position" in calc.available) == (step == 2)
            left_out = [note for note in calc.provenance.extra["notes"] if "Left out" in note]
            assert len(left_out) == (step < 2)

    def test_every_step_of_molecular_dynamics(self, runs, tmp_path):
        """H is numbered from 1, r and T from 0; the header alone has the positions."""
        folder = runs / "v311_si2_md"
        dump = (folder / "OUT.ABACUS" / "MD_dump").read_text().split("MDSTEP")
        answer = samples.cli("convert", folder, "--set", "step=all", "-o", tmp_path / "set")
        assert answer.code == 0
        for step, fermi in enumerate((7.145486082, 7.1757542225, 7.2026978173)):
            calc = abacus.read(folder, step=step)
            assert calc.fermi_level == fermi
            rows = [line.split()[2:5] for line in dump[step + 1].splitlines()[7:9]]
            positions = np.array(rows, dtype=float)
            np.testing.assert_allclose(calc.structure.positions, positions, atol=2e-9)
            for atom, place in enumerate(positions):  # the mean place of an s orbital
                at = calc.basis.offsets[atom]
                mean = [calc.position.to_csr([0, 0, 0], axis)[at, at] for axis in range(3)]
                np.testing.assert_allclose(mean, place, atol=2e-5)
            assert calc.require("kinetic").hermiticity_error() < 1e-9
            kept = json.loads((tmp_path / "set" / str(step) / "info.json").read_text())
            assert kept["fermi_energy_eV"] == fermi
        (printed,) = read_levels(folder / "OUT.ABACUS" / "eig_occ.txt")
        assert printed.step == 2
        assert level_error(calc, printed) < 1e-6

    def test_a_step_that_is_not_there(self, runs):
        for name in ("v311_si2_relax", "v311_si2_md"):
            with pytest.raises(MissingDataError, match="ionic step 3 is missing"):
                abacus.read(runs / name, step=3)
        with pytest.raises(UsageError, match="found 'all'"):
            abacus.read(runs / "v311_si2_md", settings={"step": "all"})


def with_hamiltonian(graphene, name, content):
    """Exchange the Hamiltonian's file for one of another name or layout."""
    out = graphene / "OUT.ABACUS"
    for path in out.glob("hrs1_nao.*"):
        path.unlink()
    (out / name).write_bytes(content)
    return out


class TestLayouts:
    """One Hamiltonian in every layout is read to the same numbers."""

    @pytest.mark.parametrize("kind", ["STEP", "wide", "narrow", "empty", "gz", "dat", "six"])
    def test_text_and_binary(self, graphene, kind):
        calc = abacus.read(graphene)
        blocks = layouts.dense_of(native(calc, "hamiltonian"))
        name, structure = "hrs1_nao.csr", calc.structure
        if kind == "empty":  # in the middle, at the end, and one that wraps its zeros
            far = {(R[0], R[1], 9): np.zeros((26, 26)) for R in ((0, 0), (-1, 2))}
            far |= {tuple(-x for x in R): block for R, block in far.items()}
            blocks = {**dict(list(blocks.items())[:5]), **far, **blocks}
        content = {
            "STEP": lambda: layouts.old_text(blocks),
            "wide": lambda: layouts.new_text(blocks, structure, width=(10**6, 10**6)),
            "narrow": lambda: layouts.new_text(blocks, structure, width=(3, 8)),
            "empty": lambda: layouts.new_text(blocks, structure),
            "six": lambda: layouts.new_text(blocks, structure),
            "gz": lambda: gzip.compress(layouts.new_text(blocks, structure), 1),
            "dat": lambda: layouts.binary(blocks),
        }[kind]()
        name = {"gz": "hrs1_nao.csr.gz", "dat": "hrs1_nao.dat"}.get(kind, name)
        with_hamiltonian(graphene, name, content)
        again = abacus.read(graphene)
        mine, theirs = calc.hamiltonian.aligned(again.hamiltonian)
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=1e-14)

    def test_the_density_matrix_of_3_9(self, graphene):
        """Counted from 1, in a file of the old layout; several steps."""
        calc = abacus.read(graphene)
        blocks = layouts.dense_of(native(calc, "density_matrix"))
        doubled = {R: 2 * block for R, block in blocks.items()}
        path = graphene / "OUT.ABACUS" / "dmrs1_nao.csr"
        path.with_suffix(".csr.gz").unlink()
        path.write_bytes(
            layouts.old_text(blocks, "IONIC_STEP: 1", "DM")
            + layouts.old_text(doubled, "IONIC_STEP: 2", "DM")
        )
        again = abacus.read(graphene)
        mine, theirs = calc.density_matrix.aligned(again.density_matrix)
        np.testing.assert_allclose(theirs.entries, 2 * mine.entries, rtol=1e-14)

    @pytest.mark.parametrize("name", ["hrs1g{}_nao.csr", "matrix/hrs1_nao.csrg{}"])
    @pytest.mark.parametrize("first", [0, 1])
    def test_names_with_steps_count_as_the_version_has_it(self, graphene, name, first):
        """A file's first line says its step; its name counts from 0 or 1."""
        calc = abacus.read(graphene)
        blocks = layouts.dense_of(native(calc, "hamiltonian"))
        out = graphene / "OUT.ABACUS"
        (out / "matrix").mkdir()
        for path in out.glob("*.csr.gz"):
            path.unlink()
        (out / "running_scf.log").rename(out / "running_md.log")
        for step in (0, 1, 2):
            path = out / name.format(step + first)
            path.write_bytes(layouts.new_text(blocks, calc.structure, step=step + 1))
        assert find_run(out).split_steps == (0, 1, 2)
        assert abacus.read(graphene).provenance.extra["step"] == 2
        assert abacus.read(graphene, step=1).provenance.extra["step"] == 1

    def test_npz_of_a_relaxation(self, runs, tmp_path):
        """The last step overwrites the file; positions and Fermi level are its own."""
        folder = tmp_path / "run"
        shutil.copytree(runs / "v311_si2_relax", folder)
        calc = abacus.read(folder)
        out = folder / "OUT.ABACUS"
        for name, quantity in (("hrs1", "hamiltonian"), ("sr", "overlap")):
            layouts.write_npz(out / f"{name}_nao.npz", native(calc, quantity), calc.structure)
        for path in out.glob("*.csr"):
            path.unlink()
        again = abacus.read(folder)
        assert again.structure.is_close(calc.structure, 1e-10)
        assert (again.provenance.extra["step"], again.fermi_level) == (2, calc.fermi_level)
        mine, theirs = calc.hamiltonian.aligned(again.hamiltonian)
        np.testing.assert_allclose(theirs.entries, mine.entries, rtol=1e-13, atol=1e-13)
        with pytest.raises(MissingDataError, match=r"ionic step 0 is missing.*it holds step 2"):
            abacus.read(folder, step=0)

    def test_a_run_at_gamma_only(self, graphene):
        calc = abacus.read(graphene)
        out = graphene / "OUT.ABACUS"
        old = list(out.glob("*.csr.gz"))
        for quantity, name in (("hamiltonian", "hrs1"), ("overlap", "sr")):
            total = sum(layouts.dense_of(native(calc, quantity)).values())
            letter = "H" if quantity == "hamiltonian" else "S"
            text = layouts.new_text({(0, 0, 0): total}, calc.structure, letter=letter, folded=True)
            (out / f"{name}_nao.csr").write_bytes(text)
        for path in old:
            path.unlink()
        folded = abacus.read(graphene)
        assert folded.only_gamma
        (printed,) = read_levels(out / "eig_occ.txt")
        gamma = printed._replace(k=printed.k[:1], energies=printed.energies[:, :1])
        assert level_error(folded, gamma) < 1e-6
        assert samples.cli("convert", graphene, "-o", graphene / "unified").code == 0
        assert "only k = 0 has a meaning" in samples.cli("check", graphene / "unified").out
        assert "only k = 0 has a meaning" in samples.cli("info", graphene / "unified").out
        assert "only k = 0" in samples.cli("bands", graphene / "unified").err
        answer = samples.cli("dos", graphene / "unified", "--mesh", 2, 2, 1)
        samples.refused(answer, "no k-point but Γ can be computed")
        assert answer.err.count("dock: note") == 1  # said once, and nothing was begun
        assert "solver" not in answer.err

    def test_binary_of_a_run_at_gamma_only_is_known_by_its_input(self, graphene):
        calc = abacus.read(graphene)
        total = sum(layouts.dense_of(native(calc, "hamiltonian")).values())
        with_hamiltonian(graphene, "hrs1_nao.dat", layouts.binary({(0, 0, 0): total}))
        assert not abacus.read(graphene).only_gamma
        path = graphene / "OUT.ABACUS" / "INPUT.info"
        path.write_text(re.sub(r"(?m)^gamma_only +0", "gamma_only  1", path.read_text()))
        assert abacus.read(graphene).only_gamma


class TestRefusals:
    """Files that are empty, misnamed or of two runs."""

    def test_a_zero_hamiltonian(self, graphene):
        calc = abacus.read(graphene)
        blocks = {
            R: 0 * block for R, block in layouts.dense_of(native(calc, "hamiltonian")).items()
        }
        with_hamiltonian(graphene, "hrs1_nao.csr", layouts.new_text(blocks, calc.structure))
        answer = samples.cli("convert", graphene, "-o", graphene / "out")
        samples.refused(answer, "the Hamiltonian is zero", "v3.11.0-beta.1", "nspin 2")
        assert not (graphene / "out").exists()
        assert samples.cli("check", graphene).code == 2

    @pytest.mark.parametrize("kind", ["matrix", "spin", "step's atoms", "species", "header"])
    def test_a_file_of_something_else(self, graphene, kind):
        calc = abacus.read(graphene)
        blocks = layouts.dense_of(native(calc, "overlap"))
        structure, letter, spin = calc.structure, "S", 1
        if kind == "matrix":
            letter = "H"
        if kind == "step's atoms":
            structure = (
                structure.displaced(0.01) if hasattr(structure, "displaced") else moved(structure)
            )
        if kind == "species":
            structure = structure.relabel(["N", "N"])
        text = layouts.new_text(blocks, structure, letter=letter, spin=spin)
        if kind == "header":
            text = text.replace(b" Direct\n", b" Direct\n x y z\n")
        path = graphene / "OUT.ABACUS" / "srs1_nao.csr.gz"
        if kind == "spin":
            path = path.with_name("hrs1_nao.csr.gz")
            text = layouts.new_text(blocks, structure, spin=2)
        path.write_bytes(gzip.compress(text, 1))
        with pytest.raises(FormatError, match=path.name) as caught:
            [abacus.read(graphene).require(name) for name in ("overlap", "hamiltonian")]
        words = {"header": "structure in the header is damaged"}
        assert words.get(kind, "does not belong to the others") in str(caught.value)

    def test_a_log_of_another_run(self, graphene):
        layouts.edit(
            graphene / "OUT.ABACUS" / "running_scf.log", ("0.666666666701", "0.676666666701")
        )
        with pytest.raises(FormatError, match="are of different runs"):
            abacus.read(graphene)

    def test_a_damaged_table_of_levels(self, graphene):
        path = graphene / "OUT.ABACUS" / "eig_occ.txt"
        text = path.read_text()
        path.write_text(text[: len(text) // 2].rstrip("\n"))
        with pytest.raises(FormatError, match="cut or damaged"):
            read_levels(path)
        assert samples.cli("check", graphene).code == 2
        path.write_text("energies of another kind\n")
        assert "layout of eig_occ.txt is not known" in samples.cli("check", graphene).out

    def test_eig_txt_is_the_same_without_its_first_line(self, graphene):
        path = graphene / "OUT.ABACUS" / "eig_occ.txt"
        (whole,) = read_levels(path)
        path.with_name("eig.txt").write_text(path.read_text().partition("\n")[2])
        path.unlink()
        (plain,) = read_levels(path.with_name("eig.txt"))
        assert plain.step is None
        np.testing.assert_array_equal(plain.energies, whole.energies)
        assert "occupied levels of eig.txt" in samples.cli("check", graphene).out


class TestSmallFiles:
    """Tables of levels and dumps that the bundled runs do not have."""

    def test_levels_of_two_spins(self, tmp_path):
        head = "2     # ionic step\n Electronic state energy (eV) and occupations\n Spin number 2\n"
        rows = [
            f" spin={spin} k-point={q}/2 Cartesian=0.1 0 {q}e-1 (99 plane wave)\n"
            f" 1 {spin}.5 0.5\n 2 {10 * spin + q} 0\n\n"
            for spin in (1, 2)
            for q in (1, 2)
        ]
        (tmp_path / "eig_occ.txt").write_text(head + "".join(rows))
        (found,) = read_levels(tmp_path / "eig_occ.txt")
        assert found.step == 1
        np.testing.assert_array_equal(
            found.energies, [[[1.5, 11], [1.5, 12]], [[2.5, 21], [2.5, 22]]]
        )
        np.testing.assert_allclose(found.k, [[0.1, 0, 0.1], [0.1, 0, 0.2]])
        k = found.fractional(np.diag([2.0, 2.0, 4.0]), 2.0)
        np.testing.assert_allclose(k, [[0.1, 0, 0.2], [0.1, 0, 0.4]])

    def test_positions_of_older_dynamics_come_from_the_dump(self, copy_run):
        """Layouts of ``STEP:`` have no positions, and the log those of the first step only."""
        folder = copy_run("graphene")
        out = folder / "OUT.ABACUS"
        (out / "running_scf.log").rename(out / "running_md.log")
        for kind in ("HR", "SR"):
            path = out / f"data-{kind}-sparse_SPIN0.csr.gz"
            text = gzip.decompress(path.read_bytes())
            path.unlink()
            both = text + text.replace(b"STEP: 0", b"STEP: 1")
            path.with_suffix("").write_bytes(both)
        calc = abacus.read(folder, step=0)
        with pytest.raises(MissingDataError, match="positions of ionic step 1"):
            abacus.read(folder)
        lines = []
        for step in (0, 1):
            lines += [f"MDSTEP:  {step}", "LATTICE_CONSTANT: 1.0 Angstrom", "LATTICE_VECTORS"]
            lines += [" ".join(f"{x:.12f}" for x in row) for row in calc.structure.cell]
            lines.append("INDEX LABEL POSITION (Angstrom) FORCE VELOCITY")
            for atom, place in enumerate(calc.structure.positions + 0.01 * step):
                lines.append(f" {atom} C " + " ".join(f"{x:.12f}" for x in place) + " 0 0 0 0 0 0")
        (out / "MD_dump").write_text("\n".join(lines) + "\n")
        last = abacus.read(folder)
        np.testing.assert_allclose(
            last.structure.positions, calc.structure.positions + 0.01, atol=1e-10
        )
        (out / "MD_dump").write_text("\n".join(lines[:-1]) + "\n")
        with pytest.raises(FormatError, match=r"MD_dump.*damaged or of another run"):
            abacus.read(folder)

    @pytest.mark.parametrize("width", [(6, 16), (1, 1)])
    def test_spinors_in_wrapped_lines(self, bundled, tmp_path, width):
        """Pairs of numbers in brackets, as many to a line as a build likes."""
        from dock.converters.abacus.matrices import sparse_file

        rng = np.random.default_rng(0)
        block = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
        empty = {(0, 0, z): np.zeros((4, 4), dtype=complex) for z in (-1, 1)}
        structure = abacus.read(bundled / "abacus" / "si2_get_S").structure
        path = tmp_path / "hrs1_nao.csr"
        text = layouts.new_text({(0, 0, 0): block, **empty}, structure, width=width)
        path.write_bytes(text)
        file = sparse_file(path, 4)
        blocks = {part.R: part for part in file.blocks(file.choose(None))}
        np.testing.assert_allclose(blocks[0, 0, 0].values.reshape(4, 4), block, rtol=1e-15)
        assert [len(blocks[R].values) for R in empty] == [0, 0]


def moved(structure):
    from dataclasses import replace

    return replace(structure, positions=structure.positions + np.array([[0.01, 0, 0], [0, 0, 0]]))


@pytest.mark.shared
class TestCases:
    """Numbers of older runs laid out as newer versions write them."""

    def same(self, shared, case, fixture, factor=1.0, names=("overlap", "hamiltonian")):
        mine = abacus.read(shared / "cases" / "K13-codes-2026" / case)
        theirs = abacus.read(shared / "fixtures" / "abacus" / fixture)
        for name in names:
            first, second = mine.require(name).aligned(theirs.require(name))
            scale = factor if name == "hamiltonian" else 1.0
            np.testing.assert_allclose(
                first.entries, scale * second.entries, rtol=1e-12, atol=1e-12
            )
        return mine, theirs

    def test_folders(self, shared):
        mine, theirs = self.same(shared, "abacus-3.11-get_s", "si2_get_S", names=("overlap",))
        assert mine.structure.is_close(theirs.structure, 1e-10)
        mine, theirs = self.same(shared, "abacus-3.11-npz", "si2")
        assert mine.fermi_level == pytest.approx(theirs.fermi_level, abs=1e-9)
        mine, _ = self.same(shared, "abacus-3.11-relax-npz", "si2", 1.01)
        np.testing.assert_allclose(mine.structure.fractional[1], [0.251, 0.25, 0.25], atol=1e-12)
        assert mine.fermi_level == 7.3252586558
        names = ("overlap", "hamiltonian", "density_matrix", "position")
        mine, _ = self.same(shared, "abacus-3.9.0.10-scf", "graphene", names=names)
        assert (mine.fermi_level, mine.n_electrons) == (-0.4394156493, 8.0)

    def test_gamma(self, shared):
        mine = abacus.read(shared / "cases" / "K13-codes-2026" / "abacus-3.11-gamma-text")
        theirs = abacus.read(shared / "fixtures" / "abacus" / "si2")
        assert mine.only_gamma
        import scipy.linalg

        levels = [
            scipy.linalg.eigh(
                KBuilder(calc.hamiltonian).dense(np.zeros(3)),
                KBuilder(calc.overlap).dense(np.zeros(3)),
                eigvals_only=True,
            )
            for calc in (mine, theirs)
        ]
        np.testing.assert_allclose(levels[0], levels[1], atol=5e-6)
