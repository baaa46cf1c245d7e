"""From a Calculation to SIESTA: HSX, DM and TSDE files, and an fdf with the structure."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dock.converters.format import WriteOptions
from dock.converters.origin import in_source_order
from dock.converters.siesta.dm import write_dm, write_tsde
from dock.converters.siesta.fdf import format_fdf, missing_in_fdf
from dock.converters.siesta.hsx import write_hsx
from dock.converters.siesta.native import NativeCalculation
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.errors import LossError, MissingDataError

__all__ = ["SETTINGS", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "name": "SystemLabel, and so the files' names (default: that of the source, or 'dock')",
    "version": "of the HSX file: 2 (default), 1, or 0 as SIESTA up to 4.1 writes it (32 bits)",
    "components": "4 or 8: spin components of non-collinear data (default: as in the source, or "
    "4 where they suffice)",
}
_log = logging.getLogger("dock")


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the SIESTA files of a calculation.

    ``<label>.HSX`` with Hamiltonian and overlap, ``<label>.DM`` from which a run restarts
    (``DM.UseSaveDM``), ``<label>.TSDE`` where there is an energy density matrix, and
    ``<label>.fdf`` with the structure and the spin treatment. Elements that are zero in all
    matrices are left out of the sparse rows.

    A `dock.converters.format.Writer`; it uses ``quantities``, ``single_precision`` and the settings
    of `SETTINGS`.

    Raises
    ------
    LossError
        When the data have something that SIESTA's files cannot hold.
    MissingDataError
        When a file would lack one of its matrices.
    """
    native = NativeCalculation(in_source_order(calc), options)
    quantities = _writable(native)
    native = replace(native, options=replace(options, quantities=quantities))
    _check(native)
    written = []
    for quantity, suffix, write in (
        ("hamiltonian", "HSX", write_hsx),
        ("density_matrix", "DM", write_dm),
        ("energy_density_matrix", "TSDE", write_tsde),
    ):
        if quantity in quantities:
            written.append(folder / f"{native.label}.{suffix}")
            with written[-1].open("wb") as stream:
                write(stream, native)
    path = folder / f"{native.label}.fdf"
    path.write_text(format_fdf(native), encoding="utf-8", errors="surrogateescape")
    _log.warning(
        "%s is not complete: %s are missing, and with SIESTA's defaults for them it computes "
        "another system. Complete it from your own input; a restart of your own run is made with "
        "like=RUN.",
        path.name,
        ", ".join(missing_in_fdf(native)),
    )
    return [*written, path]


def _writable(native: NativeCalculation) -> tuple[str, ...]:
    """Return the matrices that will be written; a lone one of a couple is refused."""
    calc, wanted = native.calc, list(native.options.quantities or ())
    lossy = native.options.allow_lossy
    if ("hamiltonian" in wanted) != ("overlap" in wanted):
        lone = "hamiltonian" if "hamiltonian" in wanted else "overlap"
        other = "overlap" if lone == "hamiltonian" else "hamiltonian"
        if not lossy:
            raise MissingDataError(
                f"the {other}",
                calc.source,
                f"An HSX file holds Hamiltonian and overlap: the {lone} alone has no file in "
                "SIESTA. Choose matrices with quantities=NAMES, or pass allow_lossy=True.",
            )
        wanted.remove(lone)
    if "energy_density_matrix" in wanted and "density_matrix" not in wanted:
        raise MissingDataError(
            "the density matrix", calc.source, "A TSDE file holds it with the energy density."
        )
    if "energy_density_matrix" in wanted and native.n_spin == 8:
        if not lossy:
            raise LossError(
                f"{calc.source}: SIESTA has no file for the energy density matrix of spin-orbit "
                "runs. Choose matrices with quantities=NAMES, or pass allow_lossy=True to leave it "
                "out."
            )
        wanted.remove("energy_density_matrix")
    return tuple(wanted)


def _check(native: NativeCalculation) -> None:
    """Compute everything that may refuse before a file is opened; say what is not known."""
    _ = native.label, native.version, native.numbers, native.atom_species
    quantities = native.options.quantities or ()
    if "density_matrix" in quantities:
        require_density(native.calc)
    for name in quantities:
        native.components(name)
    missing = []
    if "hamiltonian" in quantities:
        missing += ["Fermi level"] if native.calc.fermi_level is None else []
        missing += ["number of electrons"] if native.calc.n_electrons is None else []
    if missing:
        _log.warning("SIESTA HSX: written as zero, for want of data: %s.", ", ".join(missing))
