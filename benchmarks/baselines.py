"""What the default of a training does on crystals that it has not seen, beside simpler choices.

    python benchmarks/baselines.py SET [--epochs 150] [--seed 3] [--baselines auto two-centre none]

SET is a folder of unified folders with several crystals. Of five crystals three are trained on, one
is for validation and one for test (structures with the same atoms are one crystal). Every training
is a process of its own, with the defaults but for epochs and batch size; so are inference and
evaluation. Columns: CPU seconds of the training; errors of H in meV of validation and test; of the
test structures whose pairs of elements were all trained on, and of the others: H, occupied levels
after their median (mean and median over the structures, meV), and how many have no false state
below E_F + 3 eV.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _measure import machine, run
from closed_forms import divided
from models import DOCK

import dock

OPTIONS = """
[data]
inputs_dir = {data}
outputs_dir = {out}
[model]
baseline = {baseline}
[process.train]
max_epoch = {epochs}
[process.train.dataloader]
batch_size = {batch}
dataset_split_json = {split}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--baselines", nargs="+", default=["auto", "two-centre", "none"])
    options = parser.parse_args()
    print(f"machine: {machine()}")
    print(f"{'baseline':30}{'CPU s':>8}{'valid.':>9}{'test':>9}   all pairs seen, and new pairs:")
    print(f"{'':59}{'n':>4}{'H':>8}{'filled':>9}{'median':>8}{'clean':>7}")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    data = options.set.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = divided(data, options.seed)
        (folder / "split.json").write_text(json.dumps(split))
        for baseline in options.baselines:
            train(data, split, baseline, folder, options)


def train(
    data: Path, split: dict[str, list[str]], baseline: str, folder: Path, options: Any
) -> None:
    """Train, predict the test structures, and print the row of one baseline."""
    out = folder / baseline
    words = {"data": data, "out": out, "split": folder / "split.json", "baseline": baseline}
    text = {key: json.dumps(str(value)) for key, value in words.items()}
    toml = folder / f"{baseline}.toml"
    toml.write_text(OPTIONS.format(**text, epochs=options.epochs, batch=options.batch))
    cost = run([DOCK, "train", toml, "--quiet"])
    result = json.loads((out / "result.json").read_text())
    tests = folder / f"{baseline}-tests"
    run([DOCK, "infer", out, *(data / name for name in split["test"]), "-o", tests, "--quiet"])
    run([DOCK, "evaluate", tests, data, "-o", out / "errors", "--spacing", "0.3", "--quiet"])
    rows = json.loads((out / "errors" / "evaluation.json").read_text())["structures"]
    errors = "".join(f"{1e3 * result[f'{part}_mae']:9.1f}" for part in ("validation", "test"))
    taken = result["baseline"]
    label = baseline if taken == baseline else f"{baseline}: {taken}"
    print(f"{label:30}{cost.cpu:8.0f}{errors}", flush=True)
    known = pairs_of(data, split["train"])
    for has_new in (False, True):
        own = [row for row in rows if bool(pairs_of(data, [row["name"]]) - known) is has_new]
        if own:
            print(f"{'':55}{'new' if has_new else 'seen':>4}{summary(own)}", flush=True)


def summary(rows: list[dict[str, Any]]) -> str:
    """Return number, errors and the share without false states of some structures."""
    H, filled = (
        1e3 * np.array([row[key] for row in rows])
        for key in ("mae_hamiltonian_eV", "mae_occupied_levels_eV")
    )
    clean = sum(row["n_ghost_states"] == 0 for row in rows)
    return f"{len(rows):4}{H.mean():8.1f}{filled.mean():9.0f}{np.median(filled):8.0f}{clean:7}"


def pairs_of(data: Path, names: list[str]) -> set[tuple[str, str]]:
    """Return the ordered pairs of species that have blocks in structures."""
    found: set[tuple[str, str]] = set()
    for name in names:
        calc = dock.read(data / name)
        labels, pairs = calc.structure.labels, calc.require("overlap").pairs
        found |= {(labels[i], labels[j]) for i, j in zip(pairs.i, pairs.j, strict=True)}
    return found


if __name__ == "__main__":
    main()
