"""What the Hamiltonian of superposed free atoms does for predictions of held-out crystals.

    python benchmarks/free_atoms.py SET --basis IONS [--copies-apart] [--threshold 0.02 0.05 0.1]

SET is a folder of unified folders of SIESTA runs, IONS their .ion.xml files. Of links to the
folders and H₀ beside them, the closed form with two centres is fitted to H and to H − H₀; whole
crystals are held out for validation and test (a fifth each), or with --copies-apart structures one
by one, so that nearly all pairs of elements have been seen.

Columns: CPU seconds; the number of structures held out; the mean error of H; the mean and median
error of occupied levels after the common shift (meV); structures whose occupied levels are right to
50 meV; structures without false states, and without lacking ones, below E_F + 3 eV. The thresholds
leave out combinations of orbitals with smaller eigenvalues of S, of the prediction alone;
`reference` says what they do to levels that are right.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _measure import machine, run
from models import DOCK

import dock
from dock.converters.deeph.dataset import find_structures
from dock.core.calculation import Calculation
from dock.core.gauge import hamiltonian_shift
from dock.core.matrix import AOMatrix
from dock.models import load
from dock.overlap_folder import OverlapJob, OverlapTarget
from dock.states.fermi_level import find_level
from dock.states.kmesh import make_mesh
from dock.states.occupation import occupation_errors
from dock.states.smearing import Smearing
from dock.states.spectrum import Spectrum, compute_spectrum

FREE = "hamiltonian0.h5"
FILES = ("POSCAR", "info.json", "hamiltonian.h5", "overlap.h5")
COLUMNS = ("CPU s", "n", "H", "levels", "median", "≤ 50 meV", "no false", "no lacking")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", type=Path)
    parser.add_argument("--basis", type=Path, required=True)
    parser.add_argument("--copies-apart", action="store_true")
    parser.add_argument("--threshold", type=float, nargs="*", default=[0.02, 0.05, 0.1])
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    print(f"machine: {machine()}")
    print(f"{'':34}" + "".join(f"{name:>11}" for name in COLUMNS))
    with tempfile.TemporaryDirectory() as name:
        compare(options, Path(name))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Fit, predict, and print rows."""
    data = folder / "data"
    seconds = with_free_atoms(options.set.resolve(), options.basis.resolve(), data)
    runs = {}
    for label, initial in (("H", False), ("H − H₀", True)):
        runs[label] = folder / f"run-{initial}"
        cost = fit(data, runs[label], initial=initial, together=not options.copies_apart)
        print(f"{'two centres of ' + label:34}{cost:11.1f}", flush=True)
    print(f"{'H₀ of all structures':34}{seconds:11.1f}", flush=True)
    split = json.loads((runs["H"] / "dataset_split.json").read_text())
    held = [name for part in ("validate", "test") for name in split[part]]
    seen = set().union(*(kinds(dock.read(data / name)) for name in split["train"]))
    rows: dict[tuple[str, str], list[Any]] = {}
    models = {label: load(path) for label, path in runs.items()}
    for name in held:
        calc = dock.read(data / name)
        group = "pairs seen" if kinds(calc) <= seen else "new pairs"
        for label, found in measured(calc, models, options.threshold):
            rows.setdefault((group, label), []).append(found)
    for group in ("pairs seen", "new pairs"):
        print(group)
        for (own, label), found in rows.items():
            if own == group:
                print(f"    {label:30}{'':11}{summary(found)}", flush=True)


def with_free_atoms(source: Path, basis: Path, data: Path) -> float:
    """Link a set and compute H₀ where it is not there; return CPU seconds."""
    root, names = find_structures(source)
    begin = os.times()
    for name in names:
        place = data / name
        place.mkdir(parents=True)
        for file in FILES:
            (place / file).symlink_to(root / name / file)
        if (root / name / FREE).is_file():
            (place / FREE).symlink_to(root / name / FREE)
            continue
        target = OverlapTarget.of(place, None)
        job = OverlapJob.prepare(place, basis, target, pattern="auto", quantities=("H0",))
        job.write(target, ("H0",), jobs=1)
    end = os.times()
    return end.user - begin.user + end.system - begin.system


def fit(data: Path, out: Path, *, initial: bool, together: bool) -> float:
    """Fit the closed form with two centres; return CPU seconds."""
    keys: dict[str, Any] = {
        "data.inputs_dir": str(data),
        "data.outputs_dir": str(out),
        "model.backend": "two-centre",
        "model.initial": initial,
        "process.train.dataloader.copies_together": together,
    }
    toml = out.with_suffix(".toml")
    toml.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items()))
    return run([DOCK, "train", toml, "--quiet"]).cpu


def kinds(calc: Calculation) -> set[tuple[str, ...]]:
    """Return the kinds of pairs of a structure."""
    labels, pairs = calc.basis.labels, calc.require("overlap").pairs
    return {
        tuple(sorted((labels[i], labels[j])))
        for i, j in zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)
    }


def measured(calc: Calculation, models: dict[str, Any], thresholds: list[float]) -> Any:
    """Yield what was predicted, and its errors."""
    H, S, free = (calc.require(name) for name in ("hamiltonian", "overlap", "hamiltonian0"))
    mesh = make_mesh(calc, spacing=0.4, reduction="time-reversal")
    exact = compute_spectrum(calc, mesh, jobs=1)
    fermi = find_level(exact, calc.n_electrons or 0.0, Smearing())[0]
    guesses = {"reference": H, "H₀ alone": replace(free, quantity="hamiltonian")}
    for label, model in models.items():
        known = {"initial": free} if model.scope.layout.less else {}
        guesses[f"two centres of {label}"] = model.predict(calc.structure, S, **known)
    for label, guess in guesses.items():
        error = guess - H - hamiltonian_shift(guess, H, S) * S
        mae = float(np.abs(error.entries).mean())
        for threshold in (None, *thresholds):
            if label == "reference" and threshold is None:
                continue
            found = errors(calc, guess, mesh, exact, fermi, threshold)
            yield label + (f", S > {threshold:g}" if threshold else ""), (mae, *found)


def errors(
    calc: Calculation,
    guess: AOMatrix,
    mesh: Any,
    exact: Spectrum,
    fermi: float,
    threshold: float | None,
) -> tuple[float, int, int]:
    """Return the error of occupied levels, eV, and the numbers of false and lacking states."""
    other = calc.replace(matrices={"hamiltonian": guess, "overlap": calc.require("overlap")})
    spectrum = compute_spectrum(other, mesh, s_threshold=threshold, jobs=1)
    size = min(exact.energies.shape[-1], spectrum.energies.shape[-1])
    found = occupation_errors(spectrum.energies[..., :size], exact.energies[..., :size], fermi)
    return found.occupied or 0.0, found.n_ghosts, found.n_missing


def summary(rows: list[tuple[float, float, int, int]]) -> str:
    """Return the columns of some structures."""
    table = np.array(rows)
    mae, levels = 1e3 * table[:, 0], 1e3 * table[:, 1]
    counts = [np.count_nonzero(levels <= 50), *(np.count_nonzero(table[:, n] == 0) for n in (2, 3))]
    figures = f"{len(rows):11}{mae.mean():11.2f}{levels.mean():11.1f}{np.median(levels):11.1f}"
    return figures + "".join(f"{count:11}" for count in counts)


if __name__ == "__main__":
    main()
