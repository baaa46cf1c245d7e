"""The words of ABACUS's logs from 3.0 to 3.11, and words that are not known."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import samples

import dock.converters.abacus as abacus
from dock.converters.abacus.running_log import read_log
from dock.errors import UsageError

layouts = samples.beside(__file__, "layouts")
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
        layouts.edit(graphene / "OUT.ABACUS" / "running_scf.log", (old, new))
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
        layouts.edit(path, *changes, ("v3.11.0-beta.1", f"v{version}"))
        for name in ("hrs1", "srs1", "dmrs1", "trs1"):
            (graphene / "OUT.ABACUS" / f"{name}_nao.csr.gz").unlink()
        (graphene / "OUT.ABACUS" / "rr.csr.gz").unlink()
        blocks = {(0, 0, 0): np.eye(26)}
        (graphene / "OUT.ABACUS" / "srs1_nao.csr").write_bytes(layouts.old_text(blocks, letter="S"))
        calc = abacus.read(graphene)
        np.testing.assert_allclose(calc.structure.fractional[0, :2], [1 / 3, 2 / 3], atol=1e-10)
        assert "decimals" not in str(calc.provenance.extra.get("notes"))
        layouts.edit(graphene / "STRU", ("0.3333333333 0.6666666667", "0.3353333333 0.6666666667"))
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
        layouts.edit(path, ("v3.11.0-beta.1", "v3.12.4"), (label, "Renamed"))
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
        layouts.edit(
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
