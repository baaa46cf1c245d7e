"""Errors of the closed forms on crystals that no fit has seen.

    python benchmarks/closed_forms.py SET [--seeds 3 4 5 6]

SET is a folder of unified folders. Structures with the same atoms count as one crystal; of five
crystals three are fitted, one is for validation and one for test, dealt out anew with each seed.
Errors are mean absolute errors of all entries of H in meV: of all structures, of those whose kinds
of pairs the fit has all seen, and of the others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.converters.deeph.dataset import find_structures
from dock.models.closed_form import KINDS, fit_closed_form
from dock.models.data.preparation import DataParts, prepare_data
from dock.models.options import read_train
from dock.models.statistics import find_cutoffs

PARTS = ("train", "train", "train", "validate", "test")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5, 6])
    options = parser.parse_args()
    print(f"machine: {machine()}")
    print(f"{'':8}{'':14}{'validation (all pairs seen, new)':>36}{'test (…)':>30}{'CPU s':>8}")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            compare(options.set.resolve(), seed, Path(folder))


def compare(data: Path, seed: int, folder: Path) -> None:
    """Fit all closed forms to one division of a set and print a row for each."""
    (folder / "split.json").write_text(json.dumps(divided(data, seed)))
    toml = folder / "t.toml"
    keys = {"data.inputs_dir": str(data), "data.outputs_dir": "r", "model.backend": "two-centre"}
    keys["process.train.dataloader.dataset_split_json"] = "split.json"
    toml.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    parts = prepare_data(read_train(toml))
    layout, train = parts.layout, parts.split.train
    cutoffs = find_cutoffs((item.graph for item in parts.items(train)), layout.n_species)
    for kind in ("none", *KINDS):
        begin = time.process_time()
        form = None
        if kind != "none":
            form = fit_closed_form(kind, lambda: parts.items(train), layout, cutoffs)
        took = time.process_time() - begin
        rows = [errors(form, parts, names) for names in (parts.split.validate, parts.split.test)]
        print(
            f"seed {seed:<3}{kind:14}"
            + "".join(f"{mean:14.1f} ({seen:6.1f}, {new:6.1f})" for mean, seen, new in rows)
            + f"{took:8.1f}",
            flush=True,
        )


def divided(data: Path, seed: int) -> dict[str, list[str]]:
    """Deal crystals out: the same atoms, the same part."""
    root, names = find_structures(data)
    crystals: dict[tuple[str, int], list[str]] = {}
    for name in names:
        structure = dock.read(root / name).structure
        crystals.setdefault((structure.formula, structure.n_atoms), []).append(name)
    order = np.random.default_rng(seed).permutation(len(crystals))
    found: dict[str, list[str]] = {part: [] for part in PARTS}
    for place, number in enumerate(order):
        found[PARTS[place % 5]] += list(crystals.values())[number]
    return found


def errors(form: object, parts: DataParts, names: list[str]) -> tuple[float, float, float]:
    """Return the error of structures in meV: all, those of known kinds of pairs, the others."""
    layout = parts.layout
    seen = np.zeros(layout.n_species**2, dtype=bool)
    for item in parts.items(parts.split.train):
        seen[item.graph.edge_type] = True
    total = np.zeros((2, 2))  # known or not: sum, entries
    for item in parts.items(names):
        node, edge = (0.0, 0.0) if form is None else form.predict(item.graph)  # type: ignore[attr-defined]
        wrong = np.abs(node - item.node).sum() + np.abs(edge - item.edge).sum()
        masks = layout.node_mask[item.graph.species], layout.edge_mask[item.graph.edge_type]
        count = layout.n_channels * sum(int(mask.sum()) for mask in masks)
        total[int(seen[item.graph.edge_type].all())] += wrong, count
    new, known = (1e3 * one[0] / max(one[1], 1.0) for one in total)
    mean = 1e3 * total[:, 0].sum() / max(total[:, 1].sum(), 1.0)
    return float(mean), float(known), float(new)


if __name__ == "__main__":
    main()
