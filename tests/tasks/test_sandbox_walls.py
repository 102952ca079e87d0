"""The sandbox: real programs that misbehave in the ways generated code does, behind both kinds of walls."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from graft.tasks.sandbox.execution import Execution, Verdict, best_confinement, kernel_refusal, run_tests
from graft.tasks.sandbox.launch import Confinement, Limits, Walls
from graft.tasks.sandbox.weak import landlock_version

TESTS = """
import unittest

class TestCases(unittest.TestCase):
    def test_twice(self):
        self.assertEqual(twice(2), 4)
"""
TWICE = "def twice(x):\n    return 2 * x\n"
SHORT = Limits(wall_seconds=20.0, cpu_seconds=10, memory_bytes=2**30, file_bytes=2**20, processes=16)
BRIEF = Limits(wall_seconds=2.0)
WEAK = Confinement(Walls.WEAK, None, landlock_version() > 0, "a test wants it so")


@pytest.fixture(params=list(dict.fromkeys([best_confinement(), WEAK])), ids=lambda held: held.walls.name.lower())
def held(request: pytest.FixtureRequest) -> Confinement:
    return request.param


@pytest.fixture
def walls() -> Confinement:
    if best_confinement().walls is not Walls.KERNEL:
        pytest.skip(f"this machine has no walls: {best_confinement().why_weak}")
    return best_confinement()


def run(code: str, held: Confinement, limits: Limits = SHORT, tests: str = TESTS) -> Execution:
    return run_tests(code, tests, limits, confinement=held)


def test_a_right_program_passes_and_a_wrong_one_names_its_test(held: Confinement) -> None:
    right = run(TWICE, held)
    assert (right.verdict, right.tests, right.confinement) == (Verdict.PASSED, 1, held)
    wrong = run("def twice(x):\n    return 3 * x", held)
    assert (wrong.verdict, wrong.wrong, wrong.error) == (Verdict.FAILED, ("test_twice",), "AssertionError: 6 != 4")


def test_a_fork_bomb_is_bounded(held: Confinement) -> None:
    bomb = """
import os, time
count = 0
try:
    while count < 3000:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        count += 1
except OSError:
    raise RuntimeError(f"stopped after {count}")
"""
    done = run(bomb, held, Limits(wall_seconds=10.0, processes=16))
    assert done.verdict is Verdict.FAILED
    assert 1 <= int(done.error.rpartition(" ")[2]) <= 16


def test_memory_is_limited(held: Confinement) -> None:
    done = run("kept = bytearray(3 * 2**30)", held)
    assert (done.verdict, done.error) == (Verdict.FAILED, "MemoryError: ")


def test_home_and_environment_are_those_of_the_sandbox(held: Confinement, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "for nobody")
    done = run("import os\nprint('SECRET_TOKEN' in os.environ, os.environ['HOME'] == os.getcwd())\n" + TWICE, held)
    assert done.output.split() == ["False", "True"]


def test_the_network_is_out_of_reach(held: Confinement) -> None:
    reached = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5.0)

        def accept() -> None:
            try:
                server.accept()[0].close()
                reached.set()
            except OSError:
                return

        listening = threading.Thread(target=accept, daemon=True)
        listening.start()
        port = server.getsockname()[1]
        done = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n{TWICE}", held)
        assert done.verdict is Verdict.FAILED
        assert not reached.is_set()
        socket.create_connection(("127.0.0.1", port), 2).close()  # the server itself can be reached
        listening.join(timeout=5.0)
    assert reached.is_set()


@pytest.mark.parametrize("ending", ["import os; os._exit(0)", "raise SystemExit"])
def test_ending_before_the_tests_is_no_pass(ending: str, walls: Confinement) -> None:
    assert run(f"{TWICE}\ndef twice(x):\n    {ending}", walls).verdict is not Verdict.PASSED


def test_tests_that_are_not_there_are_no_pass(walls: Confinement) -> None:
    empty = "import unittest\nclass TestCases(unittest.TestCase):\n    pass"
    assert run(TWICE, walls, tests=empty).verdict is Verdict.FAILED
    assert run(TWICE, walls, tests="").verdict is Verdict.FAILED


def test_a_flood_of_output_is_cut(held: Confinement) -> None:
    done = run("for _ in range(40_000):\n    print('x' * 100)\n" + TWICE, held)
    assert done.verdict is not Verdict.PASSED
    assert len(done.output) == SHORT.output_characters


def test_text_that_is_no_program_fails_without_harm() -> None:
    for code in ("\x00", "\ud800"):
        assert run(code, best_confinement()).verdict is Verdict.FAILED


def test_a_program_without_end_is_killed_at_its_time_and_leaves_nothing(held: Confinement) -> None:
    mark = f"{os.getpid()}{time.monotonic_ns()}"
    code = f"""
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sys.argv = ["{mark}"]
        import ctypes
        ctypes.CDLL(None).prctl(15, b"graft{mark[-8:]}", 0, 0, 0)
        while True:
            pass
