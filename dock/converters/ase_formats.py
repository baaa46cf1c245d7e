"""What ASE reads through `dock`: ``ase.io.read("run.scfout")`` gives the structure of `dock.read`.

The formats are entry points of the group ``ase.ioformats`` in ``pyproject.toml``: ASE finds them
where `dock` is installed, and calls ``read_NAME`` of this module. ASE loads it at each start, so
nothing else is imported before a file is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ase.utils.plugins import ExternalIOFormat

if TYPE_CHECKING:
    import ase

__all__ = [
    "ABACUS",
    "FOLDER",
    "OPENMX",
    "SIESTA",
    "read_dock",
    "read_dock_abacus",
    "read_dock_openmx",
    "read_dock_siesta",
]

_ONE = {"code": "1S", "module": __name__}  # one structure, from a name
_MATRICES = ["hamiltonian.h5", "hamiltonian_pred.h5", "overlap.h5"]

OPENMX = ExternalIOFormat(desc="OpenMX scfout (dock)", glob="*.scfout", **_ONE)
SIESTA = ExternalIOFormat(desc="SIESTA HSX or TSHS (dock)", glob=["*.HSX", "*.TSHS"], **_ONE)
ABACUS = ExternalIOFormat(
    desc="ABACUS running log (dock)", magic_regex=rb"[\s*]*(WELCOME TO\s+)?ABACUS v", **_ONE
)
"""By what it begins with: running_1.log may as well be a log that ASE reads by itself."""
FOLDER = ExternalIOFormat(desc="Run of any code (dock)", glob=_MATRICES, **_ONE)
"""A unified folder by one of its matrix files; with ``format="dock"`` the folder of any run."""


def read_dock(filename: str | Path) -> ase.Atoms:
    """Return the structure of the run that a file or folder belongs to, as `dock.read` has it.

    Atoms are in the order and in the cells of the matrices. It raises as `dock.read`.
    """
    from dock.converters.registry import read

    return read(filename).structure.to_ase()


read_dock_abacus = read_dock_openmx = read_dock_siesta = read_dock
