"""Every sign and factor of the Hamiltonian, against pw.x's own numbers of the bundled runs.

Germanium with pseudopotentials that have a core correction: one LSDA atom with its VSC and states,
and the crystal with spin–orbit coupling.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import samples

import dock
from dock.converters.qe import PlaneWaveDensity, read_density, read_run
from dock.converters.qe.charge_density_dat import write_hdf5
from dock.core.spin import Spin
from dock.planewave import Request, project
from dock.planewave.facts import read_facts, read_pseudos
from dock.planewave.local_potential import density_potential
from dock.planewave.projection import _matrices
from dock.planewave.vsc import read_vsc
from dock.planewave.wavefunctions import read_states
from dock.states.problem import Problem
from dock.states.stream import levels
from dock.units import QE

pytest.importorskip(
    "pyscf.dft.libxc", reason="libxc comes with PySCF: pip install 'dock-dft[pyscf]'"
)

SERIES = {"Ge": [(0.08, 2.0, 4), (0.08, 2.0, 4), (0.12, 2.5, 2)]}


@pytest.fixture
def atom(bundled):
    """Return the folder of the LSDA run."""
    return bundled / "qe" / "ge_spin"


@pytest.fixture
def basis(gaussians):
    """Make the basis for a number of atoms."""
    return lambda n: gaussians(("Ge",) * n, SERIES, 8.0)


@pytest.fixture
def run(atom, tmp_path, gaussians):
    """Return a copy of the LSDA run, with a folder of its basis in ABACUS's format."""
    place = tmp_path / "run"
    shutil.copytree(atom, place)
    (place / "basis").mkdir()
    shells = gaussians(("Ge",), SERIES, 8.0).shells["Ge"]
    (place / "basis" / "Ge.orb").write_text(_orb(shells))
    return place


def _orb(shells, scale=1.0):
    """Return an ABACUS orbital file; `scale` shrinks the orbitals."""
    r = shells[0].radial.r * scale / QE.bohr_angstrom
    counts = [sum(s.l == l for s in shells) for l in range(3)]
    lines = [
        "-" * 75, "Element                    Ge", "Energy Cutoff(Ry)          100",
        f"Radius Cutoff(a.u.)         {r[-1]:.10f}", "Lmax                        2",
        f"Number of Sorbital-->       {counts[0]}", f"Number of Porbital-->       {counts[1]}",
        f"Number of Dorbital-->       {counts[2]}", "SUMMARY  END", "",
        f"Mesh                        {len(r)}", f"dr                          {r[1]:.12f}",
    ]  # fmt: skip
    seen = [0, 0, 0]
    for shell in shells:
        lines += ["   Type    L    N", f"   0   {shell.l}   {seen[shell.l]}"]
        seen[shell.l] += 1
        values = shell.radial.values * (QE.bohr_angstrom / scale) ** 1.5
        lines += [f" {value:.14e}" for value in values]
    return "\n".join(lines) + "\n"


def _convert(run, *words):
    return samples.cli("convert", run / "ge_spin.save", "--basis", run / "basis", *words)


def test_potential_of_the_density(atom):
    """V_H, V_xc of two spins with the core, and the local part with its G = 0: pw2bgw.x's VSC."""
    facts = read_facts(atom)
    made = density_potential(facts, read_density(facts.folder), read_pseudos(facts))
    given = read_vsc(atom / "VSC").grid(facts.run.fft_grid) * QE.rydberg_ev
    assert np.abs(made - given).max() < 5e-5
    assert np.abs(given[0] - given[1]).max() > 0.1


@pytest.mark.parametrize("potential", ["vsc", "density"])
def test_levels_of_an_lsda_atom(atom, basis, potential):
    """Both spins' levels; an error of a term or a factor would be a hundred times as large."""
    quality = project(atom, basis(1), Request(potential, quality="wavefunctions")).quality
    assert quality.occupied_rms == pytest.approx(0.0265, abs=1e-3)
    assert quality.occupied_min > -0.01
    assert quality.occupied_spillage == pytest.approx(9.4e-4, rel=0.05)
    assert quality.gap == pytest.approx(quality.plane_wave_gap, abs=0.03)