while True:
    pass
"""
    start = time.monotonic()
    done = run(code, held, BRIEF)
    assert done.verdict is Verdict.TIMEOUT
    assert time.monotonic() - start < 20.0
    assert not [process for process in psutil.process_iter(["name"]) if process.info["name"] == f"graft{mark[-8:]}"]
    assert not [process for process in psutil.Process().children() if process.status() == psutil.STATUS_ZOMBIE]


def test_what_a_program_leaves_behind_ends_with_it(walls: Confinement) -> None:
    name = f"left{time.monotonic_ns() % 10**8}"
    code = (
        f"""
import ctypes, os, time
if os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
    time.sleep(60)
"""
        + TWICE
    )
    done = run(code, walls)
    assert done.verdict is Verdict.PASSED and done.seconds < 30.0
    assert not [process for process in psutil.process_iter(["name"]) if process.info["name"] == name]


def test_a_program_dies_with_graft_when_that_is_killed(walls: Confinement) -> None:
    name = f"gone{time.monotonic_ns() % 10**8}"
    code = f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{name}', 0, 0, 0)\ntime.sleep(60)\n"
    ask = f"from graft.tasks.sandbox.execution import run_tests; run_tests({code!r}, 'assert twice')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    graft = subprocess.Popen([sys.executable, "-c", ask], env=environment)

    def alive() -> bool:
        return any(process.info["name"] == name for process in psutil.process_iter(["name"]))

    _until(alive)
    graft.kill()
    graft.wait()
    _until(lambda: not alive())


def _until(holds: Callable[[], bool]) -> None:
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < 30.0
        time.sleep(0.05)


REACHING = """
import ctypes, errno, json, os, shutil, socket, subprocess, sys
FILE, SHARED, SOCKET, ABSTRACT, PYTHON = {places!r}
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def connect(family, address):
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)

attempts = dict(
    write=lambda: open(FILE, "w"), append=lambda: open(FILE, "a"), remove=lambda: os.remove(FILE),
    rename=lambda: os.rename(FILE, "x"), truncate=lambda: os.truncate(FILE, 0),
    chmod=lambda: os.chmod(FILE, 0o777), utime=lambda: os.utime(FILE), chown=lambda: os.chown(FILE, 1, 1),
    xattr=lambda: os.setxattr(FILE, "user.a", b"b"), link=lambda: os.link(FILE, "y"),
    python_write=lambda: open(PYTHON, "a"), python_chmod=lambda: os.chmod(PYTHON, 0o777),
    python_utime=lambda: os.utime(PYTHON), python_xattr=lambda: os.setxattr(PYTHON, "user.a", b"b"),
    unix=lambda: connect(socket.AF_UNIX, SOCKET), abstract=lambda: connect(socket.AF_UNIX, ABSTRACT),
)
kernel = dict(
    read=lambda: open(FILE).read(), read_shared=lambda: open(SHARED).read(), see=lambda: os.stat(FILE),
    vsock=lambda: connect(40, (2, 1024)), memory_file=lambda: os.memfd_create("x"),
    namespace=lambda: call(272, 0x10000000), mount=lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, 0),
    ptrace=lambda: call(101, 16, 1, 0, 0), shared_memory=lambda: call(29, 0, 4096, 0o1600),
    ring=lambda: call(425, 1, 0), sys=lambda: open("/proc/sys/kernel/hostname", "w").write("x"),
    others=lambda: os.stat("/proc/200"), init=lambda: open("/proc/1/mem", "rb"),
)
reached = []
for name, attempt in (attempts | (kernel if {strong} else dict())).items():
    try:
        attempt()
        reached.append(name)
    except OSError:
        pass
