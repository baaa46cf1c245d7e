"""A structure that was made, and the POSCAR that it is written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dock.core.structure import Structure
from dock.results import Result

__all__ = ["BuiltStructure"]


@dataclass(frozen=True, eq=False, repr=False)
class BuiltStructure(Result):
    """A structure that was made.

    Examples
    --------
    >>> from dock.structures import hexagonal_layer
    >>> BuiltStructure(hexagonal_layer("BN")).facts()
    {'formula': 'BN', 'n_atoms': 2}
    """

    FILE = "POSCAR"

    structure: Structure

    def facts(self) -> dict[str, Any]:
        """Return formula and number of atoms."""
        return {"formula": self.structure.formula, "n_atoms": self.structure.n_atoms}

    def rows(self) -> list[tuple[str, str]]:
        """Return number of atoms and formula in words."""
        return [("structure", f"{self.structure.n_atoms} atoms ({self.structure.formula})")]

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the file that `save` writes."""
        return [Path(path)]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write a POSCAR in which each element's atoms stand together; folders are made.

        Raises as `Result.save`.
        """
        from dock.converters.deeph.poscar import format_poscar
        from dock.io.files import prepare_folder, write_text

        target = Path(self.FILE if path is None else path)
        prepare_folder(target.parent)
        text = format_poscar(self.structure.select(self.structure.element_order))
        write_text(target, text, overwrite=overwrite)
        return [target]
