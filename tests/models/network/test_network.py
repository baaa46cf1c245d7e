"""The network: equivariant under O(3), Hermitian bit by bit, blind to how the cell is chosen."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.models.graph import build_graph
from dock.models.network.config import NetworkConfig
from dock.models.statistics import StatisticsBuilder
from dock.models.targets import TargetLayout

jax = pytest.importorskip("jax")

from dock.models.network.blocks import uncouple  # noqa: E402
from dock.models.network.frames import frame_matrices, m_starts, to_frame, to_lab  # noqa: E402
from dock.models.network.layers import envelope  # noqa: E402
from dock.models.network.model import Edges, apply, edge_geometry  # noqa: E402
from dock.models.network.parameters import count_parameters, init_params  # noqa: E402

SMALL = NetworkConfig(
    lmax=2,
    channels=6,
    pseudo_channels=4,
    edge_channels=6,
    edge_pseudo_channels=4,
    hidden=5,
    hidden_pseudo=4,
    n_blocks=2,
    n_radial=8,
    radial_hidden=8,
)
ONE_BLOCK = replace(SMALL, n_blocks=1)


@pytest.fixture(params=[False, True], ids=["fp32", "fp64"])
def dtype(request):
    with jax.enable_x64(request.param):
        yield np.float64 if request.param else np.float32


class Case:
    """A network with random weights and the graph of a random structure."""

    def __init__(self, spin, dtype, *, config=SMALL, reversal=False, moments=None, ls=None):
        rng = np.random.default_rng(8)
        structure = random_structure(rng, 4, size=4.0)
        shells = ls or {"H": [0, 1], "C": [0, 1, 1], "Mo": [1, 0]}
        basis = Basis.from_ls(shells, structure.labels)
        self.pairs = neighbour_pairs(structure, 3.5)
        matrix = random_hermitian(rng, structure, basis, self.pairs, spin=spin)
        self.layout = TargetLayout.from_bases([basis], spin, time_reversal=reversal)
        self.dtype = dtype
        self.graph = build_graph(structure, basis, self.pairs, self.layout.species, moments)
        builder = StatisticsBuilder(self.layout)
        builder.add(self.graph, *self.layout.labels(matrix, self.graph))
        statistics = builder.result()
        limits = tuple(1.05 * statistics.longest)
        self.config = replace(
            config.fitted_to(self.layout), mean_degree=statistics.mean_degree, cutoffs=limits
        )
        self.params = init_params(self.config, self.layout, statistics, 3, dtype)
        # One program for all structures of the same size.
        self.run = jax.jit(lambda params, batch: apply(params, self.config, self.layout, batch))

    def batch(self, graph):
        batch = {
            "species": graph.species,
            "receiver": graph.receiver,
            "sender": graph.sender,
            "reverse": graph.reverse.astype(np.int32),
            "edge_type": graph.edge_type,
            "vector": graph.vectors.astype(self.dtype),
            "edge_mask": np.ones(graph.n_edges, self.dtype),
        }
        if graph.moments is not None:
            batch["moments"] = graph.moments.astype(self.dtype)
        return batch

    def predict(self, graph):
        return [np.asarray(part) for part in self.run(self.params, self.batch(graph))]

    def matrix(self, graph):
        node, edge = self.predict(graph)
        return self.layout.matrix(node.astype(float), edge.astype(float), graph)


@functools.cache
def case_of(kind, dtype):
    """The network of a kind; tests that change nothing of it share its compiled program."""
    spin, reversal = KINDS[kind]
    config = SMALL if kind == "plain" else ONE_BLOCK  # blocks know nothing of spin
    return Case(spin, dtype, config=config, reversal=reversal)


KINDS = {
    "plain": (Spin.NONE, False),
    "collinear": (Spin.COLLINEAR, False),
    "spinors": (Spin.NONCOLLINEAR, False),
    "time-reversal": (Spin.NONCOLLINEAR, True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equivariant_under_reflections_and_rotations(kind, dtype):
    case = case_of(kind, dtype)
    first = case.matrix(case.graph)
    largest = np.abs(first.entries).max()
    limit = 1e-10 if dtype is np.float64 else 2e-6
    for seed, sign in ((1, 1), (2, -1)):
        turn = sign * Rotation.random(random_state=seed).as_matrix()
        expected = first.rotate(turn)
        turned = build_graph(expected.structure, expected.basis, case.pairs, case.layout.species)
        found = case.matrix(turned)
        assert np.abs((found - expected).entries).max() < limit * largest


@pytest.mark.parametrize("preset", ["normal", "accurate"])
def test_presets_are_equivariant(preset):
    with jax.enable_x64(True):
        case = Case(Spin.NONE, np.float64, config=replace(NetworkConfig.preset(preset), n_blocks=1))
        first = case.matrix(case.graph)
        turn = -Rotation.random(random_state=5).as_matrix()
        expected = first.rotate(turn)
        turned = build_graph(expected.structure, expected.basis, case.pairs, case.layout.species)
        error = np.abs((case.matrix(turned) - expected).entries).max()
        assert error < 1e-10 * np.abs(first.entries).max()


def test_moments_turn_as_axial_vectors(rng):
    with jax.enable_x64(True):
        moments = rng.normal(size=(4, 3))
        config = replace(ONE_BLOCK, moments=True)
        case = Case(Spin.NONCOLLINEAR, np.float64, config=config, moments=moments)
        first = case.matrix(case.graph)
        turn = Rotation.random(random_state=9).as_matrix()
        expected = first.rotate(-turn)  # inversion leaves the moments alone
        turned = build_graph(
            expected.structure, expected.basis, case.pairs, case.layout.species, moments @ turn.T
        )
        error = np.abs((case.matrix(turned) - expected).entries).max()
        assert error < 1e-10 * np.abs(first.entries).max()
        other = build_graph(first.structure, first.basis, case.pairs, case.layout.species, -moments)
        assert np.abs((case.matrix(other) - first).entries).max() > 1e-3


def test_partners_are_adjoints_bit_by_bit(dtype):
    case = case_of("plain", dtype)
    node, edge = case.predict(case.graph)
    assert np.array_equal(node, node.swapaxes(-1, -2))
    assert np.array_equal(edge[case.graph.reverse], edge.swapaxes(-1, -2))
    assert np.abs(edge).max() > 0
    assert not edge[
        ~np.broadcast_to(case.layout.edge_mask[case.graph.edge_type][:, None], edge.shape)
    ].any()


def test_order_of_atoms_and_choice_of_cell_do_not_matter():
    with jax.enable_x64(True):
        case = case_of("plain", np.float64)
        first = case.matrix(case.graph)
        order = [2, 0, 3, 1]
        expected = first.permute_atoms(order)
        again = build_graph(expected.structure, expected.basis, expected.pairs, case.layout.species)
        assert np.abs((case.matrix(again) - expected).entries).max() < 1e-10
        doubled = first.supercell(np.diag([2, 1, 1]))
        large = build_graph(doubled.structure, doubled.basis, doubled.pairs, case.layout.species)
        assert np.abs((case.matrix(large) - doubled).entries).max() < 1e-10


def test_padding_changes_nothing():
    """Edges with mask 0 between padding atoms leave the others as they are."""
    with jax.enable_x64(True):
        case = case_of("plain", np.float64)
        node, edge = case.predict(case.graph)
        graph, n, more = case.graph, case.graph.n_atoms, case.graph.n_edges
        padding = {  # as large as the two cells of the test above, whose program it runs
            "species": [0] * n,
            "receiver": [n] * more,
            "sender": [n] * more,
            "reverse": more + np.arange(more),
            "edge_type": [0] * more,
            "vector": [[0.0, 0.0, 1.0]] * more,
            "edge_mask": [0.0] * more,
        }
        batch = {
            name: np.concatenate([values, np.asarray(padding[name], values.dtype)])
            for name, values in case.batch(graph).items()
        }
        wider = case.run(case.params, batch)
        np.testing.assert_allclose(wider[0][:n], node, atol=1e-12)
        np.testing.assert_allclose(wider[1][: graph.n_edges], edge, atol=1e-12)


def test_large_blocks_take_the_other_way_to_the_same_numbers(rng):
    """Beyond 400 numbers a block is put together group by group."""
    layout = TargetLayout(("C",), ((0, 1, 2, 3, 2),), Spin.NONE)
    assert layout.n_block > 400
    with jax.enable_x64(True):
        parts = rng.normal(size=(5, layout.n_block))
        blocks = jax.jit(lambda x: uncouple(layout, x))
        np.testing.assert_allclose(blocks(parts), layout.uncouple(parts), atol=1e-12)
        weights = rng.normal(size=(5, 1, 21, 21))
        gradient = jax.jit(jax.grad(lambda x: (blocks(x) * weights).sum()))(parts)
        np.testing.assert_allclose(gradient, layout.couple(weights), atol=1e-12)


@pytest.mark.parametrize("lmax", [3, 5])
def test_gradients_on_the_poles_of_the_frame(lmax, rng):
    """Of a map that commutes with turns about the edge, against finite differences."""
    with jax.enable_x64(True):
        vectors = np.concatenate([rng.normal(size=(3, 3)), [[0, 0, 2.0], [0, 0, -1.5]]])
        K = (lmax + 1) ** 2
        features, weights = rng.normal(size=(2, 5, K, 2))
        starts = m_starts(lmax)
        factor = np.concatenate(
            [np.full(starts[m + 1] - starts[m], 1.0 + m * m) for m in range(lmax + 1)]
        )

        @jax.jit
        def value(v):
            frames = frame_matrices(v, lmax)
            return (to_lab(frames, to_frame(frames, features) * factor[:, None]) * weights).sum()

        found = np.asarray(jax.jit(jax.grad(value))(vectors))
        assert np.isfinite(found).all()
        numbers = np.zeros_like(vectors)
        for place in np.ndindex(vectors.shape):
            step = np.zeros_like(vectors)
            step[place] = 1e-5
            numbers[place] = (value(vectors + step) - value(vectors - step)) / 2e-5
        np.testing.assert_allclose(found, numbers, atol=1e-6 * np.abs(numbers).max())


def test_edges_fade_at_the_cutoff():
    """A block and its influence vanish smoothly where edges end in the training data."""
    with jax.enable_x64(True):
        case = Case(Spin.NONE, np.float64, config=ONE_BLOCK)
        reach = case.graph.lengths.max() * (1 - 1e-9)
        case.config = replace(case.config, cutoffs=(reach,) * case.layout.n_species**2)
        _, edge = case.predict(case.graph)
        beyond = case.graph.lengths >= reach
        assert beyond.any()
        assert not edge[beyond].any()


def test_blocks_fade_late_and_messages_early():
    """Small blocks near the cutoff must stay within reach: iron's last shell is at 0.975 of it."""
    with jax.enable_x64(True):
        config = replace(SMALL, cutoffs=(4.0,), radial_reach=5.0)
        params = {"pair": np.zeros((1, 2))}
        lengths = np.array([1.0, 3.0, 3.9, 4.0, 4.5])
        vector = np.stack([0 * lengths, 0 * lengths, lengths], axis=1)
        kind = np.zeros(5, dtype=np.int64)
        geometry = jax.jit(lambda params, edges: edge_geometry(params, config, edges))
        found = geometry(params, Edges(kind, kind, kind, vector, np.ones(5)))
        early, late = np.asarray(found.envelope), np.asarray(found.block_envelope)
        assert early[0] < 0.9
        assert late[0] == pytest.approx(1.0, abs=1e-6)
        assert late[1] > 0.9
        assert late[2] > 0.01 > 1e-3 > early[2]
        assert not early[3:].any()
        assert not late[3:].any()
        for power in (2, 12):
            value = jax.jit(lambda r, power=power: envelope(r[None], np.array([4.0]), power)[0])
            slope = jax.jit(jax.grad(value))
            assert abs(slope(4.0 - 1e-7)) < 1e-9
            assert abs(jax.jit(jax.grad(slope))(4.0 - 1e-7)) < 1e-4


