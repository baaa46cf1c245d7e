"""The files of an FHI-aims run: which hold the matrices, and what stands beside them."""

from __future__ import annotations

from pathlib import Path

from dock.converters.aims.aims_out import find_log
from dock.errors import FormatError, MissingDataError

__all__ = [
    "check_files",
    "detect_run",
    "has_traces",
    "input_files",
    "read_control",
    "run_files",
    "unread_files",
]

_CHOICES = {
    "overlap": (("rs_overlap.h5",), ("rs_overlap.out",), ("overlap-matrix.out",)),
    "hamiltonian": (
        ("rs_hamiltonian.h5",),
        ("rs_hamiltonian_up.h5", "rs_hamiltonian_down.h5"),
        ("rs_hamiltonian_up.h5", "rs_hamiltonian_dn.h5"),
        ("rs_hamiltonian.out",),
        ("rs_hamiltonian_up.out", "rs_hamiltonian_dn.out"),
        ("hamiltonian.out",),
    ),
}


def run_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Return the matrix files of a run by quantity; spin up before spin down.

    HDF5 comes before text, which is rounded, and the files of a periodic run before a molecule's.
    """
    periodic = (folder / "rs_indices.out").is_file()
    groups = {}
    for quantity, names in _CHOICES.items():
        for group in names:
            paths = tuple(folder / name for name in group)
            if group[0].startswith("rs_") == periodic and all(path.is_file() for path in paths):
                groups[quantity] = paths
                break
    return groups


def unread_files(folder: Path, files: dict[str, tuple[Path, ...]]) -> list[str]:
    """Return the names of text files whose numbers were read from HDF5."""
    texts = (
        folder / name
        for quantity, taken in files.items()
        if taken[0].suffix == ".h5"
        for group in _CHOICES[quantity]
        for name in group
        if name.startswith("rs_") and name.endswith(".out")
    )
    return [path.name for path in texts if path.is_file()]


def detect_run(path: Path) -> Path | None:
    """Recognise the folder of a run with matrices, or a file in it; else None."""
    if path.is_file():
        known = path.name in ("geometry.in", "control.in", "rs_indices.out", "basis-indices.out")
        matrix = any(path in group for group in run_files(path.parent).values())
        return detect_run(path.parent) if known or matrix else None
    if not path.is_dir() or not (path / "basis-indices.out").is_file():
        return None
    return path if run_files(path) else None


def has_traces(folder: Path) -> bool:
    """Say whether a folder holds a run of FHI-aims, or its input, whatever matrices it has."""
    return (folder / "control.in").is_file() and (folder / "geometry.in").is_file()


def check_files(folder: Path, files: dict[str, tuple[Path, ...]]) -> None:
    """Refuse a folder without matrices, with one spin only, or with files of two runs."""
    names = ("rs_hamiltonian", "rs_hamiltonian_up", "rs_hamiltonian_dn")
    there = {name for name in names if (folder / f"{name}.out").is_file()}
    if ("rs_hamiltonian" in there and len(there) > 1) or len(there - {"rs_hamiltonian"}) == 1:
        raise FormatError(
            folder,
            "the Hamiltonian files do not belong together",
            expected="rs_hamiltonian.out, or both rs_hamiltonian_up.out and rs_hamiltonian_dn.out",
            found=", ".join(sorted(f"{name}.out" for name in there)),
            fix="Move the files of the other run away, or copy the missing one.",
        )
    if not files:
        raise MissingDataError(
            "a Hamiltonian or overlap of FHI-aims",
            folder,
            "Give 'output_rs_matrices plain' in control.in (periodic), or 'output h_s_matrices'.",
        )


def read_control(folder: Path) -> dict[str, str]:
    """Return the keywords of control.in, lower case, with the rest of their line."""
    path = folder / "control.in"
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    words = [line.split("#")[0].split(maxsplit=1) for line in lines]
    return {word[0].lower(): word[1].strip() if len(word) > 1 else "" for word in words if word}


def input_files(path: Path) -> list[Path]:
    """Return the files that decide whether a run has changed."""
    files = [file for group in run_files(path).values() for file in group]
    names = ("rs_indices.out", "basis-indices.out", "geometry.in", "control.in")
    files += [path / name for name in names if (path / name).is_file()]
    log = find_log(path)
    return [*files, log] if log is not None else files
