"""ABACUS (LCAO): reads and writes H(R), S(R), DM(R), T(R) and r(R); reads ``.orb`` orbitals."""

from __future__ import annotations

from pathlib import Path

from dock.converters.abacus.check import check_run
from dock.converters.abacus.reader import read_calculation
from dock.converters.abacus.run import detect_run, find_run, has_traces
from dock.converters.abacus.steps import list_steps
from dock.converters.abacus.user_run import RESTART
from dock.converters.abacus.writer import SETTINGS, write_calculation
from dock.converters.format import Format, Settings
from dock.core.calculation import Calculation
from dock.errors import DockError

__all__ = ["FORMAT", "read", "write"]


def read(
    path: str | Path,
    *,
    basis: str | Path | None = None,
    settings: Settings = None,
    step: int | None = None,
) -> Calculation:
    """Read an output folder of ABACUS, or the run's folder.

    Parameters
    ----------
    path
        ``OUT.<suffix>``, its parent, or a matrix file in it.
    basis
        Folder of ``.orb`` files; then the shells carry their radial functions.
    settings
        ``{"step": "0"}``, the same as ``step=0``.
    step
        Ionic step, from 0; default the last one.

    Examples
    --------
    >>> calc = read("fixtures/abacus/si2_get_S")
    >>> calc.basis.ls("Si"), calc.available
    ((0, 0, 1, 1, 2), ('overlap',))
    """
    of_step = {} if step is None else {"step": str(step)}
    return FORMAT.load(path, basis=basis, settings={**(settings or {}), **of_step})


def _inputs(path: Path) -> list[Path]:
    """Return the files of a run; of a folder that cannot be read, the folder itself."""
    try:
        return find_run(path).all
    except DockError:
        return [path]


_QUANTITIES = ("overlap", "hamiltonian", "density_matrix", "kinetic", "position")

_VERSIONS = "reads 3.0 to 3.11 (tested: 3.8.1, 3.10.0, 3.11.0-beta.1), writes both namings"
_NOTES = (
    "Run ABACUS with 'out_mat_hs2 1' (out_hsr 1 since 3.11), 'out_dm1 1' (out_dmr 1) and "
    "'out_mat_r 1'; 'calculation get_S' (get_s) gives the overlap alone, with --basis DIR of .orb "
    "and .upf files also the pairs that H has beyond it."
)
_READ_SETTINGS = {
    "step": "which ionic step of the run to read (default: the last); all converts every one",
    "log": "no reads a run without its log, structure and basis from STRU (default: yes)",
}

FORMAT = (
    Format(
        "abacus",
        "ABACUS output folder",
        versions=_VERSIONS,
        notes=_NOTES,
        restart=RESTART,
        holds_level=True,
    )
    .reading(
        _QUANTITIES,
        read_calculation,
        detect_run,
        inputs=_inputs,
        check=check_run,
        settings=_READ_SETTINGS,
        steps=list_steps,
        traces=has_traces,
    )
    .writing(_QUANTITIES, write_calculation, SETTINGS)
)

write = FORMAT.save
