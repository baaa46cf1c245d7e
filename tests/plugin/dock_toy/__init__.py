"""A format of one's own for `dock`: everything in one NumPy archive, ``calc.toy.npz``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from dock import AOMatrix, Basis, Calculation, Pairs, Spin, Structure
from dock.converters import Format, ReadOptions, WriteOptions
from dock.core.calculation import Provenance
from dock.errors import FormatError

NAME = "calc.toy.npz"


def detect(path: Path) -> Path | None:
    """Recognise a folder with the archive, or the archive itself."""
    file = path / NAME if path.is_dir() else path
    return file if file.name == NAME and file.is_file() else None


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read it; inside `dock` energies are eV, lengths Å, orbitals m = -l … l."""
    try:
        with np.load(path) as file:
            data = dict(file)
        structure = Structure(data["cell"], data["positions"], data["numbers"])
        shells = {
            name: data[f"shells_{name}"].tolist() for name in dict.fromkeys(structure.symbols)
        }
        basis = Basis.from_ls(shells, structure.labels)
        pairs = Pairs(data["R"], data["i"], data["j"], structure.n_atoms)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(
            path, f"this is no toy archive ({error})", fix="Write it again."
        ) from error

    matrices = {
        name: AOMatrix(name, structure, basis, pairs, Spin.NONE, data[name])
        for name in FORMAT.reads
        if name in data
    }
    level = float(data["fermi_level"]) if "fermi_level" in data else None
    origin = Provenance("toy", "1", (path.name,))
    return Calculation(structure, basis, Spin.NONE, matrices, level, None, origin, str(path))


def write(calc: Calculation, folder: Path, options: WriteOptions) -> list[Path]:
    """Write the matrices of ``options.quantities``, all on the pairs of the overlap."""
    pairs = calc.require("overlap", "The toy format stores its pairs.").pairs
    data = {name: getattr(calc.structure, name) for name in ("cell", "positions", "numbers")}
    data |= {"R": pairs.R, "i": pairs.i, "j": pairs.j}
    for label, symbol in zip(calc.structure.labels, calc.structure.symbols, strict=True):
        data[f"shells_{symbol}"] = np.array(calc.basis.ls(label))
    for name in options.quantities or ():
        data[name] = calc.require(name).on_pairs(pairs).entries
    if calc.fermi_level is not None:
        data["fermi_level"] = np.array(calc.fermi_level)
    np.savez(folder / NAME, **data)
    return [folder / NAME]


FORMAT = Format(
    name="toy",
    title="toy NumPy archive",
    reads=("overlap", "hamiltonian"),
    writes=("overlap", "hamiltonian"),
    read_spins=(Spin.NONE,),
    write_spins=(Spin.NONE,),
    versions="1",
    detect=detect,
    read=read,
    write=write,
    notes=f"A folder with {NAME}.",
)
