"""Programs kept on disk: found without tracing, never those of something else, never damaged."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dock.models.training import programs
from dock.models.training.programs import KeptProgram


class Traced:
    """A function that counts how often it is traced."""

    def __init__(self, power=2):
        self.power, self.count = power, 0

    def __call__(self, scale, batch):
        self.count += 1
        return scale * (batch["x"] ** self.power).sum() + jnp.sin(batch["x"]).sum()


def made(folder, power=2, **options):
    """Return a function and its program, as a new process would have them."""
    function = Traced(power)
    jax.clear_caches()
    return function, KeptProgram(jax.jit(function), options, 1, folder)


def batch(n=5):
    return {"x": np.linspace(0.1, 1.3, n, dtype=np.float32)}


SCALE = np.float32(1.5)


def test_a_second_start_does_not_trace(tmp_path):
    expected = jax.jit(Traced())(SCALE, batch())
    first, program = made(tmp_path)
    assert program(SCALE, batch()) == expected
    assert first.count == 1
    assert program(SCALE, batch()) == expected
    assert first.count == 1
    second, program = made(tmp_path)
    assert program(SCALE, batch()) == expected
    assert second.count == 0


def test_every_shape_and_type_has_its_own(tmp_path):
    _, program = made(tmp_path)
    program(SCALE, batch())
    again, program = made(tmp_path)
    for n in (5, 7, 7, 5):
        expected = jax.jit(Traced())(SCALE, batch(n))
        np.testing.assert_array_equal(program(SCALE, batch(n)), expected)
    assert again.count == 1
    whole = {"x": np.arange(5, dtype=np.int32)}
    other, program = made(tmp_path)
    np.testing.assert_allclose(program(SCALE, whole), 1.5 * 30 + np.sin(np.arange(5)).sum(), 1e-6)
    assert other.count == 1


def test_other_options_are_another_program(tmp_path):
    """What the function depends on is its identity: two with different ones never meet."""
    made(tmp_path, 2, loss="square")[1](SCALE, batch())
    cubic, program = made(tmp_path, 3, loss="cube")
    np.testing.assert_array_equal(program(SCALE, batch()), jax.jit(Traced(3))(SCALE, batch()))
    assert cubic.count == 1
    assert len(list(tmp_path.glob("*.program"))) == 2


@pytest.mark.parametrize("changed", ["_source", "_settings", "_surroundings"])
def test_another_source_setting_or_machine_compiles(tmp_path, monkeypatch, changed):
    made(tmp_path)[1](SCALE, batch())
    monkeypatch.setattr(programs, changed, lambda: "another")
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    assert len(list(tmp_path.glob("*.program"))) == 2


def test_source_that_takes_another_entry_of_the_batch(tmp_path, monkeypatch):
    """The texts of both are the same: arguments that are not used are left out of them."""
    whole = {"a": np.ones(4, np.float32), "b": np.full(4, 5, np.float32)}
    values = []
    for name in ("a", "b"):
        monkeypatch.setattr(programs, "_source", lambda name=name: name)
        program = KeptProgram(jax.jit(lambda x, b, n=name: x + b[n].sum()), {}, 1, tmp_path)
        values.append(float(program(np.float32(0), whole)))
    assert values == [4, 20]


def test_constants_are_part_of_the_text(tmp_path, monkeypatch):
    """Source that gives another table of numbers, same shapes: another program."""
    table = np.arange(20_000, dtype=np.float32)
    values = []
    for number in range(2):
        monkeypatch.setattr(programs, "_source", lambda number=number: f"source {number}")
        table = table.copy()
        table[15_000] += number
        program = KeptProgram(
            jax.jit(lambda x, b, t=table: x * t.max() + t[15_000]), {}, 1, tmp_path
        )
        values.append(float(program(np.float32(0), batch())))
    assert values == [15_000, 15_001]


def test_settings_count(monkeypatch):
    before = programs._settings()
    with jax.default_matmul_precision("bfloat16"):
        assert programs._settings() != before
    with jax.enable_x64(not jax.config.jax_enable_x64):
        assert programs._settings() != before
    assert programs._settings() == before
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + " --xla_something=1")
    assert programs._settings() != before
    facts = programs.json.loads(programs._surroundings())
    assert jax.__version__ in facts["versions"]
    assert len(facts["processor"]) >= 3


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "no pickle"])
def test_damaged_files_are_made_anew(tmp_path, damage):
    made(tmp_path)[1](SCALE, batch())
    (path,) = tmp_path.glob("*.program")
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 8
    # A pickle of a class that is no more where it was.
    moved = b"cno_such_module\nState\n."
    path.write_bytes(
        {
            "cut": content[:-9],
            "flipped": bytes(flipped),
            "empty": b"",
            "other": b"x" * 99,
            "no pickle": programs.hashlib.sha256(moved).digest() + moved,
        }[damage]
    )
    function, program = made(tmp_path)
    np.testing.assert_array_equal(program(SCALE, batch()), jax.jit(Traced())(SCALE, batch()))
    assert function.count == 1
    assert path.read_bytes()[:32] == programs.hashlib.sha256(path.read_bytes()[32:]).digest()
    assert made(tmp_path)[1](SCALE, batch()) == program(SCALE, batch())


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs owners of files")
def test_programs_of_other_users_are_not_run(tmp_path, monkeypatch):
    made(tmp_path)[1](SCALE, batch())
    monkeypatch.setattr(programs.os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs modes of files")
def test_programs_that_others_can_write_are_not_run(tmp_path):
    made(tmp_path)[1](SCALE, batch())
    (path,) = tmp_path.glob("*.program")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o620)
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    _, program = made(tmp_path / "file" / "programs")
    np.testing.assert_array_equal(program(SCALE, batch()), jax.jit(Traced())(SCALE, batch()))


def test_programs_stay_out_of_the_cache_of_jax(tmp_path):
    """What comes out of that and is written again loads, and fails when it runs."""
    before = jax.config.jax_compilation_cache_dir, jax.config.jax_enable_compilation_cache
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    jax.config.update("jax_enable_compilation_cache", True)
    try:
        jax.jit(Traced())(SCALE, batch())  # JAX's cache may have it by now
        for _ in range(2):
            function, program = made(tmp_path / "kept")
            program(SCALE, batch())
    finally:
        jax.config.update("jax_compilation_cache_dir", before[0])
        jax.config.update("jax_enable_compilation_cache", before[1])
    assert function.count == 0
    assert len(list((tmp_path / "kept").glob("*.program"))) == 1


def test_elsewhere_than_on_a_cpu_the_function_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    assert not list(tmp_path.iterdir())
