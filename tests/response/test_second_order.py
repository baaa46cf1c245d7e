"""Second-order optics: closed forms, an independent density matrix, and what symmetry forbids."""

import dataclasses

import numpy as np
import pytest

import dock
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import ConventionError, UsageError
from dock.response import nonlinear_optics
from dock.response.connection_derivative import Connections
from dock.response.kdata import each
from dock.response.operators import Operators
from dock.response.second_order import harmonic_of, shift_of, shift_weights
from dock.states.kmesh import KMesh

X = np.array([0.5, 2.0, 4.0])


def lattice(cell, sites, terms, electrons):
    """A tight-binding model: terms (i, j, R, value); sites are fractional, S is the unit matrix."""
    blocks = {(0, 0, 0, i, i): 0.0 for i in range(len(sites))}
    for i, j, R, value in terms:
        for key, entry in (((*R, i, j), value), ((*(-x for x in R), j, i), np.conj(value))):
            if i == j and not any(R):
                entry = value / 2
            blocks[key] = blocks.get(key, 0.0) + entry
    keys = np.array(list(blocks))
    structure = Structure(cell, np.asarray(sites) @ cell, np.ones(len(sites), int))
    basis = Basis.from_ls({"H": [0]}, structure.labels)
    about = structure, basis, Pairs(keys[:, :3], keys[:, 3], keys[:, 4], len(sites))
    home = (np.all(keys[:, :3] == 0, axis=1) & (keys[:, 3] == keys[:, 4])).astype(float)
    entries = np.array([list(blocks.values())])
    matrices = {
        "hamiltonian": AOMatrix("hamiltonian", *about, Spin.NONE, entries),
        "overlap": AOMatrix("overlap", *about, Spin.NONE, home[None]),
        "position": AOMatrix(
            "position", *about, Spin.NONE, (home[:, None] * structure.positions[keys[:, 3]]).T
        ),
    }
    return Calculation(structure, basis, Spin.NONE, matrices, n_electrons=electrons, source="model")


def connections(calc, k, n_filled, near=0.0):
    operators = Operators.of(calc, position=True)
    return next(each(operators, [k], lambda at: (Connections.of(at, n_filled, near), at)))


@pytest.fixture(scope="module")
def silicon():
    return dock.read("fixtures/openmx/si")


def test_the_derivative_is_that_of_parallel_transported_states(silicon):
    operators = Operators.of(silicon, position=True)
    k, h, n, m = np.array([0.13, 0.21, 0.37]), 1e-4, 2, 5
    here, at = connections(silicon, k, 4)

    def transported(a, b, step):
        half = 0.5 * step * np.eye(3)[b] @ np.linalg.inv(silicon.structure.reciprocal)
        there, other = connections(silicon, k + 2 * half, 4)
        # ⟨u(k)|u(k + step)⟩ to second order, from what lies midway
        middle = operators.overlap(k + half)
        middle = middle - 1j * step * operators.derivative("midpoint", 0, k + half)[b]
        phase = np.diag(at.vectors.conj().T @ middle @ other.vectors)
        phase = phase / abs(phase)
        return phase[n] * there.between[a, n, m] * phase[m].conj()

    for a in range(3):
        for b in range(3):
            slope = (transported(a, b, h) - transported(a, b, -h)) / (2 * h)
            assert here.derivative[a, b, n, m - 4] == pytest.approx(slope, rel=1e-3, abs=1e-4)


def rice_mele(t1=1.0, t2=0.6, delta=0.5, place=0.4, length=3.0):
    terms = [(0, 0, (0, 0, 0), delta), (1, 1, (0, 0, 0), -delta)]
    terms += [(0, 1, (0, 0, 0), t1), (0, 1, (-1, 0, 0), t2)]
    return lattice(np.diag([length, 9, 9]), [[0, 0, 0], [place, 0, 0]], terms, 2)


