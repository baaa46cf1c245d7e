import resource

import pytest

from dock.states import memory
from dock.states.memory import allowance

MEMINFO = "MemTotal:       24576000 kB\nMemFree: 100 kB\nMemAvailable:   20000000 kB\n"
STATUS = "Name:\tpython\nVmSize:\t 2000000 kB\nVmData:\t 1000000 kB\n"


@pytest.fixture(autouse=True)
def no_limits(monkeypatch):
    """Set no ulimit, whatever holds for the tests themselves."""
    limits = {}

    def getrlimit(kind):
        return limits.get(kind, resource.RLIM_INFINITY), resource.RLIM_INFINITY

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    return limits


@pytest.fixture
def system(tmp_path):
    """Return a function that writes files of a kernel, and the folder that they are in."""

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    write(proc__meminfo=MEMINFO)
    return write


def put(root, path, text):
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def test_a_machine_without_limits_gives_what_is_free(system):
    found = allowance(system())
    assert (found.n_bytes, found.limit) == (20_000_000 * 1024, "free on this machine")
    assert str(found) == "20 GB (free on this machine)"


def test_a_limit_of_the_process_less_what_it_has(system, no_limits):
    root = system()
    put(root, "proc/self/status", STATUS)
    no_limits[resource.RLIMIT_AS] = 8_000_000 * 1024
    found = allowance(root)
    assert (found.n_bytes, found.limit) == (6_000_000 * 1024, "left by ulimit -v")
    no_limits[resource.RLIMIT_DATA] = 3_000_000 * 1024
    assert allowance(root).limit == "left by ulimit -d"
    no_limits[resource.RLIMIT_DATA] = 500_000 * 1024
    assert allowance(root).n_bytes == 0


@pytest.mark.parametrize("place", ["job/step", "", "outside/of/the/container"])
def test_control_groups_of_version_two(system, place):
    """The limit is often that of a group above; files that can be dropped count as free."""
    root = system()
    put(root, "proc/self/cgroup", f"0::/{place}\n")
    top = "sys/fs/cgroup"
    if place == "job/step":
        put(root, f"{top}/job/step/memory.max", "max\n")
        put(root, f"{top}/job/step/memory.current", "1000\n")
        top += "/job"
    put(root, f"{top}/memory.max", "6000000000\n")
    put(root, f"{top}/memory.current", "2500000000\n")
    put(root, f"{top}/memory.stat", "anon 5\ninactive_file 500000000\n")
    found = allowance(root)
    assert (found.n_bytes, found.limit) == (4_000_000_000, "left by the control group")


def test_control_groups_of_version_one(system):
    root = system()
    put(root, "proc/self/cgroup", "9:pids:/a\n4:cpu,memory:/slurm/job\n0::/\n")
    group = "sys/fs/cgroup/memory/slurm/job"
    put(root, f"{group}/memory.limit_in_bytes", "3000000000\n")
    put(root, f"{group}/memory.usage_in_bytes", "1000000000\n")
    put(root, f"{group}/memory.stat", "total_inactive_file 250000000\n")
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert allowance(root).n_bytes == 2_250_000_000


def test_a_system_that_says_nothing_allows_all(tmp_path):
    assert allowance(tmp_path) == memory.Allowance(memory._UNLIMITED, "no limit")


def test_damaged_files_of_the_kernel_are_passed_over(system):
    root = system()
    put(root, "proc/self/cgroup", "nonsense\n0::/x\n")
    put(root, "sys/fs/cgroup/x/memory.max", "what?\n")
    assert allowance(root).limit == "free on this machine"


def test_this_process_has_memory():
    assert 10**7 < allowance().n_bytes < memory._UNLIMITED
