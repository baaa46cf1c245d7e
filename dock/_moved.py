"""Names that modules had in earlier versions: importing one gives the module of today.

Scripts that say ``from dock.post.fermi import fermi_level`` or ``import dock.build`` go on
working. The finder stands last in `sys.meta_path`: it is asked only for names nothing else found.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["MOVED", "install"]

MOVED = {
    "dock.build": "dock.structures",
    "dock.build.modify": "dock.structures.modify",
    "dock.build.twisted": "dock.structures.twisted",
    "dock.converters.abacus.log": "dock.converters.abacus.running_log",
    "dock.converters.abacus.runfiles": "dock.converters.abacus.run",
    "dock.converters.aims.basisfile": "dock.converters.aims.basis_indices",
    "dock.converters.aims.geometry": "dock.converters.aims.geometry_in",
    "dock.converters.aims.log": "dock.converters.aims.aims_out",
    "dock.converters.deeph.stream": "dock.converters.deeph.blockfile",
    "dock.converters.openmx.basis": "dock.converters.openmx.pao",
    "dock.converters.openmx.inputfile": "dock.converters.openmx.dat",
    "dock.converters.openmx.minimalinput": "dock.converters.openmx.dat",
    "dock.converters.openmx.scfout_write": "dock.converters.openmx.scfout",
    "dock.converters.pyscf.back": "dock.converters.pyscf.native",
    "dock.converters.pyscf.live": "dock.converters.pyscf.scf",
    "dock.converters.qe.densityfile": "dock.converters.qe.charge_density_dat",
    "dock.converters.qe.gridfile": "dock.converters.qe.charge_density_h5",
    "dock.converters.qe.xmlfile": "dock.converters.qe.data_file_schema",
    "dock.converters.siesta.basis": "dock.converters.siesta.ion",
    "dock.converters.sparse": "dock.converters.npz",
    "dock.files": "dock.io.files",
    "dock.hdf5": "dock.io.hdf5",
    "dock.models.baseline": "dock.models.closed_form.two_centre",
    "dock.models.closed_form_backend": "dock.models.closed_form.backend",
    "dock.models.infer": "dock.models.predict",
    "dock.models.inference": "dock.models.network.inference",
    "dock.models.inference.arrays": "dock.models.network.inference.arrays",
    "dock.models.inference.engine": "dock.models.network.inference.engine",
    "dock.models.inference.export": "dock.models.network.inference.export",
    "dock.models.inference.model": "dock.models.network.inference.model",
    "dock.models.jax_backend": "dock.models.network.backend",
    "dock.models.three_centre": "dock.models.closed_form.three_centre",
    "dock.models.three_centre.fit": "dock.models.closed_form.three_centre.fit",
    "dock.models.three_centre.model": "dock.models.closed_form.three_centre.model",
    "dock.models.three_centre.terms": "dock.models.closed_form.three_centre.terms",
    "dock.models.training": "dock.models.network.training",
    "dock.models.training.engine": "dock.models.network.training.engine",
    "dock.models.training.environment": "dock.models.network.environment",
    "dock.models.training.log": "dock.models.network.training.log",
    "dock.models.training.losses": "dock.models.network.training.losses",
    "dock.models.training.optimiser": "dock.models.network.training.optimiser",
    "dock.models.training.packing": "dock.models.network.training.packing",
    "dock.models.training.run": "dock.models.network.training.run",
    "dock.models.training.setup": "dock.models.data.preparation",
    "dock.models.training.state": "dock.models.network.training.state",
    "dock.planewave.grid_integrals": "dock.grid.potential_integrals",
    "dock.post.cube": "dock.grid.cube_xsf",
    "dock.post.dataset": "dock.evaluate.dataset",
    "dock.post.equivariance": "dock.evaluate.equivariance",
    "dock.post.evaluate": "dock.evaluate.structure",
    "dock.post.evaluate_blocks": "dock.evaluate.blocks",
    "dock.post.evaluate_set": "dock.evaluate.report",
    "dock.post.fermi_files": "dock.states.spectrum",
    "dock.post.gap": "dock.states.gap",
    "dock.post.gauge": "dock.post.align",
    "dock.post.grid": "dock.grid.grid",
    "dock.post.kmesh": "dock.states.kmesh",
    "dock.post.kpath": "dock.states.kpath",
    "dock.post.metrics": "dock.evaluate.metrics",
    "dock.post.smearing": "dock.states.smearing",
    "dock.post.spectrum": "dock.states.spectrum",
    "dock.post.symmetry": "dock.states.symmetry",
    "dock.post.tetrahedra": "dock.states.tetrahedra",
    "dock.post.unfold_sites": "dock.post.supercell",
    "dock.post.unfold_weights": "dock.post.spectral_weights",
}
"""Old name → name of today, of the modules that scripts used."""


class _Moved:
    """Finds moved modules, and is their loader."""

    def __init__(self) -> None:
        self._own: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return how to load an old name, None for any other."""
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of today itself, not a copy."""
        module = importlib.import_module(MOVED[spec.name])
        self._own[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own specification back: the import put that of the old name there."""
        old = "" if module.__spec__ is None else module.__spec__.name
        module.__spec__ = self._own.pop(old)


def install() -> None:
    """Let old names be imported."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
