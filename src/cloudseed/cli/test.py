"""`cloudseed test`: everything that CI checks, exactly as CI checks it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
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
    everything = ["-q", "--durations=25", "-n", "2", "--dist", "loadgroup"]  # see tests/conftest.py
    pytest = [str(tools / "python"), "-m", "pytest", *(rest.split() or everything)]
    code = subprocess.run(pytest, cwd=root, env=env).returncode
    if failed:
        print(f"FAILED checks: {', '.join(failed)}", file=sys.stderr)
    return 1 if code or failed else 0
