"""From a Calculation to what OpenMX reads: an scfout file (3.9), or the files of a restart."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.format import WriteOptions
from dock.converters.openmx.dat import OpenmxInput, SpinMode, minimal_input, parse_input
from dock.converters.openmx.placeholders import ELECTRONS, FERMI_LEVEL, with_zeros_line
from dock.converters.openmx.restart import RESTART_RECIPE, write_restart
from dock.converters.openmx.scfout import write_scfout
from dock.converters.openmx.scfout_content import Scfout, box_cells
from dock.converters.openmx.species import Species, basis_string
from dock.converters.origin import in_source_order, number_of
from dock.core.calculation import Calculation
from dock.core.density import require_density
from dock.core.matrix import AOMatrix
from dock.core.orbital_order import reorder_entries, shell_orders
from dock.core.pairs import Pairs
from dock.core.spin import Spin
from dock.errors import FormatError, LayoutError, LossError, UsageError
from dock.units import OPENMX

__all__ = [
    "RESTART_SETTINGS",
    "SCFOUT_SETTINGS",
    "scfout_of",
    "write_calculation",
    "write_restart_files",
]

_GRID_NEEDED = (
    "OpenMX accepts restart files only on the grid of its run: Num.Grid1 to Num.Grid3 in its .out "
    "file."
)
HARTREE, BOHR = OPENMX.hartree_ev, OPENMX.bohr_angstrom
_SWITCH = {Spin.NONE: 0, Spin.COLLINEAR: 1, Spin.NONCOLLINEAR: 3}
_MODE: Mapping[Spin, SpinMode] = {Spin.NONE: "off", Spin.COLLINEAR: "on", Spin.NONCOLLINEAR: "nc"}
_NOISE = 1e-12  # Hartree: imaginary parts below this are rounding
_log = logging.getLogger("dock")

SCFOUT_SETTINGS: Mapping[str, str] = {
    "name": "System.Name, and so the file's name (default: that of the source, or 'dock')",
    "spin_orbit": "on or off: what the embedded input says of a non-collinear run (default on)",
    "orbitals": "basis strings of OpenMX for .pao files, C=C6.0-s2p2d1 (default: the source's)",
}
RESTART_SETTINGS: Mapping[str, str] = {
    "grid": "the run's real-space grid, three numbers: Num.Grid1,Num.Grid2,Num.Grid3 of its .out",
    "name": "System.Name of the run (default: that of the source, or 'dock')",
    "spin_orbit": "on or off (default: on for a non-collinear Hamiltonian)",
}


def write_calculation(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``<System.Name>.scfout`` in the layout of OpenMX 3.9.

    A matrix that the calculation lacks (density, position, gradient) is written as zeros, and the
    log and a comment in the embedded input say so; overlap and Hamiltonian must be there. Data
    that came from OpenMX keep the input text of that run; others get a generated input with the
    structure and the basis.

    A `dock.converters.format.Writer`; it uses ``quantities`` and the settings of `SCFOUT_SETTINGS`.
    """
    target = _Target.of(calc, options)
    quantities = options.quantities or ()
    missing = [
        name for name in ("density_matrix", "position", "gradient") if name not in quantities
    ]
    missing += [FERMI_LEVEL] if calc.fermi_level is None else []
    missing += [ELECTRONS] if calc.n_electrons is None else []
    if missing:
        _log.warning("OpenMX scfout: written as zeros, for want of data: %s.", ", ".join(missing))
    path = folder / f"{target.name}.scfout"
    content = target.scfout(quantities)
    told = [name for name in missing if name not in ("position", "gradient")]
    content = replace(content, input_text=with_zeros_line(content.input_text, told))
    write_scfout(path, content, zero_missing=True)
    return [path]


