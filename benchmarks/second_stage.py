"""False states and errors before and after the second stage of a training.

    python benchmarks/second_stage.py SET [--epochs 120] [--stage-epochs 60] [--weight 0 0.4]
        [--baseline two-centre] [--blocks 2] [--kmesh 2 2 2]

SET is a folder of unified folders. Of the structures with the same atoms the last third is held
out, one in three of those for validation and the others for test: what is measured are other
copies of what was trained on, not other crystals. First the ordinary training, then the second
stage from its best model, with several weights (0: nothing but more steps), each a process of its
own. Structures are predicted on the pattern of their own overlap.

Columns: CPU seconds; of the test structures the mean error of H, the root mean square of ΔH at Γ
among occupied and among empty states, the errors of occupied levels after their median (mean and
median over the structures) and of the gap, all in meV; how many have false states below E_F + 3 eV;
and how many lack some.
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
from models import DOCK

import dock
from dock.converters.deeph.dataset import find_structures
from dock.evaluate.structure import EvaluateOptions, evaluate
from dock.models import load

OPTIONS = """
[data]
inputs_dir = {data}
outputs_dir = {out}
[model]
baseline = {baseline}
[model.advanced]
num_blocks = {blocks}
[process.train]
max_epoch = {epochs}
multi_way_jit_num = 1
[process.train.dataloader]
batch_size = 4
dataset_split_json = {split}
"""
STAGE = """
[process.train.continued]
enable = true
previous_output_dir = {first}
[process.train.states]
enable = true
epochs = {stage_epochs}
weight = {weight}
init_learning_rate = {rate}
kmesh = {kmesh}
"""
COLUMNS = ("H", "filled", "empty", "levels", "median", "gap")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--stage-epochs", type=int, default=60)
    parser.add_argument("--weight", type=float, nargs="+", default=[0.0, 0.4])
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--baseline", default="two-centre")
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--kmesh", type=int, nargs=3, default=[2, 2, 2])
    parser.add_argument("--spacing", type=float, default=0.4)
    parser.add_argument("--folder", type=Path, help="keep everything here, and what is there")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    print(f"machine: {machine()}")
    print(f"{'':20}{'CPU s':>7}" + "".join(f"{name:>9}" for name in COLUMNS) + "   false  lacking")
    with tempfile.TemporaryDirectory() as name:
        compare(options, (options.folder or Path(name)).resolve())


def compare(options: Any, folder: Path) -> None:
    """Train, and go on with each weight; print a row for each model."""
    folder.mkdir(exist_ok=True)
    data = options.set.resolve()
    split = divided(data)
    (folder / "split.json").write_text(json.dumps(split))
    paths = {"data": data, "split": folder / "split.json", "first": folder / "first"}
    words = {
        **{name: json.dumps(str(path)) for name, path in paths.items()},
        "baseline": json.dumps(options.baseline),
        "blocks": options.blocks,
        "stage_epochs": options.stage_epochs,
        "rate": options.rate,
        "kmesh": options.kmesh,
    }
    first = {**words, "out": words["first"], "epochs": options.epochs}
    row("before", folder / "first", OPTIONS.format(**first), data, split["test"], options)
    for weight in options.weight:
        out = folder / f"weight-{weight}"
        own = {**words, "out": json.dumps(str(out)), "weight": weight, "epochs": 0}
        text = (OPTIONS + STAGE).format(**own)
        row(f"after, weight {weight}", out, text, data, split["test"], options)


def divided(data: Path) -> dict[str, list[str]]:
    """Hold out the last third of the structures with the same atoms."""
    root, names = find_structures(data)
    kinds: dict[tuple[str, int], list[str]] = {}
    for name in names:
        structure = dock.read(root / name).structure
        kinds.setdefault((structure.formula, structure.n_atoms), []).append(name)
    train: list[str] = []
    held_out: list[str] = []
    for own in kinds.values():
        kept = len(own) - len(own) // 3
        train, held_out = train + own[:kept], held_out + own[kept:]
    return {
        "train": train,
        "validate": held_out[::3],
        "test": [name for number, name in enumerate(held_out) if number % 3],
    }


def row(label: str, out: Path, text: str, data: Path, names: list[str], options: Any) -> None:
    """Train with the options of a text, predict the test structures, and print the errors."""
    toml = out.with_suffix(".toml")
    toml.write_text(text)
    cost = run([DOCK, "train", toml, "--quiet"])
    model, rows = load(out), []
    for name in names:
        calc = dock.read(data / name)
        less = model.scope.layout.less
        known = {"initial": calc.require(less)} if less else {}
        predicted = model.predict(calc.structure, calc.require("overlap"), **known)
        rows.append(evaluate(predicted, calc, EvaluateOptions(spacing=options.spacing)).facts())
    print(f"{label:20}{cost.cpu:7.0f}{summary(rows)}", flush=True)


def summary(rows: list[dict[str, Any]]) -> str:
    """Return the columns of some structures."""

    def values(key: str) -> Any:
        return 1e3 * np.abs([one[key] for one in rows if one[key] is not None])

    levels = values("mae_occupied_levels_eV")
    means = [
        values("mae_hamiltonian_eV").mean(),
        values("rms_hamiltonian_occupied_eV").mean(),
        values("rms_hamiltonian_empty_eV").mean(),
        levels.mean(),
        np.median(levels),
        values("gap_error_eV").mean() if len(values("gap_error_eV")) else np.nan,
    ]
    counts = [sum(one[key] > 0 for one in rows) for key in ("n_ghost_states", "n_missing_states")]
    figures = "".join(f"{value:9.2f}" if value < 100 else f"{value:9.0f}" for value in means)
    return figures + "".join(f"{count:5} of {len(rows)}" for count in counts)


if __name__ == "__main__":
    main()
