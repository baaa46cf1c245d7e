"""What a projection needs of ``data-file-schema.xml`` beyond structure and levels."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe import PlaneWaveRun, read_run
from dock.core.spin import Spin
from dock.errors import FormatError, MissingDataError, UsageError
from dock.io.text import parse_number
from dock.planewave.upf import Pseudopotential, read_upf

__all__ = ["RunFacts", "read_facts", "read_pseudos", "require_local_density", "require_supported"]


@dataclass(frozen=True)
class RunFacts:
    """How a run was made.

    Attributes
    ----------
    functional
        Exchange and correlation, in pw.x's words.
    ecutwfc_rydberg
        Cut-off of the wave functions, Ry.
    pseudo_files, pseudo_dir
        File name of each species label, and where the run took them from.
    has_spin_orbit, has_magnetization
        Of a non-collinear run.
    moment_axis
        Unit vector along which all moments started; None where there is no such axis.
    specialities
        Terms of the Hamiltonian or of the potential that a projection does not have.
    """

    run: PlaneWaveRun
    functional: str
    ecutwfc_rydberg: float
    pseudo_files: Mapping[str, str]
    pseudo_dir: str
    has_spin_orbit: bool
    has_magnetization: bool
    moment_axis: NDArray[np.float64] | None
    specialities: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The ``.save`` folder."""
        return Path(self.run.source).parent


def read_facts(path: str | Path) -> RunFacts:
    """Read a run from its ``.save`` folder.

    Raises
    ------
    MissingDataError
        When there is no such folder.
    FormatError
        When its XML file is damaged.
    """
    run = read_run(path)
    file = Path(run.source)
    root = ET.parse(file).getroot()  # noqa: S314 - read_run has parsed it before
    species = root.findall("output/atomic_species/species")
    files = {str(one.get("name")): _text(one, "pseudo_file") for one in species}
    missing = sorted({label for label in run.structure.labels if not files.get(label)})
    if missing:
        raise FormatError(
            file, "a species has no pseudopotential", where="output/atomic_species", found=missing
        )
    head = root.find("output/atomic_species")

    def flag(name: str) -> bool:
        return _text(root, f"output/magnetization/{name}").lower() in {"true", ".true.", "t"}

    magnetic = run.spin is Spin.COLLINEAR or flag("do_magnetization")
    return RunFacts(
        run,
        _text(root, "output/dft/functional"),
        2 * _number(file, root, "output/basis_set/ecutwfc"),
        files,
        "" if head is None else str(head.get("pseudo_dir", "")),
        flag("spinorbit"),
        magnetic,
        _axis(species) if magnetic else None,
        tuple(_specialities(root)),
    )


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(file: Path, root: ET.Element, path: str) -> float:
    text = _text(root, path)
    try:
        value = parse_number(text)
    except ValueError:
        value = np.nan
    if not 0 < value < np.inf:
        raise FormatError(
            file, "a field is wrong", where=path, expected="a positive number", found=repr(text)
        )
    return value


def _axis(species: Sequence[ET.Element]) -> NDArray[np.float64] | None:
    """Return the common axis of the moments that the run started from, up to its sign."""
    vectors = []
    for one in species:
        words = [_text(one, name) for name in ("starting_magnetization", "spin_teta", "spin_phi")]
        try:
            size, theta, phi = (parse_number(word or "0") for word in words)
        except ValueError:
            return None
        if abs(size) > 1e-6:
            flat = np.sin(theta) * np.array([np.cos(phi), np.sin(phi), 0.0])
            vectors.append(flat + np.array([0.0, 0.0, np.cos(theta)]))
    if not vectors:
        return None
    parallel = all(abs(abs(vector @ vectors[0]) - 1) < 1e-6 for vector in vectors)
    return vectors[0] if parallel else None


