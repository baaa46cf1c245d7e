"""One way to the basis files of every code: folder in, shells of each species out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dock.core.basis import Basis, Shell
from dock.core.elements import atomic_number, element_of_label
from dock.core.structure import Structure
from dock.errors import ConventionError, FormatError, LayoutError, MissingDataError, UsageError

__all__ = [
    "CHOICES",
    "CODES",
    "SpeciesBasis",
    "basis_for",
    "basis_strings",
    "detect_code",
    "has_basis_files",
    "read_basis_folder",
    "require_same_shells",
]


@dataclass(frozen=True)
class SpeciesBasis:
    """The basis of one species as its file gives it.

    Attributes
    ----------
    label, number
        Species label of the file, and atomic number.
    shells
        Shells with radial functions in Å.
    projector_cutoff
        Radius of the longest projector, Å; None where the files of the code hold none.
    valence
        Electrons that the species brings; None where the files do not say it.
    """

    label: str
    number: int
    shells: tuple[Shell, ...]
    path: Path
    projector_cutoff: float | None = None
    valence: float | None = None


# As in `structure_files`, the package of a code is imported when its files are read.


def _siesta(folder: Path, strings: Mapping[str, str]) -> list[SpeciesBasis]:  # noqa: ARG001
    from dock.converters.siesta.ion import read_ion
    from dock.units import SIESTA5

    ions = {
        path.name.removesuffix(suffix): path
        for suffix in (".ion", ".ion.nc", ".ion.xml")  # the last one wins
        for path in sorted(folder.glob(f"*{suffix}"))
    }
    result = []
    for path in ions.values():
        ion = read_ion(path)
        reach = ion.projector_cutoff_bohr * SIESTA5.bohr_angstrom
        result.append(SpeciesBasis(ion.label, ion.number, ion.shells(), path, reach, ion.valence))
    return result


def _abacus(folder: Path, strings: Mapping[str, str]) -> list[SpeciesBasis]:  # noqa: ARG001
    from dock.converters.abacus.orb import read_orb
    from dock.converters.abacus.reach import element_radius
    from dock.units import ABACUS

    result = []
    for path in sorted(folder.glob("*.orb")):
        orb = read_orb(path)
        symbol = orb.symbol or path.name.split("_")[0]
        try:
            number = atomic_number(symbol)
        except ConventionError as error:
            raise FormatError(path, str(error).rstrip("."), where="Element") from error
        radius = element_radius(folder, symbol)
        reach = None if radius is None else radius * ABACUS.bohr_angstrom
        result.append(SpeciesBasis(symbol, number, orb.shells(), path, reach))
    return result


def _openmx(folder: Path, strings: Mapping[str, str]) -> list[SpeciesBasis]:
    from dock.converters.openmx.pao import shells_of_pao
    from dock.converters.openmx.species import Species

    result = []
    for label, text in strings.items():
        species = Species.parse(label, text, text)
        shells = shells_of_pao(species, folder)
        path = folder / f"{species.pao.base_name}.pao"
        result.append(SpeciesBasis(label, species.number, shells, path))
    return result


def _cp2k(folder: Path, strings: Mapping[str, str]) -> list[SpeciesBasis]:
    from dock.converters.cp2k.basis_set import files_in, find_shells

    files, result = files_in(folder), []
    for label, name in strings.items():
        element = element_of_label(label)
        if element is None:
            raise ConventionError(f"the species '{label}' is called after no element.")
        shells, path = find_shells(files, element, name, folder)
        result.append(SpeciesBasis(label, atomic_number(element), shells, path))
    return result


def _deeph(folder: Path, strings: Mapping[str, str]) -> list[SpeciesBasis]:  # noqa: ARG001
    from dock.converters.radial_h5 import radial_files, read_radial_file

    return [
        SpeciesBasis(
            item.label, item.number, item.shells, path, item.projector_cutoff, item.valence
        )
        for path in radial_files(folder)
        for item in read_radial_file(path)
    ]


_READERS: dict[str, tuple[str, Callable[[Path, Mapping[str, str]], list[SpeciesBasis]]]] = {
    "siesta": ("*.ion*", _siesta),
    "openmx": ("*.pao", _openmx),
    "abacus": ("*.orb", _abacus),
    "cp2k": ("*BASIS*", _cp2k),
    "deeph": ("species*.h5 or basis/El.h5", _deeph),
}

CODES = tuple(_READERS)
"""Codes whose basis files are read, and the DeepH programs, which repeat those of any code."""

_ONE_FILE_A_SPECIES = ("siesta", "openmx", "abacus")
CHOICES = {
    "openmx": "A .pao file holds more than a basis takes: give strings such as C=C6.0-s2p2d1.",
    "cp2k": "A file holds many basis sets: give their names, such as Si=SZV-MOLOPT-SR-GTH.",
}
"""Codes of whose files a string chooses, and what is said where it is missing."""


def _codes_in(folder: Path) -> list[str]:
    """Return whose basis files are there; those of a code before copies in DeepH's formats.

    Files of CP2K, known by their name alone, count where there are no others.
    """
    from dock.converters.cp2k.basis_set import files_in
    from dock.converters.radial_h5 import radial_files

    native = [code for code in _ONE_FILE_A_SPECIES if any(folder.glob(_READERS[code][0]))]
    if native:
        return native
    return ["deeph"] if radial_files(folder) else ["cp2k"] if files_in(folder) else []


def has_basis_files(folder: Path) -> bool:
    """Say whether a folder holds basis files of any code."""
    return bool(_codes_in(folder))


def detect_code(folder: str | Path) -> str:
    """Return the code whose basis files a folder holds.

    Raises
    ------
    MissingDataError
        When there are none.
    UsageError
        When there are files of several codes.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingDataError("the folder of basis files", folder, "Check the path of basis=DIR.")
    codes = _codes_in(folder)
    if not codes:
        patterns = ", ".join(f"{pattern} ({code})" for code, (pattern, _) in _READERS.items())
        raise MissingDataError("a basis file", folder, f"Expected one of: {patterns}.")
    if len(codes) > 1:
        raise UsageError(
            f"{folder}: basis files of {' and '.join(codes)}. Choose with code='{codes[0]}'."
        )
    return codes[0]


