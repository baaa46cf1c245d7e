"""The spin moments that SIESTA prints with ``WriteMullikenPop 1``.

A collinear run prints the populations of both spins one after the other, each with its sum::

    mulliken: Atomic and Orbital Populations:
    mulliken: Spin UP
    Species: Fe
    Atom  Qatom  Qorb
                   4s      3dxy    3dyz    …
       1  5.070   0.549   0.786   0.788   …
    mulliken: Qtot =        8.001

Three digits are printed, so that a moment is known to 0.001 μ_B.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dock.converters.siesta.run import last_step
from dock.io.files import readable

__all__ = ["prints_populations", "read_moments"]

_BEGIN = b"mulliken: Atomic and Orbital Populations:"
_SPINS = (b"mulliken: Spin UP", b"mulliken: Spin DOWN")
_ATOM = re.compile(rb"^ *(\d+) +(-?\d+\.\d+)(?=\s)", re.MULTILINE)
_SUM = re.compile(rb"^mulliken: Qtot = +(-?\d+\.\d+)\s", re.MULTILINE)
_DIGITS = 6e-4  # electrons by which a printed number may be off


def prints_populations(path: Path) -> bool:
    """Say whether a log has populations of atoms, whole or not."""
    with readable(path):
        return _BEGIN in path.read_bytes()


def read_moments(path: Path, n_atoms: int) -> NDArray[np.float64] | None:
    """Return the moments (n_atoms, 3) in μ_B, along z, that the log of a collinear run ends with.

    None where the last populations are not those of all atoms and both spins, do not add up to the
    sum that is printed, or are followed by further steps of the self-consistency cycle.
    """
    with readable(path):
        text = path.read_bytes()
    begin = text.rfind(_BEGIN)
    if begin < 0 or last_step(text) > begin:
        return None
    starts = [text.find(words, begin) for words in _SPINS]
    if not 0 <= starts[0] < starts[1]:
        return None
    up = _populations(text[starts[0] : starts[1]], n_atoms)
    down = _populations(text[starts[1] :], n_atoms)
    if up is None or down is None:
        return None
    moments = np.zeros((n_atoms, 3))
    moments[:, 2] = np.round(up - down, 6)  # of numbers with three digits
    return moments


def _populations(text: bytes, n_atoms: int) -> NDArray[np.float64] | None:
    """Return the electrons of all atoms in one spin, or None where they are not complete."""
    total = _SUM.search(text)
    if total is None:
        return None
    found = {int(row[1]): float(row[2]) for row in _ATOM.finditer(text, 0, total.start())}
    n_rows = len(_ATOM.findall(text, 0, total.start()))
    if n_rows != n_atoms or sorted(found) != list(range(1, n_atoms + 1)):
        return None
    values = np.array([found[atom] for atom in range(1, n_atoms + 1)])
    if abs(values.sum() - float(total[1])) > _DIGITS * (n_atoms + 1):
        return None
    return values
