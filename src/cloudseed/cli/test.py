"""`cloudseed test`: everything that CI checks, exactly as CI checks it."""

from __future__ import annotations

import argparse
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
    return subprocess.run([*pytest, "-q", "-p", "no:cacheprovider", *_ON_POSTGRESQL], cwd=root,
                          env={**env, "CLOUDSEED_TEST_DATABASE": "postgresql"}).returncode


def _both_halves(pytest: list[str], root: Path, env: dict[str, str]) -> int:
    """What touches the machine (QEMU, namespaces) one after the other; beside it all that does not.

    The first wait for guests most of the time, so both together take little longer than the longer one.
    """
    common = ["-q", "--durations=15", "-p", "no:cacheprovider", "-m"]
    with tempfile.TemporaryFile("w+") as heard:
        beside = subprocess.Popen([*pytest, *common, "not real"], cwd=root, env=env, stdout=heard, stderr=heard)
        try:
            print("-- with real machines (all others run beside them)", flush=True)
            first = subprocess.run([*pytest, *common, "real"], cwd=root, env=env).returncode
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
    return first or second
