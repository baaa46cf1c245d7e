"""Fermi surfaces: files read back by readers of their own, values against bands."""

import dataclasses
import re

import numpy as np
import pytest

import dock
from dock.errors import ConventionError, MissingDataError, UsageError
from dock.response import fermi_surface, spin_texture, velocities
from dock.states.kmesh import KMesh
from dock.states.kplane import KPlane
from dock.structures import lattice_model

N = (4, 3, 2)
LEVEL = -4.0  # in the valence bands of silicon


def read_bxsf(path):
    """What XCrySDen reads: the level, vectors, and bands on a grid with both ends, last fastest."""
    text = path.read_text()
    level = float(re.search(r"Fermi Energy: (\S+)", text)[1])
    body = re.search(r"BEGIN_BANDGRID_3D\w*\n(.*)END_BANDGRID_3D", text, re.DOTALL)[1]
    head, *bands = re.split(r"BAND: *(\d+)", body)
    words = head.split()
    assert int(words[0]) == len(bands) // 2
    shape = tuple(map(int, words[1:4]))
    vectors = np.array(words[7:16], dtype=float).reshape(3, 3)
    energies = {
        int(number): np.array(values.split(), dtype=float).reshape(shape)
        for number, values in zip(bands[::2], bands[1::2], strict=True)
    }
    return level, vectors, energies


def read_frmsf(path):
    """What FermiSurfer reads: energies from the level and colours, last index fastest."""
    words = path.read_text().split()
    shape, kind, n_bands = tuple(map(int, words[:3])), int(words[3]), int(words[4])
    vectors = np.array(words[5:14], dtype=float).reshape(3, 3)
    values = np.array(words[14:], dtype=float).reshape(2, n_bands, *shape)
    return kind, vectors, values[0], values[1]


@pytest.fixture(scope="module")
def silicon():
    return dock.read("fixtures/openmx/si")


def test_files_for_viewers_say_what_the_bands_are(silicon, tmp_path):
    result = fermi_surface(silicon, N, fermi_level=LEVEL, colour="speed")
    (bands,) = result.bands
    assert result.mesh.n_points < 24  # symmetry was used
    assert result.save(tmp_path / "si.frmsf") == [tmp_path / "si.frmsf"]
    kind, vectors, energies, speeds = read_frmsf(tmp_path / "si.frmsf")
    assert kind == 1  # Γ is a point
    np.testing.assert_allclose(vectors, silicon.structure.reciprocal, atol=1e-8)
    result.save(tmp_path / "si.bxsf")
    level, plain, grids = read_bxsf(tmp_path / "si.bxsf")
    assert (level, list(grids)) == (0.0, bands.tolist())
    np.testing.assert_allclose(2 * np.pi * plain, silicon.structure.reciprocal, atol=1e-8)
    for place in ((1, 2, 1), (3, 0, 1), (0, 1, 0)):
        k = np.array(place) / N
        there = velocities(silicon, [k])
        for column, band in enumerate(bands):
            at = (0, 0, band - 1)
            wanted = there.energies[at]
            assert energies[column][place] + LEVEL == pytest.approx(wanted, abs=1e-7)
            assert grids[band][place] + LEVEL == pytest.approx(wanted, abs=1e-7)
            if there.sizes[at] == 1:
                speed = np.linalg.norm(there.vectors[at])
                assert speeds[column][place] == pytest.approx(speed, abs=1e-6)
    for grid in grids.values():  # both ends of each axis
        np.testing.assert_allclose(grid[-1], grid[0])
        np.testing.assert_allclose(grid[:, :, -1], grid[:, :, 0])
        assert grid.shape == tuple(n + 1 for n in N)
        assert grid.min() < 0 < grid.max()


