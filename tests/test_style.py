"""How figures look: colours for all eyes, themes, sizes."""

import itertools

import numpy as np
import pytest

from dock import style
from dock.errors import UsageError

matplotlib = pytest.importorskip("matplotlib")

# What a colour is seen as by the three kinds of colour blindness, in linear light: Machado,
# Oliveira, Fernandes 2009, severity 1.
SEEN = {
    "all": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def lab(colour, eye):
    """Return CIELAB coordinates of an sRGB colour as an eye sees it."""
    from matplotlib.colors import to_rgb

    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(SEEN[eye]) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize(("names", "apart"), [((), 15.5), (("dark",), 12.5)])
@pytest.mark.parametrize("eye", SEEN)
def test_colours_are_told_apart(eye, names, apart):
    with style.themed(names):
        seen = [lab(colour, eye) for colour in (*style.colours()[:10], style.ink(0.25))]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    assert nearest > apart


def test_greys_follow_the_page():
    assert style.ink(0) == "#ffffff"
    assert style.ink(1) == "#000000"
    with style.themed(["dark"]):
        assert style.ink(0) == "#14171a"
        assert style.ink(1) == "#e6e6e6"
    assert style.ink(1) == "#000000"


def test_sizes_are_those_of_journals():
    assert style.figure_size(5.0, 4.2) == (5.0, 4.2)
    with style.themed(["one-column"]):
        assert style.figure_size(5.0, 4.2) == (3.375, 2.6)
        assert style.figure_size(7.0, 4.2, rows=1.5) == (3.375, pytest.approx(3.9))
        assert style.dots_per_inch(200) == 600
        assert matplotlib.rcParams["font.size"] == 8
    assert style.dots_per_inch(200) == 200


def test_any_sheet_is_a_theme(tmp_path):
    sheet = tmp_path / "mine.mplstyle"
    sheet.write_text("axes.prop_cycle: cycler('color', ['112233', '445566'])\nsavefig.dpi: 77\n")
    with style.themed(["two-column", str(sheet)]):
        assert style.colours()[:3] == ("#112233", "#445566", style.COLOURS[0])
        assert style.dots_per_inch(200) == 77
        assert style.figure_size(5.0, 4.2)[0] == 7.0
    with style.themed(["ggplot"]):
        assert style.colours()[0] == "#E24A33"
    assert style.colours() == style.COLOURS


@pytest.mark.parametrize("name", ["nope", "nope.mplstyle"])
def test_styles_that_are_none(name):
    before = dict(matplotlib.rcParams)
    message = r"(no such|no style).*one-column, two-column, dark.*ggplot"
    with pytest.raises(UsageError, match=message), style.themed(["dark", name]):
        pass
    assert dict(matplotlib.rcParams) == before
