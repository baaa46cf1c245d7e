"""From a CP2K run to a Calculation: what input, log and basis files say of the matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dock.converters.cp2k.basis_set import basis_files, files_in, find_shells, parse_shells
from dock.converters.cp2k.cp2k_log import Cp2kLog
from dock.converters.cp2k.input_file import Section, read_input
from dock.converters.cp2k.matrices import MEASURED, Run, threshold
from dock.converters.cp2k.run import RunFiles, run_files
from dock.converters.cp2k.system import System, read_system
from dock.converters.format import ReadOptions
from dock.core.basis import Basis
from dock.core.calculation import Calculation, Provenance
from dock.errors import FormatError
from dock.units import CP2K

__all__ = ["FOLDED", "read_calculation"]

FOLDED = (
    "The run had no k-points: CP2K has added up all lattice vectors in the matrices, so only the "
    "Gamma point of this cell can be computed from them. With '&KPOINTS SCHEME GAMMA' and "
    "REAL_SPACE .TRUE. it writes them image by image."
)
_OTHER_VERSION = (
    "CP2K {version} was not measured, only {measured}: its overlap is held against that of the "
    "basis set when a matrix is read."
)
_DROPPED = "The input has a THRESHOLD of {value}: smaller entries were left out of the files."
_NO_LEVEL = (
    "No Fermi level is taken from the log: CP2K prints the highest occupied level there, and no "
    "empty one was printed beside it. Give ADDED_MOS and MO with EIGENVALUES, or let dock find "
    "the middle of the gap."
)
_METHODS = {"GPW", "GAPW", "GAPW_XC", "LRIGPW", "RIGPW"}
_SAME_CELL = 1e-3  # Å: the log has three digits
_SAME_POSITIONS = 2e-5  # Å: the log has six digits
_FULL = 1e-4  # electrons: a level with fewer is empty


def read_calculation(path: Path, options: ReadOptions) -> Calculation:
    """Read a CP2K run; the matrices are read when asked for.

    Atoms keep order and positions of the input; the lattice vectors of the pairs count from there.

    Parameters
    ----------
    path
        The run's folder, or a file in it.
    options
        ``basis``: the folder of CP2K's basis sets, or the file itself. Without it they are looked
        for beside the input, where the log says that CP2K's data are, and in CP2K_DATA_DIR.

    Raises
    ------
    MissingDataError
        When log, input, basis set or matrices are missing.
    FormatError
        When a file is damaged, of another run, or of a kind that is not read.
    """
    files = run_files(path.parent if path.is_file() else path)
    root = read_input(files.input)
    dft = _checked_dft(files, root)
    system = read_system(files.input, root, CP2K.bohr_angstrom)
    _require_same_cell(files, system)
    _require_same_atoms(files, system)
    basis, sets = _basis(files, dft, system, options)
    run = Run(files, dft, system, basis)
    calc = Calculation(
        system.structure,
        basis,
        run.spin,
        run.readers(),
        _fermi_level(files.log),
        files.log.n_electrons,
        source=str(path),
    )
    return calc.replace(provenance=_provenance(run, sets))


def _checked_dft(files: RunFiles, root: Section) -> Section:
    """Return the section DFT; refuse methods whose matrices are of another kind."""
    dft = root.find("FORCE_EVAL", "DFT")
    problem, found = "", ""
    if dft is None:
        problem, found = "there is no section DFT", "none in FORCE_EVAL"
    elif dft.flag("ROKS", "RESTRICTED_OPEN_KOHN_SHAM"):
        problem = "the levels of a restricted open shell belong to no Kohn-Sham matrix"
        found = "ROKS"
    else:
        method = ((dft.find("QS") or Section("QS")).value("METHOD") or "GPW").upper()
        if method not in _METHODS:
            problem, found = "the method has no basis set of Gaussians", f"METHOD {method}"
    if problem or dft is None:
        raise FormatError(
            files.input,
            problem,
            expected=f"Kohn-Sham DFT with METHOD {', '.join(sorted(_METHODS))}",
            found=found,
            fix="Run CP2K with one of these, UKS for open shells.",
        )
    return dft


def _require_same_cell(files: RunFiles, system: System) -> None:
    """Hold the cell of the input against that of the log: SYMMETRY in CELL may change it."""
    if files.log.cell is None:
        return
    apart = float(np.abs(files.log.cell - system.structure.cell).max())
    if apart > _SAME_CELL:
        raise FormatError(
            files.input,
            "input and log have other cells",
            expected=f"lattice vectors {files.log.cell.tolist()} Å, of {files.log.path.name}",
            found=f"others, up to {apart:.3g} Å from there",
            fix="Copy the input of this run. If it is that, CP2K has made another cell for the "
            "SYMMETRY in CELL: leave that out and run again.",
        )


def _require_same_atoms(files: RunFiles, system: System) -> None:
    """Hold the atoms of the input against those that the log prints, where it does."""
    log, structure = files.log, system.structure
    if system.is_centred and files.by_image:
        raise FormatError(
            files.input,
            "atoms that CP2K centres are not where the input has them",
            found="CENTER_COORDINATES",
            fix="Leave it out, or put the positions of the log into the input, and run again.",
        )
    if log.positions is None:
        return
    apart = np.inf
    if len(log.positions) == structure.n_atoms:
        moved = log.positions - structure.positions
        apart = float(np.abs(moved - (moved[0] if system.is_centred else 0.0)).max())
    if not apart < _SAME_POSITIONS:
        raise FormatError(
            files.input,
            "input and log have other atoms",
            expected=f"the {len(log.positions)} atoms of {log.path.name}",
            found=f"{structure.n_atoms} atoms, up to {apart:.3g} Å from there",
            fix="Copy the input of this run.",
        )


def _basis(
    files: RunFiles, dft: Section, system: System, options: ReadOptions
) -> tuple[Basis, dict[str, str]]:
    """Return the basis, and the name of each species' set."""
    names = [value.strip("'\"") for value in dft.values("BASIS_SET_FILE_NAME")] or ["BASIS_SET"]
    given = options.basis
    places = [given, files.folder, files.log.data_folder]
    found = basis_files(names, places)
    if given is not None:
        found += [file for file in files_in(given) if file not in found]
    shells = {}
    for label, kind in system.kinds.items():
        if kind.lines:
            shells[label] = parse_shells(files.input, kind.lines, f"BASIS of KIND {label}")
        else:
            shells[label] = find_shells(found, kind.element, kind.basis, files.input)[0]
    sets = {label: kind.basis for label, kind in system.kinds.items()}
    return Basis(shells, system.structure.labels), sets