def read_basis_folder(
    folder: str | Path, code: str = "auto", *, strings: Mapping[str, str] | None = None
) -> dict[str, SpeciesBasis]:
    """Read all basis files of a folder; return the species by label.

    Parameters
    ----------
    code
        ``siesta`` (.ion.xml, .ion.nc, .ion), ``openmx`` (.pao), ``abacus`` (.orb), ``cp2k``
        (files of basis sets), ``deeph`` (species*.h5, El.h5), or ``auto``. For the last two
        `folder` may be such a file.
    strings
        For OpenMX, the basis string of each species label: ``{"C": "C6.0-s2p2d1"}``; for CP2K the
        name of its basis set: ``{"Si": "SZV-MOLOPT-SR-GTH"}``.

    Raises
    ------
    UsageError
        For an unknown code, or two files of one label.
    MissingDataError
        When the folder has no such files, or the strings of OpenMX or CP2K are not given.
    FormatError
        When a file is damaged.
    """
    from dock.converters.radial_h5 import radial_files

    folder = Path(folder)
    code = detect_code(folder) if code == "auto" else code
    if code not in _READERS:
        raise UsageError(f"there are no basis files of '{code}'. Known codes: {', '.join(CODES)}.")
    if code not in _codes_in(folder) and not (code == "deeph" and radial_files(folder)):
        raise MissingDataError(
            f"a basis file {_READERS[code][0]}", folder, "Check the path of basis=DIR."
        )
    if code in CHOICES and not strings:
        raise MissingDataError("the choice of orbitals", folder, CHOICES[code])
    result: dict[str, SpeciesBasis] = {}
    for item in _READERS[code][1](folder, strings or {}):
        if item.label in result:
            raise UsageError(
                f"{folder}: {item.path.name} and {result[item.label].path.name} are both for the "
                f"species {item.label}. Keep the one that is meant."
            )
        result[item.label] = item
    return result


def basis_strings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the basis strings of the setting ``orbitals``: ``Ga=Ga7.0-s2p2d1,As=…``.

    Raises
    ------
    UsageError
        When it is something else.
    """
    words = settings.get("orbitals", "").replace(",", " ").split()
    if any("=" not in word for word in words):
        raise UsageError(
            "the setting orbitals gives each species its OpenMX string or CP2K basis set, such as "
            f"Ga=Ga7.0-s2p2d1,As=As7.0-s2p2d1; found '{settings['orbitals']}'."
        )
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def basis_for(structure: Structure, species: Mapping[str, SpeciesBasis]) -> Basis:
    """Return the basis of a structure: by species label, or else by element.

    Raises
    ------
    MissingDataError
        When a species has no basis.
    """
    shells: dict[str, tuple[Shell, ...]] = {}
    for label, number in structure.number_of.items():
        same = [item for item in species.values() if item.number == number]
        if label in species:
            shells[label] = species[label].shells
        elif len(same) == 1:
            shells[label] = same[0].shells
        else:
            known = ", ".join(species) or "none"
            several = ", ".join(item.label for item in same)
            raise MissingDataError(
                f"the basis of species {label}",
                "the basis files",
                f"They hold: {known}."
                + (f" Of its element there are several ({several})." if same else ""),
            )
    return Basis(shells, structure.labels)


def require_same_shells(given: Basis, basis: Basis, folder: Path | str) -> None:
    """Refuse basis files that are not those of the matrices' orbitals: a `LayoutError`."""
    if given.is_same(basis):
        return
    words = "; ".join(
        f"{label}: l = {list(given.ls(label))} in the files, {list(basis.ls(label))} in the "
        "matrices"
        for label in basis.species
        if given.ls(label) != basis.ls(label)
    )
    raise LayoutError(
        f"{folder}: the basis files have other shells than the matrices ({words}). Pass those of "
        "the calculation, basis=DIR."
    )
