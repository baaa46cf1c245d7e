"""``data-file-schema.xml``: structure, Fermi level, electrons, k-points and bands of a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.core.arrays import FloatArray, frozen
from dock.core.calculation import UNCONVERGED
from dock.core.elements import atomic_number, element_of_label
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.text import NotANumber, parse_number, parse_numbers
from dock.units import QE

__all__ = ["SCHEMA", "PlaneWaveRun", "describe_structure", "find_save", "read_run"]

SCHEMA = "data-file-schema.xml"
KNOWN = "6.7 to 7.5"
_FIX = "pw.x has not finished, or the file was cut: copy the .save folder again."
_LARGEST = 10**9
_WITH_CYCLE = ("scf", "relax", "vc-relax", "md", "vc-md")


@dataclass(frozen=True, eq=False)
class PlaneWaveRun:
    """What a plane-wave run left behind; it has no orbitals, so it is no ``Calculation``.

    Attributes
    ----------
    structure
        Cell and atoms in the input's order, Å; labels are pw.x's species (``Fe1``).
    spin
        Without spin, LSDA, or two-component wave functions.
    fermi_level
        eV; for fixed occupations the highest occupied level; None with two Fermi levels.
    n_electrons
        Valence electrons per cell.
    k_frac, k_weights
        (n_k, 3) fractional k-points and their (n_k,) weights, which sum to 1.
    levels, occupations
        (n_channels, n_k, n_bands): eigenvalues, eV, and occupations between 0 and 1, as pw.x has
        them; two channels (up, down) for LSDA.
    ecutrho_hartree, alat_bohr, fft_grid, gamma_only
        What fixes the order of the density's coefficients.
    version, source
        Of pw.x; and the file that was read.
    converged
        Whether the last self-consistency cycle did; None for a run without one (``nscf``).

    Raises
    ------
    LayoutError
        When shapes disagree or numbers are not finite.
    """

    structure: Structure
    spin: Spin
    fermi_level: float | None
    n_electrons: float
    k_frac: FloatArray
    k_weights: FloatArray
    levels: FloatArray
    occupations: FloatArray
    ecutrho_hartree: float
    alat_bohr: float
    fft_grid: tuple[int, int, int]
    gamma_only: bool
    version: str = ""
    source: str = "the run"
    converged: bool | None = None

    def __post_init__(self) -> None:
        self._freeze("k_frac", None, 3)
        self._freeze("k_weights", len(self.k_frac))
        self._freeze("levels", self.spin.n_channels, len(self.k_frac), None)
        self._freeze("occupations", *self.levels.shape)

    def _freeze(self, name: str, *shape: int | None) -> None:
        object.__setattr__(self, name, frozen(name, getattr(self, name), np.float64, shape))

    def require_cell(self, cell: ArrayLike) -> None:
        """Refuse a density of another cell (3, 3), Å.

        Raises
        ------
        FormatError
            When it differs from the run's.
        """
        if not np.allclose(cell, self.structure.cell, rtol=0, atol=1e-5):
            raise FormatError(
                self.source,
                "density and run have different cells",
                expected=f"{np.round(self.structure.cell, 5).tolist()} Å",
                found=f"{np.round(np.asarray(cell), 5).tolist()} Å",
            )

    @property
    def unsound(self) -> str:
        """Why the run is no result, as `dock.core.calculation.Calculation.unsound`; else empty."""
        return UNCONVERGED if self.converged is False else ""

    @property
    def n_bands(self) -> int:
        """Number of bands of one channel."""
        return int(self.levels.shape[2])


def find_save(path: Path) -> Path | None:
    """Return the ``.save`` folder that a path means: itself, its only one inside, its parent."""
    if path.is_file():
        known = path.name == SCHEMA or path.name.startswith("charge-density.")
        return path.parent if known else None
    if (path / SCHEMA).is_file():
        return path
    inside = [folder for folder in sorted(path.glob("*.save")) if (folder / SCHEMA).is_file()]
    return inside[0] if len(inside) == 1 else None


def read_run(path: str | Path) -> PlaneWaveRun:
    """Read a pw.x run from its ``.save`` folder, the folder that holds it, or the XML file.

    Raises
    ------
    MissingDataError
        When there is no XML file.
    FormatError
        When it is cut, or lacks a field.

    Examples
    --------
    >>> run = read_run("fixtures/qe/si/si.save")
    >>> run.structure.formula, run.n_electrons, run.levels.shape
    ('Si2', 8.0, (1, 8, 8))
    """
    path = Path(path)
    folder = find_save(path)
    file = path if path.is_file() and path.suffix == ".xml" else (folder or path) / SCHEMA
    if not file.is_file():
        raise MissingDataError(SCHEMA, path, "Give the .save folder of a pw.x run.")
    try:
        root = ET.parse(file).getroot()  # noqa: S314 - expat itself limits the expansion of entities
    except (ET.ParseError, OSError, ValueError, LookupError) as error:
        raise FormatError(file, f"this is not valid XML ({error})", fix=_FIX) from error
    output = root.find("output")
    if output is None:
        raise FormatError(file, "there is no <output>", expected="a pw.x result", fix=_FIX)
    try:
        creator = root.find("general_info/creator")
        version = "" if creator is None else str(creator.get("VERSION", ""))
        kind = root.findtext("input/control_variables/calculation", "")
        return _Reader(file, output, version, kind.strip()).run()
    except LayoutError as error:
        raise FormatError(file, str(error).rstrip("."), fix=_FIX) from error


@dataclass(frozen=True)
class _Reader:
    """The output section of a file, with checked access to its fields."""

    file: Path
    output: ET.Element
    version: str = ""
    kind: str = ""

    def run(self) -> PlaneWaveRun:
        alat = self.number_attribute("atomic_structure", "alat")
        structure = self.structure()
        k_frac, weights, levels, occupations = self.bands(structure, alat)
        grid = self.need("basis_set/fft_grid")
        sizes = [self.integer("fft_grid", grid.get(f"nr{axis}")) for axis in (1, 2, 3)]
        return PlaneWaveRun(
            structure,
            self.spin(),
            self.fermi_level(),
            self.number("band_structure/nelec"),
            k_frac,
            weights,
            levels,
            occupations,
            self.number("basis_set/ecutrho"),
            alat,
            (sizes[0], sizes[1], sizes[2]),
            self.flag("basis_set/gamma_only"),
            self.version,
            str(self.file),
            self.converged(),
        )

    def converged(self) -> bool | None:
        """Return whether the last cycle did; None where the run had none, or does not say."""
        said = "convergence_info/scf_conv/convergence_achieved"
        if self.kind not in _WITH_CYCLE or self.output.find(said) is None:
            return None
        return self.flag(said)

    def fail(
        self, problem: str, where: str | None = None, expected: object = None, found: object = None
    ) -> NoReturn:
        raise FormatError(self.file, problem, where=where, expected=expected, found=found, fix=_FIX)

    def need(self, path: str) -> ET.Element:
        element = self.output.find(path)
        if element is None:
            known = f"the fields that pw.x {KNOWN} writes"
            own = f"a file that calls itself pw.x {self.version or 'of no version'}"
            self.fail("a field is missing", f"output/{path}", known, own)
        return element

    def values(self, element: ET.Element, count: int | None, where: str) -> NDArray[np.float64]:
        try:
            numbers = parse_numbers(element.text or "")
        except NotANumber:
            numbers = np.array([np.nan])
        wrong_count = count is not None and len(numbers) != count
        if wrong_count or not len(numbers) or not np.all(np.isfinite(numbers)):
            found = (element.text or "").strip()[:60] or "nothing"
            self.fail("numbers cannot be read", where, f"{count or 'some'} finite numbers", found)
        return numbers

    def number(self, path: str) -> float:
        return float(self.values(self.need(path), 1, f"output/{path}")[0])

    def number_attribute(self, path: str, name: str) -> float:
        text = self.need(path).get(name, "")
        try:
            value = parse_number(text)
        except ValueError:
            value = np.nan
        if not 0 < value < _LARGEST:
            where = f"{name} of output/{path}"
            self.fail("a field is wrong", where, "a positive number", text or "nothing")
        return value

    def integer(self, where: str, text: str | None) -> int:
        if text is None or not text.strip().isdigit() or not 0 < int(text) < _LARGEST:
            self.fail("a field is wrong", where, "a count", text)
        return int(text)

    def flag(self, path: str) -> bool:
        return (self.need(path).text or "").strip().lower() in {"true", ".true.", "t", "1"}

    def spin(self) -> Spin:
        if self.flag("band_structure/noncolin"):
            return Spin.NONCOLLINEAR
        return Spin.COLLINEAR if self.flag("band_structure/lsda") else Spin.NONE

    def structure(self) -> Structure:
        bohr, names = QE.bohr_angstrom, ("cell/a1", "cell/a2", "cell/a3")
        rows = [self.values(self.need(f"atomic_structure/{name}"), 3, name) for name in names]
        atoms = self.output.findall("atomic_structure/atomic_positions/atom")
        expected = self.integer("nat", self.need("atomic_structure").get("nat"))
        if len(atoms) != expected:
            self.fail("atoms are missing", "output/atomic_structure", expected, len(atoms))
        positions = [self.values(atom, 3, "atomic_positions") for atom in atoms]
        labels = [str(atom.get("name", "")) for atom in atoms]
        numbers = [self.element(label) for label in labels]
        cell, places = np.array(rows) * bohr, np.array(positions) * bohr
        return Structure(cell, places, np.array(numbers), tuple(labels))

    def element(self, label: str) -> int:
        name = element_of_label(label[:1].upper() + label[1:2].lower() + label[2:])
        if name is None:
            raise FormatError(
                self.file,
                "an atom's species does not begin with an element",
                where="atomic_positions",
                expected="names such as Fe or Fe1",
                found=repr(label),
            )
        return atomic_number(name)

    def fermi_level(self) -> float | None:
        for path in ("fermi_energy", "highestOccupiedLevel"):
            element = self.output.find(f"band_structure/{path}")
            if element is not None:
                return float(self.values(element, 1, path)[0]) * QE.hartree_ev
        return None

    def bands(self, structure: Structure, alat: float) -> tuple[NDArray[Any], ...]:
        """Return fractional k-points, weights, levels (eV) and occupations."""
        items = self.output.findall("band_structure/ks_energies")
        expected = self.integer("nks", (self.need("band_structure/nks").text or "").strip())
        if len(items) != expected:
            self.fail("k-points are missing", "output/band_structure", expected, len(items))
        k, weights, levels, filling = [], [], [], []
        for number, item in enumerate(items, 1):
            where = f"ks_energies number {number}"
            point = item.find("k_point")
            energies, occupied = item.find("eigenvalues"), item.find("occupations")
            if point is None or energies is None or occupied is None:
                self.fail("a field is missing", where)
            k.append(self.values(point, 3, where))
            weights.append(parse_number(point.get("weight", "nan")))
            levels.append(self.values(energies, None, where))
            filling.append(self.values(occupied, len(levels[-1]), where))
        channels = self.spin().n_channels
        if len({len(row) for row in levels}) != 1 or len(levels[0]) % channels:
            self.fail("the k-points have different numbers of bands")
        shape = (len(levels), channels, -1)
        k_cartesian = np.array(k) * (2 * np.pi / (alat * QE.bohr_angstrom))
        k_frac = np.linalg.solve(structure.reciprocal.T, k_cartesian.T).T
        total = np.array(weights)
        return (
            k_frac,
            total / total.sum(),
            np.array(levels).reshape(shape).swapaxes(0, 1) * QE.hartree_ev,
            np.array(filling).reshape(shape).swapaxes(0, 1),
        )


def describe_structure(structure: Structure) -> dict[str, Any]:
    """Return what ``dock info`` shows of a structure, as plain data."""
    return {
        "formula": structure.formula,
        "n_atoms": structure.n_atoms,
        "cell_angstrom": structure.cell.tolist(),
        "pbc": list(structure.pbc),
    }
