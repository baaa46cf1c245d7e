"""The solver ``layers``, against all states of a twisted bilayer of one orbital an atom."""

from dataclasses import replace

import numpy as np
import pytest

import dock
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import UsageError
from dock.post import bands
from dock.post.energy_selection import Selection
from dock.states.dense import Dense
from dock.states.kmesh import make_mesh
from dock.states.layers.averages import averaged
from dock.states.layers.bloch import LayerStates, own_problem
from dock.states.layers.lattice import lattices_of
from dock.states.layers.solver import LayerSolver
from dock.states.problem import Problem
from dock.states.smearing import Smearing
from dock.states.solver import Want
from dock.states.spectrum_part import Part
from dock.structures.twisted import commensurate_integers, hexagonal_layer, twisted_bilayer

K = np.array([1 / 3, 2 / 3, 0.0])
GENERAL = np.array([0.13, 0.21, 0.0])


def bilayer(m=5):
    layer = hexagonal_layer("graphene")
    return twisted_bilayer(layer, layer, commensurate_integers(m), distance=3.35).structure


def pz(structure, spin=Spin.NONE):
    """Return H and S of pz orbitals: Slater and Koster's σ and π that decay with the distance.

    The hoppings are those of P. Moon and M. Koshino, Phys. Rev. B 85, 195458 (2012).
    """
    labels = list(structure.labels)
    found = []
    tree_of = structure.positions
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            apart = tree_of[None] + np.array([a, b, 0]) @ structure.cell - tree_of[:, None]
            i, j = np.nonzero(np.linalg.norm(apart, axis=2) < 5.0)
            found.append((np.tile([a, b, 0], (len(i), 1)), i, j, apart[i, j]))
    R, i, j, apart = (np.concatenate(part) for part in zip(*found, strict=True))
    pairs = Pairs(R, i, j, structure.n_atoms)
    d = np.linalg.norm(apart, axis=1)
    own = d < 1e-6
    cosine = np.where(own, 0, apart[:, 2] / np.where(own, 1, d)) ** 2
    decay = [np.exp(-(d - a) / 0.453) for a in (1.42, 3.35)]
    hopping = -2.7 * decay[0] * (1 - cosine) + 0.48 * decay[1] * cosine
    hopping[own] = 0.0
    overlap = np.where(own, 1.0, -0.05 * hopping)
    basis = Basis.from_ls({"C": [0]}, labels)
    S = AOMatrix("overlap", structure, basis, pairs, spin, overlap[None])
    shifts = [0.0, 0.3] if spin is Spin.COLLINEAR else [0.0]
    rows = np.array([hopping + shift * overlap for shift in shifts])
    H = AOMatrix("hamiltonian", structure, basis, pairs, spin, rows)
    return dock.Calculation(structure, basis, spin, {"hamiltonian": H, "overlap": S}, 0.0)


@pytest.fixture(scope="module")
def calc():
    return pz(bilayer())


def test_lattice_of_each_layer(calc):
    lattices = lattices_of(calc.structure)
    assert [lattice.atoms.shape for lattice in lattices] == [(91, 2), (91, 2)]
    for lattice in lattices:
        q = lattice.momenta(K)
        whole = q @ lattice.transform.T - K
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)
        # N different characters, and cells in the order of the cyclic groups
        phases = np.exp(2j * np.pi * lattice.cells[:, 0] @ (q - q[0]).T)
        np.testing.assert_allclose(phases @ phases.conj().T, 91 * np.eye(91), atol=1e-8)
        numbers = lattice.cells[:, 1] @ lattice.turn % lattice.orders
        assert [np.ravel_multi_index(one, lattice.orders) for one in numbers] == list(range(91))


def test_states_of_layers_diagonalise_layers_that_do_not_touch(calc):
    apart = bilayer()
    far = Structure(apart.cell * [[1], [1], [2]], apart.positions, apart.numbers)
    moved = far.positions.copy()
    moved[moved[:, 2] > moved[:, 2].mean()] += [0, 0, 8.0]
    problem = Problem.of(pz(replace(far, positions=moved)))
    lattices = lattices_of(problem.hamiltonian.structure)
    own = [own_problem(problem, lattice) for lattice in lattices]
    states = LayerStates(lattices, own, problem, 0, GENERAL, threads=2)
    H, S = problem.dense(0, GENERAL)
    X = states.vectors(np.eye(problem.size))
    np.testing.assert_allclose(X.conj().T @ H @ X, np.diag(states.energies), atol=2e-5)
    np.testing.assert_allclose(states.coefficients(S @ X), np.eye(problem.size), atol=2e-5)