def _specialities(root: ET.Element) -> list[str]:
    """Name what the run's Hamiltonian has beyond T, V_nl and the potential of its density."""
    found = []
    if root.find("output/dft/hybrid") is not None:
        found.append("exact exchange (hybrid functional)")
    if root.find("output/dft/dftU") is not None:
        found.append("DFT+U")
    if _text(root, "output/dft/vdW/non_local_term") not in ("", "none", "NONE"):
        found.append("a nonlocal van der Waals functional")
    return found


def _local_specialities(facts: RunFacts) -> list[str]:
    root = ET.parse(facts.run.source).getroot()  # noqa: S314 - read before
    found = []
    isolated = _text(root, "input/boundary_conditions/assume_isolated").lower()
    if isolated not in ("", "none"):
        found.append(f"assume_isolated = {isolated}")
    if root.find("input/boundary_conditions/esm") is not None:
        found.append("an effective screening medium")
    for field in ("electric_potential", "dipole_correction", "gate_settings/use_gate"):
        text = _text(root, f"input/electric_field/{field}").lower()
        if text not in ("", "none", "false", ".false."):
            found.append(f"an electric field ({field})")
    return found


def require_supported(facts: RunFacts) -> None:
    """Refuse a run whose Hamiltonian has terms that no local potential holds, naming them."""
    if facts.specialities:
        raise UsageError(
            f"{facts.run.source}: the run has {' and '.join(facts.specialities)}, which is no part "
            "of a local potential. It cannot be projected; run it with LDA or a GGA."
        )


def require_local_density(facts: RunFacts) -> None:
    """Refuse a run whose potential is more than that of its density in a periodic cell."""
    extra = _local_specialities(facts)
    if extra:
        raise UsageError(
            f"{facts.run.source}: the run has {' and '.join(extra)}: its potential is not that of "
            "the density alone. Give pw2bgw.x's VSC: --potential vsc."
        )


def read_pseudos(facts: RunFacts, folder: Path | None = None) -> dict[str, Pseudopotential]:
    """Read the pseudopotential of each species of a run.

    They are in `folder`; by default in the ``.save`` folder, the one that it is in, or the run's
    ``pseudo_dir``.

    Raises
    ------
    MissingDataError
        When one is in none of these.
    FormatError
        When it is not norm-conserving, or of another element.
    UsageError
        When pw.x would have averaged a full-relativistic one.
    """
    save = facts.folder
    places = [save, save.parent, save.parent / facts.pseudo_dir, save / facts.pseudo_dir]
    places = places if folder is None else [folder]
    result: dict[str, Pseudopotential] = {}
    for label, number in facts.run.structure.number_of.items():
        name = facts.pseudo_files[label]
        path = next((place / name for place in places if (place / name).is_file()), None)
        if path is None:
            raise MissingDataError(
                f"the pseudopotential {name} of {label}",
                save if folder is None else folder,
                "Copy it there, or say where it is: --set pseudo=DIR.",
            )
        pseudo = read_upf(path)
        if pseudo.number != number:
            raise FormatError(path, "the element is another", expected=label, found=pseudo.number)
        if pseudo.is_relativistic and not facts.has_spin_orbit:
            raise UsageError(
                f"{path}: a full-relativistic pseudopotential in a run without lspinorb: pw.x "
                "averages it, which dock does not. Use a scalar-relativistic one, or lspinorb."
            )
        result[label] = pseudo
    electrons = sum(result[label].valence for label in facts.run.structure.labels)
    charge = _charge(facts)
    if abs(electrons - charge - facts.run.n_electrons) > 1e-3:
        raise FormatError(
            facts.run.source,
            "the pseudopotentials bring another number of electrons than the run has",
            expected=f"{facts.run.n_electrons + charge:g} valence electrons",
            found=f"{electrons:g}",
            fix="Give the folder with those of the run: --set pseudo=DIR.",
        )
    return result


def _charge(facts: RunFacts) -> float:
    """Return the total charge that the input asked for."""
    root = ET.parse(facts.run.source).getroot()  # noqa: S314 - read before
    try:
        return parse_number(_text(root, "input/bands/tot_charge") or "0")
    except ValueError:
        return 0.0
