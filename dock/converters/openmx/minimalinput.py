"""Make the least OpenMX input text that its tools need inside an scfout file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.openmx.dat import SpinMode
from dock.converters.openmx.species import Species
from dock.errors import UsageError

__all__ = ["minimal_input"]


def minimal_input(
    species: Sequence[Species],
    atom_species: ArrayLike,
    positions_bohr: ArrayLike,
    cell_bohr: ArrayLike,
    *,
    spin: SpinMode = "off",
    spin_orbit: bool = False,
    system_name: str = "dock",
    temperature: float = 300.0,
    kgrid: tuple[int, int, int] = (1, 1, 1),
    solver: str = "Band",
    xc: str = "GGA-PBE",
    charges: ArrayLike | None = None,
) -> str:
    """Make the input text that OpenMX's tools and this reader need inside an scfout file.

    Parameters
    ----------
    species
        The species; `Species.parse` and `basis_string` make them.
    atom_species
        int (N,): index into `species` of each atom.
    positions_bohr
        float (N, 3): Cartesian, Bohr.
    cell_bohr
        float (3, 3): lattice vectors as rows, Bohr.
    spin, spin_orbit, system_name, temperature, kgrid, solver, xc
        The values of the keywords; the temperature in Kelvin.
    charges
        float (N, 2): initial up and down electrons; zeros if not given.

    Returns
    -------
    str
        Text that `parse_input` reads back to the same numbers.

    Raises
    ------
    UsageError
        When an array has the wrong shape or an index has no species.

    Examples
    --------
    >>> from dock.converters.openmx.dat import parse_input
    >>> text = minimal_input(
    ...     [Species.parse("H", "H5.0-s1", "H_PBE19")], [0], [[0, 0, 0]], 9 * np.eye(3)
    ... )
    >>> parse_input(text, "h.dat").cell_bohr[0].tolist()
    [9.0, 0.0, 0.0]
    """
    index = np.asarray(atom_species, dtype=np.int64)
    positions = np.asarray(positions_bohr, dtype=np.float64)
    cell = np.asarray(cell_bohr, dtype=np.float64)
    electrons = np.zeros((len(index), 2)) if charges is None else np.asarray(charges, np.float64)
    if positions.shape != (len(index), 3) or cell.shape != (3, 3):
        raise UsageError(
            f"Positions of shape {positions.shape} and a cell of shape {cell.shape} "
            f"for {len(index)} atoms: expected ({len(index)}, 3) and (3, 3)."
        )
    if electrons.shape != (len(index), 2):
        raise UsageError(f"Charges of shape {electrons.shape}: expected ({len(index)}, 2).")
    if not len(index) or index.min() < 0 or index.max() >= len(species):
        raise UsageError(f"Each atom needs a species index from 0 to {len(species) - 1}.")
    atom_lines = (
        f"{number:6d} {species[which].label:6s} {_floats(place)}  {up:.6f} {down:.6f}"
        for number, (which, place, (up, down)) in enumerate(
            zip(index, positions, electrons, strict=True), 1
        )
    )
    lines = [
        f"System.Name               {system_name}",
        f"Species.Number            {len(species)}",
        *_block("Definition.of.Atomic.Species", (f" {s.label} {s.pao} {s.vps}" for s in species)),
        f"Atoms.Number              {len(index)}",
        "Atoms.SpeciesAndCoordinates.Unit   AU",
        *_block("Atoms.SpeciesAndCoordinates", atom_lines),
        "Atoms.UnitVectors.Unit    AU",
        *_block("Atoms.UnitVectors", (f" {_floats(row)}" for row in cell)),
        f"scf.XcType                {xc}",
        f"scf.SpinPolarization      {spin}",
        f"scf.SpinOrbit.Coupling    {'on' if spin_orbit else 'off'}",
        f"scf.ElectronicTemperature {temperature!r}",
        f"scf.EigenvalueSolver      {solver}",
        f"scf.Kgrid                 {kgrid[0]} {kgrid[1]} {kgrid[2]}",
    ]
    return "\n".join(lines) + "\n"


def _block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"<{name}", *lines, f"{name}>"]


def _floats(row: NDArray[np.float64]) -> str:
    return " ".join(f"{value:24.16e}" for value in row)
