"""Predictions: in parts as in one piece, several at once, on devices, in an exported program."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from datasets import calculation, molecule
from scipy.spatial.transform import Rotation
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, UsageError
from dock.models import load
from dock.models.backend import PairsOfBasis
from dock.models.closed_form import fit_closed_form
from dock.models.data.samples import Item
from dock.models.graph import build_graph
from dock.models.integrals import add_overlap
from dock.models.modelfile import write_model
from dock.models.network.config import NetworkConfig
from dock.models.statistics import Statistics, find_cutoffs
from dock.models.targets import TargetLayout

jax = pytest.importorskip("jax")

from dock.models.network.inference.arrays import joined_arrays, rounded_up  # noqa: E402
from dock.models.network.inference.export import export_model  # noqa: E402
from dock.models.network.parameters import init_params  # noqa: E402
from dock.models.network.trained import TrainedNetwork  # noqa: E402

SMALL = NetworkConfig(
    lmax=2,
    channels=4,
    pseudo_channels=4,
    edge_channels=4,
    edge_pseudo_channels=4,
    hidden=4,
    hidden_pseudo=4,
    n_blocks=2,
    n_radial=6,
    radial_hidden=8,
)
SHELLS = {"H": [0], "C": [0, 1], "Mo": [1, 0]}


def structure_of(rng, n_atoms=5):
    structure = random_structure(rng, n_atoms, size=4.5)
    basis = Basis.from_ls(SHELLS, structure.labels)
    return structure, PairsOfBasis(basis, neighbour_pairs(structure, 3.5))


def model_file(
    path, rng, *, spin=Spin.NONE, baseline="three-centre", dtype=np.float64, heads=0, n_blocks=1
):
    """A network with random weights on a fitted baseline, in a file."""
    structure, pattern = structure_of(rng)
    matrix = random_hermitian(rng, structure, pattern.basis, pattern.pairs, spin=spin)
    layout = TargetLayout.from_bases([pattern.basis], spin)
    graph = build_graph(structure, pattern.basis, pattern.pairs, layout.species)
    item = Item(graph, *layout.labels(matrix, graph))
    cutoffs = find_cutoffs([graph], layout.n_species)
    closed = None
    if baseline != "none":
        closed = fit_closed_form(baseline, lambda: iter([item]), layout, cutoffs)
    statistics = Statistics.of([item], layout)
    config = replace(
        SMALL, cutoffs=tuple(cutoffs), mean_degree=20.0, n_heads=heads, n_blocks=n_blocks
    )
    config = config.fitted_to(layout)
    params = init_params(config, layout, statistics, 3, dtype)
    network = TrainedNetwork(layout, cutoffs, statistics, closed, config, params, {"step": 1})
    write_model(path, network.to_file())
    return path


@pytest.fixture
def one(tmp_path, rng):
    with jax.enable_x64(True):
        yield model_file(tmp_path / "best.h5", rng)


@pytest.mark.parametrize("heads", [0, 2])
def test_in_parts_as_in_one_piece(tmp_path, rng, heads):
    """Sums and attention over neighbours come out the same however a structure is cut."""
    with jax.enable_x64(True):
        path = model_file(tmp_path / "m.h5", rng, heads=heads, n_blocks=2, spin=Spin.COLLINEAR)
        structure, pattern = structure_of(rng, 7)
        whole = load(path).predict(structure, pattern)
        parts = load(path, part_edges=20)
        graph = parts.graph(structure, pattern)
        assert graph.n_edges > 60
        cut = parts.predict(structure, pattern)
        scale = np.abs(whole.entries).max()
        assert np.abs((cut - whole).entries).max() < 1e-11 * scale
        assert cut.hermiticity_error() == 0.0


def test_several_at_once_as_one_by_one(one, rng):
    with jax.enable_x64(True):
        model = load(one)
        graphs = [model.graph(*structure_of(rng, n)) for n in (3, 4)]
        together = model.predict_graphs(graphs)
        for graph, matrix in zip(graphs, together, strict=True):
            alone = model.predict_graphs([graph])[0]
            assert np.abs((matrix - alone).entries).max() < 1e-11


def test_equivariant_with_baseline_and_all(one, rng):
    with jax.enable_x64(True):
        model = load(one)
        structure, pattern = structure_of(rng)
        first = model.predict(structure, pattern)
        turn = -Rotation.random(random_state=8).as_matrix()
        expected = first.rotate(turn)
        found = model.predict(expected.structure, pattern)
        scale = np.abs(first.entries).max()
        assert np.abs((found - expected).entries).max() < 1e-10 * scale


def test_a_pair_never_seen_is_what_its_elements_say(tmp_path, rng):
    """The closed form below takes the overlap; the network's own correction there is zero."""
    with jax.enable_x64(True):
        layout = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.NONE)
        items = []
        for _ in range(4):
            calc = calculation(molecule(rng, 2))
            graph = build_graph(calc.structure, calc.basis, calc.overlap.pairs, layout.species)
            graph = add_overlap(graph, calc.overlap, layout)
            items.append(Item(graph, *layout.labels(calc.hamiltonian, graph)))
        cutoffs = np.zeros(4)
        form = fit_closed_form("two-centre", lambda: iter(items), layout, cutoffs)
        statistics = Statistics.of(items, layout)
        config = replace(SMALL, cutoffs=tuple(cutoffs), mean_degree=1.0, n_blocks=1)
        config = config.fitted_to(layout)
        params = init_params(config, layout, statistics, 3, np.float64)
        network = TrainedNetwork(layout, cutoffs, statistics, form, config, params, {"step": 1})
        write_model(tmp_path / "m.h5", network.to_file())
        model = load(tmp_path / "m.h5")
        assert model.scope.of_unseen == "elements"
        assert model.describe()["unseen_pairs"] == ["C-C", "H-H"]
        calc = calculation(molecule(rng, 3, labels=["C", "H", "H"]))
        graph = model.graph(calc.structure, calc.overlap)
        found = layout.labels(model.predict(calc.structure, calc.overlap), graph)[1]
        own = form.predict(graph)[1]
        same = graph.species[graph.receiver] == graph.species[graph.sender]
        assert np.abs(own[same]).max() > 1e-6
        np.testing.assert_allclose(found[same], own[same], atol=1e-12)
        assert np.abs(found - own)[~same].max() > 1e-6


