"""SIESTA's input (fdf): keywords, blocks, includes, the structure they define; read and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.matrix_file import SYNTHETIC
from dock.converters.siesta.native import NativeCalculation
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError
from dock.io.files import readable
from dock.io.text import finite_numbers
from dock.units import Constants

__all__ = ["FdfAtoms", "FdfFile", "fdf_key", "format_fdf", "missing_in_fdf", "read_fdf"]

_MAX_DEPTH = 20
_METRES = {"m": 1e10, "cm": 1e8, "nm": 10.0, "pm": 0.01, "ang": 1.0}
_FORMATS = {
    "bohr": "bohr",
    "notscaledcartesianbohr": "bohr",
    "ang": "ang",
    "notscaledcartesianang": "ang",
    "latticeconstant": "scaled",
    "scaledcartesian": "scaled",
    "fractional": "fractional",
    "scaledbylatticevectors": "fractional",
}


def fdf_key(name: str) -> str:
    """Return a keyword as fdf compares it: case, dots, dashes and underscores do not count."""
    return name.lower().replace("-", "").replace("_", "").replace(".", "")


class FdfAtoms(NamedTuple):
    """The atoms of an input: (3, 3) and (n_atoms, 3), Å, and each one's species, from 0."""

    cell: NDArray[np.float64]
    positions: NDArray[np.float64]
    species: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FdfFile:
    """An fdf file with everything that it includes; the first mention of a keyword counts.

    By keyword, as `fdf_key` writes it, `values` has the rest of its line, `blocks` the lines
    between; `included` are the files that it takes anything from. What cannot be understood raises
    a FormatError when it is asked for.
    """

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    included: list[Path] = field(default_factory=list)

    def text(self, keyword: str, default: str = "") -> str:
        """Return the rest of a keyword's line."""
        return self.values.get(fdf_key(keyword), default)

    def block(self, name: str) -> tuple[str, ...] | None:
        """Return the lines of a block, or None."""
        return self.blocks.get(fdf_key(name))

    def flag(self, keyword: str) -> bool:
        """Return whether a keyword stands there without a word that denies it."""
        words = self.values.get(fdf_key(keyword))
        return words is not None and words.lower().strip(".")[:1] not in ("f", "n")

    def number(self, keyword: str) -> float | None:
        """Return the number after a keyword, without regard to its unit; None if absent."""
        words = self.text(keyword).split()
        return self._numbers(words[:1], 1, keyword)[0] if words else None

    @property
    def label(self) -> str:
        """SystemLabel, by which all files of the run are called."""
        words = self.text("SystemLabel").split()
        return words[0] if words else "siesta"

    def species(self) -> tuple[tuple[int, str], ...]:
        """Return atomic number and label of each species (negative: a ghost).

        Raises
        ------
        MissingDataError
            Without a block ChemicalSpeciesLabel.
        """
        lines = self.block("ChemicalSpeciesLabel")
        if lines is None:
            why = "It names the species of the run."
            raise MissingDataError("the block ChemicalSpeciesLabel", self.path, why)
        species: dict[int, tuple[int, str]] = {}
        for line in lines:
            words = line.split()
            if len(words) < 3:
                self._fail("ChemicalSpeciesLabel", "number, atomic number, label", line.strip())
            index, number = self._numbers(words[:2], 2, "ChemicalSpeciesLabel")
            species[int(index)] = (int(number), words[2])
        if sorted(species) != list(range(1, len(species) + 1)):
            self._fail("ChemicalSpeciesLabel", f"species 1 to {len(species)}", sorted(species))
        return tuple(species[index] for index in sorted(species))

    def atoms(self, constants: Constants) -> FdfAtoms:
        """Return the structure; the constants are those of the SIESTA version, for Bohr.

        Raises
        ------
        MissingDataError
            When the input leaves the cell to SIESTA, or takes the atoms from elsewhere.
        """
        name = "AtomicCoordinatesAndAtomicSpecies"
        lines, fix = self.block(name), "Keep the run's .XV file beside it; it holds the structure."
        if lines is None or self.block("Zmatrix") is not None:
            raise MissingDataError(f"the block {name}", self.path, fix)
        if self.block("SuperCell") is not None:
            raise FormatError(self.path, "the block SuperCell is not supported", fix=fix)
        cell, constant = self._cell(constants)
        words = [word for line in lines for word in line.split()[:4]]
        table = np.array(self._numbers(words, 4 * len(lines), name)).reshape(-1, 4)
        count = self.number("NumberOfAtoms")
        if count is not None and count != len(lines):
            self._fail(name, f"{int(count)} atoms (NumberOfAtoms)", f"{len(lines)} lines")
        lengths = {"ang": 1.0, "bohr": constants.bohr_angstrom, "scaled": constant}
        positions = self._positions(table[:, :3], cell, lengths)
        return FdfAtoms(cell, positions, table[:, 3].astype(np.int64) - 1)

    def _positions(
        self, given: NDArray[np.float64], cell: NDArray[np.float64], lengths: Mapping[str, float]
    ) -> NDArray[np.float64]:
        """Return positions in Å; `lengths` are the units in which they may be given."""
        word = self.text("AtomicCoordinatesFormat", "Bohr").split()[0]
        kind = _FORMATS.get(fdf_key(word))
        if kind is None:
            self._fail("AtomicCoordinatesFormat", "one of SIESTA's formats", word)
        origin = self.block("AtomicCoordinatesOrigin")
        if origin is not None:
            given = given + self._numbers(origin[0].split(), 3, "AtomicCoordinatesOrigin")
        return given @ cell if kind == "fractional" else given * lengths[kind]

    def _cell(self, constants: Constants) -> tuple[NDArray[np.float64], float]:
        """Return the lattice vectors and the lattice constant, Å."""
        words = self.text("LatticeConstant").split()
        if not words:
            fix = "SIESTA then makes a cell around the molecule: keep the run's .XV file beside it."
            raise MissingDataError("LatticeConstant", self.path, fix)
        constant = self._numbers(words[:1], 1, "LatticeConstant")[0]
        constant *= self._length_unit(words[1] if len(words) > 1 else "Bohr", constants)
        vectors, parameters = self.block("LatticeVectors"), self.block("LatticeParameters")
        if vectors is not None:
            words = [word for line in vectors for word in line.split()[:3]]
            cell = np.array(self._numbers(words, 9, "LatticeVectors")).reshape(3, 3)
        elif parameters is not None:
            given = self._numbers(" ".join(parameters).split()[:6], 6, "LatticeParameters")
            cell = _cell_of_parameters(given)
        else:
            cell = np.eye(3)
        return cell * constant, constant

    def _length_unit(self, word: str, constants: Constants) -> float:
        if word.lower() == "bohr":
            return constants.bohr_angstrom
        if word.lower() not in _METRES:
            self._fail("LatticeConstant", "a length in Bohr, Ang, nm, pm, cm or m", word)
        return _METRES[word.lower()]

    def _numbers(self, words: list[str], count: int, where: str) -> list[float]:
        values = finite_numbers(words, count)
        if values is None:
            self._fail(where, f"{count} numbers", " ".join(words)[:80] or "nothing")
        return values

    def _fail(self, where: str, expected: object, found: object) -> NoReturn:
        raise FormatError(
            self.path,
            "the input cannot be understood",
            expected=expected,
            found=found,
            where=where,
            fix="Correct the fdf file, or keep the run's .XV file beside it.",
        )


