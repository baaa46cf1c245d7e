"""Figures of merit for the bundled CP2K runs, as rows (system, quantity, deviation, limit)."""

import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import samples
from scipy.linalg import eigh
from trip import through_folder

from dock.converters.cp2k import read
from dock.converters.cp2k.matrices import overlap_deviation
from dock.core.kspace import KBuilder
from dock.units import CP2K

LEVELS = 1e-6
"""eV: ten digits of a Hartree; the last step of the self-consistency changed H by 1e-8."""
ELECTRONS = 1e-8
OVERLAP = {"si2": 1e-6}
"""EPS_DEFAULT 1e-8 cuts Gaussians there; 1e-12 in the others."""


def unpacked(folder):
    """Unpack the bundled runs into a folder."""
    with tarfile.open(samples.ROOT / "fixtures" / "cp2k" / "runs.tar.xz") as packed:
        packed.extractall(folder, **samples.TAR_FILTER)  # noqa: S202 - our own archive
    return folder


def level_deviation(calc, k, spin, hartree):
    """Return the largest |Δε|, eV, from levels in Hartree, ascending from the lowest."""
    parts = np.asarray(KBuilder(calc.hamiltonian).dense(k))
    parts = parts.reshape(-1, *parts.shape[-2:])
    found = eigh(parts[spin], np.asarray(KBuilder(calc.overlap).dense(k)), eigvals_only=True)
    told = np.asarray(hartree) * CP2K.hartree_ev
    return float(np.abs(found[: len(told)] - told).max())


def electrons(calc):
    """Return Tr(ρS) of each spin component."""
    pairs = calc.density_matrix.pairs.union(calc.overlap.pairs)
    density, overlap = (m.on_pairs(pairs).entries for m in (calc.density_matrix, calc.overlap))
    return (density * overlap[0]).sum(axis=1)


def rows_of(name, run, reference):
    """Yield the figures of one run."""
    calc = through_folder(read(run))
    worst = 0.0
    for one in reference["levels"]:
        k = reference["k_fractional"][one["k_point"] - 1] if one["k_point"] else [0, 0, 0]
        worst = max(worst, level_deviation(calc, k, one["spin"], one["hartree"]))
    yield name, "printed eigenvalues (eV)", worst, LEVELS
    apart = np.abs(electrons(calc) - reference["electrons"]).max()
    yield name, "Tr(rho S) - electrons of each spin", float(apart), ELECTRONS
    limit = OVERLAP.get(name, 1e-8)
    yield name, "overlap computed from the basis set", overlap_deviation(read(run)), limit


def rows():
    """All rows."""
    reference = json.loads((samples.ROOT / "fixtures" / "cp2k" / "reference.json").read_text())
    with tempfile.TemporaryDirectory() as place:
        folder = unpacked(Path(place))
        for name, told in reference.items():
            yield from rows_of(name, folder / name, told)
