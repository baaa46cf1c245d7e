"""Small data sets to train on, and the options of small trainings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from synthetic import covariant, neighbour_pairs

import dock
from dock.core.basis import Basis
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.models.graph import parts_of
from dock.models.options import read_train

SHELLS = {"H": [0], "C": [0, 1]}
NUMBERS = {"H": 1, "C": 6}
CUTOFF = 3.5
SPINS = [
    (Spin.NONE, False),
    (Spin.COLLINEAR, False),
    (Spin.NONCOLLINEAR, False),
    (Spin.NONCOLLINEAR, True),
]
"""Kinds of labels: spin, and whether time reversal holds for its noncollinear blocks."""


def molecule(rng, n_atoms=3, *, labels=None):
    """Atoms in a large box, no two nearer than 0.9 Å, in a ball that grows with their number."""
    labels = labels or [("C", "H")[index % 2] for index in range(n_atoms)]
    radius = 1.1 * n_atoms ** (1 / 3)
    while True:
        positions = rng.uniform(-radius, radius, (n_atoms, 3))
        between = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        if between[np.triu_indices(n_atoms, 1)].min(initial=9.0) > 0.9:
            return Structure(np.eye(3) * 20.0, positions, [NUMBERS[x] for x in labels])


def calculation(structure, *, spin=Spin.NONE, shells=SHELLS, shift=0.0, cutoff=CUTOFF):
    """A covariant Hamiltonian (plus a multiple of S) and overlap of a structure."""
    basis = Basis.from_ls({x: shells[x] for x in dict.fromkeys(structure.labels)}, structure.labels)
    pairs = neighbour_pairs(structure, cutoff)
    S = covariant(structure, basis, pairs, quantity="overlap")
    H = covariant(structure, basis, pairs, spin=spin)
    if shift:
        entries = H.entries.copy()
        for component in {1: (0,), 2: (0, 1), 4: (0, 3)}[len(entries)]:
            entries[component] += shift * S.entries[0]
        H = H.with_entries(entries)
    return dock.Calculation(structure, basis, spin, {"hamiltonian": H, "overlap": S})


def assert_equivariant(first, predict, tolerance):
    """Assert that a prediction is Hermitian, and turns with its structure, also if inverted."""
    assert first.hermiticity_error() == 0.0
    scale = np.abs(first.entries).max()
    assert scale > 0.01
    for sign in (1, -1):
        expected = first.rotate(sign * Rotation.random(random_state=4).as_matrix())
        found = predict(expected.structure, expected.basis)
        assert np.abs((found - expected).entries).max() < tolerance * scale


def assert_parts_are_the_whole(model, graph, size):
    """Assert that a closed form makes the same blocks of parts of so many edges as of all."""
    whole = model.one_way(next(parts_of(graph, 10**6)))
    cut = [model.one_way(part) for part in parts_of(graph, size)]
    assert len(cut) > 1
    for index in (0, 1):
        found = np.concatenate([part[index] for part in cut])
        np.testing.assert_allclose(found, whole[index], atol=1e-12)


def count_reads(monkeypatch, *places):
    """Return how often each file is read by functions of some modules: (module, names)."""
    counts = Counter()

    def counted(plain):
        def read(path, *others, **options):
            counts[str(path)] += 1
            return plain(path, *others, **options)

        return read

    for place, names in places:
        for name in names:
            monkeypatch.setattr(place, name, counted(getattr(place, name)))
    return counts


def make_set(folder, sizes=(3,) * 10, *, seed=5, shifts=None, electrons=None, **options):
    """Write unified folders m00, m01, … of molecules with so many atoms."""
    rng = np.random.default_rng(seed)
    for number, n_atoms in enumerate(sizes):
        structure = molecule(rng, n_atoms)
        shift = shifts[number] if shifts is not None else 0.0
        calc = calculation(structure, shift=shift, **options)
        if electrons is not None:
            calc = calc.replace(n_electrons=electrons)
        dock.write(calc, Path(folder) / f"m{number:02d}")
    return Path(folder)


def magnetised(calc, moments):
    """Scale the blocks of a collinear calculation by what moments along each spin would do.

    Spin s gets 1 + 0.2 s (m_i + m_j) + 0.1 m_i m_j of the first component, on site 1 + 0.4 s m_i.
    """
    H = calc.require("hamiltonian")
    m_i, m_j = moments[H.pairs.i], moments[H.pairs.j]
    entries = []
    for spin in (1, -1):
        factor = np.where(H.pairs.is_onsite, 1 + 0.4 * spin * m_i, 1 + 0.2 * spin * (m_i + m_j))
        factor += np.where(H.pairs.is_onsite, 0.0, 0.1 * m_i * m_j)
        entries.append(H.entries[0] * np.repeat(factor, np.diff(H.layout.starts)))
    return calc.replace(matrices={**calc.matrices, "hamiltonian": H.with_entries(entries)})


def make_magnets(folder, count=12, *, n_atoms=3, seed=5, with_file=True):
    """Write collinear structures m00, m01, … with moments of either sign in moments.json."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        calc = calculation(molecule(rng, n_atoms), spin=Spin.COLLINEAR)
        moments = rng.choice([-1.0, 1.0], n_atoms) * rng.uniform(0.8, 1.2, n_atoms)
        place = Path(folder) / f"m{number:02d}"
        order = [atom for x in "CH" for atom in range(n_atoms) if calc.structure.labels[atom] == x]
        calc = magnetised(calc.permute_atoms(order), moments)
        dock.write(calc, place)
        if with_file:
            (place / "moments.json").write_text(json.dumps([[0.0, 0.0, m] for m in moments]))
    return Path(folder)


SMALL = {
    "model.advanced.net_irreps": "4x0e+4x1o+4x2e+2x1e",
    "model.advanced.num_blocks": 1,
    "model.advanced.radial_hidden": 4,
    "model.advanced.n_radial": 4,
    "model.baseline": "none",
    "process.train.max_epoch": 6,
    "process.train.validate_interval": 5,
    "process.train.dataloader.batch_size": 2,
    "process.train.dataloader.validate_size": 2,
    "process.train.dataloader.test_size": 0,
    "process.train.optimizer.init_learning_rate": 0.01,
}
"""A training of half a second, once it is compiled."""


def write_toml(path, **keys):
    """Write a TOML file from full names of keys."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
    Path(path).write_text("\n".join(lines) + "\n")
    return Path(path)


def small_toml(path, inputs, outputs="run", **changes):
    """Write the options of a small training; `changes` by full key."""
    keys = {"data.inputs_dir": str(inputs), "data.outputs_dir": str(outputs), **SMALL, **changes}
    return write_toml(path, **keys)


def small_options(path, inputs, outputs="run", **changes):
    """Return the options of a small training."""
    return read_train(small_toml(path, inputs, outputs, **changes))


def log_of(folder):
    """Return the lines of a run's log without the times."""
    lines = (Path(folder) / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
