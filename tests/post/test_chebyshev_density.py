"""Densities of states by Chebyshev moments: against all states, their errors, tiles, resume."""

import h5py
import numpy as np
import pytest
import scipy.linalg

import dock
from dock.errors import MissingDataError, UsageError
from dock.post.chebyshev_density import ChebyshevDensity
from dock.post.chebyshev_sum import averaged, chebyshev_dos
from dock.states.job import Job, PartDone, Planned
from dock.states.kmesh import KMesh
from dock.states.kpm.recursion import Expansion
from dock.states.problem import Problem

SILICON = "fixtures/openmx/si"
WINDOW = (-10.0, 8.0)
"""eV: at the ends of the spectrum the kernel is much sharper than anywhere else."""


def levels(calc, k=(0.0, 0.0, 0.0), channel=0):
    return scipy.linalg.eigh(*Problem.of(calc).dense(channel, np.array(k)), eigvals_only=True)


def broadened(found, energies, at):
    """Return what a Gaussian of the kernel's width makes of levels."""
    width = found.resolution[:, None]
    peaks = np.exp(-0.5 * ((at[:, None] - energies) / width) ** 2)
    return (peaks / width / np.sqrt(2 * np.pi)).sum(axis=1)


@pytest.fixture(scope="module")
def silicon():
    return dock.read(SILICON)


@pytest.fixture(scope="module")
def found(silicon):
    return chebyshev_dos(
        silicon,
        (1, 1, 1),
        resolution=0.3,
        vectors=200,
        project="species,l",
        atoms=[1],
        seed=3,
        window=WINDOW,
    )


def test_total_is_that_of_all_levels_within_its_error(silicon, found):
    wanted = 2 * broadened(found, levels(silicon), found.energies)
    off = np.abs(found.total[0] - wanted)
    # The kernel is no Gaussian to the last percent.
    assert np.mean(off < found.error[0] + 0.03 * wanted.max()) > 0.95
    assert off.sum() < 1.5 * found.error[0].sum()
    assert off.sum() < 0.08 * wanted.sum()


def test_integrals_have_their_errors(silicon, found):
    filled = levels(silicon)[:4]
    assert abs(found.counted - 8) < found.counted_error + 0.05
    assert found.counted_error < 0.7
    assert abs(found.band_energy - 2 * filled.sum()) < found.band_energy_error + 0.5
    assert abs(found.counted_level - found.fermi_level) < found.counted_level_error + 1


def test_projections_sum_up_to_the_total(found):
    assert found.names == ("Si s", "Si p")
    assert np.allclose(found.projected.sum(axis=1), found.total, atol=1e-4)


def test_density_of_an_atom_is_without_chance(silicon, found):
    other = chebyshev_dos(
        silicon,
        (1, 1, 1),
        resolution=0.3,
        vectors=2,
        atoms=[1],
        seed=9,
        window=WINDOW,
        single=False,
    )
    same = np.interp(found.energies, other.energies, other.local[0, 0])
    assert np.abs(found.local[0, 0] - same).max() < 1e-2 * found.local.max()
    # Both atoms are alike: each has half of all.
    half = broadened(found, levels(silicon), found.energies)
    assert np.abs(found.local[0, 0] - half).sum() < 0.06 * half.sum()
    assert found.local_atoms == (2,)


def test_errors_are_statistically_right(silicon):
    """Of many seeds, 95 of a hundred intervals have the value of all levels."""
    found = Expansion.of(Problem.of(silicon), structure=silicon.structure, origin=-1.93)
    n_moments, one = 100, np.ones(1)
    moments = found.trace_moments(n_moments, 20 * 8, (4,))[:, 0]
    energies = np.linspace(-8.0, 0.0, 60)
    exact = found.scale.kernel(levels(silicon), n_moments)
    wanted = found.scale.density(exact, energies), found.scale.count(exact, energies[-1:])
    inside, counted = [], 0
    for seed in range(20):
        mine = moments[8 * seed : 8 * seed + 8]
        curve = averaged([found.scale.density(mine, energies)], one)
        inside.append(np.abs(curve.mean - wanted[0]) < curve.error + 1e-3)
        number = averaged([found.scale.count(mine, energies[-1:])], one)
        counted += abs(number.mean[0] - wanted[1][0]) < number.error[0] + 1e-3
    assert np.mean(inside) > 0.9
    assert counted >= 18


