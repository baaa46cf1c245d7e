"""A user's own SIESTA run, from its fdf and what lies beside it; the files of a restart like it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from dock.converters.format import ReadOptions, WriteOptions
from dock.converters.siesta.dm import read_dm, write_dm
from dock.converters.siesta.fdf import FdfFile, fdf_key, read_fdf
from dock.converters.siesta.native import NativeCalculation
from dock.converters.siesta.reader import read_calculation
from dock.converters.siesta.run import RunFiles, find_main
from dock.converters.siesta.structure import element_numbers, species_of_ions
from dock.converters.user_run import (
    Restart,
    UserRun,
    copy_beside,
    lies_in,
    listed_points,
    only_input,
    read_input,
    width_of,
    with_lines,
)
from dock.core.calculation import Calculation
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.text import finite_numbers, read_text
from dock.states.kmesh import KMesh
from dock.states.smearing import BOLTZMANN_EV, Smearing
from dock.units import SIESTA5

__all__ = ["RESTART"]

_log = logging.getLogger("dock")

_LINES = {"dmusesavedm": "DM.UseSaveDM true"}
_SPINS = {
    **dict.fromkeys(("", "none", "nonpolarized", "nonpolarised", "np"), 1),
    **dict.fromkeys(("polarized", "polarised", "collinear", "colinear", "p"), 2),
    **dict.fromkeys(("noncollinear", "noncolinear", "nc"), 4),
    **dict.fromkeys(("spinorbit", "so", "soc", "spinorbit+onsite", "spinorbit+offsite"), 8),
}
_SPIN = {1: Spin.NONE, 2: Spin.COLLINEAR, 4: Spin.NONCOLLINEAR, 8: Spin.NONCOLLINEAR}
_UNITS_EV = {
    "k": BOLTZMANN_EV,
    "ev": 1.0,
    "mev": 1e-3,
    "ry": SIESTA5.rydberg_ev,
    "mry": 1e-3 * SIESTA5.rydberg_ev,
    "ha": SIESTA5.hartree_ev,
    "hartree": SIESTA5.hartree_ev,
}
_COUPLING = (1e-3, 0.02)  # eV: largest spin–orbit parts of H that are told, and that are refused
_SAME = 1e-6  # between cells of a density matrix of the Γ point
_PSEUDO = (".psml", ".psf", ".vps")
_IONS = (".ion.nc", ".ion.xml", ".ion")


def _read(path: Path) -> UserRun:
    """Read a run's folder, its fdf, or a matrix file of it; see `UserRun`.

    Raises
    ------
    FormatError, MissingDataError
        When the input cannot be understood, or there is none.
    """
    fdf = read_fdf(_find_input(path))
    folder = fdf.path.parent
    main = find_main(fdf.path) if path.suffix == ".fdf" else find_main(path)
    own = None if main is None else read_calculation(main, ReadOptions())
    structure, labels = _structure(fdf, own)
    shells = None
    if own is not None and own.structure.n_atoms == structure.n_atoms:
        shells = tuple(own.basis.ls(label) for label in own.basis.labels)
    elif (kinds := _kinds_of_ions(folder, labels)) is not None:
        shells = tuple(kinds[label] for label in structure.labels)
    return UserRun(
        input=fdf.path,
        label=fdf.label,
        structure=structure,
        spin=_SPIN[_components(fdf)],
        shells=shells,
        mesh=_mesh(fdf, structure),
        smearing=_smearing(fdf),
        n_electrons=None if own is None else own.n_electrons,
        files=_files(fdf, labels),
        needs=_needs(fdf, labels),
        cautions=_cautions(fdf, counted=own is not None and own.n_electrons is not None),
    )


def _find_input(path: Path) -> Path:
    if path.suffix == ".fdf":
        return path
    if path.is_file():
        fdf = RunFiles(path).fdf
        if fdf is not None:
            return fdf.path
    folder = path if path.is_dir() else path.parent
    found = [file for file in sorted(folder.glob("*.fdf")) if _is_whole(file)]
    return only_input(folder, found, "fdf file")


def _is_whole(path: Path) -> bool:
    """Say whether an fdf is an input, and not only included by one."""
    return read_fdf(path).block("ChemicalSpeciesLabel") is not None


def _structure(fdf: FdfFile, own: Calculation | None) -> tuple[Structure, tuple[str, ...]]:
    """Return the atoms of the input, and the labels of its species."""
    kinds = fdf.species()
    labels = tuple(label for _, label in kinds)
    numbers = np.array(element_numbers(fdf.path, [number for number, _ in kinds]))
    try:
        cell, positions, species = fdf.atoms(SIESTA5)
    except MissingDataError:
        if own is None:
            raise
        return own.structure, labels
    if species.min() < 0 or species.max() >= len(labels):
        _fail(fdf, "AtomicCoordinatesAndAtomicSpecies", f"species 1 to {len(labels)}", species + 1)
    of_atoms = tuple(labels[kind] for kind in species)
    return Structure(cell, positions, numbers[species], of_atoms), labels


def _kinds_of_ions(folder: Path, labels: tuple[str, ...]) -> dict[str, tuple[int, ...]] | None:
    """Return the l of each species' shells by the ion files in the folder; None without them."""
    try:
        species = species_of_ions(folder, labels)
    except MissingDataError:
        return None
    return {kind.label: tuple(l for _, l, _, _ in kind.shells) for kind in species}


