"""Bands beside densities of states, runs over each other, and all of it again from files.

Figures are compared with stored ones as an eye does that stands back: in blocks of 8 × 8 pixels, so
that a version of matplotlib may set its letters a little otherwise. DOCK_NEW_IMAGES=1 stores anew.
"""

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import samples
from face import drawn, holds

import dock
from dock.errors import FormatError, MissingDataError, UsageError
from dock.post import bands, dos
from dock.post.bonds import BondProjector, parse_bond
from dock.post.energy_zero import ZEROS
from dock.post.fat_bands import fat_bands
from dock.post.saved import read_figure, read_saved
from dock.post.together import BandsWithDos, Together

pytest.importorskip("matplotlib")
IMAGES = Path(__file__).parent / "images"
WORDS = "Mo-d,S-p,s"


@pytest.fixture(scope="module")
def mos2():
    calc = dock.read(samples.OPENMX / "mos2")
    fat = fat_bands(calc, "GMKG", WORDS, points=12)
    return BandsWithDos(fat, dos(calc, (6, 6, 1), project=WORDS, step=0.05))


@pytest.fixture(scope="module")
def o2():
    calc = dock.read(samples.OPENMX / "o2-spin")
    return BandsWithDos(bands(calc), dos(calc, (1, 1, 1), project="s,p", step=0.05))


