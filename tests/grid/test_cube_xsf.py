"""Cube files: what is refused. Those of densities are read by other programs in `tests/post`."""

import numpy as np
import pytest
from samples import OPENMX

import dock
from dock.errors import FormatError, UsageError
from dock.grid.cube_xsf import read_cube, write_cube


def test_cut_files(tmp_path):
    structure = dock.read(OPENMX / "h2o").structure
    cube = tmp_path / "x.cube"
    write_cube(cube, structure, np.ones((3, 4, 7)))
    whole = cube.read_text()
    for end in (0, 30, 200, len(whole) - 20):
        cube.write_text(whole[:end])
        with pytest.raises(FormatError, match="cube"):
            read_cube(cube)


def test_values_that_are_none(tmp_path):
    structure = dock.read(OPENMX / "h2o").structure
    with pytest.raises(UsageError, match="finite real"):
        write_cube(tmp_path / "y.cube", structure, np.full((2, 2, 2), np.nan))
