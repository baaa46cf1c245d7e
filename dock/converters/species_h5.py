"""A run's radial functions as the DeepH programs take them: ``species_*.h5``, ``basis/El.h5``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dock._version import __version__
from dock.converters.basis_files import (
    CHOICES,
    SpeciesBasis,
    basis_for,
    basis_strings,
    detect_code,
    has_basis_files,
    read_basis_folder,
)
from dock.converters.format import Format, WriteOptions
from dock.converters.radial_h5 import BOHR_ATTRIBUTE, bohr_of
from dock.core.basis import Radial, Shell, shell_letter
from dock.core.calculation import Calculation
from dock.core.elements import symbol
from dock.errors import LayoutError, LossError, MissingDataError
from dock.io.hdf5 import new_hdf5

__all__ = ["FORMAT", "write", "write_calculation"]

SETTINGS: Mapping[str, str] = {
    "layout": "species (species_SOURCE_XC.h5, default) or element (basis/El.h5)",
    "xc": "exchange–correlation functional to name in the file, such as PBE",
    "orbitals": "for OpenMX's .pao files: Ga=Ga7.0-s2p2d1,As=As7.0-s2p2d1",
}
_NORM_TOLERANCE = 1e-3
_Attributes = dict[str, str | float | bool]


class _Species(NamedTuple):
    """What is written of one species; `files` is None where no basis file says more."""

    label: str
    number: int
    shells: tuple[Shell, ...]
    files: SpeciesBasis | None


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the radial functions of each species as they are, in Bohr.

    They come from the basis files of ``options.basis`` or beside the run, or from the calculation.
    Valence electrons and the reach of the projectors go along where the files say them;
    pseudopotentials and densities do not.

    A `dock.converters.format.Writer`; it uses ``basis`` and the settings of `SETTINGS`.

    Raises
    ------
    MissingDataError
        When a shell has no radial function.
    LayoutError
        When the basis files have other shells than the matrices.
    LossError
        When ``layout=element`` cannot keep the order of the shells.
    """
    layout = options.choice("layout", ("species", "element"), "species")
    species, source = _basis_of(calc, options)
    xc = options.settings.get("xc", "")
    bohr = bohr_of(source)
    common: _Attributes = {
        "source": source,
        "units_length": "bohr",
        BOHR_ATTRIBUTE: bohr,
        "written_by": f"dock {__version__}",
    }
    if layout == "element":
        return _write_elements(calc.source, folder / "basis", species, common)
    path = folder / f"{'_'.join(filter(None, ('species', source, xc)))}.h5"
    nmax = max(len(radial.r) for item in species for radial in _radials(item))
    with new_hdf5(path) as file:
        file.attrs.update({**common, "xc_functional": xc, "global_nmax": np.int32(nmax)})
        for item in species:
            group = file.create_group(item.label)
            group.attrs.update(_species_attributes(item, bohr, xc))
            numbers = np.array(list(_numbers(item.shells)), dtype=np.int32)
            group.create_dataset("basis/nljz_list", data=numbers)
            for name, table in _tables(_radials(item), bohr, nmax).items():
                group.create_dataset(f"basis/{name.replace('basis', 'data')}", data=table)
    return [path]


def _basis_of(calc: Calculation, options: WriteOptions) -> tuple[list[_Species], str]:
    """Return the species with their radial functions, and the code that these are from."""
    beside = Path(calc.source)
    folder = options.basis or (beside if beside.is_dir() else beside.parent)
    known = calc.provenance.code.lower().replace(" ", "-")
    files: Mapping[str, SpeciesBasis] = {}
    basis = calc.basis
    if options.basis is not None or has_basis_files(folder):
        code, strings = detect_code(folder), basis_strings(options.settings)
        if code not in CHOICES or strings:
            files = read_basis_folder(folder, strings=strings)
            basis = basis_for(calc.structure, files)
            known = known if code == "deeph" else code
    if not basis.is_same(calc.basis):
        raise LayoutError(
            f"{folder}: the basis files have other shells than the matrices of {calc.source}. Give "
            "those of the calculation."
        )
    by_shells = {id(item.shells): item for item in files.values()}
    species = [
        _Species(label, number, basis.shells[label], by_shells.get(id(basis.shells[label])))
        for label, number in calc.structure.number_of.items()
    ]
    for item in species:
        if any(shell.radial is None for shell in item.shells):
            raise MissingDataError(
                f"the radial function of a shell of {item.label}",
                calc.source,
                "Pass the folder with the code's basis files, basis=DIR.",
            )
    return species, known


