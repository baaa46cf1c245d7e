"""FHI-aims: reads and writes H and S of periodic runs (``rs_*``) and of molecules."""

from __future__ import annotations

from dock.converters.aims.check import check_run
from dock.converters.aims.reader import read_calculation
from dock.converters.aims.run import detect_run, has_traces, input_files
from dock.converters.aims.user_run import RESTART
from dock.converters.aims.warm_start import write_warm_start
from dock.converters.aims.writer import SETTINGS, write_calculation
from dock.converters.format import Format
from dock.core.spin import Spin

__all__ = ["FORMAT", "WARM_START", "read", "write"]


_QUANTITIES = ("overlap", "hamiltonian")
_SPINS = (Spin.NONE, Spin.COLLINEAR)

_VERSIONS = "rs_* files of 2025 and later; h_s_matrices of 240920.1"
_NOTES = (
    "Run FHI-aims with 'output_rs_matrices plain' (periodic) or 'output h_s_matrices' "
    "(molecules), and 'output basis' for basis-indices.out."
)

FORMAT = (
    Format("aims", "FHI-aims run folder", versions=_VERSIONS, notes=_NOTES, restart=RESTART)
    .reading(
        _QUANTITIES,
        read_calculation,
        detect_run,
        inputs=input_files,
        check=check_run,
        traces=has_traces,
        spins=_SPINS,
    )
    .writing(_QUANTITIES, write_calculation, SETTINGS, spins=_SPINS)
)

WARM_START = Format(
    "aims-warm-start",
    "Hamiltonian for FHI-aims to begin with (DeepH's patch)",
    versions="250822_1 with DeepH's patch",
    notes="control.in needs 'use_deepx_warmstart .true.'; WARM_START.txt says more.",
).writing(_QUANTITIES, write_warm_start, spins=_SPINS)

read, write = FORMAT.load, FORMAT.save
