"""Write OpenMX restart files, so that OpenMX takes its Hamiltonian from us for one diagonalisation.

OpenMX reads the Hamiltonian from ``<name>_rst/<name>.rst<i>`` (one file an atom), but rebuilds it
from the density grid unless spin–orbit coupling, +U, constraints or a Zeeman term are on. A
spin–orbit run therefore uses our matrices as they are; any other run does so once +U is switched
on with every U zero. See `RESTART_RECIPE`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.openmx.scfout_content import OPENMX_FILES, SPIN_SWITCHES, Scfout
from dock.converters.openmx.species import Species
from dock.core.arrays import Float64Array
from dock.core.basis import shell_letter
from dock.errors import OutputError, UsageError
from dock.io.binary import BinaryReader, open_reader
from dock.io.files import atomic_path, prepare_folder, write_text
from dock.io.text import load_text

__all__ = [
    "RESTART_RECIPE",
    "RestartAtom",
    "hubbard_block",
    "read_restart_atom",
    "read_restart_grid",
    "write_restart",
]

RESTART_RECIPE = """\
OpenMX then diagonalises the Hamiltonian of the restart files once, for instance for a band path.
In its input file set

    scf.restart        on
    scf.maxIter        1
    Band.dispersion    on          # with Band.Nkpath and <Band.kpath

and keep the structure, basis, spin treatment and real-space grid (scf.energycutoff) of the run
that the grid numbers were taken from (Num.Grid1 to Num.Grid3 in its .out file).

With spin-orbit coupling (scf.SpinPolarization nc, scf.SpinOrbit.Coupling on) that is all.
Without it OpenMX would rebuild the Hamiltonian from the density, so switch on +U with every U zero:

    scf.Hubbard.U      on
    <Hubbard.U.values              # one line a species, every shell 0.0
     C 1s 0.0 2s 0.0 1p 0.0
    Hubbard.U.values>

and append the word off to each line of <Atoms.SpeciesAndCoordinates.