def test_averages_of_a_perfect_layer_are_its_own_matrix():
    mono = hexagonal_layer("graphene")
    one = pz(mono)
    H = one.require("hamiltonian").supercell([[3, 1, 0], [-1, 4, 0], [0, 0, 1]])
    own = averaged(H, lattices_of(H.structure)[0])
    problems = [Problem(m, m) for m in (own, one.require("hamiltonian"))]
    turn = np.linalg.solve(mono.cell.T, own.structure.cell.T)  # perhaps another basis
    mine = np.linalg.eigvalsh(problems[0].dense(0, turn.T @ GENERAL)[0])
    np.testing.assert_allclose(
        mine, np.linalg.eigvalsh(problems[1].dense(0, GENERAL)[0]), atol=1e-10
    )


@pytest.mark.parametrize("k", [np.zeros(3), K, GENERAL], ids=["real", "K", "general"])
def test_same_states_as_lapack(calc, k):
    problem = Problem.of(calc)
    want = Want(vectors=True, nearest=(12, 0.05))
    solver = LayerSolver()
    assert solver.plan(problem, want, 1, 2).memory_bytes > 0
    found, full = solver.solve(problem, 0, k, want), Dense().solve(problem, 0, k, Want())
    first, stop = want.within(full.energies)
    np.testing.assert_allclose(found.energies, full.energies[first:stop], atol=1e-7)
    assert found.n_below == first
    H, S = problem.dense(0, k)
    R = H @ found.vectors - S @ found.vectors * found.energies
    assert np.linalg.norm(R, axis=0).max() < 1.01e-4
    assert found.certificate.counted is None
    assert "not counted" in found.certificate.reason
    assert found.certificate.residual_eV == pytest.approx(np.linalg.norm(R, axis=0).max(), rel=0.1)


def test_window_and_spin():
    problem = Problem.of(pz(bilayer(), Spin.COLLINEAR))
    want = Want(window=(-0.6, 0.9))
    full = Dense().solve(problem, 1, K, want).energies
    found = LayerSolver().solve(problem, 1, K, want)
    assert len(full) > 5
    np.testing.assert_allclose(found.energies, full, atol=1e-7)


def test_bands_say_that_nothing_was_counted(calc):
    twelve = Selection(states=12, around=0.05)
    result, other = (
        bands(calc, "GK", points=2, selection=twelve, solver=name) for name in ("layers", "dense")
    )
    found = np.isfinite(result.energies)
    assert found.sum() >= 24
    np.testing.assert_allclose(result.energies[found], other.energies[found], atol=1e-7)
    assert result.facts()["n_certified"] == 0
    assert "not counted" in result.facts()["certificate"]
    assert ("certificate", "none: 2 of 2 eigenproblems were not counted") in [
        (name, text.split(", residuals")[0]) for name, text in result.rows()
    ]


def test_fermi_level_is_refused(calc):
    part = Part(calc, make_mesh(calc, (1, 1, 1)), "layers")
    with pytest.raises(UsageError, match=r"does not count states.*solver='sparse'"):
        part.near_level(364.0, Smearing(), n_states=12, guess=0.05)


def test_what_is_no_stack_is_refused(calc):
    structure = calc.structure
    gone = calc.require("hamiltonian").select_atoms(np.arange(1, structure.n_atoms))
    S = calc.require("overlap").select_atoms(np.arange(1, structure.n_atoms))
    defect = Problem(gone, S)
    with pytest.raises(UsageError, match=r"no repetition of a smaller cell.*solver='sparse'"):
        LayerSolver().solve(defect, 0, K, Want(nearest=(12, 0.0)))
    problem = Problem.of(calc)
    for want, words in (
        (Want(), "by their energy"),
        (Want(bands=(0, 4)), "by their energy"),
        (Want(nearest=(4, 0.0), s_threshold=1e-4), "s_threshold"),
    ):
        with pytest.raises(UsageError, match=words):
            LayerSolver().plan(problem, want, 1, 1)
    with pytest.raises(UsageError, match="too large a part"):
        LayerSolver().solve(problem, 0, K, Want(nearest=(100, 0.0)))
