"""Gauge tools: the zero of energy by least squares, and free atoms taken out of H and put back.

Adding μS to H moves every level by μ and changes no state, so two Hamiltonians may differ by that
much and still be the same. `align` takes it away; `minus_atoms` takes the on-site blocks of free
atoms away, which leaves a model the small part to learn. What was done is written beside the
matrices as ``align.json``, and `undo` takes it back.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.core.calculation import Calculation
from dock.core.gauge import hamiltonian_shift
from dock.core.matrix import AOMatrix
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, MissingDataError, OutputError, UsageError
from dock.io.files import folder_transaction
from dock.io.text import json_text
from dock.results import Result

__all__ = [
    "RECORD",
    "Aligned",
    "align",
    "least_squares_shift",
    "minus_atoms",
    "names_of",
    "plus_atoms",
    "read_aligned",
    "read_atoms",
    "undo",
]

_log = logging.getLogger("dock")

RECORD = "align.json"
"""File in an aligned folder: every step, so that it can be taken back."""

Blocks = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Aligned(Result):
    """A calculation and what was done to its Hamiltonian, the last step last.

    Attributes
    ----------
    calculation
        With the changed Hamiltonian.
    steps
        ``{"shift_eV": μ}`` for H − μS, ``{"atoms": {species: blocks}, "sign": −1 or 1}`` for
        on-site blocks (n_components, n, n) in eV that were taken away or added.
    undone
        The steps that `undo` has just taken back, in the order in which they were made.
    """

    FILE = "aligned"

    calculation: Calculation
    steps: tuple[Mapping[str, Any], ...] = ()
    undone: tuple[Mapping[str, Any], ...] = ()

    @property
    def shift(self) -> float:
        """Sum of the μ of all steps, eV."""
        return float(sum(step.get("shift_eV", 0.0) for step in self.steps))

    def facts(self) -> dict[str, Any]:
        """Return what was done last, the shift of all steps, and the Fermi level."""
        return {
            "steps": names_of(self.undone or self.steps[-1:]),
            "undone": bool(self.undone),
            "shift_eV": self.shift,
            "fermi_level_eV": self.calculation.fermi_level,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return what was done last, and the Fermi level, in words."""
        level = self.calculation.fermi_level
        done = "taken back" if self.undone else "done"
        return [
            *((done, step) for step in names_of(self.undone or self.steps[-1:])),
            ("Fermi level", "unknown" if level is None else f"{level:.6f} eV"),
        ]

    @classmethod
    def files(cls, path: str | Path) -> list[Path]:
        """Return the file that `save` writes beside the matrices."""
        return [Path(path) / RECORD]

    def save(self, path: str | Path | None = None, *, overwrite: bool = False) -> list[Path]:
        """Write a unified folder with ``align.json``, not the one that was read; return its files.

        Raises as `Result.save`.
        """
        from dock.converters import WriteOptions, write

        target = Path(self.FILE if path is None else path)
        source = Path(self.calculation.source)
        home = source if source.is_dir() else source.parent
        if home.exists() and target.resolve() == home.resolve():
            raise OutputError(
                f"{target}: that is the input itself, which stays. Name another folder."
            )
        with folder_transaction(target, overwrite=overwrite) as place:
            write(self.calculation, place, "deeph", WriteOptions(overwrite=True))
            content = {"steps": [_as_json(step) for step in self.steps]}
            (place / RECORD).write_text(json_text(content) + "\n", encoding="utf-8")
            names = sorted(file.name for file in place.iterdir())
        return [target / name for name in names]


def least_squares_shift(calc: Calculation, reference: Calculation | None = None) -> float:
    """Return μ = Σ (H − H_ref) S / Σ S² in eV, with H_ref = 0 without a reference.

    Raises `MissingDataError` without Hamiltonian or overlap, `LayoutError` where the reference has
    another spin or basis.
    """
    hamiltonian, overlap = _matrices(calc)
    other = None
    if reference is not None:
        other = reference.require("hamiltonian", "The shift is measured from it.")
    return hamiltonian_shift(hamiltonian, other, overlap)


def align(given: Calculation | Aligned, reference: Calculation | None = None) -> Aligned:
    """Take the multiple of S off H that fits it, or its difference to a reference, best.

    Fermi level and energy density matrix move along; density matrix and overlap stay.

    Examples
    --------
    >>> import dock
    >>> silicon = dock.read("fixtures/openmx/si")
    >>> moved = align(silicon)
    >>> bool(abs(least_squares_shift(moved.calculation)) < 1e-9)
    True
    >>> back = undo(moved).calculation.hamiltonian - silicon.hamiltonian
    >>> bool(abs(back.entries).max() < 1e-12)
    True
    """
    start = _started(given)
    shift = least_squares_shift(start.calculation, reference)
    moved = _shifted(start.calculation, shift)
    return Aligned(moved, (*start.steps, {"shift_eV": shift}))


