"""Collinear magnets: both spins are one function of the structure and of the moments along them.

So turning round all moments exchanges the Hamiltonians of both spins, by construction, and ferro-
and antiferromagnetic order are two different inputs of one model.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from datasets import calculation, magnetised, make_magnets, make_set, molecule, small_options
from scipy.spatial.transform import Rotation

import dock
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, UsageError
from dock.models import load, train
from dock.models.backend import PairsOfBasis
from dock.models.closed_form import fit_closed_form, read_closed_form
from dock.models.closed_form.three_centre.fit import _first_pass
from dock.models.data.batches import Batcher, make_batch
from dock.models.data.preparation import check_data, prepare_data
from dock.models.graph import build_graph
from dock.models.modelfile import read_model, write_model
from dock.models.predict import PredictionJob, find_targets, predict
from dock.models.statistics import find_cutoffs
from dock.models.targets import TargetLayout

ON_FORM = {"model.baseline": "two-centre"}
ROUNDING = 3e-6  # of the largest entry, in single precision
CLOSED = ("two-centre", "three-centre")
COLLINEAR = TargetLayout(("C", "H"), ((0, 1), (0,)), Spin.COLLINEAR)


def of_options(tmp_path, folder, **changes):
    """The options of a run in a folder of its own."""
    tmp_path.mkdir(exist_ok=True)
    return small_options(tmp_path / "train.toml", folder, str(tmp_path / "run"), **changes)


@pytest.fixture(scope="module")
def magnets(tmp_path_factory):
    return make_magnets(tmp_path_factory.mktemp("magnets"))


@pytest.fixture(scope="module")
def parts(magnets, tmp_path_factory):
    options = of_options(tmp_path_factory.mktemp("options"), magnets)
    return prepare_data(options, per_spin=True)


@pytest.fixture(scope="module", params=CLOSED)
def form(request, parts):
    names, layout = parts.split.train, parts.layout.channel
    cutoffs = find_cutoffs((item.graph for item in parts.items(names)), layout.n_species)
    return fit_closed_form(request.param, lambda: parts.items(names), layout, cutoffs)


def matrices(form, graph):
    """Both spins of a graph by a closed form of one."""
    layout = replace(form.layout, spin=Spin.COLLINEAR)
    return layout.matrix(*layout.predicted(form.predict, graph), graph)


def turned_round(graph):
    return replace(graph, moments=-graph.moments)


class TestClosedForms:
    def test_reversal_exchanges_the_spins(self, form, parts):
        graph = parts.store.raw(0).graph
        first, other = matrices(form, graph), matrices(form, turned_round(graph))
        np.testing.assert_array_equal(first.entries, other.entries[::-1])
        assert np.abs(first.entries[0] - first.entries[1]).max() > 0.1
        assert first.hermiticity_error() == 0.0

    def test_orders_are_told_apart(self, form, parts):
        """What was fitted is the physics of the set: other signs of moments, other blocks."""
        error, size = [], []
        for item in map(parts.store.raw, range(len(parts.store))):
            exact = COLLINEAR.matrix(item.node, item.edge, item.graph)
            found = matrices(form, item.graph)
            error.append(np.abs((found - exact).entries).mean())
            size.append(np.abs(exact.entries[0] - exact.entries[1]).mean())
        assert np.median(error) < 0.01 * np.median(size)

    def test_equivariant(self, form, parts):
        """Moments of collinear spin do not turn with the structure, under inversion neither."""
        graph = parts.store.raw(1).graph
        first = matrices(form, graph)
        for sign in (1, -1):
            turn = sign * Rotation.random(random_state=3).as_matrix()
            expected = first.rotate(turn)
            pairs, species = graph.full_pairs, form.layout.species
            turned = build_graph(expected.structure, graph.basis, pairs, species, graph.moments)
            turned = replace(turned, overlap=graph.overlap)  # integrals, which do not turn
            error = np.abs((matrices(form, turned) - expected).entries).max()
            assert error < 1e-10 * np.abs(first.entries).max()

    def test_it_comes_back_from_its_arrays(self, form, parts):
        graph = parts.store.raw(2).graph.of_spins[1]
        stored = form.stored()
        again = read_closed_form(stored.facts, form.layout, stored.arrays)
        for one, two in zip(form.predict(graph), again.predict(graph), strict=True):
            np.testing.assert_array_equal(one, two)

    def test_moments_are_needed(self, form, parts):
        graph = replace(parts.store.raw(0).graph, moments=None)
        with pytest.raises(LayoutError, match="moment of each atom"):
            form.predict(graph)

    def test_both_spins_of_a_structure_are_held_out_together(self, parts):
        """Else each fold would be judged by fits that know the structure."""
        names, layout = parts.split.train, parts.layout.channel
        known = _first_pass(parts.items(names), layout, np.zeros(4), 1.0)
        assert known.folds[::2] == known.folds[1::2]
        assert len(set(known.folds)) == 3

    @pytest.mark.parametrize("kind", CLOSED)
    def test_as_a_model_of_its_own(self, magnets, tmp_path, kind):
        result = train(of_options(tmp_path, magnets, **{"model.backend": kind}))
        if kind == "two-centre":
            plain = {"model.backend": kind, "data.moments": False}
            without = train(of_options(tmp_path / "without", magnets, **plain))
            assert result["validation_mae"] < 0.5 * without["validation_mae"]
        model, calc = load(result["best"]), dock.read(magnets / "m03")
        assert model.scope.takes_moments
        moments = np.array(json.loads((magnets / "m03" / "moments.json").read_text()))
        up = model.predict(calc.structure, calc.overlap, moments).entries
        down = model.predict(calc.structure, calc.overlap, -moments).entries
        np.testing.assert_array_equal(up, down[::-1])
        with pytest.raises(LayoutError, match="moment of each atom"):
            model.predict(calc.structure, calc.overlap)


@pytest.fixture(scope="module")
def run(magnets, tmp_path_factory):
    """The file of a network before its first step, on a closed form."""
    pytest.importorskip("jax")
    from dock.models.network.training.setup import prepare

    folder = tmp_path_factory.mktemp("network")
    options = of_options(folder, magnets, **ON_FORM)
    network = replace(prepare(options).network, summary={"options": options.to_dict()})
    write_model(folder / "best.h5", network.to_file())
    return folder / "best.h5"


@pytest.fixture(scope="module")
def model(run):
    return load(run)


class TestNetwork:
    """In single precision: what is equal is so to its rounding."""

    @staticmethod
    def request(magnets, name="m01"):
        calc = dock.read(magnets / name)
        moments = np.array(json.loads((magnets / name / "moments.json").read_text()))
        return calc.structure, PairsOfBasis(calc.basis, calc.overlap.pairs), moments

    def test_reversal_exchanges_the_spins(self, model, magnets):
        structure, pattern, moments = self.request(magnets)
        first = model.predict(structure, pattern, moments)
        other = model.predict(structure, pattern, -moments)
        scale = np.abs(first.entries).max()
        assert np.abs(first.entries - other.entries[::-1]).max() < ROUNDING * scale
        single = np.array(moments)
        single[0] *= -1
        apart = model.predict(structure, pattern, single)
        assert np.abs(first.entries - apart.entries).max() > 0.05
        assert first.spin is Spin.COLLINEAR
        assert first.hermiticity_error() == 0.0

    def test_the_network_itself_knows_moments(self, model, magnets):
        """Not the closed form alone: what it corrects depends on them too."""
        graph = model.graph(*self.request(magnets)).of_spins
        (up, _), (down, _) = model._engine.predict(list(graph))
        assert np.abs(up - down).max() > 0.01 * np.abs(up).max()

    def test_no_moments_no_difference(self, model, magnets):
        structure, pattern, moments = self.request(magnets)
        found = model.predict(structure, pattern, 0 * moments).entries
        assert np.abs(found[0] - found[1]).max() < ROUNDING * np.abs(found).max()

    def test_equivariant(self, model, magnets):
        structure, pattern, moments = self.request(magnets)
        first = model.predict(structure, pattern, moments)
        expected = first.rotate(-Rotation.random(random_state=8).as_matrix())
        found = model.predict(expected.structure, pattern, moments)
        assert np.abs((found - expected).entries).max() < ROUNDING * np.abs(first.entries).max()

    def test_in_parts_and_several_at_once(self, run, model, magnets):
        requests = [self.request(magnets, name) for name in ("m01", "m02")]
        whole = [model.predict(*request) for request in requests]
        together = model.predict_graphs([model.graph(*request) for request in requests])
        steps = []
        parts = load(run, part_edges=2)
        cut = parts.predict(*requests[0], progress=lambda *step: steps.append(step))
        scale = np.abs(cut.entries).max()
        assert np.abs((cut - whole[0]).entries).max() < ROUNDING * scale
        assert steps[-1][0] == steps[-1][1] > 2
        for one, two in zip(whole, together, strict=True):
            assert np.abs((one - two).entries).max() < ROUNDING * scale

    def test_exported(self, run, model, magnets, tmp_path):
        pytest.importorskip("flatbuffers")
        from dock.models.network.inference.export import export_model

        exported = load(export_model(run, tmp_path / "program.h5"))
        request = self.request(magnets)
        assert exported.scope.takes_moments
        found = exported.predict(*request)
        error = np.abs((found - model.predict(*request)).entries).max()
        assert error < ROUNDING * np.abs(found.entries).max()

    def test_without_moments_the_user_is_told(self, model, magnets):
        structure, pattern, _ = self.request(magnets)
        with pytest.raises(UsageError, match=r"moments\.json"):
            model.predict(structure, pattern)

    def test_going_on_with_it(self, run, magnets, tmp_path):
        """A run that is continued takes the moments that its network takes, and learns."""
        changes = {
            **ON_FORM,
            "process.train.continued.enable": True,
            "process.train.continued.previous_output_dir": str(run),
            "process.train.max_epoch": 1,
            "process.train.multi_way_jit_num": 1,
            "process.train.dataloader.validate_size": 0,
        }
        again = train(of_options(tmp_path, magnets, **changes))
        file = read_model(again["best"])
        assert file.layout.per_spin
        assert file.summary["step"] == 6


class TestData:
    def test_channels_one_by_one(self, parts):
        assert parts.layout == replace(COLLINEAR, per_spin=True)
        assert parts.moments
        whole = parts.store.raw(0)
        up, down = whole.channels
        np.testing.assert_array_equal(up.graph.moments, -down.graph.moments)
        np.testing.assert_array_equal(np.concatenate([up.node, down.node], 1), whole.node)
        assert len(list(parts.items(parts.split.train))) == 2 * len(parts.split.train)

    def test_a_batch_has_both(self, parts):
        """Their structure is one: what a loss takes off a structure is the same for both."""
        batcher = Batcher(parts.store, range(4), 2)
        batch = batcher.batch(0, 0)
        items = [parts.store.item(index) for index in batcher.members(0, 0)]
        alone = make_batch([part for item in items for part in item.channels], None, np.float32)
        n = len(alone["species"])
        assert n == 2 * sum(item.graph.n_atoms for item in items)
        np.testing.assert_array_equal(batch["node_label"][:n], alone["node_label"])
        np.testing.assert_array_equal(batch["moments"][:n], alone["moments"])
        assert batch["structure"][:n].tolist() == np.repeat([0, 1], n // 2).tolist()

    def test_on_disk_as_in_memory(self, magnets, parts, tmp_path):
        changes = {"data.graph.storage_type": "disk", "data.graph.disk_shards_num": 2}
        disk = prepare_data(of_options(tmp_path, magnets, **changes), per_spin=True)
        assert disk.provenance["fingerprint"] == parts.provenance["fingerprint"]
        np.testing.assert_array_equal(disk.store.sizes, parts.store.sizes)
        for one, two in zip(disk.store.item(3).channels, parts.store.item(3).channels, strict=True):
            np.testing.assert_array_equal(one.graph.moments, two.graph.moments)
            np.testing.assert_array_equal(one.edge, two.edge)

    def test_the_zero_of_energy_is_one_for_both_spins(self, parts):
        """A multiple of S in both is no error of a loss that is blind to it, a splitting is."""
        jnp = pytest.importorskip("jax.numpy")
        from dock.models.network.training.losses import make_errors

        layout, item = parts.layout.channel, parts.store.raw(0)
        item = item._replace(overlap=(item.node[:, 0], item.edge[:, 0]))
        batch = make_batch([item], None, np.float32)
        S = batch["overlap_node"][:, None], batch["overlap_edge"][:, None]
        sign = {"both": np.ones(6), "splitting": np.repeat([1.0, -1.0], 3)}
        found = {}
        for name, own in sign.items():
            per_edge = own[batch["receiver"]][:, None, None, None]
            node = batch["node_label"] + own[:, None, None, None] * S[0]
            blind = of_loss(standardize_gauge=True)
            sums = make_errors(blind, layout)(
                (jnp.asarray(node), jnp.asarray(batch["edge_label"] + per_edge * S[1])), batch
            )
            found[name] = float(sums["node"].sum())
        assert found["both"] < 1e-4
        assert found["splitting"] > 1

    def test_the_check_says_it(self, magnets, tmp_path):
        facts = check_data(of_options(tmp_path, magnets), per_spin=True)
        assert facts["moments"] is True
        assert facts["per_spin"] is True
        assert facts["atoms"] == [3, 3]

    def test_moments_changed_are_other_data(self, magnets, tmp_path):
        folder = make_magnets(tmp_path / "set", 5)
        options = of_options(tmp_path, folder)
        first = prepare_data(options, per_spin=True).provenance["fingerprint"]
        (folder / "m00" / "moments.json").write_text("[[0, 0, 1], [0, 0, 1], [0, 0, 1]]")
        assert prepare_data(options, per_spin=True).provenance["fingerprint"] != first

    def test_the_density_matrix_will_do(self, tmp_path):
        """Where it lies there are moments without a file."""
        rng = np.random.default_rng(2)
        for number in range(5):
            calc = calculation(molecule(rng, 2), spin=Spin.COLLINEAR)
            density = replace(calc.hamiltonian, quantity="density_matrix")
            scale = 3.0 / (density.entries * calc.overlap.entries).sum()
            density = density.with_entries(density.entries * scale)
            both = {**calc.matrices, "density_matrix": density}
            dock.write(replace(calc, matrices=both, n_electrons=3.0), tmp_path / f"set/m{number}")
        data = prepare_data(of_options(tmp_path, tmp_path / "set"), per_spin=True)
        assert data.layout.per_spin


def of_loss(**advanced):
    from dock.models.options.train import Advanced, Model, TrainOptions

    return TrainOptions(model=Model(advanced=Advanced(**advanced)))


class TestWhatIsSaid:
    def test_a_set_without_moments_is_warned_about(self, tmp_path, caplog):
        folder = make_magnets(tmp_path / "set", 5, with_file=False)
        with caplog.at_level(logging.WARNING):
            data = prepare_data(of_options(tmp_path, folder), per_spin=True)
        assert not data.moments
        assert data.layout == COLLINEAR
        assert "ferro- and antiferromagnetic" in caplog.text
        assert "moments.json" in caplog.text
        assert "dock density-matrix" in caplog.text

    def test_one_without_spin_is_not(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            data = prepare_data(of_options(tmp_path, make_set(tmp_path / "s")), per_spin=True)
        assert not data.moments
        assert "moments" not in caplog.text

    def test_some_without_moments_are_named(self, tmp_path):
        folder = make_magnets(tmp_path / "set", 5)
        for name in ("m01", "m04"):
            (folder / name / "moments.json").unlink()
        with pytest.raises(UsageError, match=r"2 of the 5 structures .*: m01, m04\. Write"):
            prepare_data(of_options(tmp_path, folder), per_spin=True)

    def test_all_without_though_they_are_demanded(self, tmp_path):
        folder = make_magnets(tmp_path / "set", 5, with_file=False)
        with pytest.raises(UsageError, match="5 of the 5 structures"):
            prepare_data(of_options(tmp_path, folder, **{"data.moments": True}), per_spin=True)

    def test_moments_across_z_are_none_of_collinear_spin(self, tmp_path):
        folder = make_magnets(tmp_path / "set", 5)
        (folder / "m02" / "moments.json").write_text("[[0, 0, 1], [0.5, 0, 1], [0, 0, 1]]")
        with pytest.raises(LayoutError, match=r"m02: the moment of atom 1 is \[0\.5.*along z"):
            prepare_data(of_options(tmp_path, folder), per_spin=True)

    def test_other_backends_get_what_they_got(self, magnets, tmp_path):
        """A plug-in that knows nothing of channels is given both, and moments if it wants them."""
        assert prepare_data(of_options(tmp_path, magnets)).layout == COLLINEAR
        wanted = of_options(tmp_path, magnets, **{"data.moments": True})
        assert prepare_data(wanted).store.raw(0).graph.moments is not None

    def test_a_magnetic_order_is_no_outlier(self, tmp_path, caplog):
        """The first atom's levels of one spin are electronvolts apart, but not of both."""
        rng = np.random.default_rng(3)
        one = molecule(rng, 3)
        for number in range(12):
            shift = rng.normal(0, 0.002, (3, 3))
            calc = calculation(replace(one, positions=one.positions + shift), spin=Spin.COLLINEAR)
            signs = np.array([1.0, 1.0, 1.0]) if number < 9 else -np.ones(3)
            calc = magnetised(calc, signs)
            dock.write(replace(calc, moments=signs[:, None] * [0, 0, 1]), tmp_path / f"s/m{number}")
        with caplog.at_level(logging.WARNING):
            prepare_data(of_options(tmp_path, tmp_path / "s"), per_spin=True)
        assert "converged" not in caplog.text


