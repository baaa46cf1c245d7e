"""Linear optics against a direct sum over pairs, another program, and relations that must hold."""

import dataclasses

import numpy as np
import pytest

import dock
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.response import kramers_kronig, optics
from dock.response.filling import fill_mesh
from dock.response.kdata import each
from dock.response.operators import Operators
from dock.response.optical_spectrum import COULOMB, HBAR_C, S_PER_CM
from dock.response.transitions import Nodes, Transitions
from dock.states.job import Job, PartDone
from dock.states.kmesh import KMesh
from dock.states.smearing import Smearing
from dock.structures import haldane

X = np.linspace(0, 10, 101)


@pytest.fixture(scope="module")
def silicon():
    return dock.read("fixtures/openmx/si")


def direct(calc, mesh, energies, eta, n_filled, border=np.inf):
    """A loop over k-points and pairs, with the velocities of each."""
    operators = Operators.of(calc, position=True)
    total = np.zeros((len(energies), 3, 3), dtype=complex)
    z = energies + 1j * eta

    def add(at):
        v = at.velocity()
        for m in range(n_filled):
            for n in range(n_filled, at.n_states):
                apart = at.energies[n] - at.energies[m]
                w = np.outer(v[:, m, n], v[:, n, m]) / apart**2
                kernel = z if apart < border else energies
                total[:] += np.multiply.outer(1 / (apart - kernel), w)
                total[:] += np.multiply.outer(1 / (apart + kernel), w.conj())
                total[:] += np.multiply.outer(2j / z, w.imag)  # vanishes without magnetism
        return 0

    list(each(operators, mesh.points, add, jobs=1))
    scale = 4 * np.pi * COULOMB * 2 / operators.cell_volume / mesh.n_points
    return np.eye(3) + scale * total


@pytest.mark.shared
def test_another_programs_dielectric_function(shared):
    calc = dock.read(shared / "fixtures/abacus/si2")
    found = optics(calc, (8, 8, 8), np.linspace(0, 10, 1001), eta=0.1)
    for energy, wanted in ((1, 0.244956), (3, 16.95522), (4, 33.16093)):  # pyatb 1.1.2
        values = np.diag(found.epsilon[100 * energy].imag)
        np.testing.assert_allclose(values, wanted, rtol=1e-4)


@pytest.mark.parametrize("border", [None, 200.0])
def test_it_is_the_sum_over_pairs(silicon, border):
    mesh = KMesh.full((2, 1, 2), (0.3, 0.1, 0.2))  # no symmetry: every element of the tensor
    found = optics(silicon, mesh, X, eta=0.1, broadened_to=border).epsilon
    wanted = direct(silicon, mesh, X, 0.1, 4, border=border or 15.0)
    assert np.abs(wanted[:, 0, 1]).max() > 1
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-6 * np.abs(wanted).max())


def test_real_and_imaginary_part_belong_together(silicon):
    x = np.linspace(0, 100, 2001)
    found = optics(silicon, (2, 2, 2), x, eta=0.4)
    real = kramers_kronig(x, found.epsilon.imag)
    few = x < 20
    np.testing.assert_allclose(real[few], found.epsilon.real[few] - np.eye(3), rtol=0, atol=5e-4)
    assert found.static[0, 0] == pytest.approx(1 + real[0, 0, 0], abs=2e-2)


def test_symmetry_gives_what_the_whole_mesh_gives(silicon):
    whole = optics(silicon, KMesh.full((3, 3, 3)), X)
    reduced = optics(silicon, (3, 3, 3), X)
    assert reduced.mesh.n_points < whole.mesh.n_points / 4
    np.testing.assert_allclose(reduced.epsilon, whole.epsilon, rtol=0, atol=5e-4)


def test_derived_quantities(silicon):
    found = optics(silicon, (2, 2, 2), X)
    epsilon, index = found.epsilon[60, 0, 0], found.index[60, 0]
    assert index**2 == pytest.approx(epsilon)
    assert index.imag > 0
    assert found.absorption[60, 0] == pytest.approx(2 * 6 * index.imag / HBAR_C)
    # σ₁ = ε₀ (ω ε₂ + η (ε₁ − 1)), from SI constants: 8.8541878128e-12 F/m × eV/ħ, in S/cm
    rate = 1.602176634e-19 / 1.054571817e-34 * (6 * epsilon.imag + 0.1 * (epsilon.real - 1))
    sigma = 8.8541878128e-12 * rate / 100
    assert found.conductivity[60, 0, 0].real == pytest.approx(sigma, rel=1e-7)


