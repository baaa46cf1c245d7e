"""What a format promises: the object behind every converter, support table and error message."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dock.core.calculation import Calculation
from dock.core.check import Finding, lost_blocks
from dock.core.quantity import quantity_of
from dock.core.spin import Spin
from dock.errors import FormatError, LossError, UsageError
from dock.io.files import folder_transaction, write_text

if TYPE_CHECKING:
    from dock.converters.user_run import Restart

__all__ = [
    "ALL_SPINS",
    "Format",
    "Marker",
    "ReadOptions",
    "Reader",
    "Settings",
    "Transfer",
    "WriteOptions",
    "Writer",
    "hand_over",
]

_log = logging.getLogger("dock")

ALL_SPINS = (Spin.NONE, Spin.COLLINEAR, Spin.NONCOLLINEAR)


@dataclass(frozen=True)
class ReadOptions:
    """How to read: a folder of basis files, for formats whose output lacks the basis, and settings.

    The settings are what only the source format understands; see `Format.read_settings`.
    """

    basis: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, basis: str | Path | None, settings: Settings) -> ReadOptions:
        """Return the options of what callers may leave out."""
        return cls(None if basis is None else Path(basis), settings or {})


@dataclass(frozen=True)
class WriteOptions:
    """How to write.

    Attributes
    ----------
    quantities
        Matrices to write, by name; None for all that are there.
    single_precision
        Store floating-point numbers in 32 bits, where the format can.
    overwrite, allow_lossy
        Replace existing files; write even where the target cannot hold everything.
    basis
        Folder with the target code's basis files, for formats that need them.
    command
        What to record as the command that wrote the files.
    settings
        What only the target format understands; see `Format.settings`.
    like
        The folder or the input of a user's own run: its restart is written, see `dock.restart`.
    """

    quantities: tuple[str, ...] | None = None
    single_precision: bool = False
    overwrite: bool = False
    allow_lossy: bool = False
    basis: Path | None = None
    command: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    like: Path | None = None

    def completed(
        self,
        settings: Settings,
        *,
        overwrite: bool,
        allow_lossy: bool,
        like: str | Path | None = None,
    ) -> WriteOptions:
        """Return the options with what was given beside them."""
        return replace(
            self,
            like=self.like if like is None else Path(like),
            settings={**self.settings, **(settings or {})},
            overwrite=self.overwrite or overwrite,
            allow_lossy=self.allow_lossy or allow_lossy,
        )

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """Return a setting that is one of some words; any other is a UsageError.

        Examples
        --------
        >>> WriteOptions(settings={"tb": "yes"}).choice("tb", ("yes", "no"), "no")
        'yes'
        """
        value = self.settings.get(name, default)
        if value not in allowed:
            words = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            raise UsageError(f"the setting {name} is {words}, found '{value}'.")
        return value

    def counts(self, name: str) -> tuple[int, int, int] | None:
        """Return a setting of three counts, such as ``9,9,9``; None where it is not given."""
        return self.require_counts(name, "") if name in self.settings else None

    def require_counts(self, name: str, why: str) -> tuple[int, int, int]:
        """Return a setting of three counts that is needed; `why` is a sentence for the message.

        Raises
        ------
        UsageError
            When it is something else.
        """
        text = self.settings.get(name)
        words = (text or "").replace(",", " ").split()
        if len(words) != 3 or not all(word.isdecimal() and int(word) > 0 for word in words):
            given = "nothing" if text is None else f"'{text}'"
            raise UsageError(
                f"the setting {name} is three counts, settings={{'{name}': 'N1,N2,N3'}}; "
                f"found {given}. {why}".rstrip()
            )
        return int(words[0]), int(words[1]), int(words[2])


Reader = Callable[[Path, ReadOptions], Calculation]
"""What reads a run, given what `Format.detect` returned; matrices are read when asked for."""

Writer = Callable[[Calculation, Path, WriteOptions], list[Path]]
"""What writes a calculation into an empty folder and returns the paths that it wrote there.

