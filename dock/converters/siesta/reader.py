"""From the files of a SIESTA run to a Calculation: units, orbital order, spin, supercell."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import ReadOptions
from dock.converters.siesta.dm import read_dm
from dock.converters.siesta.images import images_of
from dock.converters.siesta.matrix_file import MatrixFile, canonical_images
from dock.converters.siesta.mulliken import prints_populations, read_moments
from dock.converters.siesta.run import OF_LAST_STEP, RunFiles, list_steps, open_main, step_file
from dock.converters.siesta.sparse_rows import StoredRows
from dock.converters.siesta.spin import allocate, parts_of, spin_of
from dock.converters.siesta.structure import Setting, Sources
from dock.core.calculation import Calculation, Provenance
from dock.core.harmonics import convention
from dock.core.matrix import AOMatrix
from dock.core.quantity import QUANTITIES
from dock.core.spin import Spin
from dock.errors import FormatError, UsageError
from dock.units import SIESTA4, Constants

__all__ = ["read_calculation"]

FOLDED = (
    "This is a run at the Γ point without auxiliary supercell (nsc 1 1 1): all images are added up "
    "in the home cell, so that only k = 0 has a meaning. For bands run SIESTA with "
    "'ForceAuxCell true' or with more k-points."
)
SINGLE = (
    "The matrices are in single precision: occupied states are good to 0.01 meV, the highest empty "
    "ones may be off by 0.1 eV where the overlap has small eigenvalues."
)
INCOMPLETE_EDM = (
    "SIESTA keeps only 4 of the 8 components of the energy density matrix in spin-orbit runs: it "
    "is left out."
)
HISTORY = (
    "This is step {step} of a run with Write.HS.History: {files} of the label are of its last step "
    "and are left out."
)
STEPS = (
    "The run keeps the matrices of {count} steps ({first} to {last}); this is its last. In a "
    "conversion, settings={{'step': 'N'}} reads one of them, settings={{'step': 'all'}} every one."
)
UNCONVERGED = "The log says that the self-consistent field did not converge (SCF_NOT_CONV)."
UNFINISHED = (
    "The log ends before its self-consistency cycle does: the run had not finished when its files "
    "were copied."
)
OLD_UNITS = (
    "No EIG and no log says which SIESTA made this run: the constants of version 5 were taken "
    "(those of 4.x differ by 8e-6)."
)
NO_MOMENTS = (
    "The Mulliken populations at the end of {file} are not complete, or not those of the last "
    "step: no spin moments are taken from them."
)
UNVERIFIED = (
    "Shells of l = 3 and above follow SIESTA's sign rule (minus for odd |m|), which was checked "
    "against its numbers for s, p and d only."
)


def read_calculation(path: Path, options: ReadOptions) -> Calculation:
    """Read a run of SIESTA; the matrices are read when asked for.

    The path is an HSX, TSHS, onlyS, .nc, DM or TSDE file, or a folder with one; the files of the
    same label beside it give what it lacks. With a folder of ion files as ``options.basis`` the
    shells carry radial functions. The setting ``step`` chooses a step of ``Write.HS.History``.

    Raises
    ------
    FormatError
        When a file is damaged, or two files contradict each other.
    MissingDataError
        When no file has the structure or the species.
    """
    step = options.settings.get("step")
    if step is not None and not step.isdecimal():
        raise UsageError(
            f"the setting step is a number from 0, found '{step}'. ('all' is for dock convert.)"
        )
    steps = list_steps(path)
    path = path if step is None else step_file(path, int(step))
    main = open_main(path)
    run = RunFiles(main.path)
    constants, how = run.constants(main)
    setting = Sources(main, run, constants, options.basis).setting()
    moments, notes = _moments(main, run, setting.structure.n_atoms)
    opened = _Run(main, _density_files(main, run), setting, constants)
    return Calculation(
        setting.structure,
        setting.basis,
        spin_of(main.n_spin),
        {name: partial(opened.read, name) for name in QUANTITIES if name in opened.sources},
        _fermi_level(main, run, constants),
        main.electrons,
        _provenance(opened, run, how, notes, steps if step is None else ()),
        str(path),
        moments=moments,
    )


def _density_files(main: MatrixFile, run: RunFiles) -> tuple[MatrixFile, ...]:
    """Return the DM and TSDE files beside the main file, held against it."""
    if "density_matrix" in main.sections:
        return ()
    files = []
    for suffix in (".DM", ".TSDE"):
        path = run.beside(suffix)
        if path is None:
            continue
        file = read_dm(path)
        for what, mine, theirs in (
            ("orbitals", main.n_orbitals, file.n_orbitals),
            ("spin components", main.n_spin, file.n_spin),
            ("supercell", main.nsc or file.nsc, file.nsc or main.nsc),
        ):
            if mine != theirs and not (what == "spin components" and main.kind == "onlyS"):
                raise FormatError(
                    path,
                    f"this file and {main.path.name} are of different runs",
                    expected=f"{what} {mine}",
                    found=theirs,
                    fix="Keep only the files of one run in the folder.",
                )
        files.append(file)
    return tuple(files)


@dataclass(frozen=True, eq=False)
class _Run:
    """An open run and what its matrices refer to."""

    main: MatrixFile
    densities: tuple[MatrixFile, ...]
    setting: Setting
    constants: Constants
    _patterns: dict[Path, StoredRows] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, object]:
        """Return what another process needs to read the run; it finds patterns by itself."""
        return self.__dict__ | {"_patterns": {}}

    @cached_property
    def sources(self) -> dict[str, MatrixFile]:
        """Quantity to the file that has it; the first one counts."""
        sources: dict[str, MatrixFile] = {}
        for file in (self.main, *self.densities):
            for quantity in file.sections:
                sources.setdefault(quantity, file)
        return sources

    @cached_property
    def _main_images(self) -> NDArray[np.int32]:
        bohr = self.constants.bohr_angstrom
        return images_of(self.main, self.setting.structure, self.setting.basis, bohr)

    def read(self, quantity: str) -> AOMatrix:
        """Return one matrix, in the order, signs and units of `dock`."""
        file, facts, setting = self.sources[quantity], QUANTITIES[quantity], self.setting
        rows, sections = self._rows(file), file.sections[quantity]
        result = allocate(len(sections), rows.layout.n_entries)
        unit = self.constants.rydberg_ev if facts.unit == "eV" else 1.0
        rows.fill(parts_of(quantity, sections, result, unit))
        spin = spin_of(len(sections)) if facts.has_spin else Spin.NONE
        return AOMatrix(quantity, setting.structure, setting.basis, rows.pairs, spin, result)

    def _rows(self, file: MatrixFile) -> StoredRows:
        if file.path not in self._patterns:
            if file is self.main or file.nsc is None:  # SIESTA before 4.1 does not say it in a DM
                images = self._main_images
            else:
                images = canonical_images(file.nsc)
            known = self._patterns.values()  # files of one run mostly have the same pattern
            alike = next((rows for rows in known if rows.fits(file, images)), None)
            rows = alike or StoredRows.of(file, images, self.setting.basis)
            self._patterns[file.path] = rows
        return self._patterns[file.path]


def _fermi_level(main: MatrixFile, run: RunFiles, constants: Constants) -> float | None:
    if main.fermi_ry is not None:
        return main.fermi_ry * constants.rydberg_ev
    noted = run.noted("Dock.FermiLevel")
    return noted if noted is not None else run.fermi_ev()


def _moments(
    main: MatrixFile, run: RunFiles, n_atoms: int
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Return the spin moments that a collinear run's log ends with, if any, and what to know."""
    log = run.log_file
    if log is None or run.history_step is not None or spin_of(main.n_spin) is not Spin.COLLINEAR:
        return None, []
    moments = read_moments(log, n_atoms) if run.log.finished else None
    if moments is None and prints_populations(log):
        return None, [NO_MOMENTS.format(file=log.name)]
    return moments, []