def write_restart_files(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write ``<System.Name>_rst/``, from which OpenMX diagonalises the Hamiltonian once.

    A `dock.converters.format.Writer`; it needs the setting ``grid`` of `RESTART_SETTINGS`, and
    atoms in the order of the OpenMX input. With the files comes a text that says what the input
    must have.
    """
    grid = options.require_counts("grid", _GRID_NEEDED)
    if "density_matrix" in (options.quantities or ()):
        require_density(calc)
    target = _Target.of(calc, options)
    made = write_restart(
        folder,
        target.name,
        target.scfout(options.quantities or ()),
        atom_species=target.source.atom_species,
        grid=grid,
        spin_orbit=target.spin_orbit,
    )
    recipe = folder / "RESTART.txt"
    recipe.write_text(RESTART_RECIPE, encoding="utf-8")
    return [*sorted(made.iterdir()), recipe]


def scfout_of(calc: Calculation, options: WriteOptions) -> Scfout:
    """Return matrices as an scfout holds them, the atoms in the source's order, Hartree and Bohr.

    `options` are those of `write_calculation`.
    """
    return _Target.of(calc, options).scfout(options.quantities or ())


@dataclass(frozen=True, eq=False)
class _Target:
    """A calculation in OpenMX's atom order, with the input text that goes with it."""

    calc: Calculation
    name: str
    spin_orbit: bool
    text: str

    @classmethod
    def of(cls, calc: Calculation, options: WriteOptions) -> _Target:
        calc = in_source_order(calc)
        original = _original_input(calc)
        default = original.spin_orbit if original is not None else calc.spin is Spin.NONCOLLINEAR
        word = "on" if default else "off"
        spin_orbit = options.choice("spin_orbit", ("on", "off"), word) == "on"
        if spin_orbit and calc.spin is not Spin.NONCOLLINEAR:
            raise UsageError("spin_orbit=on needs a non-collinear Hamiltonian.")
        known = original.system_name if original is not None else "dock"
        name = options.settings.get("name", known)
        if not name or set(name) & set("/\\\0") or len(name.split()) != 1 or name[0] == ".":
            raise UsageError(f"System.Name is one word that can be a file name, found {name!r}.")
        text = original.text if original is not None else _generated(calc, name, spin_orbit)
        return cls(calc, name, spin_orbit, text)

    @cached_property
    def source(self) -> OpenmxInput:
        return parse_input(self.text, "the generated OpenMX input")

    @cached_property
    def pairs(self) -> Pairs:
        """The pairs of Hamiltonian and overlap by first atom, each atom's own pair first."""
        overlap = self.calc.require("overlap", "OpenMX's scfout needs it.").pairs
        pairs = self.calc.require("hamiltonian", "OpenMX's scfout needs it.").pairs
        if not pairs.is_same(overlap):
            pairs = pairs.union(overlap)
        pairs.require_closed()
        if len(pairs.onsite) != pairs.n_atoms:
            raise LayoutError(f"{self.calc.source}: an atom has no on-site block.")
        elsewhere = np.ones(len(pairs), dtype=bool)
        elsewhere[pairs.onsite] = False
        order = np.lexsort((elsewhere, pairs.i))
        return pairs if np.array_equal(order, np.arange(len(pairs))) else pairs.take(order)

    def entries(self, quantity: str) -> NDArray[Any]:
        """Return a matrix in OpenMX's order of pairs and orbitals, in units of `dock`."""
        matrix: AOMatrix = self.calc.require(quantity).on_pairs(self.pairs)
        orders = shell_orders(self.calc.basis, "openmx", sort_by_l=True)
        return reorder_entries(matrix.entries, self.calc.basis, self.pairs, orders)

    def scfout(self, quantities: tuple[str, ...]) -> Scfout:
        """Return the content of the file, in Hartree and Bohr."""
        calc, pairs, extra = self.calc, self.pairs, self.calc.provenance.extra
        cells = self._cells()
        place = {tuple(cell): index for index, cell in enumerate(cells.tolist())}
        index = np.array([place[tuple(vector)] for vector in pairs.lattice_vectors.tolist()])
        return Scfout(
            spin_switch=_SWITCH[calc.spin],
            n_orbitals=calc.basis.counts.astype(np.int32),
            cells=cells,
            pair_i=pairs.i.astype(np.int32, copy=False),
            pair_j=pairs.j.astype(np.int32, copy=False),
            pair_cell=index[pairs.lattice_index].astype(np.int32),
            cell=np.asarray(calc.structure.cell / BOHR, dtype=np.float64),
            positions=np.asarray(calc.structure.positions / BOHR, dtype=np.float64),
            chemical_potential=(calc.fermi_level or 0.0) / HARTREE,
            temperature=number_of(extra, "temperature_K", 300.0),
            n_electrons=calc.n_electrons or 0.0,
            core_dipole=_vector(extra, "core_dipole_debye"),
            background_dipole=_vector(extra, "background_dipole_debye"),
            total_spin=number_of(extra, "total_spin", 0.0),
            solver=int(number_of(extra, "solver", 3 if any(calc.structure.pbc) else 2)),
            input_text=self.text,
            matrices=self._matrices(quantities),
        )

    def _cells(self) -> NDArray[np.int32]:
        """Return the table of lattice translations: the full box that OpenMX writes."""
        reach = int(np.abs(self.pairs.R).max(initial=1))
        stored = self.calc.provenance.extra.get("n_cells")
        if isinstance(stored, int):
            reach = max(reach, (round(stored ** (1 / 3)) - 1) // 2)
        return box_cells(reach)

    def _matrices(self, quantities: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
        result = {"overlap": np.asarray(self.entries("overlap"), dtype=np.float64)}
        result |= self._hamiltonian()
        if "density_matrix" in quantities:
            result |= self._density()
        if "position" in quantities:
            result["position"] = self._position(result["overlap"][0])
        if "gradient" in quantities:
            result["momentum"] = self.entries("gradient") * -BOHR
        return result

    def _hamiltonian(self) -> dict[str, NDArray[np.float64]]:
        entries = self.entries("hamiltonian") / HARTREE
        if self.calc.spin is not Spin.NONCOLLINEAR:
            return {"hamiltonian": entries.astype(np.float64, copy=False)}
        uu, ud, _, dd = entries
        nothing = np.zeros(len(uu))
        if self.spin_orbit:  # all of Im H_ud goes to the spin–orbit part; only the sum is used
            real = np.stack([uu.real, dd.real, ud.real, nothing])
            return {"hamiltonian": real, "hamiltonian_imag": np.stack([uu.imag, dd.imag, ud.imag])}
        diagonal = max(np.abs(uu.imag).max(initial=0.0), np.abs(dd.imag).max(initial=0.0))
        if diagonal > _NOISE:
            raise LossError(
                f"{self.calc.source}: the Hamiltonian has imaginary spin-diagonal parts up to "
                f"{diagonal:.1e} Ha, which OpenMX ignores without spin-orbit coupling. Pass "
                "settings={'spin_orbit': 'on'}."
            )
        real = np.stack([uu.real, dd.real, ud.real, ud.imag])
        return {"hamiltonian": real, "hamiltonian_imag": np.stack([uu.imag, dd.imag, nothing])}

    def _density(self) -> dict[str, NDArray[np.float64]]:
        entries = self.entries("density_matrix")
        nothing = np.zeros((2, entries.shape[1]))
        if self.calc.spin is Spin.NONE:
            return {"density": 0.5 * entries, "density_imag": nothing}
        if self.calc.spin is Spin.COLLINEAR:
            return {"density": np.asarray(entries, dtype=np.float64), "density_imag": nothing}
        uu, ud, _, dd = entries
        density = np.stack([uu.real, dd.real, ud.real, -ud.imag])
        return {"density": density, "density_imag": np.stack([-uu.imag, -dd.imag])}

    def _position(self, overlap: NDArray[np.float64]) -> NDArray[np.float64]:
        """⟨i|r − τ_i|j⟩ in Bohr."""
        result: NDArray[np.float64] = np.array(self.entries("position"), dtype=np.float64)
        counts = self.calc.basis.counts
        sizes = counts[self.pairs.i] * counts[self.pairs.j]
        for axis in range(3):
            origin = self.calc.structure.positions[self.pairs.i, axis]
            result[axis] -= np.repeat(origin, sizes) * overlap
        return result / BOHR


def _original_input(calc: Calculation) -> OpenmxInput | None:
    """Return the input that the data came with, where it still describes them."""
    text = calc.provenance.extra.get("input")
    if calc.provenance.code != "OpenMX" or not isinstance(text, str):
        return None
    try:
        source = parse_input(text, calc.source)
    except FormatError:
        return None
    same = (
        source.n_atoms == calc.structure.n_atoms
        and source.spin_switch == _SWITCH[calc.spin]
        and source.labels == calc.structure.labels
    )
    return source if same else None


def _generated(calc: Calculation, name: str, spin_orbit: bool) -> str:
    """Make an input; the names of basis and potential files are placeholders to be edited."""
    structure, basis = calc.structure, calc.basis
    reach = _half_reach(calc)
    species = []
    for label in basis.species:
        symbol = structure.element_of[label]
        element = "E" if symbol == "X" else symbol
        pao = basis_string(f"{element}{reach:.1f}", sorted(basis.ls(label)))
        species.append(Species.parse(label, pao, f"{element}_PBE19"))
    text = minimal_input(
        species,
        basis.species_index,
        structure.positions / BOHR,
        structure.cell / BOHR,
        spin=_MODE[calc.spin],
        spin_orbit=spin_orbit,
        system_name=name,
    )
    note = (
        "# made by dock: the names of the PAO and VPS files are placeholders; functional, k-grid,\n"
        "# temperature and energy cut-off are not those of any run: complete it from your own\n"
    )
    return note + text


def _half_reach(calc: Calculation) -> float:
    """Return half the longest pair distance in Bohr, rounded up: a cutoff that holds all pairs."""
    matrix = calc.require("overlap")
    longest = float(matrix.pairs.lengths(calc.structure).max(initial=0.0))
    return float(np.ceil(longest / (2 * BOHR) * 10) / 10)


def _vector(extra: Mapping[str, object], key: str) -> NDArray[np.float64]:
    value = extra.get(key)
    good = isinstance(value, list) and len(value) == 3
    return np.array(value if good else [0.0, 0.0, 0.0], dtype=np.float64)
