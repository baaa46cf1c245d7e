"""OpenMX's input, a ``.dat`` file or the text in a scfout: read, and written at its least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.openmx.keywords import InputText
from dock.converters.openmx.species import Species
from dock.errors import FormatError, UsageError
from dock.io.text import load_text
from dock.units import OPENMX

__all__ = ["OpenmxInput", "SpinMode", "minimal_input", "parse_input", "read_input"]

LengthUnit = Literal["ang", "au", "frac"]
SpinMode = Literal["off", "on", "nc"]
SPIN_SWITCH: Mapping[SpinMode, int] = MappingProxyType({"off": 0, "on": 1, "nc": 3})


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenmxInput:
    """An OpenMX input file.

    Attributes
    ----------
    path
        Where the text stood, for messages: a ``.dat``, or the scfout that embeds it.
    system_name
        ``System.Name``.
    species
        The lines of ``Definition.of.Atomic.Species``.
    atom_species
        int32 (N,): index into `species` of each atom.
    coordinates
        float64 (N, 3): as typed, in `coordinate_unit`.
    coordinate_unit
        ``"ang"``, ``"au"`` (Bohr) or ``"frac"``.
    charges
        float64 (N, 2): initial up and down electrons.
    cell
        float64 (3, 3): lattice vectors as rows, as typed, in `cell_unit`; None in molecules.
    cell_unit
        ``"ang"`` or ``"au"``.
    kgrid
        ``scf.Kgrid``.
    spin
        ``"off"``, ``"on"`` (collinear) or ``"nc"``.
    spin_orbit
        ``scf.SpinOrbit.Coupling``.
    temperature
        Electronic temperature, Kelvin.
    xc, solver
        As typed: ``"GGA-PBE"``, ``"Band"``.
    orbital_optimization
        Whether ``orbitalOpt.Method`` is on, so that ``s4>2`` means contracted orbitals.
    text
        The whole text.
    """

    path: Path
    system_name: str
    species: tuple[Species, ...]
    atom_species: NDArray[np.int32]
    coordinates: NDArray[np.float64]
    coordinate_unit: LengthUnit
    charges: NDArray[np.float64]
    cell: NDArray[np.float64] | None
    cell_unit: Literal["ang", "au"]
    kgrid: tuple[int, int, int]
    spin: SpinMode
    spin_orbit: bool
    temperature: float
    xc: str
    solver: str
    orbital_optimization: bool
    text: str

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atom_species)

    @property
    def numbers(self) -> NDArray[np.int32]:
        """int32 (N,): atomic number of each atom, 0 for empty atoms."""
        return np.array([kind.number for kind in self.species], dtype=np.int32)[self.atom_species]

    @property
    def spin_switch(self) -> int:
        """The switch that the scfout file of this run has: 0, 1 or 3."""
        return SPIN_SWITCH[self.spin]

    @property
    def labels(self) -> tuple[str, ...]:
        """The species label of each atom."""
        return tuple(self.species[index].label for index in self.atom_species)

    @property
    def cell_bohr(self) -> NDArray[np.float64] | None:
        """float64 (3, 3) lattice vectors in Bohr with OpenMX's constant, or None."""
        return None if self.cell is None else self.cell / _unit_length(self.cell_unit)

    @property
    def positions_bohr(self) -> NDArray[np.float64]:
        """float64 (N, 3) Cartesian positions in Bohr with OpenMX's constant, unwrapped."""
        if self.coordinate_unit == "frac" and self.cell_bohr is not None:
            return self.coordinates @ self.cell_bohr
        return self.coordinates / _unit_length(self.coordinate_unit)

    def contracted(self, n_orbitals: ArrayLike) -> bool:
        """Tell from the orbital counts of the matrices whether they are contracted (``s4>2``).

        Parameters
        ----------
        n_orbitals
            int (N,): orbitals of each atom, from the scfout file.

        Raises
        ------
        FormatError
            When the counts fit neither reading.
        """
        counts = np.asarray(n_orbitals)
        if counts.shape != (self.n_atoms,):
            raise FormatError(
                self.path,
                "the matrices and the input file differ in the number of atoms",
                expected=f"{self.n_atoms} (Atoms.Number)",
                found=f"{counts.shape[0]} in the matrices",
                fix="The scfout and its input text do not belong together: run OpenMX again.",
            )
        expected = []
        for reading in (True, False) if self.orbital_optimization else (False, True):
            sizes = np.array([kind.pao.n_orbitals(contracted=reading) for kind in self.species])
            expected.append(sizes[self.atom_species])
            if (expected[-1] == counts).all():
                return reading and any(kind.pao.has_contraction for kind in self.species)
        atom = int(np.argmax(expected[0] != counts))
        kind = self.species[self.atom_species[atom]]
        raise FormatError(
            self.path,
            f"the basis of atom {atom + 1} ({kind.label}, {kind.pao}) does not fit the matrices",
            expected=f"{expected[0][atom]} orbitals",
            found=f"{counts[atom]} orbitals in the matrices",
            where="Definition.of.Atomic.Species",
            fix="The scfout and its input text do not belong together: run OpenMX again.",
        )


