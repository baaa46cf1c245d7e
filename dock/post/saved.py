"""Figures from the files of results: what ``dock bands`` and ``dock dos`` saved, drawn again.

The HDF5 file and the JSON file beside it hold the same; either will do. Nothing is computed, and
the run that a result is of is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dock.errors import DockError, FormatError, MissingDataError, UsageError
from dock.io.hdf5 import open_hdf5
from dock.io.text import read_json
from dock.post.band_lines import BandLines
from dock.post.dos_curves import DosCurves
from dock.post.together import BandsWithDos, Together
from dock.states.gap import gap_words
from dock.states.kpath.path import tick_marks

__all__ = ["read_figure", "read_saved"]

_FIX = "It is damaged, or no result of dock: make it again."
_FILES = ("band.h5", "dos.h5")


def read_figure(paths: Sequence[str | Path], names: Sequence[str] = ()) -> Together:
    """Return the figure of saved results: bands, densities of states, of one run or of several.

    Parameters
    ----------
    paths
        Files (``band.h5``, ``dos.json``), or folders that have some.
    names
        What a legend calls the runs, in their order; default: where their paths differ.

    Raises
    ------
    MissingDataError
        When a file is not there, or a folder has none.
    FormatError
        When a file holds no bands and no density of states, or is damaged.
    UsageError
        For another number of names than runs; for densities of states that do not come in the
        order of their bands; what `Together` refuses.
    """
    files = [file for path in paths for file in _files_of(Path(path))]
    read = [(file, read_saved(file)) for file in files]
    bands = [(file, one) for file, one in read if isinstance(one, BandLines)]
    curves = [(file, one) for file, one in read if isinstance(one, DosCurves)]
    _require_order([file for file, _ in bands], [file for file, _ in curves])
    count = max(len(bands), len(curves))
    if names and len(names) != count:
        raise UsageError(f"{len(names)} names (--label) for {count} runs: give one for each.")
    of_runs = [file for file, _ in bands] if len(bands) == count else [file for file, _ in curves]
    called = names or _distinct(of_runs)
    if count == 1 and not names:
        called = [""]
    return Together(
        tuple(one.called(name) for (_, one), name in zip(bands, called, strict=False)),
        tuple(one.called(name) for (_, one), name in zip(curves, called, strict=False)),
    )


def read_saved(path: str | Path) -> BandLines | DosCurves:
    """Read what a saved band structure or density of states draws; raises as `read_figure`."""
    path = Path(path)
    try:
        if path.suffix == ".json":
            content: Mapping[str, Any] = read_json(path, _FIX)
        else:
            content = _content_of_hdf5(path)
        if "energies_eV" in content and "segments" in content:
            return _bands(content)
        if "dos_1_per_eV" in content:
            return _curves(content)
    except DockError:
        raise
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise FormatError(path, f"a result that lacks something ({error})", fix=_FIX) from error
    raise FormatError(
        path,
        "there is no figure to draw again",
        expected="the .h5 or .json of dock bands or dock dos",
        fix="Other results are drawn when they are computed: --plot.",
    )


def _files_of(path: Path) -> list[Path]:
    """Return the results of a path: itself, or those in a folder."""
    if not path.is_dir():
        return [path]
    found = [path / name for name in _FILES if (path / name).is_file()]
    if not found:
        wanted = " or ".join(_FILES)
        raise MissingDataError(wanted, path, "dock bands and dock dos make them.")
    return found


def _require_order(bands: Sequence[Path], curves: Sequence[Path]) -> None:
    """Refuse a density of states that by its name is of other bands than those in its place."""
    places = {BandsWithDos.beside(file.with_suffix(".h5")): n for n, file in enumerate(bands)}
    for number, file in enumerate(curves):
        own = places.get(file.with_suffix(".h5"), number)
        if own != number and number < len(bands):
            raise UsageError(
                f"{file} stands beside the bands {bands[number]}, and is named after {bands[own]}: "
                "give the densities of states in the order of the bands, and bands that have none "
                "last."
            )


def _distinct(files: Sequence[Path]) -> list[str]:
    """Return the ends of paths from where they differ, without a name that all have."""
    parts = [file.absolute().parts for file in files]
    if len({part[-1] for part in parts}) == 1:
        parts = [part[:-1] for part in parts]
    for count in range(1, max(map(len, parts)) + 1):
        names = [str(Path(*part[-count:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"run {number}" for number in range(1, len(files) + 1)]


def _content_of_hdf5(path: Path) -> dict[str, Any]:
    """Return the content of a result's HDF5 file by the keys of its JSON file."""
    with open_hdf5(path, _FIX) as file:
        content: dict[str, Any] = {name: _plain(value) for name, value in file.attrs.items()}
        data = {name: file[name][()] for name in file if hasattr(file[name], "shape")}
    names = data.get("projection_names")
    if names is not None:
        content["projection_names"] = [_plain(name) for name in names]
    if "band_data" in data:
        level = float(data["fermi_energy_before_shift_eV"])
        channels = [name for name in ("band_data_up", "band_data_down") if name in data]
        rows = [data[name].T for name in channels or ["band_data"]]
        content["energies_eV"] = np.stack(rows) + level
        content["projections"] = data.get("projections")
        content["distance_1_per_A_without_2pi"] = data["kpoints_distance_list"]
        pieces = zip(data["k_path_density_list"], data["hsk_symbol_list"], strict=True)
        content["segments"] = [
            {"points": int(count), "labels": [_plain(label) for label in labels]}
            for count, labels in pieces
        ]
    elif "dos_data" in data:
        spins = [data[name] for name in ("dos_up", "dos_down") if name in data]
        content["dos_1_per_eV"] = np.stack(spins or [data["dos_data"]])
        content["energies_relative_eV"] = data["energy"]
        content["projected_dos"] = data.get("projections")
        content["fermi_level_eV"] = float(data["fermi_energy_before_shift"])
    return content


