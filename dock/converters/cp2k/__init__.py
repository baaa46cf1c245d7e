"""CP2K: reads H, S and density matrix of Quickstep runs from CSR files and AO_MATRICES."""

from __future__ import annotations

from dock.converters.cp2k.check import check_run
from dock.converters.cp2k.reader import read_calculation
from dock.converters.cp2k.run import HOW, detect_run, has_traces, input_files
from dock.converters.format import Format
from dock.core.spin import Spin

__all__ = ["FORMAT", "read"]

FORMAT = Format("cp2k", "CP2K run folder", versions="2023.1", notes=HOW).reading(
    ("overlap", "hamiltonian", "density_matrix"),
    read_calculation,
    detect_run,
    inputs=input_files,
    check=check_run,
    traces=has_traces,
    spins=(Spin.NONE, Spin.COLLINEAR),
)

read = FORMAT.load
