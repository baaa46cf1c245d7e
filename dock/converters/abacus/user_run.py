"""A user's own ABACUS run, from INPUT, STRU and KPT; the files of a restart like it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dock.converters.abacus.reader import ls_of_name
from dock.converters.abacus.running_log import read_log
from dock.converters.abacus.stru import StruFile, element_number, read_stru
from dock.converters.abacus.writer import write_density
from dock.converters.user_run import (
    Restart,
    UserRun,
    copy_beside,
    lies_in,
    listed_points,
    read_input,
    width_of,
    with_lines,
)
from dock.core.calculation import Calculation
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.text import finite_numbers
from dock.states.kmesh import KMesh
from dock.states.smearing import BOLTZMANN_EV, Smearing, SmearingKind
from dock.units import ABACUS

__all__ = ["RESTART"]

_KINDS: dict[str, tuple[SmearingKind, int]] = {
    "fd": ("fermi-dirac", 1),
    "gauss": ("gaussian", 1),
    "gaussian": ("gaussian", 1),
    "gauss1": ("gaussian", 1),
    "mp": ("methfessel-paxton", 1),
    "methfessel-paxton": ("methfessel-paxton", 1),
    "mp2": ("methfessel-paxton", 2),
    "mv": ("cold", 1),
    "cold": ("cold", 1),
    "marzari-vanderbilt": ("cold", 1),
}
_SIGMA_RY = "0.015"
_SIGMA_OF_KT = 0.5  # ABACUS takes kT in Hartree for a width in Rydberg
_NO = ("0", "false", "f", "no", "n", ".false.")
_NOTE = (
    "ABACUS starts from a density matrix since the builds of December 2025 ('init_chg dm'); older "
    "ones, 3.10 among them, stop at the keyword."
)


def _read(path: Path) -> UserRun:
    """Read a run's folder, a file in it, or its output folder; see `UserRun`.

    Raises
    ------
    FormatError, MissingDataError
        When an input cannot be understood, or is not there.
    UsageError
        When ABACUS does not start such a run from a density matrix.
    """
    folder = path.parent if path.is_file() else path
    folder = folder.parent if folder.name.startswith("OUT.") else folder
    given = _parameters(folder / "INPUT")
    suffix = given.get("suffix", "ABACUS")
    _refuse(folder, given, suffix)
    stru = read_stru(folder / given.get("stru_file", "STRU"))
    structure, shells = _atoms(stru, given)
    k_points = folder / given.get("kpoint_file", "KPT")
    mesh, is_list = _mesh(k_points)
    elsewhere = [str(file) for file in (stru.path, k_points) if not lies_in(file, folder)]
    return UserRun(
        input=folder / "INPUT",
        label=suffix,
        structure=structure,
        spin=Spin.COLLINEAR if _word(given, "nspin", "1") == "2" else Spin.NONE,
        shells=shells,
        sorted_by_l=True,
        mesh=mesh,
        smearing=_smearing(folder / "INPUT", given),
        n_electrons=_number(folder / "INPUT", given, "nelec", "0") or None,
        files=tuple(file for file in (stru.path, k_points) if lies_in(file, folder)),
        needs=(
            *elsewhere,
            *(
                f"{name} {given.get(name, './')} from where it is started"
                for name in ("pseudo_dir", "orbital_dir")
                if not Path(given.get(name, "./")).is_absolute()
            ),
        ),
        cautions=_cautions(given, is_list=is_list),
    )


def _cautions(given: dict[str, str], *, is_list: bool) -> tuple[str, ...]:
    """Return what the density matrix does not follow."""
    said = []
    if _word(given, "nupdown", "0") != "0":
        said.append(
            f"nupdown {given['nupdown']} is not looked at: both spins of the density matrix have "
            "one Fermi level."
        )
    if is_list:
        said.append(
            "its k-points are a list: the density matrix has them as they are, and if the list was "
            "reduced by the crystal's symmetry, it lacks that symmetry. A mesh in KPT has all."
        )
    return tuple(said)


def _word(given: dict[str, str], name: str, default: str) -> str:
    """Return a parameter as ABACUS understands it: numbers and booleans are written many ways."""
    word = given.get(name, default).lower()
    number = finite_numbers([word], 1)
    return "0" if word in _NO else word if number is None else f"{number[0]:g}"


def _parameters(path: Path) -> dict[str, str]:
    """Return the parameters of INPUT; of one that stands there twice ABACUS takes the last."""
    if not path.is_file():
        raise MissingDataError("INPUT", path.parent, "A run has it: give the run's folder.")
    parameters = {}
    for line in read_input(path).split("\n"):
        words = re.split(r"#|//", line)[0].split()
        if len(words) > 1:
            parameters[words[0].lower()] = words[1]
    return parameters


def _refuse(folder: Path, given: dict[str, str], suffix: str) -> None:
    """Refuse a run that does not start from a density matrix, or whose electrons are not known."""
    wanted = {  # nspin is 4, whatever it says, with noncolin or lspinorb
        "basis_type": (("lcao",), ""),
        "gamma_only": (("0",), ""),
        "noncolin": (("0",), ""),
        "lspinorb": (("0",), ""),
        "nspin": (("1", "2"), ""),
        "kspacing": (("0",), " and a file KPT"),
        "nelec_delta": (("0",), ": write nelec"),
    }
    for name, (allowed, more) in wanted.items():
        if _word(given, name, allowed[0]) not in allowed:
            raise UsageError(
                f"{folder / 'INPUT'}: ABACUS starts from a density matrix with {name} "
                f"{', '.join(allowed)}{more}; found {given[name]}."
            )
    for log in sorted((folder / f"OUT.{suffix}").glob("running_*.log")):
        version = read_log(log).version
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if numbers and (numbers < (3, 9) or numbers == (3, 10)):
            raise UsageError(
                f"{log}: the run is one of ABACUS {version}, which cannot start from a density "
                "matrix: 'init_chg dm' came in December 2025 (3.11). Take that version, and give a "
                "folder without the old output."
            )


def _atoms(
    stru: StruFile, given: dict[str, str]
) -> tuple[Structure, tuple[tuple[int, ...], ...] | None]:
    """Return the atoms, species by species as in ABACUS's matrices, and the l of their shells."""
    cell = stru.lattice(given.get("latname", "none"))
    if cell is None:
        raise MissingDataError("LATTICE_VECTORS", stru.path, "Write them for a named lattice too.")
    unknown = sorted(set(stru.labels) - {kind.label for kind in stru.species})
    if unknown:
        raise FormatError(
            stru.path, "atoms of a species that there is not", found=", ".join(unknown)
        )
    rank = {kind.label: place for place, kind in enumerate(stru.species)}
    numbers = [element_number(stru.species[rank[label]]) for label in stru.labels]
    order = np.argsort([rank[label] for label in stru.labels], kind="stable")
    positions = stru.fractional(cell) @ cell
    structure = Structure(cell, positions, np.array(numbers), stru.labels).select(order)
    try:
        ls = {kind.label: ls_of_name(stru.path.parent, kind.orbital) for kind in stru.species}
    except MissingDataError:
        return structure, None
    return structure, tuple(tuple(sorted(ls[label])) for label in structure.labels)


