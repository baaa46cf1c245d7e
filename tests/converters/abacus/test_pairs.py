"""Pairs of ABACUS's H beyond its overlap: those that meet through a projector only."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import samples

import dock.converters.abacus as abacus
from dock.converters.abacus.reach import Reach, projector_radius
from dock.converters.abacus.stru import BOHR
from dock.errors import FormatError
from dock.overlap.neighbours import projector_pairs

layouts = samples.beside(__file__, "layouts")
GRAPHENE = {"C": 8 * BOHR}, {"C": 1.44 * BOHR}
SILICON = {"Si": 6 * BOHR}, {"Si": 3.64 * BOHR}


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
        layouts.edit(folder / "OUT.ABACUS" / "running_get_s.log", ("Nonlocal proj. max", "Proj."))
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