def minus_atoms(given: Calculation | Aligned, atoms: Blocks) -> Aligned:
    """Take the on-site blocks of free atoms (`read_atoms`) off H.

    The levels of what is left mean nothing until the blocks are added again.
    """
    return _with_atoms(given, atoms, -1)


def plus_atoms(given: Calculation | Aligned, atoms: Blocks) -> Aligned:
    """Add the on-site blocks of free atoms (`read_atoms`) to H, as to a prediction."""
    return _with_atoms(given, atoms, 1)


def undo(aligned: Aligned) -> Aligned:
    """Take all steps back, the last first; `MissingDataError` where there are none."""
    calc = aligned.calculation
    if not aligned.steps:
        raise MissingDataError(RECORD, calc.source, "Only a folder written by dock align has it.")
    for step in reversed(aligned.steps):
        if "shift_eV" in step:
            calc = _shifted(calc, -float(step["shift_eV"]))
        else:
            calc = _add_onsite(calc, step["atoms"], -int(step["sign"]))
    return Aligned(calc, (), aligned.steps)


def read_aligned(path: str | Path, source: str | None = None) -> Aligned:
    """Read a calculation together with the steps in its ``align.json``, if it has one.

    Raises `FormatError` where that file is damaged.
    """
    from dock.converters import read

    calc = read(path, source)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    record = folder / RECORD
    if not record.is_file():
        return Aligned(calc)
    try:
        steps = json.loads(record.read_text(encoding="utf-8"))["steps"]
        return Aligned(calc, tuple(_from_json(step) for step in steps))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            record,
            "the steps cannot be read",
            found=str(error),
            fix="Take the folder that dock align was given instead.",
        ) from error


def read_atoms(folder: str | Path, calc: Calculation) -> dict[str, NDArray[Any]]:
    """Read the on-site block of a free atom of each species, in the spin layout of `calc`.

    The folder holds one calculation of a single atom for each species, in folders of its name.

    Raises
    ------
    MissingDataError
        When a species has no folder.
    LayoutError
        When it is no single atom with the shells of the calculation, or has spin and that not.
    """
    from dock.converters import read

    blocks = {}
    for label in calc.basis.species:
        place = Path(folder) / label
        if not place.is_dir():
            raise MissingDataError(
                f"the free atom of {label}",
                folder,
                f"Put its calculation into a folder named {label} there.",
            )
        atom = read(place)
        shells = atom.basis.ls(atom.basis.labels[0])
        if atom.structure.n_atoms != 1 or list(shells) != list(calc.basis.ls(label)):
            raise LayoutError(
                f"{place}: expected one atom with the shells {list(calc.basis.ls(label))} of "
                f"{label}, found {atom.structure.n_atoms} with {list(shells)}. Compute the free "
                "atom in the basis of the calculation."
            )
        block = atom.require("hamiltonian").block([0, 0, 0], 0, 0)
        blocks[label] = _in_layout(np.asarray(block), atom.spin, calc.spin, place)
    return blocks


def _matrices(calc: Calculation) -> tuple[AOMatrix, AOMatrix]:
    hamiltonian = calc.require("hamiltonian", "Its zero of energy is moved.")
    return hamiltonian, calc.require("overlap", "Compute it with: dock compute-overlap.")


def _shifted(calc: Calculation, shift: float) -> Calculation:
    """Return the calculation with H − μS, E_F − μ and, where it is known, E − μρ."""
    hamiltonian, overlap = _matrices(calc)
    matrices: dict[str, Any] = {**calc.matrices, "hamiltonian": hamiltonian - shift * overlap}
    _say_kept(calc)
    energies, density = calc.get("energy_density_matrix"), calc.get("density_matrix")
    if energies is not None and density is not None:
        matrices["energy_density_matrix"] = energies - shift * density
    level = None if calc.fermi_level is None else calc.fermi_level - shift
    return calc.replace(matrices=matrices, fermi_level=level)


def _say_kept(calc: Calculation) -> None:
    """Name what belongs to H and stays as it was."""
    if kept := [name for name in ("hamiltonian0", "hamiltonian_init") if name in calc.available]:
        _log.warning("%s: not moved along with H: %s", calc.source, ", ".join(kept))


