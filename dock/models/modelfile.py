"""A model as one HDF5 file that says what it is, what it was made from and what it fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dock._version import __version__
from dock.core.arrays import FloatArray
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.models.closed_form import ClosedForm, read_closed_form
from dock.models.network.config import NetworkConfig
from dock.models.statistics import Statistics
from dock.models.targets import TargetLayout

__all__ = [
    "ModelFile",
    "file_fingerprint",
    "find_model",
    "flatten",
    "read_backend_name",
    "read_model",
    "unflatten",
    "write_model",
]

FORMAT = "dock model"
VERSION = 1
_FIX = "Use the file that dock train wrote (model/best.h5), of a dock that knows this version."


@dataclass(frozen=True, eq=False)
class ModelFile:
    """Everything that a prediction needs.

    Attributes
    ----------
    backend
        ``jax``, ``two-centre`` or ``jax-export``.
    layout
        The targets: species, shells, spin, quantity.
    cutoffs
        (n_species²,) where edges end, Å; 0 where nothing was cut off.
    statistics
        Sizes of the parts in the training data; its ``longest`` is the longest edge known.
    baseline
        The closed-form part, or None.
    config, params
        The network, or None for a closed-form model. Parameters as nested dicts and lists.
    summary
        Data provenance, errors, options: plain data.
    program
        The network as a serialised program instead, see `dock.models.inference.export`.
    """

    backend: str
    layout: TargetLayout
    cutoffs: FloatArray
    statistics: Statistics
    baseline: ClosedForm | None = None
    config: NetworkConfig | None = None
    params: Any = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    program: bytes | None = None


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the arrays of nested dicts and lists by path, such as ``edge_head/out/#3``.

    Examples
    --------
    >>> sorted(flatten({"a": [1, 2], "b": {"c": 3}}))
    ['a/#0', 'a/#1', 'b/c']
    """
    if isinstance(tree, Mapping):
        items = [(str(name), part) for name, part in tree.items()]
    elif isinstance(tree, (list, tuple)):
        items = [(f"#{index}", part) for index, part in enumerate(tree)]
    else:
        return {prefix: tree}
    found: dict[str, Any] = {}
    for name, part in items:
        found |= flatten(part, f"{prefix}/{name}" if prefix else name)
    return found


def unflatten(arrays: Mapping[str, Any]) -> Any:
    """Return nested dicts and lists from what `flatten` returned."""
    tree: dict[str, Any] = {}
    for path, value in arrays.items():
        *parents, last = path.split("/")
        place = tree
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return _listed(tree)


def _listed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    parts = {name: _listed(part) for name, part in tree.items()}
    if parts and all(name.startswith("#") for name in parts):
        return [parts[f"#{index}"] for index in range(len(parts))]
    return parts


def write_model(path: str | Path, model: ModelFile, *, overwrite: bool = False) -> None:
    """Write a model file, complete or not at all.

    Raises
    ------
    OutputError
        When it exists or cannot be written.
    """
    head = {
        "format": FORMAT,
        "version": VERSION,
        "dock": __version__,
        "backend": model.backend,
        "layout": model.layout.to_dict(),
        "fingerprint": model.layout.fingerprint(),
        "units": {"hamiltonian": "eV", "length": "angstrom"},
        "baseline": None if model.baseline is None else model.baseline.kind,
        "network": None,
        "summary": dict(model.summary),
    }
    network = {} if model.config is None else model.config.to_dict()
    limits = network.pop("cutoffs", [])  # long with many species, and attributes end at 64 kB
    head["network"] = network or None
    groups: dict[str, Mapping[str, Any]] = {"statistics": model.statistics.to_arrays()}
    if model.baseline is not None:
        groups["baseline"] = model.baseline.to_arrays()
    if model.params is not None:
        groups["params"] = flatten(model.params)
    with new_hdf5(path, overwrite=overwrite) as file:
        file.attrs["head"] = json.dumps(head)
        file["cutoffs"], file["network_cutoffs"] = np.asarray(model.cutoffs), np.asarray(limits)
        if model.program is not None:
            file["program"] = np.frombuffer(model.program, dtype=np.uint8)
        for name, arrays in groups.items():
            group = file.create_group(name)
            for key, value in arrays.items():
                group[key] = np.asarray(value)
        file.attrs["complete"] = True


