"""The command line: ``dock``. Commands are imported when they are used."""

from __future__ import annotations

import gc
import importlib
import io
import os
import sys
from typing import Any

import click

from dock._version import __version__
from dock.cli.wording import in_options
from dock.errors import DockError

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
    "unfold": "Unfold the bands of a supercell.",
    "train": "Train a model: structure in, Hamiltonian out.",
    "infer": "Predict Hamiltonians with a trained model.",
    "model": "Show or export a trained model.",
    "evaluate": "Measure how good predicted Hamiltonians are.",
    "align": "Set the zero of energy; take free atoms off H.",
    "dataset": "Split, count and describe a data set.",
    "equivariance": "Rotate structures and test their Hamiltonians.",
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
3 an optional package is missing; 4 a method did not converge.
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
    """Run the command line; every error that a user can cause ends as one sentence on stderr."""
    gc.set_threshold(20_000, 20, 20)  # a tenth of a short command went into looking for garbage
    for stream in (sys.stdout, sys.stderr):  # names of files may hold bytes that are no UTF-8
        if isinstance(stream, io.TextIOWrapper):
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="dock", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("dock: interrupted", err=True)
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except DockError as error:
        notes = getattr(error, "__notes__", [])
        message = "\n".join([f"dock: {error}", *notes])
        click.echo(in_options(message), err=True)
        return error.exit_code
    except ImportError as error:
        from dock.extras import missing

        absent = missing(error)
        if absent is None:
            raise
        click.echo(f"dock: {absent}", err=True)
        return absent.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a path that cannot even be looked at
        name = "" if error.filename is None else f"{str(error.filename)[:200]}: "
        click.echo(f"dock: {name}{error.strerror or error}", err=True)
        return 2
    except MemoryError as error:
        click.echo(f"dock: not enough memory ({error}).", err=True)
        return 2
    return result if isinstance(result, int) else 0