def test_half_the_mesh_is_compared(silicon):
    fine, coarse = optics(silicon, (4, 4, 4), X), optics(silicon, (2, 2, 2), X)
    change = np.abs(fine.epsilon - coarse.epsilon).max() / np.abs(fine.epsilon).max()
    assert fine.half_change == pytest.approx(change, rel=1e-6)
    assert optics(silicon, (3, 3, 3), X).half_change is None


def test_joint_density_counts_pairs(silicon):
    x = np.linspace(0, 400, 4001)
    bare = silicon.replace(matrices={n: silicon.matrices[n] for n in ("hamiltonian", "overlap")})
    found = optics(bare, (2, 2, 2), x, eta=0.4, quantity="jdos")  # no positions are needed
    n_pairs = 2 * 4 * (silicon.basis.n_orbitals - 4)
    assert np.trapezoid(found.jdos, x) == pytest.approx(n_pairs, rel=2e-2)  # tails
    assert "epsilon_2" not in found.arrays()


@pytest.mark.shared
def test_a_metal_has_carriers(shared):
    calc = dock.read(shared / "fixtures/siesta/fe_bcc/fe_bcc.v2.HSX")
    mesh, rule = KMesh.full((2, 2, 2), (0.5, 0.5, 0.5)), Smearing("gaussian", 0.3)
    filling = fill_mesh(Operators.of(calc), mesh, smearing=rule)
    assert not filling.is_gapped
    operators = Operators.of(calc).channels[0]
    transitions = Transitions(Nodes.of(X, 0.1), filling)
    at = next(each(operators, mesh.points[:1], lambda at: at))
    with pytest.raises(MissingDataError, match="position matrix"):
        transitions(at)  # what is between the bands needs positions
    weights = rule.delta(at.energies, filling.level)
    slopes = np.einsum("ann->an", at.slope_matrix()).real
    from dock.response.transitions import drude_weight

    wanted = np.einsum("n,an,bn->ab", weights, slopes, slopes)
    np.testing.assert_allclose(drude_weight(at, weights), wanted, rtol=0, atol=1e-8)


def test_a_drude_term_is_added(silicon):
    x, rule = np.linspace(0.5, 3, 6), Smearing("gaussian", 0.2)
    doped = {"fermi_level": optics(silicon, (3, 3, 3), x).filling.gap.vbm.energy - 1.0}
    without = optics(silicon, (3, 3, 3), x, smearing=rule, **doped)
    with_it = optics(silicon, (3, 3, 3), x, smearing=rule, drude=0.2, **doped)
    term = -without.plasma_squared[0, 0] / (x * (x + 0.2j))
    assert without.plasma_squared[0, 0] > 1
    np.testing.assert_allclose((with_it.epsilon - without.epsilon)[:, 0, 0], term, atol=1e-10)
    # σ of Drude: ε₀ω_p²/(γ − iω)
    carriers = (with_it.conductivity - without.conductivity)[:, 0, 0]
    wanted = S_PER_CM * without.plasma_squared[0, 0] / (0.2 - 1j * x)
    np.testing.assert_allclose(carriers, wanted, rtol=1e-9)


def test_a_gap_is_required_where_it_is_needed(silicon):
    filling = fill_mesh(Operators.of(silicon), KMesh.full((2, 2, 2)), electrons=7.0)
    with pytest.raises(ConventionError, match="needs a gap"):
        filling.require_gap("a shift current", silicon.source)


@pytest.mark.parametrize(
    ("energies", "options", "words"),
    [
        ([3.0, 1.0], {}, "ascend"),
        ([-1.0, 1.0], {}, "ascend from 0"),
        ([1.0, np.nan], {}, "finite"),
        ([1.0, 2.0], {"eta": 0.0}, "eta must be a positive"),
        ([1.0, 2.0], {"eta": -0.1}, "eta must be a positive"),
        ([1.0, 2.0], {"eta": 1e-6}, "too small"),
        ([1.0, 2.0], {"quantity": "colour"}, "epsilon, sigma or jdos"),
        ([0.0, 2.0], {"drude": 0.1}, "energies above 0"),
        ([1.0, 2.0], {"broadened_to": 1.5}, "above the highest"),
        ([1.0, 2.0], {"fermi_level": np.inf}, "finite energy"),
        ([1.0, 2.0], {"smearing": "tetrahedra"}, "are for quantity=jdos"),
    ],
)
def test_what_has_no_meaning_is_refused(silicon, energies, options, words):
    with pytest.raises(UsageError, match=words):
        optics(silicon, (2, 2, 2), energies, **options)


def test_without_positions_it_is_said(silicon):
    bare = silicon.replace(matrices={n: silicon.matrices[n] for n in ("hamiltonian", "overlap")})
    with pytest.raises(MissingDataError, match="basis"):
        optics(bare, (2, 2, 2), X)


