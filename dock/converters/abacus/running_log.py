"""The log of an ABACUS run, ``running_*.log``: structure, basis, Fermi level, convergence.

One that `dock` writes has the lines that readers of ABACUS's output look for, and says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from dock._version import __version__
from dock.converters.abacus.stru import FOLD_MARGIN
from dock.converters.abacus.words import KNOWN, expected, find, find_last, known
from dock.converters.run_log import RunLog
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.errors import FormatError
from dock.io.text import finite_numbers, parse_number, read_text
from dock.units import ABACUS

__all__ = [
    "NSPIN",
    "AbacusLog",
    "Frame",
    "LoggedStep",
    "SpeciesLine",
    "calls_itself",
    "format_log",
    "read_log",
]

NSPIN = {Spin.NONE: 1, Spin.COLLINEAR: 2, Spin.NONCOLLINEAR: 4}
BOHR = ABACUS.bohr_angstrom
_FIX = (
    "The run may still be writing, or the log was cut: copy it again. Or pass "
    "settings={'log': 'no'} when it is converted: structure and basis then come from STRU, the "
    "Fermi level from dock fermi."
)
_SIX_DIGITS = 5e-6  # relative
_TITLES = 4  # lines between the head of a table of atoms and its first row, at most


@dataclass(frozen=True)
class SpeciesLine:
    """One species of the log.

    Attributes
    ----------
    label
        Its name.
    zetas
        Number of radial functions for l = 0, 1, 2 …
    n_atoms
        How many atoms it has.
    """

    label: str
    zetas: tuple[int, ...]
    n_atoms: int

    @property
    def ls(self) -> tuple[int, ...]:
        """The l of each shell in the order of the matrices."""
        return tuple(l for l, count in enumerate(self.zetas) for _ in range(count))


@dataclass(frozen=True, eq=False)
class Frame:
    """The structure of one ionic step.

    Attributes
    ----------
    cell
        (3, 3) lattice vectors, Å, to the six digits that the log prints.
    coordinates
        (n_atoms, 3), folded into the cell as all matrices count them: in units of the lattice
        vectors if `direct`, else in Å.
    direct
        Which of both.
    precision
        Half a unit of the last digit printed, in units of the lattice vectors or in Å.
    unit_bohr
        The unit of coordinates that are not `direct`, to the six or eight digits printed.
    """

    cell: NDArray[np.float64]
    coordinates: NDArray[np.float64]
    direct: bool
    precision: float = 0.0
    unit_bohr: float = 1.0

    def fractional(self, cell: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the positions in units of `cell` (Å)."""
        if self.direct:
            return self.coordinates
        solution: NDArray[np.float64] = np.linalg.solve(cell.T, self.coordinates.T).astype(
            np.float64
        )
        return solution.T


class LoggedStep(NamedTuple):
    """How the self-consistency loop of one ionic step ended; None where the log does not say.

    Attributes
    ----------
    fermi_levels
        eV: one, or those of both spins where the moment is fixed; empty where there is none.
    converged
        Whether it converged.
    number
        The step's number in the log, from 0; None where it has none.
    """

    fermi_levels: tuple[float, ...]
    converged: bool | None
    number: int | None = None

    @property
    def fermi_level(self) -> float | None:
        """The Fermi level, of two the higher one, up to which there are electrons; eV."""
        return max(self.fermi_levels, default=None)


