"""From an ABACUS output folder to a Calculation: basis, structure of the step, spin, notes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.abacus.matrices import MatrixReader, sparse_file
from dock.converters.abacus.orb import read_orb
from dock.converters.abacus.run import RunFiles, find_run
from dock.converters.abacus.running_log import NSPIN, AbacusLog, Frame, read_log
from dock.converters.abacus.stru import FOLD_MARGIN, StruFile, element_number, read_stru
from dock.converters.format import ReadOptions
from dock.core.basis import SHELL_LETTERS, Basis, Shell, shell_letter, shell_numbers
from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.text import open_binary

__all__ = ["FOLDED", "PAULI_DM", "read_calculation"]

PAULI_DM = (
    "ABACUS keeps only the Pauli components n, m_x, m_y, m_z of the density matrix of spinors: "
    "charge and moments are right, the rest of the spin-orbit density matrix is not there."
)
FOLDED = (
    "The run was gamma_only: ABACUS has added up all lattice vectors in the matrices, so only the "
    "Gamma point of this cell can be computed from them."
)
_SPINS = {number: spin for spin, number in NSPIN.items()}
_HEADER = 4096  # bytes at the beginning of a matrix file that are looked through
_CELL_TOLERANCE = 2e-5  # relative: the log prints six digits, the lattice constant likewise
_POSITION_TOLERANCE = 1e-8  # in units of the cell: the log prints ten digits


def read_calculation(path: Path, options: ReadOptions) -> Calculation:
    """Read an output folder of ABACUS; the matrices are read when asked for.

    Atoms come in the order of the matrices and folded into the cell, as ABACUS counts the lattice
    vectors. Energies and lengths are converted with ABACUS's own constants.

    Parameters
    ----------
    path
        ``OUT.<suffix>``, the run's folder, or a file in it.
    options
        ``basis``: the folder of the ``.orb`` files; then the shells carry radial functions. The
        setting ``step``: the ionic step, from 0; default the last one whose matrices are there.

    Raises
    ------
    MissingDataError
        When the log, the basis or the step is missing.
    FormatError
        When files are damaged or belong to different runs.
    """
    files = find_run(path, _wanted_step(options))
    log = read_log(files.log) if files.log is not None else None
    stru = read_stru(files.stru) if files.stru is not None else None
    notes: list[str] = []
    basis = _basis(files, log, stru, options.basis)
    number = _step_number(files, basis, log)
    structure = _structure(files, log, stru, number, notes)
    if structure.labels != basis.labels:
        basis = Basis(basis.shells, structure.labels)
    spin = _spin(files, log)
    matrices = MatrixReader(files, structure, basis, spin, number)
    if spin is Spin.NONCOLLINEAR and "density_matrix" in files.matrices:
        notes.append(PAULI_DM)
    if _is_folded(files):
        notes.append(FOLDED)
    if log is not None and log.converged is False:
        notes.append("The log says that the last self-consistency loop did not converge.")
    return Calculation(
        structure,
        basis,
        spin,
        matrices.readers(),
        _fermi_level(log, number),
        log.n_electrons if log else None,
        _provenance(files, log, stru, number, notes),
        str(path),
    )


def _wanted_step(options: ReadOptions) -> int | None:
    """Return the step asked for by the setting ``step``."""
    text = options.settings.get("step")
    if text is None:
        return None
    if not text.isdigit():
        raise UsageError(f"the setting step is a number from 0, found '{text}'.")
    return int(text)


def _basis(
    files: RunFiles, log: AbacusLog | None, stru: StruFile | None, folder: Path | None
) -> Basis:
    """Return the shells of each species: from the log, else from the names of the orbital files."""
    if log is not None:
        shells = {kind.label: _named_shells(kind.ls) for kind in log.species}
        labels = log.labels
    elif stru is not None:
        shells = {
            kind.label: _named_shells(_ls_of_name(files, kind.orbital)) for kind in stru.species
        }
        labels = stru.labels
    else:
        raise MissingDataError(
            "the log running_*.log", files.folder, "It holds basis and structure: copy it there."
        )
    if folder is not None:
        shells |= _with_radials(shells, stru, folder)
    return Basis(shells, labels)


def _named_shells(ls: tuple[int, ...]) -> tuple[Shell, ...]:
    """Return shells labelled as in ABACUS's tables: ``2s``, the second zeta of l = 0."""
    return tuple(
        Shell(l, f"{shell_letter(l)} zeta {number}")
        for l, number in zip(ls, shell_numbers(ls), strict=True)
    )


