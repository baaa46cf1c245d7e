"""The differences between two versions that are meant, with reasons; same_facts.py prints them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["lost", "rounding", "allowed", "excluded"]


@dataclass(frozen=True)
class Difference:
    """One difference between two versions: where, what, and how it counts."""

    place: str
    what: str
    kind: Kind = "lost"

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class Allowance:
    """A difference that is meant.

    Parameters
    ----------
    place
        Regular expression of the place: file or stream, then the path of keys; of a table the lost
        number or word follows, of an exit code the old and the new one.
    reason
        Why it is meant.
    holds
        Says of the old and the new value whether it is that difference; None where any value will
        do.
    command
        Regular expression of the commands that it is about.
    """

    place: str
    reason: str
    holds: Callable[[Any, Any], bool] | None = None
    command: str = ""

    def allows(self, difference: Difference, command: str) -> bool:
        """Say whether a loss of a command is this one, whatever the values."""
        about = self.holds is None and difference.kind == "lost"
        where = re.search(self.place, str(difference)) and re.search(self.command, command)
        return about and bool(where)


def _next(old: Any, new: Any) -> bool:
    return np.array_equal(new, np.add(old, 1))


def _by_no_more(limit: float) -> Callable[[Any, Any], bool]:
    return lambda old, new: bool(np.max(np.abs(np.subtract(old, new))) < limit)


def _both_tiny(old: Any, new: Any) -> bool:
    return bool(np.max(np.abs([old, new])) < 1e-6)


ALLOWED: tuple[Allowance, ...] = (
    Allowance(r"\b(vbm|cbm)\.band$", "bands are counted from 1", _next),
    Allowance(r"\bfirst_band$", "bands are counted from 1", _next),
    Allowance(r"\b(seconds|cpu_seconds|elapsed\w*)$", "a time"),
    Allowance(r"\b(written_by|dock_version)$|attribute: dock$", "the version"),
    Allowance(r"\.dock\.json: fingerprint$", "a hash of dates, options and version"),
    Allowance(r"^stdout: word 'written'$", "files are named in lines of their own"),
    Allowance(
        r"^stdout: word '.*(\.npz|matrices\.json)'$",
        "hundreds of names; the folder's matrices.json has them",
        command=r"--to npz",
    ),
    Allowance(
        r"\b(mean_)?rmse_state$", "the root of rounding errors of equal states", _by_no_more(1e-9)
    ),
    Allowance(r"\bband_error(_below_fermi)?_eV$", "rounding errors of equal bands", _both_tiny),
    Allowance(r"\.h5: dataset bands$", "bands are counted from 1", _next),
    Allowance(
        r"\bconsider_parity: True$|\.consider_parity: True$",
        "an option that was read nowhere; one that asks for less is refused by name",
    ),
    Allowance(
        r"\b(fingerprint|models?|source_code): |^stdout: word '[0-9a-f]{8,16}'$",
        "a hash of the options, which have one less",
        command=r"^dock (infer|model info)",
    ),
    Allowance(r"^stdout: number \d+$", "the digits of that hash", command=r"^dock model info"),
    Allowance(
        r"^stdout: word '(n_kpoints|n_states|bands|norms|energies_ev)'$",
        "the table has lines of its own for each state: band 4, eV, norm",
        command=r"^dock wavefunction",
    ),
    Allowance(
        r"charge-density\.dat: \d+ of \d+ bytes",
        "a binary file of what charge-density.hdf5 beside it has to 2e-13",
    ),
    Allowance(r"\]\.message: number \d\.\d+e-1[456]$", "rounding errors", command="dock check"),
    Allowance(
        r"^stdout: number \d\.\d+e-0[789]$",
        "the root of rounding errors of equal states",
        command=r"dock evaluate",
    ),
)

RESTATED: tuple[tuple[str, Callable[[re.Match[str]], str], str], ...] = (
    (r"\bband=(\d+)", lambda found: f"band={int(found[1]) + 1}", "bands are counted from 1"),
)
"""What texts say otherwise now: regular expression of the old text, the new one, reason."""

RENAMED: tuple[tuple[str, str, str], ...] = (
    (r"\bfermi_energy_eV$", "fermi_level_eV", "one name for the Fermi level"),
    (r"(?<![\w.])energy_eV$", "energies_relative_eV", "energy_eV is absolute elsewhere"),
    (r"(?<![\w.])dos$", "dos_1_per_eV", "the unit stands in the key"),
    (r"\blargest$", "largest_per_A3", "the unit stands in the key"),
    (r"\bsmallest$", "smallest_per_A3", "the unit stands in the key"),
    (r"dataset band$", "dataset bands", "the plural, as in the other files"),
    (r"dataset energy$", "dataset energies_eV", "the unit stands in the name"),
    (r"dataset norm$", "dataset norms", "the plural, as in the other files"),
    (r"(?<![\w.])projections$", "projected_dos", "those of bands are shares of states"),
)
"""Keys with a new name: regular expression of the old path of keys, replacement, reason. Values
with a name of their own kind (not 0, true, none) are found under any key, without this table."""


def any_value_will_do(place: str) -> bool:
    """Say whether the value at a place is no fact, such as a time."""
    return any(rule.holds is None and re.search(rule.place, place) for rule in ALLOWED)


def reason_for(place: str, old: Any, new: Any) -> str | None:
    """Return why a value may have changed like this."""
    rules = (rule for rule in ALLOWED if rule.holds and re.search(rule.place, place))
    return next((rule.reason for rule in rules if rule.holds and rule.holds(old, new)), None)


def pardoned(difference: Difference, command: str) -> Difference:
    """Return a loss as allowed if it is meant for this command."""
    reasons = (rule.reason for rule in ALLOWED if rule.allows(difference, command))
    reason = next(reasons, None)
    return difference if reason is None else Difference(difference.place, reason, "allowed")