@dataclass(frozen=True, eq=False, kw_only=True)
class AbacusLog(RunLog):
    """What a log of ABACUS says.

    Attributes
    ----------
    species
        In matrix order.
    frames
        One for each ionic step whose positions are printed.
    nspin
        1, 2 or 4.
    steps
        The self-consistency loops, one for each ionic step.
    n_basis
        NLOCAL: rows of the matrices, doubled for nspin 4.
    radii_bohr
        Largest radius of the orbitals and of the projectors of all species; None where not said.
    is_whole
        Whether it has its end, the time statistics.
    is_set_by_hand
        Whether ``nelec_delta`` is in the number of electrons already.
    constant_bohr
        Lattice constant, to the log's six digits.
    """

    species: tuple[SpeciesLine, ...]
    frames: tuple[Frame, ...]
    nspin: int | None
    steps: tuple[LoggedStep, ...]
    n_basis: int | None
    radii_bohr: tuple[float | None, float | None] = (None, None)
    is_set_by_hand: bool = False
    is_whole: bool = True
    constant_bohr: float = 1.0

    def is_within(self, step: LoggedStep) -> bool:
        """Say whether the log ends before the loop of a step does: it had not finished."""
        is_last = not self.steps or step is self.steps[-1]
        return is_last and not step.converged and not self.is_whole and known(self.version)

    @property
    def labels(self) -> tuple[str, ...]:
        """Species label of each atom, in matrix order."""
        return tuple(kind.label for kind in self.species for _ in range(kind.n_atoms))

    @property
    def fermi_levels(self) -> tuple[float, ...]:
        """Fermi level of each ionic step that has one, eV."""
        levels = [step.fermi_level for step in self.steps]
        return tuple(level for level in levels if level is not None)

    def with_constant(self, constant_bohr: float) -> AbacusLog:
        """Return the log with its Cartesian positions in the exact unit, if it prints that one.

        Six digits of the unit would move atoms by 1e-5 Å.
        """
        frames = [
            replace(frame, coordinates=frame.coordinates * (constant_bohr / frame.unit_bohr))
            if not frame.direct and abs(constant_bohr / frame.unit_bohr - 1.0) < _SIX_DIGITS
            else frame
            for frame in self.frames
        ]
        return replace(self, frames=tuple(frames))

    @property
    def calls_itself(self) -> str:
        """The version that the log names, and whether it is a known one, for messages."""
        return calls_itself(self.version)

    def doubts(self, n_electrons: float | None, counted: float | None) -> list[str]:
        """Return what the log should say and does not, a sentence each.

        Parameters
        ----------
        n_electrons, counted
            The electrons that log or input say, and those in the table of levels.
        """
        where = "unknown" if counted is None else "the sum of the occupations printed elsewhere"
        who = f"{self.path.name} {self.calls_itself}"
        is_known = known(self.version)
        sentences = []
        if not is_known:
            sentences.append(f"{who}: hold its numbers against ABACUS's own (dock check).")
        has_loop = bool(self.steps) or (not is_known and "get_s" not in self.path.name.lower())
        last = self.steps[-1] if self.steps else LoggedStep((), None)
        for fact, is_there, lost in (
            (
                "Fermi level",
                last.fermi_level is not None,
                "the Fermi level is unknown (dock fermi computes it)",
            ),
            (
                "converged",
                is_known or last.converged is not None,
                "whether it converged is unknown",
            ),
            ("electrons", n_electrons is not None, f"the number of electrons is {where}"),
        ):
            if has_loop and not is_there:
                line = expected(fact, self.version if is_known else "")
                sentences.append(f"{who}; the line {line} was expected: {lost}.")
        return sentences


def calls_itself(version: str) -> str:
    """Return the version that a log names beside those that are known, for messages.

    Examples
    --------
    >>> calls_itself("3.12"), calls_itself("")
    ('calls itself v3.12; known are 3.0–3.11', 'names no version; known are 3.0–3.11')
    """
    return f"{f'calls itself v{version}' if version else 'names no version'}; known are {KNOWN}"


def read_log(path: Path) -> AbacusLog:
    """Read a log.

    Raises
    ------
    MissingDataError
        When it cannot be opened.
    FormatError
        When it does not hold the species and the atoms; it names the version and the line.
    """
    text = read_text(path)
    version = next(find("version", text), None)
    log = _Log(path, text, version.values[0] if version is not None else "")
    species = log.species()
    steps = _steps(text, log.version)
    numbers = {fact: log.number(fact) for fact in ("nspin", "basis size", "electrons")}
    set_by_hand = log.number("electrons set")
    return AbacusLog(
        path=path,
        version=log.version,
        species=species,
        frames=log.frames(sum(kind.n_atoms for kind in species)),
        nspin=int(numbers["nspin"]) if numbers["nspin"] else None,
        steps=steps,
        n_electrons=numbers["electrons"] if set_by_hand is None else set_by_hand,
        converged=steps[-1].converged if steps else None,
        n_basis=int(numbers["basis size"]) if numbers["basis size"] else None,
        radii_bohr=(log.number("orbital radius"), log.number("projector radius")),
        is_whole=next(find("end", text), None) is not None,
        is_set_by_hand=set_by_hand is not None,
        constant_bohr=log.number("lattice constant") or 1.0,
    )


