"""Restarts: a code's self-consistency begun, in a user's own run, from matrices that are given.

>>> import dock
>>> calc = dock.read("fixtures/siesta/h2o")
>>> files = dock.write(calc, "again", "siesta", like="fixtures/siesta/h2o")  # doctest: +SKIP

What a run is to be (k-points, occupations, label, order of atoms and all the rest) is the matter of
the user's input, which goes along with no more than the lines changed that ask for the start. The
matrices are brought into that input's order here, and a density matrix is computed where the code
wants one. How each code's input is read and its files are written, `Format.restart` says.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from dock.converters.format import Format, Marker, WriteOptions, hand_over
from dock.converters.origin import with_moved_atoms
from dock.converters.registry import require_restart
from dock.converters.user_run import Restart, UserRun
from dock.core.calculation import Calculation
from dock.errors import FormatError, LayoutError, MissingDataError, UsageError
from dock.post.density_matrices import density_matrix
from dock.states.choice import describe
from dock.states.kmesh import KMesh, make_mesh
from dock.states.solver import Plan

__all__ = ["in_order_of", "write_restart"]

_log = logging.getLogger("dock")

_SAME_PLACE = 1e-3  # Å: inputs have few digits, and codes different Bohr radii
_SAME_CHARGE = 1e-3  # electrons
_MESH_TOLERANCE = 1e-9


def write_restart(
    calc: Calculation,
    path: str | Path,
    entry: Format,
    options: WriteOptions,
    *,
    marker: Marker | None = None,
) -> list[Path]:
    """Write the files with which a code starts a run like ``options.like`` from a calculation.

    Raises
    ------
    UsageError
        When the format has no such start, or is given what comes from the run.
    LayoutError
        When the run is one of another crystal, basis or spin.
    FormatError
        When the run's label is no name of a file.
    DockError
        What reading the run and computing the density matrix raise.
    """
    restart = require_restart(entry)
    if options.like is None:
        raise UsageError("a restart is one of a run of yours: pass like=RUN.")
    if not options.like.exists():
        raise MissingDataError("the run", options.like, "There is no such file or folder.")
    given = [f"{name}=…" for name in ("quantities", "basis") if getattr(options, name) is not None]
    given += [f"settings={{'{name}': '{value}'}}" for name, value in options.settings.items()]
    if given:
        raise UsageError(
            f"what a restart like {options.like} holds is taken from that run: leave out "
            f"{', '.join(given)}."
        )
    run = restart.read(options.like)
    if run.label != Path(run.label).name:  # it would lead out of the target
        raise FormatError(
            run.input, "the files of the run are not called by a name of a file", found=run.label
        )
    calc = _prepared(in_order_of(calc, run), run, restart)
    _say(run, restart)
    return hand_over(path, options, lambda folder: restart.write(calc, run, folder), marker)


def in_order_of(calc: Calculation, run: UserRun) -> Calculation:
    """Return a calculation with atoms in the order of a run's input, and where that has them.

    Raises
    ------
    LayoutError
        When crystal, spin or basis are others.
    """
    theirs = run.structure
    order = theirs.partners(calc.structure, _SAME_PLACE)
    if order is None:
        _refuse(calc, run, "crystal", calc.structure.formula, theirs.formula, _apart(calc, run))
    if calc.spin is not run.spin:
        _refuse(calc, run, "spin", calc.spin.value, run.spin.value)
    if not np.array_equal(order, np.arange(len(order))):
        calc = calc.permute_atoms([int(atom) for atom in order])
    extra = {key: x for key, x in calc.provenance.extra.items() if key != "source_order"}
    calc = calc.replace(provenance=replace(calc.provenance, extra=extra))
    shift = np.rint(calc.structure.fractional - theirs.fractional).astype(np.int64)
    if np.any(shift):
        calc = with_moved_atoms(calc, shift, theirs.positions)
    if run.shells is None:
        _log.warning(
            "%s: the run has neither matrices nor basis files yet: whether its basis is that of "
            "%s was not looked at, only that the atoms are.",
            run.input,
            calc.source,
        )
        return calc
    for atom, (label, given) in enumerate(zip(calc.basis.labels, run.shells, strict=True)):
        mine = calc.basis.ls(label)
        if (sorted(mine) if run.sorted_by_l else list(mine)) != list(given):
            what = f"{theirs.symbols[atom]} (atom {atom + 1}) with shells l ="
            _refuse(calc, run, "basis", f"{what} {list(mine)}", f"{what} {list(given)}")
    return calc


def _apart(calc: Calculation, run: UserRun) -> str:
    """Return in words how far two crystals of one composition are from being the same."""
    if sorted(calc.structure.numbers) != sorted(run.structure.numbers):
        return ""
    cells = float(np.abs(calc.structure.cell - run.structure.cell).max())
    if cells > _SAME_PLACE:
        return f" (lattice vectors differ by up to {cells:.3g} Å)"
    return f" (atoms are more than {_SAME_PLACE:g} Å apart)"


def _refuse(
    calc: Calculation, run: UserRun, what: str, mine: str, theirs: str, more: str = ""
) -> NoReturn:
    raise LayoutError(
        f"{run.input}: this run is one of another {what} than {calc.source}: {theirs}, not "
        f"{mine}{more}. Give the run that it is a restart of."
    )


def _prepared(calc: Calculation, run: UserRun, restart: Restart) -> Calculation:
    """Return the calculation with the matrices that the code wants, those that it reads alone.

    A MissingDataError where a density matrix is to be computed and no electrons are known.
    """
    if run.n_electrons is not None:
        known = calc.n_electrons
        if known is not None and abs(known - run.n_electrons) > _SAME_CHARGE:
            _log.warning(
                "%s: %g electrons, as in %s, and not %g.",
                calc.source,
                run.n_electrons,
                run.input,
                known,
            )
        calc = calc.replace(n_electrons=run.n_electrons)
    if "density_matrix" not in restart.matrices or run.mesh is None:
        return calc
    if "hamiltonian" not in calc.available and "density_matrix" in calc.available:
        _log.warning("%s: there is no Hamiltonian; its density matrix is taken.", calc.source)
        return calc
    if calc.n_electrons is None:
        raise MissingDataError(
            "the number of electrons",
            calc.source,
            "Write the valence electrons per cell as 'occupation' into its info.json, or keep the "
            "run's own matrices beside its input, where that is SIESTA's.",
        )
    made = density_matrix(calc, _mesh(calc, run.mesh), smearing=run.smearing, planned=_tell)
    _log.info("density matrix: %s; %s", made.mesh.describe(), made.settings["smearing"])
    return made.completed()


def _mesh(calc: Calculation, mesh: KMesh) -> KMesh:
    """Return a run's mesh; of a regular one the points that time reversal does not connect."""
    whole = KMesh.full(mesh.size, mesh.shift)
    regular = mesh.n_full == whole.n_full and all(
        np.allclose(mine, theirs, rtol=0, atol=_MESH_TOLERANCE)
        for mine, theirs in ((mesh.points, whole.points), (mesh.weights, whole.weights))
    )
    if not regular:  # a list of points, each with its weight
        return mesh
    return make_mesh(calc, mesh.size, centring=mesh.shift, reduction="time-reversal")


def _tell(plan: Plan) -> None:
    _log.info("%s", describe(plan))


def _say(run: UserRun, restart: Restart) -> None:
    """Say what the user should know before such a run is started."""
    if restart.note:
        _log.warning("%s", restart.note)
    if run.needs:
        _log.warning("%s: the run also needs %s.", run.input, ", ".join(run.needs))
    for caution in run.cautions:
        _log.warning("%s: %s", run.input, caution)
