"""States of references: mesh, window, what is refused, and levels against a whole eigenproblem."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from samples import OPENMX
from scipy.linalg import eigh

import dock
from dock.core.spin import Spin
from dock.errors import UsageError
from dock.models.data import reference_states as module
from dock.models.data.reference_states import StateArrays, collect_states, reference_states
from dock.models.options import TrainOptions
from dock.models.options.train import States
from dock.models.targets import TargetLayout
from dock.states.memory import Allowance
from dock.states.problem import Problem


def options_of(folder, **wanted):
    options = TrainOptions()
    train = replace(options.process.train, states=States(enable=True, **wanted))
    data = replace(options.data, inputs_dir=str(folder))
    return replace(options, data=data, process=replace(options.process, train=train))


def written(folder, *names, without=()):
    """Write fixtures as unified folders without some facts; return the layout of the first."""
    for name in names:
        calc = dock.read(OPENMX / name)
        kept = ("hamiltonian", "overlap")
        calc = calc.replace(matrices={one: calc.require(one) for one in kept})
        dock.write(calc, folder / name)
        info = json.loads((folder / name / "info.json").read_text())
        kept = {key: value for key, value in info.items() if key not in without}
        (folder / name / "info.json").write_text(json.dumps(kept))
    calc = dock.read(OPENMX / names[0])
    return TargetLayout.from_bases([calc.basis], calc.spin)


class TestStates:
    def test_they_solve_the_eigenproblem(self):
        calc = dock.read(OPENMX / "graphene-v38")
        own = reference_states(calc, States(kmesh=(3, 3, 4)))
        assert len(own.points) == 5  # of nine, and one along the axis that nothing crosses
        assert own.weights.sum() == pytest.approx(1)
        assert np.iscomplexobj(own.vectors)
        channel = Problem.of(calc).channels[0]
        for k, point in enumerate(own.points):
            H, S = channel.hamiltonian.dense(point), channel.overlap.dense(point)
            C = own.vectors[0, k]
            np.testing.assert_allclose(C.conj().T @ S @ C, np.eye(10), atol=1e-7)
            np.testing.assert_allclose(C.conj().T @ H @ C, np.diag(own.energies[0, k]), atol=1e-6)

    def test_the_window_begins_at_the_level_of_the_electrons(self):
        own = reference_states(dock.read(OPENMX / "h2o"), States(window=12.0))
        filled = own.energies[0, 0] < own.fermi_level
        assert filled.sum() == 4
        assert own.top == own.fermi_level + 12.0
        assert own.low.sum() > 4
        assert np.all(own.scale[own.low] == 1)
        above = own.energies[~own.low] - own.top
        np.testing.assert_allclose(own.scale[~own.low] ** 2, 3 / (3 + above))

    def test_real_where_time_reversal_leaves_the_points(self):
        own = reference_states(dock.read(OPENMX / "si"), States())
        assert len(own.points) == 8
        assert own.vectors.dtype == np.float64

    def test_one_point_along_long_axes(self, monkeypatch):
        monkeypatch.setattr(module, "_LONG", 3.0)
        assert len(reference_states(dock.read(OPENMX / "graphene-v38"), States()).points) == 4
        assert len(reference_states(dock.read(OPENMX / "si"), States()).points) == 1

    def test_levels_of_an_error(self):
        """Against the generalised eigenproblem of H + ΔH; a sink of 40 eV is a false state."""
        calc = dock.read(OPENMX / "h2o")
        own = reference_states(calc, States())
        H, S = (calc.require(name) for name in ("hamiltonian", "overlap"))
        problem = Problem(H, S)
        matrix, overlap = (
            builder.dense([0, 0, 0])
            for builder in (problem.channels[0].hamiltonian, problem.channels[0].overlap)
        )
        C = own.vectors[0, 0]
        deviation = np.diag(np.linspace(0.1, 0.3, len(C))) * overlap
        found = own.errors((C.T @ deviation @ C)[None, None])
        moved = eigh(matrix + deviation, overlap, eigvals_only=True) - own.energies[0, 0]
        moved = moved - np.median(moved[:4])
        assert found.low == pytest.approx(np.abs(moved[own.low[0, 0]]).mean(), rel=1e-9)
        assert found.n_ghosts == 0
        sink = np.zeros((1, 1, len(C), len(C)))
        sink[0, 0, -1, -1] = -own.energies[0, 0, -1] - 40
        assert own.errors(sink).n_ghosts == 1


class TestRefusals:
    def refusal(self, folder, layout, *names, **wanted):
        numbers = {name: number for number, name in enumerate(names)}
        with pytest.raises(UsageError) as caught:
            collect_states(options_of(folder, **wanted), layout, numbers, names)
        assert "[process.train.states]" in str(caught.value)
        return str(caught.value)

    def test_no_overlap(self, tmp_path):
        layout = written(tmp_path, "si")
        (tmp_path / "si" / "overlap.h5").unlink()
        message = self.refusal(tmp_path, layout, "si")
        assert "si: " in message
        assert "overlap" in message

    def test_no_electrons(self, tmp_path):
        layout = written(tmp_path, "si", without=("occupation", "fermi_energy_eV"))
        assert "occupation" in self.refusal(tmp_path, layout, "si")

    def test_a_fermi_level_is_enough(self, tmp_path):
        layout = written(tmp_path, "si", without=("occupation",))
        found = collect_states(options_of(tmp_path), layout, {"si": 3}, ["si"])
        assert found[3].fermi_level == pytest.approx(dock.read(OPENMX / "si").fermi_level)

    def test_an_overlap_that_is_none(self, tmp_path):
        layout = written(tmp_path, "si")
        calc = dock.read(tmp_path / "si")
        S = calc.require("overlap")
        broken = {"hamiltonian": calc.require("hamiltonian"), "overlap": S - 2.0 * S}
        dock.write(calc.replace(matrices=broken), tmp_path / "si", overwrite=True)
        assert "si: " in self.refusal(tmp_path, layout, "si")

    def test_other_targets(self, tmp_path):
        layout = written(tmp_path, "si")
        density = replace(layout, quantity="density_matrix")
        assert "density" in self.refusal(tmp_path, density, "si")
        assert "spinors" in self.refusal(tmp_path, replace(layout, spin=Spin.NONCOLLINEAR), "si")
        magnet = replace(layout, spin=Spin.COLLINEAR, per_spin=True)
        assert "one by one" in self.refusal(tmp_path, magnet, "si")

    def test_large_structures_stand_aside(self, tmp_path):
        layout = written(tmp_path, "h2o", "co-f")
        numbers = {"h2o": 0, "co-f": 1}
        options = options_of(tmp_path, max_orbitals=20)
        assert list(collect_states(options, layout, numbers, ["h2o"])) == [0]
        assert "max_orbitals = 9" in self.refusal(tmp_path, layout, "h2o", max_orbitals=9)


def test_states_that_have_no_room_are_refused(tmp_path, monkeypatch):
    layout = written(tmp_path, "si")
    monkeypatch.setattr(module, "allowance", lambda: Allowance(5000, "of a test"))
    with pytest.raises(UsageError, match=r"need about .* there are .*of a test.*max_orbitals"):
        collect_states(options_of(tmp_path), layout, {"si": 0}, ["si"])


def test_facts(tmp_path):
    layout = written(tmp_path, "si")
    found = collect_states(options_of(tmp_path), layout, {"si": 0}, ["si"])
    facts = StateArrays.of(found, layout, np.array([[2, 172]]), 1).facts()
    assert facts == {
        "n_structures": 1,
        "n_kpoints": [8, 8],
        "n_states": [10, 10],
        "memory_MB": pytest.approx(8 * 100 * 8 / 1e6, abs=1e-3),
    }
