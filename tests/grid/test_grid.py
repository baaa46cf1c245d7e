"""Grids in space and the tables of radial functions on them."""

import numpy as np
import pytest
from gaussian_model import gaussian_basis
from samples import OPENMX

import dock
from dock.core.basis import Basis, Shell
from dock.errors import MissingDataError, UsageError
from dock.grid.grid import (
    Grid,
    make_grid,
    orbital_tables,
    read_with_radials,
    require_radials,
    with_radials,
)
from dock.overlap.radial import gaussian_radial, interpolate


def test_radial_tables_are_the_functions_at_every_radius():
    basis = gaussian_basis(("C",), lmax=3)
    tables = orbital_tables(basis)
    for n, shell in enumerate(basis.shells["C"]):
        r = np.arange(len(tables.values[n])) * tables.steps[n]
        exact = interpolate(shell.radial, shell.l, r)[0]
        assert np.abs(tables.values[n] * r**shell.l - exact).max() < 1e-9
        # The quotient R/r^l of a Gaussian is its value at the origin times a Gaussian.
        assert tables.values[n][0] == pytest.approx(tables.values[n][5], rel=1e-3)


@pytest.mark.parametrize("shape", [(4, 4), (0, 4, 4), (2000, 2000, 2000)])
def test_shapes_that_are_none(shape):
    with pytest.raises(UsageError, match="grid"):
        make_grid(dock.read(OPENMX / "h2o").structure, shape)


def test_grids_that_are_none():
    structure = dock.read(OPENMX / "h2o").structure
    with pytest.raises(UsageError, match="spacing"):
        make_grid(structure, spacing=-1)
    with pytest.raises(UsageError, match="not both"):
        make_grid(structure, (4, 4, 4), spacing=1)
    with pytest.raises(UsageError, match="grid"):
        Grid(structure, (1.5, 2, 2))


def test_orbitals_beyond_the_tables():
    huge = Basis({"C": (Shell(7, radial=gaussian_radial(7, 1.0)),)}, ("C",))
    with pytest.raises(UsageError, match="l = 7"):
        orbital_tables(huge)


def test_a_run_without_basis_files_has_no_radial_functions():
    calc = read_with_radials(OPENMX / "h2o")
    with pytest.raises(MissingDataError, match="basis=DIR"):
        require_radials(calc.basis)


@pytest.mark.shared
def test_radial_functions_are_read_with_the_run_or_given_by_name(shared, tmp_path):
    pao = shared / "public" / "openmx" / "pao"
    direct = read_with_radials(OPENMX / "h2o", basis=pao)
    require_radials(direct.basis)
    dock.write(dock.read(OPENMX / "h2o"), tmp_path / "u")
    strings = {"O": "O5.0-s2p1", "H": "H5.0-s2p1"}
    named = read_with_radials(tmp_path / "u", basis=pao, strings=strings)
    r = np.linspace(0, 1, 5)
    for label in direct.basis.species:
        for one, other in zip(direct.basis.shells[label], named.basis.shells[label], strict=True):
            values = [interpolate(shell.radial, shell.l, r)[0] for shell in (one, other)]
            assert np.array_equal(*values)
    again = with_radials(dock.read(tmp_path / "u"), pao, strings=strings)
    assert again.hamiltonian.basis.is_same(again.basis)