def _radials(item: _Species) -> list[Radial]:
    return [shell.radial for shell in item.shells if shell.radial is not None]


def _species_attributes(item: _Species, bohr: float, xc: str) -> _Attributes:
    """Return the attributes of a species' group."""
    files = item.files
    valence = np.nan if files is None or files.valence is None else files.valence
    reach = None if files is None else files.projector_cutoff
    return {
        "element": symbol(item.number),
        "species_name": item.label,
        "valence_electrons": valence,
        "basis_source": "" if files is None else files.path.name,
        "pseudo_source": "",
        "xc_functional": xc,
        **({} if reach is None else {"projector_cutoff": reach / bohr}),
    }


def _numbers(shells: Sequence[Shell]) -> Iterable[tuple[int, int, int, int]]:
    """Yield n, l, 2j = 0 and zeta of each shell; n is l + 1 where the source does not say it."""
    counts: dict[tuple[int, int], int] = {}
    for shell in shells:
        named = re.match(r"(?:[a-z]+ )?(\d+)P?[spdfghik(]", shell.label)
        n = int(named[1]) if named else shell.l + 1
        counts[n, shell.l] = counts.get((n, shell.l), 0) + 1
        yield n, shell.l, 0, counts[n, shell.l]


def _tables(radials: Sequence[Radial], bohr: float, width: int) -> dict[str, np.ndarray]:
    """Return cutoffs, lengths, meshes and values in Bohr, rows padded with zeros to `width`."""
    lengths = [len(radial.r) for radial in radials]
    mesh, values = np.zeros((2, len(radials), width))
    for row, radial in enumerate(radials):
        mesh[row, : lengths[row]] = radial.r / bohr
        values[row, : lengths[row]] = radial.values * bohr**1.5
    return {
        "cutoff_radii": np.array([radial.cutoff for radial in radials]) / bohr,
        "grid_length": np.array(lengths, dtype=np.int32),
        "radius_grid": mesh,
        "radius_basis": values,
    }


def _write_elements(
    source: str, folder: Path, species: Sequence[_Species], common: _Attributes
) -> list[Path]:
    """Write ``El.h5`` of each element."""
    paths = [folder / f"{symbol(item.number)}.h5" for item in species]
    for item in species:
        ls = [shell.l for shell in item.shells]
        if ls != sorted(ls) or len(set(paths)) < len(paths):
            raise LossError(
                f"{source}: basis/El.h5 holds one basis an element, with shells by l; "
                f"{item.label} has l = {ls}. Write settings={{'layout': 'species'}} instead."
            )
    folder.mkdir()
    for item, path in zip(species, paths, strict=True):
        radials, ls = _radials(item), [shell.l for shell in item.shells]
        name = "".join(f"{ls.count(l)}{shell_letter(l)}" for l in sorted(set(ls)))
        with new_hdf5(path) as file:
            file.attrs.update(common)
            is_normalised = max(abs(radial.norm - 1) for radial in radials) < _NORM_TOLERANCE
            file.attrs["element"] = path.stem
            file.attrs["basis_name"] = f"{path.stem}_{name}"
            file.attrs["normalized"] = is_normalised
            file["mul_list"] = np.bincount(ls).astype(np.int32)
            width = max(len(radial.r) for radial in radials)
            for key, table in _tables(radials, float(common[BOHR_ATTRIBUTE]), width).items():
                file[key] = table
    return paths


FORMAT = Format(
    "species-h5",
    "radial functions of the DeepH programs (species_*.h5)",
    versions="the files of 2026",
    notes="No matrices: the basis alone, with the radial functions of the run's basis files.",
).writing((), write_calculation, SETTINGS)

write = FORMAT.save
