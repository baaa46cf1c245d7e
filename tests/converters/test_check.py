"""``dock check``: what each code's own files say about a run, and files of two runs in one."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import samples

import dock
from dock.converters.abacus.check import check_run as check_abacus
from dock.converters.aims.check import check_run as check_aims
from dock.converters.printed_levels import compare_levels
from dock.converters.siesta.check import check_run as check_siesta


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    return target


def levels(findings):
    return {finding.what: finding.level for finding in findings}


@pytest.fixture
def siesta(bundled, tmp_path):
    return copied(bundled / "siesta" / "h2o", tmp_path / "h2o")


@pytest.fixture
def abacus(bundled, tmp_path):
    return copied(bundled / "abacus" / "graphene", tmp_path / "graphene")


class TestSiesta:
    def test_sound(self, siesta):
        assert levels(check_siesta(siesta / "h2o.HSX")) == {"scf": "note", "levels": "ok"}

    @pytest.mark.parametrize(("end", "level"), [("", "ok"), ("SCF_NOT_CONV: no!\n", "error")])
    def test_log(self, siesta, end, level):
        text = f"Siesta Version  : 5.2.0\n   scf:    1  -465.9\nSCF cycle converged\n{end}"
        (siesta / "h2o.out").write_text(text)
        assert levels(check_siesta(siesta))["scf"] == level

    def test_eig_of_another_run(self, siesta, bundled):
        shutil.copyfile(bundled / "siesta" / "o2" / "o2.EIG", siesta / "h2o.EIG")
        (finding,) = check_siesta(siesta)
        assert finding.level == "error"
        assert "different runs" in finding.message
        samples.refused(samples.cli("convert", siesta, "-o", siesta / "out"), "different runs")

    def test_levels_of_another_run(self, siesta):
        """The Fermi level fits, the levels do not: H or S was exchanged."""
        path = siesta / "h2o.EIG"
        words = path.read_text().split()
        words[5:8] = [str(float(word) + 0.1) for word in words[5:8]]
        path.write_text(" ".join(words[:4]) + "\n" + " ".join(words[4:]) + "\n")
        assert levels(check_siesta(siesta))["levels"] == "error"
        answer = samples.cli("check", siesta)
        assert answer.code == 2
        assert "not of one run" in answer.out

    def test_fewer_k_points(self, siesta, bundled):
        shutil.copyfile(bundled / "siesta/graphene/graphene.KP", siesta / "h2o.KP")
        findings = check_siesta(siesta)
        assert levels(findings)["files"] == "error"

    def test_a_density_of_another_run_is_refused(self, siesta, bundled):
        shutil.copyfile(bundled / "siesta" / "o2" / "o2.DM", siesta / "h2o.DM")
        answer = samples.cli("check", siesta)
        assert answer.code == 2
        assert "different runs" in answer.out


class TestAbacus:
    def log(self, abacus):
        return abacus / "OUT.ABACUS" / "running_scf.log"

    def test_sound(self, abacus):
        assert levels(check_abacus(abacus)) == {"scf": "ok", "levels": "ok"}

    def test_not_converged(self, abacus):
        text = self.log(abacus).read_text()
        self.log(abacus).write_text(text.replace("convergence is achieved", "is large"))
        assert levels(check_abacus(abacus))["scf"] == "error"
        answer = samples.cli("check", abacus)
        assert answer.code == 2
        assert "did not converge" in answer.out

    def test_without_a_loop(self, bundled):
        assert levels(check_abacus(bundled / "abacus" / "si2_get_S")) == {"scf": "note"}

    def test_hamiltonian_of_another_run(self, abacus):
        """H stretched by a percent: everything is Hermitian, but no run gave these levels."""
        path = abacus / "OUT.ABACUS" / "data-HR-sparse_SPIN0.csr.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines()
        for number, line in enumerate(lines):
            if b"e" in line and b":" not in line:
                lines[number] = b" ".join(b"%.8e" % (1.01 * float(w)) for w in line.split())
        path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
        assert levels(check_abacus(abacus)) == {"scf": "ok", "levels": "error"}

    def test_levels_that_are_no_numbers(self, abacus):
        path = abacus / "OUT.ABACUS" / "istate.info"
        path.write_text(path.read_text().replace("-19.99", "**.**", 1))
        assert levels(check_abacus(abacus)) == {"files": "error"}


class TestAims:
    @pytest.fixture
    def run(self, bundled, tmp_path):
        calc = dock.read(bundled / "siesta" / "graphene")
        options = dock.converters.WriteOptions(quantities=("hamiltonian", "overlap"))
        dock.write(calc, tmp_path / "aims", "aims", options)
        return tmp_path / "aims"

    @pytest.mark.parametrize(
        ("line", "level"),
        [
            ("", "note"),
            ("| Self-consistency cycle converged.\n", "ok"),
            ("Self-consistency cycle not yet converged - restarting mixer\n", "error"),
        ],
    )
    def test_log(self, run, line, level):
        log = run / "aims.out"
        log.write_text(log.read_text() + line)
        assert levels(check_aims(run)) == {"scf": level}
        assert samples.cli("check", run).code == (2 if level == "error" else 0)

    @pytest.mark.parametrize("end", ["third iteration", "next geometry", "whole"])
    def test_a_log_that_was_cut_is_never_sound(self, run, end, tmp_path):
        """FHI-aims' lines: copied at its third iteration, or as it began with moved atoms."""
        begin = "          Begin self-consistency loop: {}.\n"
        step = "          Begin self-consistency iteration #{:5d}\n  | Total energy : -1.0 eV\n"
        steps = [step.format(number) for number in (1, 2, 3)]
        lines = [begin.format("Initialization"), *steps]
        if end != "third iteration":
            lines.append("  Self-consistency cycle converged.\n")
        lines.append(begin.format("Re-initialization") if end == "next geometry" else "")
        log = run / "aims.out"
        whole = [*lines, "          Have a nice day.\n"] if end == "whole" else lines
        log.write_text(log.read_text() + "".join(whole))
        level = "ok" if end == "whole" else "error"
        assert levels(check_aims(run)) == {"scf": level}
        assert samples.cli("check", run).code == (0 if end == "whole" else 2)
        answer = samples.cli("convert", run, "-o", tmp_path / "folder")
        assert ("had not finished" in answer.err) == (end != "whole")
        answer = samples.cli("check", tmp_path / "folder")
        assert answer.code == (0 if end == "whole" else 2), answer.out

    def test_without_a_log(self, run):
        (run / "aims.out").unlink()
        assert levels(check_aims(run)) == {"scf": "note"}


def test_levels_that_cannot_be_compared(bundled):
    calc = dock.read(bundled / "siesta" / "o2")
    printed = np.zeros((2, 26))
    assert compare_levels(calc, [0, 0, 0], printed[:1], "EIG", 1.0).level == "error"
    only_h = calc.replace(matrices={"hamiltonian": calc.hamiltonian})
    assert compare_levels(only_h, [0, 0, 0], printed, "EIG", 1.0).level == "note"
    minus = {"hamiltonian": calc.hamiltonian, "overlap": -1.0 * calc.overlap}
    assert (
        compare_levels(calc.replace(matrices=minus), [0, 0, 0], printed, "EIG", 1).level == "error"
    )