def test_spin_channels():
    calc = dock.read("fixtures/openmx/o2-spin")
    found = chebyshev_dos(calc, resolution=0.5, vectors=96)
    assert found.mesh.size == (1, 1, 1)
    step = found.energies[1] - found.energies[0]
    below = found.relative < 0
    for channel, number in enumerate((7, 5)):
        assert found.total[channel, below].sum() * step == pytest.approx(number, abs=0.5)
    assert abs(found.counted - 12) < found.counted_error + 0.1


def test_spin_orbit_with_spins_apart():
    calc = dock.read("fixtures/openmx/o2-nc-soc")
    found = chebyshev_dos(calc, resolution=1.0, vectors=32, project="spin")
    assert found.names == ("up", "down")
    assert len(found.total) == 1
    assert abs(found.counted - 12) < found.counted_error + 0.1


def test_a_tile_is_the_cell_on_a_mesh(silicon):
    settings = {"resolution": 0.4, "vectors": 2, "atoms": [0], "window": (-8.0, 4.0)}
    tiled = chebyshev_dos(silicon, (1, 1, 1), tile=(2, 1, 2), **settings)
    meshed = chebyshev_dos(silicon, (2, 1, 2), **settings)
    assert tiled.facts()["tile"] == [2, 1, 2]
    off = np.abs(tiled.local - meshed.local).max()
    assert off < 0.1 * tiled.local.max()  # the bounds, hence the kernels, differ a little


def test_a_built_supercell_is_the_same(silicon):
    parts = [part.supercell((2, 1, 1)) for part in (silicon.hamiltonian, silicon.overlap)]
    built = dock.Calculation(
        parts[0].structure,
        parts[0].basis,
        parts[0].spin,
        {"hamiltonian": parts[0], "overlap": parts[1]},
        fermi_level=silicon.fermi_level,
        n_electrons=16.0,
    )
    settings = {"resolution": 0.4, "vectors": 2, "single": False, "window": WINDOW}
    one = chebyshev_dos(silicon, (1, 1, 1), tile=(2, 1, 1), atoms=[0], **settings)
    two = chebyshev_dos(built, (1, 1, 1), atoms=[0], **settings)
    same = np.interp(one.energies, two.energies, two.local[0, 0])
    assert np.abs(one.local[0, 0] - same).max() < 0.02 * one.local.max()


def test_a_run_that_is_killed_goes_on(silicon, tmp_path):
    settings = {"resolution": 0.5, "vectors": 48, "seed": 1}
    whole = chebyshev_dos(silicon, (1, 1, 1), **settings)
    job = Job(folder=tmp_path / "kept")

    def killed(done, total):
        if done > 0.7 * total:
            raise KeyboardInterrupt

    # What a second has not passed for is not worth a file: a shard keeps at once.
    part = Job(folder=tmp_path / "kept", shard=(0, 2))
    with pytest.raises(PartDone, match="shard 0/2 is done"):
        chebyshev_dos(silicon, (1, 1, 1), solver=part, **settings)
    other = Job(folder=tmp_path / "kept", shard=(1, 2))
    with pytest.raises(KeyboardInterrupt):
        chebyshev_dos(silicon, (1, 1, 1), solver=other, progress=killed, **settings)
    steps = []
    again = chebyshev_dos(
        silicon, (1, 1, 1), solver=job, progress=lambda done, total: steps.append(done), **settings
    )
    assert steps[0] == 2000  # two of three blocks were there
    assert np.array_equal(again.total, whole.total)
    assert np.array_equal(again.error, whole.error)


