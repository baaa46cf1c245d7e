"""Errors of the closed forms on crystals that no fit has seen.

    python benchmarks/closed_forms.py SET [--seeds 3 4 5 6] [--new-pairs]

SET is a folder of unified folders. Structures with the same atoms count as one crystal; of five
crystals three are fitted, one is for validation and one for test, dealt out anew with each seed.
Errors are mean absolute errors of all entries of H in meV: of all structures, of those whose kinds
of pairs the fit has all seen, and of the others.

With --new-pairs whole kinds of pairs are left out instead, with all structures that have them,
until a fifth of the structures is held out; all elements stay. Each form is fitted by itself, so
that a new pair gets zeros, and on top of one of elements. Errors are those of the held-out
structures: of all entries of H, of blocks of new pairs, of the other blocks off site, and on site.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from _measure import machine

import dock
from dock.converters.deeph.dataset import find_structures
from dock.models.closed_form import (
    KINDS,
    ClosedForm,
    fit_closed_form,
    fit_three_centre,
    fit_two_centre,
)
from dock.models.data.preparation import DataParts, prepare_data
from dock.models.data.samples import Item, find_samples, load_item
from dock.models.options import read_train
from dock.models.statistics import find_cutoffs
from dock.models.targets import TargetLayout

PARTS = ("train", "train", "train", "validate", "test")


def main() -> None:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5, 6])
    parser.add_argument("--new-pairs", action="store_true")
    options = parser.parse_args()
    print(f"machine: {machine()}")
    if options.new_pairs:
        leave_kinds_out(options.set.resolve(), options.seeds)
        return
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


def leave_kinds_out(data: Path, seeds: list[int]) -> None:
    """Print a row for each form, alone and on elements, and each choice of kinds left out."""
    heads = ("all", "new pairs", "others", "on site", "CPU s")
    print(f"{'':36}" + "".join(f"{head:>12}" for head in heads))
    layout, items = everything(data)
    n = layout.n_species
    forms = {"two-centre": fit_two_centre, "three-centre": fit_three_centre}
    for seed in seeds:
        fitted, others, seen = without_kinds(items, n, seed)
        cutoffs = find_cutoffs((item.graph for item in fitted), n)
        structures = partial(iter, fitted)
        new = np.unique(np.concatenate([item.graph.edge_type for item in others]))
        print(f"seed {seed}: {len(others)} structures, {np.count_nonzero(~seen[new])} new kinds")
        print(row("zeros", blocks_wrong(None, layout, others, seen), 0.0), flush=True)
        for kind, fit in forms.items():
            ways = {
                f"{kind}, new pairs zero": partial(fit, structures),
                f"{kind} on elements": partial(fit_closed_form, kind, structures),
            }
            for name, fitted_by in ways.items():
                begin = time.process_time()
                form = fitted_by(layout, cutoffs)
                took = time.process_time() - begin
                print(row(name, blocks_wrong(form, layout, others, seen), took), flush=True)


def row(name: str, errors: list[float], seconds: float) -> str:
    """Return a line of the table."""
    return f"    {name:32}" + "".join(f"{error:12.1f}" for error in (*errors, seconds))


def everything(data: Path) -> tuple[TargetLayout, list[Item]]:
    """Return the targets of a set, and all its structures."""
    samples = find_samples(data)
    calculations = [dock.read(sample.folder) for sample in samples]
    bases, spin = [calc.basis for calc in calculations], calculations[0].spin
    layout = TargetLayout.from_bases(bases, spin)
    return layout, [load_item(sample, layout) for sample in samples]


def without_kinds(
    items: list[Item], n: int, seed: int, share: float = 0.2
) -> tuple[list[Item], list[Item], np.ndarray]:
    """Leave kinds of pairs out; return structures without them, those with, and the kinds seen."""
    has = np.zeros((len(items), n * n), dtype=bool)
    for number, item in enumerate(items):
        has[number, item.graph.edge_type] = True
    mixed = [kind for kind in np.flatnonzero(has.any(axis=0)) if kind // n < kind % n]
    held = np.zeros(len(items), dtype=bool)
    for kind in np.random.default_rng(seed).permutation(mixed):
        wanted = held | has[:, kind]
        left = [item for item, out in zip(items, wanted, strict=True) if not out]
        if len({label for item in left for label in item.graph.species.tolist()}) == n:
            held = wanted
        if held.mean() >= share:
            break
    fitted, others = (
        [item for item, out in zip(items, held, strict=True) if bool(out) is which]
        for which in (False, True)
    )
    return fitted, others, has[~held].any(axis=0)


def blocks_wrong(
    form: ClosedForm | None, layout: TargetLayout, items: list[Item], seen: np.ndarray
) -> list[float]:
    """Return errors in meV: of all entries, of new pairs, of other pairs, and on site."""
    wrong, count = np.zeros(3), np.zeros(3)
    for item in items:
        node, edge = (0.0, 0.0) if form is None else form.predict(item.graph)
        is_new = ~seen[item.graph.edge_type]
        offsite = np.abs(edge - item.edge).sum(axis=(1, 2, 3))
        sizes = layout.n_channels * layout.edge_mask[item.graph.edge_type].sum(axis=(1, 2))
        for place, chosen in enumerate((is_new, ~is_new)):
            wrong[place] += offsite[chosen].sum()
            count[place] += sizes[chosen].sum()
        wrong[2] += np.abs(node - item.node).sum()
        count[2] += layout.n_channels * layout.node_mask[item.graph.species].sum()
    return [1e3 * wrong.sum() / count.sum(), *(1e3 * wrong / np.maximum(count, 1)).tolist()]


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