def read_input(path: str | Path) -> OpenmxInput:
    """Read an OpenMX input file; raises as `parse_input`, and MissingDataError for no file."""
    return parse_input(load_text(path, "an OpenMX input file", "OpenMX"), path)


def parse_input(text: str, path: str | Path) -> OpenmxInput:
    """Understand the text of an OpenMX input file.

    Keywords are matched without regard to case; ``#`` starts a comment. `path` is the file that
    the text comes from, for messages.

    Raises
    ------
    FormatError
        When something needed is missing, malformed or contradictory; names line and keyword.
    """
    source = InputText(text, Path(path))
    species = tuple(_species(source))
    atoms = _atoms(source, species)
    unit: LengthUnit = source.choice(
        "Atoms.SpeciesAndCoordinates.Unit", "Ang", ("ang", "au", "frac")
    )
    cell = _cell(source)
    if unit == "frac" and cell is None:
        source.fail(
            "coordinates are in units of the lattice vectors, which are missing",
            "Atoms.UnitVectors",
            "a block <Atoms.UnitVectors",
        )
    kgrid = source.numbers("scf.Kgrid", "1 1 1", 3)
    return OpenmxInput(
        path=source.path,
        system_name=source.value("System.Name", "default"),
        species=species,
        coordinate_unit=unit,
        cell=cell,
        cell_unit=source.choice("Atoms.UnitVectors.Unit", "Ang", ("ang", "au")),
        kgrid=(int(kgrid[0]), int(kgrid[1]), int(kgrid[2])),
        spin=source.choice("scf.SpinPolarization", "off", ("off", "on", "nc")),
        spin_orbit=source.choice("scf.SpinOrbit.Coupling", "off", ("off", "on")) == "on",
        temperature=source.numbers("scf.ElectronicTemperature", "300.0", 1)[0],
        xc=source.value("scf.XcType", "LDA"),
        solver=source.value("scf.EigenvalueSolver", "Cluster"),
        orbital_optimization=source.value("orbitalOpt.Method", "off").lower() != "off",
        text=text,
        **atoms,
    )


def _unit_length(unit: LengthUnit) -> float:
    """Return one Bohr in `unit`."""
    return OPENMX.bohr_angstrom if unit == "ang" else 1.0


def _species(source: InputText) -> Iterator[Species]:
    """Yield the lines of ``Definition.of.Atomic.Species``."""
    keyword = "Definition.of.Atomic.Species"
    count = int(source.numbers("Species.Number", None, 1)[0])
    seen: set[str] = set()
    for line, words in source.block(keyword, count, "Species.Number"):
        if len(words) < 3:
            found = repr(" ".join(words))
            source.fail(
                "columns are missing", keyword, "label, basis, potential", line=line, found=found
            )
        if words[0] in seen:
            source.fail(
                "the label stands twice", keyword, "one line each", line=line, found=words[0]
            )
        seen.add(words[0])
        try:
            yield Species.parse(*words[:3])
        except UsageError as error:
            source.fail(str(error), keyword, "such as: C C6.0-s2p2d1 C_PBE19", line=line)


