"""Norm-conserving pseudopotentials in UPF version 2: local part, projectors, core charge."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.core.arrays import FloatArray, frozen
from dock.core.elements import atomic_number
from dock.errors import ConventionError, FormatError, LayoutError, MissingDataError
from dock.io.text import NotANumber, parse_number, parse_numbers

__all__ = ["Projector", "Pseudopotential", "read_upf"]

_FIX = "The file was cut or edited: copy it again from the run."
_INFO = re.compile(r"<PP_INFO>.*?</PP_INFO>|<!--.*?-->", re.DOTALL)
_FAMILIES = {
    "PAW": "a PAW data set",
    "US": "an ultrasoft pseudopotential",
    "USPP": "an ultrasoft pseudopotential",
    "1/R": "the bare Coulomb potential",
}


@dataclass(frozen=True, eq=False)
class Projector:
    """One Kleinman–Bylander function β(r) Y_lm of a pseudopotential.

    Attributes
    ----------
    j
        Total angular momentum l ± 1/2; None in a scalar-relativistic pseudopotential.
    r_beta
        (n,) r β(r) on the mesh of the pseudopotential, as far as it reaches, Bohr^(−1/2).
    """

    l: int
    j: float | None
    r_beta: FloatArray


@dataclass(frozen=True, eq=False)
class Pseudopotential:
    """A norm-conserving pseudopotential in Rydberg atomic units.

    Attributes
    ----------
    number, valence
        Atomic number, and electrons that the atom brings.
    functional
        The functional that it was made with, as the file writes it.
    r, dr
        (n,) mesh, Bohr, and its derivative by the index.
    local
        (n,) local potential, Ry.
    strengths
        (n_projectors, n_projectors) D, Ry.
    core
        (n,) density of the nonlinear core correction, electrons/Bohr³; None without one.

    Raises
    ------
    LayoutError
        When shapes disagree, numbers are not finite or the mesh does not increase.
    """

    number: int
    valence: float
    functional: str
    r: FloatArray
    dr: FloatArray
    local: FloatArray
    projectors: tuple[Projector, ...]
    strengths: FloatArray
    core: FloatArray | None
    source: str = "the pseudopotential"

    def __post_init__(self) -> None:
        r = frozen("r", self.r, np.float64, (None,))
        n, n_projectors = len(r), len(self.projectors)
        checked = {
            "r": r,
            "dr": frozen("dr", self.dr, np.float64, (n,)),
            "local": frozen("local", self.local, np.float64, (n,)),
            "strengths": frozen("strengths", self.strengths, np.float64, (n_projectors,) * 2),
        }
        if self.core is not None:
            checked["core"] = frozen("core", self.core, np.float64, (n,))
        if n < 5 or r[0] < 0 or not bool(np.all(np.diff(r) > 0)):
            raise LayoutError("the radial mesh does not increase from r ≥ 0")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def is_relativistic(self) -> bool:
        """Whether the projectors have j = l ± 1/2: spin–orbit coupling."""
        return any(projector.j is not None for projector in self.projectors)


def read_upf(path: str | Path) -> Pseudopotential:
    """Read a norm-conserving pseudopotential in UPF version 2, scalar- or full-relativistic.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is PAW, ultrasoft, or of version 1, or damaged.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        fix = f"It cannot be read ({error.strerror}). Copy it from the run's pseudo_dir."
        raise MissingDataError(f"the pseudopotential {path.name}", path.parent, fix) from error
    if "<UPF" not in text:
        version_1 = "<PP_HEADER>" in text
        raise FormatError(
            path,
            "this is UPF version 1" if version_1 else "this is no pseudopotential in UPF",
            expected="<UPF version=2…>",
            fix="Convert it with QE's upfconv.x -u, and check that pw.x gives the same energies."
            if version_1
            else "Give the .upf file of the run.",
        )
    try:
        root = ET.fromstring(_INFO.sub("", text))  # noqa: S314 - expat itself limits entities
    except ET.ParseError as error:
        raise FormatError(path, f"this is not valid XML ({error})", fix=_FIX) from error
    try:
        return _Reader(path, root).read()
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), fix=_FIX) from error


def _is_set(header: Mapping[str, str], flag: str) -> bool:
    return header.get(flag, "f").strip().lower() in {"t", "true", ".true.", "1"}