def _notes(opened: _Run, run: RunFiles, how: str) -> list[str]:
    """Return what the user should know of this run."""
    main, setting = opened.main, opened.setting
    used_ls = {l for label in setting.basis.species for l in setting.basis.ls(label)}
    incomplete = any(file.incomplete_edm for file in (main, *opened.densities))
    conditions = (
        (main.is_folded, FOLDED),
        (main.single, SINGLE),
        (incomplete, INCOMPLETE_EDM),
        (run.log.converged is False, UNCONVERGED),
        (not run.log.finished, UNFINISHED),
        (how.startswith("assumed"), OLD_UNITS),
        (bool(convention("siesta").unverified(sorted(used_ls))), UNVERIFIED),
    )
    notes = [*main.notes, *setting.notes, *(text for met, text in conditions if met)]
    if run.history_step is not None:
        label = run.main.name.removesuffix(f".{run.history_step}{run.main.suffix}")
        others = [run.main.parent / f"{label}{suffix}" for suffix in OF_LAST_STEP]
        names = ", ".join(path.name for path in others if path.is_file())
        notes += [HISTORY.format(step=run.history_step, files=names)] if names else []
    return notes


def _provenance(
    opened: _Run, run: RunFiles, how: str, further: list[str], steps: tuple[int, ...]
) -> Provenance:
    """Keep what only SIESTA understands, so that its files can be written again."""
    main, setting = opened.main, opened.setting
    old = opened.constants is SIESTA4
    version = run.log.version or ("4.x" if old else "5.x")
    extra: dict[str, object] = {
        "system_label": run.label,
        "n_spin": main.n_spin,
        "rydberg_ev": opened.constants.rydberg_ev,
        "units": how,
        "nsc": list(main.nsc) if main.nsc else None,
        "species": [
            {
                "label": species.label,
                "number": number,
                "valence": species.valence,
                "shells": [list(shell) for shell in species.shells],
            }
            for species, number in zip(setting.species, setting.numbers, strict=True)
        ],
    }
    if main.is_folded:
        extra["gamma_only"] = True
    if run.log.converged is not None:
        extra["converged"] = run.log.converged
    if not run.log.finished:
        extra["finished"] = False
    if main.temperature_ry is not None:
        extra["temperature_ry"] = main.temperature_ry
    if main.k_grid is not None:
        extra["k_grid"] = [list(row) for row in main.k_grid.matrix]
        extra["k_shift"] = list(main.k_grid.shift)
    notes = [*_notes(opened, run, how), *further]
    if steps:
        notes.append(STEPS.format(count=len(steps), first=steps[0], last=steps[-1]))
    if notes:
        extra["notes"] = notes
    files = (main.path.name, *(file.path.name for file in opened.densities))
    return Provenance("SIESTA", version, files, "", extra)