@pytest.fixture(scope="module")
def best(magnets, tmp_path_factory):
    """The file of a closed form."""
    changes = {"model.backend": "two-centre"}
    return train(of_options(tmp_path_factory.mktemp("two"), magnets, **changes))["best"]


class TestPredicting:
    """Folders in, files out."""

    @pytest.fixture
    def target(self, magnets, tmp_path):
        """A structure with its overlap and moments alone."""
        for name in ("POSCAR", "info.json", "overlap.h5", "moments.json"):
            (tmp_path / "new").mkdir(exist_ok=True)
            (tmp_path / "new" / name).write_bytes((magnets / "m04" / name).read_bytes())
        return tmp_path / "new"

    @staticmethod
    def outcome(best, target, **changes):
        return predict([load(best)], find_targets([target]), PredictionJob(**changes)).outcomes[0]

    def test_the_folder_has_both_spins(self, best, target, magnets):
        assert self.outcome(best, target).status == "done"
        found, exact = dock.read(target).hamiltonian, dock.read(magnets / "m04").hamiltonian
        assert found.spin is Spin.COLLINEAR
        error = np.abs((found - exact).entries).mean()
        assert error < 0.05 * np.abs(exact.entries[0] - exact.entries[1]).mean()
        assert json.loads((target / "prediction.json").read_text())["notes"] == []

    def test_without_moments_it_fails_and_says_what_to_do(self, best, target):
        (target / "moments.json").unlink()
        failed = self.outcome(best, target)
        assert failed.status == "failed"
        assert "moments.json" in failed.reason

    def test_moments_that_nobody_showed_are_said(self, best, target):
        """An unmagnetic state is no state that this model knows."""
        (target / "moments.json").write_text("[[0, 0, 0], [0, 0, 0], [0, 0, 1]]")
        assert self.outcome(best, target).status == "done"
        (note,) = json.loads((target / "prediction.json").read_text())["notes"]
        assert note.startswith("2 moments of C (0.00 to 0.00 μ_B) lie outside")


