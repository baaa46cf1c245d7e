"""Write OpenMX restart files, so that OpenMX takes its Hamiltonian from us for one diagonalisation.

OpenMX reads the Hamiltonian from ``<name>_rst/<name>.rst<i>`` (one file an atom), but rebuilds it
from the density grid unless spin–orbit coupling, +U, constraints or a Zeeman term are on. A
spin–orbit run therefore uses our matrices as they are; any other run does so once +U is switched
on with every U zero. See `RESTART_RECIPE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dock.converters.openmx.scfout_content import Scfout
from dock.errors import OutputError, UsageError
from dock.io.files import atomic_path, prepare_folder, write_text

__all__ = ["RESTART_RECIPE", "write_restart"]

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
    """Write the folder ``<name>_rst`` for `scf.restart on` and return it.

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


def _atom_arrays(
    scfout: Scfout, species: NDArray[np.int32], atom: int, spin_orbit: bool, band_energy: float
) -> Iterator[NDArray[np.int32] | NDArray[np.float64]]:
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