def _fermi_level(log: Cp2kLog) -> float | None:
    """Return the level of the log; where it is the highest occupied one, the middle of the gap."""
    if not log.fermi_levels:
        return None
    if log.is_smeared:  # CP2K has solved for it
        return max(log.fermi_levels)
    if not log.levels:
        return None
    energies = np.concatenate([levels.energies for levels in log.levels])
    filling = np.concatenate([levels.occupations for levels in log.levels])
    full = np.concatenate([levels.occupations.max(keepdims=True) for levels in log.levels]).max()
    if np.any((filling > _FULL) & (filling < full - _FULL)):  # smeared as well
        return max(log.fermi_levels)
    if np.all(filling > _FULL) or not np.any(filling > _FULL):  # one side of the gap alone
        return None
    top, bottom = float(energies[filling > _FULL].max()), float(energies[filling <= _FULL].min())
    return 0.5 * (top + bottom) if bottom > top else max(log.fermi_levels)


def _provenance(run: Run, sets: dict[str, str]) -> Provenance:
    files, log = run.files, run.log
    extra: dict[str, Any] = {"project": log.project, "basis_sets": sets}
    extra |= {"hartree_ev": log.hartree_ev, "eps_default": run.eps_default}
    notes = []
    if log.converged is not None:
        extra["converged"] = log.converged
    if log.converged is False:
        notes.append("The log says that the self-consistency cycle did not converge.")
    if not log.finished:
        extra["finished"] = False
        notes.append("The log ends before the run does: it had not finished.")
    if log.version not in MEASURED:
        notes.append(_OTHER_VERSION.format(version=log.version, measured=", ".join(MEASURED)))
    if run.is_folded:
        extra["gamma_only"] = True
        notes.append(FOLDED)
    if log.fermi_levels and _fermi_level(log) is None:
        notes.append(_NO_LEVEL)
    for quantity in files.matrices:
        section = run.print_section(quantity)
        if threshold(section) > 0:
            notes.append(_DROPPED.format(value=section.value("THRESHOLD")))
    if notes:
        extra["notes"] = list(dict.fromkeys(notes))
    matrices = [path.name for group in files.matrices.values() for part in group for path in part]
    shown = matrices if len(matrices) <= 6 else [matrices[0], f"… {len(matrices)} files"]
    names = [*shown, *([files.ao.name] if files.ao else []), files.input.name, log.path.name]
    return Provenance("CP2K", log.version, tuple(names), "", extra)