class TestOldFiles:
    def test_what_was_written_without_channels_is_as_it_was(self):
        """Fingerprints of layouts are those of earlier versions, and their version is 1."""
        assert "per_spin" not in COLLINEAR.to_dict()
        assert COLLINEAR.fingerprint() == "a4a74485a64da483"
        assert TargetLayout.from_dict(COLLINEAR.to_dict()) == COLLINEAR
        mine = replace(COLLINEAR, per_spin=True)
        assert TargetLayout.from_dict(mine.to_dict()) == mine
        assert mine.fingerprint() != COLLINEAR.fingerprint()

    def test_a_network_with_axial_moments(self, magnets, tmp_path):
        """Its file has no unit of moments; it goes on taking them as vectors."""
        pytest.importorskip("jax")
        from dock.models.network.config import NetworkConfig
        from dock.models.network.parameters import init_params
        from dock.models.network.trained import TrainedNetwork

        plain = of_options(tmp_path, magnets, **{"data.moments": False})
        data = prepare_data(plain)
        from dock.models.statistics import Statistics

        statistics = Statistics.of(data.items(data.split.train), COLLINEAR)
        small = {"channels": 4, "edge_channels": 4, "hidden": 4, "n_radial": 4, "n_blocks": 1}
        config = NetworkConfig(lmax=2, radial_hidden=4, moments=True, **small)
        stored = {name: x for name, x in config.to_dict().items() if name != "moment_unit"}
        config = NetworkConfig.from_dict(stored)
        params = init_params(config, COLLINEAR, statistics, 3)
        network = TrainedNetwork(COLLINEAR, np.zeros(4), statistics, None, config, params)
        write_model(tmp_path / "old.h5", network.to_file())
        import h5py

        with h5py.File(tmp_path / "old.h5") as file:
            assert json.loads(file.attrs["head"])["version"] == 1
        model = load(tmp_path / "old.h5")
        structure, pattern, moments = TestNetwork.request(magnets)
        across = np.array([[1.0, 0.0, 0.0]] * 3)
        found = [model.predict(structure, pattern, m).entries for m in (moments, across)]
        assert np.abs(found[0] - found[1]).max() > 1e-6

    def test_new_ones_say_that_they_are(self, magnets, tmp_path):
        import h5py

        result = train(of_options(tmp_path, magnets, **{"model.backend": "two-centre"}))
        with h5py.File(result["best"], "r+") as file:
            head = json.loads(file.attrs["head"])
            assert head["version"] == 2
            file.attrs["head"] = json.dumps({**head, "version": 4})
        with pytest.raises(FormatError, match="another version"):
            load(result["best"])


