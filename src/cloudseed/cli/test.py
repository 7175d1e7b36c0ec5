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
    if failed:
        print(f"FAILED checks: {', '.join(failed)}", file=sys.stderr)
    return 1 if code or failed else 0


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