@pytest.mark.parametrize("k", [0.1, 0.27, -0.4])
def test_rice_and_meles_shift_has_a_closed_form(k):
    # Of h = f·σ in two bands: |r|² R = f·(f′ × f″)/4|f|³ for electrons that go up
    # (A. M. Cook and others, Nat. Commun. 8, 14176 (2017)).
    t1, t2, delta, place, length = 1.0, 0.6, 0.5, 0.4, 3.0
    d1, d2 = place * length, (place - 1) * length
    q = 2 * np.pi * k / length
    phases = np.array([[(1j * d) ** n * np.exp(1j * q * d) for d in (d1, d2)] for n in range(3)])
    f, first, second = (np.array([c.real, -c.imag, 0.0]) for c in phases @ [t1, t2])
    f[2] = delta
    wanted = f @ np.cross(first, second) / (4 * np.linalg.norm(f) ** 3)
    here, _ = connections(rice_mele(), [k, 0, 0], 1)
    assert abs(wanted) > 1e-3
    assert shift_weights(here)[0, 0, 0, 0, 0] == pytest.approx(wanted, rel=1e-9)


def test_electrons_carry_the_shift_current():
    # With one bond it is a molecule: light lifts electrons from the deep site at d to the one at 0,
    # by R = −dΔ/E where r = td/2E; the current is the other way.
    d, t, delta = 1.2, 1.0, 0.5
    E = np.hypot(t, delta)
    wanted = -(d**3) * t**2 * delta / (4 * E**3)
    calc = rice_mele(t2=0.0)
    here, _ = connections(calc, [0.2, 0, 0], 1)
    assert shift_weights(here)[0, 0, 0, 0, 0] == pytest.approx(wanted, rel=1e-9)
    energies = np.array([2 * E])
    found = nonlinear_optics(calc, (2, 1, 1), energies, "shift", eta=0.05)
    # π|e|³/ħ = π 2.43413e-4 A/V² eV, two spins, a volume of 3 × 81 Å³, a Lorentzian at its top
    scale = np.pi * 2.43413e-4 * 2 / 243 / (np.pi * 0.05)
    assert found.values[0, 0, 0, 0] == pytest.approx(-scale * wanted, rel=1e-5)
    assert found.values[0, 0, 0, 0] > 0


def random_model():
    """Three sites in a plane without any symmetry."""
    rng = np.random.default_rng(3)
    terms = [(i, i, (0, 0, 0), e) for i, e in enumerate([-3.0, 2.0, 3.5])]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        terms += [
            (i, j, R, 0.5 * rng.normal() + 0.2j * rng.normal())
            for R in ((0, 0, 0), (1, 0, 0), (0, -1, 0))
        ]
    cell = np.array([[3.0, 0, 0], [0.4, 2.8, 0], [0.1, 0.2, 9]])
    return lattice(cell, rng.random((3, 3)), terms, 2)


