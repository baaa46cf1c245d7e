"""Units: `dock` works in eV and Å; each code brings the constants it was compiled with.

The codes' constants differ in the seventh digit. A file must be read, written and compared with
the constants of the code that made it, or a round trip changes 1e-7 of every number.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ABACUS",
    "AIMS",
    "CODATA2018",
    "CP2K",
    "OPENMX",
    "PYSCF",
    "QE",
    "SIESTA4",
    "SIESTA5",
    "Constants",
]


@dataclass(frozen=True)
class Constants:
    """One Hartree in eV and one Bohr radius in Å, as one code has them, and their source."""

    hartree_ev: float
    bohr_angstrom: float
    source: str

    @property
    def rydberg_ev(self) -> float:
        """One Rydberg in eV."""
        return 0.5 * self.hartree_ev


CODATA2018 = Constants(27.211386245988, 0.529177210903, "CODATA 2018")
OPENMX = Constants(27.2113845, 0.529177249, "OpenMX 3.8 and 3.9")
SIESTA4 = Constants(2 * 13.60580, 0.529177, "SIESTA 4.x and the 2021 master")
SIESTA5 = Constants(27.211386245988, 0.529177210903, "SIESTA 5.x: CODATA 2018")
ABACUS = Constants(2 * 13.605698, 0.529177, "ABACUS 3.x")
AIMS = Constants(27.2113845, 0.52917721, "FHI-aims")
CP2K = Constants(27.2113838565563, 0.529177208590, "CP2K 2023.1: CODATA 2006, as its log prints it")
PYSCF = Constants(27.21138602, 0.52917721092, "PySCF 2.x: pyscf.data.nist")
QE = Constants(27.211386245988, 0.529177210903, "Quantum ESPRESSO: CODATA 2018")
