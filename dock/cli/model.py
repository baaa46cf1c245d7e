"""``dock model``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dock.cli import options
from dock.cli.wording import print_json
from dock.results import table

_NAMED = 6  # kinds of pairs in a line


@click.group(
    epilog="""\b
Examples:
  dock model info run
  dock model export run -o water.stablehlo.h5
"""
)
def model() -> None:
    """Show what a trained model is for, or export it as a program of its own."""


@model.command()
@click.argument("path", metavar="MODEL", type=options.PATH)
@options.json_option
def info(path: Path, *, as_json: bool) -> None:
    """Show species, shells, spin, errors, data and options of a model.

    MODEL is a model file or the run folder of dock train. --json prints everything, the options
    and the training set too.
    """
    from dock.models import load

    facts = load(path).describe()
    if as_json:
        print_json(facts)
        return
    click.echo(table(_rows(facts)))


def _treatment(facts: dict[str, Any]) -> str:
    """Return what is to be known of a model's spin beside its kind."""
    if facts.get("per_spin"):
        return ", each channel by the moments along its spin"
    return ", time reversal" if facts["time_reversal"] else ""


def _target(facts: dict[str, Any]) -> str:
    """Return what a model predicts, and what it adds that to."""
    quantity, less = str(facts["quantity"]), facts.get("less")
    return f"{quantity}, what it is beyond that of free atoms ({less}.h5)" if less else quantity


def _rows(facts: dict[str, Any]) -> list[list[str]]:
    """Return the lines worth reading."""
    from dock.core.basis import shell_letter
    from dock.core.quantity import quantity_of

    shells = ", ".join(
        f"{label} {''.join(shell_letter(l) for l in ls)}"
        for label, ls in zip(facts["species"], facts["ls"], strict=True)
    )
    rows = [
        ["backend", str(facts["backend"])],
        ["predicts", _target(facts)],
        ["species and shells", shells],
        ["spin", str(facts["spin"]) + _treatment(facts)],
    ]
    in_eV = quantity_of(facts["quantity"]).unit == "eV"
    scale, unit = (1e3, " meV") if in_eV else (1.0, "")  # the others have no unit
    plain = ("parameters", "precision", "baseline", "fingerprint", "step", "epoch")
    rows += [[name, str(facts[name])] for name in plain if name in facts]
    rows += [
        [f"{kind} MAE", f"{scale * facts[kind + '_mae']:.4g}{unit}"]
        for kind in ("train", "validation", "test")
        if facts.get(f"{kind}_mae") is not None
    ]
    judged = facts.get("baseline_errors") or {}
    if judged.get("errors"):
        errors = ", ".join(f"{kind} {scale * x:.4g}" for kind, x in judged["errors"].items())
        rows.append(["closed forms alone", f"MAE {errors}{unit} on {judged['judged_on']}"])
    rows += _unseen(facts)
    network = facts.get("network")
    if network:
        sizes = ("lmax", "channels", "pseudo_channels", "n_blocks", "n_heads", "moments")
        rows.append(["network", ", ".join(f"{name} {network[name]}" for name in sizes)])
    return rows


def _unseen(facts: dict[str, Any]) -> list[list[str]]:
    """Return the line about kinds of pairs that the training data have not."""
    names = facts.get("unseen_pairs")
    if not names:
        return []
    few = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    kinds = len(facts["species"]) * (len(facts["species"]) + 1) // 2
    of_elements = facts.get("of_unseen_pairs") == "elements"
    what = "parameters of their elements and the overlap" if of_elements else "zeros"
    return [["pairs never seen", f"{len(names)} of {kinds} kinds ({few}): {what}"]]


@model.command()
@click.argument("path", metavar="MODEL", type=options.PATH)
@click.option("-o", "--output", required=True, type=options.PATH, help="The file.")
@options.overwrite_option
def export(path: Path, output: Path, *, overwrite: bool) -> None:
    """Write a network as a StableHLO program for any number of atoms.

    dock infer takes the file like any model, with no network code; other programs run it through
    jax.export.deserialize.
    """
    from dock.models.network.inference.export import export_model

    click.echo(str(export_model(path, output, overwrite=overwrite)))
