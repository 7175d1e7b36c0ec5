"""The control process of the embedded shape: every service in one event loop.  `up` starts it.

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

from cloudseed.cli.processes import host_socket
from cloudseed.cli.roles import builders, parts_of, whole
from cloudseed.host.client import HostClient
from cloudseed.host.fake import FakeHost
from cloudseed.kernel.config import Config
from cloudseed.kernel.operations.faults import arm_from_environment
from cloudseed.kernel.runtime import Environment, Runtime

log = logging.getLogger("cloudseed")


async def serve(config: Config) -> None:
    """Start every service, serve until SIGTERM or SIGINT, stop in order."""
    socket = host_socket(config.state_path)
    host = HostClient(socket) if socket.exists() else FakeHost(config.name, config.data_path)
    if config.driver == "auto":
        config.driver = "qemu" if socket.exists() else "fake"
    env = Environment(config, host=host)
    runtime = Runtime(env, builders(parts_of(config.services.split(",")) if config.services else whole()))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await runtime.start()
    # what was loaded at the start stays for ever: the collector need not look at it again
    gc.collect()
    gc.freeze()
    log.info("serving on %s", config.public_url)
    waiting = {asyncio.create_task(stopping.wait()), asyncio.create_task(runtime.wait())}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    log.info("stopping")
    await runtime.stop()
    await host.close()


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cloudseed daemon")
    parser.add_argument("--config", type=Path, required=True)
    options = parser.parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    arm_from_environment()
    config = msgspec.json.decode(options.config.read_bytes(), type=Config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config))
    return 0
