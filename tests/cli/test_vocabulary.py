"""Every key that a command prints with ``--json`` stands in the vocabulary of results."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import samples

from dock.cli import cli
from dock.results import KEYS

GRAPHENE = samples.ROOT / "fixtures" / "siesta" / "graphene"
SOC = samples.ROOT / "fixtures" / "deeph" / "o2_soc"
MESH = ("--mesh", 2, 2, 2)
BASIS = ("--basis", GRAPHENE)
COMMANDS = {
    "align": ("align", "si", "--to", "si", "-o", "moved"),
    "bands": ("bands", "si", "--path", "LG", "--points", 3, "--compare", "si", "--project", "l"),
    "berry": ("berry", "si", "--k", 0, 0, 0, "--bands", "1..4", "-o", "b.h5"),
    "build perturb": ("build", "perturb", "si/POSCAR", "--amplitude", 0.1, "-o", "copies"),
    "build supercell": ("build", "supercell", "si/POSCAR", 2, 1, 1, "-o", "double"),
    "build twisted-bilayer": (
        "build",
        "twisted-bilayer",
        "--layer",
        "graphene",
        "--m",
        1,
        "-o",
        "t",
    ),
    "charge-density": ("charge-density", "c", *BASIS, "--grid", 4, 4, 8, "-o", "rho.h5"),
    "check": ("check", "si"),
    "compute-overlap": ("compute-overlap", "c", *BASIS, "-o", "s/overlap.h5"),
    "convert": ("convert", "si", "--to", "npz", "-o", "npz"),
    "dataset split": ("dataset", "split", "."),
    "dataset stats": ("dataset", "stats", "."),
    "dataset energies": ("dataset", "energies", "set"),
    "density-matrix": ("density-matrix", "si", *MESH, "-o", "dm"),
    "diff": ("diff", "si", "si"),
    "doctor": ("doctor",),
    "dos": ("dos", "si", *MESH, "--step", 0.5, "--project", "l"),
    "equivariance generate": ("equivariance", "generate", "si", "-o", "turned"),
    "evaluate": ("evaluate", "si", "twin", "--mesh", 2, 2, 2, "-o", "errors"),
    "fermi": ("fermi", "si", *MESH),
    "fermi-surface": ("fermi-surface", "si", *MESH, "--fermi", -4.0, "-o", "fs.h5"),
    "formats": ("formats",),
    "info": ("info", "si", "--orbitals"),
    "masses": ("masses", "si", "--direction", 1, 1, 0, *MESH, "-o", "masses.h5"),
    "optics": ("optics", "si", *MESH, "--energies", 0, 4, 5, "-o", "eps.h5"),
    "plot": ("plot", "kept.json", "-o", "again.png"),
    "polarization": ("polarization", "si", *MESH, "-o", "p.h5"),
    "populations": ("populations", "si", *MESH),
    "spin-texture": ("spin-texture", SOC, "--k", 0, 0, 0, "--bands", "1..2", "-o", "s.h5"),
    "transport": ("transport", "si", *MESH, "--mu", 1.0, "-o", "t.h5"),
    "unfold": ("unfold", "si", "--supercell", "1 1 1", "--path", "LG", "--points", 2),
    "velocities": ("velocities", "si", "--k", 0, 0, 0, "-o", "v.h5"),
    "wavefunction": ("wavefunction", "si", "--k", 0, 0, 0, "-o", "psi.h5"),
    "wilson": ("wilson", "si", "--plane", 1, 2, "--points", 2, "-o", "w.h5"),
}
"""What is run of each command. The commands of models have tests of their own, and
``dataset features`` prints the file that DeepH-pack reads, with its names."""

MODELS = {"train", "infer", "model"}


def test_no_command_is_forgotten():
    import click

    context = click.Context(cli)
    names = {name.split()[0] for name in COMMANDS} | MODELS
    assert set(cli.list_commands(context)) == names


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    samples.unified(folder / "si")
    samples.unified(folder / "twin")
    samples.unified(folder / "set" / "a")
    with h5py.File(folder / "set" / "a" / "force.h5", "w") as file:
        file["force"], file["energy"] = np.zeros((2, 3)), -213.5
    kept = ("--path", "LG", "--points", 3, "-o", folder / "kept.h5")
    assert samples.cli("bands", folder / "si", *kept).code == 0
    assert samples.cli("convert", GRAPHENE, "-o", folder / "c").code == 0
    return folder


def keys_of(content):
    """Yield the keys of an object and of the objects in it that have a fixed layout."""
    for name, value in content.items():
        yield name
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for one in value:
                yield from one


@pytest.mark.parametrize("name", COMMANDS)
def test_keys_are_in_the_vocabulary(place, monkeypatch, name):
    monkeypatch.chdir(place)
    words = [*COMMANDS[name], "--json"]
    if "-o" in words or name.split()[0] in {
        "bands",
        "dos",
        "fermi",
        "populations",
        "unfold",
        "dataset",
    }:
        words.append("--overwrite")
    answer = samples.cli(*words)
    assert answer.code == 0, answer.err
    for line in answer.out.splitlines():
        unknown = set(keys_of(json.loads(line))) - set(KEYS)
        assert not unknown