def _plain(value: Any) -> Any:
    """Return an attribute or a name as text or a number; attributes that are mappings are JSON."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return value


def _numbers(value: Any) -> NDArray[np.float64]:
    return np.asarray(value, dtype=np.float64)  # None of a JSON file is NaN


def _bands(content: Mapping[str, Any]) -> BandLines:
    pieces = content["segments"]
    counts = [int(piece["points"]) for piece in pieces]
    distances = _numbers(content["distance_1_per_A_without_2pi"])
    ends = np.cumsum(counts) - 1
    places = [float(distances[0]), *(float(distances[end]) for end in ends)]
    labels = [(str(piece["labels"][0]), str(piece["labels"][1])) for piece in pieces]
    weights = content.get("projections")
    names = tuple(map(str, content.get("projection_names") or ()))
    return BandLines(
        _numbers(content["energies_eV"]),
        distances,
        np.repeat(np.arange(len(counts)), counts),
        tick_marks(labels, places),
        _optional(content.get("fermi_level_eV")),
        _vbm(content),
        str(content.get("formula", "")),
        _words(content),
        names=names,
        weights=None if weights is None else _numbers(weights),
    )


def _curves(content: Mapping[str, Any]) -> DosCurves:
    total = _numbers(content["dos_1_per_eV"])
    names = tuple(map(str, content.get("projection_names") or ()))
    projected = content.get("projected_dos") if names else None
    level = float(content["fermi_level_eV"])
    return DosCurves(
        _numbers(content["energies_relative_eV"]) + level,
        total,
        names,
        np.zeros((len(total), 0, total.shape[1])) if projected is None else _numbers(projected),
        level,
        _vbm(content),
        str(content.get("formula", "")),
        _words(content),
        str(content.get("smearing", "")),
        content.get("bonds") or "",
    )


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def _vbm(content: Mapping[str, Any]) -> float | None:
    edge = content.get("vbm")
    return None if edge is None else float(edge["energy_eV"])


def _words(content: Mapping[str, Any]) -> str:
    return gap_words(str(content.get("kind", "unknown")), float(content.get("gap_eV") or 0.0))
