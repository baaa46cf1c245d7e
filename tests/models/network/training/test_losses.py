"""Losses and reported errors against the same sums written out in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from datasets import make_set

from dock.core.spin import Spin
from dock.models.data.batches import make_batch
from dock.models.data.samples import find_samples
from dock.models.data.store import GraphStore
from dock.models.options import TrainOptions
from dock.models.targets import TargetLayout

jax = pytest.importorskip("jax")

from dock.models.network.training.log import named_errors  # noqa: E402
from dock.models.network.training.losses import make_errors, make_loss, mean_of  # noqa: E402

SPINS = list(Spin)


def options_of(kind="mae", *, gauge=False, delta=0.3):
    options = TrainOptions()
    advanced = replace(options.model.advanced, standardize_gauge=gauge)
    return replace(
        options,
        model=replace(options.model, loss_type=kind, huber_delta=delta, advanced=advanced),
    )


class Case:
    """Labels of two molecules, random predictions, the batch, and lists of what exists."""

    def __init__(self, folder, spin):
        make_set(folder, (3, 4), spin=spin)
        self.layout = TargetLayout(("C", "H"), ((0, 1), (0,)), spin)
        store = GraphStore.from_samples(find_samples(folder), self.layout, with_overlap=True)
        self.items = [store.item(0), store.item(1)]
        edges = sum(item.graph.n_edges for item in self.items)
        self.batch = make_batch(self.items, (9, edges + 3), np.float64)
        rng = np.random.default_rng(3)
        self.found = tuple(
            rng.normal(size=self.batch[name].shape) for name in ("node_label", "edge_label")
        )

    def blocks(self, gauge=False):
        """Yield kind and deviation of every entry of every block, structure by structure."""
        layout, first, edge = self.layout, 0, 0
        for item in self.items:
            graph = item.graph
            node = self.found[0][first : first + graph.n_atoms] - item.node
            bond = self.found[1][edge : edge + graph.n_edges] - item.edge
            if gauge:
                spins = min(layout.n_channels, 2) if layout.n_channels < 4 else 1
                S = [part[:, None] for part in item.overlap]
                top = (node[:, :spins] * S[0]).sum() + (bond[:, :spins] * S[1]).sum()
                mu = top / (spins * ((S[0] ** 2).sum() + (S[1] ** 2).sum()))
                node[:, :spins] -= mu * S[0]
                bond[:, :spins] -= mu * S[1]
            for atom, kind in enumerate(graph.species.tolist()):
                yield ("node", kind), node[atom][:, layout.node_mask[kind]].ravel()
            for index, kind in enumerate(graph.edge_type.tolist()):
                yield ("edge", kind), bond[index][:, layout.edge_mask[kind]].ravel()
            first, edge = first + graph.n_atoms, edge + graph.n_edges


@pytest.fixture(scope="module", params=SPINS, ids=[spin.value for spin in SPINS])
def case(request, tmp_path_factory):
    with jax.enable_x64(True):
        yield Case(tmp_path_factory.mktemp("set"), request.param)


@pytest.fixture(scope="module")
def collinear(tmp_path_factory):
    with jax.enable_x64(True):
        yield Case(tmp_path_factory.mktemp("set"), Spin.COLLINEAR)


def value(loss, found, batch):
    """Return the mean, compiled as one program."""
    return float(jax.jit(lambda *given: mean_of(*loss(*given)))(found, batch))


PENALTIES = {
    "mae": np.abs,
    "wmae": np.abs,
    "mse": np.square,
    "huber": lambda d: np.where(np.abs(d) < 0.3, d * d / 0.6, np.abs(d) - 0.15),
}


@pytest.mark.parametrize("gauge", [False, True])
@pytest.mark.parametrize("kind", PENALTIES)
def test_loss(collinear, kind, gauge):
    check(collinear, kind, gauge=gauge)


def test_loss_of_any_spin(case):
    check(case, "wmae", gauge=True)


def check(case, kind, *, gauge):
    groups = {}
    for name, deviation in case.blocks(gauge):
        groups.setdefault(name if kind == "wmae" else "all", []).append(PENALTIES[kind](deviation))
    expected = np.mean([np.concatenate(parts).mean() for parts in groups.values()])
    loss = make_loss(options_of(kind, gauge=gauge), case.layout)
    assert value(loss, case.found, case.batch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["block-mae", "block-mse"])
def test_loss_of_blocks_as_in_the_paper(case, kind):
    """Equation (7): structures count alike, and in each its blocks."""
    penalty = PENALTIES[kind.removeprefix("block-")]
    means = iter([penalty(deviation).mean() for _, deviation in case.blocks(gauge=False)])
    expected = np.mean(
        [
            np.mean([next(means) for _ in range(item.graph.n_atoms + item.graph.n_edges)])
            for item in case.items
        ]
    )
    loss = make_loss(options_of(kind), case.layout)
    assert value(loss, case.found, case.batch) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gauge", [False, True])
def test_errors_by_kind(case, gauge):
    groups = {}
    for (part, kind), deviation in case.blocks(gauge):
        names = case.layout.species
        name = names[kind] if part == "node" else f"{names[kind // 2]}-{names[kind % 2]}"
        groups.setdefault(name, []).append(np.abs(deviation))
    errors = make_errors(options_of(gauge=gauge), case.layout)
    sums = jax.jit(errors)(case.found, case.batch)
    mean, found = named_errors(sums, case.layout.species)
    assert found == pytest.approx({name: np.concatenate(x).mean() for name, x in groups.items()})
    every = np.concatenate([part for parts in groups.values() for part in parts])
    assert mean == pytest.approx(every.mean())


def test_the_gauge_does_not_matter(case):
    """A multiple of S added to the prediction of one structure changes nothing."""
    loss = make_loss(options_of(gauge=True), case.layout)
    before = value(loss, case.found, case.batch)
    spins = min(case.layout.n_channels, 2) if case.layout.n_channels < 4 else 1
    node, edge = (part.copy() for part in case.found)
    own = case.batch["structure"] == 1
    node[own, :spins] += 7 * case.batch["overlap_node"][own][:, None]
    own = case.batch["edge_structure"] == 1
    edge[own, :spins] += 7 * case.batch["overlap_edge"][own][:, None]
    assert value(loss, (node, edge), case.batch) == pytest.approx(before, rel=1e-10)
    plain = make_loss(options_of(), case.layout)
    assert value(plain, (node, edge), case.batch) > before + 0.01


@pytest.mark.parametrize("kind", ["mae", "wmae", "block-mse"])
def test_shares_of_devices_add_up(collinear, kind):
    """Sums over two halves give the mean of the whole, not the mean of the halves' means."""
    case = collinear
    loss = make_loss(options_of(kind), case.layout)
    halves, first, edge = [], 0, 0
    for item in case.items:
        graph = item.graph
        found = (
            case.found[0][first : first + graph.n_atoms],
            case.found[1][edge : edge + graph.n_edges],
        )
        halves.append(jax.jit(loss)(found, make_batch([item], None, np.float64)))
        first, edge = first + graph.n_atoms, edge + graph.n_edges
    sums, counts = (sum(np.asarray(part) for part in parts) for parts in zip(*halves, strict=True))
    whole = value(loss, case.found, case.batch)
    assert float(mean_of(sums, counts)) == pytest.approx(whole, rel=1e-12)


def test_nothing_to_average():
    assert float(mean_of(np.zeros(3), np.zeros(3))) == 0.0
