"""A density that `dock` computed from H and S, on Quantum ESPRESSO's own plane waves, in pw.x.

The whole way on the command line: a run projected onto orbitals, its density matrix and grid, and
back onto the run's sphere. pw.x must start from it, nearer to its own ground state than from atoms,
and arrive there.
"""

import re
import shutil
import subprocess

import numpy as np
import pytest
import samples

from dock.converters.qe.charge_density_dat import read_density

MESH = ("--mesh", 4, 4, 4)


def pw(folder, save, pseudo, start):
    """Run pw.x; return whether it found the right charge, each step's accuracy and the energy."""
    text = (save.parent / "pw.in").read_text()
    text = re.sub(r"pseudo_dir\s*=\s*'[^']*'", f"pseudo_dir='{pseudo}'", text)
    text = re.sub(r"outdir\s*=\s*'[^']*'", "outdir='./out'", text)
    text = text.replace("&electrons", f"&electrons\n startingpot='{start}',")
    text = text.replace("tprnfor=.true.", "").replace("tstress=.true.,", "")
    out = subprocess.run(
        ["pw.x"], input=text, cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert "JOB DONE" in out
    accuracies = [float(x) for x in re.findall(r"estimated scf accuracy\s*<\s*(\S+) Ry", out)]
    energy = float(re.search(r"!\s+total energy\s+=\s+(\S+) Ry", out)[1])
    return "renormalised" not in out, accuracies, energy


@pytest.fixture(scope="module")
def written(shared, tmp_path_factory):
    """Return the folder with out/si.save, made by four commands from QE's run and a basis."""
    folder = tmp_path_factory.mktemp("loop")
    save, orbitals = shared / "fixtures/qe/si/si.save", folder / "orb"
    orbitals.mkdir()
    shutil.copy(shared / "public/abacus/orb/Si_gga_8au_100Ry_2s2p1d.orb", orbitals)
    settings = (f"pseudo={shared / 'public/qe/pseudo'}", "cutoff=none", f"like={save}")
    pseudo, whole, like = (("--set", value) for value in settings)
    made, basis = folder / "si", ("--basis", orbitals)
    commands = [
        # Without cut-off S is that of the orbitals as they are on the grid.
        ("convert", save, "--from", "qe", *basis, *pseudo, *whole, "-o", made),
        ("charge-density", made, *basis, *MESH, "-o", made / "charge_density.h5"),
        ("convert", made, "--from", "qe-folder", "--to", "qe", *like, "-o", folder / "out/si.save"),
    ]
    for command in commands:
        answer = samples.cli(*command)
        assert answer.code == 0, answer
    return folder


@pytest.mark.shared
def test_the_density_is_near_that_of_the_plane_waves(shared, written):
    theirs = read_density(shared / "fixtures/qe/si/si.save")
    ours = read_density(written / "out/si.save")
    assert np.array_equal(ours.miller, theirs.miller)
    zero = np.flatnonzero(~ours.miller.any(axis=1))[0]
    assert ours.values[0, zero] == pytest.approx(theirs.values[0, zero], rel=1e-6)
    others = np.arange(len(ours.miller)) != zero
    missed = np.linalg.norm((ours.values - theirs.values)[0, others])
    assert missed < 0.04 * np.linalg.norm(theirs.values[0, others])


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
def test_pw_accepts_a_density_of_ours(shared, written, tmp_path):
    save, pseudo = shared / "fixtures/qe/si/si.save", shared / "public/qe/pseudo"
    complete, from_ours, energy = pw(written, save, pseudo, "file")
    assert complete
    _, from_atoms, expected = pw(tmp_path, save, pseudo, "atomic")
    assert energy == pytest.approx(expected, abs=2e-8)
    assert from_ours[0] < 0.05 * from_atoms[0]
    assert len(from_ours) <= len(from_atoms)
