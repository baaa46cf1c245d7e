"""Files appear complete or not at all: errors, full disks, kills and races."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dock.errors import FormatError, OutputError
from dock.io.files import atomic_path, folder_transaction, prepare_folder, write_text

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail_in_mid_write(target, error, **options):
    with atomic_path(target, **options) as temporary:
        temporary.write_text("half")
        raise error


def fail_in_mid_folder(target, error):
    with folder_transaction(target) as temporary:
        fill(temporary, a="1")
        raise error


def fill(folder, **texts):
    for name, text in texts.items():
        (folder / name).write_text(text)


# --------------------------------------------------------------------------------- atomic_path


def test_success(tmp_path):
    with atomic_path(tmp_path / "a.txt") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".a.txt.")
        assert temporary.name.endswith(".part")
        assert not (tmp_path / "a.txt").exists()
        temporary.write_text("full")
    assert (tmp_path / "a.txt").read_text() == "full"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(1), FormatError("f", "x")]
)
def test_nothing_stays_behind_after_an_error(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        fail_in_mid_write(tmp_path / "a", error)
    assert caught.value is error
    assert names(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_existing_file_is_safe_from_errors(tmp_path, overwrite):
    target = tmp_path / "a"
    target.write_text("old")
    if overwrite:
        with pytest.raises(ValueError, match="stop"):
            fail_in_mid_write(target, ValueError("stop"), overwrite=True)
        assert target.read_text() == "old"
        write_text(tmp_path / "b", "new", overwrite=True)
        write_text(target, "new", overwrite=True)
        assert target.read_text() == "new"
    else:
        with pytest.raises(OutputError, match=r"exists already\. Pass overwrite=True"):
            write_text(target, "new")
        assert target.read_text() == "old"
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_folder_in_the_way(tmp_path):
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="a folder stands where a file is to be written"):
            write_text(tmp_path, "x", overwrite=overwrite)


def test_no_folder(tmp_path):
    with pytest.raises(
        OutputError, match=r"none/a: cannot be written: No such file.*folder's name"
    ):
        write_text(tmp_path / "none" / "a", "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="Not a directory"):
        write_text(tmp_path / "file" / "a", "x")


def test_names_as_long_as_the_system_allows(tmp_path):
    write_text(tmp_path / ("é" * 127), "x")
    with pytest.raises(OutputError, match="File name too long"):
        write_text(tmp_path / ("a" * 256), "x")


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_the_umask_is_never_touched(tmp_path, monkeypatch):
    """Setting it, even for a moment, would reach the files of other threads."""
    monkeypatch.setattr(os, "umask", None)
    write_text(tmp_path / "a", "x")
    with folder_transaction(tmp_path / "b") as temporary:
        write_text(temporary / "c", "x")
    assert (tmp_path / "b" / "c").read_text() == "x"


def test_a_change_of_the_working_folder_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    with atomic_path(Path("sub") / "a") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "sub" / "a").read_text() == "x"


def test_a_text_that_cannot_be_encoded(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a", "\ud800")
    assert names(tmp_path) == []


# --------------------------------------------------------- what the operating system may refuse

REFUSALS = [
    (errno.ENOSPC, "the disk is full. Free some space"),
    (errno.EDQUOT, "the disk is full. Free some space"),
    (errno.EACCES, "no permission to write there. Choose another place"),
    (errno.EROFS, "no permission to write there"),
    (errno.EIO, "Check the disk and its quota"),
]


def refusing(code):
    """A stand-in for a system call that fails."""

    def call(*arguments, **options):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize(("code", "message"), REFUSALS)
@pytest.mark.parametrize("call", ["fsync", "open", "link"])
def test_refusals(tmp_path, monkeypatch, call, code, message):
    (tmp_path / "old").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refusing(code))
        with pytest.raises(OutputError, match=message) as caught:
            write_text(tmp_path / "a", "x")
    assert str(tmp_path / "a") in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == ["old"]


@pytest.mark.parametrize(("code", "message"), REFUSALS)
def test_a_failed_replacement_keeps_the_old_file(tmp_path, monkeypatch, code, message):
    target = tmp_path / "a"
    target.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refusing(code))
        with pytest.raises(OutputError, match=message):
            write_text(target, "new", overwrite=True)
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_device_while_writing(tmp_path):
    """What a writer meets when the disk fills up in mid-write."""

    def fill_the_disk():
        with (
            atomic_path(tmp_path / "a") as temporary,
            Path("/dev/full").open("wb", buffering=0) as full,
        ):
            temporary.write_text("half")
            full.write(b"more")

    with pytest.raises(OutputError, match="the disk is full"):
        fill_the_disk()
    assert names(tmp_path) == []


def test_hdf5_says_full_in_its_own_words(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"), atomic_path(tmp_path / "a"):
        raise OSError("Can't write data (file write failed: No space left on device)")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission to write there"):
            write_text(tmp_path / "a", "x")
    finally:
        tmp_path.chmod(0o700)


def test_an_input_that_cannot_be_read_is_named(tmp_path):
    """The body may read as well as write: its refusals are not blamed on the target."""
    source = tmp_path / "input.dat"
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "a") as temporary:
        temporary.write_bytes(source.read_bytes())
    assert f"not written, because {source} failed: No such file" in str(caught.value)
    assert names(tmp_path) == []


def test_file_systems_without_hard_links(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", refusing(errno.EPERM))
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
    assert names(tmp_path) == ["a"]


def test_file_systems_that_do_not_sync_folders(tmp_path, monkeypatch):
    real = os.fsync

    def sync(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):  # noqa: PTH112 - a descriptor's link
            raise OSError(errno.EINVAL, "no")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


# --------------------------------------------------------------------------- kills and races


def test_a_kill_in_mid_write_leaves_no_file_under_the_final_name(tmp_path):
    program = (
        "import sys, time\n"
        "from dock.io.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path, path.open('w') as stream:\n"
        "    stream.write('half'); stream.flush()\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    assert all(name.endswith(".part") for name in names(tmp_path))
    write_text(tmp_path / "a", "whole")
    assert (tmp_path / "a").read_text() == "whole"


@pytest.mark.parametrize("overwrite", [False, True])
def test_two_writers_at_once(tmp_path, overwrite):
    """Without --overwrite one wins and the other is told; the file is never a mixture."""
    target, both, outcomes = tmp_path / "a", threading.Barrier(8), []

    def write(text):
        try:
            with atomic_path(target, overwrite=overwrite) as temporary:
                temporary.write_text(text * 1000)
                both.wait(10)
        except OutputError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("won")

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = target.read_text()
    assert len(text) == 1000
    assert len(set(text)) == 1
    assert outcomes.count("won") == (8 if overwrite else 1)
    losers = [outcome for outcome in outcomes if outcome != "won"]
    assert all("another process made it just now" in loser for loser in losers)
    assert names(tmp_path) == ["a"]


# ----------------------------------------------------------------------------------- folders


def test_prepare_folder(tmp_path):
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    assert prepare_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file: cannot be written: File exists"):
        prepare_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="Not a directory"):
        prepare_folder(tmp_path / "file" / "a")


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder(tmp_path, exists):
    target = tmp_path / "deep" / "out"
    if exists:
        target.mkdir(parents=True)
    with folder_transaction(target) as temporary:
        fill(temporary, a="1", b="2")
        assert target.exists() == exists
        assert temporary.parent == target.parent
    assert names(target) == ["a", "b"]
    assert names(target.parent) == ["out"]


def test_a_folder_with_other_files(tmp_path):
    fill(tmp_path, old="o")
    with folder_transaction(tmp_path) as temporary:
        fill(temporary, a="1")
    assert names(tmp_path) == ["a", "old"]


def test_the_folder_we_are_in_stays_the_same_one(tmp_path, monkeypatch):
    """A rename over it would leave the shell that called us in a deleted folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with folder_transaction(".") as temporary:
        fill(temporary, a="1")
    assert names(Path()) == names(here) == ["a"]
    assert names(tmp_path) == ["here"]