def _started(given: Calculation | Aligned) -> Aligned:
    return given if isinstance(given, Aligned) else Aligned(given)


def _with_atoms(given: Calculation | Aligned, atoms: Blocks, sign: int) -> Aligned:
    start = _started(given)
    changed = _add_onsite(start.calculation, atoms, sign)
    return Aligned(changed, (*start.steps, {"atoms": dict(atoms), "sign": sign}))


def _add_onsite(calc: Calculation, atoms: Blocks, sign: int) -> Calculation:
    """Add sign times the block of its species to the on-site block of every atom."""
    hamiltonian = calc.require("hamiltonian", "The blocks of free atoms belong to it.")
    pairs, layout, basis = hamiltonian.pairs, hamiltonian.layout, calc.basis
    onsite = np.asarray(pairs.onsite)
    absent = [label for label in basis.species if label not in atoms]
    if absent or len(onsite) != basis.n_atoms:
        raise UsageError(
            f"{calc.source}: free atoms of {', '.join(absent) or 'all species'} and on-site blocks "
            f"of all {basis.n_atoms} atoms are needed; found {len(onsite)} such blocks."
        )
    kinds = [np.asarray(atoms[label]) for label in basis.species]
    entries = hamiltonian.entries.astype(np.result_type(hamiltonian.entries, *kinds))
    species = basis.species_index[pairs.i[onsite]]
    for number, block in enumerate(kinds):
        mine = onsite[species == number]
        size = int(basis.counts[pairs.i[mine[0]]]) ** 2
        if len(block) * size != block.size:
            raise LayoutError(
                f"{calc.source}: the free atom of {basis.species[number]} has a block of shape "
                f"{block.shape}, which does not fit. Compute it in the basis of the calculation."
            )
        place = layout.starts[mine][:, None] + np.arange(size)
        entries[:, place] += sign * block.reshape(len(block), 1, -1)
    _say_kept(calc)
    changed = {**calc.matrices, "hamiltonian": hamiltonian.with_entries(entries)}
    return calc.replace(matrices=changed)


def _in_layout(block: NDArray[Any], spin: Spin, wanted: Spin, place: Path) -> NDArray[Any]:
    """Return a free atom's block (n_components, n, n) with the components of the calculation."""
    parts = block.reshape(-1, *block.shape[-2:])
    if spin is wanted:
        return parts
    if wanted is Spin.NONE or spin is Spin.NONCOLLINEAR:
        raise LayoutError(
            f"{place}: the free atom has spin '{spin.value}', the calculation '{wanted.value}'. "
            "Compute the atom without spin."
        )
    up, down = parts[0], parts[-1]
    zero = np.zeros_like(up)
    return np.stack([up, down] if wanted is Spin.COLLINEAR else [up, zero, zero, down])


def _as_json(step: Mapping[str, Any]) -> dict[str, Any]:
    """Return a step as plain data; complex blocks as pairs of real and imaginary part."""
    if "shift_eV" in step:
        return {"shift_eV": float(step["shift_eV"])}
    atoms = {label: {"real": block.real.tolist()} for label, block in step["atoms"].items()}
    for label, block in step["atoms"].items():
        if np.iscomplexobj(block):
            atoms[label]["imag"] = block.imag.tolist()
    return {"atoms": atoms, "sign": int(step["sign"])}


def _from_json(step: Mapping[str, Any]) -> dict[str, Any]:
    if "shift_eV" in step:
        return {"shift_eV": float(step["shift_eV"])}
    atoms: dict[str, NDArray[Any]] = {}
    for label, parts in step["atoms"].items():
        real = np.array(parts["real"], dtype=np.float64)
        atoms[label] = real + 1j * np.array(parts["imag"]) if "imag" in parts else real
    return {"atoms": atoms, "sign": int(step["sign"])}


def names_of(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the steps in words.

    Examples
    --------
    >>> names_of([{"shift_eV": 1.5}, {"atoms": {"H": 0, "O": 0}, "sign": -1}])
    ['H − μS, μ = 1.500000 eV', 'free atoms taken off: H, O']
    """
    verbs = {-1: "taken off", 1: "added"}
    return [
        f"H − μS, μ = {step['shift_eV']:.6f} eV"
        if "shift_eV" in step
        else f"free atoms {verbs[int(step['sign'])]}: {', '.join(step['atoms'])}"
        for step in steps
    ]
