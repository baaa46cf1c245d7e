"""Mistakes that people make with folders of matrices, and whether ``dock check`` finds each.

    python benchmarks/mistakes.py [folder of reference data]

Real runs are converted, one thing is spoiled, and the first error of the check is printed. The last
line counts the sound runs of the bundled and the reference data that the check takes for wrong.
"""

from __future__ import annotations

import logging
import re
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dock
from dock.converters import detect, resolve
from dock.converters.inspection import findings_of
from dock.core.calculation import Calculation

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "fixtures"
Spoil = Callable[[Path], Path]


def unified(run: Path, folder: Path, change: Callable[[Calculation], Any] | None = None) -> Path:
    """Write a run, with its Hamiltonian changed, as a unified folder."""
    calc = dock.read(run)
    matrices = {"hamiltonian": calc.require("H"), "overlap": calc.require("S")}
    matrices |= {name: calc.require(name) for name in calc.available if name == "density_matrix"}
    if change is not None:
        matrices["hamiltonian"] = change(calc)
    dock.write(calc.replace(matrices=matrices), folder)
    return folder


def without_nearest(calc: Calculation) -> Any:
    """Return H without the blocks of one pair of nearest neighbours."""
    H = calc.require("H")
    pairs, structure = H.pairs, calc.structure
    apart = structure.positions[pairs.j] + pairs.R @ structure.cell - structure.positions[pairs.i]
    distances = np.linalg.norm(apart, axis=1)
    nearest = int(np.argmin(np.where(distances > 0, distances, np.inf)))
    gone = {nearest, int(pairs.partner[nearest])}
    return H.take_pairs(np.array([p for p in range(len(pairs)) if p not in gone]))


def swapped_spins(calc: Calculation) -> Any:
    """Return H with its channels exchanged."""
    H = calc.require("H")
    return H.with_entries(H.entries[::-1].copy())


def exchanged(file: str, one: Path, other: Path, folder: Path) -> Path:
    """Return the folder of one run with a file of the other."""
    unified(one, folder)
    spare = unified(other, folder.with_name(f"{folder.name}-other"))
    shutil.copyfile(spare / file, folder / file)
    return folder


def renamed_species(run: Path, folder: Path) -> Path:
    """Exchange the names of two species in POSCAR."""
    unified(run, folder)
    lines = (folder / "POSCAR").read_text().splitlines()
    lines[5] = " ".join(reversed(lines[5].split()))
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    return folder


def edited(run: Path, folder: Path, file: str, change: Callable[[str], str]) -> Path:
    """Copy a run, change a text file in it, and convert it."""
    source = folder.with_name(f"{folder.name}-run")
    shutil.copytree(run, source, copy_function=shutil.copyfile)
    path = next(source.rglob(file))
    path.write_text(change(path.read_text()))
    return unified(source, folder)


def cut_after_third_step(text: str) -> str:
    """Return a log of SIESTA up to its third SCF line."""
    ends = [match.end() for match in re.finditer(r"^ +scf: +\d+ .*\n", text, re.MULTILINE)]
    return text[: ends[2]]


