"""The figures of every code in one table: (code, system, quantity, deviation, limit, unit).

Each code has its own module ``tests/converters/<code>/validation.py``; here they get the same
columns, the sets of many runs are summed up by their worst run, and the reference conversions of
another program are compared entry by entry.
"""

import importlib.util
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import samples
from trip import through_folder

import dock

HERE = Path(__file__).resolve().parent
SETS = ("sic8_set", "bilayer_graphene_set")
CONVERSIONS = (
    ("SIESTA", "public/siesta/Si", "siesta", "public/siesta/Si/reference"),
    (
        "legacy DeepH",
        "public/deeph_legacy/MoTe2",
        "deeph-legacy",
        "public/deeph_legacy/MoTe2/reference_upgraded",
    ),
)
PEER = 1e-9
REMARKS = (
    (r"^ABACUS \| abacus/fe \| eigenvalues", "six digits: their rounding alone is up to 5e-5 eV"),
    (r"^SIESTA .*(sic8|bilayer_graphene|v0|v2sp).*occupied", "HSX in single precision"),
    (r"^SIESTA .*all eigenvalues", "six digits of the k-points; empty states at 100 eV"),
    (r"^PySCF \| water_600.*that PySCF keeps", "mo_energy is of the last Fock matrix but one"),
    (r"^PySCF \| diamond, stored blocks", "the stored interpolation's own error"),
    (r"^PySCF \| H2O \(public\) \| eigen", "run again: how the other run converged is not known"),
    (r"^PySCF \| MgO \(public\)", "the other program's own bands"),
    (r"^SIESTA \| tbg_m.: computed", "SIESTA interpolates its two-centre tables"),
    (r"^FHI-aims \| aims/MoS2.*symmetry", "a threefold axis has no symmetric angular grid"),
    (r"^SIESTA .*hamiltonian: reference", "the other program's Rydberg taken out"),
)
_UNIT = re.compile(r"^(.*?)(?:, | \()(eV|angstrom|e/Bohr\^3)\)?$")

Row = tuple[str, str, str, float, float, str]


def rows(shared: Path) -> Iterator[Row]:
    """Yield the figures of all codes but OpenMX, of the data that are there."""
    siesta, abacus, aims, qe = (_module(name) for name in ("siesta", "abacus", "aims", "qe"))
    yield from _uniform("SIESTA", siesta.rows(shared))
    for name in SETS:
        folder = shared / "fixtures" / "siesta" / name
        yield from _uniform("SIESTA", _worst(siesta, folder))
    yield from _uniform("ABACUS", abacus.rows(shared))
    yield from _uniform("FHI-aims", aims.rows(shared))
    yield from _uniform("CP2K 2023.1", _module("cp2k").rows())
    for run in sorted((shared / "fixtures" / "qe").glob("*/reference.json")):
        yield from _uniform("QE", qe.rows(run.parent))
    for name in ("mos2_hdf5_qe71", "si_projection"):
        yield from _uniform("QE", qe.rows(shared / "public" / "qe" / name))
    if importlib.util.find_spec("pyscf") is not None:
        pyscf = _module("pyscf")
        yield from _uniform("PySCF", pyscf.rows())
        yield from _uniform("PySCF", pyscf.reference_rows(shared))
    yield from _conversions(shared)


def _module(code: str):
    path = HERE / code / "validation.py"
    spec = importlib.util.spec_from_file_location(f"{code}_figures", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _uniform(code: str, found) -> Iterator[Row]:
    """Add the code, and take the unit out of the quantity's name."""
    for system, quantity, deviation, limit in found:
        match = _UNIT.match(quantity)
        plain = "eV" if quantity.startswith("hamiltonian") else "1"
        name, unit = match.groups() if match else (quantity, plain)
        yield code, system, name, float(deviation), float(limit), unit.replace("angstrom", "Å")


def remark(row: Row) -> str:
    """Say why a limit is wider than the print precision that is aimed at."""
    key = f"{row[0]} | {row[1]} | {row[2]}"
    return next((text for pattern, text in REMARKS if re.search(pattern, key)), "")


def _worst(siesta, folder: Path) -> Iterator[tuple[str, str, float, float]]:
    """Unpack a set of SIESTA runs one by one; yield the worst figure of each kind."""
    worst: dict[str, tuple[float, float]] = {}
    n_runs = 0
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(next(folder.glob("*.tar.xz"))) as packed:
            packed.extractall(place, **samples.TAR_FILTER)  # noqa: S202 - our own archives
        for run in sorted(path.parent for path in Path(place).rglob("*.HSX")):
            n_runs += 1
            for _, quantity, deviation, limit in siesta.rows_of(run):
                before = worst.get(quantity, (0.0, limit))[0]
                worst[quantity] = (max(before, deviation), limit)
    for quantity, (deviation, limit) in worst.items():
        yield f"{folder.name}, worst of {n_runs} runs", quantity, deviation, limit


def _conversions(shared: Path) -> Iterator[Row]:
    """Compare with folders that another program converted, on all pairs that it has."""
    for code, run, name, reference in CONVERSIONS:
        mine = through_folder(dock.read(shared / run, name))
        theirs = dock.read(shared / reference, "deeph")
        for quantity in ("hamiltonian", "overlap"):
            one, two = mine.require(quantity), theirs.require(quantity)
            index = one.pairs.find(two.pairs.R, two.pairs.i, two.pairs.j)
            missing = bool((index < 0).any())
            first, second = one.take_pairs(np.maximum(index, 0)).entries, two.entries
            # The other program has a Rydberg of its own: 1e-8 of the Hamiltonian's unit.
            ratio = np.vdot(second, first).real / np.vdot(second, second).real
            factor = ratio if quantity == "hamiltonian" and abs(ratio - 1) < 1e-7 else 1.0
            off = np.inf if missing else np.abs(first - factor * second).max()
            unit = "eV" if quantity == "hamiltonian" else "1"
            yield (
                code,
                f"{run} (public)",
                f"{quantity}: reference conversion",
                float(off),
                PEER,
                unit,
            )
