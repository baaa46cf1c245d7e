"""From an ABACUS output folder to a Calculation: basis, structure of the step, spin, notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from dock.converters.abacus.levels import TABLES, read_levels
from dock.converters.abacus.matrices import MatrixReader
from dock.converters.abacus.orb import read_orb
from dock.converters.abacus.reach import NO_REACH, reach_of_run, with_projector_pairs
from dock.converters.abacus.run import RunFiles, find_run
from dock.converters.abacus.running_log import NSPIN, AbacusLog, LoggedStep, read_log
from dock.converters.abacus.steps import RunStep, find_step, read_structure
from dock.converters.abacus.stru import StruFile, contradiction, read_stru
from dock.converters.abacus.words import expected
from dock.converters.format import ReadOptions
from dock.core.basis import SHELL_LETTERS, Basis, Shell, shell_letter, shell_numbers
from dock.core.calculation import Calculation, Provenance
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.text import finite_numbers

__all__ = ["FOLDED", "PAULI_DM", "read_calculation"]

PAULI_DM = (
    "ABACUS keeps only the Pauli components n, m_x, m_y, m_z of the density matrix of spinors: "
    "charge and moments are right, the rest of the spin-orbit density matrix is not there."
)
FOLDED = (
    "The run was gamma_only: ABACUS has added up all lattice vectors in the matrices, so only the "
    "Gamma point of this cell can be computed from them."
)
_FULL_BAND = 1e-3  # electrons: six digits for each k-point
_SPINS = {number: spin for spin, number in NSPIN.items()}


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
        settings ``step``: the ionic step, from 0; default the last one whose matrices are there;
        ``log``: ``no`` leaves the log aside.

    Raises
    ------
    MissingDataError
        When the log, the basis or the step is missing.
    FormatError
        When files are damaged or belong to different runs.
    """
    with_log = options.settings.get("log", "yes")
    if with_log not in ("yes", "no"):
        raise UsageError(f"the setting log is yes or no, found '{with_log}'.")
    files = find_run(path, _wanted_step(options), with_log=with_log == "yes")
    log = read_log(files.log) if files.log is not None else None
    stru = read_stru(files.stru) if files.stru is not None else None
    if log is not None and stru is not None:
        log = log.with_constant(stru.constant_bohr)
    n_electrons = _electrons(files, log)
    counted = _counted_electrons(files) if n_electrons is None else None
    notes: list[str] = [] if log is None else log.doubts(n_electrons, counted)
    basis = _basis(files, log, stru, options.basis)
    step = find_step(files, log.n_basis or 0 if log is not None else 0, log)
    structure = read_structure(files, log, stru, step, notes)
    if structure.labels != basis.labels:
        basis = Basis(basis.shells, structure.labels)
    spin = _spin(files, log)
    version = log.version if log is not None else ""
    readers = MatrixReader(files, structure, basis, spin, step.number, version).readers()
    reach = reach_of_run(files, log, stru, basis, options.basis)
    if {"overlap", "hamiltonian"} & set(readers) == {"overlap"} and not step.is_folded:
        if reach is not None:
            readers["overlap"] = partial(with_projector_pairs, readers["overlap"], reach)
        elif log is not None and log.version and not log.is_whole:
            raise FormatError(
                log.path,
                "the log is cut, and the radii that say the pairs of atoms are not known",
                expected=f"the line {expected('end')} at its end",
                fix="Copy it again; or pass settings={'log': 'no'}, or basis=DIR with the .orb and "
                ".upf files.",
            )
        else:
            notes.append(NO_REACH)
    ended = _ended(log, step, notes)
    is_cut = log is not None and log.is_within(ended)
    if is_cut:  # how a loop ends is not known of one that has no end
        ended = ended._replace(converged=None)
    facts = {
        **_facts(step, ended, is_cut=is_cut),
        **(reach.by_element(structure) if reach is not None else {}),
    }
    left_out = [name.replace("_", " ") for name in files.matrices if name not in readers]
    notes += _notes(step, ended, left_out)
    notes += _notes_of_files(files, stru)
    if is_cut:
        notes.append(
            "The log ends before its self-consistency loop does: the run had not finished."
        )
    if spin is Spin.NONCOLLINEAR and "density_matrix" in files.matrices:
        notes.append(PAULI_DM)
    return Calculation(
        structure,
        basis,
        spin,
        readers,
        ended.fermi_level,
        counted if n_electrons is None else n_electrons,
        _provenance(files, log, stru, notes, facts),
        str(path),
    )


