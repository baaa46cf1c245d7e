"""Exit to sisl: a file that ``sisl.get_sile`` reads, made from sisl's own objects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dock.converters.format import Format, WriteOptions
from dock.converters.siesta.hsx import read_hsx
from dock.converters.siesta.tshs import read_tshs
from dock.core.calculation import Calculation
from dock.errors import FormatError, MissingDataError, OutputError
from dock.extras import require
from dock.io.files import write_text
from dock.io.text import json_text

__all__ = ["FORMAT", "SETTINGS", "write", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "file": "nc, TSHS or HSX (default TSHS)",
    "name": "file name without ending (default dock)",
}


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write Hamiltonian and overlap for sisl, TBtrans and TranSIESTA, and ``sisl.json``.

    Energies are absolute and the file's Fermi level is zero, because sisl shifts what it reads by
    the file's own; the true one is in ``sisl.json``. Orbitals have the real harmonics of `dock`
    (m = −l … +l, no Condon–Shortley phase).

    A `dock.converters.format.Writer`; it needs the Hamiltonian and uses the settings of `SETTINGS`.

    Raises
    ------
    DependencyError
        When sisl, or netCDF4 for ``nc``, is not installed.
    """
    kind = options.choice("file", ("nc", "TSHS", "HSX"), "TSHS")
    if "hamiltonian" not in (options.quantities or ()):
        raise MissingDataError("the hamiltonian", calc.source, "sisl files are made around it.")
    if kind == "nc":
        require("netCDF4", "sisl")
    overlap = calc.require("overlap", "sisl would take the basis for an orthonormal one.")
    matrix = calc.require("hamiltonian").to_sisl(overlap)
    target = folder / f"{options.settings.get('name', 'dock')}.{kind}"
    matrix.write(str(target))
    _require_complete(target)
    facts = {
        "file": target.name,
        "fermi_level_eV": calc.fermi_level,
        "n_electrons": calc.n_electrons,
        "spin": calc.spin.value,
        "labels": list(calc.structure.labels),
    }
    write_text(folder / "sisl.json", json_text(facts) + "\n")
    return [target, folder / "sisl.json"]


def _require_complete(target: Path) -> None:
    """Refuse a file that Fortran did not write to its end, which it does in silence."""
    check = {".TSHS": read_tshs, ".HSX": read_hsx}.get(target.suffix)
    try:
        if check is not None:
            check(target)
    except FormatError as error:
        raise OutputError(
            f"{target}: cannot be written whole; the disk may be full. Free some space and run the "
            "command again."
        ) from error


FORMAT = Format(
    "sisl",
    "sisl file (.TSHS, .HSX or .nc)",
    versions="sisl 0.15 and later",
    notes="In Python, calc.hamiltonian.to_sisl(calc.overlap) gives the object itself.",
).writing(("overlap", "hamiltonian"), write_calculation, SETTINGS)

write = FORMAT.save
