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
from dock.converters.abacus.reach import Reach, projector_radius
from dock.converters.abacus.run import find_run
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import BOHR
from dock.core.kspace import KBuilder
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.errors import FormatError, MissingDataError, UsageError
from dock.overlap.neighbours import projector_pairs

layouts = samples.beside(__file__, "layouts")
HIGHEST = 50.0  # eV; above, the digits of H show
GRAPHENE = {"C": 8 * BOHR}, {"C": 1.44 * BOHR}
SILICON = {"Si": 6 * BOHR}, {"Si": 3.64 * BOHR}


@pytest.fixture
def graphene(copy_run):
    """A copy of the real run of one step."""
    return copy_run("v311_graphene")


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


def edit(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    return path


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
            assert (
                calc.kinetic_error if False else calc.require("kinetic").hermiticity_error() < 1e-9
            )
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


class TestPairsBeyondTheOverlap:
    """Pairs that meet through a projector only."""

    def test_get_s_has_every_pair_of_h(self, bundled, runs):
        calc = abacus.read(bundled / "abacus" / "v311_si2_getS")
        assert calc.available == ("overlap",)
        assert len(calc.overlap.pairs) == 294
        stored = calc.provenance.extra["reach_angstrom"]
        assert stored == {"orbitals": {"Si": 6 * BOHR}, "projectors": {"Si": 3.64 * BOHR}}
        filled = np.logical_or.reduceat(
            calc.overlap.entries[0] != 0, calc.overlap.layout.starts[:-1]
        )
        assert filled.sum() == 94
        H = abacus.read(runs / "v311_si2_relax", step=0)
        assert not projector_pairs(H.structure, *SILICON).difference(H.hamiltonian.pairs)

    def test_graphene(self, graphene):
        calc = abacus.read(graphene)
        rule = projector_pairs(calc.structure, *GRAPHENE)
        pairs = calc.hamiltonian.pairs
        assert (len(pairs), len(rule)) == (170, 218)
        assert np.all(rule.find(pairs.R, pairs.i, pairs.j) >= 0)
        (graphene / "OUT.ABACUS" / "hrs1_nao.csr.gz").unlink()
        assert len(abacus.read(graphene).overlap.pairs) == 218

    def test_without_the_radii_it_is_said(self, copy_run):
        folder = copy_run("v311_si2_getS")
        edit(folder / "OUT.ABACUS" / "running_get_s.log", ("Nonlocal proj. max", "Proj."))
        calc = abacus.read(folder)
        assert len(calc.overlap.pairs) == 94
        assert "through a projector only are not in" in calc.provenance.extra["notes"][0]

    def test_a_cut_log_does_not_lose_pairs_in_silence(self, copy_run):
        path = copy_run("v311_si2_getS") / "OUT.ABACUS" / "running_get_s.log"
        text = path.read_text()
        for mark in ("SETUP SEARCHING RADIUS", "3.64\n", "TIME STATISTICS"):
            path.write_text(text[: text.index(mark) + 3])
            with pytest.raises(FormatError, match="the log is cut, and the radii"):
                abacus.read(path.parent)
        calc = abacus.read(path.parent, settings={"log": "no"})
        assert len(calc.overlap.pairs) == 94
        assert "through a projector only are not in" in calc.provenance.extra["notes"][0]

    def test_infer_on_the_overlap_alone(self, runs, tmp_path):
        """A model of H gives every block of H, from an overlap without them."""
        samples.cli("convert", runs / "v311_si2_relax", "--set", "step=all", "-o", tmp_path / "set")
        alone = tmp_path / "alone"
        alone.mkdir()
        for name in ("POSCAR", "info.json", "overlap.h5"):
            shutil.copy(tmp_path / "set" / "1" / name, alone)
        (tmp_path / "m.toml").write_text(
            '[data]\ninputs_dir = "set"\noutputs_dir = "m"\n[model]\nbackend = "two-centre"\n'
        )
        assert samples.cli("train", tmp_path / "m.toml", "--quiet").code == 0
        assert samples.cli("infer", tmp_path / "m", alone).code == 0
        assert json.loads((alone / "prediction.json").read_text())["pairs"] == 294

    @pytest.mark.shared
    def test_radii_of_pseudopotentials(self, shared):
        """As the logs of 3.8 print them."""
        for symbol, radius in (("C", 1.44), ("Si", 3.64), ("Fe", 2.16)):
            path = shared / "public" / "qe" / "pseudo" / f"{symbol}_ONCV_PBE-1.0.upf"
            assert abs(projector_radius(path) - radius) < 1e-12

    @pytest.mark.shared
    def test_compute_overlap_with_pseudopotentials_beside_the_orbitals(self, shared, tmp_path):
        basis = tmp_path / "basis"
        basis.mkdir()
        shutil.copy(shared / "public/abacus/orb/Si_gga_6au_100Ry_2s2p1d.orb", basis)
        stru = shared / "fixtures/abacus/v311_si2_getS/STRU"
        words = ("compute-overlap", stru, "--basis", basis, "--json")
        rows = [samples.cli(*words, "-o", tmp_path / "one")]
        shutil.copy(shared / "public/qe/pseudo/Si_ONCV_PBE-1.0.upf", basis)
        rows.append(samples.cli(*words, "-o", tmp_path / "two"))
        assert [json.loads(row.out)["n_pairs"] for row in rows] == [94, 294]

    @pytest.mark.shared
    @pytest.mark.parametrize(
        ("name", "radii"),
        [
            ("si2", SILICON),
            (
                "gaas_soc",
                ({"Ga": 9 * BOHR, "As": 8 * BOHR}, dict.fromkeys(("Ga", "As"), 3.02 * BOHR)),
            ),
        ],
    )
    def test_every_pair_of_h_follows_from_the_rule(self, shared, name, radii):
        calc = abacus.read(shared / "fixtures" / "abacus" / name)
        rule, pairs = projector_pairs(calc.structure, *radii), calc.hamiltonian.pairs
        assert np.all(rule.find(pairs.R, pairs.i, pairs.j) >= 0)
        kept = Reach(*calc.provenance.extra["reach_angstrom"].values())
        assert len(projector_pairs(calc.structure, *kept)) == len(rule)


LOOP = re.compile(r" --> #ION MOVE# *(\d+)  #ELEC ITER# *(\d+)")


class TestLogs:
    """The words of every version, and words that are not known."""

    @pytest.mark.parametrize(
        "line",
        [
            r" --> IONIC RELAXATION STEP=\1  ELECTRONIC ITERATION STEP=\2",
            r" --> #ION MOVE#   \1  #ELEC PROP#     7  #ELEC ITER#    \2",
            r" LCAO ALGORITHM --------------- ION=   \1  ELEC=   \2---------------",
        ],
    )
    def test_loops(self, runs, tmp_path, line):
        text = (runs / "v311_si2_relax" / "OUT.ABACUS" / "running_relax.log").read_text()
        path = tmp_path / "running_relax.log"
        path.write_text(LOOP.sub(line, text))
        log = read_log(path)
        assert log.fermi_levels == (7.145486082, 7.2264373741, 7.0592721926)
        assert [step.converged for step in log.steps] == [True] * 3

    @pytest.mark.parametrize(
        ("old", "new", "converged"),
        [
            ("#SCF IS CONVERGED#", "!!SCF IS NOT CONVERGED!!", False),
            ("#SCF IS CONVERGED#", "#scf is converged#", True),
            ("#SCF IS CONVERGED#", "charge density convergence is achieved", True),
            ("#SCF IS CONVERGED#", "convergence has NOT been achieved!", False),
            ("#SCF IS CONVERGED#", "", False),
        ],
    )
    def test_convergence(self, graphene, old, new, converged):
        edit(graphene / "OUT.ABACUS" / "running_scf.log", (old, new))
        calc = abacus.read(graphene)
        assert calc.provenance.extra["converged"] is converged
        assert ("did not converge" in str(calc.provenance.extra.get("notes"))) is not converged

    def test_the_steps_of_a_run_end_each_in_its_own_way(self, runs, tmp_path):
        folder = tmp_path / "run"
        shutil.copytree(runs / "v311_si2_relax", folder)
        path = folder / "OUT.ABACUS" / "running_relax.log"
        text = path.read_text()
        path.write_text(text.replace("#SCF IS CONVERGED#", "!!SCF IS NOT CONVERGED!!", 1))
        ended = [abacus.read(folder, step=n).provenance.extra["converged"] for n in (0, 1, 2)]
        assert ended == [False, True, True]

    def test_a_fixed_moment(self, graphene):
        path = graphene / "OUT.ABACUS" / "running_scf.log"
        pair = r"  E_Fermi_up  -0.03  -0.41\n  E_Fermi_dw  -0.02  -0.27"
        path.write_text(re.sub(r"  E_Fermi +\S+ +\S+", pair, path.read_text()))
        calc = abacus.read(graphene)
        assert calc.fermi_level == -0.27
        assert calc.provenance.extra["fermi_levels_eV"] == [-0.41, -0.27]
        assert "-0.41 eV (up) and -0.27 eV (down)" in calc.provenance.extra["notes"][0]

    def test_electrons_of_the_input(self, graphene):
        info = graphene / "OUT.ABACUS" / "INPUT.info"
        text = info.read_text()
        info.write_text(re.sub(r"(?m)^nelec_delta +0", "nelec_delta  -1", text))
        assert abacus.read(graphene).n_electrons == 7.0
        info.write_text(re.sub(r"(?m)^nelec +0", "nelec  6.5", text))
        assert abacus.read(graphene).n_electrons == 6.5

    @pytest.mark.parametrize("version", ["3.9.0.4", "3.11.0-beta.1"])
    def test_a_log_of_three_decimals_takes_the_positions_of_stru(self, graphene, version):
        changes = [
            ("0.333333333299", "0.333"),
            ("0.666666666701", "0.667"),
            ("0.500000000000", "0.500"),
        ]
        path = graphene / "OUT.ABACUS" / "running_scf.log"
        edit(path, *changes, ("v3.11.0-beta.1", f"v{version}"))
        for name in ("hrs1", "srs1", "dmrs1", "trs1"):
            (graphene / "OUT.ABACUS" / f"{name}_nao.csr.gz").unlink()
        (graphene / "OUT.ABACUS" / "rr.csr.gz").unlink()
        blocks = {(0, 0, 0): np.eye(26)}
        (graphene / "OUT.ABACUS" / "srs1_nao.csr").write_bytes(layouts.old_text(blocks, letter="S"))
        calc = abacus.read(graphene)
        np.testing.assert_allclose(calc.structure.fractional[0, :2], [1 / 3, 2 / 3], atol=1e-10)
        assert "decimals" not in str(calc.provenance.extra.get("notes"))
        edit(graphene / "STRU", ("0.3333333333 0.6666666667", "0.3353333333 0.6666666667"))
        calc = abacus.read(graphene)
        assert abs(calc.structure.fractional[0, 0] - 0.333) < 1e-12
        assert "good to 0.0005 of a lattice vector" in str(calc.provenance.extra["notes"])

    @pytest.mark.parametrize(
        ("label", "line"),
        [
            ("Atom label", "Atom label = …"),
            ("Number of atoms for this type", "Number of atoms for this type = …"),
            ("number of zeta", "L = …, number of zeta = …"),
            ("Lattice constant (Bohr)", "Lattice constant (Bohr) = …"),
            ("Lattice vectors", "Lattice vectors: (Cartesian coordinate"),
            (" DIRECT COORDINATES\n atom", "DIRECT COORDINATES"),
        ],
    )
    def test_an_unknown_version_and_a_renamed_line_are_both_named(self, graphene, label, line):
        path = graphene / "OUT.ABACUS" / "running_scf.log"
        edit(path, ("v3.11.0-beta.1", "v3.12.4"), (label, "Renamed"))
        answer = samples.cli("convert", graphene, "-o", graphene / "out")
        samples.refused(
            answer,
            "running_scf.log",
            "calls itself v3.12.4",
            "3.0–3.11",
            line,
            "--set log=no",
            "STRU",
        )
        assert not (graphene / "out").exists()
        answer = samples.cli(
            "convert", graphene, "--set", "log=no", "-o", graphene / "out", "--from", "abacus"
        )
        assert answer.code == 0
        again = samples.cli("diff", graphene / "out", graphene / "out")
        assert again.code == 0

    @pytest.mark.parametrize(
        ("label", "line"),
        [("E_Fermi ", "E_Fermi … …"), ("#SCF IS CONVERGED#", "#SCF IS CONVERGED#"),
         ("Autoset the number of electrons", "Autoset the number of electrons = …")],
    )  # fmt: skip
    def test_what_an_unknown_version_lacks_is_said(self, graphene, label, line):
        edit(
            graphene / "OUT.ABACUS" / "running_scf.log",
            ("v3.11.0-beta.1", "v4.0"),
            (label, "Renamed "),
        )
        answer = samples.cli("convert", graphene, "-o", graphene / "out")
        assert answer.code == 0
        assert "calls itself v4.0; known are 3.0–3.11" in answer.err
        assert line in answer.err

    def test_without_the_log_all_but_the_levels_is_there(self, graphene):
        whole = abacus.read(graphene)
        calc = abacus.read(graphene, settings={"log": "no"})
        assert (calc.fermi_level, calc.n_electrons) == (None, 8.0)  # the sum of eig_occ.txt
        assert calc.structure.is_close(whole.structure, 1e-10)
        np.testing.assert_array_equal(calc.hamiltonian.entries, whole.hamiltonian.entries)
        with pytest.raises(UsageError, match="log is yes or no"):
            abacus.read(graphene, settings={"log": "maybe"})


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
        assert "only k = 0" in samples.cli("bands", graphene / "unified").err
        answer = samples.cli("dos", graphene / "unified", "--mesh", 2, 2, 1)
        samples.refused(answer, "no k-point but Γ can be computed")

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
        edit(graphene / "OUT.ABACUS" / "running_scf.log", ("0.666666666701", "0.676666666701"))
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