def _ls_of_name(files: RunFiles, name: str) -> tuple[int, ...]:
    """Return the shells that the name of an orbital file says: ``…_2s2p1d.orb``."""
    match = re.search(r"_((?:\d+[spdfghi])+)\.orb$", name)
    if match is None:
        raise MissingDataError(
            "the log running_*.log",
            files.folder,
            f"The name of the orbital file '{name}' does not say its shells: copy the log there.",
        )
    terms = re.findall(r"(\d+)([spdfghi])", match.group(1))
    return tuple(SHELL_LETTERS.index(letter) for count, letter in terms for _ in range(int(count)))


def _with_radials(
    shells: Mapping[str, tuple[Shell, ...]], stru: StruFile | None, folder: Path
) -> dict[str, tuple[Shell, ...]]:
    """Return the shells of each species with the radial functions of its ``.orb`` file."""
    if stru is None:
        raise MissingDataError("STRU", folder, "It names the orbital file of each species.")
    result = {}
    for kind in stru.species:
        if kind.label not in shells:
            continue
        path = folder / Path(kind.orbital).name
        if not kind.orbital or not path.is_file():
            raise MissingDataError(
                kind.orbital or f"an orbital file of {kind.label}", folder, "Give its folder."
            )
        radial = read_orb(path).shells()
        wanted = [shell.l for shell in shells[kind.label]]
        if [shell.l for shell in radial] != wanted:
            raise FormatError(
                path,
                f"it is not the basis of species {kind.label}",
                expected=f"shells with l = {wanted} (from the log)",
                found=f"{[shell.l for shell in radial]}",
                fix="Give the folder of the orbital files that the run used.",
            )
        result[kind.label] = radial
    return result


def _step_number(files: RunFiles, basis: Basis, log: AbacusLog | None) -> int | None:
    """Return the step to read; None where a run has but one."""
    if files.step is not None or not files.has_steps:
        return files.step
    for quantity in ("hamiltonian", "overlap"):
        path = files.matrices.get(quantity, (None,))[0]
        if path is not None and path.suffix != ".npz":
            size = log.n_basis if log is not None and log.n_basis else basis.n_orbitals
            return sparse_file(path, size).choose(None).number
    return None


def _structure(
    files: RunFiles,
    log: AbacusLog | None,
    stru: StruFile | None,
    number: int | None,
    notes: list[str],
) -> Structure:
    """Return the structure of one step, with STRU's full precision where it is the same."""
    precise_cell = stru.lattice(files.parameters.get("latname", "none")) if stru else None
    if log is None:
        if stru is None or precise_cell is None:
            raise MissingDataError("the log or a STRU with lattice vectors", files.folder, "")
        if number:
            raise MissingDataError(
                f"the positions of ionic step {number}", files.folder, "Copy the log there."
            )
        return _assemble(precise_cell, _folded(stru.fractional(precise_cell)), stru.labels, stru)
    frame = _frame(files, log, number or 0)
    cell, fractional = frame.cell, frame.fractional(frame.cell)
    if stru is None:
        notes.append("There is no STRU file: the lattice vectors have the log's six digits.")
    elif precise_cell is None or not _agree(log, stru, precise_cell, frame.cell):
        notes.append(
            "STRU has another cell or other species than the log (or a named lattice): the "
            "lattice vectors have the log's six digits."
        )
    else:
        cell = precise_cell
        fractional = frame.fractional(cell)
        precise = stru.fractional(cell)
        shift = np.rint(fractional - precise)
        if np.max(np.abs(precise + shift - fractional)) < _POSITION_TOLERANCE:
            fractional = precise + shift
    return _assemble(cell, fractional, log.labels, stru)


def _frame(files: RunFiles, log: AbacusLog, number: int) -> Frame:
    """Return the structure that the log prints before a step."""
    if not files.has_steps:
        return log.frames[0]
    if number >= len(log.frames):
        raise MissingDataError(
            f"the positions of ionic step {number}",
            log.path,
            f"The log has the positions of {len(log.frames)} steps only (a molecular dynamics run "
            "does not print them). Choose an earlier step with "
            "settings={'step': 'N'}, or run that structure as a calculation of its own.",
        )
    return log.frames[number]


