"""Shells of OpenMX species: their order from the basis string, their radial functions from .pao."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.openmx.dat import OpenmxInput
from dock.converters.openmx.pao import PaoFile, read_pao
from dock.converters.openmx.species import Species
from dock.core.basis import Radial, Shell, shell_letter, shell_numbers
from dock.errors import FormatError, MissingDataError
from dock.units import OPENMX

__all__ = ["SUBDIVISION", "radial_of_pao", "shells_of_input", "shells_of_pao"]

SUBDIVISION = 8
"""Pieces that each step of a `.pao` mesh is divided into."""


def shells_of_input(
    source: OpenmxInput, *, contracted: bool, folder: Path | None = None
) -> dict[str, tuple[Shell, ...]]:
    """Return the shells of each species of an input, with radial functions if a folder is given.

    Parameters
    ----------
    source
        The input that the scfout file embeds.
    contracted
        Whether the orbitals are contracted ones; those have no radial functions on file.
    folder
        Folder of the ``.pao`` files.
    """
    result = {}
    for one in source.species:
        if folder is not None and not contracted:
            result[one.label] = shells_of_pao(one, folder)
        else:
            result[one.label] = tuple(_named(one.pao.shells(contracted=contracted)))
    return result


def shells_of_pao(species: Species, folder: Path) -> tuple[Shell, ...]:
    """Return the shells of one species with the radial functions of its ``.pao`` file.

    Raises
    ------
    MissingDataError
        When the folder lacks the file.
    FormatError
        When the file holds fewer functions than the basis string takes.
    """
    path = folder / f"{species.pao.file_name}.pao"
    if not path.is_file():
        raise MissingDataError(
            path.name, folder, "It belongs to OpenMX's DFT_DATA/PAO; pass that folder as basis=DIR."
        )
    pao = read_pao(path)
    seen: dict[int, int] = {}
    shells = []
    for shell in _named(species.pao.shells()):
        zeta = seen.get(shell.l, 0)
        seen[shell.l] = zeta + 1
        if shell.l >= len(pao.radial) or zeta >= len(pao.radial[shell.l]):
            raise FormatError(
                path,
                f"it has no function {zeta + 1} of l = {shell.l}",
                expected=f"the basis {species.pao}",
                found=", ".join(f"{len(r)} of l = {l}" for l, r in enumerate(pao.radial)),
            )
        shells.append(Shell(shell.l, shell.label, radial_of_pao(pao, shell.l, zeta)))
    return tuple(shells)


def radial_of_pao(pao: PaoFile, l: int, zeta: int) -> Radial:
    """Return one radial function in Å units; beyond the file's cutoff it is zero.

    It is the function that OpenMX makes of its table, cubic Hermite pieces with parabolic slopes,
    on a mesh that is finer by `SUBDIVISION`: far out the table is so coarse that a spline through
    it differs by up to 5e-6 in the norm.
    """
    bohr = OPENMX.bohr_angstrom
    x = np.asarray(pao.mesh) * bohr
    y = np.asarray(pao.radial[l][zeta]) / bohr**1.5
    slopes = np.gradient(y, x)
    t = np.arange(SUBDIVISION) / SUBDIVISION
    h, s = np.diff(x)[:, None], 1 - t
    values = (
        s * s * ((1 + 2 * t) * y[:-1, None] + t * h * slopes[:-1, None])
        + t * t * ((1 + 2 * s) * y[1:, None] - s * h * slopes[1:, None])
    )  # fmt: skip
    fine = (x[:-1, None] + h * t).ravel()
    radii, function = np.append(fine, x[-1]), np.append(values.ravel(), y[-1])
    return Radial(radii, function, pao.cutoff_bohr * bohr)


def _named(ls: tuple[int, ...]) -> list[Shell]:
    """Return shells labelled as OpenMX users know them: s0, s1, p0."""
    return [
        Shell(l, f"{shell_letter(l)}{n - 1}") for l, n in zip(ls, shell_numbers(ls), strict=True)
    ]