@pytest.mark.shared
def test_each_spin_channel_of_iron_has_a_file(shared, tmp_path):
    calc = dock.read(shared / "fixtures/siesta/fe_bcc/fe_bcc.v2.HSX")
    result = fermi_surface(calc, (6, 6, 6))
    assert [list(bands) for bands in result.bands] == [[5, 6], [3, 4]]
    assert result.fermi_level == calc.fermi_level
    written = result.save(tmp_path / "fe.bxsf")
    assert [path.name for path in written] == ["fe_up.bxsf", "fe_down.bxsf"]
    assert list(read_bxsf(written[1])[2]) == [3, 4]
    bare = dataclasses.replace(calc, fermi_level=None)  # as a prediction has none
    counted = fermi_surface(bare, (6, 6, 6)).fermi_level
    assert counted != calc.fermi_level
    assert counted == pytest.approx(calc.fermi_level, abs=0.2)
    assert fermi_surface(calc, (6, 6, 6), electrons=7.5).fermi_level < counted - 0.05
    result.save(tmp_path / "fe.h5")
    assert result.plot(tmp_path / "fe.png").is_file()
    plane = KPlane.cartesian("xy", calc.structure.reciprocal, points=9, extent=4.4)
    contours = fermi_surface(calc, plane)
    assert contours.plot(tmp_path / "xy.png").is_file()
    with pytest.raises(UsageError, match="a viewer's file is of a mesh"):
        contours.save(tmp_path / "xy.bxsf")


@pytest.mark.shared
def test_spins_turn_with_the_crystal_and_so_no_symmetry_is_used(shared):
    calc = dock.read(shared / "fixtures/siesta/fept_soc")
    result = fermi_surface(calc, (2, 2, 1), colour="z")
    assert result.mesh.symmetry is None
    spins = spin_texture(calc, KMesh.full((2, 2, 1)))
    (bands,) = result.bands
    np.testing.assert_allclose(
        result.colours[0], spins.vectors[0][:, bands - 1, 2], rtol=0, atol=1e-9
    )


def test_a_surface_in_a_plane_is_drawn_over_the_whole_zone(tmp_path):
    calc = dock.read("fixtures/abacus/graphene")
    doped = fermi_surface(calc, KPlane.of((1, 2), points=12), fermi_level=calc.fermi_level - 1)
    assert doped.plot(tmp_path / "g.png").is_file()
    (bands,) = doped._grids(doped.energies[0])
    assert doped._in_plane()[0].shape == bands.shape == (37, 37)
    # One period on: the same energies.
    np.testing.assert_allclose(bands[:, :25], bands[:, 12:])
    coloured = fermi_surface(calc, (12, 12, 1), fermi_level=calc.fermi_level - 1, colour="speed")
    assert coloured.arrays()["surface_speeds_eV_ang"].shape == (144, len(coloured.bands[0]))
    assert coloured.plot(tmp_path / "speed.png").is_file()


def test_a_mesh_whose_plane_no_band_crosses_is_drawn_and_that_is_said(tmp_path):
    chain = lattice_model(np.diag([3.0, 3.0, 2.0]), [[0, 0, 0]], [(0, 0, (0, 0, 1), -1.0)])
    for colour in ("speed", "none"):
        found = fermi_surface(chain, (2, 2, 4), fermi_level=0.5, colour=colour)
        assert found.bands[0].tolist() == [1]
        assert ("plane of b1, b2", "no band crosses the Fermi level here") in found.rows()
        assert found.plot(tmp_path / f"{colour}.png").is_file()


def test_a_gap_of_a_part_of_a_plane_makes_no_insulator():
    calc = dock.read("fixtures/abacus/graphene")
    plane = KPlane.cartesian("xy", calc.structure.reciprocal, points=3, extent=0.2)
    with pytest.raises(UsageError, match=r"no band crosses the Fermi level.*another plane"):
        fermi_surface(calc, plane)


def test_what_has_no_surface(silicon):
    with pytest.raises(UsageError, match=r"an insulator has no Fermi surface; its gap is 2\.\d+"):
        fermi_surface(silicon, N)
    with pytest.raises(UsageError, match="no band crosses the Fermi level, -100"):
        fermi_surface(silicon, N, fermi_level=-100.0)
    with pytest.raises(UsageError, match="surface has Γ"):
        fermi_surface(silicon, KMesh.full(N, "monkhorst-pack"), fermi_level=LEVEL)
    with pytest.raises(UsageError, match="coloured by none, speed"):
        fermi_surface(silicon, N, colour="red")
    with pytest.raises(ConventionError, match="a surface coloured by spin needs"):
        fermi_surface(silicon, N, colour="z", fermi_level=LEVEL)
    bare = dataclasses.replace(silicon, fermi_level=None, n_electrons=None)
    with pytest.raises(MissingDataError, match="fermi_level=E"):
        fermi_surface(bare, N)
