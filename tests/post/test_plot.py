"""Figures: what is drawn, not how it looks."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import samples
from face import drawn

import dock
from dock.core.structure import Structure
from dock.errors import DependencyError, OutputError, UsageError
from dock.grid.fields import draw_sum
from dock.post import bands, dos
from dock.post.band_structure import Selection
from dock.post.bonds import BondProjector, CohpFromLevel, parse_bond
from dock.post.fat_bands import FatBands, fat_bands
from dock.post.fermi import fermi_level
from dock.post.legend import shown_groups
from dock.post.population import populations
from dock.post.spectral_map import Levels, spectral_map
from dock.states.smearing import Smearing

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def si():
    return bands(dock.read(samples.OPENMX / "si"), "LGX", points=6)


@pytest.fixture(scope="module")
def o2():
    return dock.read(samples.OPENMX / "o2-spin")


@pytest.mark.parametrize(
    ("name", "begin"), [("b.png", b"\x89PNG"), ("b.pdf", b"%PDF"), ("b.SVG", b"<?xml")]
)
def test_kinds(si, tmp_path, name, begin):
    assert si.plot(tmp_path / name) == tmp_path / name
    assert (tmp_path / name).read_bytes().startswith(begin)
    assert samples.names(tmp_path) == [name]


def entries(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def curves(axes):
    """Return the lines with more than two points."""
    return [line for line in axes.lines if len(line.get_xdata()) > 2]


def test_content(si):
    (axes,) = drawn(si, window=(-5, 5))
    lines = curves(axes)
    assert len(lines) == 20  # ten bands on two segments
    assert axes.get_ylim() == (-5, 5)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["L", "Γ", "X"]
    assert axes.get_title() == "Si2  gap 1.977 eV" or "gap" in axes.get_title()
    highest = max(line.get_ydata().max() for line in lines if line.get_ydata().max() < 0)
    assert highest == pytest.approx(si.gap.vbm.energy - si.reference)
    assert axes.get_legend() is None


def test_channels_and_comparisons_are_named(o2, tmp_path):
    found = bands(o2)
    (axes,) = drawn(found)
    assert entries(axes) == ["up", "down"]
    # The levels of a molecule are lines, spin up on the left, that are seen beside the axes' ticks.
    colours = [line.get_color() for line in axes.get_legend().get_lines()]
    up, down = ([line for line in axes.lines if line.get_color() == c] for c in colours)
    assert len(up) == len(down) == found.energies.shape[2]
    assert max(max(line.get_xdata()) for line in up) < min(min(line.get_xdata()) for line in down)
    assert entries(drawn(found, other=found)[0]) == ["up", "down", "compared"]
    folder = samples.unified(tmp_path / "si")
    calc = dock.read(folder)
    both = bands(calc, "LG", points=3, compare=dock.read(samples.OPENMX / "si"))
    assert entries(drawn(both)[0]) == ["si", "si.scfout"]


@pytest.mark.parametrize("level", [None, -3.5])
def test_lines_reach_the_ends_of_a_window(level):
    """A line that leaves the window has its next point there, whoever sets the level."""
    calc = dock.read(samples.OPENMX / "si")
    window = (-3.0, 3.0)
    found = bands(calc, "LGX", points=15, selection=Selection(window), fermi_level=level)
    relative = found.energies[0] - found.reference
    inside = (relative > window[0]) & (relative < window[1])
    assert inside.any(axis=0).all()
    segment = found.path.segment
    joined = (segment[1:] == segment[:-1])[:, None]
    lost = np.isnan(relative)
    assert not np.any(joined & inside[1:] & lost[:-1])
    assert not np.any(joined & inside[:-1] & lost[1:])


def test_the_figure_ends_where_the_bands_do(si):
    """Flat bands fill their figure; those of a crystal reach to ±6 eV."""
    assert drawn(si)[0].get_ylim() == (-6, 6)
    levels = 0.02 * (si.energies - si.reference)
    flat = replace(si, energies=si.reference + levels)
    low, high = drawn(flat)[0].get_ylim()
    assert low < levels.min() < 0 < levels.max() < high
    assert high - low < 1.3 * np.ptp(levels)


def test_groups_that_are_too_many_are_others():
    groups = shown_groups([f"g{n}" for n in range(12)], np.arange(12.0))
    assert [group.name for group in groups] == [*(f"g{n}" for n in range(3, 12)), "3 others"]
    assert groups[-1].members == (0, 1, 2)
    assert len({group.colour for group in groups}) == 10
    assert [group.name for group in shown_groups("abc", [1, 2, 3])] == ["a", "b", "c"]


class TestDensityOfStates:
    def test_all_projections_are_drawn(self):
        mos2 = dock.read(samples.OPENMX / "mos2")
        found = dos(mos2, (2, 2, 1), project="species,shell,m", step=0.05, window=(-3.0, 2.0))
        assert len(found.names) == 18
        (axes,) = drawn(found, window=(-3.0, 2.0))
        assert entries(axes)[0] == "total"
        assert entries(axes)[-1] == "9 others"
        assert len(entries(axes)) == 11
        total, *parts = (line.get_ydata() for line in curves(axes))
        np.testing.assert_allclose(np.sum(parts, axis=0), total, atol=1e-9)

    def test_lines_go_on_beyond_a_window_and_peaks_there_do_not_count(self):
        found = dos(dock.read(samples.OPENMX / "si"), (2, 2, 2), step=0.05)
        (axes,) = drawn(found, window=(-2.02, 1.98))
        assert axes.get_xlim() == (-2.02, 1.98)
        x, y = curves(axes)[0].get_data()
        assert x[0] < -2.02 < 1.98 < x[-1]
        assert axes.get_ylim()[1] == pytest.approx(1.08 * y[(x >= -2.02) & (x <= 1.98)].max())
        with pytest.raises(UsageError, match="no energy"):
            found.draw(axes, window=(500, 600))

    def test_spin_channels_are_named(self, o2):
        found = dos(o2, (1, 1, 1), method=Smearing("gaussian", 0.1), project="l", step=0.05)
        (axes,) = drawn(found)
        assert {text.get_text() for text in axes.texts} == {"up", "down"}
        low, high = axes.get_ylim()
        assert low < 0 < high
        assert axes.yaxis.get_major_formatter()(-2.0, 0) == "2"
        assert entries(axes) == ["total", "s", "p", "d"]

    @pytest.mark.parametrize("kind", ["cohp", "coop"])
    def test_bonds_have_their_own_axes_sign_and_zero(self, o2, kind):
        bonds = [parse_bond("1-2")]
        projector = CohpFromLevel(o2, bonds) if kind == "cohp" else BondProjector(o2, bonds)
        method = Smearing("gaussian", 0.1)
        found = dos(o2, (1, 1, 1), method=method, project=projector, step=0.05)
        above, below = drawn(found)
        assert above.get_ylabel() == "states / eV / cell"
        assert below.get_ylabel() == {"cohp": "−COHP / cell", "coop": "COOP / eV / cell"}[kind]
        assert entries(below) == [f"{kind.upper()} O1-O2", "up", "down"]
        assert above.get_legend() is None
        up, down = curves(below)
        sign = -1 if kind == "cohp" else 1
        np.testing.assert_allclose(up.get_ydata(), sign * found.projected[0, 0])
        np.testing.assert_allclose(down.get_ydata(), sign * found.projected[1, 0])
        assert (up.get_linestyle(), down.get_linestyle()) == ("-", "--")
        low, high = below.get_ylim()
        assert low == -high
        assert any(list(line.get_ydata()) == [0.0, 0.0] for line in below.lines)
        # The filled π* states of O2 weaken the bond, which both conventions draw downwards.
        x = found.relative
        assert up.get_ydata()[(x > -2) & (x < 0)].sum() < 0
        with pytest.raises(UsageError, match="expected 2 axes"):
            found.draw(above)


class TestFatBands:
    def test_every_group_has_a_ribbon(self):
        calc = dock.read(samples.OPENMX / "mos2")
        fat = fat_bands(calc, "GMK", "species,shell,m", points=4)
        (axes,) = drawn(fat)
        assert len(axes.collections) == 2 * 10  # on two segments
        assert entries(axes)[-1] == "9 others"
        assert len(entries(axes)) == 10

    def test_ribbons_are_as_wide_as_the_shares(self, si):
        """A flat band of shares 3:1 in axes of known size."""
        energies = np.zeros_like(si.energies[..., :1]) + si.reference
        flat = replace(si, energies=energies, n_below=0)
        weights = np.broadcast_to([0.75, 0.25], (*energies.shape, 2))
        (axes,) = drawn(FatBands(flat, ("a", "b"), weights), window=(-1, 1))
        low, high = (part.get_paths()[0].vertices[:, 1] for part in axes.collections[:2])
        assert np.ptp(low) / np.ptp(high) == pytest.approx(3)
        assert low.max() == pytest.approx(high.min())
        assert low.min() + high.max() == pytest.approx(0, abs=1e-12)

    def test_ribbons_go_on_to_the_last_state_of_a_window(self, si):
        energies = np.zeros_like(si.energies[..., :1]) + si.reference
        energies[0, 3:, 0] = np.nan
        flat = replace(si, energies=energies, n_below=0, whole_gap=si.gap)
        (axes,) = drawn(FatBands(flat, ("a",), np.ones((*energies.shape, 1))), window=(-1, 1))
        ends = [path.vertices[:, 0].max() for path in axes.collections[0].get_paths()]
        assert len(ends) == 2
        assert max(ends) == pytest.approx(si.path.distances[2])

    def test_spin_channels_have_panels(self, o2):
        fat = fat_bands(o2, None, "l")
        panels = drawn(fat)
        assert [panel.get_title().rpartition("  ")[2] for panel in panels] == ["up", "down"]
        assert entries(panels[1]) == ["s", "p", "d"]
        assert all(len(panel.collections) == 3 for panel in panels)
        with pytest.raises(UsageError, match="expected 2 axes"):
            fat.draw(panels[0])

    def test_what_is_compared_is_drawn_too(self):
        calc = dock.read(samples.OPENMX / "si")
        fat = fat_bands(calc, "LG", "l", points=3, compare=calc)
        (axes,) = drawn(fat)
        assert entries(axes) == ["these", "compared", "s", "p"]
        assert {line.get_linestyle() for line in curves(axes)} == {"-", "--"}


class TestPopulations:
    def test_atoms_are_named(self):
        water = populations(dock.read(samples.OPENMX / "h2o"), (1, 1, 1))
        (axes,) = drawn(water)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["O 1", "H 2", "H 3"]
        assert axes.get_ylabel() == "electrons"
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_allclose(heights, water.electrons)

    def test_moments_keep_their_sign_on_axes_of_their_own(self, o2):
        found = populations(o2, (1, 1, 1))
        turned = found.orbitals.copy()
        turned[found.basis.offsets[1] :, 3] *= -1  # an antiferromagnet
        above, below = drawn(replace(found, orbitals=turned))
        heights = [bar.get_height() for bar in below.patches]
        np.testing.assert_allclose(heights, [1.0, -1.0], atol=1e-6)
        assert (above.get_ylabel(), below.get_ylabel()) == ("electrons", "spin moment (μ_B)")

    def test_many_atoms(self):
        water = populations(dock.read(samples.OPENMX / "h2o"), (1, 1, 1))
        structure = water.structure.supercell(np.diag([3, 5, 3]))
        assert structure.n_atoms == 135
        basis = dock.read(samples.OPENMX / "h2o").require("S").supercell([3, 5, 3]).basis
        orbitals = np.tile(water.orbitals, (45, 1))
        (axes,) = drawn(replace(water, structure=structure, basis=basis, orbitals=orbitals))
        assert len(axes.patches) == 135
        assert len(axes.get_xticklabels()) <= 40
        assert axes.get_xlabel() == "atom (every 4 named)"


def test_filling_names_the_channels(o2):
    (axes,) = drawn(fermi_level(o2, (1, 1, 1)))
    assert entries(axes) == ["up", "down"]


def test_colour_bar_is_as_high_as_what_it_measures():
    from matplotlib.figure import Figure

    cell = [[12.0, 0, 0], [0, 3, 0], [0, 0, 3]]
    slab = Structure(cell, [[1, 1, 1], [6, -1, 1]], [8, 1])
    axes = Figure(layout="constrained").add_subplot()
    draw_sum(axes, slab, np.ones((4, 4, 4)), 2, label="x")
    axes.figure.draw_without_rendering()
    (bar,) = axes.child_axes
    assert bar.get_position().height == pytest.approx(axes.get_position().height, rel=1e-3)
    names = [text for text in axes.texts if text.get_text()]
    assert [(text.get_text(), tuple(np.round(text.xy, 9))) for text in names] == [
        ("O", (1.0, 1.0)),
        ("H", (6.0, 2.0)),
    ]


class TestSpectralMap:
    """A(k, E) between two k-points."""

    GRID = np.linspace(-4, 4, 401)

    def between(self, one, two, window=None, groups=None):
        """Return the picture halfway between k-points 0.1/Å apart, (n_groups, n_energies)."""
        levels = []
        for rows in (one, two):
            energies, weights = np.array(rows, float).reshape(-1, 2).T
            shares = weights[None] if groups is None else np.array(groups) * weights
            levels.append(Levels(energies, weights, shares))
        place = np.array([0.0, 0.1]), np.zeros(2, int)
        (found,) = spectral_map(levels, *place, self.GRID, 0.05, window=window)
        assert len(found.x) >= 100
        return found.values[:, len(found.x) // 2]

    def peaks(self, picture):
        total = picture.sum(axis=0)
        high = (total[1:-1] > total[:-2]) & (total[1:-1] > total[2:]) & (total[1:-1] > 0.5)
        return self.GRID[1:-1][high].round(1).tolist()

    def test_a_steep_band_is_no_string_of_beads(self):
        picture = self.between([(-1.5, 1), (3, 1)], [(0.5, 1), (3, 1)])
        assert self.peaks(picture) == [-0.5, 3.0]
        assert picture.max() == pytest.approx(1 / (0.05 * np.sqrt(2 * np.pi)), rel=1e-2)

    def test_parts_of_weights_move_too(self):
        picture = self.between([(-1.2, 0.5), (-0.8, 0.5)], [(1, 1)])
        assert picture.sum() * 0.02 == pytest.approx(1, abs=1e-3)
        assert self.peaks(picture) == [-0.1, 0.1]

    def test_what_leaves_a_window_does_not_pull_the_others_along(self):
        one = [(-3.9, 1), (0, 1), (1.5, 1)]
        two = [(0.4, 1), (1.9, 1)]
        picture = self.between(one, two, window=(-4.0, 4.0))
        assert self.peaks(picture)[-2:] == [0.2, 1.7]
        assert picture.sum() * 0.02 == pytest.approx(2.5, abs=0.5)

    def test_nothing_is_faster_than_a_band(self):
        """Where weight would have to cross the whole gap it fades: here 1 of 2 states vanishes."""
        picture = self.between([(-3.9, 1), (3.9, 1)], [(-3.9, 1), (-3.8, 1)])
        assert self.peaks(picture)[-1] == 3.9
        assert picture[0, 150:250].max() < 1e-6

    def test_colours_are_those_of_the_states(self):
        picture = self.between([(-1, 1)], [(1, 1)], groups=[[0.75], [0.25]])
        np.testing.assert_allclose(picture[0], 3 * picture[1])


def test_refusals(si, tmp_path):
    with pytest.raises(UsageError, match=r"\.png, \.pdf or \.svg"):
        si.plot(tmp_path / "b.jpg")
    (tmp_path / "b.png").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        si.plot(tmp_path / "b.png")
    assert (tmp_path / "b.png").read_text() == "mine"
    si.plot(tmp_path / "b.png", overwrite=True)


def test_axes_that_do_not_fit(si, tmp_path):
    """A row of axes for one panel, and a new file beside axes that are there."""
    axes = matplotlib.figure.Figure().subplots(1, 2)
    with pytest.raises(UsageError, match="expected 1 axes, found 2"):
        si.plot(ax=axes)
    assert si.plot(ax=axes[:1])[0].lines
    with pytest.raises(UsageError, match="save= beside ax="):
        si.plot(tmp_path / "a.png", save=tmp_path / "b.png")
    with pytest.raises(UsageError, match="save= beside ax="):
        si.plot(tmp_path / "a.png", ax=axes[0])
    assert not list(tmp_path.iterdir())


def test_without_matplotlib(si, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DependencyError, match=r"pip install.*plot"):
        si.plot(tmp_path / "b.png")
    assert list(tmp_path.iterdir()) == []