@pytest.fixture(scope="module")
def folder(mos2, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved")
    mos2.save(place / "band.h5")
    return place


def picture(result, **options):
    """Return the pixels of a figure, (height, width, 3) from 0 to 1."""
    from matplotlib import image

    axes = drawn(result, **options)
    stream = io.BytesIO()
    axes[0].figure.savefig(stream, dpi=100, format="png")
    stream.seek(0)
    return image.imread(stream, format="png")[..., :3]


def blocks(pixels, size=8):
    height, width = (length // size * size for length in pixels.shape[:2])
    parts = pixels[:height, :width].reshape(height // size, size, width // size, size, 3)
    return parts.mean(axis=(1, 3))


def looks(result, **options):
    """Return the pixels of a figure in one column of a journal."""
    from dock.style import themed

    with themed(["one-column"]):
        return picture(result, **options)


def is_like(pixels, stored):
    """Say whether two pictures show the same."""
    assert stored.shape == pixels.shape
    apart = np.abs(blocks(pixels) - blocks(stored))
    return apart.mean() < 0.01 and np.quantile(apart, 0.99) < 0.15


def test_looks(mos2, o2):
    from matplotlib import image

    lines = mos2.bands.bands.lines
    two = Together((lines.called("DFT"), _moved(mos2).called("network")))
    made = {
        "bands-and-dos": looks(mos2, window=(-6, 5)),
        "spins-and-dos": looks(o2, zero="vbm"),
        "two-runs": looks(two, window=(-4, 4)),
    }
    for name, pixels in made.items():
        if os.environ.get("DOCK_NEW_IMAGES"):
            image.imsave(IMAGES / f"{name}.png", pixels)
        assert is_like(pixels, image.imread(IMAGES / f"{name}.png")[..., :3]), name
    # Small changes are seen: other bands, another window, other colours.
    assert not is_like(made["two-runs"], looks(Together((lines, lines)), window=(-4, 4)))
    assert not is_like(made["bands-and-dos"], looks(mos2, window=(-6.5, 5)))
    turned = made["bands-and-dos"][..., ::-1]
    assert not is_like(made["bands-and-dos"], turned)


def _moved(result):
    lines = result.bands.bands.lines
    return replace(lines, energies=lines.energies * 1.05)


def test_one_zero_and_one_colour_each(mos2):
    left, right = drawn(mos2, window=(-5, 4))
    assert left.get_ylim() == right.get_ylim() == (-5, 4)
    legend = right.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["Mo-d", "S-p", "s"]
    of_bands = [tuple(part.get_facecolor()[0][:3]) for part in left.collections[:3]]
    from matplotlib.colors import to_rgb

    of_dos = [to_rgb(line.get_color()) for line in right.lines[1:4]]
    np.testing.assert_allclose(of_dos, of_bands, atol=1e-6)
    assert [to_rgb(patch.get_facecolor()) for patch in legend.get_patches()] == of_dos
    # The highest band and the highest states of the DOS below zero are at one height.
    x, y = right.lines[0].get_data()
    top = mos2.bands.bands.gap.vbm.energy - mos2.bands.bands.reference
    assert y[(x > 1e-6) & (y < 0)].max() == pytest.approx(top, abs=0.1)


@pytest.mark.parametrize("zero", ZEROS)
def test_zeros(mos2, zero):
    plain = mos2.bands.bands
    origin = {"fermi": plain.reference, "vbm": plain.gap.vbm.energy, "absolute": 0.0}[zero]
    left, right = drawn(mos2, zero=zero)
    shown = [line.get_ydata() for line in left.lines if len(line.get_xdata()) > 2]
    segment = plain.path.segment == 0
    np.testing.assert_allclose(shown[0], plain.energies[0][segment][:, 0] - origin, atol=1e-12)
    np.testing.assert_allclose(right.lines[0].get_ydata(), mos2.dos.energies - origin)
    words = {"fermi": "energy − Fermi level (eV)", "vbm": "energy − VBM (eV)"}
    assert left.get_ylabel() == words.get(zero, "energy (eV)")
    level = plain.reference - origin if zero == "absolute" else 0.0
    assert any(list(line.get_ydata()) == [level, level] for line in left.lines)
    assert any(list(line.get_ydata()) == [level, level] for line in right.lines)
    (alone,) = drawn(mos2.dos, zero=zero)
    assert alone.get_xlabel() == left.get_ylabel()


def test_a_metal_has_no_vbm(mos2):
    lines = replace(mos2.bands.lines, vbm=None)
    with pytest.raises(UsageError, match="no gap, hence no valence band maximum"):
        drawn(Together((lines,)), zero="vbm")
    with pytest.raises(UsageError, match="fermi, vbm, absolute"):
        drawn(Together((lines,)), zero="core")


def test_spins(o2):
    _, right = drawn(o2)
    names = [text.get_text() for text in right.get_legend().get_texts()]
    assert names == ["up", "down", "s", "p"]
    assert {text.get_text() for text in right.texts} == {"up", "down"}
    assert right.get_xlim()[0] < 0 < right.get_xlim()[1]
    plain = Together((o2.bands.lines,), (replace(o2.dos.curves, names=()),))
    _, right = drawn(plain)
    colours = [line.get_color() for line in right.get_legend().get_lines()]
    assert [line.get_color() for line in right.lines[:2]] == colours


def test_runs_over_each_other(mos2):
    lines, curves = mos2.bands.bands.lines, mos2.dos.curves
    longer = replace(lines, distances=1.1 * lines.distances)
    longer = replace(longer, ticks=tuple((1.1 * place, name) for place, name in lines.ticks))
    figure = Together((lines.called("a"), longer.called("b")), (curves, curves))
    left, right = drawn(figure)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["a", "b"]
    np.testing.assert_allclose(figure.bands[1].distances, lines.distances, atol=1e-12)
    assert left.get_title() == "MoS2"
    assert {line.get_linestyle() for line in right.lines[:2]} == {"-", "--"}
    (alone,) = drawn(Together((), (curves.called("a"), curves.called("b"))))
    assert [text.get_text() for text in alone.get_legend().get_texts()] == ["a", "b"]


def test_the_face_of_results(mos2, tmp_path):
    files = holds(mos2, tmp_path / "x.h5", window=(-5, 5))
    assert [file.name for file in files] == ["x.h5", "x.json", "x_dos.h5", "x_dos.json"]


def test_what_does_not_go_together(mos2):
    calc = dock.read(samples.OPENMX / "si")
    other = bands(calc, "LG", points=3).lines
    with pytest.raises(UsageError, match=r"goes along L Γ.*along Γ M K Γ.*one path"):
        Together((mos2.bands.lines, other))
    bond = dos(calc, (2, 2, 2), project=BondProjector(calc, [parse_bond("1-2")]), step=0.1)
    with pytest.raises(UsageError, match="drawn alone"):
        Together((other,), (bond.curves,))
    with pytest.raises(UsageError, match="nothing to draw"):
        Together()
    compared = fat_bands(calc, "LG", "l", points=3, compare=calc)
    with pytest.raises(UsageError, match="not drawn beside"):
        drawn(BandsWithDos(compared, bond))


def test_densities_of_states_of_other_runs_are_refused(mos2, folder, tmp_path):
    """One in another's place would count from the zero of another run."""
    lines, curves = mos2.bands.bands.lines, mos2.dos.curves
    with pytest.raises(UsageError, match=r"2 densities of states beside 1 band"):
        Together((lines,), (curves, curves))
    with pytest.raises(UsageError, match=r"bands of MoS2 and a density of states of C2"):
        Together((lines,), (replace(curves, formula="C2"),))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "band.h5").write_bytes((folder / "band.h5").read_bytes())
    (tmp_path / "two" / "dos.h5").write_bytes((folder / "dos.h5").read_bytes())
    with pytest.raises(UsageError, match=r"two/dos\.h5 stands beside .*one/band\.h5, .*last"):
        read_figure([tmp_path / "one", tmp_path / "two"])
    assert len(read_figure([tmp_path / "two", tmp_path / "one"]).curves) == 1


def test_a_window_that_does_not_ascend(folder, tmp_path):
    words = ("plot", folder / "band.h5", "-o", tmp_path / "x.png", "--window", 5, -5)
    answer = samples.cli(*words)
    assert answer.code == 2
    assert "window 5" in answer.err
    assert not list(tmp_path.iterdir())


def test_title_names_all_that_is_drawn(mos2):
    lines, curves = mos2.bands.bands.lines, mos2.dos.curves
    other = replace(lines, formula="WS2")
    (axes,) = drawn(Together((lines, other)))
    assert axes.get_title() == "MoS2, WS2"
    (axes,) = drawn(Together((), (curves, replace(curves, formula="WS2"))))
    assert axes.get_title() == "MoS2, WS2"


def test_bands_that_are_compared_are_drawn_beside_too():
    calc = dock.read(samples.OPENMX / "si")
    both = BandsWithDos(bands(calc, "LG", points=3, compare=calc), dos(calc, (2, 2, 2)))
    _, right = drawn(both)
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["these", "compared"]


@pytest.mark.parametrize("kind", ["h5", "json"])
def test_files_are_drawn_as_results_are(mos2, folder, kind):
    again = read_figure([folder / f"band.{kind}", folder / f"dos.{kind}"])
    for window, zero in (((-6, 5), "fermi"), (None, "vbm")):
        options = {"window": window, "zero": zero}
        np.testing.assert_array_equal(picture(again, **options), picture(mos2, **options))
    lines, original = again.bands[0], mos2.bands.lines
    np.testing.assert_allclose(lines.energies, original.energies, atol=1e-12)
    assert lines.ticks == original.ticks
    assert lines.words == original.words


@pytest.mark.parametrize("kind", ["h5", "json"])
def test_spins_and_bonds_from_files(o2, tmp_path, kind):
    o2.save(tmp_path / "x.h5")
    again = read_figure([tmp_path / f"x.{kind}", tmp_path / f"x_dos.{kind}"])
    np.testing.assert_array_equal(picture(again), picture(o2))
    calc = dock.read(samples.OPENMX / "o2-spin")
    bond = dos(calc, (1, 1, 1), project=BondProjector(calc, [parse_bond("1-2")]), step=0.1)
    bond.save(tmp_path / "bond.h5")
    np.testing.assert_array_equal(picture(read_figure([tmp_path / f"bond.{kind}"])), picture(bond))


def test_folders_and_names(folder, tmp_path):
    figure = read_figure([folder])
    assert (len(figure.bands), len(figure.curves), figure.bands[0].name) == (1, 1, "")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "band.h5").write_bytes((folder / "band.h5").read_bytes())
    both = [tmp_path / "one", tmp_path / "two" / "band.h5"]
    assert [lines.name for lines in read_figure(both).bands] == ["one", "two"]
    assert [lines.name for lines in read_figure(both, ["DFT", "x"]).bands] == ["DFT", "x"]
    with pytest.raises(UsageError, match=r"1 names .* for 2 runs"):
        read_figure(both, ["DFT"])
    with pytest.raises(MissingDataError, match=r"band\.h5 or dos\.h5"):
        read_figure([tmp_path])


def test_files_that_are_no_results(folder, tmp_path):
    cut = tmp_path / "cut.h5"
    cut.write_bytes((folder / "band.h5").read_bytes()[:2000])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["epsilon"] = np.zeros(3)
    lacking = json.loads((folder / "band.json").read_text(encoding="utf-8"))
    del lacking["distance_1_per_A_without_2pi"]
    (tmp_path / "lacking.json").write_text(json.dumps(lacking))
    (tmp_path / "text.json").write_text("no JSON")
    for name, message in (
        ("cut.h5", "cannot read"),
        ("other.h5", "no figure to draw again"),
        ("lacking.json", "lacks something.*distance"),
        ("text.json", "text.json"),
    ):
        with pytest.raises(FormatError, match=message):
            read_saved(tmp_path / name)
    with pytest.raises(MissingDataError, match="missing"):
        read_saved(tmp_path / "nowhere.h5")


class TestCommands:
    @pytest.fixture
    def si(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return samples.unified(tmp_path / "si")

    BOTH = ("--path", "LGX", "--points", 4, "--dos", "--mesh", 2, 2, 2, "--project", "Si-s,Si-p")

    def test_bands_with_dos_and_the_same_again(self, si):
        look = ("--zero", "vbm", "--window", -6, 4)
        answer = samples.cli("bands", si, *self.BOTH, *look, "--plot", "a.png", "--json", "-q")
        assert answer.code == 0
        facts = json.loads(answer.out)
        names = [Path(name).name for name in facts["files"]]
        assert names == ["band.h5", "band.json", "dos.h5", "dos.json", "a.png"]
        with h5py.File(si / "band.h5") as one, h5py.File(si / "dos.h5") as two:
            names = [list(file["projection_names"][()]) for file in (one, two)]
            assert names == [[b"Si-s", b"Si-p"]] * 2
            assert one.attrs["hamiltonian_hash"] == two.attrs["hamiltonian_hash"]
        move = facts["fermi_level_eV"] - facts["vbm"]["energy_eV"]
        look = ("--zero", "vbm", "--window", -6 + move, 4 + move)
        assert samples.cli("plot", "si", *look, "-o", "b.png").out == "b.png\n"
        assert Path("a.png").read_bytes() == Path("b.png").read_bytes()

    def test_nothing_is_computed_where_a_file_is_there(self, si):
        (si / "dos.json").write_text("mine")
        answer = samples.cli("bands", si, *self.BOTH)
        assert answer.code == 2
        assert "dos.json: exists already" in answer.err
        assert not (si / "band.h5").exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (("--mesh", 2, 2, 2), "give --dos"),
            (("--dos", "--shard", "0/2"), "dock plot band.h5 dos.h5"),
            (("--dos", "--dry-run"), "dock plot band.h5 dos.h5"),
            (("--dos", "--project", "l", "--compare", "si"), "not both"),
            (("--project", "Si-q"), "Words look like"),
            (("--project", "C-p"), "no C in Si2"),
            (("--plot", "x.png", "--style", "nope"), "no style of this name"),
        ],
    )
    def test_refusals(self, si, words, message):
        answer = samples.cli("bands", si, "--path", "LG", "--points", 2, *words)
        assert answer.code == 2
        assert message in answer.err
        assert not (si / "band.h5").exists()

    def test_a_metal_keeps_its_results(self, tmp_path, monkeypatch):
        """That there is no VBM is known when all is computed: files are written, no figure is."""
        monkeypatch.chdir(tmp_path)
        samples.unified(tmp_path / "si")
        path = ("--path", "LG", "--points", 5, "--electrons", 7, "--fermi", -5.0)
        for zero, code in (("vbm", 2), ("absolute", 0)):
            look = ("--zero", zero, "--window", -2, 2, "--plot", "x.png", "-o", f"{zero}.h5")
            answer = samples.cli("bands", "si", *path, *look)
            assert answer.code == code
            assert (tmp_path / f"{zero}.json").is_file()
        assert (
            "no gap, hence no valence band maximum"
            in samples.cli("plot", "vbm.h5", "--zero", "vbm", "-o", "y.png").err
        )

    def test_plot_says_what_is_wrong(self, si):
        for words, message in (
            (("si", "-o", "x.png"), "band.h5 or dos.h5 is missing"),
            (("si/info.json", "-o", "x.png"), "no figure to draw again"),
            (("nowhere.h5", "-o", "x.jpg"), "ends in .png, .pdf or .svg"),
            (("nowhere.h5", "-o", "no/x.png"), "there is no folder"),
            (("nowhere.h5", "-o", "x.png", "--style", "nope"), "no style"),
        ):
            answer = samples.cli("plot", *words)
            assert (answer.code, message in answer.err) == (2, True), answer.err
        assert not list(Path().glob("x.*"))