def test_joint_density_by_tetrahedra(silicon):
    x = np.linspace(0, 80, 321)
    sharp = optics(silicon, (4, 4, 4), x, quantity="jdos", smearing="tetrahedra")
    n_pairs = 2 * 4 * (silicon.basis.n_orbitals - 4)
    assert sharp.jdos.sum() * 0.25 == pytest.approx(n_pairs, rel=1e-9)  # none is lost
    assert not sharp.jdos[x < sharp.filling.gap.direct - 0.3].any()
    lines = optics(silicon, (4, 4, 4), x, quantity="jdos", eta=2.0).jdos
    smooth = [np.sum(sharp.jdos * 0.25 * 2 / np.pi / ((x - y) ** 2 + 4)) for y in x]
    assert np.abs(smooth - lines).max() < 0.15 * lines.max()
    assert 0 < sharp.half_change < 3
    with pytest.raises(UsageError, match="evenly spaced"):
        optics(silicon, (2, 2, 2), [1.0, 2.0, 4.0], quantity="jdos", smearing="tetrahedra")
    with pytest.raises(ConventionError, match="needs a gap"):
        optics(silicon, (2, 2, 2), x, quantity="jdos", smearing="tetrahedra", electrons=7.0)


def test_the_hall_conductivity_at_zero_frequency_is_that_of_the_curvature():
    from dock.structures import haldane

    model = haldane()
    found = optics(model, KMesh.full((14, 14, 1)), [0.0, 0.01], eta=1e-3)
    # Chern number −1 with the sign of A = i⟨u|∂u⟩: σ_xy = +e²/h for each spin, over 10 Å.
    quantum = 2 * 3.874045865e-5 / 10e-8
    assert found.conductivity[0, 0, 1].real == pytest.approx(quantum, rel=5e-3)
    assert found.conductivity[0, 1, 0].real == pytest.approx(-quantum, rel=5e-3)
    assert abs(found.conductivity[0, 0, 0]) < 1


@pytest.mark.parametrize("points", [6, 8, 12])
def test_an_insulator_without_chern_number_has_no_hall_constant(points):
    """What a coarse mesh leaves of the sum would be divided by a small frequency."""
    model = haldane(mass=1.2)
    found = optics(model, KMesh.full((points, points, 1)), np.array([0.0, 0.01]), eta=0.01)
    assert np.abs(found.static - found.static.T).max() == 0
    assert np.abs(found.epsilon[:, 0, 1]).max() < 0.05
    assert found.static[0, 0] > 1.5


@pytest.mark.parametrize("points", [8, 12])
def test_a_chern_insulator_has_the_hall_conductivity_of_its_number(points):
    """σ_xy at zero frequency is e²/h of the layer for each spin, whatever the mesh."""
    model = haldane(mass=0.2)
    found = optics(model, KMesh.full((points, points, 1)), np.array([1e-3]), eta=1e-3)
    thickness = np.linalg.norm(model.structure.cell[2]) * 1e-8  # cm
    quantum = 2 * 1.602176634e-19**2 / 6.62607015e-34  # S, both spins
    sigma = found.conductivity[0]
    assert sigma[0, 1].real == pytest.approx(-sigma[1, 0].real, rel=1e-6)
    assert abs(sigma[0, 1].real) * thickness == pytest.approx(quantum, rel=2e-3)


def test_a_level_that_is_given_needs_no_electrons(silicon):
    unknown = dataclasses.replace(silicon, n_electrons=None)
    level = optics(silicon, (2, 2, 2), X[:2]).filling.level
    found = optics(unknown, (2, 2, 2), X[:2], fermi_level=level)
    assert found.filling.n_electrons == pytest.approx(silicon.n_electrons)
    assert found.filling.is_gapped
    within = optics(silicon, (2, 2, 2), X[:2], fermi_level=level - 3.0).facts()
    assert within["kind"] == "metal"
    assert within["gap_eV"] == 0
    with pytest.raises(UsageError, match="lies outside all states"):
        optics(silicon, (2, 2, 2), X[:2], fermi_level=1000.0)


def test_a_drude_term_that_is_none_is_not_named(silicon):
    found = optics(silicon, (2, 2, 2), X[1:3], drude=0.1)
    assert found.facts()["drude_eV"] is None
    with pytest.raises(UsageError, match="finite energy"):
        optics(silicon, (2, 2, 2), X[:2], broadened_to=np.inf)


def test_a_shard_that_counts_electrons_says_that_it_is_needed_again(silicon, tmp_path):
    job = Job(folder=tmp_path / "kept", shard=(0, 2))
    with pytest.raises(PartDone) as caught:
        optics(silicon, KMesh.full((3, 1, 1)), X[:2], solver=job)
    assert "run each once more" in caught.value.text
    assert "without" not in caught.value.text
