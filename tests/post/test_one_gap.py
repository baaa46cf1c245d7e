"""Bands, Fermi level and density of states tell one gap and count energies from one level."""

import json
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import samples

import dock
from dock.post import bands, dos
from dock.post.band_structure import Selection
from dock.post.fermi import FermiResult, fermi_level
from dock.states.counted_level import level_beside
from dock.states.kpath import KPath

MESH = (2, 2, 2)


@pytest.fixture(scope="module")
def sic(shared, tmp_path_factory):
    """The folders of 20 runs whose stored level lies in the conduction bands: see its README."""
    folder = tmp_path_factory.mktemp("sic")
    with tarfile.open(shared / "fixtures/siesta/sic8_set/sic8_set.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return sorted((folder / "sic8_set").iterdir())


@pytest.mark.shared
def test_every_run_of_the_set_is_an_insulator(sic):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    compared = 0
    for run in sic:
        calc = dock.read(run)
        line = KPath([3], [[0, 0, 0]], [[0.5, 0.5, 0]], [("G", "M")], calc.structure.cell)
        path, mesh = bands(calc, line), fermi_level(calc, MESH)
        density = dos(calc, step=0.1, window=(-1, 1), fermi=mesh)
        assert [x.gap.kind for x in (path, mesh, density)] == ["insulator"] * 3, run
        assert path.gap.fermi_source == density.gap.fermi_source == "mid-gap"
        assert path.gap.stored == mesh.stored == density.gap.stored == calc.fermi_level
        assert path.gap.is_stored_outside
        edges = [{(x.k_frac, x.band) for x in (r.gap.vbm, r.gap.cbm)} for r in (path, mesh)]
        if edges[0] == edges[1]:
            compared += 1
            assert path.gap.size == pytest.approx(mesh.gap.size, abs=1e-3)
            assert path.reference == pytest.approx(density.fermi_level, abs=1e-3)
        for result in (path, density, mesh):
            axes.clear()
            result.draw(axes)
            words = mesh.gap.kind if result is mesh else f"gap {result.gap.size:.3f} eV"
            assert words in axes.get_title()
    assert len(sic) == 20
    assert compared >= 15


@pytest.mark.shared
def test_the_stored_level_is_said_and_electrons_are_obeyed(sic, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = samples.cli("bands", sic[0], "--path", "XG", "--points", 3, "-o", "a.h5")
    assert "stored level" in answer.out
    assert "above the CBM, not in the gap" in answer.out
    hole = samples.cli(
        "bands", sic[0], "--path", "XG", "--points", 3, "-o", "b.h5", "--electrons", 31, "--json"
    )
    assert json.loads(hole.out)["kind"] == "metal"
    window = bands(dock.read(sic[0]), "XG", points=3, selection=Selection((-1.0, 1.5)))
    assert window.gap.kind == "insulator"
    assert (window.energies - window.reference).max() > window.gap.size / 2 - 1e-9


@pytest.mark.parametrize("run", ["siesta/graphene", "openmx/graphene-v38", "abacus/graphene"])
def test_graphene_is_a_semimetal_everywhere(bundled, run):
    """The path and a mesh of 3 × 3 points have K, where the bands meet to 0.2 and 0.6 meV."""
    calc = dock.read(bundled / run)
    path, mesh = bands(calc, "GK", points=3), fermi_level(calc, (3, 3, 1))
    density = dos(calc, step=0.5, fermi=mesh)
    assert [x.gap.kind for x in (path, mesh, density)] == ["semimetal"] * 3
    assert path.gap.size == pytest.approx(mesh.gap.size, abs=1e-7)
    assert path.reference == pytest.approx(density.fermi_level, abs=1e-6)
    assert density.relative[np.argmin(np.abs(density.relative))] == pytest.approx(0, abs=1e-9)
    assert ("gap", "none: a metal") not in [*path.rows(), *mesh.rows()]
    assert "meet to within 1 meV" in path.table()


def test_a_stored_level_is_not_that_of_other_electrons(bundled, caplog):
    """Silicon with a hole: its level lies in the valence bands, the stored one in the gap."""
    si = dock.read(bundled / "openmx" / "si")
    density = dos(si.replace(fermi_level=-2.9), (3, 3, 3), step=0.5, electrons=7.0)
    assert (density.gap.kind, density.gap.fermi_source) == ("metal", "counted")
    assert density.fermi_level == density.counted_level
    for electrons, said in ((8.0, False), (None, False), (7.0, True)):
        caplog.clear()
        bands(si, "GX", points=3, electrons=electrons)
        assert ("which is not that of 7 electrons" in caplog.text) == said
    caplog.clear()
    bands(si, "GX", points=3, electrons=7.0, fermi_level=-3.2)
    assert not caplog.records


def test_one_zero_of_an_insulator_and_a_metal(bundled):
    """A level stored in the gap is the zero of both; so is that of a metal."""
    si = dock.read(bundled / "openmx" / "si")
    assert bands(si, "GX", points=3).reference == si.fermi_level
    assert dos(si, (2, 2, 2), step=0.5).fermi_level == si.fermi_level
    hole = si.replace(n_electrons=7.0, fermi_level=-4.4)
    density = dos(hole, (3, 3, 3), step=0.5)
    assert density.gap.kind == "metal"
    assert bands(hole, "GX", points=3).reference == density.fermi_level == -4.4
    assert density.counted_level != -4.4
    assert f"counted on this mesh {density.counted_level:.6f} eV" in density.table()
    far = dos(hole.replace(fermi_level=14.0), (3, 3, 3), step=0.5)
    assert (far.fermi_level, far.gap.fermi_source) == (far.counted_level, "counted")


def test_a_level_that_was_counted_for_this_hamiltonian_comes_first(bundled, tmp_path):
    si = dock.read(bundled / "openmx" / "si")
    result = fermi_level(si, (3, 3, 3))
    result.made_from(si.hamiltonian.digest())
    result.save(tmp_path / FermiResult.FILE)
    assert level_beside(si, tmp_path) == result.level
    assert level_beside(si, tmp_path / "hamiltonian.h5") == result.level
    counted = bands(si, "GX", points=3, counted=result.level)
    assert (counted.reference, counted.gap.fermi_source) == (result.level, "counted")
    outside = bands(si.replace(fermi_level=5.0), "GX", points=3, counted=result.level)
    assert outside.gap.stored == 5.0  # the file's level is said, whichever is the zero
    assert "above the CBM, not in the gap" in outside.table()
    assert dos(si, (2, 2, 2), step=0.5, counted=result.level).fermi_level == result.level
    other = si.replace(matrices={"H": 1.01 * si.require("H"), "S": si.require("S")})
    assert level_beside(other, tmp_path) is None
    assert level_beside(si, tmp_path, electrons=7.0) is None
    assert level_beside(si, tmp_path / "nowhere" / "h.h5") is None
    for damage in ("", "[1]", '{"fermi_level_eV": null}', "{}"):
        (tmp_path / FermiResult.FILE).write_text(damage)
        assert level_beside(si, tmp_path) is None


def test_a_level_that_the_user_gives_is_the_zero_wherever_it_lies(bundled):
    si = dock.read(bundled / "openmx" / "si")
    found = bands(si, "GX", points=3, fermi_level=0.0)
    assert (found.reference, found.gap.fermi_source) == (0.0, "given")
    assert found.gap.kind == "insulator"
    assert found.gap.is_stored_outside


def test_a_window_leaves_the_gap_as_it_is(bundled):
    si = dock.read(bundled / "openmx" / "si")
    whole = bands(si, "GX", points=3)
    part = bands(si, "GX", points=3, selection=Selection((-0.2, 0.0)))
    assert part.gap == whole.gap
    assert replace(part, whole_gap=None).gap.kind == "unknown"


def test_projections_below_the_level_do_not_depend_on_the_window(bundled):
    si = dock.read(bundled / "openmx" / "si")
    narrow = dos(si, (2, 2, 2), step=0.1, window=(-1, 1), project="l")
    wide = dos(si, (2, 2, 2), step=0.1, project="l")
    np.testing.assert_allclose(narrow.filled, wide.filled, atol=1e-12)
    assert narrow.filled.sum() == pytest.approx(8, abs=1e-9)
