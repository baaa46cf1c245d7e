"""What the tests of FHI-aims share: runs written from random matrices, and the second reader."""

from dataclasses import replace

import numpy as np
import pytest
import samples
from synthetic import neighbour_pairs, random_hermitian, random_structure

from dock.converters.aims import FORMAT
from dock.converters.format import WriteOptions
from dock.core.basis import Basis
from dock.core.calculation import Calculation
from dock.core.spin import Spin


@pytest.fixture(scope="session")
def independent():
    return samples.beside(__file__, "independent_aims")


@pytest.fixture(scope="session")
def validation():
    return samples.beside(__file__, "validation")


@pytest.fixture(scope="session")
def make():
    """Return `random_calculation`."""
    return random_calculation


@pytest.fixture(scope="session")
def write():
    """Return `write_run`."""
    return write_run


def random_calculation(seed, spin=Spin.NONE, *, periodic=True, ls=None):
    """H and S on atoms in and outside the cell, atoms of one element apart."""
    rng = np.random.default_rng(seed)
    structure = random_structure(rng, 4).relabel(["C1", "H", "C2", "H"])
    pbc = (periodic, periodic, periodic)
    structure = replace(structure, numbers=np.array([6, 1, 6, 1]), pbc=pbc)
    shells = ls or {"C1": [0, 0, 1, 2], "C2": [0, 1, 1], "H": [0, 1]}
    basis = Basis.from_ls(shells, structure.labels)
    pairs = neighbour_pairs(structure, 3.5)
    if not periodic:
        pairs = pairs.take(np.flatnonzero(~np.any(pairs.R, axis=1)))
    hamiltonian = random_hermitian(rng, structure, basis, pairs, spin=spin)
    overlap = random_hermitian(rng, structure, basis, pairs, quantity="overlap")
    matrices = {"hamiltonian": hamiltonian, "overlap": overlap}
    return Calculation(structure, basis, spin, matrices, -3.5, 14.0)


def write_run(calc, folder, **settings):
    """Write a calculation as `dock convert` does, without the final rename."""
    folder.mkdir(exist_ok=True)
    options = WriteOptions(settings=settings)
    options = replace(options, quantities=FORMAT.chosen(calc, options))
    return FORMAT.write(calc, folder, options)
