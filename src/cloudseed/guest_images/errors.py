"""The one error of image building, and the one way to run a program, so that every failure names its cause."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class BuildError(Exception):
    """An image could not be built: the text says at which step, why, and what to do."""


def run_tool(
    argv: Sequence[str | Path],
    *,
    doing: str,
    package: str,
    timeout_s: float = 120,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    `doing` says what for, in the words of the error; `package` is the Debian package to install when the
    program is missing.  Raises BuildError for a missing program, a status other than 0, and a timeout.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC", **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as exc:
        raise BuildError(f"{doing}: {words[0]} is not installed. Fix: sudo apt-get install {package}") from exc
    except subprocess.TimeoutExpired as exc:
        raise BuildError(f"{doing}: {words[0]} did not end within {timeout_s:.0f} s") from exc
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing")[-800:]
        raise BuildError(f"{doing}: {words[0]} ended with status {done.returncode}: {said}")
    return done.stdout