@pytest.mark.shared
def test_iron(shared, tmp_path):
    """bcc iron, half of the cells ferro-, half antiferromagnetic: one closed form knows both."""
    import tarfile

    with tarfile.open(shared / "fixtures/siesta/fe_set/fe_set.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    reference = json.loads((tmp_path / "fe_set" / "reference.json").read_text())
    for run in reference:
        calc = dock.read(tmp_path / "fe_set" / run["name"])
        assert calc.moments[:, 2].tolist() == run["moments_mulliken_muB"]
        dock.write(calc, tmp_path / "set" / run["name"])
    changes = {"model.backend": "two-centre", "process.train.dataloader.validate_size": 6}
    result = train(of_options(tmp_path, tmp_path / "set", **changes))
    assert result["validation_mae"] < 1.5e-3
    model, calc = load(result["best"]), dock.read(tmp_path / "set" / "fe_001")
    orders = [[[0, 0, 2.2], [0, 0, sign * 2.2]] for sign in (1, -1)]
    ferro, anti = (model.predict(calc.structure, calc.overlap, own).entries for own in orders)
    splitting = [np.abs(own[0] - own[1]).max() for own in (ferro, anti)]
    assert min(splitting) > 1.0
    assert np.abs(ferro[0] - anti[0]).max() > 1.0