def _agree(
    log: AbacusLog, stru: StruFile, precise: NDArray[np.float64], printed: NDArray[np.float64]
) -> bool:
    """Say whether STRU has the log's atoms in the log's order, and its cell."""
    order = [kind.label for kind in stru.species]
    sorted_labels = sorted(stru.labels, key=lambda x: order.index(x) if x in order else 0)
    same_atoms = tuple(sorted_labels) == stru.labels == log.labels
    difference = float(np.abs(precise - printed).max())
    return same_atoms and difference < _CELL_TOLERANCE * float(np.abs(printed).max())


def _folded(fractional: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fold into the cell as ABACUS does; what is zero but for rounding becomes zero."""
    folded: NDArray[np.float64] = fractional - np.floor(fractional + FOLD_MARGIN)
    return np.maximum(folded, 0.0)


def _assemble(
    cell: NDArray[np.float64],
    fractional: NDArray[np.float64],
    labels: tuple[str, ...],
    stru: StruFile | None,
) -> Structure:
    hints = {kind.label: kind.pseudo for kind in stru.species} if stru is not None else {}
    known = {label: element_number(label, hints.get(label, "")) for label in set(labels)}
    numbers = np.array([known[label] for label in labels])
    return Structure(cell, fractional @ cell, numbers, labels)


def _spin(files: RunFiles, log: AbacusLog | None) -> Spin:
    """Return the spin treatment; the files of the other spin must be there or not, accordingly."""
    given = files.parameters.get("nspin", "")
    nspin = log.nspin if log is not None and log.nspin else int(given) if given.isdigit() else None
    channels = len(files.matrices.get("hamiltonian", ()))
    if nspin is None:
        nspin = channels or 1
        if log is not None and log.n_basis == 2 * sum(
            (2 * l + 1) * kind.n_atoms for kind in log.species for l in kind.ls
        ):
            nspin = 4
    expected = 2 if nspin == 2 else 1
    if nspin not in _SPINS or (channels and channels != expected):
        raise FormatError(
            files.folder,
            "the Hamiltonian files do not fit the run's spin",
            expected=f"{expected} for nspin {nspin}",
            found=", ".join(path.name for path in files.matrices.get("hamiltonian", ())),
            fix="Files of different runs lie here, or one was not copied.",
        )
    return _SPINS[nspin]


def _is_folded(files: RunFiles) -> bool:
    """Say whether the header of a matrix has the remark of gamma_only runs."""
    for path in (*files.matrices.get("hamiltonian", ()), *files.matrices.get("overlap", ())):
        if path.name.endswith((".csr", ".csr.gz")):
            with open_binary(path) as stream:
                return b"gamma-only folded" in stream.read(_HEADER)
    return False


def _fermi_level(log: AbacusLog | None, number: int | None) -> float | None:
    """Return the Fermi level of the step, eV."""
    if log is None or not log.fermi_levels:
        return None
    if number is None or number >= len(log.fermi_levels):
        return log.fermi_levels[-1]
    return log.fermi_levels[number]


def _provenance(
    files: RunFiles,
    log: AbacusLog | None,
    stru: StruFile | None,
    number: int | None,
    notes: list[str],
) -> Provenance:
    """Keep what only ABACUS understands, so that its files can be written again."""
    extra: dict[str, object] = {"suffix": files.folder.name.removeprefix("OUT.")}
    if log is not None and log.converged is not None:
        extra["converged"] = log.converged
    if number is not None:
        extra["step"] = number
    if stru is not None:
        extra["lattice_constant_bohr"] = stru.constant_bohr
        extra["species"] = [
            {
                "label": kind.label,
                "mass": kind.mass,
                "pseudo": kind.pseudo,
                "orbital": kind.orbital,
                "magnetism": kind.magnetism,
            }
            for kind in stru.species
        ]
    if notes:
        extra["notes"] = notes
    version = log.version if log is not None else ""
    return Provenance("ABACUS", version, tuple(path.name for path in files.all), "", extra)
