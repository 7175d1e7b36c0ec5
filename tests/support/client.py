"""The unmodified `openstack` client, without the second of processor time that each start of it takes.

A process of the client's own environment imports it once and forks for each command: the child has the command's
environment, arguments and files, and runs the same `main` as bin/openstack does.  What a command had to import, the
next one finds imported.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from cloudseed.cli import openstack

TIMEOUT_S = 300.0
_PROGRAM = """
import importlib, json, os, sys, traceback
sys.argv = ["openstack"]  # its name for itself, from its import on
from openstackclient import shell

def run(order):
    for number, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        fd = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY)
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["openstack", *order["words"]]
    try:
        return shell.main()
    except SystemExit as exc:
        return exc.code
    except BaseException:
        traceback.print_exc()
        return 1

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        code = run(order)
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        with open(order["modules"], "w") as modules:
            json.dump([name for name, module in list(sys.modules.items()) if hasattr(module, "__spec__")], modules)
        os._exit(code or 0)
    status = os.waitpid(child, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
    if os.path.getsize(order["modules"]):
        for name in json.load(open(order["modules"])):
            if name not in sys.modules:
                try:
                    importlib.import_module(name)
                except Exception:
                    pass
    os.unlink(order["modules"])
"""


class Client:
    """One such process, for commands one after another."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([str(program), "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         text=True, env=_outside())
        self._turn = threading.Lock()
        atexit.register(self.close)

    def run(self, words: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """A command with these OS_* variables, to its end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with self._turn, tempfile.TemporaryDirectory(prefix="client-") as place:
            files = {name: os.path.join(place, name) for name in ("out", "err")}
            for path in files.values():
                Path(path).touch()
            handle, modules = tempfile.mkstemp(prefix="client-modules-")
            os.close(handle)
            order = {**files, "modules": modules, "words": words, "env": {**_outside(), **variables}}
            late = threading.Timer(TIMEOUT_S, self._process.kill)
            late.start()
            try:
                stdin.write(json.dumps(order) + "\n")
                stdin.flush()
                answer = stdout.readline()
            finally:
                late.cancel()
            assert answer, f"openstack {' '.join(words)} did not end within {TIMEOUT_S:g} s"
            out, err = (Path(files[name]).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(words, int(answer), out, err)

    def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.stdout.close()  # type: ignore[union-attr]
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _outside() -> dict[str, str]:
    """The environment of somebody who knows no cloud."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONPATH"))}


@functools.cache
def client() -> Client:
    """The run's, made when it is first asked for."""
    return Client(openstack.environment("client") / "bin" / "python")
