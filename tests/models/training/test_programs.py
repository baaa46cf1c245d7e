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


def test_the_same_text_is_compiled_once(tmp_path, monkeypatch):
    """New source or options that change nothing: traced again, loaded, and remembered."""
    made(tmp_path)[1](SCALE, batch())
    monkeypatch.setattr(programs, "_source", lambda: "edited")
    monkeypatch.setattr(programs, "_compile", lambda *_: pytest.fail("compiled again"))
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 0
    assert len(list(tmp_path.glob("*.program"))) == 1
    assert len(list(tmp_path.glob("*.link"))) == 2


@pytest.mark.parametrize("facts", ["versions", "settings", "flags", "processor"])
def test_another_machine_or_version_compiles(tmp_path, monkeypatch, facts):
    made(tmp_path)[1](SCALE, batch())
    known = programs._surroundings()
    assert f'"{facts}"' in known
    monkeypatch.setattr(programs, "_surroundings", lambda: known.replace(f'"{facts}"', '"other"'))
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    assert len(list(tmp_path.glob("*.program"))) == 2


def test_settings_of_jax_count(monkeypatch):
    programs._surroundings.cache_clear()
    before = programs._surroundings()
    programs._surroundings.cache_clear()
    with jax.default_matmul_precision("bfloat16"):
        assert programs._surroundings() != before
    programs._surroundings.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "link", "no link", "other"])
def test_damaged_files_are_made_anew(tmp_path, damage):
    made(tmp_path)[1](SCALE, batch())
    (path,) = tmp_path.glob("*.program")
    (link,) = tmp_path.glob("*.link")
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 8
    if damage == "link":
        link.write_text("../../../etc/passwd")
    elif damage == "no link":
        link.unlink()
    else:
        choices = {"cut": content[:-9], "flipped": bytes(flipped), "empty": b"", "other": b"x" * 99}
        path.write_bytes(choices[damage])
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


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    _, program = made(tmp_path / "file" / "programs")
    np.testing.assert_array_equal(program(SCALE, batch()), jax.jit(Traced())(SCALE, batch()))


def test_what_comes_from_the_cache_of_jax_is_not_written_again(tmp_path, monkeypatch):
    """Written again it would lack parts: it loads, and fails when it runs."""

    class Lowered:
        def compile(self):
            programs._count_hits("/jax/compilation_cache/cache_hits")
            return "program"

    monkeypatch.setattr(programs, "_keep", lambda *_: pytest.fail("written"))
    assert programs._compile(Lowered(), tmp_path, "name") == "program"


def test_elsewhere_than_on_a_cpu_the_function_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    function, program = made(tmp_path)
    program(SCALE, batch())
    assert function.count == 1
    assert not list(tmp_path.iterdir())