def _components(fdf: FdfFile) -> int:
    """Return the number of spin components of the run's files."""
    if fdf_key("Spin") in fdf.values:
        word = (fdf.text("Spin").lower().split() or [""])[0]
        count = _SPINS.get(fdf_key(word))
        if count is None:
            _fail(fdf, "Spin", "non-polarized, polarized, non-collinear or spin-orbit", word)
        return count
    old = {"SpinOrbit": 8, "NonCollinearSpin": 4, "SpinPolarized": 2}
    return next((count for keyword, count in old.items() if fdf.flag(keyword)), 1)


def _mesh(fdf: FdfFile, structure: Structure) -> KMesh:
    """Return the k-points: the block's where it is diagonal, else those that the run listed.

    SIESTA's displacements are shifts in steps of the mesh, whatever the number of points: 0.5 for
    an odd one has Γ not on the mesh, where Monkhorst and Pack have it.
    """
    block = fdf.block("kgrid.MonkhorstPack")
    if block is not None:
        words = [word for line in block for word in line.split()[:4]]
        values = finite_numbers(words, 12)
        if values is None:
            _fail(fdf, "kgrid.MonkhorstPack", "three lines of four numbers", " ".join(words))
        table = np.array(values).reshape(3, 4)
        matrix = np.rint(table[:, :3]).astype(int)
        if np.array_equal(matrix, np.diag(np.diag(matrix))) and np.diag(matrix).min() > 0:
            return KMesh.full(np.diag(matrix).tolist(), table[:, 3].tolist())
    elif not any(fdf_key(name) in fdf.values for name in ("kgrid.Cutoff", "kgrid.File")):
        return KMesh.full((1, 1, 1))
    listed = fdf.path.parent / f"{fdf.label}.KP"
    if not listed.is_file():
        raise MissingDataError(
            "a k-grid of three numbers",
            fdf.path,
            "Its grid is not diagonal, or given by a cut-off or a file: keep the run's "
            f"{listed.name}, which lists the points, beside it, or write a diagonal block "
            "kgrid.MonkhorstPack.",
        )
    return _listed(listed, structure)


