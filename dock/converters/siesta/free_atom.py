"""The free atom of SIESTA's ``.ion.xml``: projectors, potential and density."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dock.converters.siesta.ion import read_ion, xml_elements, xml_table
from dock.core.arrays import FloatArray
from dock.core.basis import Radial
from dock.errors import MissingDataError
from dock.io.refusal import Refusal
from dock.io.text import parse_number
from dock.units import SIESTA5, Constants

__all__ = ["FreeAtom", "Projector", "read_free_atom"]

_SUFFIX = ".ion.xml"
_POINTS = 2001  # of the density; the orbitals come on some 500
_ELECTRONS = 1e-3  # by which the density may miss the valence electrons
_fail = Refusal("SIESTA", damaged_fix="Copy the file again from the SIESTA run.").damaged


class Projector(NamedTuple):
    """A Kleinman–Bylander projector: l, j where it has one, energy in eV, β(r) in Å^(−3/2)."""

    l: int
    j: float | None
    energy: float
    radial: Radial


class FreeAtom(NamedTuple):
    """A spherical neutral pseudo-atom.

    Attributes
    ----------
    projectors
        Of its pseudopotential; V_nl = Σ |β⟩ energy ⟨β|.
    potential
        Local pseudopotential and Hartree potential of the density together, eV; zero outside.
    density
        Of the valence electrons, and of the core where the pseudopotential has a correction for it,
        electrons/Å³.
    """

    projectors: tuple[Projector, ...]
    potential: Radial
    density: Radial


def read_free_atom(path: str | Path, constants: Constants = SIESTA5) -> FreeAtom:
    """Read the free atom of an ``.ion.xml``.

    Raises
    ------
    MissingDataError
        For another kind of basis file, which lacks some of it.
    FormatError
        When the file is damaged.
    """
    path = Path(path)
    if not path.name.endswith(_SUFFIX):
        raise MissingDataError(
            "the potential and the density of the free atom",
            path,
            f"They are read from SIESTA's {_SUFFIX} files, which stand beside the .ion of a run.",
        )
    ion = read_ion(path)
    text = path.read_text(encoding="utf-8")
    bohr, rydberg = constants.bohr_angstrom, constants.rydberg_ev
    projectors = []
    for where, tags, body in xml_elements(text, "projector"):
        cutoff, table = xml_table(path, body, where)
        l = int(_number(path, tags, "l", where))
        j = _number(path, tags, "j", where) if "j" in tags else None
        energy = _number(path, tags, "ref_energy", where) * rydberg
        r = table[:, 0]
        radial = Radial(r * bohr, table[:, 1] * r**l / bohr**1.5, cutoff * bohr)
        projectors.append(Projector(l, j, energy, radial))
    potential = _function(path, text, "vna")
    if potential is None:
        _fail(path, "<vna> is missing", "the potential of the neutral atom", "none")
    populations = [
        _number(path, tags, "population", where) for where, tags, _ in xml_elements(text, "orbital")
    ]
    r = np.linspace(0.0, max(one.cutoff_bohr for one in ion.orbitals), _POINTS)
    density = np.zeros(len(r))
    for orbital, population in zip(ion.orbitals, populations, strict=True):
        values = _spline(orbital.delta_bohr * np.arange(len(orbital.values)), orbital.values, r)
        inside = r <= orbital.cutoff_bohr
        density += np.where(inside, population * (values * r**orbital.l) ** 2, 0.0) / (4 * np.pi)
    electrons = float(4 * np.pi * np.trapezoid(density * r**2, r))
    if abs(electrons - ion.valence) > _ELECTRONS:
        expected = f"populations that make {ion.valence:g} electrons"
        _fail(path, "populations and valence charge disagree", expected, f"{electrons:.4f}")
    core = _function(path, text, "core")
    if core is not None:
        density += np.where(r <= core[0][-1], _spline(*core, np.minimum(r, core[0][-1])), 0.0)
    return FreeAtom(
        tuple(projectors),
        Radial(potential[0] * bohr, potential[1] * rydberg),
        Radial(r * bohr, density / bohr**3),
    )


def _number(path: Path, tags: Mapping[str, str], name: str, where: str) -> float:
    """Return an attribute as a number."""
    try:
        return parse_number(tags.get(name, "").strip())
    except ValueError:
        _fail(path, f"attribute {name} is no number", "a number", tags.get(name, "none"), where)


def _function(path: Path, text: str, tag: str) -> tuple[FloatArray, FloatArray] | None:
    """Return radii (Bohr) and values of a function that stands alone under a tag."""
    found = next(iter(xml_elements(text, tag)), None)
    if found is None:
        return None
    table = xml_table(path, found[2], tag)[1]
    return table[:, 0], table[:, 1]


def _spline(r: FloatArray, values: FloatArray, at: FloatArray) -> FloatArray:
    from scipy.interpolate import CubicSpline

    return np.asarray(CubicSpline(r, values)(at))
