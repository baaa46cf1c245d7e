"""The plane waves of orbitals, and the states of a run at Γ alone."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dock.core.basis import Basis, Shell
from dock.core.kspace import KBuilder
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.overlap import compute_overlap
from dock.overlap.radial import gaussian_radial
from dock.planewave.wavefunctions import basis_waves, read_states


def test_overlap_from_plane_waves():
    """Σ_G ⟨φ_i|k + G⟩⟨k + G|φ_j⟩/Ω is S(k), with the signs of all l and the phases of all atoms."""
    cell = np.array([[4.0, 0.3, 0.0], [0.0, 4.2, 0.5], [0.2, 0.0, 3.9]])
    structure = Structure(cell, [[0.1, 0.2, 0.3], [1.9, 1.2, 2.6]], [14, 14])
    shells = tuple(Shell(l, radial=gaussian_radial(l, 0.8)) for l in (0, 1, 2, 3))
    basis = Basis({"Si": shells}, structure.labels)
    k = np.array([0.13, -0.21, 0.37])
    index = np.arange(-9, 10)
    miller = np.stack(np.meshgrid(index, index, index, indexing="ij"), -1).reshape(-1, 3)
    waves = basis_waves(structure, basis, (miller + k) @ structure.reciprocal)
    found = waves @ waves.conj().T / structure.volume
    expected = KBuilder(compute_overlap(structure, basis)).dense(k)
    assert np.abs(found - expected).max() < 1e-6


def test_states_of_a_run_at_gamma_alone(tmp_path, rng):
    """Half of the plane waves is stored; the states are real in real space."""
    half = np.array([[0, 0, 0], [1, 0, 0], [0, 1, -1], [2, 1, 0]])
    stored = rng.normal(size=(3, 4)) + 1j * rng.normal(size=(3, 4))
    stored[:, 0] = stored[:, 0].real
    with h5py.File(tmp_path / "wfc1.hdf5", "w") as file:
        file.attrs["xk"], file.attrs["npol"] = np.zeros(3), 1
        file.attrs["gamma_only"] = np.bytes_(b".TRUE.")
        indices = file.create_dataset("MillerIndices", data=half.astype(np.int32))
        for n, vector in enumerate(np.eye(3), 1):
            indices.attrs[f"bg{n}"] = vector
        file.create_dataset("evc", data=np.ascontiguousarray(stored).view(float))
    states = read_states(tmp_path, Spin.NONE, 0)
    assert len(states.miller) == 7
    points = rng.uniform(0, 2 * np.pi, (20, 3))
    values = states.coefficients[:, 0] @ np.exp(1j * states.miller @ points.T)
    assert np.abs(values.imag).max() < 1e-12
    assert np.abs(values.real).max() > 0.1
    assert states.coefficients[0, 0, 0] == pytest.approx(stored[0, 0])