def mistakes(sic: list[Path]) -> Iterator[tuple[str, Spoil]]:
    """Yield the name of each mistake and what makes a folder with it."""
    graphene, spins = FIXTURES / "abacus" / "graphene", FIXTURES / "openmx" / "o2-spin"
    factors = (("H × 0", 0.0), ("H × (−1)", -1.0), ("H / 27.2114", 1 / 27.2114))
    factors += (("H / 13.6057", 1 / 13.6057), ("H + 20 eV", 1.0))
    runs = [graphene, *(FIXTURES / "siesta" / name for name in ("graphene", "h2o", "o2"))]
    runs += [FIXTURES / "openmx" / name for name in ("mos2", "si", "co-f", "o2-nc-soc")]
    for name, factor in factors:
        for run in runs:

            def change(calc: Calculation, factor: float = factor, name: str = name) -> Any:
                H = calc.require("H") * factor
                return H + 20.0 * calc.require("S") if "+" in name else H

            yield (
                f"{name}: {run.parent.name}/{run.name}",
                lambda folder, run=run, change=change: unified(run, folder, change),
            )
    for run in (graphene, FIXTURES / "openmx" / "mos2", FIXTURES / "openmx" / "si", *sic[:1]):
        name = f"a nearest block gone: {run.parent.name}/{run.name}"
        yield name, lambda folder, run=run: unified(run, folder, without_nearest)
    for run in (spins, FIXTURES / "siesta" / "o2"):
        name = f"up and down exchanged: {run.parent.name}/{run.name}"
        yield name, lambda folder, run=run: unified(run, folder, swapped_spins)
    if sic:
        yield (
            "S of another geometry: sic_01, sic_02",
            lambda x: exchanged("overlap.h5", sic[1], sic[2], x),
        )
        yield (
            "H of another geometry: sic_01, sic_02",
            lambda x: exchanged("hamiltonian.h5", sic[1], sic[2], x),
        )
        yield (
            "POSCAR of another geometry: sic_01, sic_02",
            lambda x: exchanged("POSCAR", sic[1], sic[2], x),
        )
        yield "species exchanged: sic_01", lambda x: renamed_species(sic[1], x)
    yield (
        "unconverged: abacus/graphene",
        lambda x: edited(
            graphene,
            x,
            "running_scf.log",
            lambda text: text.replace("convergence is achieved", "is large"),
        ),
    )
    yield (
        "unconverged: openmx/si",
        lambda x: edited(
            FIXTURES / "openmx" / "si",
            x,
            "si.out",
            lambda text: re.sub(r"(scf.criterion\s+)\S+", r"\g<1>1.0e-30", text),
        ),
    )
    magnesium = FIXTURES / "siesta" / "mg"
    yield (
        "unconverged: siesta/mg",
        lambda x: edited(
            magnesium,
            x,
            "el_032.out",
            lambda text: text.replace("SCF cycle converged", "SCF_NOT_CONV: not converged"),
        ),
    )
    yield (
        "unfinished (log cut after the third SCF line): siesta/mg",
        lambda x: edited(magnesium, x, "el_032.out", cut_after_third_step),
    )
    yield (
        "unfinished (log cut within the loop): abacus/graphene",
        lambda x: edited(
            graphene, x, "running_scf.log", lambda text: text[: text.index("ELEC=   4-")]
        ),
    )


def sound_runs(roots: list[Path]) -> Iterator[Path]:
    """Yield every run of folders of fixtures."""
    for root in roots:
        for folder in sorted(path for path in root.rglob("*") if path.is_dir()):
            if not set(_SEEN).isdisjoint(folder.parents):
                continue
            found = detect(folder, None)
            if found is not None and found[0].describe is None:  # pw.x has no orbitals to check
                _SEEN.append(folder)
                files = sorted(folder.glob("*.HSX"))
                yield from files if len(files) > 1 else [folder]


_SEEN: list[Path] = []


def first_error(path: Path) -> tuple[str, str]:
    """Return what found the first error of a folder, and its message; empty where none did."""
    entry, main = resolve(path)
    for finding in findings_of(entry, main):
        if finding.level == "error":
            return finding.what, finding.message
    return "", ""


def main() -> int:
    """Print the table; return 1 where a mistake is not found, or a sound run is called wrong."""
    logging.getLogger("dock").addHandler(logging.NullHandler())
    shared = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared"
    missed = wrong = count = 0
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        sic: list[Path] = []
        archive = shared / "fixtures/siesta/sic8_set/sic8_set.tar.xz"
        if archive.is_file():
            with tarfile.open(archive) as file:
                file.extractall(temporary, filter="data")
            sic = sorted((temporary / "sic8_set").iterdir())
        print("| mistake | found by | message |\n| --- | --- | --- |")
        for number, (what, spoil) in enumerate(mistakes(sic)):
            found, message = first_error(spoil(temporary / f"case{number}"))
            missed += not found
            print(f"| {what} | {found or '**not found**'} | {message.replace(name, '…')} |")
        begin = time.perf_counter()
        for run in [*sound_runs([FIXTURES, shared / "fixtures"]), *sic]:
            count += 1
            found, message = first_error(run)
            if found:
                wrong += 1
                print(f"\n{run}: {found}: {message}")
    seconds = time.perf_counter() - begin
    print(
        f"\n{missed} mistakes missed; {wrong} of {count} sound runs called wrong ({seconds:.0f} s)"
    )
    return 1 if missed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