def _listed(path: Path, structure: Structure) -> KMesh:
    """Return the points of a KP file: number, three Cartesian numbers in 1/Bohr, weight."""
    words = read_text(path).split()
    values = finite_numbers(words[1:], len(words) - 1)
    is_list = bool(values) and words[0].isdecimal() and 5 * int(words[0]) == len(words) - 1
    if not values or not is_list:
        raise FormatError(path, "this is no list of k-points", expected="5 columns")
    table = np.array(values).reshape(-1, 5)
    points = table[:, 1:4] / SIESTA5.bohr_angstrom @ structure.cell.T / (2 * np.pi)
    return listed_points(path, points, table[:, 4])


def _smearing(fdf: FdfFile) -> Smearing:
    words = fdf.text("ElectronicTemperature", "300 K").split()
    unit = _UNITS_EV.get(words[1].lower()) if len(words) > 1 else None
    number = fdf.number("ElectronicTemperature") if len(words) > 1 else None
    if unit is None:
        _fail(fdf, "ElectronicTemperature", "a number with K, eV, meV, Ry or mRy", " ".join(words))
    kelvin = 300.0 if number is None else number
    width = width_of(fdf.path, "ElectronicTemperature", kelvin, unit)
    kind = fdf_key((fdf.text("OccupationFunction", "FD").split() or ["FD"])[0])
    if kind == "mp":
        return Smearing("methfessel-paxton", width, int(fdf.number("OccupationMPOrder") or 1))
    if kind not in ("fd", "cold"):
        _fail(fdf, "OccupationFunction", "FD, MP or Cold", kind)
    return Smearing("cold" if kind == "cold" else "fermi-dirac", width)


def _files(fdf: FdfFile, labels: tuple[str, ...]) -> tuple[Path, ...]:
    """Return what the input takes from its own folder: included files and pseudopotentials."""
    folder = fdf.path.parent
    endings = (*_PSEUDO, *(_IONS if fdf.flag("User.Basis") else ()))
    kinds = [folder / f"{label}{ending}" for label in labels for ending in endings]
    inside = [path for path in fdf.included if lies_in(path, folder)]
    return tuple(dict.fromkeys([*inside, *(path for path in kinds if path.is_file())]))


