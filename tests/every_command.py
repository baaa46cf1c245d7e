"""Every command once, over any folder: for tests and benchmarks that go through all of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

TOML = """
[data]
inputs_dir = "{inputs}"
outputs_dir = "{outputs}"
[model]
backend = "{backend}"
[process.train.dataloader]
dataset_split_json = "{split}"
"""
TEMPLATES = (
    "convert {path} --to npz -o {out}/npz --json --allow-lossy",
    "convert {path} --to openmx -o {out}/openmx --allow-lossy",
    "convert {path} --to siesta -o {out}/siesta --allow-lossy",
    "convert {path} --to abacus -o {out}/abacus --allow-lossy",
    "convert {path} --to aims -o {out}/aims --allow-lossy",
    "convert {path} --to pyscf -o {out}/pyscf --allow-lossy",
    "convert {path} --to deeph-legacy -o {out}/legacy --allow-lossy",
    "convert {path} -o {out}/folder",
    "convert {path} --to petsc -o {out}/petsc --allow-lossy",
    "convert {path} --to wannier90 -o {out}/wannier90 --allow-lossy",
    "convert {path} --to sisl -o {out}/sisl --allow-lossy",
    "convert {path} --to npz --mpi -o {out}/mpi",
    "convert {path} --from siesta --to siesta --like {path} -o {out}/siesta_again",
    "convert {path} --from openmx --to openmx --like {path} -o {out}/openmx_again",
    "info {path}",
    "info {path} --json",
    "check {path}",
    "check {path} --json",
    "diff {path} {path} --json",
    "formats --json",
    "compute-overlap {structure} --basis {basis} --quantities S,T -o {out}/overlap.h5",
    "build twisted-bilayer --layer graphene --m 1 -o {out}/moire/POSCAR",
    "build perturb {structure} --amplitude 0.1 -o {out}/perturbed",
    "build supercell {structure} 1 1 2 -o {out}/super/POSCAR",
    "build shift-layers {structure} 0.1 0.2 0 -o {out}/shifted/POSCAR",
    "bands {path} --points 2 -o {out}/band.h5",
    "bands {path} --points 2 -o {out}/band.h5 --plot {out}/band.png",
    "bands {path} --points 2 --states 4 --json -o {out}/band.h5",
    "bands {path} --points 2 --dos --mesh 1 1 1 -o {out}/band.h5 --plot {out}/both.png",
    "plot {path} -o {out}/again.png",
    "doctor --json",
    "fermi {path} --mesh 1 1 1 -o {out}/fermi_energy.json",
    "dos {path} --mesh 1 1 1 --smearing gaussian --width 0.2 --step 0.5 -o {out}/dos.h5",
    "dos {path} --mesh 1 1 1 --project species,l --step 0.5 --plot {out}/d.pdf -o {out}/dos.h5",
    "density-matrix {path} --mesh 1 1 1 -o {out}/density_matrix.h5",
    "populations {path} --mesh 1 1 1 -o {out}/populations.h5",
    "charge-density {path} --basis {basis} --spacing 1 -o {out}/rho.cube",
    "wavefunction {path} --bands 1 -o {out}/psi.h5",
    "wavefunction {path} --bands 1 --basis {basis} --spacing 1 -o {out}/psi.cube",
    "unfold {path} --supercell 1,1,1 --points 2 -o {out}/unfold.h5",
    "fermi-surface {path} --mesh 2 2 2 -o {out}/fs.frmsf",
    "masses {path} --mesh 2 2 2 -o {out}/m.h5",
    "velocities {path} --path auto --points 2 -o {out}/v.h5 --plot {out}/v.png",
    "spin-texture {path} --k 0 0 0 -o {out}/s.h5",
    "train {network} --check",
    "train {closed} --check",
    "infer {network_model} {path} -o {out}/network",
    "infer {closed_model} {path} -o {out}/closed",
    "model info {network_model}",
    "model info {closed_model} --json",
    "model export {network_model} -o {out}/program.h5",
    "evaluate {path}/hamiltonian.h5 {clean} --matrix-only -o {out}/evaluation",
    "evaluate {path}/hamiltonian.h5 {clean} --spacing 9 --plot -o {out}/evaluation",
    "align {path} -o {out}/aligned",
    "dataset split {above} -o {out}/split.json",
    "dataset stats {above} -o {out}/stats.h5",
    "dataset features {above} -o {out}/features.json",
    "dataset energies {above} -o {out}/e0s.json",
    "equivariance generate {path} -o {out}/turned",
    "equivariance test {above}",
)
"""One command a line; ``{path}`` is the folder, ``{above}`` the one it lies in."""


def _structures(folder: Path) -> list[Path]:
    """Return the structure files of a run or a unified folder."""
    names = ("POSCAR", "*.fdf", "STRU", "geometry.in", "*.dat")
    return [path for name in names for path in sorted(folder.glob(name))]


@dataclass(frozen=True)
class Bench:
    """A folder with what commands need beside the folder that they are called for."""

    place: Path

    @classmethod
    def make(cls, place: Path) -> Bench:
        """Fit a model of three molecules; its file is that of a network too, as far as one sees."""
        from dock.models import train
        from dock.models.modelfile import read_model, write_model

        water = ROOT / "fixtures" / "water"
        for name in ("000", "001", "002"):
            shutil.copytree(water / name, place / "water" / name)
        split = {"train": ["000", "001"], "validate": ["002"], "test": []}
        (place / "split.json").write_text(json.dumps(split), encoding="utf-8")
        for name, backend in (("closed", "two-centre"), ("network", "jax")):
            text = TOML.format(
                inputs=place / "water",
                outputs=place / name,
                backend=backend,
                split=place / "split.json",
            )
            (place / f"{name}.toml").write_text(text, encoding="utf-8")
        train(place / "closed.toml")
        model = read_model(place / "closed")
        write_model(place / "network.h5", dataclasses.replace(model, backend="jax"))
        program = dataclasses.replace(model, backend="jax-export", program=b"none")
        write_model(place / "program.h5", program)
        return cls(place)

    def words(self, template: str, path: Path, out: Path, clean: Path | None = None) -> list[str]:
        """Return the words of a command for a folder, with its results in another.

        `clean` is a sound copy of the folder, which it is compared with.
        """
        poscars = [path] if path.is_file() else [*_structures(path), path / "POSCAR"]
        has_basis = any(path.glob("*.ion*"))
        filled = {
            "path": path,
            "above": path.parent,
            "structure": poscars[0],
            "out": out,
            "clean": path if clean is None else clean,
            "basis": path if has_basis else ROOT / "fixtures" / "qe" / "si_3s3p2d",
            "closed": self.place / "closed.toml",
            "network": self.place / "network.toml",
            "closed_model": self.place / "closed",
            "network_model": self.place / "network.h5",
        }
        return [word.format(**filled) for word in template.split()]