def read_fdf(path: Path) -> FdfFile:
    """Read an fdf file and what it includes.

    Raises
    ------
    FormatError
        When a block has no end, or files include each other without end.
    MissingDataError
        When a file cannot be read.
    """
    result = FdfFile(path)
    _collect(path, result, 0)
    return result


def _collect(path: Path, result: FdfFile, depth: int) -> None:
    """Add the content of one file; what is there already stays."""
    if depth > _MAX_DEPTH:
        raise FormatError(path, "the fdf files include each other without end")
    if path != result.path:
        result.included.append(path)
    lines = _lines(path)
    for line in lines:
        words = line.split()
        first = words[0].lower()
        if first == "%block" and len(words) > 1:
            if len(words) > 3 and words[2] == "<":
                _take_block_from(path.parent / words[3], words[1], result, depth)
            else:
                body = _block_body(path, words[1], lines)
                result.blocks.setdefault(fdf_key(words[1]), body)
        elif first == "%include" and len(words) > 1:
            _collect(path.parent / words[1], result, depth + 1)
        elif "<" in words[1:]:
            _take_values_from(path.parent, words, result, depth)
        else:
            rest = line.strip()[len(words[0]) :].strip().lstrip("=:").strip()
            result.values.setdefault(fdf_key(words[0].rstrip("=:")), rest)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines without comments; empty ones are left out."""
    with readable(path):
        text = path.read_bytes().decode("utf-8", "replace")
    for line in text.splitlines():
        for mark in "#!;":
            line = line.partition(mark)[0]
        if line.strip():
            yield line


def _block_body(path: Path, name: str, lines: Iterator[str]) -> tuple[str, ...]:
    body: list[str] = []
    for line in lines:
        if line.split()[0].lower() == "%endblock":
            return tuple(body)
        body.append(line)
    problem = f"the block {name} has no end, or the file is cut"
    raise FormatError(path, problem, expected=f"%endblock {name}", found="the end of the file")


def _take_block_from(path: Path, name: str, result: FdfFile, depth: int) -> None:
    """Take a block from another file: its block of that name, or all its lines."""
    other = FdfFile(path)
    with readable(path):
        is_fdf = b"%block" in path.read_bytes().lower()
    if is_fdf:
        _collect(path, other, depth + 1)
    body = other.blocks.get(fdf_key(name), () if is_fdf else tuple(_lines(path)))
    result.included.extend((path, *other.included))
    result.blocks.setdefault(fdf_key(name), body)


def _take_values_from(folder: Path, words: list[str], result: FdfFile, depth: int) -> None:
    """Take the keywords before ``<`` from the file after it."""
    sign = words.index("<")
    if sign + 1 >= len(words):
        return
    other = FdfFile(folder / words[sign + 1])
    _collect(other.path, other, depth + 1)
    result.included.extend((other.path, *other.included))
    for word in words[:sign]:
        key = fdf_key(word)
        if key in other.values:
            result.values.setdefault(key, other.values[key])
        if key in other.blocks:
            result.blocks.setdefault(key, other.blocks[key])


def _cell_of_parameters(values: list[float]) -> NDArray[np.float64]:
    """Return vectors of given lengths and angles (degrees): a along x, b in the xy plane."""
    a, b, c = values[:3]
    alpha, beta, gamma = np.radians(values[3:])
    x = np.cos(beta)
    y = (np.cos(alpha) - np.cos(beta) * np.cos(gamma)) / np.sin(gamma)
    z = np.sqrt(max(0.0, 1 - x * x - y * y))
    return np.array([[a, 0, 0], [b * np.cos(gamma), b * np.sin(gamma), 0], [c * x, c * y, c * z]])


def missing_in_fdf(native: NativeCalculation) -> list[str]:
    """Return what a run needs and `format_fdf` cannot know, in words."""
    missing = ["basis (PAO)", "functional (XC)", "MeshCutoff"]
    missing += [] if "k_grid" in native.own else ["k-grid (kgrid.MonkhorstPack)"]
    return missing + ([] if "temperature_ry" in native.own else ["ElectronicTemperature"])


def format_fdf(native: NativeCalculation) -> str:
    """Return an input with structure, species and spin, to be completed by the user.

    Where the data came from a run of SIESTA that stored them, its k-grid and its electronic
    temperature are in it too. What is missing stands at the head.

    ``Dock.Rydberg`` and ``Dock.FermiLevel`` are keywords that SIESTA passes over; by them `dock`
    reads its own files back with the units that they were written in.
    """
    calc, structure = native.calc, native.calc.structure
    spin = {1: "non-polarized", 2: "polarized", 4: "non-collinear", 8: "spin-orbit"}
    kinds = zip(native.numbers, native.species, strict=True)
    atoms = zip(structure.positions, native.atom_species, strict=True)
    lines = [
        "# Written by dock: structure and spin of the matrices beside it.",
        "# NOT COMPLETE: with SIESTA's defaults for what is missing this is another system.",
        f"# Missing: {', '.join(missing_in_fdf(native))}.",
        "# Copy them from your own input; 'dock convert --like RUN' does it for a restart.",
        f"SystemLabel {native.label}",
        f"NumberOfSpecies {len(native.species)}",
        f"NumberOfAtoms {structure.n_atoms}",
        "%block ChemicalSpeciesLabel",
        *(f" {place} {z} {species.label}" for place, (z, species) in enumerate(kinds, 1)),
        "%endblock ChemicalSpeciesLabel",
        "LatticeConstant 1.0 Ang",
        "%block LatticeVectors",
        *(_row(vector) for vector in structure.cell),
        "%endblock LatticeVectors",
        "AtomicCoordinatesFormat Ang",
        "%block AtomicCoordinatesAndAtomicSpecies",
        *(f"{_row(position)} {kind}" for position, kind in atoms),
        "%endblock AtomicCoordinatesAndAtomicSpecies",
        f"Spin {spin[native.n_spin]}",
        *_known_of_run(native),
    ]
    if any(number > SYNTHETIC for number in native.numbers):
        lines.append("# A species is synthetic: copy the block SyntheticAtoms of its run here.")
    if "density_matrix" in (native.options.quantities or ()):
        lines.append("DM.UseSaveDM true")
    if calc.spin is Spin.NONE and native.nsc == (1, 1, 1):
        lines.append("# One cell only: SIESTA folds all images into it at the Gamma point.")
    lines.append(f"Dock.Rydberg {native.constants.rydberg_ev!r} eV")
    if calc.fermi_level is not None:
        lines.append(f"Dock.FermiLevel {float(calc.fermi_level)!r} eV")
    return "\n".join(lines) + "\n"


def _known_of_run(native: NativeCalculation) -> Iterator[str]:
    """Yield the k-grid and the temperature, where the run's files have them."""
    if "k_grid" in native.own:
        matrix, shift = native.k_grid.matrix, native.k_grid.shift
        yield "%block kgrid.MonkhorstPack"
        for row, displacement in zip(matrix, shift, strict=True):
            yield f" {' '.join(map(str, row))} {float(displacement)!r}"
        yield "%endblock kgrid.MonkhorstPack"
    if "temperature_ry" in native.own:
        yield f"ElectronicTemperature {native.temperature_ry!r} Ry"


def _row(vector: np.ndarray) -> str:
    return " ".join(f"{float(value)!r:>24}" for value in vector)
