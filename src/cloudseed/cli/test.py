"""`cloudseed test`: everything that CI checks, exactly as CI checks it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cloudseed.cli.servers.postgres import find_binaries

DESCRIPTION = """Run every check and every test: ruff, mypy, import rules, our own lint rules, then pytest.
Arguments after `--` go to pytest alone, and then only pytest runs.

exit codes: 0 all passed, 1 something failed"""


def run(argv: list[str]) -> int:
    own, _, rest = " ".join(argv).partition("--") if "--" in argv else (" ".join(argv), "", "")
    parser = argparse.ArgumentParser(
        prog="cloudseed test", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(own.split())
    root, tools = Path(__file__).parents[3], Path(sys.executable).parent
    env = {**os.environ, "PYTHONPATH": str(root / "src")}
    checks = {
        "ruff": [str(tools / "ruff"), "check", "src", "tests", "bench"],
        "mypy": [str(tools / "mypy")],
        "imports": [str(tools / "lint-imports")],
    }
    if rest or "--" in argv:
        checks = {}
    failed = []
    for name, command in checks.items():
        began = time.monotonic()
        print(f"== {name}", flush=True)
        if subprocess.run(command, cwd=root, env=env).returncode:
            failed.append(name)
        print(f"   {name}: {'FAILED' if name in failed else 'ok'} ({time.monotonic() - began:.0f} s)", flush=True)
    print("== tests", flush=True)
    pytest = [str(tools / "python"), "-m", "pytest"]
    if rest:
        code = subprocess.run([*pytest, *rest.split()], cwd=root, env=env).returncode
    else:
        code = _both_halves(pytest, root, env)
        code = _on_postgresql(pytest, root, env) or code
    if failed:
        print(f"FAILED checks: {', '.join(failed)}", file=sys.stderr)
    return 1 if code or failed else 0


# of each service what leans on SQL the most; all tests can run this way
_ON_POSTGRESQL = (
    "tests/kernel/test_operations.py", "tests/kernel/test_statements.py", "tests/kernel/test_two_processes.py",
    "tests/keystone/test_projects.py", "tests/placement/test_usages.py", "tests/glance/test_images.py",
    "tests/cinder/test_types.py", "tests/neutron/test_hostile.py", "tests/nova/api/test_server_lists.py",
    "tests/swift/test_containers.py")


def _on_postgresql(pytest: list[str], root: Path, env: dict[str, str]) -> int:
    """Some of the tests again with their databases on PostgreSQL, whose server is started for them."""
    print("-- on PostgreSQL", flush=True)
    if find_binaries() is None:
        print("   skipped: it is not installed (Debian: postgresql)", flush=True)
        return 0
    env = {**env, "CLOUDSEED_TEST_DATABASE": "postgresql"}
    with tempfile.TemporaryDirectory(prefix="cloudseed-test-") as cache:
        command = [*pytest, "-q", "-o", f"cache_dir={cache}", *_ON_POSTGRESQL]
        return _once_more("on PostgreSQL", command, subprocess.run(command, cwd=root, env=env).returncode,
                          Path(cache), root, env)


_HALVES = {"guests": "guests", "others": "not guests"}  # name -> pytest's expression
_SOME_FAILED = 1  # pytest's exit code
_FEW = 12


def _both_halves(pytest: list[str], root: Path, env: dict[str, str]) -> int:
    """What boots guests one after the other; beside it all that does not.

    The first wait for guests most of the time, so both together take little longer than the longer one.  A few tests
    that fail are run once more with the machine to themselves, and told: some wait for what a busy machine does too
    late.  What fails again has failed.
    """
    with tempfile.TemporaryDirectory(prefix="cloudseed-test-") as caches:
        commands = {name: [*pytest, "-q", "--durations=15", "-o", f"cache_dir={caches}/{name}", "-m", expression]
                    for name, expression in _HALVES.items()}
        codes = _side_by_side(commands, root, env)
        for name, command in commands.items():
            codes[name] = _once_more(name, command, codes[name], Path(caches) / name, root, env)
    return codes["guests"] or codes["others"]


def _once_more(name: str, command: list[str], code: int, cache: Path, root: Path, env: dict[str, str]) -> int:
    """Run again what few tests failed of a command that ended with `code`; the code that counts."""
    if code != _SOME_FAILED or _failures(cache) > _FEW:
        return code
    print(f"-- what failed ({name}), once more and alone", flush=True)
    return subprocess.run([*command, "--last-failed"], cwd=root, env=env).returncode


def _failures(cache: Path) -> int:
    """How many tests failed, by pytest's own record."""
    try:
        return len(json.loads((cache / "v/cache/lastfailed").read_text()))
    except (OSError, ValueError):
        return _FEW + 1  # it ended before it could say


def _side_by_side(commands: dict[str, list[str]], root: Path, env: dict[str, str]) -> dict[str, int]:
    """Each half's exit code; the second one's words are held back until the first has ended."""
    with tempfile.TemporaryFile("w+") as heard:
        beside = subprocess.Popen(commands["others"], cwd=root, env=env, stdout=heard, stderr=heard)
        try:
            print("-- with guests (all others run beside them)", flush=True)
            first = subprocess.run(commands["guests"], cwd=root, env=env).returncode
            print("-- all others", flush=True)
            second, shown = None, 0
            while second is None:
                try:
                    second = beside.wait(5)
                except subprocess.TimeoutExpired:
                    pass
                text = os.pread(heard.fileno(), 1 << 24, shown)
                shown += len(text)
                print(text.decode(errors="replace"), end="", flush=True)
        finally:
            if beside.poll() is None:
                beside.send_signal(signal.SIGINT)
                beside.wait()
    return {"guests": first, "others": second}
