"""The overlap of a structure file, written as a unified folder: basis files, pairs, streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.converters.basis_files import (
    CHOICES,
    SpeciesBasis,
    basis_for,
    detect_code,
    has_basis_files,
    read_basis_folder,
)
from dock.converters.structure_files import read_structure
from dock.core.basis import Basis
from dock.core.matrix import AOMatrix
from dock.core.pairs import Pairs
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.core.structure import Structure
from dock.errors import FormatError, MissingDataError, OutputError, UsageError
from dock.overlap.assemble import Integrals
from dock.threads import available_cpus

__all__ = [
    "FREE_ATOMS",
    "INITIAL",
    "OverlapJob",
    "OverlapTarget",
    "basis_with_projectors",
    "stored_reach",
]


INITIAL = "hamiltonian0"
"""The Hamiltonian of superposed free atoms, which is computed like the two-centre integrals."""

FREE_ATOMS = "dock superposed free atoms"
"""How the `source_code` of such a file begins."""

_SOURCES = {INITIAL: FREE_ATOMS}


@dataclass(frozen=True)
class OverlapTarget:
    """Where the results go: a folder, and the name of the overlap file in it."""

    folder: Path
    overlap: str

    @classmethod
    def of(cls, structure: Path, output: Path | None) -> OverlapTarget:
        """Return where the overlap of a structure file goes by default, or to `output`."""
        if output is None:
            return cls(structure if structure.is_dir() else structure.parent, "overlap.h5")
        if output.suffix in {".h5", ".hdf5"}:
            return cls(output.parent, output.name)
        return cls(output, "overlap.h5")

    def file(self, quantity: str) -> Path:
        """Return the file of a quantity."""
        from dock.converters.deeph.folder import FILES

        return self.folder / (self.overlap if quantity == "overlap" else FILES[quantity])


@dataclass(frozen=True)
class OverlapJob:
    """What is to be computed, checked against what stands in the target folder.

    Attributes
    ----------
    integrals
        The prepared engine; its structure has each element's atoms together.
    species
        What the basis files say of each species.
    source_order
        Which atom of the structure file stands where, None for the same order.
    """

    integrals: Integrals
    species: Mapping[str, SpeciesBasis]
    source_order: list[int] | None

    @classmethod
    def prepare(
        cls,
        path: Path,
        folder: Path | None,
        target: OverlapTarget,
        *,
        code: str = "auto",
        strings: Mapping[str, str] | None = None,
        pattern: str = "orbital",
        quantities: Sequence[str] = ("S",),
    ) -> OverlapJob:
        """Read structure and basis, and find the pairs; nothing is written.

        Parameters
        ----------
        path
            The structure: a unified folder, or any file that `read_structure` takes.
        folder, code, strings
            The basis files, None for the folder of the structure; whose they are, recognised by
            default; for OpenMX and CP2K, the basis of each species.
        target
            Must not hold another structure or other orbitals.
        pattern
            ``orbital``, ``kb`` (also through projectors), ``auto`` (that of the target's overlap
            where it has one that is not asked for, for H0 with those through projectors; else
            ``kb`` for H0, and for ABACUS where its pseudopotentials are beside the orbitals), or a
            matrix file.
        quantities
            What will be computed.

        Raises
        ------
        FormatError, UsageError
            When they do not fit each other.
        """
        source = read_structure(path)
        structure, order = _grouped(source.structure)
        folder = _basis_beside(path, source.path) if folder is None else folder
        species = read_basis_folder(folder, code, strings=strings or source.basis_strings)
        basis = basis_for(structure, species)
        _check_folder(target.folder, structure, basis)
        pairs: str | Pairs = pattern
        radii = _projectors(basis, species)
        names = [_quantity(name) for name in quantities]
        present = target.file("overlap")
        if pattern == "auto" and "overlap" not in names and present.is_file():
            pairs = _pattern(present, structure.n_atoms, order)
            if INITIAL in names and radii is not None:  # many overlaps lack them, H₀ has them
                pairs = pairs.union(_through_projectors(structure, basis, radii))
        elif pattern == "auto":
            is_abacus = all(item.path.suffix == ".orb" for item in species.values())
            through = radii is not None and (is_abacus or INITIAL in names)
            pairs = "kb" if through else "orbital"
        elif pattern not in {"orbital", "kb"}:
            pairs = _pattern(Path(pattern), structure.n_atoms, order)
        integrals = Integrals.prepare(structure, basis, pairs=pairs, projectors=radii)
        return cls(integrals, species, order)

    def through_projectors(self) -> OverlapJob:
        """Return the same with pairs that meet through projectors too; nothing is read again."""
        integrals = Integrals.prepare(
            self.integrals.structure,
            self.integrals.basis,
            pairs="kb",
            projectors=_projectors(self.integrals.basis, self.species),
        )
        return replace(self, integrals=integrals)

    @property
    def has_projectors(self) -> bool:
        """Whether the basis files of all species hold projectors."""
        return _projectors(self.integrals.basis, self.species) is not None

    def write(
        self,
        target: OverlapTarget,
        quantities: Sequence[str] = ("S",),
        *,
        spinful: bool = False,
        single_precision: bool = False,
        overwrite: bool = False,
        jobs: int | None = None,
    ) -> list[dict[str, Any]]:
        """Write the matrices, then POSCAR and info.json where they are missing.

        With `spinful` they are 1₂⊗S, as DeepH's programs want them for spin–orbit predictions; an
        info.json without spin, or of a split H, then is a FormatError.

        Return quantity, numbers of pairs and entries, and path of each file. Where one is there
        already, nothing is changed: an OutputError.
        """
        from dock.converters.deeph.blockfile import write_matrix, write_slabs
        from dock.io.files import prepare_folder

        names = list(dict.fromkeys(_quantity(name) for name in quantities))
        there = [target.file(name) for name in names if target.file(name).exists()]
        if there and not overwrite:
            raise OutputError(f"{there[0]}: exists already. Pass overwrite=True to replace it.")
        if spinful:
            _require_spinful(target.folder / "info.json")
        jobs = jobs or available_cpus()
        dtype = np.float32 if single_precision else np.float64
        free = None
        if INITIAL in names:
            free = self.initial_hamiltonian(_spin_in(target.folder, spinful=spinful), jobs=jobs)
        prepare_folder(target.folder)
        integrals, rows = self.integrals, []
        for name in names:
            path = target.file(name)
            if free is not None and name == INITIAL:
                attributes = self._attributes(name, spinful=False) | {"spin": free.spin.value}
                write_matrix(
                    path,
                    free,
                    attributes,
                    single_precision=single_precision,
                    overwrite=overwrite,
                )
                counts = {"n_pairs": len(free.pairs), "n_entries": free.entries.size}
                rows.append({"quantity": name, **counts, "path": str(path)})
                continue
            count = write_slabs(
                path,
                name,
                integrals.basis,
                integrals.pairs,
                integrals.slabs(name, jobs=jobs, dtype=dtype),
                attributes=self._attributes(name, spinful=spinful),
                expanded=spinful,
                single_precision=single_precision,
                overwrite=overwrite,
            )
            counts = {"n_pairs": len(integrals.pairs), "n_entries": count}
            rows.append({"quantity": name, **counts, "path": str(path)})
        self._write_missing(target.folder, spinful=spinful)
        return rows

    def initial_hamiltonian(self, spin: Spin, *, jobs: int | None = None) -> AOMatrix:
        """Return the Hamiltonian of superposed free atoms on the pairs, eV.

        A `MissingDataError` where the basis files do not say what it takes: those of SIESTA do.
        """
        from dock.converters.siesta.free_atom import read_free_atom
        from dock.initial_hamiltonian import initial_hamiltonian

        integrals = self.integrals
        files = {id(item.shells): item.path for item in self.species.values()}
        shells = integrals.basis.shells
        atoms = {
            label: read_free_atom(files[id(shells[label])]) for label in integrals.basis.species
        }
        return initial_hamiltonian(
            integrals.structure, integrals.basis, integrals.pairs, atoms, spin, jobs=jobs
        )

    def _attributes(self, name: str, *, spinful: bool) -> dict[str, Any]:
        """Return the attributes of a quantity's file."""
        from dock.converters.deeph.info import FORMAT_VERSION, LAYOUT_VERSION
        from dock.core.quantity import quantity_of

        return {
            "dock_format_version": LAYOUT_VERSION if spinful else FORMAT_VERSION,
            "quantity": name,
            "unit": quantity_of(name).unit,
            "spin": "none",
            "source_code": f"{_SOURCES.get(name, 'dock two-centre integrals')} of "
            f"{', '.join(self._basis_files())}",
            "written_by": f"dock {__version__}",
        }

    def _write_missing(self, folder: Path, *, spinful: bool) -> None:
        """Write POSCAR and info.json unless they are there."""
        from dock.converters.deeph.info import FORMAT_VERSION, LAYOUT_VERSION, Info
        from dock.converters.deeph.poscar import format_poscar
        from dock.io.files import write_text

        structure, basis = self.integrals.structure, self.integrals.basis
        if not (folder / "POSCAR").exists():
            write_text(folder / "POSCAR", format_poscar(structure))
        if (folder / "info.json").exists():
            return
        shells = {symbol: basis.ls(label) for label, symbol in structure.element_of.items()}
        own: dict[str, Any] = {
            "format_version": LAYOUT_VERSION if spinful else FORMAT_VERSION,
            "dock_version": __version__,
            "spin": "none",
            "pbc": list(structure.pbc),
            "provenance": {
                "code": "dock",
                "version": __version__,
                "files": self._basis_files(),
                "command": "dock compute-overlap",
                "extra": {},
            },
        }
        if spinful:  # collinear or not: the Hamiltonian to come will say
            del own["spin"]
        if self.source_order is not None:
            own["source_order"] = self.source_order
        info = Info(shells, spinful=spinful, n_electrons=self._electrons(), own=own)
        write_text(folder / "info.json", info.to_json(structure, basis))

    def _basis_files(self) -> list[str]:
        return sorted(item.path.name for item in self.species.values())

    def _electrons(self) -> float | None:
        """Return the valence electrons of the cell where every basis file says them."""
        basis = self.integrals.basis
        by_shells = {id(item.shells): item.valence for item in self.species.values()}
        each = [by_shells.get(id(basis.shells[label])) for label in basis.labels]
        known = [value for value in each if value is not None and np.isfinite(value)]
        return float(sum(known)) if len(known) == len(each) else None