def test_precision_can_be_chosen(tmp_path, rng):
    path = model_file(tmp_path / "m.h5", rng, dtype=np.float32)
    structure, pattern = structure_of(rng)
    with jax.enable_x64(True):
        double = load(path, precision="fp64").predict(structure, pattern)
    with jax.enable_x64(False):
        single = load(path).predict(structure, pattern)
        with pytest.raises(UsageError, match="fp32 and fp64"):
            load(path, precision="bf16")
    error = np.abs((single - double).entries).max() / np.abs(double.entries).max()
    assert 0 < error < 2e-6


def test_a_foreign_structure_is_refused_by_name(one):
    with jax.enable_x64(True):
        model = load(one)
        structure = random_structure(np.random.default_rng(1), 3)
        for shells, word in (
            ({"H": [0], "C": [0, 1], "Mo": [1, 0, 2]}, "'Mo' has shells"),
            ({"H": [0, 0], "C": [0, 1], "Mo": [1, 0]}, "'H' has shells"),
        ):
            basis = Basis.from_ls(shells, structure.labels)
            with pytest.raises(LayoutError, match=word):
                model.predict(structure, PairsOfBasis(basis, neighbour_pairs(structure)))
        labels = ["N" if label == "C" else label for label in structure.labels]
        other = replace(structure.relabel(labels))
        basis = Basis.from_ls({"H": [0], "N": [0, 1], "Mo": [1, 0]}, labels)
        with pytest.raises(LayoutError, match="'N'"):
            model.predict(other, PairsOfBasis(basis, neighbour_pairs(structure)))


def test_exported_program_gives_the_same(one, tmp_path, rng):
    """Any number of atoms and edges, with no code of the network."""
    with jax.enable_x64(True):
        path = export_model(one, tmp_path / "program.h5")
        program, model = load(path), load(one)
        for n in (3, 6):
            structure, pattern = structure_of(rng, n)
            expected = model.predict(structure, pattern)
            found = program.predict(structure, pattern)
            assert np.abs((found - expected).entries).max() < 1e-11
        assert program.describe()["backend"] == "jax-export"
        with pytest.raises(UsageError, match="only networks"):
            export_model(path, tmp_path / "again.h5")


def test_a_damaged_model_is_refused(one, tmp_path):
    content = one.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 10):
        cut = tmp_path / f"cut{size}.h5"
        cut.write_bytes(content[:size])
        with pytest.raises(FormatError, match=str(cut)):
            load(cut)


def test_sizes_are_few_and_padding_small():
    sizes = [rounded_up(count) for count in range(16, 5000)]
    assert len(set(sizes)) < 80
    assert max(size / count for size, count in zip(sizes, range(16, 5000), strict=True)) < 1.14


def test_padding_is_no_neighbour(one, rng):
    model = load(one)
    graph = model.graph(*structure_of(rng))
    arrays = joined_arrays([graph], np.float64)
    n = len(arrays["species"])
    assert n > graph.n_atoms
    assert (arrays["receiver"][graph.n_edges :] == n - 1).all()
    assert not arrays["edge_mask"][graph.n_edges :].any()
    assert np.array_equal(
        arrays["reverse"][graph.n_edges :], np.arange(graph.n_edges, len(arrays["reverse"]))
    )


DEVICES = """
import numpy as np, sys
from dock.models import load
sys.path[:0] = {paths!r}
from test_inference import structure_of
structure, pattern = structure_of(np.random.default_rng(5), 7)
one = load({path!r}, part_edges=20)
several = load({path!r}, part_edges=20, device="cpu*3")
first, second = one.predict(structure, pattern), several.predict(structure, pattern)
import jax
assert len(jax.devices()) == 3
print(np.abs((first - second).entries).max() / np.abs(first.entries).max())
"""


def test_devices_share_the_parts_of_a_structure(one, request):
    """Three virtual devices take the parts in turn and give the same matrix."""
    folder = request.path.parent
    paths = [str(folder), str(folder.parents[1]), str(folder.parents[2] / "core")]
    flag = "--xla_force_host_platform_device_count=3"  # in front: see `prepare_process`
    code = f"import os\nos.environ['XLA_FLAGS'] = '{flag} ' + os.environ['XLA_FLAGS']\n"
    code += DEVICES.format(paths=paths, path=str(one))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-11
