"""The populations that codes print, read from their text output with no help from `dock`."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

_OPENMX_M = {
    "s": 0,
    **dict(zip(("py", "pz", "px"), range(3), strict=True)),
    **dict(zip(("dxy", "dyz", "d3z^2-r^2", "dxz", "dx^2-y^2"), range(5), strict=True)),
    "f3yx^2-y^3": 0,
    "fxyz": 1,
    "f5yz^2-yr^2": 2,
    "f5z^2-3r^2": 3,
    "f5xz^2-xr^2": 4,
    "fzx^2-zy^2": 5,
    "fx^3-3*xy^2": 6,
}
_ABACUS_M = {
    "s": 0,
    **dict(zip(("py", "pz", "px"), range(3), strict=True)),
    **dict(zip(("dxy", "dyz", "dz^2", "dxz", "dx^2-y^2"), range(5), strict=True)),
}


def openmx(path: Path) -> tuple[np.ndarray, dict]:
    """Return up and down electrons of the atoms, and of (atom, l, zeta, m), of an ``.out``."""
    text = path.read_text().split("Mulliken populations", 1)[1]
    head, _, rest = text.partition("Decomposed Mulliken populations")
    atoms = [
        [float(word) for word in line.split()[2:4]]
        for line in head.splitlines()
        if re.match(r"\s+\d+\s+[A-Z][a-z]?\s", line)
    ]
    found, atom = {}, -1
    for line in rest.split("******")[0].splitlines():
        words = line.split()
        if re.match(r"\s+\d+\s+[A-Z][a-z]?\s+Up spin", line):
            atom = int(words[0]) - 1
        elif words and words[0] in _OPENMX_M:
            key = (atom, "spdf".index(words[0][0]), int(words[1]), _OPENMX_M[words[0]])
            found[key] = (float(words[2]), float(words[3]))
    return np.array(atoms), found


def siesta_orbitals(path: Path) -> list[np.ndarray]:
    """Return the electrons of the orbitals, one array a spin, of the last table of a ``.out``."""
    text = path.read_text().split("mulliken: Atomic and Orbital Populations:")[-1]
    text = text.split("siesta: Program's energy")[0]
    parts = []
    for part in re.split(r"mulliken: Spin (?:UP|DOWN)", text):
        numbers = []
        for line in part.splitlines():
            if re.fullmatch(r"\s+\d+(\s+-?\d+\.\d{3})+", line):
                numbers += [float(word) for word in line.split()[2:]]
            elif re.fullmatch(r"(\s+-?\d+\.\d{3})+", line):
                numbers += [float(word) for word in line.split()]
        if numbers:
            parts.append(np.array(numbers))
    return parts


def siesta_spinors(path: Path) -> np.ndarray:
    """Return electrons, |m| and m (n_orbitals, 5) of the last table of a ``.out``."""
    text = path.read_text().split("mulliken: Atomic and Orbital Populations:")[-1]
    rows = re.findall(r"^ +\d+ +\d+ +\w\S+((?: +-?\d+\.\d+){5})$", text, re.MULTILINE)
    return np.array([[float(word) for word in row.split()] for row in rows])


def abacus(path: Path) -> dict:
    """Return the electrons of (atom, l, zeta, m) of a ``mulliken.txt`` without spin."""
    found, atom = {}, -1
    for line in path.read_text().splitlines():
        words = line.split()
        if "Zeta of" in line:
            atom = int(words[0])
        elif len(words) == 3 and words[0] in _ABACUS_M:
            key = (atom, "spdf".index(words[0][0]), int(words[1]), _ABACUS_M[words[0]])
            found[key] = float(words[2])
    return found


def keys_of(basis) -> list[tuple[int, int, int, int]]:
    """Return (atom, l, zeta, m) of the orbitals of a basis, m counted from 0."""
    keys, seen = [], {}
    table = basis.table
    for atom, shell, l, m in zip(table.atom, table.shell, table.l, table.m, strict=True):
        shells = seen.setdefault((int(atom), int(l)), [])
        if shell not in shells:
            shells.append(shell)
        keys.append((int(atom), int(l), shells.index(shell), int(m + l)))
    return keys