def _mesh(path: Path) -> tuple[KMesh, bool]:
    """Return the k-points of KPT, a mesh (Γ or Monkhorst and Pack) or a list; and if a list."""
    rows = [re.split(r"#|//", line)[0].split() for line in read_input(path).split("\n")]
    rows = [row for row in rows if row]
    kind = rows[2][0].lower() if len(rows) > 3 else ""
    numbers = finite_numbers([word for row in rows[3:] for word in row], _count(rows))
    if numbers and len(numbers) == 6 and kind in ("gamma", "mp", "monkhorst-pack"):
        size, offset = np.array(numbers[:3]), np.array(numbers[3:])
        if kind != "gamma":  # (2n − N − 1 + offset)/2N with n from 1
            offset = 0.5 * (offset + 1 - size)
        if np.array_equal(size, np.rint(size)) and size.min() >= 1:
            return KMesh.full(size.astype(int).tolist(), offset.tolist()), False
    if numbers and len(numbers) % 4 == 0 and kind == "direct":
        table = np.array(numbers).reshape(-1, 4)
        return listed_points(path, table[:, :3], table[:, 3]), True
    raise FormatError(
        path,
        "these k-points cannot be understood",
        expected="K_POINTS, 0, Gamma or MP, and six numbers; or a number, Direct, and a list",
        found=" ".join(word for row in rows[1:4] for word in row) or "nothing",
    )


def _count(rows: list[list[str]]) -> int:
    """Return how many numbers belong to the k-points: six, or four for each of a list."""
    listed = rows[1][0] if len(rows) > 1 else ""
    return 4 * int(listed) if listed.isdecimal() and int(listed) else 6


def _smearing(path: Path, given: dict[str, str]) -> Smearing:
    word = given.get("smearing_method", "gauss").lower()
    if word == "fixed":  # an insulator's: as sharp as makes no difference
        return Smearing()
    if word not in _KINDS:
        known = ", ".join(["fixed", *_KINDS])
        raise FormatError(path, "unknown smearing_method", expected=known, found=word)
    kind, order = _KINDS[word]
    name, unit = "smearing_sigma", ABACUS.rydberg_ev
    if "smearing_sigma_temp" in given:
        name, unit = "smearing_sigma_temp", _SIGMA_OF_KT * BOLTZMANN_EV
    width = width_of(path, name, _number(path, given, name, _SIGMA_RY), unit)
    return Smearing(kind, width, order)


def _number(path: Path, given: dict[str, str], name: str, default: str) -> float:
    values = finite_numbers([given.get(name, default)], 1)
    if values is None:
        raise FormatError(path, f"{name} is no number", found=given[name])
    return values[0]


def _write(calc: Calculation, run: UserRun, folder: Path) -> list[Path]:
    """Write ``OUT.<suffix>/dmrs1_nao.csr``, and the run's INPUT with ``init_chg dm``."""
    out = folder / f"OUT.{run.label}"
    out.mkdir()
    written = write_density(calc, out)
    lines = {"init_chg": "init_chg dm"}
    if "read_file_dir" in _parameters(run.input):
        lines["read_file_dir"] = f"read_file_dir ./OUT.{run.label}"
    text = with_lines(read_input(run.input), lines, _keyword, first=False)
    path = folder / "INPUT"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return [*written, path, *copy_beside(run, folder)]


def _keyword(line: str) -> str:
    words = re.split(r"#|//", line)[0].split(maxsplit=1)
    return words[0].lower() if words else ""


RESTART = Restart(_read, _write, ("density_matrix",), _NOTE)
