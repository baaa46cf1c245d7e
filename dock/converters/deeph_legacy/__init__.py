"""The folders of DeepH-pack and DeepH-E3 before the unified format: one dataset for each block."""

from __future__ import annotations

from pathlib import Path

from dock.converters.deeph_legacy.blocks import FILES, MATRIX_FILES, TEXT_FILES
from dock.converters.deeph_legacy.reader import read_calculation
from dock.converters.deeph_legacy.writer import write_calculation
from dock.converters.format import Format

__all__ = ["FORMAT", "read", "write"]


def _detect(path: Path) -> Path | None:
    """Recognise a folder with the text files of the format, or a matrix file in one."""
    is_file = path.is_file()
    if is_file and path.name not in MATRIX_FILES:
        return None
    folder = path.parent if is_file else path
    return path if all((folder / name).is_file() for name in TEXT_FILES) else None


def _inputs(path: Path) -> list[Path]:
    folder = path.parent if path.is_file() else path
    names = [*TEXT_FILES, "info.json", *MATRIX_FILES]
    return [folder / name for name in names if (folder / name).is_file()]


_VERSIONS = "DeepH-pack 0.2, DeepH-E3, DeepH-2"
_NOTES = "lat.dat, element.dat, site_positions.dat, orbital_types.dat, info.json, *.h5."

FORMAT = (
    Format(
        "deeph-legacy",
        "legacy DeepH folder (DeepH-pack, DeepH-E3)",
        versions=_VERSIONS,
        notes=_NOTES,
        holds_level=True,
    )
    .reading(tuple(FILES), read_calculation, _detect, inputs=_inputs)
    .writing(tuple(FILES), write_calculation)
)

read, write = FORMAT.load, FORMAT.save
