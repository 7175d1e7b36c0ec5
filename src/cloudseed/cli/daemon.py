"""A process of services in one event loop: all of them in the embedded shape, those of some roles else.

`python -m cloudseed.cli daemon --config FILE` runs until SIGTERM.  Unprivileged: what needs privileges it asks
of the host process, whose socket is in the state directory.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import signal
import sys
from pathlib import Path

import msgspec
import uvloop

from cloudseed import points
from cloudseed.cli.processes import host_socket
from cloudseed.cli.roles import CONTROL, builders, parts_of, whole
from cloudseed.host.client import HostClient
from cloudseed.host.fake import FakeHost
from cloudseed.kernel.config import Config
from cloudseed.kernel.errors import Unavailable
from cloudseed.kernel.migrate import SchemaTooNew, SchemaTooOld
from cloudseed.kernel.operations.faults import arm_from_environment
from cloudseed.kernel.runtime import Environment, Runtime

log = logging.getLogger("cloudseed")


async def serve(config: Config) -> bool:
    """Start what `config.services` names, else every service; serve until SIGTERM or SIGINT; stop in order.  False when
    it ended because something broke."""
    parts = parts_of(name.strip() for name in config.services.split(",")) if config.services else whole()
    controls = any(part in CONTROL for part in parts)
    points.arm_from_environment("control" if controls else "agent")
    socket = host_socket(config.state_path)
    host: HostClient | FakeHost | None = None
    if any(part not in CONTROL for part in parts):
        host = HostClient(socket) if socket.exists() else FakeHost(config.name, config.data_path)
    if config.driver == "auto":
        config.driver = "qemu" if socket.exists() else "fake"
    env = Environment(config, host=host, serves_api=controls)
    runtime = Runtime(env, builders(parts))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await runtime.start()
    # what was loaded at the start stays for ever: the collector need not look at it again
    gc.collect()
    gc.freeze()
    log.info("at work: %s", ", ".join(parts))
    waiting = {asyncio.create_task(stopping.wait()), asyncio.create_task(runtime.wait())}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    log.info("stopping")
    await runtime.stop()
    if host is not None:
        await host.close()
    return stopping.is_set()


def run_config(config: Config) -> int:
    """Serve with these settings, in this process; the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    arm_from_environment()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return 0 if runner.run(serve(config)) else 1
        except (SchemaTooOld, SchemaTooNew, Unavailable) as exc:
            print(f"cloudseed: {exc}", file=sys.stderr)
            return 1


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cloudseed daemon")
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(argv)
    return run_config(msgspec.json.decode(options.config.read_bytes(), type=Config))