def _basis_beside(path: Path, source: Path) -> Path:
    """Return the folder of a structure, or of the file in it that was read, with basis files."""
    places = dict.fromkeys(place if place.is_dir() else place.parent for place in (path, source))
    folder = next((place for place in places if has_basis_files(place)), None)
    if folder is None:
        raise MissingDataError(
            "the folder of basis files", path, "None are beside the structure: pass basis=DIR."
        )
    return folder


def _grouped(structure: Structure) -> tuple[Structure, list[int] | None]:
    """Return the structure with each element's atoms together, as the unified folder has them."""
    order = structure.element_order
    return (structure, None) if order == sorted(order) else (structure.select(order), order)


def _pattern(path: Path, n_atoms: int, order: list[int] | None) -> Pairs:
    from dock.converters.deeph.pattern import read_pairs

    if order is not None:
        raise UsageError(
            f"{path}: the pattern belongs to a unified folder, in which the atoms are grouped by "
            "element; those of the structure are not. Give that folder's POSCAR."
        )
    return read_pairs(path, n_atoms)


def _through_projectors(structure: Structure, basis: Basis, radii: Mapping[str, float]) -> Pairs:
    """Return the pairs that meet through projectors."""
    from dock.overlap.neighbours import orbital_cutoffs, projector_pairs

    return projector_pairs(structure, orbital_cutoffs(basis), radii)


