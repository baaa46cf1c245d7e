"""Which shells of FHI-aims are core, valence or unoccupied, from the species of control.in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dock.core.basis import Basis, shell_letter
from dock.io.text import read_text

__all__ = ["KINDS", "shell_kinds"]

KINDS = ("core", "valence", "unoccupied")


def shell_kinds(control: Path, basis: Basis) -> dict[str, dict[str, list[int]]]:
    """Return the numbers of the shells, from 0, by kind (see `KINDS`) and species.

    The lines ``valence n l occupation`` of a species name its valence shells. An ``atomic`` shell
    of that n and l is valence, one of a smaller n is core, and whatever else there is (``ionic``,
    ``hydro``, …) is unoccupied. Species without such lines are left out.
    """
    if not control.is_file():
        return {}
    found: dict[str, dict[str, list[int]]] = {}
    for label, valence in _valence(control).items():
        if label not in basis.shells or not valence:
            continue
        for number, shell in enumerate(basis.shells[label]):
            kind = _kind(shell.label, shell_letter(shell.l), valence)
            found.setdefault(kind, {}).setdefault(label, []).append(number)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _valence(control: Path) -> dict[str, dict[str, int]]:
    """Return n of the valence shells by species and letter of l."""
    species: dict[str, dict[str, int]] = {}
    here: dict[str, int] = {}
    for line in read_text(control).splitlines():
        words = line.split("#")[0].split()
        if len(words) > 1 and words[0].lower() == "species":
            here = species.setdefault(words[1], {})
        elif len(words) > 2 and words[0].lower() == "valence" and words[1].isdecimal():
            here[words[2].lower()] = int(words[1])
    return species


def _kind(label: str, letter: str, valence: Mapping[str, int]) -> str:
    kind, _, name = label.partition(" ")
    n = name.rstrip("abcdefghijklmnopqrstuvwxyz")
    last = valence.get(letter, 0)
    if kind != "atomic" or not n.isdecimal() or int(n) > last:
        return "unoccupied"
    return "valence" if int(n) == last else "core"