class _Log(NamedTuple):
    """The text of a log and where it came from."""

    path: Path
    text: str
    version: str

    def number(self, fact: str) -> float | None:
        """Return the number in the last line of a fact; None where there is none."""
        word = find_last(fact, self.text)
        try:
            return parse_number(word) if word is not None else None
        except ValueError:
            return None

    def fail(self, problem: str, where: str, fact: str = "") -> NoReturn:
        """Refuse the log: its version, and the line that was looked for."""
        line = expected(fact, self.version if known(self.version) else "") if fact else ""
        raise FormatError(
            self.path,
            problem,
            where=where,
            expected=f"the line {line}" if fact else None,
            found=f"a log that {calls_itself(self.version)}",
            fix=_FIX,
        )

    def species(self) -> tuple[SpeciesLine, ...]:
        """Return the species in the order of the matrices."""
        heads = list(find("species", self.text))
        species = []
        ends = [*(head.start for head in heads[1:]), len(self.text)]
        for head, end in zip(heads, ends, strict=False):
            label, body = head.values[0], self.text[head.end : end]
            count = next(find("number of atoms", body), None)
            if count is None:
                self.fail("the number of atoms is missing", f"species {label}", "number of atoms")
            found = [line.values for line in find("shells", body[: count.start])]
            zetas = [(int(l), int(n)) for l, n in found]
            if not zetas:
                self.fail("the shells are missing", f"species {label}", "shells")
            if [l for l, _ in zetas] != list(range(len(zetas))):
                self.fail("the shells do not ascend in l", f"species {label}")
            species.append(SpeciesLine(label, tuple(n for _, n in zetas), int(count.values[0])))
        if not species:
            self.fail("no species is listed", "READING ATOM TYPE", "species")
        return tuple(species)

    def _has_no_table(self) -> bool:
        """Say whether a whole log of a known version has no coordinates, renamed ones included."""
        is_whole = next(find("end", self.text), None) is not None
        return is_whole and known(self.version) and not re.search(r"(?m)^\s*tau[cd]_", self.text)

    def frames(self, n_atoms: int) -> tuple[Frame, ...]:
        """Return the structure of each ionic step; a table of atoms is printed before each."""
        constant = self.number("lattice constant")
        if constant is None:
            self.fail(
                "the lattice constant is missing",
                "READING UNITCELL INFORMATION",
                "lattice constant",
            )
        lattices = {
            found.start: np.array(self._rows(found.end, 3, "lattice vectors")[0])
            * (constant * BOHR)
            for found in find("lattice vectors", self.text)
        }
        tables = list(find("coordinates", self.text))
        if lattices and not tables and self._has_no_table():
            return ()  # STRU has them
        if not lattices or not tables:
            fact = "coordinates" if lattices else "lattice vectors"
            self.fail("lattice vectors or coordinates are missing", "READING UNITCELL", fact)
        frames: list[Frame] = []
        begins = [*_loops(self.text), *(found.start for found in find("ionic step", self.text))]
        for table in tables:
            head = self.text[table.start : table.end].strip()
            try:
                rows, digits = self._rows(table.end, n_atoms, "coordinates", names=True)
            except FormatError:
                if frames and table is tables[-1] and next(find("end", self.text), None) is None:
                    break  # the run was stopped, or is writing: no matrix of that step is there
                raise
            length = finite_numbers(table.values, 1) if table.values else [constant]
            if length is None:
                self.fail("the unit of the coordinates is no number", head)
            direct = head[0] in "Dd"
            scale = 1.0 if direct else length[0] * BOHR
            cell = _cell_of(table.start, lattices, begins)
            precision = 0.5 * 10.0**-digits * scale
            frames.append(Frame(cell, np.array(rows) * scale, direct, precision, length[0]))
        return tuple(frames)

    def _rows(
        self, start: int, count: int, where: str, *, names: bool = False
    ) -> tuple[list[list[float]], int]:
        """Return three numbers from each of `count` lines, and the fewest decimals printed.

        Behind a name where there is one; then titles may stand before the first line.
        """
        rows: list[list[float]] = []
        digits, passed = 99, 0
        start = self.text.find("\n", start) + 1 or len(self.text)
        while len(rows) < count:
            end = self.text.find("\n", start)
            line = self.text[start : end if end >= 0 else len(self.text)]
            words = line.split()[int(names) : int(names) + 3]
            row = finite_numbers(words, 3)
            if row is not None:
                rows.append(row)
                digits = min(digits, *(len(word.partition(".")[2]) for word in words))
            elif not names or rows or passed == _TITLES:
                place = f"{where}, line {len(rows) + 1}"
                self.fail("numbers are missing or wrong", place, where if names else "")
            passed += 1
            start = end + 1 if end >= 0 else len(self.text)
        return rows, digits


def _cell_of(
    table: int, lattices: dict[int, NDArray[np.float64]], begins: list[int]
) -> NDArray[np.float64]:
    """Return the cell of a table of atoms, given where each of them and each step begins.

    A cell is printed when it changes, above or below the table, before the step begins.
    """
    begin = min((start for start in begins if start > table), default=max(lattices) + 1)
    return lattices[max((start for start in lattices if start < begin), default=min(lattices))]


