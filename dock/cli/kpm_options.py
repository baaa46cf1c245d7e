"""The options of Chebyshev expansions (``--method kpm``); a command gets them as one argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from dock.cli.options import choice, grouped
from dock.errors import UsageError

__all__ = ["Kpm", "kpm_options"]


@dataclass(frozen=True)
class Kpm:
    """How densities are expanded, as it was asked for on the command line.

    `asked` are the options that were given and have no meaning with ``--method states``.
    """

    method: str
    resolution: float | None
    moments: int | None
    vectors: int | None
    seed: int | None
    atoms: str | None
    tile: tuple[int, int, int] | None
    double: bool

    def __post_init__(self) -> None:
        if self.method == "kpm":
            return
        asked = [name for name in _NAMES if getattr(self, name)]
        if asked:
            raise UsageError(f"--{asked[0]} belongs to --method kpm: give both, or neither.")

    @property
    def is_asked(self) -> bool:
        """Whether there is to be an expansion."""
        return self.method == "kpm"

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the library that were given, but for atoms."""
        given = {"vectors": self.vectors, "seed": self.seed, "tile": self.tile}
        found = {name: value for name, value in given.items() if value is not None}
        about = {"resolution": self.resolution, "moments": self.moments}
        return {**about, **found, "single": not self.double}


_NAMES = ("resolution", "moments", "vectors", "seed", "atoms", "tile", "double")

kpm_options = grouped(
    "kpm",
    Kpm,
    choice(
        "--method",
        ["states", "kpm"],
        "states",
        "By all states, or by Chebyshev moments without any: for 10⁴ atoms and more.",
    ),
    click.option(
        "--resolution",
        type=float,
        metavar="EV",
        help="kpm: σ of the kernel at the Fermi level [default: 0.05].",
    ),
    click.option("--moments", type=int, metavar="N", help="kpm: moments, in place of that."),
    click.option("--vectors", type=int, metavar="N", help="kpm: random vectors [default: 16]."),
    click.option("--seed", type=int, metavar="N", help="kpm: where they begin [default: 0]."),
    click.option(
        "--atoms", metavar="1-4,9", help="kpm: atoms whose densities are computed without chance."
    ),
    click.option(
        "--tile",
        type=int,
        nargs=3,
        metavar="N1 N2 N3",
        help="kpm: of a supercell of so many cells, which is not stored.",
    ),
    click.option("--double", is_flag=True, help="kpm: double precision."),
)