def _atoms(source: InputText, species: tuple[Species, ...]) -> dict[str, Any]:
    """Return species index, coordinates and initial charges of the atoms."""
    keyword = "Atoms.SpeciesAndCoordinates"
    count = int(source.numbers("Atoms.Number", None, 1)[0])
    index = {kind.label: number for number, kind in enumerate(species)}
    which, numbers = [], []
    for serial, (line, words) in enumerate(source.block(keyword, count, "Atoms.Number"), 1):
        if words[0] != str(serial):
            source.fail(
                "atoms are not numbered in order", keyword, serial, line=line, found=words[0]
            )
        if len(words) < 7 or words[1] not in index:
            expected = f"number, one of {', '.join(index)}, x, y, z, up, down"
            source.fail("not an atom", keyword, expected, line=line, found=repr(" ".join(words)))
        which.append(index[words[1]])
        numbers.append(source.floats(words[2:7], 5, keyword, line))
    if not which:
        source.fail("there are no atoms", keyword, "one or more")
    table = np.array(numbers)
    return {
        "atom_species": np.array(which, dtype=np.int32),
        "coordinates": table[:, :3],
        "charges": table[:, 3:],
    }


def _cell(source: InputText) -> NDArray[np.float64] | None:
    """Return the lattice vectors as typed, or None where the block is absent."""
    keyword = "Atoms.UnitVectors"
    if keyword.lower() not in source.blocks:
        return None
    rows = source.block(keyword, 3, "three vectors")
    return np.array([source.floats(words[:3], 3, keyword, line) for line, words in rows])


def minimal_input(
    species: Sequence[Species],
    atom_species: ArrayLike,
    positions_bohr: ArrayLike,
    cell_bohr: ArrayLike,
    *,
    spin: SpinMode = "off",
    spin_orbit: bool = False,
    system_name: str = "dock",
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
    spin, spin_orbit, system_name
        The values of their keywords.

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
    >>> text = minimal_input(
    ...     [Species.parse("H", "H5.0-s1", "H_PBE19")], [0], [[0, 0, 0]], 9 * np.eye(3)
    ... )
    >>> parse_input(text, "h.dat").cell_bohr[0].tolist()
    [9.0, 0.0, 0.0]
    """
    cell = np.asarray(cell_bohr, dtype=np.float64)
    if cell.shape != (3, 3):
        raise UsageError(f"A cell of shape {cell.shape}: expected (3, 3).")
    atoms = _atom_lines(species, np.asarray(atom_species, np.int64), positions_bohr)
    lines = [
        f"System.Name               {system_name}",
        f"Species.Number            {len(species)}",
        *_format_block(
            "Definition.of.Atomic.Species", (f" {s.label} {s.pao} {s.vps}" for s in species)
        ),
        f"Atoms.Number              {len(atoms)}",
        "Atoms.SpeciesAndCoordinates.Unit   AU",
        *_format_block("Atoms.SpeciesAndCoordinates", atoms),
        "Atoms.UnitVectors.Unit    AU",
        *_format_block("Atoms.UnitVectors", (f" {_floats(row)}" for row in cell)),
        "scf.XcType                GGA-PBE",
        f"scf.SpinPolarization      {spin}",
        f"scf.SpinOrbit.Coupling    {'on' if spin_orbit else 'off'}",
        "scf.ElectronicTemperature 300.0",
        "scf.EigenvalueSolver      Band",
        "scf.Kgrid                 1 1 1",
    ]
    return "\n".join(lines) + "\n"


def _atom_lines(
    species: Sequence[Species], index: NDArray[np.int64], positions_bohr: ArrayLike
) -> list[str]:
    """Return number, label, position and no initial electrons of each atom."""
    positions = np.asarray(positions_bohr, dtype=np.float64)
    if positions.shape != (len(index), 3):
        raise UsageError(f"Positions of shape {positions.shape}: expected ({len(index)}, 3).")
    if not len(index) or index.min() < 0 or index.max() >= len(species):
        raise UsageError(f"Each atom needs a species index from 0 to {len(species) - 1}.")
    return [
        f"{number:6d} {species[kind].label:6s} {_floats(place)}  0.000000 0.000000"
        for number, (kind, place) in enumerate(zip(index, positions, strict=True), 1)
    ]


def _format_block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"<{name}", *lines, f"{name}>"]


def _floats(row: NDArray[np.float64]) -> str:
    return " ".join(f"{value:24.16e}" for value in row)