def _needs(fdf: FdfFile, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return what the input takes from elsewhere, in words."""
    folder = fdf.path.parent
    outside = [str(path) for path in fdf.included if not lies_in(path, folder)]
    if fdf.flag("User.Basis"):
        return tuple(outside)
    there = {file.name.removesuffix(file.suffix) for file in folder.iterdir() if _is_pseudo(file)}
    return (
        *outside,
        *(f"the pseudopotential of {label}" for label in labels if label not in there),
    )


def _cautions(fdf: FdfFile, *, counted: bool) -> tuple[str, ...]:
    """Return what the density matrix does not follow; a run that was made counts its charge."""
    said = []
    if not counted and fdf.number("NetCharge"):
        said.append(
            f"NetCharge {fdf.text('NetCharge')} is not looked at: the density matrix has the "
            "electrons of the matrices. Keep the run's own matrices beside it, which count it."
        )
    if fdf.flag("Spin.Fix"):
        said.append(
            "Spin.Fix is not looked at: both spins of the density matrix have one Fermi level."
        )
    return tuple(said)


def _is_pseudo(path: Path) -> bool:
    return path.suffix in _PSEUDO


def _write(calc: Calculation, run: UserRun, folder: Path) -> list[Path]:
    """Write ``<label>.DM``, and the run's fdf with ``DM.UseSaveDM true``."""
    fdf = read_fdf(run.input)
    settings = {"name": run.label}
    if calc.spin is Spin.NONCOLLINEAR:
        settings["components"] = str(_components(fdf))
        if settings["components"] == "4":
            calc = _of_four_components(calc, run)
    options = WriteOptions(quantities=("density_matrix",), settings=settings)
    if _is_folded(fdf, run):
        calc = _folded(calc, run)
    paths = [folder / f"{run.label}.DM", folder / run.input.name]
    with paths[0].open("wb") as stream:
        write_dm(stream, NativeCalculation(calc, options))
    text = with_lines(read_input(run.input), _LINES, _keyword, first=True)
    paths[1].write_bytes(text.encode("utf-8", "surrogateescape"))
    return [*paths, *copy_beside(run, folder)]


def _keyword(line: str) -> str:
    words = line.split("#", maxsplit=1)[0].split()
    return fdf_key(words[0].rstrip("=:")) if words else ""


def _is_folded(fdf: FdfFile, run: UserRun) -> bool:
    """Say whether the run has no auxiliary supercell: its matrices are folded into one cell."""
    if run.mesh is None or run.mesh.n_full != 1 or np.any(run.mesh.points):
        return False
    before = run.input.parent / f"{run.label}.DM"
    if before.is_file():
        return read_dm(before).nsc == (1, 1, 1)
    others = ("BandLines", "BandPoints", "WaveFuncKPoints", "PDOS.kgrid.MonkhorstPack")
    return not (fdf.flag("ForceAuxCell") or any(fdf.block(name) is not None for name in others))


def _of_four_components(calc: Calculation, run: UserRun) -> Calculation:
    """Return the density as a run without spin–orbit coupling keeps it.

    That is Re ρ_uu, Re ρ_dd and the mean of ρ_ud and ρ_du*.
    """
    if "hamiltonian" in calc.available:
        uu, ud, du, dd = calc.require("hamiltonian").entries
        largest = max(np.abs(x).max(initial=0.0) for x in (uu.imag, dd.imag, ud - du.conj()))
        if largest > _COUPLING[1]:
            raise LayoutError(
                f"{run.input}: this run is one of another spin than {calc.source}: without "
                f"spin-orbit coupling, and the Hamiltonian has some, up to {largest:.3g} eV. Give "
                "the run that it is a restart of."
            )
        if largest > _COUPLING[0]:
            _log.warning(
                "%s: without spin-orbit coupling, and the Hamiltonian of %s has parts of it up to "
                "%.3g eV; the error of a prediction may be that large. The density matrix is kept "
                "without them.",
                run.input,
                calc.source,
                largest,
            )
    density = calc.require("density_matrix")
    uu, ud, du, dd = density.entries
    mean = 0.5 * (ud + du.conj())
    entries = np.stack([uu.real.astype(mean.dtype), mean, mean.conj(), dd.real.astype(mean.dtype)])
    return calc.replace(matrices={"density_matrix": density.with_entries(entries)})


def _folded(calc: Calculation, run: UserRun) -> Calculation:
    """Return a density of the Γ point, the same in all cells, as that of one cell."""
    density = calc.require("density_matrix")
    pairs = density.pairs
    numbers = pairs.i.astype(np.int64) * pairs.n_atoms + pairs.j
    _, first, back = np.unique(numbers, return_index=True, return_inverse=True)
    kept = density.take_pairs(first)
    apart = np.abs(kept.layout.take(kept.entries, back.ravel()) - density.entries)
    if (largest := apart.max(initial=0.0)) > _SAME:
        raise LayoutError(
            f"{run.input}: this run is one of the Γ point alone, and the density matrix of "
            f"{calc.source} is not: it differs from cell to cell by up to {largest:.3g}. Give a "
            "Hamiltonian, from which that of the Γ point is computed."
        )
    cells = np.zeros((len(first), 3), dtype=np.int32)
    home = Pairs(cells, kept.pairs.i, kept.pairs.j, pairs.n_atoms)
    folded: AOMatrix = replace(kept, pairs=home)
    return calc.replace(matrices={"density_matrix": folded})


def _fail(fdf: FdfFile, where: str, expected: object, found: object) -> NoReturn:
    raise FormatError(
        fdf.path,
        "the input cannot be understood",
        expected=expected,
        found=found,
        where=where,
        fix="Correct the fdf file.",
    )


RESTART = Restart(_read, _write, ("density_matrix",))
