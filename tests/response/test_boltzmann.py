"""Transport coefficients of a band whose velocities are known, and of iron."""

import numpy as np
import pytest

import dock
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.response import transport
from dock.response.boltzmann import SIGMA, level_squares
from dock.response.filling import fill_mesh
from dock.response.kdotp import KdotP
from dock.response.mesh_sum import mesh_sum
from dock.response.operators import Operators
from dock.response.tensors import averaged
from dock.states.kmesh import KMesh, make_mesh
from dock.states.smearing import BOLTZMANN_EV, Smearing

A, HOPPING = 3.0, 1.0


@pytest.fixture(scope="module")
def cubic():
    """One orbital on a cubic lattice: E = −2t Σ cos(k a), half full."""
    steps = np.concatenate([np.zeros((1, 3), int), np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    zeros = np.zeros(7, int)
    structure = Structure(A * np.eye(3), np.zeros((1, 3)), np.array([1]))
    about = structure, Basis.from_ls({"H": [0]}, structure.labels), Pairs(steps, zeros, zeros, 1)
    entries = np.array([[0.0] + 6 * [-HOPPING]])
    home = np.array([[1.0] + 6 * [0.0]])
    matrices = {
        "hamiltonian": AOMatrix("hamiltonian", *about, Spin.NONE, entries),
        "overlap": AOMatrix("overlap", *about, Spin.NONE, home),
    }
    return Calculation(structure, about[1], Spin.NONE, matrices, n_electrons=1.0, source="cubic")


def test_it_is_the_sum_over_known_velocities(cubic):
    kelvin, mu = 3000.0, -1.5
    found = transport(cubic, (12, 12, 12), temperature=kelvin, mu=[mu, 0.0])
    x = 2 * np.pi * np.stack(np.meshgrid(*[np.arange(12) / 12] * 3), -1).reshape(-1, 3)
    energies, v = -2 * HOPPING * np.cos(x).sum(axis=1), 2 * HOPPING * A * np.sin(x[:, 0])
    slope = Smearing.fermi_dirac(kelvin).delta(energies, mu)
    K = [2 / A**3 * np.mean(slope * (energies - mu) ** n * v**2) for n in range(3)]
    for n in range(3):
        np.testing.assert_allclose(found.moments[0, 0, n], K[n] * np.eye(3), atol=1e-9)
    assert found.conductivity[0, 0, 1, 1] == pytest.approx(SIGMA * K[0])
    assert found.seebeck[0, 0, 2, 2] == pytest.approx(-K[1] / K[0] / kelvin)
    # SI by hand: e²/ħ² K⁰ with 1 eV/Å = 1.602e-9 J/m
    e, hbar = 1.602176634e-19, 1.054571817e-34
    assert found.conductivity[0, 0, 0, 0] == pytest.approx((e / hbar) ** 2 * K[0] * e * 1e10)
    kappa = (K[2] - K[1] ** 2 / K[0]) / kelvin * e**3 * 1e10 / hbar**2
    assert found.thermal[0, 0, 0, 0] == pytest.approx(kappa)
    assert abs(found.seebeck[0, 1, 0, 0]) < 1e-12  # electrons and holes alike


def test_electrons_at_the_bottom_are_free_with_the_bands_mass(cubic):
    """σ/τ = n e²/m with ħ²/m = 2ta², Seebeck negative; holes at the top positive."""
    kelvin = 2500.0
    found = transport(cubic, (30, 30, 30), temperature=kelvin, mu=[-6.0, 6.0])
    density = (1.0 + found.carriers[0, 0]) / A**3
    mass = 1 - 3 * 0.5 * BOLTZMANN_EV * kelvin / (6 * HOPPING)  # thermal: ⟨cos ka⟩ below 1
    expected = density * 2 * HOPPING * A**2 * mass
    assert found.moments[0, 0, 0, 0, 0] == pytest.approx(expected, rel=0.03)
    assert found.seebeck[0, 0, 0, 0] < -1e-4 < 1e-4 < found.seebeck[0, 1, 0, 0]


def test_wiedemann_and_franz(cubic):
    """κ = (π²/3)(k_B/e)² T σ as long as σ is even about the level over the width of −∂f/∂E."""
    kelvin = 3000.0
    found = transport(cubic, (24, 24, 24), temperature=kelvin)
    ratio = found.thermal[0, 0, 0, 0] / (kelvin * found.conductivity[0, 0, 0, 0])
    assert ratio == pytest.approx(np.pi**2 / 3 * BOLTZMANN_EV**2, rel=0.06)


@pytest.mark.shared
def test_the_drude_weight_of_iron_is_that_of_its_fermi_sea(shared):
    """Σ (−∂f/∂E) v v = Σ f ∂²E/∂k² by parts, to 6% on this mesh and 2% on one of 12³."""
    calc = dock.read(shared / "fixtures/siesta/fe_bcc/fe_bcc.v2.HSX")
    mesh, rule = make_mesh(calc, (8, 8, 8)), Smearing("fermi-dirac", 1.5)
    level = fill_mesh(Operators.of(calc), mesh, smearing=rule).level

    def both(at):
        filled = [g for g in at.groups if at.energies[g.start] < level + 15]
        masses = (
            rule.occupation(at.energies[g], level).sum() * KdotP.of(at, g).hessian for g in filled
        )
        squares = level_squares(at, np.ones(at.n_states, dtype=bool))
        return {
            "sea": sum(masses),
            "surface": np.tensordot(rule.delta(at.energies, level), squares, axes=1),
        }

    found = mesh_sum(Operators.of(calc), mesh, both, "both").whole
    sea, surface = (averaged(found[name].sum(axis=0), mesh, 2) for name in ("sea", "surface"))
    assert sea[0, 0] > 1
    np.testing.assert_allclose(surface, sea, rtol=0, atol=0.08 * sea[0, 0])


def test_what_does_not_conduct_has_no_seebeck_coefficient():
    silicon = dock.read("fixtures/openmx/si")
    found = transport(silicon, (2, 2, 2), temperature=1.0, mu=[0.0])
    assert np.isnan(found.seebeck).all()
    assert np.abs(found.carriers).max() < 1e-9
    assert found.json()["seebeck_V_per_K"][0][0][0][0] is None


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"temperature": [-1.0]}, {"mu": np.nan}])
def test_nonsense_is_refused(cubic, options):
    with pytest.raises(UsageError, match=r"above 0 K|finite energy"):
        transport(cubic, KMesh.full((2, 2, 2)), **options)
