"""Shells of OpenMX species: their order from the basis string, their radial functions from .pao."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dock.converters.openmx.inputfile import OpenmxInput
from dock.converters.openmx.pao import PaoFile, read_pao
from dock.converters.openmx.species import L_LETTERS, Species
from dock.core.basis import Radial, Shell
from dock.errors import FormatError, MissingDataError
from dock.units import OPENMX

__all__ = ["radial_of_pao", "shells_of_input", "shells_of_pao"]


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
            path.name, folder, "It belongs to OpenMX's DFT_DATA/PAO; give that folder with --basis."
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
    """Return one radial function in Å units; beyond the file's cutoff it is zero."""
    bohr = OPENMX.bohr_angstrom
    values = np.asarray(pao.radial[l][zeta]) / bohr**1.5
    return Radial(np.asarray(pao.mesh) * bohr, values, pao.cutoff_bohr * bohr)


def _named(ls: tuple[int, ...]) -> list[Shell]:
    """Return shells labelled as OpenMX users know them: s0, s1, p0."""
    return [Shell(l, f"{L_LETTERS[l]}{ls[:index].count(l)}") for index, l in enumerate(ls)]
