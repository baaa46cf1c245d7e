"""The whole way from pw.x itself: silicon, gallium arsenide with spin–orbit coupling, iron."""

from __future__ import annotations

import numpy as np
import pytest
import samples

import dock
from dock.converters.qe import read_density, read_run
from dock.planewave import Request, project
from dock.planewave.facts import read_facts, read_pseudos
from dock.planewave.local_potential import density_potential
from dock.planewave.vsc import read_vsc
from dock.states.problem import Problem
from dock.states.stream import levels
from dock.units import QE

pytestmark = [pytest.mark.shared, pytest.mark.slow]

RUN = """&control
 calculation='scf', prefix='run', outdir='./', pseudo_dir='{pseudo}', disk_io='low'
/
&system
 ibrav=0, nat={nat}, ntyp={ntyp}, ecutwfc={ecut}, {system}
/
&electrons
 conv_thr=1e-10
/
ATOMIC_SPECIES
{species}
CELL_PARAMETERS angstrom
{cell}
ATOMIC_POSITIONS crystal
{atoms}
K_POINTS automatic
{k} 0 0 0
"""
VSC = """&input_pw2bgw
 prefix='run', outdir='./', real_or_complex=2, wfng_flag=.false., rhog_flag=.false.,
 vxcg_flag=.false., vxc_flag=.false., vscg_flag=.true., vscg_file='VSC', vkbg_flag=.false.
/
"""
ATOM = """&input
 title='{name}', zed={zed}, rel=2, iswitch=3, dft='PBE', config='{config}'
/
&inputp
 pseudotype=2, lloc=-1, tm=.true., rcloc=2.2, nlcc=.true., rcore=1.3, file_pseudopw='{name}.upf'
/
3
{states}
"""
GALLIUM = """4S 1 0 2.00 0.00 2.10 2.10 0.50
4P 2 1 1.00 0.00 2.20 2.20 0.50
4P 2 1 0.00 0.00 2.20 2.20 1.50"""
ARSENIC = """4S 1 0 2.00 0.00 2.00 2.00 0.50
4P 2 1 2.00 0.00 2.10 2.10 0.50
4P 2 1 1.00 0.00 2.10 2.10 1.50"""


def _fcc(a):
    return f"0 {a / 2} {a / 2}\n{a / 2} 0 {a / 2}\n{a / 2} {a / 2} 0"


def test_silicon(shared, tmp_path, espresso):
    """pw.x, then one command; VSC and density give one Hamiltonian."""
    text = RUN.format(
        pseudo=shared / "public/qe/pseudo", nat=2, ntyp=1, ecut=40, system="nbnd=8", k="3 3 3",
        species="Si 28.09 Si_ONCV_PBE-1.0.upf", cell=_fcc(5.43), atoms="Si 0 0 0\nSi .25 .25 .25",
    )  # fmt: skip
    espresso("pw.x", text, tmp_path)
    espresso("pw2bgw.x", VSC, tmp_path)
    basis = shared / "public/qe/si_projection/aobasis"
    matrices = []
    for way in ("vsc", "density"):
        target = tmp_path / way
        answer = samples.cli(
            "convert", tmp_path / "run.save", "--basis", basis, "--potential", way, "-o", target,
            "--quality",
        )  # fmt: skip
        assert answer.code == 0, answer.err
        assert "spillage" in answer.err
        matrices.append(dock.read(target).hamiltonian.entries)
    assert np.abs(matrices[0] - matrices[1]).max() < 2e-5


def test_gallium_arsenide(tmp_path, espresso, gaussians):
    """Two full-relativistic pseudopotentials with core corrections; the spin–orbit splitting."""
    for name, zed, config, states in (
        ("Ga", 31, "[Ar] 3d10 4s2 4p1 4d-1", GALLIUM),
        ("As", 33, "[Ar] 3d10 4s2 4p3 4d-1", ARSENIC),
    ):
        text = ATOM.format(name=name, zed=f"{zed}.", config=config, states=states)
        espresso("ld1.x", text, tmp_path)
    text = RUN.format(
        pseudo=".", nat=2, ntyp=2, ecut=40, system="nbnd=14, noncolin=.true., lspinorb=.true.",
        species="Ga 69.7 Ga.upf\nAs 74.9 As.upf", cell=_fcc(5.65),
        atoms="Ga 0 0 0\nAs .25 .25 .25", k="3 3 3",
    )  # fmt: skip
    espresso("pw.x", text, tmp_path)
    run = read_run(tmp_path)
    series = [(0.07, 1.8, 6), (0.07, 1.8, 6), (0.1, 1.9, 4), (0.15, 2.0, 1)]
    basis = gaussians(run.structure.labels, {"Ga": series, "As": series}, 7.0)
    found = project(tmp_path, basis, Request("density", quality="wavefunctions"))
    assert found.quality.occupied_min > 0
    assert found.quality.occupied_rms < 0.025
    assert found.quality.occupied_spillage < 2e-4
    calc = found.calculation
    bands = levels(Problem.of(calc), [[0, 0, 0]], jobs=1).energies[0][0]
    gamma = int(np.argmin(np.abs(run.k_frac).sum(axis=1)))
    theirs = run.levels[0, gamma]
    assert bands[7] - bands[3] == pytest.approx(theirs[7] - theirs[3], abs=1e-3)
    assert theirs[7] - theirs[3] > 0.3
    assert calc.hamiltonian.hermiticity_error() < 1e-10


def test_iron(shared, tmp_path, espresso, gaussians):
    """LSDA: pw2bgw.x's two potentials and the density's; bands against the XML's levels."""
    pseudo = shared / "public/qe/pseudo"
    text = RUN.format(
        pseudo=pseudo, nat=1, ntyp=1, ecut=60, k="2 2 2", species="Fe 55.8 Fe_ONCV_PBE-1.0.upf",
        system="nspin=2, starting_magnetization(1)=0.3, occupations='smearing', smearing='mv', "
        "degauss=0.02, nbnd=16",
        cell="-1.4335 1.4335 1.4335\n1.4335 -1.4335 1.4335\n1.4335 1.4335 -1.4335",
        atoms="Fe 0 0 0",
    )  # fmt: skip
    espresso("pw.x", text, tmp_path)
    espresso("pw2bgw.x", VSC, tmp_path)
    series = {"Fe": [(0.12, 1.9, 7), (0.12, 1.9, 7), (0.15, 2.0, 6), (0.3, 2.5, 1)]}
    facts = read_facts(tmp_path)
    made = density_potential(facts, read_density(facts.folder), read_pseudos(facts, pseudo))
    given = read_vsc(tmp_path / "VSC").grid(facts.run.fft_grid) * QE.rydberg_ev
    assert np.abs(made - given).max() < 1e-4
    basis = gaussians(facts.run.structure.labels, series, 5.5)
    found = project(tmp_path, basis, Request("density", pseudo))
    assert found.quality.occupied_rms < 8e-3
    other = project(tmp_path, basis, Request("vsc", pseudo, quality="none"))
    entries = [way.calculation.hamiltonian.entries for way in (found, other)]
    assert np.abs(entries[0] - entries[1]).max() < 2e-5
