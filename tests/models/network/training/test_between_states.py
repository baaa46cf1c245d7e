"""The error between states against matrices of k-points that are built and solved elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from samples import OPENMX
from scipy.linalg import eigh

import dock
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.models.data.batches import make_batch
from dock.models.data.reference_states import StateArrays, reference_states
from dock.models.data.samples import Sample, label
from dock.models.options.train import States
from dock.models.targets import TargetLayout

jax = pytest.importorskip("jax")

from dock.models.network.training.between_states import between_states, state_sums  # noqa: E402

CASES = {
    "complex": (("graphene-v38", "si", "h2o"), (3, 2, 3)),
    "real": (("si", "graphene-v38"), (2, 2, 2)),
    "collinear": (("o2-spin",), (2, 2, 2)),
}

VECTORS = ("state_vectors", "state_vectors_imag")


class Case:
    """A batch of structures with random errors; those without states among them."""

    def __init__(self, names, kmesh):
        calcs = [dock.read(OPENMX / name) for name in names]
        self.calcs, self.options = calcs, States(kmesh=kmesh, window=5.0)
        self.layout = TargetLayout.from_bases([calc.basis for calc in calcs], calcs[0].spin)
        items = [label(calc, Sample("x", None), self.layout) for calc in (*calcs, calcs[0])]
        self.states = {n: reference_states(calc, self.options) for n, calc in enumerate(calcs)}
        graphs = [item.graph for item in items]
        self.graphs, rng = graphs, np.random.default_rng(4)
        sizes = np.array([[graph.n_atoms, graph.n_edges] for graph in graphs])
        members = [len(calcs), *range(len(calcs))]  # the first of the batch takes no part
        items = [items[-1], *items[:-1]]
        shape = (int(sizes[:, 0].sum()) + 2, int(sizes[:, 1].sum()) + 5)
        more = StateArrays.of(self.states, self.layout, sizes, len(calcs) + 1)
        batch = make_batch(items, shape, np.float64)
        self.batch = batch | more.arrays(members, [item.graph for item in items], shape, np.float64)
        self.errors = [self._hermitian(rng, graph) for graph in graphs]
        parts = [self.errors[-1], *self.errors[:-1]]
        self.deviation = tuple(
            np.concatenate([*(part[which] for part in parts), rng.normal(size=(pad, *tail))])
            for which, pad in ((0, 2), (1, 5))
            for tail in [parts[0][which].shape[1:]]
        )

    def _hermitian(self, rng, graph):
        c, n = self.layout.n_channels, self.layout.n_common
        node = rng.normal(size=(graph.n_atoms, c, n, n))
        edge = rng.normal(size=(graph.n_edges, c, n, n))
        return (
            node + node.swapaxes(-1, -2),
            edge + edge[graph.reverse].swapaxes(-1, -2),
        )

    def expected(self, number):
        """Yield weight and the three blocks of one structure, channel and k-point."""
        calc, own = self.calcs[number], self.states[number]
        difference = self.layout.matrix(*self.errors[number], self.graphs[number])
        H, S = calc.require("hamiltonian"), KBuilder(calc.require("overlap"))
        for weight, k in zip(own.weights, own.points, strict=True):
            parts = [KBuilder(matrix).dense(k) for matrix in (difference, H)]
            if calc.spin is Spin.NONE:
                parts = [part[None] for part in parts]
            for D, h in zip(*parts, strict=True):
                energies, C = eigh(h, S.dense(k))
                scale = np.sqrt(3 / (3 + np.maximum(energies - own.top, 0)))
                inner = np.abs(C.conj().T @ D @ C * scale[:, None] * scale) ** 2
                low = energies <= own.top
                pairs = ((low, low), (low, ~low), (~low, ~low))
                yield weight, [np.sqrt(inner[np.ix_(a, b)].mean()) for a, b in pairs]


@pytest.fixture(scope="module", params=CASES)
def case(request):
    with jax.enable_x64(True):
        yield Case(*CASES[request.param])


def _both(deviation, batch, layout):
    projected = between_states(layout, deviation, batch)
    return projected, state_sums(projected, batch)


both = jax.jit(_both, static_argnums=2)


class TestAgainstMatrices:
    def test_every_block_of_every_structure(self, case):
        with jax.enable_x64(True):
            _, (sums, counts) = both(case.deviation, case.batch, case.layout)
        rows = [row for number in case.states for row in case.expected(number)]
        for block in range(3):
            total = sum(weight * errors[block] for weight, errors in rows)
            np.testing.assert_allclose(
                sums[block], total, rtol=1e-5
            )  # a millionth of an eV rounds the root off
            np.testing.assert_allclose(counts[block], sum(weight for weight, _ in rows))
        assert ("state_vectors_imag" in case.batch) == (case.options.kmesh != (2, 2, 2))

    def test_turning_states_of_the_window_changes_nothing(self, case):
        """Which vectors LAPACK gives for degenerate levels does not matter."""
        rng = np.random.default_rng(1)
        before = case.batch["state_vectors"]
        turned = {name: np.array(case.batch[name]) for name in VECTORS if name in case.batch}
        for place in np.ndindex(*before.shape[:3]):
            mask = case.batch["state_low"][place] > 0
            Q = np.linalg.qr(rng.normal(size=(mask.sum(),) * 2))[0]
            for part in turned.values():
                part[place][:, mask] = part[place][:, mask] @ Q
        assert np.abs(turned["state_vectors"] - before).max() > 0.1
        with jax.enable_x64(True):
            sums = [
                both(case.deviation, batch, case.layout)[1][0]
                for batch in (case.batch, case.batch | turned)
            ]
        np.testing.assert_allclose(*sums, rtol=1e-9)

    def test_a_multiple_of_the_overlap_moves_all_levels_alike(self, case):
        number = 0
        calc, graph = case.calcs[number], case.graphs[number]
        plain = TargetLayout(case.layout.species, case.layout.ls, Spin.NONE, "overlap")
        node, edge = plain.labels(calc.require("overlap"), graph)
        parts = [np.zeros_like(part) for part in case.deviation]
        first, begin = case.graphs[-1].n_atoms, case.graphs[-1].n_edges
        parts[0][first : first + graph.n_atoms] = 0.7 * node
        parts[1][begin : begin + graph.n_edges] = 0.7 * edge
        with jax.enable_x64(True):
            (real, imaginary), _ = both(tuple(parts), case.batch, case.layout)
        n = case.states[number].energies.shape[-1]
        k = len(case.states[number].points)
        expected = np.broadcast_to(0.7 * np.eye(n), (*real.shape[1:2], k, n, n))
        np.testing.assert_allclose(real[0, :, :k, :n, :n], expected, atol=1e-7)
        assert imaginary is None or np.abs(imaginary).max() < 1e-7

    def test_the_gradient_is_finite_where_there_is_no_error(self, case):
        nothing = tuple(np.zeros_like(part) for part in case.deviation)

        def total(deviation):
            projected = between_states(case.layout, deviation, case.batch)
            return state_sums(projected, case.batch)[0].sum()

        with jax.enable_x64(True):
            value, gradient = jax.value_and_grad(total)(nothing)
        assert value == 0
        assert all(np.all(np.asarray(part) == 0) for part in gradient)
