"""A user's own OpenMX run, from its input and report; the files of a restart like it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import ReadOptions, WriteOptions
from dock.converters.openmx.dat import OpenmxInput, parse_input
from dock.converters.openmx.keywords import InputText
from dock.converters.openmx.reader import read_calculation
from dock.converters.openmx.restart import write_restart
from dock.converters.openmx.writer import scfout_of
from dock.converters.user_run import Restart, UserRun, only_input, read_input, width_of, with_lines
from dock.core.basis import shell_letter, shell_numbers
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import MissingDataError, UsageError
from dock.io.text import read_text
from dock.states.kmesh import KMesh
from dock.states.smearing import BOLTZMANN_EV, Smearing
from dock.units import OPENMX

__all__ = ["RESTART"]

_SPIN = {"off": Spin.NONE, "on": Spin.COLLINEAR, "nc": Spin.NONCOLLINEAR}
_FILENAME, _DIRECTORY = "scf.restart.filename", "System.CurrrentDirectory"  # so it is spelled
_MARK = "<atoms.speciesandcoordinates"
_NOTE = (
    "OpenMX diagonalises this Hamiltonian in its first step and mixes on from there; how many "
    "steps that saves was not measured. For the bands of this Hamiltonian alone set scf.maxIter 1."
)


def _read(path: Path) -> UserRun:
    """Read a run's folder or its input; see `UserRun`.

    It raises `FormatError` where the input cannot be understood, `MissingDataError` without one.
    """
    found = _find_input(path)
    source = parse_input(read_input(found), found)
    positions = source.positions_bohr * OPENMX.bohr_angstrom
    structure = Structure(_cell(found, source), positions, source.numbers, source.labels)
    contracted = source.orbital_optimization
    shells = [kind.pao.shells(contracted=contracted) for kind in source.species]
    has_bands = source.solver.lower() == "band"
    return UserRun(
        input=found,
        label=source.system_name,
        structure=structure,
        spin=_SPIN[source.spin],
        shells=tuple(shells[kind] for kind in source.atom_species),
        sorted_by_l=True,
        mesh=KMesh.full(source.kgrid, "openmx") if has_bands else KMesh.full((1, 1, 1)),
        smearing=Smearing(
            width=width_of(found, "scf.ElectronicTemperature", source.temperature, BOLTZMANN_EV)
        ),
        needs=_needs(found, source),
        cautions=_cautions(found, source),
    )


def _find_input(path: Path) -> Path:
    if path.is_file() and path.suffix != ".scfout":
        return path
    folder = path if path.is_dir() else path.parent
    texts = [file for file in sorted(folder.glob("*.dat")) if _MARK in read_input(file).lower()]
    return only_input(folder, texts, "input file")


def _cell(path: Path, source: OpenmxInput) -> NDArray[np.float64]:
    """Return the lattice vectors, Å; of an input without them those that the run has made."""
    if source.cell_bohr is not None:
        return source.cell_bohr * OPENMX.bohr_angstrom
    content = path.parent / f"{source.system_name}.scfout"
    if not content.is_file():
        raise MissingDataError(
            "Atoms.UnitVectors",
            path,
            f"OpenMX makes a cell of its own then: write it there, or keep {content.name} beside "
            "the input.",
        )
    return np.asarray(read_calculation(content, ReadOptions()).structure.cell, dtype=np.float64)


def _needs(path: Path, source: OpenmxInput) -> tuple[str, ...]:
    text = InputText(source.text, path)
    data, place = text.value("DATA.PATH", "../DFT_DATA19"), text.value(_DIRECTORY, "./")
    needs = [] if Path(data).is_absolute() else [f"DATA.PATH {data} from where it is started"]
    if Path(place) != Path():
        needs.append(f"{source.system_name}_rst in its {_DIRECTORY} {place}")
    return tuple(needs)


def _cautions(path: Path, source: OpenmxInput) -> tuple[str, ...]:
    (charge,) = InputText(source.text, path).numbers("scf.system.charge", "0", 1)
    if not charge:
        return ()
    said = f"scf.system.charge {charge:g} is not looked at: the density matrix has the electrons"
    return (f"{said} of the matrices.",)


def _grid(path: Path, source: OpenmxInput) -> tuple[int, int, int]:
    """Return the grid in space of the run: of its report, or as the input asks for it."""
    text = InputText(source.text, path)
    if "scf.ngrid" in text.values:
        return _three(text.numbers("scf.Ngrid", None, 3))
    report = path.parent / f"{source.system_name}.out"
    if report.is_file():
        found = dict(re.findall(r"Num\.Grid([123])\.\s+(\d+)", read_text(report)))
        if len(found) == 3:
            return _three([int(found[axis]) for axis in "123"])
    raise MissingDataError(
        "the grid of the run in space",
        path,
        f"OpenMX takes restart files of that grid only: keep {report.name} beside the input, which "
        "has Num.Grid1 to Num.Grid3 (also of a run that was stopped), or give scf.Ngrid.",
    )


def _three(values: list[float] | list[int]) -> tuple[int, int, int]:
    a, b, c = (int(value) for value in values)
    return a, b, c


def _write(calc: Calculation, run: UserRun, folder: Path) -> list[Path]:
    """Write ``<System.Name>_rst``, and the run's input with the lines for the start."""
    source = parse_input(read_input(run.input), run.input)
    text = with_lines(source.text, _lines(run.input, source), _keyword, first=False)
    if not source.spin_orbit:
        text = _without_corrections(text)
    matrices = ("overlap", "hamiltonian", "density_matrix")
    settings = {"spin_orbit": "on" if source.spin_orbit else "off"}
    content = scfout_of(calc, WriteOptions(quantities=matrices, settings=settings))
    made = write_restart(
        folder,
        run.label,
        content,
        atom_species=source.atom_species,
        grid=_grid(run.input, source),
        spin_orbit=source.spin_orbit,
    )
    path = folder / run.input.name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [*sorted(made.iterdir()), path]