@dataclass(frozen=True)
class _Reader:
    """The tree of a file, with checked access to its fields."""

    path: Path
    root: ET.Element

    def read(self) -> Pseudopotential:
        header = self.need("PP_HEADER").attrib
        self.require_norm_conserving(header)
        r = self.values("PP_MESH/PP_R")
        n = len(r)
        with_core = _is_set(header, "core_correction")
        projectors = self.projectors(header, r)
        size = len(projectors)
        strengths = self.values("PP_NONLOCAL/PP_DIJ", size * size) if size else np.zeros(0)
        return Pseudopotential(
            self.element(header),
            self.number(header, "z_valence"),
            header.get("functional", "").strip(),
            r,
            self.values("PP_MESH/PP_RAB", n),
            self.values("PP_LOCAL", n),
            projectors,
            strengths.reshape(size, size),
            self.values("PP_NLCC", n) if with_core else None,
            str(self.path),
        )

    def require_norm_conserving(self, header: Mapping[str, str]) -> None:
        kind = header.get("pseudo_type", "").strip().upper()
        for flag, name in (("is_ultrasoft", "US"), ("is_paw", "PAW"), ("is_coulomb", "1/R")):
            if _is_set(header, flag):
                kind = name
        if kind in ("NC", "SL"):
            return
        element = header.get("element", "").strip()
        raise FormatError(
            self.path,
            f"{_FAMILIES.get(kind, repr(kind))} ({element or 'no element'})",
            expected="a norm-conserving pseudopotential (pseudo_type NC)",
            fix="Augmentation charges add terms to the overlap and make D depend on the density, "
            "which this projection does not have. Run pw.x with norm-conserving ones (ONCV).",
        )

    def need(self, name: str) -> ET.Element:
        section = self.root.find(name)
        if section is None:
            raise FormatError(self.path, "a section is missing", where=name, fix=_FIX)
        return section

    def values(self, name: str, count: int | None = None) -> NDArray[np.float64]:
        return self.numbers(self.need(name), name, count)

    def numbers(self, element: ET.Element, where: str, count: int | None) -> NDArray[np.float64]:
        words = (element.text or "").split()
        try:
            found = parse_numbers(" ".join(words))
        except NotANumber:
            found = np.array([np.nan])
        if not len(found) or not np.all(np.isfinite(found)) or len(found) != (count or len(found)):
            raise FormatError(
                self.path,
                "numbers cannot be read",
                where=where,
                expected=f"{count or 'some'} finite numbers",
                found=f"{len(words)} words",
                fix=_FIX,
            )
        return found

    def number(self, header: Mapping[str, str], name: str) -> float:
        text = header.get(name, "").strip()
        try:
            value = parse_number(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise FormatError(
                self.path, "a number is wrong", where=f"{name} of PP_HEADER", found=repr(text),
                fix=_FIX,
            )  # fmt: skip
        return value

    def element(self, header: Mapping[str, str]) -> int:
        name = header.get("element", "").strip()
        try:
            return atomic_number(name[:1].upper() + name[1:].lower())
        except ConventionError as error:
            problem = str(error).rstrip(".")
            raise FormatError(self.path, problem, where="element of PP_HEADER") from error

    def projectors(
        self, header: Mapping[str, str], r: NDArray[np.float64]
    ) -> tuple[Projector, ...]:
        """Return the projectors, all up to the radius of the longest, as pw.x takes them."""
        count = int(self.number(header, "number_of_proj"))
        spin_orbit = _is_set(header, "has_so")
        found, ends = [], []
        for number in range(1, count + 1):
            name = f"PP_NONLOCAL/PP_BETA.{number}"
            element = self.need(name)
            l = int(self.number(element.attrib, "angular_momentum"))
            j = None
            if spin_orbit:
                relativistic = self.need(f"PP_SPIN_ORB/PP_RELBETA.{number}").attrib
                j = self.number(relativistic, "jjj")
                if abs(abs(j - l) - 0.5) > 1e-6:
                    raise FormatError(
                        self.path,
                        "a projector has an impossible j",
                        where=f"PP_RELBETA.{number}",
                        expected=f"{l} ± 1/2",
                        found=j,
                        fix=_FIX,
                    )
            text = element.get("cutoff_radius_index", "").strip()
            ends.append(int(text) if text.isdigit() else 0)
            found.append((l, j, self.numbers(element, name, len(r))))
        end = min(max(ends, default=0), len(r)) or len(r)
        return tuple(Projector(l, j, values[:end]) for l, j, values in found)