The total energy of such a run means nothing; eigenvalues and bands are those of the Hamiltonian.
An ordinary self-consistent run cannot be sped up this way: it starts from the density grid.
"""

HEAD = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class RestartAtom:
    """The restart file of one atom, in Hartree.

    Attributes
    ----------
    spin_switch
        0, 1 or 3.
    n_atoms
        Atoms of the structure.
    species
        0-based species index of this atom.
    n_orbitals
        Orbitals of this atom.
    spin_orbit
        The spin–orbit flag.
    neighbour_atoms, neighbour_species, neighbour_orbitals
        int32 (n,): 0-based atom, species index and orbitals of each neighbour.
    neighbour_cells
        int32 (n, 3): its lattice translation.
    band_energy
        Uele, Hartree.
    hamiltonian, hamiltonian_imag, density
        float64 (components, entries of this atom): row-major blocks, neighbour after neighbour.
        `hamiltonian_imag` is empty unless the run is non-collinear.
    """

    spin_switch: int
    n_atoms: int
    species: int
    n_orbitals: int
    spin_orbit: bool
    neighbour_atoms: NDArray[np.int32]
    neighbour_cells: NDArray[np.int32]
    neighbour_species: NDArray[np.int32]
    neighbour_orbitals: NDArray[np.int32]
    band_energy: float
    hamiltonian: Float64Array
    hamiltonian_imag: Float64Array
    density: Float64Array


def write_restart(
    folder: str | Path,
    name: str,
    scfout: Scfout,
    *,
    atom_species: ArrayLike,
    grid: Sequence[int],
    spin_orbit: bool = False,
    band_energy: float = 0.0,
    n_processes: int = 1,
    overwrite: bool = False,
) -> Path:
    """Write ``<name>_rst/`` for `scf.restart on`.

    Parameters
    ----------
    folder
        The folder of the OpenMX run; ``<name>_rst`` is made in it.
    name
        ``System.Name`` of that run.
    scfout
        Hamiltonian and pairs in Hartree and Bohr. A missing density is written as zeros.
    atom_species
        int (N,): 0-based species index of each atom, as in the run's input file.
    grid
        The three numbers of points of the real-space grid (Num.Grid1 to 3 in ``.out``).
    spin_orbit
        Whether the run has spin–orbit coupling on.
    band_energy
        Uele, Hartree.
    n_processes
        MPI processes of the run.
    overwrite
        Replace existing files. Density grids of an older run (``<name>.crst0_0_0`` ...) stay.

    Returns
    -------
    Path
        The folder ``<name>_rst``.

    Raises
    ------
    UsageError
        When the species, the grid or the spin do not fit.
    OutputError
        When a file exists or cannot be written.
    """
    species = np.asarray(atom_species, dtype=np.int32)
    if species.shape != (scfout.n_atoms,) or species.min() < 0:
        raise UsageError(
            f"A species index of shape {species.shape}: expected one number from 0 up for each "
            f"of the {scfout.n_atoms} atoms."
        )
    if len(grid) != 3 or min(grid) < 1 or n_processes < 1:
        raise UsageError(f"The grid {list(grid)} on {n_processes} processes: expected 3 counts.")
    if spin_orbit and scfout.spin_switch != 3:
        raise UsageError("Spin-orbit coupling needs a non-collinear Hamiltonian.")
    target = prepare_folder(Path(folder) / f"{name}_rst")
    if any(target.iterdir()) and not overwrite:
        raise OutputError(f"{target}: holds files already. Pass overwrite=True to replace them.")
    for atom in range(scfout.n_atoms):
        path = target / f"{name}.rst{atom + 1}"
        with atomic_path(path, overwrite=overwrite) as temporary, temporary.open("wb") as stream:
            for array in _atom_arrays(scfout, species, atom, spin_orbit, band_energy):
                stream.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    numbers = (n_processes, *grid, scfout.spin_switch)
    text = " ".join(str(int(number)) for number in numbers) + "\n"
    write_text(target / f"{name}.crst_check", text, overwrite=overwrite)
    return target


def read_restart_atom(path: str | Path) -> RestartAtom:
    """Read one ``.rst<i>`` file (little-endian).

    Raises
    ------
    FormatError
        When it is cut, too long or contradicts itself.
    MissingDataError
        When it cannot be read.
    """
    path = Path(path)
    with open_reader(path, refusal=OPENMX_FILES) as reader:
        head = reader.take("i4", HEAD, "the header")
        switch, components, atoms_plus_one, _, _, n_atoms, species, n_orbitals, n, soc = (
            head.tolist()
        )
        if switch not in SPIN_SWITCHES or components != switch + 1 or atoms_plus_one != n_atoms + 1:
            _wrong(path, "header", "spin switch, components, atoms + 1", head.tolist())
        if n < 0 or n_orbitals < 1 or species < 0 or soc not in (0, 1):
            _wrong(path, "header", "counts from 0 up and a flag 0 or 1", head.tolist())
        lists = reader.take("i4", 6 * (n + 1), "the neighbour list").reshape(6, -1)
        if lists[0].min() < 1 or lists[0].max() > n_atoms or lists[5].min() < 1:
            _wrong(path, "neighbour list", f"atoms 1 to {n_atoms}", "other atoms")
        energy = float(reader.take("f8", 1, "the band energy")[0])
        entries = n_orbitals * int(lists[5].sum(dtype=np.int64))
        hamiltonian, imaginary, density = (
            _matrices(reader, count, entries)
            for count in (components, 3 if switch == 3 else 0, components)
        )
        reader.finish()
    return RestartAtom(
        spin_switch=switch,
        n_atoms=n_atoms,
        species=species,
        n_orbitals=n_orbitals,
        spin_orbit=bool(soc),
        neighbour_atoms=lists[0] - np.int32(1),
        neighbour_cells=np.ascontiguousarray(lists[1:4].T),
        neighbour_species=lists[4],
        neighbour_orbitals=lists[5],
        band_energy=energy,
        hamiltonian=hamiltonian,
        hamiltonian_imag=imaginary,
        density=density,
    )


def _matrices(reader: BinaryReader, count: int, n_entries: int) -> NDArray[np.float64]:
    """Read `count` matrices of one atom."""
    values = reader.take("f8", count * n_entries, "the matrices")
    if not np.isfinite(values).all():
        _wrong(reader.path, "matrices", "finite numbers", "NaN or infinity")
    return values.reshape(count, n_entries)


def read_restart_grid(path: str | Path) -> tuple[int, tuple[int, int, int], int]:
    """Read ``<name>.crst_check``: MPI processes, the real-space grid, the spin switch.

    Raises
    ------
    FormatError
        When it does not hold five counts.
    """
    words = load_text(path, "an OpenMX .crst_check file", "OpenMX").split()
    if len(words) != 5 or not all(word.isdigit() for word in words):
        _wrong(Path(path), "list of counts", "five counts", " ".join(words))
    processes, n1, n2, n3, switch = (int(word) for word in words)
    return processes, (n1, n2, n3), switch


def _wrong(path: Path, what: str, expected: object, found: object) -> NoReturn:
    OPENMX_FILES.damaged(path, f"{what} cannot be right", expected, found)


def hubbard_block(species: Iterable[Species]) -> str:
    """Return the +U block with every U zero that `RESTART_RECIPE` asks for.

    Examples
    --------
    >>> print(hubbard_block([Species.parse("C", "C6.0-s2p1", "C_PBE19")]), end="")
    <Hubbard.U.values
     C 1s 0.0 2s 0.0 1p 0.0
    Hubbard.U.values>
    """
    lines = ["<Hubbard.U.values"]
    for kind in species:
        terms = [
            f"{zeta}{shell_letter(l_value)} 0.0"
            for l_value, taken, _ in kind.pao.zetas
            for zeta in range(1, taken + 1)
        ]
        lines.append(f" {kind.label} {' '.join(terms)}")
    return "\n".join([*lines, "Hubbard.U.values>"]) + "\n"


def _atom_arrays(
    scfout: Scfout, species: NDArray[np.int32], atom: int, spin_orbit: bool, band_energy: float
) -> Iterable[NDArray[np.int32] | NDArray[np.float64]]:
    """Yield the contents of one atom's file in order."""
    first, last = np.searchsorted(scfout.pair_i, [atom, atom + 1])
    neighbours = scfout.pair_j[first:last]
    counts = np.bincount(scfout.pair_i)
    sizes = scfout.n_orbitals
    head = (
        scfout.spin_switch, scfout.spin_switch + 1, scfout.n_atoms + 1, counts.max(), sizes.max(),
        scfout.n_atoms, species[atom], sizes[atom], last - first - 1, spin_orbit,
    )  # fmt: skip
    yield np.array(head, dtype=np.int32)
    yield neighbours + np.int32(1)
    yield np.ascontiguousarray(scfout.pair_R[first:last].T)
    yield species[neighbours]
    yield sizes[neighbours]
    yield np.array([band_energy], dtype=np.float64)
    entries = slice(scfout.pair_offsets[first], scfout.pair_offsets[last])
    yield scfout.matrices["hamiltonian"][:, entries]
    if scfout.spin_switch == 3:
        yield scfout.matrices["hamiltonian_imag"][:, entries]
    if "density" in scfout.matrices:
        yield scfout.matrices["density"][:, entries]
    else:
        yield np.zeros((scfout.spin_switch + 1, entries.stop - entries.start))