print(json.dumps(reached))
"""


def test_nothing_outside_can_be_changed_reached_or_seen(held: Confinement, tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    before = (kept.stat().st_mtime_ns, kept.stat().st_mode)
    shared = Path("/dev/shm", f"graft-test-{os.getpid()}")
    path, abstract = str(tmp_path / "socket"), f"\0graft-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        for listener, address in ((one, path), (other, abstract)):
            listener.bind(address)
            listener.listen()
        shared.write_text("secret")
        places = (str(kept), str(shared), path, abstract, os.path.realpath(sys.executable))
        code = REACHING.format(places=places, strong=held.walls is Walls.KERNEL)
        done = run(code + TWICE, held)
    shared.unlink(missing_ok=True)
    assert (done.verdict, done.output.splitlines()[-1:]) == (Verdict.PASSED, ["[]"]), done
    assert kept.read_text() == "mine" and (kept.stat().st_mtime_ns, kept.stat().st_mode) == before


def test_places_of_its_own_can_be_used_and_go_with_it(walls: Confinement) -> None:
    code = (
        """
import multiprocessing, os, shutil, subprocess, tempfile
for place in (os.getcwd(), "/tmp", "/dev/shm", tempfile.gettempdir()):
    os.makedirs(f"{place}/a/b")
    open(f"{place}/a/b/GRAFT_LEFT", "w").write("x")
    os.chmod(f"{place}/a", 0o700)
    os.rename(f"{place}/a/b/GRAFT_LEFT", f"{place}/GRAFT_LEFT")
    shutil.rmtree(f"{place}/a")
    assert os.listdir(place) == ["GRAFT_LEFT"], os.listdir(place)
    if place == "/tmp":
        os.remove("/tmp/GRAFT_LEFT")
assert subprocess.run(["echo", "out"], capture_output=True, text=True).stdout == "out\\n"
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
open("/dev/null", "w").write("x")
assert len(os.urandom(4)) == len(open("/dev/urandom", "rb").read(4)) == 4
assert set(os.environ) <= {"HOME", "TMPDIR", "PATH", "LANG", "MPLBACKEND", "MPLCONFIGDIR", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "GRAFT_RUN", "LC_CTYPE"}, set(os.environ)
"""
        + TWICE
    )
    done = run(code, walls)
    assert done.verdict is Verdict.PASSED, done
    assert not Path("/tmp/GRAFT_LEFT").exists() and not Path("/dev/shm/GRAFT_LEFT").exists()


def test_disk_and_memory_are_limited_in_all(walls: Confinement) -> None:
    limits = Limits(wall_seconds=30.0, disk_bytes=2**22, file_bytes=2**20, memory_bytes=3 * 2**28, processes=16)
    files = "for n in range(100):\n    open(f'/tmp/{n}', 'wb').write(b'x' * 2**19)\n"
    assert "No space left" in run(files, walls, limits).error
    holders = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        kept = bytearray(b"x") * (250 * 2**20)
        time.sleep(60)
time.sleep(60)
"""
    done = run(holders, walls, limits)
    assert done.verdict is not Verdict.PASSED and done.seconds < 25.0, done


def test_where_the_kernel_has_no_namespaces_left_it_says_so() -> None:
    if shutil.which("unshare") is None or kernel_refusal():
        pytest.skip("there are no namespaces to take away")
    ask = "from graft.tasks.sandbox.execution import best_confinement as b; print(b().walls.name, b().why_weak)"
    script = f"echo 0 > /proc/sys/user/max_user_namespaces && exec {sys.executable} -c '{ask}'"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    told = subprocess.run(["unshare", "-Ur", "sh", "-c", script], env=environment, capture_output=True, text=True)
    assert told.stdout.startswith("WEAK unshare: "), told