class TestConfig:
    def test_presets_have_the_promised_sizes(self):
        layout = TargetLayout(("O", "H"), ((0, 0, 1, 1, 2), (0, 0, 1)), Spin.NONE)
        graph_free = StatisticsBuilder(layout).result()
        sizes = {}
        for name in ("normal", "accurate"):
            config = NetworkConfig.preset(name).fitted_to(layout)
            sizes[name] = count_parameters(init_params(config, layout, graph_free))
        assert sizes["normal"] < 1_000_000
        assert sizes["accurate"] > 5_000_000

    def test_irreps_string(self):
        config = NetworkConfig().with_irreps("12x0e+12x1o+12x2e+5x1e+5x2o")
        assert (config.lmax, config.channels, config.pseudo_channels) == (2, 12, 5)

    @pytest.mark.parametrize(
        ("text", "taken"),
        [  # the first two are those of the DeepH-pack paper
            ("48x0e+48x1e+40x2e+16x3e+8x4e", "24x0e+24x1o+24x2e+24x3o+24x4e"),
            ("96x0e+96x1e+80x2e+40x3e+20x4e+8x5e", "36x0e+36x1o+36x2e+36x3o+36x4e+36x5o"),
            ("12x0e+8x1o+5x1e", "8x0e+8x1o+5x1e"),
        ],
    )
    def test_irreps_of_several_multiplicities(self, caplog, text, taken):
        caplog.set_level("INFO", logger="dock")
        config = NetworkConfig().with_irreps(text)
        assert taken in caplog.text
        assert config.channels == config.hidden == int(taken.partition("x")[0])
        if "o" not in text:  # pseudo-tensors, about half as many
            assert config.channels // 3 < config.pseudo_channels <= config.channels // 2
            assert config.pseudo_channels % 4 == 0

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("12x0e+8x2e", "every l from 0"),
            ("12x1o", "every l from 0"),
            ("12x0e+?", "is no part such as"),
        ],
    )
    def test_bad_irreps(self, text, reason):
        with pytest.raises(UsageError, match=reason):
            NetworkConfig().with_irreps(text)

    def test_unknown_preset(self):
        with pytest.raises(UsageError, match="normal, accurate"):
            NetworkConfig.preset("eagle")

    def test_dict(self):
        config = replace(NetworkConfig(), cutoffs=(3.0, 4.0))
        assert NetworkConfig.from_dict(config.to_dict()) == config

    def test_targets_beyond_lmax(self):
        layout = TargetLayout(("C",), ((0, 3),), Spin.NONE)
        with pytest.raises(UsageError, match="J = 6"):
            init_params(NetworkConfig(), layout, StatisticsBuilder(layout).result())

    def test_pseudo_parts_need_pseudo_channels(self):
        layout = TargetLayout(("C",), ((1, 2),), Spin.NONE)
        config = NetworkConfig().with_irreps("8x0e+8x1o+8x2e+8x3o+8x4e")
        with pytest.raises(UsageError, match="pseudo"):
            init_params(config, layout, StatisticsBuilder(layout).result())