def _notes(step: RunStep, ended: LoggedStep, left_out: list[str]) -> Iterator[str]:
    """Yield what the user should know of the step that was read."""
    if step.is_folded:
        yield FOLDED
    if ended.converged is False:
        yield "The log says that the last self-consistency loop did not converge."
    if len(step.of) > 1:
        yield (
            f"The run has {len(step.of)} ionic steps ({step.of[0]} to {step.of[-1]}); this is step "
            f"{step.number}. In a conversion, settings={{'step': 'N'}} reads another one, "
            "settings={'step': 'all'} every one."
        )
    if left_out:
        yield (
            f"Left out: {' and '.join(left_out)}, of which only another ionic step is there (a "
            "relaxation overwrites the file)."
        )
    if len(set(ended.fermi_levels)) > 1:
        up, down = ended.fermi_levels
        yield (
            f"The moment was fixed: the Fermi levels are {up:g} eV (up) and {down:g} eV (down); "
            "the higher one is kept as the Fermi level."
        )


def _notes_of_files(files: RunFiles, stru: StruFile | None) -> Iterator[str]:
    """Yield what contradicts, and what was not read."""
    if stru is not None:
        yield from filter(None, map(contradiction, stru.species))
    if files.unread:
        names = ", ".join(path.name for path in files.unread)
        yield f"Two files of one matrix: the text was read, and not {names}."


def _ended(log: AbacusLog | None, step: RunStep, notes: list[str]) -> LoggedStep:
    """Return how the self-consistency loop of the step ended."""
    if log is None or not log.steps:
        return LoggedStep((), None)
    if step.number is None:
        return log.steps[-1]
    named = [ended for ended in log.steps if ended.number == step.number]
    unnamed = [ended for ended in log.steps[step.number :][:1] if ended.number is None]
    if named or unnamed:
        return (named or unnamed)[-1]
    notes.append(
        f"{log.path.name} has no ionic step {step.number}: its Fermi level (dock fermi computes "
        "it) and whether it converged are unknown."
    )
    return LoggedStep((), None)


def _electrons(files: RunFiles, log: AbacusLog | None) -> float | None:
    """Return the electrons of the cell: the log's, unless the input sets them."""
    words = [files.parameters.get(name, "") for name in ("nelec", "nelec_delta")]
    given, extra = ((finite_numbers([word], 1) or [0.0])[0] for word in words)
    if given > 0:
        return given
    if log is not None and log.n_electrons is not None:
        return log.n_electrons if log.is_set_by_hand else log.n_electrons + extra
    return None


def _counted_electrons(files: RunFiles) -> float | None:
    """Return the sum of the occupations that ABACUS printed; None where k-points are missing."""
    table = next((files.folder / name for name in TABLES if (files.folder / name).is_file()), None)
    try:
        printed = read_levels(table) if table is not None else []
    except FormatError:  # the run can be read without it; dock check names the damage
        return None
    if not printed:
        return None
    lowest = printed[-1].occupations[:, :, 0].sum(axis=1)  # a full band, 1 or 2
    is_whole = bool(np.all(np.minimum(np.abs(lowest - 1), np.abs(lowest - 2)) < _FULL_BAND))
    return round(float(printed[-1].occupations.sum()), 5) if is_whole else None


def _wanted_step(options: ReadOptions) -> int | None:
    """Return the step asked for by the setting ``step``."""
    text = options.settings.get("step")
    if text is None:
        return None
    if not text.isdigit():
        raise UsageError(
            f"the setting step is a number from 0, found '{text}'. ('all' is for dock convert.)"
        )
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
            kind.label: _named_shells(ls_of_name(files.folder, kind.orbital))
            for kind in stru.species
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


def ls_of_name(folder: Path, name: str) -> tuple[int, ...]:
    """Return the shells that the name of an orbital file says: ``…_2s2p1d.orb``.

    A MissingDataError for another name; it sends for the log to the folder.
    """
    match = re.search(r"_((?:\d+[spdfghi])+)\.orb$", name)
    if match is None:
        raise MissingDataError(
            "the log running_*.log",
            folder,
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


def _facts(step: RunStep, ended: LoggedStep, *, is_cut: bool) -> dict[str, object]:
    """Return what is kept of the step: its number, how it ended, whether it holds at Γ only."""
    facts: dict[str, object] = {}
    if ended.converged is not None:
        facts["converged"] = ended.converged
    if is_cut:
        facts["finished"] = False
    if len(set(ended.fermi_levels)) > 1:
        facts["fermi_levels_eV"] = list(ended.fermi_levels)
    if step.number is not None:
        facts["step"] = step.number
    if step.is_folded:
        facts["gamma_only"] = True
    return facts


def _provenance(
    files: RunFiles,
    log: AbacusLog | None,
    stru: StruFile | None,
    notes: list[str],
    facts: dict[str, object],
) -> Provenance:
    """Keep what only ABACUS understands, so that its files can be written again."""
    extra: dict[str, object] = {"suffix": files.folder.name.removeprefix("OUT.")}
    extra |= facts
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