def _lines(path: Path, source: OpenmxInput) -> dict[str, str]:
    """Return the lines by which OpenMX takes the Hamiltonian of the files, under their own name.

    It does so with spin–orbit coupling or +U; else it would make one of the density again. So +U
    is switched on with every U zero.
    """
    text, lines = InputText(source.text, path), {"scf.restart": "scf.restart on"}
    if _FILENAME.lower() in text.values:  # of another run's files
        lines[_FILENAME.lower()] = f"{_FILENAME} {source.system_name}"
    if source.spin_orbit or text.value("scf.Hubbard.U", "off").lower() == "on":
        return lines
    if source.spin == "nc":
        raise UsageError(
            f"{path}: a non-collinear run without spin-orbit coupling makes its Hamiltonian of the "
            "density, whatever is in the files: it cannot be started from one."
        )
    if "hubbard.u.values" in text.blocks:
        raise UsageError(
            f"{path}: +U is to be switched on with every U zero, and the input has a block "
            "Hubbard.U.values while scf.Hubbard.U is off. Take the block out."
        )
    block = ["<Hubbard.U.values"]
    for kind in source.species:
        ls = kind.pao.shells(contracted=source.orbital_optimization)
        words = (f"{n}{shell_letter(l)} 0.0" for l, n in zip(ls, shell_numbers(ls), strict=True))
        block.append(f" {kind.label} {' '.join(words)}")
    lines["scf.hubbard.u"] = "scf.Hubbard.U on"
    lines["<hubbard.u.values"] = "\n".join([*block, "Hubbard.U.values>"])
    return lines


def _without_corrections(text: str) -> str:
    """Return an input whose atoms say that +U does not polarise their orbitals."""
    rows, inside = text.split("\n"), False
    for number, row in enumerate(rows):
        words = row.partition("#")[0].split()
        first = words[0].lower() if words else ""
        if first == _MARK:
            inside = True
        elif first == f"{_MARK[1:]}>":
            inside = False
        elif inside and words and words[-1].lower() not in ("on", "off"):
            before, mark, comment = row.rstrip("\r").partition("#")
            end = "\r" if row.endswith("\r") else ""
            rows[number] = f"{before.rstrip()} off{' ' if mark else ''}{mark}{comment}{end}"
    return "\n".join(rows)


def _keyword(line: str) -> str:
    words = line.partition("#")[0].split(maxsplit=1)
    return words[0].lower() if words else ""


RESTART = Restart(_read, _write, ("overlap", "hamiltonian", "density_matrix"), _NOTE)