def test_second_harmonic_is_that_of_the_density_matrix():
    calc = random_model()
    frequencies = np.array([0.3, 1.5]) + 0.9j
    total = wanted = 0
    for here, at in each(
        Operators.of(calc, position=True),
        KMesh.full((16, 16, 1), (0.1, 0.3, 0)).points,
        lambda at: (Connections.of(at, 1), at),
    ):
        total = total + harmonic_of(here, frequencies, 0.0) / 256
        wanted = wanted + np.array([_by_current(here, at, z) for z in frequencies]) / 256
    assert np.abs(wanted).max() > 1e-2
    np.testing.assert_allclose(total, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def _by_current(here, at, z):
    """P(2ω) = i J/2ω from the whole current of the second-order density matrix."""
    A, E = here.between, at.energies
    lo, up = here.sides
    D = np.zeros((3, 3, 3, 3), complex)
    D[:, :, lo, up] = here.derivative
    D[:, :, up, lo] = here.derivative.conj().swapaxes(2, 3)
    slope = np.einsum("ann->an", at.velocity()).real
    filled = (np.arange(3) < 1).astype(float)
    apart, f = E[:, None] - E, filled[:, None] - filled
    out = np.zeros((3, 3, 3), complex)
    for b in range(3):
        rho = f * A[b] / (z - apart)
        for c in range(3):
            slopes = slope[c][:, None] - slope[c]
            moved = f * (D[b, c] / (z - apart) + A[b] * slopes / (z - apart) ** 2)
            second = (A[c] @ rho - rho @ A[c] + 1j * moved) / (2 * z - apart)
            out[:, b, c] = 0.5j / z * np.einsum("amn,nm->a", at.velocity(), second)
    return 0.5 * (out + out.swapaxes(1, 2))


@pytest.mark.shared
def test_silicon_has_neither(shared):
    calc = dock.read(shared / "fixtures/abacus/si2")
    gallium = dock.read(shared / "fixtures/openmx/gaas-soc")
    for quantity in ("shift", "shg"):
        none = nonlinear_optics(calc, (2, 2, 2), X, quantity)
        some = nonlinear_optics(gallium, (2, 2, 2), X, quantity)
        assert np.abs(none.values).max() < 1e-5 * np.abs(some.values).max()


@pytest.mark.shared
@pytest.mark.parametrize("quantity", ["shift", "shg"])
def test_symmetry_gives_what_the_whole_mesh_gives(shared, quantity):
    calc = dock.read(shared / "fixtures/openmx/gaas-soc")
    whole = nonlinear_optics(calc, KMesh.full((2, 2, 2)), X, quantity)
    reduced = nonlinear_optics(calc, (2, 2, 2), X, quantity)
    assert reduced.mesh.n_points < 8
    size = np.abs(whole.values).max()
    np.testing.assert_allclose(reduced.values, whole.values, rtol=0, atol=1e-4 * size)


def test_cells_of_atoms_do_not_matter():
    terms = [(0, 0, (0, 0, 0), 0.5), (1, 1, (0, 0, 0), -0.5)]
    terms += [(0, 1, (-1, 0, 0), 1.0), (0, 1, (-2, 0, 0), 0.6)]
    moved = lattice(np.diag([3.0, 9, 9]), [[0, 0, 0], [1.4, 0, 0]], terms, 2)
    for of in (shift_of, harmonic_of):
        one, other = (of(connections(c, [0.2, 0, 0], 1)[0], X, 0.1) for c in (rice_mele(), moved))
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-11 * np.abs(one).max())


def test_phases_of_states_do_not_matter():
    here, at = connections(random_model(), [0.13, 0.21, 0], 1, 0.04)
    phases = np.exp(2j * np.pi * np.random.default_rng(0).random(at.n_states))
    turned = Connections.of(dataclasses.replace(at, vectors=at.vectors * phases), 1, 0.04)
    for of in (shift_of, harmonic_of):
        one, other = of(here, X, 0.1), of(turned, X, 0.1)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-9 * np.abs(one).max())


@pytest.mark.shared
def test_levels_in_any_basis_give_the_same(shared):
    here, at = connections(dock.read(shared / "fixtures/abacus/si2"), [0, 0, 0], 4)
    group = next(g for g in at.groups if g.stop - g.start == 3 and g.stop <= 4)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    vectors = at.vectors.copy()
    vectors[:, group] = vectors[:, group] @ rotation
    turned = Connections.of(dataclasses.replace(at, vectors=vectors), 4)
    for of in (shift_of, harmonic_of):
        one, other = of(here, X, 0.1), of(turned, X, 0.1)
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)


def test_metals_and_nonsense_are_refused(silicon):
    with pytest.raises(ConventionError, match="a shift current needs a gap"):
        nonlinear_optics(silicon, (2, 2, 2), X, "shift", electrons=7.0)
    with pytest.raises(UsageError, match="shift or shg"):
        nonlinear_optics(silicon, (2, 2, 2), X, "third")
    with pytest.raises(UsageError, match="near is an energy"):
        nonlinear_optics(silicon, (2, 2, 2), X, "shg", near=-1.0)
