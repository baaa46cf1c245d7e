"""SIESTA 4 and 5: reads HSX, TSHS, onlyS, .nc, DM and TSDE files, writes HSX, DM and TSDE.

>>> calc = read("fixtures/siesta/h2o")
>>> calc.basis.ls("O"), round(calc.n_electrons, 9)
((0, 0, 1, 1, 2), 8.0)
"""

from __future__ import annotations

from dock.converters.format import Format
from dock.converters.siesta.check import check_run
from dock.converters.siesta.reader import read_calculation
from dock.converters.siesta.run import find_main, has_traces, input_files, list_steps
from dock.converters.siesta.user_run import RESTART
from dock.converters.siesta.writer import SETTINGS, write_calculation

__all__ = ["FORMAT", "read", "write"]


_MATRICES = ("overlap", "hamiltonian", "density_matrix", "energy_density_matrix")

_VERSIONS = "reads 4.x and 5.x (HSX 0, 1, 2; TSHS; .nc), writes HSX 2, 1 and 0"
_NOTES = "Run SIESTA with 'SaveHS true'; it writes <SystemLabel>.HSX beside .XV and .DM."

_READ_SETTINGS = {
    "step": "which step of Write.HS.History to read (default: the last); all converts every one",
}

FORMAT = (
    Format(
        "siesta",
        "SIESTA HSX and DM files",
        versions=_VERSIONS,
        notes=_NOTES,
        restart=RESTART,
        holds_level=True,
    )
    .reading(
        _MATRICES,
        read_calculation,
        find_main,
        inputs=input_files,
        check=check_run,
        steps=list_steps,
        traces=has_traces,
        settings=_READ_SETTINGS,
    )
    .writing(_MATRICES, write_calculation, SETTINGS)
)

read, write = FORMAT.load, FORMAT.save
