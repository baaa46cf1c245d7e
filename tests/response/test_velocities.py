"""Velocities and orbital moments of states: against sisl, finite differences and known answers."""

import numpy as np
import pytest

import dock
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.harmonics import convention_table
from dock.core.kspace import KBuilder
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, SolverError, UsageError
from dock.response import velocities
from dock.response.velocity import HBAR2_OVER_MASS
from dock.states.kmesh import KMesh
from dock.states.kplane import KPlane
from dock.states.problem import Problem
from dock.states.stream import levels
from dock.units import SIESTA4

K = np.array([0.13, 0.21, 0.37])


def energies_at(calc, points):
    return levels(Problem.of(calc).hermitian(), points).energies


def step(structure, axis, length):
    """A Cartesian step in fractions of the reciprocal vectors."""
    return length * np.eye(3)[axis] @ np.linalg.inv(structure.reciprocal)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["si2", "graphene", "fe_bcc", "fept_soc"])
def test_velocities_are_those_of_sisl(shared, name):
    """Of the Hermitian part of H and S: the file's two triangles differ by up to 1e-8 eV."""
    sisl = pytest.importorskip("sisl")
    file = shared / "fixtures/siesta" / name / f"{name}.v2.HSX"
    with np.errstate(all="ignore"):
        H = sisl.get_sile(file).read_hamiltonian()
    H = 0.5 * (H + H.transpose(conjugate=True, spin=True))
    units = SIESTA4.rydberg_ev * SIESTA4.bohr_angstrom
    units /= sisl.unit_convert("Ry", "eV") * sisl.unit_convert("Bohr", "Ang")
    ours = velocities(dock.read(file), [K])
    assert ours.n_shared == 0
    for channel, vectors in enumerate(ours.vectors[:, 0]):
        spin = {"spin": channel} if len(ours.vectors) == 2 else {}
        theirs = np.asarray(H.eigenstate(K, **spin).velocity()).T
        theirs *= sisl.constant.hbar("eV ps") * units
        np.testing.assert_allclose(vectors, theirs, rtol=0, atol=1e-7)


def test_slopes_within_a_level_are_those_of_the_bands_that_meet():
    calc = dock.read("fixtures/abacus/graphene")
    K_point = np.array([1 / 3, 1 / 3, 0])
    found = velocities(calc, [K_point], bands="4..5")
    assert found.sizes.tolist() == [[[2, 2]]]
    for axis in range(2):
        ahead = energies_at(calc, [K_point + step(calc.structure, axis, 1e-4)])[0, 0, 3:5]
        slopes = (ahead - found.energies[0, 0]) / 1e-4
        np.testing.assert_allclose(found.vectors[0, 0, :, axis], slopes, rtol=0, atol=2e-3)
    speed = np.abs(found.vectors[0, 0, 0, 0])
    assert speed == pytest.approx(5.4, abs=0.6)  # eV Å: graphene's Fermi velocity, 8e5 m/s

    along = velocities(calc, [K_point], bands="4..5", direction=(3.0, 4.0, 0.0))
    np.testing.assert_allclose(along.vectors[0, 0, :, :2] @ [0.6, 0.8], [-speed, speed], atol=1e-3)
    assert along.within.startswith("states with slopes along (0.6, 0.8, 0)")


def test_what_is_given_of_a_list_a_mesh_and_a_plane(tmp_path):
    calc = dock.read("fixtures/openmx/si")
    result = velocities(calc, KMesh.full((2, 1, 1)), bands="2..3")
    assert result.vectors.shape == (1, 2, 2, 3)
    content = result.json()
    assert content["first_band"] == 2
    assert content["k_weights"] == [0.5, 0.5]
    assert np.shape(content["velocities_eV_ang"]) == (1, 2, 2, 3)
    result.save(tmp_path / "v.h5")
    with pytest.raises(UsageError, match="path or a plane"):
        result.plot(tmp_path / "v.png")
    plane = velocities(calc, KPlane.of((1, 2), points=3), bands="1..7")
    with pytest.raises(UsageError, match="a panel for each band, at most 6"):
        plane.plot(tmp_path / "v.png")
    assert velocities(calc, KPlane.of((1, 2), points=3), bands="4").plot(tmp_path / "p.png")
    path = velocities(calc, "LG", bands="1..4")
    assert path.plot(tmp_path / "b.png", component="x").is_file()
    with pytest.raises(UsageError, match="x, y, z or norm"):
        path.plot(tmp_path / "c.png", component="w")
    path.save(tmp_path / "path.h5")