def test_a_link_to_a_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with folder_transaction(tmp_path / "link") as temporary:
        fill(temporary, a="1")
    assert names(tmp_path / "real") == ["a"]
    assert (tmp_path / "link").is_symlink()


def test_files_that_exist_in_the_folder(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    fill(target, a="old", keep="k")
    with (
        pytest.raises(OutputError, match=r"exists already \(a\). Pass overwrite=True"),
        folder_transaction(target) as temporary,
    ):
        fill(temporary, a="new", b="new")
    assert names(target) == ["a", "keep"]
    assert (target / "a").read_text() == "old"
    with folder_transaction(target, overwrite=True) as temporary:
        fill(temporary, a="new", b="new")
    assert (target / "a").read_text() == "new"
    assert names(target) == ["a", "b", "keep"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
@pytest.mark.parametrize("exists", [False, True])
def test_nothing_of_a_failed_folder_remains(tmp_path, error, exists):
    target = tmp_path / "out"
    if exists:
        target.mkdir()
        fill(target, old="o")
    with pytest.raises(type(error)):
        fail_in_mid_folder(target, error)
    assert names(tmp_path) == (["out"] if exists else [])
    if exists:
        assert names(target) == ["old"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_move_that_fails_half_way_is_undone(tmp_path, monkeypatch, code):
    target = tmp_path / "out"
    target.mkdir()
    fill(target, old="o")
    real, calls = os.link, []

    def link(source, to):
        calls.append(to)
        if len(calls) == 2:
            raise OSError(code, os.strerror(code))
        real(source, to)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OutputError, match="cannot be written"), folder_transaction(target) as new:
        fill(new, a="1", b="2", c="3")
    assert len(calls) == 2
    assert names(target) == ["old"]


def test_a_file_where_a_folder_is_to_be(tmp_path):
    (tmp_path / "out").write_text("x")
    with (
        pytest.raises(OutputError, match="a file stands where a folder"),
        folder_transaction(tmp_path / "out"),
    ):
        pass
    with (
        pytest.raises(OutputError, match=r"File exists\. Check the folder's name"),
        folder_transaction(tmp_path / "out" / "deeper"),
    ):
        pass


def test_a_full_disk_while_a_folder_is_written(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refusing(errno.ENOSPC))
        with (
            pytest.raises(OutputError, match="the disk is full"),
            folder_transaction(tmp_path / "out") as temporary,
        ):
            fill(temporary, a="1")
    assert names(tmp_path) == []


def fill_at_once(target, texts, **options):
    with folder_transaction(target, **options) as temporary:
        for name, text in texts.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_text(text)


class TestSubfolders:
    def test_files_in_a_subfolder_replace_the_old_ones(self, tmp_path):
        target = tmp_path / "out"
        for text in ("first", "second"):
            fill_at_once(target, {"sub/data": text, "note": text}, overwrite=True)
        assert (target / "sub" / "data").read_text() == "second"
        assert sorted(path.name for path in target.iterdir()) == ["note", "sub"]
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_nothing_is_moved_where_one_file_in_a_subfolder_exists(self, tmp_path):
        target = tmp_path / "out"
        (target / "sub").mkdir(parents=True)
        (target / "sub" / "data").write_text("kept")
        with pytest.raises(OutputError, match="sub/data"):
            fill_at_once(target, {"sub/data": "new", "note": "new"})
        assert (target / "sub" / "data").read_text() == "kept"
        assert not (target / "note").exists()

    def test_a_file_in_the_way_of_a_folder_is_refused_before_anything_moves(self, tmp_path):
        target = tmp_path / "out"
        target.mkdir()
        (target / "sub").write_text("a file")
        with pytest.raises(OutputError, match="Remove it"):
            fill_at_once(target, {"sub/data": "new", "a_note": "new"}, overwrite=True)
        assert [path.name for path in target.iterdir()] == ["sub"]


class TestLeftOvers:
    def test_those_of_a_dead_process_are_removed_and_no_others(self, tmp_path):
        process = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"],
            capture_output=True,
            text=True,
            check=True,
        )
        with folder_transaction(tmp_path / "out") as temporary:
            stem = temporary.name.rpartition(f"{os.getpid()}-")[0]
            (temporary / "data").write_text("x")
        dead = tmp_path / f"{stem}{process.stdout.strip()}-0123456789ab.part"
        alive = tmp_path / f"{stem}{os.getpid()}-0123456789ab.part"
        foreign = tmp_path / ".out.note.part"
        for folder in (dead, alive, foreign):
            folder.mkdir()
            (folder / "data").write_text("x")
        with folder_transaction(tmp_path / "out", overwrite=True) as temporary:
            (temporary / "data").write_text("y")
        assert not dead.exists()
        assert alive.is_dir()
        assert foreign.is_dir()