def _projectors(basis: Basis, species: Mapping[str, SpeciesBasis]) -> dict[str, float] | None:
    """Return the radius of each species' projectors, None where the files hold none."""
    by_shells = {id(item.shells): item.projector_cutoff for item in species.values()}
    radii = {label: by_shells.get(id(basis.shells[label])) for label in basis.species}
    known = {label: radius for label, radius in radii.items() if radius is not None}
    return known if len(known) == len(radii) else None


def basis_with_projectors(
    structure: Structure, folder: Path, code: str, strings: Mapping[str, str] | None
) -> tuple[Basis, dict[str, float]] | None:
    """Return the basis of a structure and the radius of each species' projectors, Å.

    None where the basis files hold no projectors.
    """
    code = detect_code(folder) if code == "auto" else code
    if code in CHOICES:  # nor do they say which orbitals
        return None
    species = read_basis_folder(folder, code, strings=strings)
    basis = basis_for(structure, species)
    radii = _projectors(basis, species)
    return None if radii is None else (basis, radii)


def stored_reach(own: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]] | None:
    """Return the radii of orbitals and projectors of each element that a converted folder keeps, Å.

    Parameters
    ----------
    own
        What `dock` keeps in ``info.json``; None is returned where the radii are not in it.
    """
    try:
        stored = own["provenance"]["extra"]["reach_angstrom"]
        orbitals, projectors = (
            {str(name): float(radius) for name, radius in stored[kind].items()}
            for kind in ("orbitals", "projectors")
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return orbitals, projectors


def _quantity(name: str) -> str:
    """Return the full name of what can be computed from basis files."""
    from dock.overlap.assemble import two_centre_name

    name = name.strip()
    return INITIAL if name in (INITIAL, quantity_of(INITIAL).letter) else two_centre_name(name)


def _spin_in(folder: Path, *, spinful: bool) -> Spin:
    """Return the spin of a folder, none where nothing is there; refuse one that is not known."""
    from dock.converters.deeph.info import read_info

    path = folder / "info.json"
    info = read_info(path) if path.is_file() else None
    spin = Spin.NONE if info is None and not spinful else info.spin if info else None
    if spin is None:
        raise UsageError(
            f"{folder}: H0 needs to know whether spin is collinear or not. Compute it in the "
            "converted folder of a run, or without --spinful."
        )
    return spin


def _require_spinful(path: Path) -> None:
    """Refuse 1₂⊗S beside an info.json without spin, or with an H of two parts."""
    from dock.converters.deeph.info import read_info

    if not path.is_file():
        return
    info = read_info(path)
    if not info.spinful or info.split:
        raise FormatError(
            path,
            "an overlap with both spins does not belong into this folder",
            where="split_hkb" if info.split else "spinful",
            expected='"spinful": true, and no split_hkb',
            found="a split H" if info.split else "false",
            fix="Write the overlap without spin, or pass another output=DIR. Nothing was changed.",
        )


def _check_folder(folder: Path, structure: Structure, basis: Basis) -> None:
    """Refuse a target whose POSCAR or info.json belongs to something else."""
    from dock.converters.deeph.info import check_counts, read_info
    from dock.converters.deeph.poscar import read_poscar

    poscar, info_path = folder / "POSCAR", folder / "info.json"
    if poscar.is_file() and not read_poscar(poscar).is_close(structure, 1e-4):
        raise FormatError(
            poscar,
            "this folder holds another structure",
            fix="Pass another output=DIR. Nothing was changed.",
        )
    if not info_path.is_file():
        return
    info = read_info(info_path)
    for label, symbol in structure.element_of.items():
        stated = info.element_shells.get(symbol)
        if stated != basis.ls(label):
            raise FormatError(
                info_path,
                f"the orbitals of {symbol} are not those of the basis files",
                where="elements_orbital_map",
                expected=f"{list(basis.ls(label))} as in the basis files",
                found=list(stated) if stated is not None else f"no {symbol}",
                fix="Give the basis of that calculation, or another output=DIR. Nothing was "
                "changed.",
            )
    check_counts(info_path, info, structure, basis)