def _steps(text: str, version: str) -> tuple[LoggedStep, ...]:
    """Return how each ionic step ended: a loop, or a table of atoms, begins a new one."""
    begins = _loops(text)
    tables = [found.start for found in find("coordinates", text)]
    marks = sorted({*begins, *tables, *(found.start for found in find("ionic step", text))})
    steps = []
    for begin, end in zip([0, *marks], [*marks, len(text)], strict=True):
        part = text[begin:end]
        levels = _fermi_levels(part)
        if levels or begin in begins:
            ended = _converged(part, version, looped=begin in begins)
            steps.append(LoggedStep(levels, ended, begins.get(begin)))
    return tuple(steps)


def _loops(text: str) -> dict[int, int]:
    """Return where each self-consistency loop begins, and the number of its step, from 0."""
    loops = [found for found in find("loop", text) if found.values[-1] == "1"]
    return {found.start: int(found.values[0]) - 1 for found in loops}


def _fermi_levels(part: str) -> tuple[float, ...]:
    """Return the last Fermi level, eV, or those of both spins; nothing where there is none."""
    words = [find_last("Fermi level", part)]
    if words[0] is None:
        words = [find_last(f"Fermi level {spin}", part) for spin in ("up", "down")]
    return tuple(finite_numbers([word or "" for word in words], len(words)) or ())


def _converged(part: str, version: str, *, looped: bool) -> bool | None:
    """Say how a self-consistency loop ended; None where there was none, or the words are new."""
    if next(find("not converged", part), None) is not None:
        return False
    if next(find("converged", part), None) is not None:
        return True
    return False if looped and known(version) else None


def format_log(calc: Calculation) -> str:
    """Return a log with the lines that readers of ABACUS's output look for."""
    structure, basis = calc.structure, calc.basis
    source = f"{calc.provenance.code} v{calc.provenance.version}".removesuffix(" v")
    lines = [
        f" written by dock {__version__}, not by ABACUS; the matrices come from {source}",
        "",
        " READING UNITCELL INFORMATION",
        f" ntype = {len(basis.species)}",
        f" lattice constant (Bohr) = {1.0 / BOHR!r}",
        " lattice constant (Angstrom) = 1",
    ]
    for index, label in enumerate(basis.species):
        ls = basis.ls(label)
        zetas = [ls.count(l) for l in range(max(ls) + 1)]
        lines += ["", f" READING ATOM TYPE {index + 1}", f" atom label = {label}"]
        lines += [f" L={l}, number of zeta = {count}" for l, count in enumerate(zetas)]
        lines.append(f" number of atom for this type = {structure.labels.count(label)}")
    lines += ["", f" TOTAL ATOM NUMBER = {structure.n_atoms}", "DIRECT COORDINATES"]
    lines.append("    atom                   x                   y                   z")
    seen: dict[str, int] = {}
    fractional = structure.fractional
    fractional[np.abs(fractional) < FOLD_MARGIN] = 0.0
    for label, point in zip(structure.labels, fractional, strict=True):
        seen[label] = seen.get(label, 0) + 1
        lines.append(f"taud_{label}{seen[label]} " + " ".join(repr(float(x)) for x in point))
    lines += ["", " Lattice vectors: (Cartesian coordinate: in unit of a_0)"]
    lines += [" " + " ".join(repr(float(x)) for x in vector) for vector in structure.cell]
    rows = basis.n_orbitals * (2 if calc.spin is Spin.NONCOLLINEAR else 1)
    lines += ["", f" NLOCAL = {rows}", f" nspin = {NSPIN[calc.spin]}"]
    if calc.n_electrons is not None:
        lines.append(f" AUTOSET number of electrons:  = {calc.n_electrons!r}")
    if calc.fermi_level is not None:
        lines.append(f" EFERMI = {calc.fermi_level!r} eV")
    reach = calc.provenance.extra.get("reach_angstrom")
    for kind, words in (("orbitals", "longest orb"), ("projectors", "longest nonlocal projector")):
        stored = reach.get(kind) if isinstance(reach, dict) else None
        radii = stored.values() if isinstance(stored, dict) else ()
        largest = max((float(x) for x in radii if isinstance(x, int | float)), default=0.0)
        if largest:
            lines.append(f" {words} rcut (Bohr) = {largest / BOHR:.10g}")
    lines.append(" TIME STATISTICS: none, as this log was not written by a run")
    return "\n".join(lines) + "\n"
