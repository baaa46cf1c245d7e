"""What a figure names: the largest groups in colours of their own, the rest together as others.

A group that a figure leaves out is not seen to be missing; so everything is drawn, and where there
are more groups than colours that an eye tells apart, the smallest become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dock.extras import require
from dock.style import colours, ink

__all__ = ["MOST", "ShownGroup", "add_legend", "shown_groups"]

MOST = 10
"""Groups that a figure tells apart by colour, "others" among them."""


class ShownGroup(NamedTuple):
    """What is drawn as one: its name, the numbers of the groups that it sums up, a colour."""

    name: str
    members: tuple[int, ...]
    colour: str


def shown_groups(names: Sequence[str], sizes: ArrayLike, most: int = MOST) -> list[ShownGroup]:
    """Return what is drawn of groups of given sizes, in their order; others come last.

    Examples
    --------
    >>> [group.name for group in shown_groups("spdf", [3.0, 9.0, 1.0, 2.0], most=3)]
    ['s', 'p', '2 others']
    """
    kept = list(range(len(names)))
    if len(names) > most:
        largest = np.argsort(-np.asarray(sizes, dtype=np.float64), kind="stable")
        kept = sorted(largest[: most - 1].tolist())
    tints = colours()
    groups = [ShownGroup(names[n], (n,), tints[at]) for at, n in enumerate(kept)]
    rest = tuple(sorted(set(range(len(names))) - set(kept)))
    if rest:
        groups.append(ShownGroup(f"{len(rest)} others", rest, ink(0.25)))
    return groups


def add_legend(
    axes: Any,
    groups: Sequence[ShownGroup] = (),
    *,
    kind: str = "line",
    others: Sequence[Any] = (),
) -> None:
    """Put a legend beside the axes, where it hides nothing.

    It names what has a label in other axes and in these, and then groups as a ``line`` or a
    ``patch``.
    """
    handles = [one for each in (*others, axes) for one in each.get_legend_handles_labels()[0]]
    lines = require("matplotlib.lines", "plot")
    patches = require("matplotlib.patches", "plot")
    for group in groups:
        look: dict[str, Any] = {"label": group.name, "color": group.colour}
        if kind == "patch":
            handles.append(patches.Patch(**look))
        else:
            handles.append(lines.Line2D([], [], lw=1.4, **look))
    if handles:
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
        axes.legend(handles=handles, fontsize="small", frameon=False, handlelength=1.4, **place)
