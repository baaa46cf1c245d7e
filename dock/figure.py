"""What can be drawn: a figure of panels, into axes, a notebook or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from dock.errors import UsageError
from dock.extras import require
from dock.io.files import atomic_path, require_absent
from dock.style import dots_per_inch, figure_size, themed

__all__ = ["Drawn", "require_figure_name"]


class Drawn:
    """Base of what has a figure; a subclass draws it with `draw`.

    Attributes
    ----------
    FIGURE
        Width and height of its figure, inches; of each panel where it has several.
    STACKED
        Whether several panels stand one above another over one x axis, and not side by side.
    ONE_Y
        Whether panels side by side have one y axis.
    DPI
        Dots per inch of a figure of pixels.
    """

    FIGURE: ClassVar[tuple[float, float]] = (5.0, 3.6)
    STACKED: ClassVar[bool] = False
    ONE_Y: ClassVar[bool] = False
    DPI: ClassVar[int] = 200

    @property
    def n_panels(self) -> int:
        """Axes that `draw` wants; with more than one it gets a list of them."""
        return 1

    def panels(self, axes: Any) -> list[Any]:
        """Return axes that were given as a list; `UsageError` unless there are `n_panels`."""
        panels = list(axes) if isinstance(axes, Iterable) else [axes]
        if len(panels) != self.n_panels:
            raise UsageError(f"expected {self.n_panels} axes, found {len(panels)}.")
        return panels

    def draw(self, axes: Any, *_: Any, **options: Any) -> None:  # noqa: ARG002 - for those who draw
        """Draw into matplotlib's axes; the options are those of `plot`.

        Raises
        ------
        UsageError
            For a result without a figure, or options without meaning.
        """
        raise UsageError(f"{type(self).__name__} has no figure.")

    def plot(
        self,
        path: str | Path | None = None,
        *,
        ax: Any = None,
        save: str | Path | None = None,
        style: str | Sequence[str] = (),
        overwrite: bool = False,
        **options: Any,
    ) -> Any:
        """Draw the result, and return matplotlib's axes: given ones, or those of a new figure.

        A notebook shows a new figure by itself. `ax` is a list of `n_panels` axes where that is
        more than one; the options are those of the result's `draw`.

        Parameters
        ----------
        path
            Instead of all this: write the figure into a file, show nothing, return the file.
        save
            Write the figure into this file as well (.png, .pdf, .svg).
        style
            Themes: ``one-column``, ``two-column``, ``dark``, any sheet of matplotlib, or several;
            see `dock.style.themed`.

        Raises
        ------
        DependencyError
            Without matplotlib.
        UsageError
            For another kind of figure, another number of axes, a style that there is not, or
            `path` together with `ax` or `save`.
        OutputError
            Where the file exists and `overwrite` is not given.
        """
        if path is not None and not (ax is None and save is None):
            raise UsageError(
                "a path writes a new figure: give save= beside ax=, or the path alone."
            )
        target = None if path is None and save is None else Path(path or save or "")
        if target is not None:
            require_figure_name(target)
            require_absent([target], overwrite=overwrite)
        module, name = ("figure", "Figure") if path is not None else ("pyplot", "figure")
        make = getattr(require(f"matplotlib.{module}", "plot"), name)
        with themed([style] if isinstance(style, str) else style):
            if path is not None or ax is None:
                ax = self._panels(make)
            panels = self.panels(ax)
            self.draw(ax if self.n_panels > 1 else panels[0], **options)
            figure = panels[0].figure
            if target is not None:
                dpi, kind = dots_per_inch(self.DPI), target.suffix[1:].lower()
                with atomic_path(target, overwrite=overwrite) as temporary:
                    figure.savefig(temporary, dpi=dpi, format=kind)
            elif style:
                figure.draw_without_rendering()  # ticks are made now, in the style
        return ax if path is None else target

    @property
    def panel_widths(self) -> Sequence[float]:
        """How wide panels that stand side by side are, in those of a figure with one."""
        return [1.0] * self.n_panels

    def _panels(self, make: Any) -> Any:
        """Return the axes of a new figure, a list of them where there are several."""
        (width, height), count = self.FIGURE, self.n_panels
        if self.STACKED:
            # A panel of several is lower than one alone, and they share its x axis.
            size = figure_size(width, height, rows=1 + 0.6 * (count - 1))
            figure = make(figsize=size, layout="constrained")
            panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
        else:
            widths = list(self.panel_widths)
            size = figure_size(sum(widths) * width, height)
            figure = make(figsize=size, layout="constrained")
            share: dict[str, Any] = {"width_ratios": widths, "squeeze": False}
            panels = list(figure.subplots(1, count, sharey=self.ONE_Y, **share)[0])
        return panels[0] if count == 1 else panels


def require_figure_name(path: Path) -> None:
    """Raise `UsageError` where the name of a figure does not end in a known kind."""
    if path.suffix.lower() not in {".png", ".pdf", ".svg"}:
        raise UsageError(f"{path}: a figure ends in .png, .pdf or .svg.")