def test_levels_of_a_molecule_are_drawn_and_do_not_move(tmp_path):
    result = velocities(dock.read("fixtures/openmx/h2o"), "auto")
    np.testing.assert_allclose(result.vectors, 0, atol=1e-12)
    assert result.plot(tmp_path / "h2o.png").is_file()


def test_a_tolerance_says_what_is_one_level():
    """A grid in space has split Dirac's point of graphene by 0.17 meV."""
    calc = dock.read("fixtures/siesta/graphene")
    corner = [[1 / 3, 2 / 3, 0]]
    apart = velocities(calc, corner, bands="4..5")
    assert apart.n_shared == 0
    assert np.abs(apart.vectors).max() < 1e-2
    one = velocities(calc, corner, bands="4..5", tolerance=1e-3)
    assert one.n_shared == 2
    np.testing.assert_allclose(np.abs(one.vectors[0, 0, :, 0]), 5.4, atol=0.6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bands": "8..12"}, "there are 10 bands"),
        ({"direction": (0, 0, 0)}, "not all zero"),
        ({"where": [[0, 0]]}, "three finite numbers"),
    ],
)
def test_what_is_refused(settings, words):
    calc = dock.read("fixtures/openmx/si")
    with pytest.raises(UsageError, match=words):
        velocities(calc, settings.pop("where", [K]), **settings)


def test_bands_that_a_threshold_takes_out():
    calc = dock.read("fixtures/openmx/si")
    smallest = np.linalg.eigvalsh(KBuilder(calc.overlap).dense(K))
    threshold = 0.5 * (smallest[1] + smallest[2])
    with pytest.raises(SolverError, match=r"band 10 is not there at k = \(0.13, 0.21, 0.37\)"):
        velocities(calc, [K], bands="7..10", s_threshold=threshold)
    assert velocities(calc, [K], s_threshold=threshold).n_bands == 8


# --------------------------------------------------------------------------- orbital moments


def model(cell, fractional, ls, blocks, position):
    """A calculation whose orbitals do not overlap: blocks {(R, i, j): H}, r of each atom."""
    structure = Structure(
        np.array(cell), np.array(fractional) @ np.array(cell), [6] * len(fractional)
    )
    basis = Basis.from_ls({"C": ls}, structure.labels)
    keys = list(blocks)
    R, i, j = (np.array([key[n] for key in keys], dtype=np.int64) for n in range(3))
    pairs = Pairs(R, i, j, len(fractional))
    size = sum(2 * l + 1 for l in ls)
    at_home = [R == (0, 0, 0) and i == j for R, i, j in keys]
    matrices = {
        "hamiltonian": np.concatenate([np.ravel(blocks[key]).astype(complex) for key in keys])[
            None
        ],
        "overlap": np.concatenate([at * np.eye(size).ravel() for at in at_home])[None],
        "position": np.concatenate(
            [at * position[key[1]].reshape(3, -1) for at, key in zip(at_home, keys, strict=True)],
            axis=1,
        ),
    }
    made = {
        name: AOMatrix(name, structure, basis, pairs, Spin.NONE, entries)
        for name, entries in matrices.items()
    }
    return Calculation(structure, basis, Spin.NONE, made)


