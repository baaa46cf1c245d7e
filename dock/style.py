"""How figures look: colours, greys, sizes, resolution, and themes.

Everything that draws asks here. Colours and greys are those of matplotlib's settings (rcParams)
where a style sheet has changed them, so that any sheet is a theme; sizes come from
``figure.figsize`` in the same way. Our own colours can be told apart with the three kinds of colour
blindness: any two of the ten differ by at least 16 in CIELAB as everybody sees them (after Machado
et al., IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dock.errors import UsageError
from dock.extras import require

__all__ = ["COLOURS", "THEMES", "colours", "dots_per_inch", "figure_size", "ink", "themed"]

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"),
    *("#E69F00", "#5A2D00", "#5A00C3", "#003C4B", "#B45AFF"),
)
"""Colours of lines and groups in their order; the first six are those of Okabe and Ito."""

_ON_BLACK = (
    *("#56B4E9", "#E69F00", "#009E73", "#E58CC2", "#F0E442"),
    *("#F07030", "#A52DFF", "#B4FFA5", "#96694B", "#6969D2"),
)
_SMALL: dict[str, Any] = {
    "font.size": 8.0,
    "lines.linewidth": 1.0,
    "axes.linewidth": 0.6,
    **{f"{axis}tick.{part}": 0.6 for axis in "xy" for part in ("major.width", "minor.width")},
    "savefig.dpi": 600,
    "pdf.fonttype": 42,  # letters that a journal can edit, not outlines
}
_DARK: dict[str, Any] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "#14171A"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), "#E6E6E6"),
    **dict.fromkeys(("xtick.color", "ytick.color"), "#E6E6E6"),
}

THEMES: dict[str, dict[str, Any]] = {
    "one-column": {**_SMALL, "figure.figsize": (3.375, 2.6)},
    "two-column": {**_SMALL, "figure.figsize": (7.0, 3.6)},
    "dark": _DARK,
}
"""Our own themes: the widths of journals (8.6 and 17.8 cm) with small letters, and a dark page."""


@contextmanager
def themed(names: Sequence[str] = ()) -> Iterator[None]:
    """Draw with themes, the later ones over the earlier: ours, or any sheet of matplotlib.

    A name is one of `THEMES`, of ``matplotlib.style.available``, or a file in ``.mplstyle``.
    Settings are as before afterwards.

    Raises
    ------
    UsageError
        For a name that there is not; it lists some.
    DependencyError
        Without matplotlib.
    """
    matplotlib = require("matplotlib", "plot")
    with matplotlib.rc_context():
        for name in names:
            _use(matplotlib, name)
        yield


def _use(matplotlib: Any, name: str) -> None:
    if name in THEMES:
        matplotlib.rcParams.update(THEMES[name])
        if name == "dark":
            matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=_ON_BLACK)
        return
    sheets = require("matplotlib.style", "plot")
    is_file = name.endswith(".mplstyle")
    if name not in sheets.available and not (is_file and Path(name).is_file()):
        known = ", ".join([*THEMES, *(one for one in sheets.available if one[0] != "_")])
        missing = "no such file" if is_file else "no style of this name"
        raise UsageError(f"'{name}': {missing}. Styles: {known}, or a file in .mplstyle.")
    sheets.use(name)


def colours() -> tuple[str, ...]:
    """Return the colours in their order: those of a style sheet that sets some, else ours."""
    matplotlib = require("matplotlib", "plot")
    cycle = matplotlib.rcParams["axes.prop_cycle"]
    if cycle == matplotlib.rcParamsDefault["axes.prop_cycle"]:
        return COLOURS
    found = [str(one) for one in cycle.by_key().get("color", COLOURS)]
    more = [one for one in COLOURS if one not in found]  # sheets of four colours are common
    return (*found, *more)


def ink(strength: float) -> str:
    """Return a grey between the page, 0, and the letters on it, 1: on a dark page a light one."""
    matplotlib = require("matplotlib", "plot")
    mix = require("matplotlib.colors", "plot")
    settings = matplotlib.rcParams
    page = mix.to_rgb(settings["axes.facecolor"])
    letters = mix.to_rgb(settings["text.color"])
    pairs = zip(page, letters, strict=True)
    return str(mix.to_hex([a + strength * (b - a) for a, b in pairs]))


def figure_size(width: float, height: float, rows: float = 1.0) -> tuple[float, float]:
    """Return the size of a figure in inches: that of the theme, or the one that it has by itself.

    `rows` is how much higher panels make it that stand one above another.
    """
    matplotlib = require("matplotlib", "plot")
    given = tuple(matplotlib.rcParams["figure.figsize"])
    if given == tuple(matplotlib.rcParamsDefault["figure.figsize"]):
        return width, rows * height
    return float(given[0]), rows * float(given[1])


def dots_per_inch(default: int) -> int | float:
    """Return the resolution of a file of pixels: that of the theme, or the default."""
    settings = require("matplotlib", "plot").rcParams
    given = settings["savefig.dpi"]
    return default if given == "figure" else float(given)
