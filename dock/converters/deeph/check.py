"""What goes wrong between the files of a unified folder."""

from __future__ import annotations

from pathlib import Path

from dock.converters.deeph.info import read_info
from dock.converters.deeph.poscar import read_poscar
from dock.core.check import Finding
from dock.errors import DockError

__all__ = ["check_folder"]


def check_folder(path: Path) -> list[Finding]:
    """Compare the elements of POSCAR with info.json, in a folder that `dock` wrote.

    There both list the elements in one order. Another order in POSCAR is that of another structure,
    or an edited file: a species that got the other's name has no other trace where both have as
    many orbitals.
    """
    folder = path.parent if path.is_file() else path
    try:
        info, structure = read_info(folder / "info.json"), read_poscar(folder / "POSCAR")
    except DockError:
        return []  # said where the folder is read
    mine = list(dict.fromkeys(structure.symbols))
    theirs = [name for name in info.element_shells if name in mine]
    if not info.own.get("dock_version") or mine == theirs:
        return []
    text = (
        f"POSCAR has the elements in the order {' '.join(mine)}, info.json in {' '.join(theirs)}: "
        "the matrices belong to the atoms as info.json has them. Copy the POSCAR of this run there."
    )
    return [Finding("error", "species", text)]