The matrices to write are in ``options.quantities``, checked. The caller hands the folder over to
its final name when the writer has succeeded.
"""

Transfer = Callable[[Path, Path, WriteOptions], list[Path]]
"""What takes a run's main path and writes what it has, under the same terms as a `Writer`."""

Settings = Mapping[str, str] | None
"""What a caller sets by name, ``{"version": "0"}``, or None."""

Marker = tuple[str, Mapping[str, object]]
"""Name and content of a small JSON file that goes along, completed by the list of files."""


def _reads_nothing(path: Path) -> Path | None:  # noqa: ARG001 - the signature of a detector
    return None


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes
    ----------
    name, title
        Name on the command line, and what it is in a few words.
    reads, writes, read_spins, write_spins
        Quantities and spin treatments that are read and written. A format that writes no quantity
        takes of a calculation what it is for, without a word about the matrices.
    versions
        Versions of the code that were tested.
    detect
        Given a folder or file, return the main path of the run it is, or None. It must not raise
        for foreign content, and must not read more than a header.
    read, write
        A `Reader` and a `Writer`; None where the format goes one way only. `load` and `save` are
        what callers use.
    transfers
        For a source without orbitals, which no ``Calculation`` can hold: the formats that it goes
        to, each with its `Transfer`. The settings are those of the target.
    describe
        For such a source: given what `detect` returned, what ``dock info`` shows, as plain data.
    unsound
        For such a source: given what `detect` returned, why the run is no result, as
        ``Calculation.unsound`` says of others; empty where nothing says so.
    inputs
        Files of a run that decide whether it has changed, given what `detect` returned.
    check
        Given what `detect` returned, look for the code's typical mistakes in the run's other
        output: an SCF cycle that did not converge, files of different runs.
    steps
        Given what `detect` returned, the numbers of the steps that the run holds; none where it
        holds one. The reader's setting ``step`` chooses one, and ``all`` converts every one.
    traces
        Whether a folder holds a run of the code, or its input, by other files than those with
        matrices: where `detect` finds none, reading it says which are missing, and why.
    with_basis
        For such a source: the format as which a run is read where a folder of basis files is
        given; empty where there is none.
    settings, read_settings
        Names of the writer's and the reader's own settings (``settings={'name': 'value'}``), each
        with one line of help.
    completes
        Two-centre matrices that are computed for the writer from basis files, where such are given
        and the data lack the matrices.
    restart
        How the code starts from given matrices in a run like a user's own; None where it does not.
    holds_level
        Whether its files hold a Fermi level that a calculation without one (a prediction) must get.
    carries
        Whether the writer passes on what a calculation has beside (`Calculation.beside`).
    notes
        What the user should know: keywords that make the files exist.
    """

    name: str
    title: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    read_spins: tuple[Spin, ...] = ALL_SPINS
    write_spins: tuple[Spin, ...] = ALL_SPINS
    versions: str = ""
    detect: Callable[[Path], Path | None] = _reads_nothing
    read: Reader | None = None
    write: Writer | None = None
    transfers: Mapping[str, Transfer] = field(default_factory=dict)
    describe: Callable[[Path], dict[str, Any]] | None = None
    unsound: Callable[[Path], str] = field(default=lambda _: "")
    inputs: Callable[[Path], list[Path]] = field(default=lambda path: [path])
    check: Callable[[Path], list[Finding]] = field(default=lambda _: [])
    steps: Callable[[Path], tuple[int, ...]] = field(default=lambda _: ())
    traces: Callable[[Path], bool] = field(default=lambda _: False)
    with_basis: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    read_settings: Mapping[str, str] = field(default_factory=dict)
    completes: tuple[str, ...] = ()
    restart: Restart | None = None
    holds_level: bool = False
    carries: bool = False
    notes: str = ""

    def reading(
        self,
        quantities: Sequence[str],
        reader: Reader,
        detect: Callable[[Path], Path | None],
        *,
        inputs: Callable[[Path], list[Path]] | None = None,
        check: Callable[[Path], list[Finding]] | None = None,
        steps: Callable[[Path], tuple[int, ...]] | None = None,
        traces: Callable[[Path], bool] | None = None,
        spins: Sequence[Spin] = ALL_SPINS,
        settings: Settings = None,
    ) -> Format:
        """Return the format with what it reads; the arguments are attributes of these names."""
        return replace(
            self,
            reads=tuple(quantities),
            read=reader,
            detect=detect,
            inputs=inputs or self.inputs,
            check=check or self.check,
            steps=steps or self.steps,
            traces=traces or self.traces,
            read_spins=tuple(spins),
            read_settings=settings or {},
        )

    def writing(
        self,
        quantities: Sequence[str],
        writer: Writer,
        settings: Settings = None,
        *,
        spins: Sequence[Spin] = ALL_SPINS,
        completes: Sequence[str] = (),
    ) -> Format:
        """Return the format with what it writes; the arguments are attributes of these names."""
        return replace(
            self,
            writes=tuple(quantities),
            write=writer,
            settings=settings or {},
            write_spins=tuple(spins),
            completes=tuple(completes),
        )

    def load(
        self, path: str | Path, *, basis: str | Path | None = None, settings: Settings = None
    ) -> Calculation:
        """Read one run of this format; see `dock.read` for the arguments.

        With a basis the shells carry their radial functions.

        Raises
        ------
        MissingDataError, FormatError
            When a file is missing or damaged; the message names it and says what to do.
        UsageError
            For a setting that there is not, or a format that is only written.
        """
        path = Path(path)
        return self.load_main(self.detect(path) or path, ReadOptions.of(basis, settings))

    def load_main(self, main: Path, options: ReadOptions) -> Calculation:
        """Read the run whose main path `detect` has found; see `load`."""
        self.check_settings(options.settings, self.read_settings)
        return self.require_reader()(main, options)

    def save(
        self,
        calc: Calculation,
        path: str | Path,
        options: WriteOptions | None = None,
        *,
        settings: Settings = None,
        overwrite: bool = False,
        allow_lossy: bool = False,
        marker: Marker | None = None,
    ) -> list[Path]:
        """Write a calculation in this format; see `dock.converters.write` for the arguments.

        All files appear at once, or none.
        """
        writer = self.require_writer()
        wanted = (options or WriteOptions()).completed(
            settings, overwrite=overwrite, allow_lossy=allow_lossy
        )
        if wanted.like is not None:
            raise UsageError("a restart like a run of yours is written by dock.write(…, like=RUN).")
        if wanted.quantities is None and "position" in self.writes:
            calc = _without_wrong_position(calc)
        wanted = replace(wanted, quantities=self.chosen(calc, wanted))
        _tell_filled_pairs(calc, wanted.quantities or ())
        if self.holds_level and calc.fermi_level is None:
            from dock.states.own_level import own_level

            calc = calc.replace(fermi_level=own_level(calc))
        left = [] if self.carries or calc.beside is None else calc.beside.names()
        written = hand_over(path, wanted, lambda folder: writer(calc, folder, wanted), marker)
        if left:
            names = ", ".join(left)
            _log.warning("%s: not carried to '%s', which has no place: %s", path, self.name, names)
        return written

    def require_reader(self) -> Reader:
        """Return the reader, or raise where the format is only written."""
        if self.read is None:
            raise UsageError(f"the format '{self.name}' is written, not read. See: dock formats")
        return self.read

    def require_writer(self) -> Writer:
        """Return the writer, or raise where the format is only read."""
        if self.write is None:
            raise UsageError(f"the format '{self.name}' is read, not written. See: dock formats")
        return self.write

    def transfer_to(self, target: str) -> Transfer | None:
        """Return what takes a run without orbitals to another format; None where it has some.

        Raises
        ------
        UsageError
            When it has none and does not go to that format.
        """
        if self.transfers and target not in self.transfers:
            known = " or ".join(f"'{name}'" for name in self.transfers)
            raise UsageError(
                f"the format '{self.name}' has no orbitals, hence no matrices for '{target}'. "
                f"What it has goes to {known}: target='{next(iter(self.transfers))}'"
            )
        return self.transfers.get(target)

    def check_settings(self, given: Mapping[str, str], known: Mapping[str, str]) -> None:
        """Raise where a setting is given that the format does not know."""
        unknown = [name for name in given if name not in known]
        if unknown:
            names = ", ".join(known) or "none"
            raise UsageError(
                f"the format '{self.name}' has no setting {', '.join(unknown)}. It has: {names}."
            )

    def chosen(self, calc: Calculation, options: WriteOptions) -> tuple[str, ...]:
        """Return the matrices to write, after refusing what the format cannot hold.

        Raises
        ------
        LossError
            When a matrix or the spin treatment has no place in the format, unless lossy writing
            was allowed.
        UsageError
            When a matrix was asked for that is not there.
        """
        self.check_settings(options.settings, self.settings)
        wanted = calc.available
        if options.quantities is not None:
            names = tuple(dict.fromkeys(quantity_of(name).name for name in options.quantities))
            missing = [name for name in names if name not in calc.available]
            if missing:
                have = ", ".join(calc.available) or "none"
                raise UsageError(
                    f"{calc.source}: no {', '.join(missing)} to write. Matrices found: {have}."
                )
            wanted = names
        lost = [name for name in wanted if name not in self.writes]
        holds_matrices = bool(self.writes) or options.quantities is not None
        if lost and holds_matrices and not options.allow_lossy:
            raise LossError(
                f"the format '{self.name}' cannot hold the {', '.join(lost)} of {calc.source}. "
                f"Choose matrices with quantities=NAMES, or pass allow_lossy=True to leave it out."
            )
        H = calc.hamiltonian if "hamiltonian" in wanted and not calc.provenance.files else None
        if H is not None and calc.spin is not Spin.NONCOLLINEAR and H.is_complex:
            raise LossError(
                f"{calc.source}: complex matrices without spinors, such as those of a model in a "
                "magnetic field, have no file format. Use them in Python."
            )
        if calc.spin not in self.write_spins:
            raise LossError(
                f"the format '{self.name}' cannot hold {calc.spin.value} spin, which "
                f"{calc.source} has."
            )
        return tuple(name for name in wanted if name in self.writes)


def _without_wrong_position(calc: Calculation) -> Calculation:
    """Return the calculation without a position matrix that is none, which is said and noted."""
    try:
        calc.get("position")
    except FormatError as error:
        note = f"Left out: {error.problem}."
        _log.warning("%s: %s", calc.source, note)
        return calc.without("position", note)
    return calc


def _tell_filled_pairs(calc: Calculation, names: Sequence[str]) -> None:
    """Say where H has no block for atoms that overlap: files of equal pairs get zeros there.

    Not so of matrices at some k-points only, whose blocks are sums over lattice vectors.
    """
    if not {"hamiltonian", "overlap"} <= set(names) or calc.only_gamma or calc.k_mesh:
        return
    H, S = calc.require("hamiltonian"), calc.require("overlap")
    if H.pairs.is_same(S.pairs):
        return
    if text := lost_blocks(H, S):
        _log.warning("%s: %s What is missing is written as zeros.", calc.source, text)


def hand_over(
    path: str | Path,
    options: WriteOptions,
    fill: Callable[[Path], list[Path]],
    marker: Marker | None = None,
) -> list[Path]:
    """Have an empty folder filled, add the marker, and give all to the target folder at once.

    Returns
    -------
    list of Path
        The files, which `fill` has returned, under their final names.

    Raises
    ------
    OutputError
        When a target exists or cannot be written.
    """
    target = Path(path)
    with folder_transaction(target, overwrite=options.overwrite) as temporary:
        written = fill(temporary)
        if marker is not None:
            name, content = marker
            files = [str(file.relative_to(temporary)) for file in written]
            write_text(temporary / name, json.dumps({**content, "files": files}) + "\n")
    return [target / file.relative_to(temporary) for file in written]