def test_it_is_saved_with_errors_and_drawn(found, tmp_path):
    pytest.importorskip("matplotlib")
    path, beside = found.save(tmp_path / "dos.h5")
    with h5py.File(path) as file:
        assert np.array_equal(file["dos_error_1_per_eV"][()], found.error)
        assert file["resolutions_eV"].shape == found.energies.shape
        assert file.attrs["n_vectors"] == 208
    assert beside.exists()
    found.plot(tmp_path / "dos.png", window=(-10, 5))
    assert "(95 %)" in found.table()
    assert isinstance(found, ChebyshevDensity)


def test_a_plan_says_memory_before_anything_is_read(silicon):
    with pytest.raises(Planned) as planned:
        chebyshev_dos(silicon, (1, 1, 1), tile=(40, 40, 40), solver=Job(dry_run=True))
    assert planned.value.facts["memory_bytes"] > 128000 * 1000
    assert "kB an atom" in str(planned.value)


WRONG = {
    "no vector to compare with": ({"vectors": 1}, "at least 2 random vectors"),
    "a resolution of nothing": ({"resolution": 0.0}, "positive number of eV"),
    "a window upside down": ({"window": (1.0, -1.0)}, "is empty"),
    "a window outside the spectrum": ({"window": (200.0, 300.0)}, "outside the spectrum"),
    "too few moments": ({"resolution": 0.05, "moments": 100}, r"Pass moments=\d+"),
    "a series of nothing": ({"moments": 2}, "at least 4 moments"),
    "a tile of nothing": ({"tile": (0, 1, 1)}, "three numbers of cells"),
    "no such atom": ({"atoms": [7]}, "there is no atom 8"),
    "a seed below zero": ({"seed": -1}, "a number from 0"),
    "no room": ({"tile": (3000, 3000, 300)}, "kB an atom"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_without_meaning(silicon, name):
    settings, message = WRONG[name]
    with pytest.raises(UsageError, match=message):
        chebyshev_dos(silicon, (1, 1, 1), **settings)


def test_what_holds_at_the_level_does_not_depend_on_the_window(silicon):
    settings = {"resolution": 0.3, "vectors": 16}
    whole = chebyshev_dos(silicon, (1, 1, 1), **settings)
    above = chebyshev_dos(silicon, (1, 1, 1), window=(2.0, 4.0), **settings)
    for name in ("resolution_eV", "dos_error_at_fermi_1_per_eV"):
        assert above.facts()[name] == pytest.approx(whole.facts()[name], rel=1e-6)
    at = np.interp(whole.fermi_level, whole.energies, whole.total[0])
    assert above.level_total == pytest.approx(at, rel=0.02)


def test_energies_begin_below_the_lowest_state_of_all_points(silicon):
    points = np.array([[0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])  # the lowest state is at the last
    mesh = KMesh((1, 1, 2), (0.0, 0.0, 0.0), points, np.full(2, 0.5), np.arange(2))
    found = chebyshev_dos(silicon, mesh, resolution=0.5, vectors=2)
    assert found.energies[0] < levels(silicon)[0]


def test_without_level_and_electrons(silicon):
    parts = {"hamiltonian": silicon.hamiltonian, "overlap": silicon.overlap}
    bare = dock.Calculation(silicon.structure, silicon.basis, silicon.spin, parts)
    with pytest.raises(MissingDataError, match="electrons=N"):
        chebyshev_dos(bare, (1, 1, 1))
    found = chebyshev_dos(bare, (1, 1, 1), electrons=8, resolution=0.5)
    assert found.fermi_source == "counted"
    with pytest.raises(UsageError, match="outside the spectrum"):
        chebyshev_dos(bare, (1, 1, 1), electrons=8, resolution=0.5, window=(200.0, 300.0))