def test_spin_orbit_coupling(bundled, basis):
    """At Γ the valence band splits, four states above two, by pw.x's amount."""
    folder = bundled / "qe" / "ge_soc"
    found = project(folder, basis(2), Request("density"))
    assert found.quality.occupied_rms < 0.015
    run = read_run(folder)
    gamma = int(np.argmin(np.abs(run.k_frac).sum(axis=1)))
    theirs = run.levels[0, gamma]
    mine = levels(Problem.of(found.calculation), run.k_frac[gamma][None], jobs=1).energies[0][0]
    assert np.ptp(theirs[4:8]) < 1e-4
    assert theirs[4] - theirs[3] > 0.2
    assert mine[4] - mine[3] == pytest.approx(theirs[4] - theirs[3], abs=2e-3)
    assert np.ptp(mine[4:8]) < 1e-4


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 0, 0), (0.48, -0.6, 0.64)])
def test_turned_moments(atom, basis, axis):
    """LSDA written as a non-collinear run with all moments along an axis n is V + B n·σ."""
    facts = read_facts(atom)
    density, pseudos = read_density(facts.folder), read_pseudos(facts)
    turned = PlaneWaveDensity(
        density.reciprocal,
        density.miller,
        np.concatenate([density.values[:1], np.outer(axis, density.values[1])]),
    )
    run = facts.run
    run = replace(
        run, spin=Spin.NONCOLLINEAR, levels=run.levels[:1], occupations=run.occupations[:1]
    )
    spinors = replace(facts, run=run, moment_axis=np.array(axis))
    entries = []
    for facts_now, density_now in ((facts, density), (spinors, turned)):
        field = density_potential(facts_now, density_now, pseudos)
        hamiltonian, _ = _matrices(facts_now, basis(1), pseudos, field, Request(jobs=1))
        entries.append(hamiltonian.entries)
    (up, down), found = entries
    mean, B = (up + down) / 2, (up - down) / 2
    x, y, z = axis
    expected = np.array([mean + z * B, (x - 1j * y) * B, (x + 1j * y) * B, mean - z * B])
    assert np.abs(B).max() > 0.02
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize("ended", ["true", "false"])
def test_a_projected_run_keeps_how_its_cycle_ended(run, basis, ended):
    xml = run / "ge_spin.save" / "data-file-schema.xml"
    xml.write_text(xml.read_text().replace("achieved>true<", f"achieved>{ended}<"))
    calc = project(run, basis(1), Request("density", quality="none")).calculation
    assert calc.provenance.extra["converged"] is (ended == "true")
    assert bool(calc.unsound) is (ended == "false")


def test_build_with_hdf5(run, basis):
    """A pw.x built with HDF5 writes .hdf5 in place of .dat; the matrices are the same."""
    save = run / "ge_spin.save"
    expected = project(save, basis(1), Request("density", quality="none")).calculation
    density = read_density(save)
    (save / "charge-density.dat").unlink()
    write_hdf5(save / "charge-density.hdf5", density)
    for name in ("wfcup1", "wfcdw1", "wfcup2", "wfcdw2"):
        _to_hdf5(save, name)
    found = project(save, basis(1), Request("density", quality="wavefunctions"))
    assert np.array_equal(found.calculation.hamiltonian.entries, expected.hamiltonian.entries)
    assert found.quality.occupied_spillage == pytest.approx(9.4e-4, rel=0.05)


def _to_hdf5(save, name):
    import h5py

    channel, number = int("dw" in name), int(name[-1]) - 1
    states = read_states(save, Spin.COLLINEAR, number, channel)
    with h5py.File(save / f"{name}.hdf5", "w") as file:
        file.attrs["xk"], file.attrs["npol"] = states.k, 1
        file.attrs["gamma_only"] = np.bytes_(b".FALSE.")
        indices = file.create_dataset("MillerIndices", data=states.miller)
        for n, vector in enumerate(states.reciprocal, 1):
            indices.attrs[f"bg{n}"] = vector
        data = np.ascontiguousarray(states.coefficients[:, 0]).view(float)
        file.create_dataset("evc", data=data)
    (save / f"{name}.dat").unlink()


def test_command_line(run):
    """Density or VSC, the report printed and stored, spillage with --quality."""
    stored = []
    for way in ("density", "VSC"):
        target = run / f"out_{way}"
        answer = _convert(run, "--potential", way, "--quality", "-o", target)
        assert answer.code == 0, answer.err
        assert "meV rms" in answer.err
        assert "spillage" in answer.err
        calc = dock.read(target)
        stored.append(calc.hamiltonian.entries)
        quality = calc.provenance.extra["plane_wave"]["basis_quality_eV"]
        assert quality["occupied_rms"] > 0
        assert calc.fermi_level == pytest.approx(read_run(run).fermi_level)
        assert calc.n_electrons == 4
    assert np.abs(stored[0] - stored[1]).max() < 1e-5


