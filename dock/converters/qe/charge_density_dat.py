"""``charge-density.dat`` (Fortran records) and ``charge-density.hdf5`` of a ``.save`` folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.converters.qe.density import PlaneWaveDensity
from dock.errors import FormatError, LayoutError, MissingDataError
from dock.io.binary import RecordReader, open_records
from dock.io.files import atomic_path, readable, write_text
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.refusal import Refusal
from dock.io.text import read_json

__all__ = ["DAT", "HDF5", "START", "read_density", "write_dat", "write_hdf5", "write_start"]

DAT, HDF5 = "charge-density.dat", "charge-density.hdf5"
START = "charge-density.start.json"
"""Beside a density that pw.x is to start from: the hash of each of its files."""

_SAME = 1e-12  # electrons/Bohr³: two densities that differ by less are the same
_log = logging.getLogger("dock")
_FIX = "pw.x was still writing, or the file was cut: copy it again."
_FILES = Refusal("pw.x", _FIX, _FIX)
_LARGEST_RECORD = 2**31 - 9  # gfortran cuts longer records into pieces
_COMPONENTS = {
    1: ("rhotot_g",),
    2: ("rhotot_g", "rhodiff_g"),
    4: ("rhotot_g", "m_x", "m_y", "m_z"),
}


def read_density(path: str | Path) -> PlaneWaveDensity:
    """Read the density of a ``.save`` folder, or one of its density files.

    pw.x writes one of the two kinds of file, so that where a folder has both, one may be of an
    earlier run. Of a density that `write_start` put there the other file is the run's own; two
    others must hold the same.

    Raises
    ------
    MissingDataError
        When there is no density.
    FormatError
        When the file is cut or contradicts itself, or two files hold different densities.
    """
    path = Path(path)
    if path.is_dir():
        files = [path / name for name in (DAT, HDF5) if (path / name).is_file()]
        if not files:
            raise MissingDataError(
                "the charge density", path, f"pw.x writes {DAT} or {HDF5} at the end of a run."
            )
        return _only_density(path, files)
    if not path.is_file():
        raise MissingDataError(path.name, path.parent, "Give the .save folder of a pw.x run.")
    try:
        if path.suffix == ".hdf5":
            return _read_hdf5(path)
        with open_records(path, "<", _FILES) as reader:
            return _read_dat(reader)
    except LayoutError as error:
        raise FormatError(path, str(error).rstrip("."), fix=_FIX) from error


def _only_density(folder: Path, files: list[Path]) -> PlaneWaveDensity:
    """Return the density of a folder that may have it in two files."""
    if len(files) == 2:
        kept = [file for file in files if not _is_start(file)]
        if len(kept) == 1:
            (old,) = set(files) - set(kept)
            text = "%s: %s is the start that dock wrote before the run, whose own density is in %s"
            _log.warning(text, folder, old.name, kept[0].name)
            files = kept
    first, *others = [read_density(file) for file in files]
    for other in others:
        same = np.array_equal(first.miller, other.miller) and first.values.shape == (
            other.values.shape
        )
        if not same or not np.allclose(first.values, other.values, rtol=0, atol=_SAME):
            raise FormatError(
                files[1],
                f"another density than {DAT} holds, and pw.x writes one of the two files",
                fix="Delete the one that is of an earlier run, or give the file itself.",
            )
    return first


def write_start(folder: Path, density: PlaneWaveDensity, kinds: Sequence[str]) -> None:
    """Write the density that pw.x starts from, as ``dat``, ``hdf5`` or both, and note which it is.

    pw.x replaces the file that it reads by its own density; the note then tells the other from it.
    """
    writers = {"dat": (DAT, write_dat), "hdf5": (HDF5, write_hdf5)}
    marks = {}
    for kind in kinds:
        name, write = writers[kind]
        write(folder / name, density)
        marks[name] = _hash(folder / name)
    write_text(folder / START, json.dumps(marks) + "\n")


def _is_start(file: Path) -> bool:
    """Say whether a file is as `write_start` wrote it."""
    note = file.with_name(START)
    if not note.is_file():
        return False
    mark = read_json(note, "Delete it.").get(file.name)
    return mark is not None and mark == _hash(file)


def _hash(file: Path) -> str:
    with readable(file), file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_dat(path: Path, density: PlaneWaveDensity) -> None:
    """Write the file that pw.x reads when it was built without HDF5.

    Raises
    ------
    LayoutError
        When there are so many plane waves that a record would be longer than 2 GiB.
    """
    n_waves = len(density.miller)
    if 16 * n_waves > _LARGEST_RECORD:
        raise LayoutError(f"{n_waves} plane waves are too many for {DAT}: write {HDF5}.")
    header = np.array([int(density.gamma_only), n_waves, len(density.values)], dtype="<i4")
    records = [header, density.reciprocal.astype("<f8"), density.miller.astype("<i4")]
    records += [component.astype("<c16") for component in density.values]
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        for record in records:
            length = np.array([record.nbytes], dtype="<i4").tobytes()
            stream.writelines((length, record.tobytes(), length))


def write_hdf5(path: Path, density: PlaneWaveDensity) -> None:
    """Write the file that pw.x reads when it was built with HDF5."""
    with new_hdf5(path) as file:
        word = b".TRUE." if density.gamma_only else b".FALSE."
        file.attrs["gamma_only"] = np.bytes_(word.ljust(7))
        file.attrs["ngm_g"] = np.int32(len(density.miller))
        file.attrs["nspin"] = np.int32(len(density.values))
        indices = file.create_dataset("MillerIndices", data=density.miller.astype("<i4"))
        for number, vector in enumerate(density.reciprocal, 1):
            indices.attrs.create(f"bg{number}", vector, dtype=np.dtype(("<f8", (3,))))
        names = _COMPONENTS[len(density.values)]
        for name, component in zip(names, density.values, strict=True):
            file.create_dataset(name, data=component.astype("<c16").view("<f8"))


def _read_dat(reader: RecordReader) -> PlaneWaveDensity:
    path, head = reader.path, reader.stream.read(16)
    if reader.size < 20 or head[:4] != b"\x0c\0\0\0":
        raise FormatError(
            path,
            "this is no charge density of pw.x",
            expected="a Fortran record of 12 bytes, little-endian",
            found=head[:4].hex(" ") or "an empty file",
            fix="Give charge-density.dat of a .save folder.",
        )
    gamma_only, n_waves, n_components = (int(n) for n in reader.split(head[4:], "i4"))
    if n_components not in _COMPONENTS or n_waves < 1 or gamma_only not in (0, 1, -1):
        expected = "1, 2 or 4 components and a positive number of plane waves"
        found = f"{n_components} components, {n_waves} plane waves"
        _FILES.damaged(path, "the header cannot be right", expected, found)
    lengths = [12, 72, 12 * n_waves, *[16 * n_waves] * n_components]
    n_bytes = sum(lengths) + 8 * len(lengths)
    if reader.size != n_bytes:
        expected = f"{n_bytes} bytes for {n_waves} plane waves and {n_components} components"
        _FILES.damaged(path, "the file has the wrong length", expected, f"{reader.size} bytes")
    reader.record("the header", 12)
    reciprocal = reader.numbers("f8", 9, "the reciprocal vectors").reshape(3, 3)
    miller = reader.numbers("i4", 3 * n_waves, "the Miller indices").reshape(-1, 3)
    values = np.stack(
        [reader.numbers("c16", n_waves, f"component {n + 1}") for n in range(n_components)]
    )
    return PlaneWaveDensity(reciprocal, _checked(path, miller), values, gamma_only != 0)


def _read_hdf5(path: Path) -> PlaneWaveDensity:
    with open_hdf5(path, _FIX) as file:
        if "MillerIndices" not in file or "rhotot_g" not in file:
            have = ", ".join(file) or "nothing"
            raise FormatError(
                path, "datasets are missing", expected="MillerIndices, rhotot_g", found=have
            )
        indices = file["MillerIndices"]
        n_waves, n_components = int(indices.shape[0]), int(file.attrs.get("nspin", 1))
        names = _COMPONENTS.get(n_components)
        if names is None or any(
            name not in file or file[name].shape != (2 * n_waves,) for name in names
        ):
            expected = f"{', '.join(names or ('rhotot_g',))} of {2 * n_waves} numbers each"
            found = ", ".join(f"{name} {file[name].shape}" for name in file)
            _FILES.damaged(path, "the components are not complete", expected, found)
        word = file.attrs.get("gamma_only", b".FALSE.")
        text = word.decode() if isinstance(word, bytes) else str(word)
        reciprocal = np.array([indices.attrs[f"bg{n}"] for n in (1, 2, 3)], dtype=np.float64)
        miller = np.asarray(indices[()])
        parts = [np.asarray(file[name][()], dtype=np.float64) for name in names]
    values = np.stack([part.view(np.complex128) for part in parts])
    gamma_only = "TRUE" in text.upper() or text.strip().upper() == "T"
    return PlaneWaveDensity(reciprocal, _checked(path, miller), values, gamma_only)


def _checked(path: Path, miller: NDArray[Any]) -> NDArray[np.int32]:
    """Refuse indices that are no plane waves of one sphere."""
    indices = miller.astype(np.int64)
    reach = int(np.abs(indices).max(initial=0))
    width = 2 * reach + 1
    codes = ((indices[:, 0] + reach) * width + indices[:, 1] + reach) * width + indices[:, 2]
    twice = len(codes) - len(np.unique(codes))
    if reach > 10**6 or twice or np.any(indices[0]):
        expected = "each plane wave once, G = 0 first"
        found = f"indices up to {reach}, {twice} of them twice, first {indices[0].tolist()}"
        _FILES.damaged(path, "the Miller indices cannot be right", expected, found)
    return miller.astype(np.int32)