def haldane(mass=0.3, second=0.2, phase=0.5 * np.pi):
    """Haldane's model: hexagons with a flux, t = 1 eV, 2.5 Å; see Phys. Rev. Lett. 61, 2015."""
    cell = [[2.5, 0, 0], [-1.25, 2.5 * 0.75**0.5, 0], [0, 0, 12.0]]
    fractional = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]]
    blocks = {((0, 0, 0), 0, 0): mass, ((0, 0, 0), 1, 1): -mass}
    for R in ((0, 0, 0), (-1, 0, 0), (0, 1, 0)):
        blocks[R, 0, 1] = 1.0
        blocks[tuple(-x for x in R), 1, 0] = 1.0
    for R in ((1, 0, 0), (0, 1, 0), (-1, -1, 0)):
        for atom, sign in ((0, 1), (1, -1)):
            hop = second * np.exp(1j * sign * phase)
            blocks[R, atom, atom] = hop
            blocks[tuple(-x for x in R), atom, atom] = np.conj(hop)
    position = [np.array(x).reshape(3, 1, 1) for x in np.array(fractional) @ np.array(cell)]
    return model(cell, fractional, [0], blocks, position)


def test_orbital_moments_of_haldanes_model_are_the_curl_of_its_states():
    calc = haldane()
    k = np.array([0.29, 0.33, 0.0])
    builder, d = KBuilder(calc.hamiltonian), 1e-4

    def state(k, band):
        energies, vectors = np.linalg.eigh(builder.dense(k, gauge="atom"))
        return energies[band], vectors[:, band]

    found = velocities(calc, [k], orbital_moments=True)
    for band in (0, 1):
        energy, u = state(k, band)
        changes = []
        for axis in (0, 1):
            ends = [state(k + sign * step(calc.structure, axis, d), band)[1] for sign in (1, -1)]
            projectors = [np.outer(v, v.conj()) for v in ends]
            changes.append((projectors[0] - projectors[1]) @ u / (2 * d))
        operator = builder.dense(k, gauge="atom") - energy * np.eye(2)
        curl = 2 * np.imag(changes[0].conj() @ operator @ changes[1])  # Im <du| x (H − E) |du>
        expected = curl / HBAR2_OVER_MASS  # (e/2ħ) over μ_B = eħ/2m
        assert found.moments[0, 0, band, 2] == pytest.approx(expected, rel=1e-6)
        assert abs(expected) > 0.1


def test_an_electron_that_turns_left_has_its_moment_down():
    """L_z = +1 of a p shell above an s level: m_z = −(m/ħ²) (E_p − E_s) d², in μ_B."""
    order = [name.strip() for name in convention_table("dock", 1)[1].functions]
    x, y, z = (1 + order.index(name) for name in "xyz")
    H = np.diag([0.0, 5, 5, 5]).astype(complex)
    H[y, x], H[x, y] = 0.5j, -0.5j  # λ L_z: L_z |x> = i |y>
    position = np.zeros((3, 4, 4))
    for axis, orbital in enumerate((x, y, z)):
        position[axis, 0, orbital] = position[axis, orbital, 0] = 0.7
    calc = model(np.eye(3) * 20, [[0, 0, 0]], [0, 1], {((0, 0, 0), 0, 0): H}, [position])
    found = velocities(calc, [[0, 0, 0]], orbital_moments=True)
    np.testing.assert_allclose(found.energies[0, 0], [0, 4.5, 5, 5.5], atol=1e-12)
    expected = -5.5 * 0.7**2 / HBAR2_OVER_MASS
    np.testing.assert_allclose(found.moments[0, 0, 3], [0, 0, expected], atol=1e-12)
    assert found.moments[0, 0, 1, 2] == pytest.approx(4.5 * 0.7**2 / HBAR2_OVER_MASS)


@pytest.mark.shared
def test_orbital_moments_turn_with_time(shared):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    found = velocities(calc, [K, -K], bands="1..12", orbital_moments=True).moments[0]
    assert np.abs(found).max() > 0.05
    np.testing.assert_allclose(found[1], -found[0], rtol=0, atol=1e-5)


def test_orbital_moments_need_positions():
    calc = dock.read("fixtures/openmx/si")
    bare = calc.replace(matrices={n: calc.matrices[n] for n in ("hamiltonian", "overlap")})
    with pytest.raises(MissingDataError, match="position matrix"):
        velocities(bare, [K], orbital_moments=True)
    inversion = velocities(calc, [K], orbital_moments=True)
    np.testing.assert_allclose(inversion.moments, 0, atol=1e-4)
