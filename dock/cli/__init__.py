"""The command line: ``dock``. Commands are imported when they are used."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from dock._version import __version__
from dock.cli.wording import in_options
from dock.errors import FAULT, TRACEBACK, DockError, unexpected

__all__ = ["cli", "main"]

_COMMANDS = {
    "convert": "Convert the runs of any code, one or thousands.",
    "info": "Show what a run or folder holds: orbitals, spin, units.",
    "check": "Check the physics of folders: pairs, S > 0, electrons.",
    "diff": "Compare two folders, matrix by matrix.",
    "formats": "List the formats that are read and written.",
    "compute-overlap": "Compute overlaps (and T, r, gradients) from structure and basis.",
    "build": "Make structures: twisted bilayers, perturbed copies.",
    "bands": "Compute, save and draw a band structure.",
    "fermi": "Find the Fermi level and gap by counting electrons.",
    "dos": "Density of states, projections, COOP and COHP.",
    "density-matrix": "Density matrix by diagonalisation or by poles.",
    "populations": "Mulliken and Löwdin charges and spin moments.",
    "charge-density": "Charge, spin density or local density of states on a grid.",
    "wavefunction": "States as coefficients or on a grid.",
    "plot": "Draw saved results again: bands beside a DOS, runs over each other.",
    "unfold": "Unfold the bands of a supercell.",
    "velocities": "Velocities dE/dk of states, orbital moments.",
    "fermi-surface": "Fermi surfaces for viewers, and contours in a plane.",
    "masses": "Effective masses at band edges, which are found.",
    "spin-texture": "Spin of each state on a path, a plane or a mesh.",
    "optics": "Dielectric function, conductivity, shift current, SHG.",
    "berry": "Berry curvature and anomalous Hall conductivity.",
    "wilson": "Wilson loops, Chern numbers, Z2, charges of nodes.",
    "polarization": "Polarisation of an insulator by Berry phases.",
    "transport": "Boltzmann conductivity, Seebeck coefficient, Drude weight.",
    "train": "Train a model: structure in, Hamiltonian out.",
    "infer": "Predict Hamiltonians with a trained model.",
    "model": "Show or export a trained model.",
    "evaluate": "Measure how good predicted Hamiltonians are.",
    "align": "Set the zero of energy; take free atoms off H.",
    "dataset": "Split, count and describe a data set.",
    "equivariance": "Rotate structures and test their Hamiltonians.",
    "doctor": "Show what this installation and machine have, and lack.",
}
_MODULES = dict.fromkeys(("info", "check", "diff", "formats"), "inspect")
_MODULES["compute-overlap"] = "overlap"
"""Modules of the commands that are named otherwise."""

_EPILOG = """\b
Examples:
  dock convert RUN --from openmx -o si_deeph     one OpenMX run to the unified folder
  dock bands si_deeph --plot bands.png           its band structure
  dock info si_deeph                             what is in it

Exit codes: 0 all done; 1 some items of a batch failed; 2 wrong usage or bad input;
3 an optional package is missing; 4 a method did not converge; 70 a fault of dock itself;
130 interrupted.
"""


class LazyGroup(click.Group):
    """A group that knows its commands' help lines and imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the usual work, not of the alphabet."""
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        name: str,
    ) -> click.Command | None:
        """Import one command."""
        if name not in _COMMANDS:
            return None
        function = name.replace("-", "_")
        module = importlib.import_module(f"dock.cli.{_MODULES.get(name, function)}")
        command: click.Command = getattr(module, function)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="dock")
def cli() -> None:
    """Work with DFT Hamiltonians in a basis of localized atomic orbitals.

    Convert what a DFT code wrote into one folder format and back, and compute from it.
    Each command has its own help: dock COMMAND --help
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error that a user can cause ends as one sentence on stderr.

    With ``--json`` it is an object with ``error`` and ``exit_code`` on stdout, too.
    """
    from dock.cli.interrupt import end_in_time

    gc.set_threshold(20_000, 20, 20)  # a tenth of a short command went into looking for garbage
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are no UTF-8
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    end_in_time()
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = cli.main(args=arguments, prog_name="dock", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        _show_json(words, error.format_message(), 2)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last place to say it
        if isinstance(error, click.exceptions.Exit):
            return error.exit_code
        message, code = _sentence(error)
        click.echo(f"dock: {message}", err=True)
        _show_json(words, message, code)
        return code
    return result if isinstance(result, int) else 0


def _sentence(error: BaseException) -> tuple[str, int]:
    """Return what is said of an error, and the exit code."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt):
        return "interrupted", 130
    if isinstance(error, ImportError) and not isinstance(error, DockError):
        from dock.extras import missing

        error = missing(error) or error
    if isinstance(error, DockError):
        notes = getattr(error, "__notes__", [])
        return in_options("\n".join([str(error), *notes])), error.exit_code
    if isinstance(error, OSError):  # a path that cannot even be looked at
        name = "" if error.filename is None else f"{str(error.filename)[:200]}: "
        return f"{name}{error.strerror or error}", 2
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}).", 2
    if TRACEBACK in os.environ:
        raise error
    return unexpected(error), FAULT


def _show_json(words: Sequence[str], message: str, code: int) -> None:
    """Print an error as one JSON object, where a command was to print JSON."""
    if "--json" in words:
        from dock.cli.wording import print_json

        print_json({"error": message, "exit_code": code})
