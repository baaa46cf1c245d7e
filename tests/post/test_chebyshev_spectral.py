"""A(k, E) by Chebyshev moments, against the states of the same supercell."""

import json

import h5py
import numpy as np
import pytest

import dock
from dock.errors import MissingDataError, UsageError
from dock.post import bands, spectral_function
from dock.post.unfold import unfold
from dock.states.job import Job, PartDone, Planned

SIZE = [2, 1, 1]
ASKED = {"points": 3, "resolution": 0.3, "window": (-8.0, 6.0), "jobs": 1}
HALVES = {"one": [0, 1], "other": [2, 3]}


@pytest.fixture(scope="module")
def alloy():
    """Two cells of silicon with sites that lie 1 eV apart."""
    calc = dock.read("fixtures/openmx/si")
    H, S = (calc.require(name).supercell(SIZE) for name in ("hamiltonian", "overlap"))
    shift = np.array([0.5, -0.5, -0.5, -0.5])
    counts = H.basis.counts
    sizes = counts[H.pairs.i] * counts[H.pairs.j]
    mean = np.repeat(0.5 * (shift[H.pairs.i] + shift[H.pairs.j]), sizes)
    H = H.with_entries(H.entries + mean * S.entries)
    matrices = {"hamiltonian": H, "overlap": S}
    return dock.Calculation(H.structure, H.basis, H.spin, matrices, calc.fermi_level)


@pytest.fixture(scope="module")
def found(alloy):
    return spectral_function(alloy, SIZE, "GL", groups=HALVES, **ASKED)


def test_equals_the_states_within_the_resolution(alloy, found):
    states = unfold(alloy, SIZE, "GL", points=3, groups=HALVES)
    at, widths = found.energies, found.resolution
    for mine, weights in (
        (found.values, states.weights),
        (found.group_values[0], states.group_weights[0]),
    ):
        for k in range(mine.shape[1]):
            width = np.interp(states.energies[0, k], at, widths)
            peaks = np.exp(-0.5 * ((at[:, None] - states.energies[0, k]) / width) ** 2)
            A = (weights[0, k] * peaks / (width * np.sqrt(2 * np.pi))).sum(axis=1)
            apart = np.trapezoid(np.abs(mine[0, k] - A), at)
            assert apart < 0.08 * np.trapezoid(A, at)  # the kernel is nearly a Gaussian
    np.testing.assert_allclose(found.group_values.sum(axis=0), found.values, atol=1e-6)


def test_peaks_are_the_bands_of_the_crystal():
    calc = dock.read("fixtures/openmx/si")
    H, S = (calc.require(name).supercell(SIZE) for name in ("hamiltonian", "overlap"))
    matrices = {"hamiltonian": H, "overlap": S}
    big = dock.Calculation(H.structure, H.basis, H.spin, matrices, calc.fermi_level)
    mine = spectral_function(big, calc.structure, "GL", **ASKED)
    crystal = bands(calc, "GL", points=3)
    levels = crystal.energies[0] - calc.fermi_level
    peaks = np.array(mine.peaks())
    assert len(peaks) >= 6
    for _, k, energy, weight in peaks:
        near = np.abs(levels[int(k)] - energy)
        if np.sort(np.diff(np.sort(near)))[0] > 1e-3 or weight > 0.9:
            assert near.min() < 0.1  # a third of the width


def test_files_and_figure(found, tmp_path):
    found.save(tmp_path / "unfold.h5")
    with h5py.File(tmp_path / "unfold.h5") as file:
        np.testing.assert_array_equal(file["spectral/A"][:], found.values)
        assert file["spectral"].attrs["unit"] == "1/eV"
        assert file.attrs["method"] == "kpm"
    facts = json.loads((tmp_path / "unfold.json").read_text())
    assert facts["resolution_eV"] == pytest.approx(0.3, rel=0.02)
    assert facts["levels"][0][:2] == [0, 0]
    found.plot(tmp_path / "A.png")
    assert (tmp_path / "A.png").stat().st_size > 10_000


def test_shards_make_the_same_sum(alloy, found, tmp_path):
    def job(**parts):
        return Job(folder=tmp_path / "kept", **parts)

    with pytest.raises(PartDone):
        spectral_function(alloy, SIZE, "GL", groups=HALVES, solver=job(shard=(0, 2)), **ASKED)
    last = spectral_function(alloy, SIZE, "GL", groups=HALVES, solver=job(shard=(1, 2)), **ASKED)
    again = spectral_function(alloy, SIZE, "GL", groups=HALVES, solver=job(), **ASKED)
    np.testing.assert_array_equal(last.values, found.values)
    np.testing.assert_array_equal(again.values, found.values)


def test_bad_input(alloy):
    def refused(words, primitive=SIZE, kind=UsageError, calc=alloy, **changes):
        with pytest.raises(kind, match=words):
            spectral_function(calc, primitive, "GL", **(ASKED | changes))

    other = dock.read("fixtures/openmx/mos2").structure
    refused("does not repeat the primitive cell", other)
    refused("outside the spectrum", window=(500.0, 600.0))
    refused(r"20 moments resolve .* meV .*Pass moments=\d+", moments=20)
    refused("at least 4 moments", moments=2)
    refused("window .* is empty", window=(1.0, 1.0))
    refused("positive number", resolution=0.0)
    parts = alloy.structure, alloy.basis, alloy.spin, alloy.matrices
    refused("the Fermi level", kind=MissingDataError, calc=dock.Calculation(*parts))
    with pytest.raises(Planned, match=r"kpm: 4 atoms, .* moments; .* blocks of Bloch sums"):
        spectral_function(alloy, SIZE, "GL", solver=Job(dry_run=True), **ASKED)