def read_model(path: str | Path) -> ModelFile:
    """Read a model file, or the best model of a run folder.

    Parameters
    ----------
    path
        ``best.h5``, or a folder that has it, or has it in ``model/``.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is cut, no model, or of another version.
    """
    path = find_model(path)
    with open_hdf5(path, _FIX) as file:
        head = _head(path, file.attrs.get("head"))
        if not bool(file.attrs.get("complete", False)):
            raise FormatError(path, "the model file is not complete", fix=_FIX)
        cutoffs = np.asarray(file["cutoffs"][()])
        limits = file["network_cutoffs"][()].tolist() if "network_cutoffs" in file else []
        program = file["program"][()].tobytes() if "program" in file else None
        groups = {
            name: _arrays(file[name])
            for name in ("statistics", "baseline", "params")
            if name in file
        }
    try:
        layout = TargetLayout.from_dict(head["layout"])
        statistics = Statistics.from_arrays(groups["statistics"])
        baseline = None
        if "baseline" in groups:
            baseline = read_closed_form(head["baseline"], layout, groups["baseline"])
        network = head["network"]
        config = None if network is None else NetworkConfig.from_dict({"cutoffs": limits} | network)
    except (KeyError, TypeError, ValueError, DockError) as error:
        raise FormatError(path, "the model file is damaged", found=repr(error), fix=_FIX) from error
    params = unflatten(groups["params"]) if "params" in groups else None
    if layout.fingerprint() != head["fingerprint"] or (config is None) != (params is None):
        raise FormatError(path, "the parts of the model file do not belong together", fix=_FIX)
    return ModelFile(
        head["backend"],
        layout,
        cutoffs,
        statistics,
        baseline,
        config,
        params,
        head["summary"],
        program,
    )


def read_backend_name(path: str | Path) -> str:
    """Return which backend made a model file; others may have files of their own kind.

    Raises
    ------
    MissingDataError
        When there is no such file.
    FormatError
        When it is no model file.
    """
    path = find_model(path)
    with open_hdf5(path, _FIX) as file:
        try:
            head = json.loads(file.attrs["head"])
            return str(head["backend"])
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(path, "this is no model file", expected=FORMAT, fix=_FIX) from error


def file_fingerprint(path: str | Path) -> str:
    """Return a hash of a model file, which its predictions carry."""
    return hashlib.sha256(find_model(path).read_bytes()).hexdigest()[:16]


def find_model(path: str | Path, kind: str = "best") -> Path:
    """Return the model file that a path means.

    Parameters
    ----------
    path
        The file itself, or a run folder.
    kind
        ``best`` (else the latest), or ``latest``.

    Raises
    ------
    MissingDataError
        When the folder holds no model.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    names = [f"{kind}.h5", "best.h5", "latest.h5"]
    for name in names if kind == "best" else names[:1]:
        for place in (path / name, path / "model" / name):
            if place.is_file():
                return place
    raise MissingDataError(f"model/{kind}.h5", path, "Give the run folder of dock train.")


def _head(path: Path, text: Any) -> dict[str, Any]:
    """Return the head of a model file of this version."""
    try:
        head = json.loads(text)
    except (TypeError, ValueError):
        head = {}
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise FormatError(path, "this is no model file", expected=FORMAT, fix=_FIX)
    if head.get("version") != VERSION:
        raise FormatError(
            path,
            "the model file has another version",
            expected=VERSION,
            found=head.get("version"),
            fix=_FIX,
        )
    return head


def _arrays(group: Any) -> dict[str, Any]:
    """Return all arrays of a group by path."""
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            found[name] = item[()]

    group.visititems(visit)
    return found