def test_batch(run, tmp_path):
    """Two workers, a shard, a rerun, and a failure in failed.jsonl while the others go on."""
    shutil.copytree(run, tmp_path / "other")
    words = ("convert", tmp_path / "*" / "*.save", "--from", "qe", "--basis", run / "basis")
    out = tmp_path / "out"
    answer = samples.cli(*words, "--shard", "0/2", "-o", out)
    assert answer.code == 0, answer.err
    answer = samples.cli(*words, "-j", 2, "-o", out)
    assert "1 done, 1 skipped" in answer.out
    (tmp_path / "other" / "ge_spin.save" / "Ge_sr.upf").unlink()
    answer = samples.cli(*words, "-o", tmp_path / "again")
    assert "1 done, 0 skipped, 1 failed" in answer.out
    assert "Ge_sr.upf" in (tmp_path / "again" / "failed.jsonl").read_text()


def test_a_basis_for_something_else_is_doubted(run, gaussians):
    """Orbitals half as large convert, with a warning that names the likely reason."""
    shells = gaussians(("Ge",), SERIES, 8.0).shells["Ge"]
    (run / "basis" / "Ge.orb").write_text(_orb(shells, scale=0.5))
    answer = _convert(run, "-o", run / "out")
    assert answer.code == 0, answer.err
    assert "another pseudopotential" in answer.err


def test_orbitals_beyond_the_cut_off_are_pointed_out(bundled, gaussians):
    """Steep functions in a run of 14 Ry: nonsense with a cut-off, sense without."""
    folder = bundled / "qe" / "ge_soc"
    steep = gaussians(("Ge",) * 2, {"Ge": [(0.07, 1.8, 6), (0.07, 1.8, 6), (0.1, 1.9, 3)]}, 7.0)
    quality = project(folder, steep, Request("density")).quality
    assert any("cutoff=none" in doubt for doubt in quality.doubts)
    assert (
        project(folder, steep, Request("density", cutoff_rydberg=0.0)).quality.occupied_rms < 0.02
    )


def _wrong_family(save):
    file = save / "Ge_sr.upf"
    file.write_text(file.read_text().replace('pseudo_type="NC"', 'pseudo_type="PAW"'))


def _stale_density(save):
    density = read_density(save)
    old = PlaneWaveDensity(density.reciprocal, density.miller, 0.99 * density.values)
    write_hdf5(save / "charge-density.hdf5", old)


def _coarse_density(save):
    density = read_density(save)
    inside = np.sum((density.miller @ density.reciprocal) ** 2, axis=1) < 40
    short = PlaneWaveDensity(density.reciprocal, density.miller[inside], density.values[:, inside])
    (save / "charge-density.dat").unlink()
    write_hdf5(save / "charge-density.hdf5", short)


def _two_kinds_of_states(save):
    shutil.copy(save / "wfcup1.dat", save / "copy.dat")
    _to_hdf5(save, "wfcup1")
    (save / "copy.dat").rename(save / "wfcup1.dat")


def _no_density(save):
    (save / "charge-density.dat").unlink()


def _no_states(save):
    (save / "wfcdw2.dat").unlink()


def _not_magnetic(save):
    file = save / "data-file-schema.xml"
    file.write_text(file.read_text().replace("<lsda>true</lsda>", "<lsda>false</lsda>"))


def _hybrid(save):
    file = save / "data-file-schema.xml"
    text = file.read_text()
    file.write_text(text.replace("</functional>", "</functional><hybrid/>"))


@pytest.mark.parametrize(
    ("break_it", "words", "found"),
    [
        (_wrong_family, (), "PAW data set"),
        (_stale_density, ("--potential", "density"), "charge-density.hdf5"),
        (_coarse_density, ("--potential", "density"), "another cut-off"),
        (_two_kinds_of_states, ("--quality",), "wfcup1.hdf5"),
        (_no_density, ("--potential", "density"), "the charge density"),
        (_no_states, ("--quality",), "wfcdw2.dat or wfcdw2.hdf5"),
        (_not_magnetic, ("--potential", "vsc"), "2 spin components"),
        (_hybrid, (), "hybrid"),
    ],
)
def test_bad_input(run, break_it, words, found):
    """A sentence, exit 2, and nothing written."""
    break_it(run / "ge_spin.save")
    answer = _convert(run, *words, "-o", run / "out")
    samples.refused(answer, found)
    assert not (run / "out").exists()


def test_density_of_both_kinds(run):
    """The same density twice is no contradiction, whichever file is newer."""
    save = run / "ge_spin.save"
    write_hdf5(save / "charge-density.hdf5", read_density(save))
    os.utime(save / "charge-density.dat", (1, 1))
    answer = _convert(run, "--potential", "density", "-o", run / "out")
    assert answer.code == 0, answer.err


def test_a_choice_of_openmx_orbitals_is_asked_for(run):
    (run / "basis" / "Ge.orb").rename(run / "basis" / "Ge7.0.pao")
    answer = _convert(run, "-o", run / "out")
    samples.refused(answer, "--set orbitals=Ge=")
