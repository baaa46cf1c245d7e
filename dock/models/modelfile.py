"""A model as one HDF5 file that says what it is, what it was made from and what it fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dock._version import __version__
from dock.core.arrays import FloatArray
from dock.errors import DockError, FormatError, MissingDataError
from dock.io.hdf5 import new_hdf5, open_hdf5
from dock.io.text import without_folders
from dock.models.backend import Scope
from dock.models.statistics import Statistics
from dock.models.targets import TargetLayout

__all__ = [
    "ON_ELEMENTS",
    "ModelFile",
    "Stored",
    "file_fingerprint",
    "find_model",
    "flatten",
    "read_backend_name",
    "read_model",
    "unflatten",
    "write_model",
]

FORMAT = "dock model"
VERSION, _WITH_CHANNELS, _LESS = 1, 2, 3
"""Of a file; of one whose channels are predicted one by one; of one whose targets are less of a
known operator: earlier versions know no such."""
ON_ELEMENTS = " on elements"
"""Behind the kind of a closed form that stands on one of elements; older versions refuse it."""

_FIX = "Use the file that dock train wrote (model/best.h5), of a dock that knows this version."


T = TypeVar("T")


class Stored(NamedTuple):
    """A part of a model as it stands in a file; the package that the part belongs to makes it.

    Its facts are plain data (the kind of a closed form, the sizes of a network), its arrays stand
    in nested dicts and lists.
    """

    facts: Any
    arrays: Any


@dataclass(frozen=True, eq=False)
class ModelFile:
    """Everything that a prediction needs, whichever backend makes it.

    Attributes
    ----------
    backend
        ``jax``, ``two-centre``, ``jax-export`` or that of a plug-in.
    layout
        The targets: species, shells, spin, quantity. Statistics, closed form and network are of its
        ``channel``.
    cutoffs
        (n_species²,) where edges end, Å; 0 where nothing was cut off.
    statistics
        Sizes of the parts in the training data; its ``longest`` is the longest edge known.
    closed_form
        The closed form, see `dock.models.closed_form.closed_form_of`, or None.
    network
        The network, see `dock.models.network.trained.TrainedNetwork`, or None.
    summary
        Data provenance, errors, options: plain data.
    program
        The network as a serialised program instead, see `dock.models.network.inference.export`.
    path, fingerprint
        Where it was read from, and the hash of that file, which its predictions carry.
    """

    backend: str
    layout: TargetLayout
    cutoffs: FloatArray
    statistics: Statistics
    closed_form: Stored | None = None
    network: Stored | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    program: bytes | None = None
    path: Path | None = None
    fingerprint: str = ""

    @property
    def scope(self) -> Scope:
        """What a model of this file may be asked for; models with moments add those."""
        longest = self.statistics.longest
        data = self.summary.get("training_set") or {}
        electrons = {
            str(name): float(n) for name, n in data.get("electrons_of_species", {}).items()
        }
        stored = self.closed_form
        on_elements = stored is not None and str(stored.facts).endswith(ON_ELEMENTS)
        return Scope(
            self.layout,
            self.fingerprint,
            self.layout.is_split,
            longest=longest,
            cutoffs=self.cutoffs,
            shortest=self.statistics.shortest,
            neighbours=self.statistics.neighbours,
            of_unseen="elements" if on_elements else "zeros",
            electrons=electrons,
            moments={
                name: (low, high) for name, (low, high) in data.get("moments_muB", {}).items()
            },
            known_by=tuple(data.get("initial_by", ())),
        )

    def unseen_facts(self) -> dict[str, Any]:
        """Return plain data: the kinds of pairs that the training data have not, what they get."""
        scope = self.scope
        return {"unseen_pairs": list(scope.unseen), "of_unseen_pairs": scope.of_unseen}

    def decoded(self, make: Callable[[], T]) -> T:
        """Return what `make` makes of a stored part.

        Raises
        ------
        FormatError
            When it cannot: the file is damaged.
        """
        with _intact(self.path or Path("model file")):
            return make()


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Say of a file whose content cannot be made sense of that it is damaged."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, DockError) as error:
        raise FormatError(path, "the model file is damaged", found=repr(error), fix=_FIX) from error


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
    arrays: dict[str, Any] = {}
    for name, part in items:
        arrays |= flatten(part, f"{prefix}/{name}" if prefix else name)
    return arrays


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
    closed_form, network = model.closed_form, model.network
    sizes = {} if network is None else dict(network.facts)
    limits = sizes.pop("cutoffs", [])  # long with many species, and attributes end at 64 kB
    head = {
        "format": FORMAT,
        "version": _version(model.layout),
        "dock": __version__,
        "backend": model.backend,
        "layout": model.layout.to_dict(),
        "fingerprint": model.layout.fingerprint(),
        "units": {"hamiltonian": "eV", "length": "angstrom"},
        "baseline": None if closed_form is None else closed_form.facts,
        "network": sizes or None,
        "summary": without_folders(model.summary),
    }
    parts = {
        "cutoffs": model.cutoffs,
        "network_cutoffs": np.asarray(limits),
        "program": None if model.program is None else np.frombuffer(model.program, dtype=np.uint8),
        "statistics": model.statistics.to_arrays(),
        "baseline": None if closed_form is None else closed_form.arrays,
        "params": None if network is None else network.arrays,
    }
    with new_hdf5(path, overwrite=overwrite) as file:
        file.attrs["head"] = json.dumps(head)
        for name, value in flatten(parts).items():
            if value is not None:
                file[name] = np.asarray(value)
        file.attrs["complete"] = True


def _version(layout: TargetLayout) -> int:
    """Return the version of a file of such targets."""
    if layout.less:
        return _LESS
    return _WITH_CHANNELS if layout.is_split else VERSION


def read_model(path: str | Path) -> ModelFile:
    """Read a model file, or the best model of a folder, which may be in its ``model/``.

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
        arrays = _arrays(file)
    with _intact(path):
        parts = unflatten(arrays)
        layout = TargetLayout.from_dict(head["layout"])
        statistics = Statistics.from_arrays(parts["statistics"])
        stated, sizes = head["baseline"], head["network"]
        closed_form = Stored(stated, parts["baseline"]) if "baseline" in parts else None
        network = None
        if "params" in parts and sizes is not None:
            limits = np.asarray(parts.get("network_cutoffs", [])).tolist()
            network = Stored({"cutoffs": limits} | sizes, parts["params"])
        program = np.asarray(parts["program"]).tobytes() if "program" in parts else None
        belongs = layout.fingerprint() == head["fingerprint"]
        backend, summary = str(head["backend"]), dict(head["summary"])
    if not belongs or (sizes is None) != ("params" not in parts):
        raise FormatError(path, "the parts of the model file do not belong together", fix=_FIX)
    mark = file_fingerprint(path)
    return ModelFile(
        backend, layout, cutoffs, statistics, closed_form, network, summary, program, path, mark
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
    """Return the model file that a path means: itself, or that of a run folder.

    Its kind is ``best`` (else the latest), or ``latest``.

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
    version = head.get("version")
    if version not in (VERSION, _WITH_CHANNELS, _LESS):
        raise FormatError(
            path,
            "the model file has another version",
            expected=f"{VERSION} to {_LESS}",
            found=version,
            fix=_FIX,
        )
    return head


def _arrays(group: Any) -> dict[str, Any]:
    """Return all arrays of a group by path."""
    arrays: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        if hasattr(item, "shape"):
            arrays[name] = item[()]

    group.visititems(visit)
    return arrays
