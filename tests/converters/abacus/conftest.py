"""What the tests of ABACUS share: copies of runs, and runs written from random matrices."""

import shutil
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import samples
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.converters.abacus import FORMAT
from dock.converters.format import WriteOptions
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.spin import Spin


@pytest.fixture(scope="session")
def independent():
    return samples.beside(__file__, "independent_abacus")


@pytest.fixture(scope="session")
def validation():
    return samples.beside(__file__, "validation")


@pytest.fixture(scope="session")
def runs(bundled, tmp_path_factory):
    """The runs of several steps, unpacked."""
    folder = tmp_path_factory.mktemp("v311")
    for name in ("v311_si2_relax", "v311_si2_md"):
        with tarfile.open(bundled / "abacus" / f"{name}.tar.xz") as archive:
            archive.extractall(folder, **samples.TAR_FILTER)  # noqa: S202 - our own archives
    return folder


@pytest.fixture
def copy_run(bundled, tmp_path):
    """Return a function that copies a bundled run into a folder that may be changed."""

    def copy(name):
        target = tmp_path / name
        shutil.copytree(bundled / "abacus" / name, target)
        return target

    return copy


def random_calculation(seed, spin=Spin.NONE, quantities=("hamiltonian", "overlap")):
    """Matrices on atoms outside the cell, species mixed, shells in any order, two labels of C."""
    rng = np.random.default_rng(seed)
    structure = random_structure(rng, 4).relabel(["C1", "H", "C2", "H"])
    structure = replace(structure, numbers=np.array([6, 1, 6, 1]))
    shells = {"C1": [1, 0, 2], "C2": [0, 1, 0], "H": [0, 1]}
    basis = Basis.from_ls(shells, structure.labels)
    pairs = neighbour_pairs(structure, 3.5)
    matrices = {
        name: random_hermitian(rng, structure, basis, pairs, quantity=name, spin=spin)
        if name != "overlap"
        else random_hermitian(rng, structure, basis, pairs, quantity=name)
        for name in quantities
    }
    if {"overlap", "density_matrix"} <= set(matrices):  # what is written must hold the electrons
        count = matrices["density_matrix"].dot(matrices["overlap"])
        matrices["density_matrix"] = matrices["density_matrix"] * (10.0 / count)
    return Calculation(structure, basis, spin, matrices, 1.25, 10.0)


def write_run(calc, folder, **settings):
    """Write a calculation as `dock convert` does, without the final rename."""
    folder.mkdir(exist_ok=True)
    options = WriteOptions(settings={key: str(value) for key, value in settings.items()})
    options = replace(options, quantities=FORMAT.chosen(calc, options))
    return FORMAT.write(calc, folder, options)


@pytest.fixture
def graphene(copy_run):
    """A copy of the real run of one step."""
    return copy_run("v311_graphene")
