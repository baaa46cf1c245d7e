"""A basis that converges: damped Gaussians, with which pw.x's own levels are reached from above."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from dock.core.basis import Basis, Radial, Shell
from dock.units import QE

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `import samples`

BOHR = QE.bohr_angstrom


def _damped(l: int, exponent: float, reach: float) -> Shell:
    """Return r^l exp(−α r²) (1 − r²/r_c²)², normalised; arguments in Bohr."""
    r = np.linspace(0, reach, 1201)
    values = r**l * np.exp(-exponent * r * r) * (1 - (r / reach) ** 2) ** 2
    values /= np.sqrt(np.trapezoid((values * r) ** 2, r))
    return Shell(l, radial=Radial(r * BOHR, values / BOHR**1.5))


@pytest.fixture(scope="session")
def gaussians() -> Callable[..., Basis]:
    """Make a basis: per l the smallest exponent (1/Bohr²), the ratio and the number."""

    def make(
        labels: Sequence[str],
        series: Mapping[str, Sequence[tuple[float, float, int]]],
        reach: float,
    ) -> Basis:
        shells = {
            label: tuple(
                _damped(l, first * ratio**k, reach)
                for l, (first, ratio, count) in enumerate(group)
                for k in range(count)
            )
            for label, group in series.items()
        }
        return Basis({label: shells[label] for label in dict.fromkeys(labels)}, tuple(labels))

    return make


@pytest.fixture
def espresso() -> Callable[..., str]:
    """Run a program of Quantum ESPRESSO, or skip where it is not installed."""

    def run(program: str, text: str, folder: Path) -> str:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [program], input=text, cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    return run
