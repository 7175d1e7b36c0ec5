"""The host process itself: its socket, who may ask, and which function answers which command.

Only the control process's user (and root) may connect; the kernel says who a peer is.  Commands on one
connection are answered as they finish: those about one machine wait for one another in `machines.py`, those
about networks wait here, and one that fails does not end the connection.  When the process ends, machines and
dnsmasq run on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cloudseed import points
from cloudseed.host import (
    config_drive,
    disks,
    images,
    inventory,
    kept_disks,
    logs,
    networks,
    processes,
    volume_files,
)
from cloudseed.host import records as r
from cloudseed.host.arrivals import Arrivals
from cloudseed.host.console_gate import ConsoleGate
from cloudseed.host.copies import Copies
from cloudseed.host.departures import Departures
from cloudseed.host.doors import Doors
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.exporters import Exporters
from cloudseed.host.facts import Facts
from cloudseed.host.gate import CONSOLE, VOLUME, Gate
from cloudseed.host.launch import Launcher
from cloudseed.host.machine_volumes import MachineVolumes
from cloudseed.host.machines import Machines
from cloudseed.host.metadata import MetadataRelay
from cloudseed.host.paths import StatePaths, check_cloud_name, check_key
from cloudseed.host.surroundings import Surroundings
from cloudseed.host.users import UID_BASE, UID_COUNT, Users
from cloudseed.host.volume_commands import volume_commands
from cloudseed.host.volume_gate import VolumeGate
from cloudseed.host.volume_ways import VolumeWays
from cloudseed.host.volumes import Volumes
from cloudseed.host.wire import frame, read_frame, short_address

log = logging.getLogger("cloudseed.host")
_TRIM_INTERVAL_S = 15.0


class HostServer:
    """One cloud's host process over one state directory."""

    def __init__(self, cloud: str, state: Path, control_uid: int, control_gid: int, cache: Path | None = None,
                 around: Surroundings | None = None) -> None:
        self._around = around or Surroundings()
        self._cloud = check_cloud_name(cloud)
        self._paths = StatePaths(state.absolute())
        self._control = (control_uid, control_gid)
        self._facts = Facts(cloud, self._paths, cache)
        each = UID_COUNT // self._around.sharing
        users = Users(UID_BASE + self._around.number * each, each)
        self._gate = Gate(self._paths.tls, self._around.underlay)
        for_others = VolumeGate(self._paths, self._gate)
        self._gate.offer(VOLUME, for_others.admit)
        self._volumes = Volumes(self._paths, Exporters(self._paths, users), users, for_others)
        self._ways = VolumeWays(self._paths, self._around.underlay)
        self._launcher = Launcher(cloud, self._paths, control_uid, control_gid, users)
        self._machines = Machines(self._paths, self._launcher, MachineVolumes(self._volumes, self._ways),
                                  self._facts.accel, self._tell_exit)
        consoles = ConsoleGate(self._paths, self._gate, self._machines.process)
        self._gate.offer(CONSOLE, consoles.admit)
        self._consoles = consoles
        self._copies = Copies(self._paths, self._launcher, self._machines, control_gid)
        self._doors = Doors(self._paths.tls, self._around.underlay)
        self._arrivals = Arrivals(self._paths, self._launcher, self._machines, self._doors)
        self._departures = Departures(self._paths, self._launcher, self._machines)
        self._networks = asyncio.Lock()
        self._network_errors: dict[str, str] = {}
        self._metadata = MetadataRelay(cloud, self._paths.metadata_socket, control_uid)
        self._watchers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._commands = self._table()

    async def run(self, socket_path: Path, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Serve until `stop` is set; `ready` is called when connections are accepted."""
        points.begin("start")
        self._prepare()
        self._copies.sweep()
        images.sweep(self._paths)
        await self._machines.adopt()
        await self._volumes.adopt()
        server = await asyncio.start_unix_server(self._accept, sock=self._bind(socket_path))
        trimming = asyncio.create_task(self._trim(), name="trim-logs")
        # the first machine shall not wait for the probe, which takes seconds where hardware virtualization hangs
        probing = asyncio.create_task(self._facts.accel(), name="probe-acceleration")
        ready()
        try:
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({stopping, trimming}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if trimming.done():
                trimming.result()  # a task that ends on its own has failed: say why and stop
        finally:
            trimming.cancel()
            probing.cancel()
            server.close()
            await self._gate.close()
            await self._volumes.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(trimming, probing, *self._connections, return_exceptions=True)
            await server.wait_closed()
            await self._metadata.close()
            await self._copies.drop_all()
            await self._departures.drop_all()
            await self._doors.close_all()
            await self._machines.close()
            await self._ways.close()
            socket_path.unlink(missing_ok=True)

    # ---- the socket

    def _prepare(self) -> None:
        self._paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # the control process passes through but cannot rename: what root runs and reads lies in here
        os.chown(self._paths.root, 0, self._control[1])
        self._paths.root.chmod(0o710)
        for directory in (
            self._paths.machines,
            self._paths.images,
            self._paths.dhcp,
            self._paths.outgoing,
            self._paths.routers,
        ):
            directory.mkdir(mode=0o750, exist_ok=True)
            if directory.is_symlink():
                raise HostError("failed", f"{directory} is a symbolic link: remove it")
            os.chown(directory, 0, self._control[1])
            directory.chmod(0o750)
        self._paths.incoming.mkdir(mode=0o700, exist_ok=True)
        os.chown(self._paths.incoming, *self._control)
        volume_files.prepare(self._paths)

    def _bind(self, path: Path) -> socket.socket:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with short_address(path) as address:
            # a socket that somebody answers on is a host process at work: two must never be
            served = sock.connect_ex(address) == 0
            sock.close()
            if served:
                raise HostError("conflict", f"another host process serves {path}")
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            temporary = path.with_name(path.name + ".new")
            temporary.unlink(missing_ok=True)
            old = os.umask(0o177)
            try:
                sock.bind(f"{address}.new")
            finally:
                os.umask(old)
        os.chown(temporary, *self._control)
        sock.listen(64)
        # whoever waits for the socket to appear can connect to it at once
        temporary.rename(path)
        return sock

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            peer: socket.socket = writer.get_extra_info("socket")
            data = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            _, uid, _ = struct.unpack("3i", data)
            if uid not in (0, self._control[0]):
                log.warning("refused a connection of user %d", uid)
                return
            async with asyncio.TaskGroup() as group:
                await self._read(reader, writer, group)
        except* ConnectionError:
            log.debug("a connection was lost")
        finally:
            self._watchers.discard(writer)
            self._connections.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, group: asyncio.TaskGroup) -> None:
        while True:
            body = None
            try:
                body = await read_frame(reader)
                if body is None:
                    return
                request = msgspec.msgpack.decode(body, type=r.Request)
            except (ValueError, msgspec.MsgspecError) as exc:
                failure = r.Failure(code="invalid", message=f"not a request: {exc}")
                await _send(writer, r.Reply(id=_request_id(body), error=failure))
                if isinstance(exc, msgspec.ValidationError):
                    continue
                return  # who sends noise may be out of step: nothing after it can be trusted
            group.create_task(self._answer(request, writer))

    async def _answer(self, request: r.Request, writer: asyncio.StreamWriter) -> None:
        name = type(request.command).__name__
        points.begin(name)
        points.point("asked")
        try:
            result = await self._do(request.command, writer)
            reply = r.Reply(id=request.id, result=msgspec.Raw(msgspec.msgpack.encode(result)))
        except HostError as exc:
            log.info("%s: %s", name, exc)
            reply = r.Reply(id=request.id, error=r.Failure(code=exc.code, message=exc.message))
        except OSError as exc:
            log.exception("%s", name)
            error = from_os_error(exc, f"serving {name}")
            reply = r.Reply(id=request.id, error=r.Failure(code=error.code, message=error.message))
        except Exception as exc:  # a bug here must not take the connection, and with it other commands, down
            log.exception("%s", name)
            message = f"{name} met a bug in the host process ({type(exc).__name__}): see its log"
            reply = r.Reply(id=request.id, error=r.Failure(code="failed", message=message))
        points.point("answer")
        with contextlib.suppress(ConnectionError):
            await _send(writer, reply)

    # ---- commands

    async def _do(self, command: r.AnyCommand, writer: asyncio.StreamWriter) -> Any:
        if not self._paths.machines.exists() and not isinstance(command, r.Purge | r.GetInventory):
            self._prepare()  # after a purge
        if isinstance(command, r.Watch):
            self._watchers.add(writer)
            return None
        result = self._commands[type(command)](command)
        return await result if inspect.isawaitable(result) else result

    def _table(self) -> dict[type[r.Command], Callable[[Any], Any]]:
        """What does each command; one that is missing here fails a test."""
        machines, paths, thread = self._machines, self._paths, asyncio.to_thread
        return {
            r.GetFacts: self._get_facts,
            r.GetInventory: lambda c: thread(inventory.read, self._cloud, paths),
            r.Purge: lambda c: self._purge(),
            r.ApplyNetworks: self._apply,
            r.EnsureMachine: lambda c: machines.ensure(c.spec),
            r.StopMachine: lambda c: machines.stop(c.server_id, c.hard),
            r.PauseMachine: lambda c: machines.pause(c.server_id, c.paused),
            r.SuspendMachine: lambda c: machines.suspend(c.server_id),
            r.ClaimMachine: lambda c: thread(self._claim, c.server_id, c.owner),
            r.RemoveMachine: self._remove_machine,
            r.ListMachines: lambda c: [machines.info(server_id) for server_id in machines.server_ids()],
            r.AttachInterface: lambda c: machines.attach_interface(c.server_id, c.nic),
            r.DetachInterface: lambda c: machines.detach_interface(c.server_id, c.port_id),
            r.AttachDisk: lambda c: machines.attach_disk(c.server_id, c.disk),
            r.DetachDisk: lambda c: machines.detach_disk(c.server_id, c.name),
            r.CreateDisk: self._create_disk,
            r.ResizeDisk: lambda c: machines.resize_disk(c.server_id, c.name, c.size_bytes),
            r.RemoveDisk: lambda c: machines.remove_disk(c.server_id, c.name),
            r.KeepDisks: lambda c: machines.while_off(c.server_id, kept_disks.keep),
            r.RestoreDisks: lambda c: machines.while_off(c.server_id, kept_disks.restore),
            r.DropKeptDisks: lambda c: thread(kept_disks.drop, paths, c.server_id),
            r.GetDisk: lambda c: disks.read(paths, c.server_id, c.name),
            r.CopyDisk: lambda c: self._copies.copy(c.server_id, c.name, c.key),
            r.DropCopy: lambda c: self._copies.drop(c.server_id, c.key),
            r.WriteConfigDrive: lambda c: thread(self._write_config_drive, c.server_id, c.files),
            r.ImportImage: lambda c: thread(images.import_image, paths, c.key, c.source, c.format),
            r.ListImages: lambda c: images.list_images(paths),
            r.RemoveImage: lambda c: images.remove_image(paths, c.key),
            r.ReceiveDisks: self._receive_disks,
            r.SettleDisks: lambda c: self._arrivals.settle(c.server_id),
            r.ReceiveMachine: lambda c: self._arrivals.receive_machine(c.spec),
            r.SendDisks: lambda c: self._departures.send_disks(c.server_id, c.door),
            r.SendMachine: lambda c: self._departures.send_machine(c.server_id, c.door),
            r.GetSending: lambda c: self._departures.status(c.server_id),
            r.HurryMachine: lambda c: self._departures.hurry(c.server_id),
            r.TakeBack: lambda c: self._departures.take_back(c.server_id, c.paused),
            r.RunMachine: lambda c: self._arrivals.run(c.server_id, c.paused),
            r.OpenConsole: self._consoles.let,
            **volume_commands(self._volumes),
        }

    def _claim(self, server_id: str, owner: str) -> None:
        machine = self._launcher.directory(server_id)
        if owner and not machine.owner.exists():
            processes.replace_file(machine.owner, check_key(owner, "owner").encode())

    async def _receive_disks(self, command: r.ReceiveDisks) -> r.Door:
        self._claim(command.server_id, command.owner)
        return await self._arrivals.receive_disks(command.server_id)

    async def _create_disk(self, command: r.CreateDisk) -> r.DiskInfo:
        self._claim(command.server_id, command.owner)
        return await asyncio.to_thread(
            disks.create,
            self._paths,
            command.server_id,
            command.name,
            command.size_bytes,
            command.backing,
            command.backing_format,
        )

    async def _remove_machine(self, command: r.RemoveMachine) -> None:
        await self._copies.drop_all(command.server_id)
        await self._departures.drop(command.server_id)
        await self._arrivals.forget(command.server_id)
        await self._machines.remove(command.server_id)

    async def _get_facts(self, command: r.GetFacts) -> r.HostFacts:
        return msgspec.structs.replace(await self._facts.get(), network_errors=self._network_errors)

    async def _apply(self, command: r.ApplyNetworks) -> r.ApplyResult:
        async with self._networks:
            result = await asyncio.to_thread(
                networks.apply,
                self._cloud,
                self._paths,
                command.networks,
                command.full,
                command.routers,
                self._around,
            )
            known = {} if command.full else self._network_errors
            known |= {status.network_id: status.error for status in result.networks}
            self._network_errors = {network_id: error for network_id, error in known.items() if error}
            failed = set(self._network_errors)
            applied = [wish for wish in command.networks if wish.network_id not in failed]
            await self._metadata.sync(applied, command.full)
            broken = {status.router_id for status in result.routers if status.error}
            routers = [wish for wish in command.routers if wish.router_id not in broken]
            await self._metadata.sync_routers(routers, command.full)
            return result

    def _write_config_drive(self, server_id: str, files: dict[str, bytes]) -> None:
        data = config_drive.build(files)
        machine = self._launcher.directory(server_id)
        processes.replace_file(machine.config_drive, data, mode=0o600)

    async def _purge(self) -> None:
        await self._copies.drop_all()
        async with self._networks:
            await self._metadata.close()
            for server_id in self._machines.server_ids():
                await self._machines.remove(server_id)
            await self._volumes.purge()
            await asyncio.to_thread(inventory.purge, self._cloud, self._paths)

    # ---- what goes on besides

    def _tell_exit(self, server_id: str, reason: str) -> None:
        log.info("server %s exited: %s", server_id, reason)
        data = frame(msgspec.msgpack.encode(r.Reply(id=0, event=r.MachineExited(server_id=server_id, reason=reason))))
        for writer in self._watchers:
            writer.write(data)

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(_TRIM_INTERVAL_S)
            await asyncio.to_thread(logs.trim, self._paths)


def _request_id(body: bytes | None) -> int:
    """The id of a request whose command made no sense, so that its sender learns of it."""
    try:
        value = msgspec.msgpack.decode(body or b"", type=dict[str, Any]).get("id")
        return value if isinstance(value, int) and value > 0 else 0
    except msgspec.MsgspecError:
        return 0


async def _send(writer: asyncio.StreamWriter, reply: r.Reply) -> None:
    writer.write(frame(msgspec.msgpack.encode(reply)))
    await writer.drain()


async def serve(cloud: str, state: Path, socket_path: Path, uid: int, gid: int, around: Surroundings) -> None:
    """Run the host process until SIGTERM or SIGINT; prints `ready` when it accepts connections."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    cache = os.environ.get("CLOUDSEED_CACHE")
    server = HostServer(cloud, state, uid, gid, Path(cache) if cache else None, around)
    await server.run(socket_path, lambda: print("ready", flush=True), stop)


def main(argv: list[str]) -> int:
    """`python -m cloudseed.host`; exit code 1 with the reason when it cannot serve."""
    parser = argparse.ArgumentParser(prog="cloudseed.host", description=__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="the cloud's state directory")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--uid", type=int, required=True, help="the control process's user")
    parser.add_argument("--gid", type=int, required=True, help="the control process's group")
    parser.add_argument("--name", default="cs", help="the cloud's short name, which its namespaces start with")
    parser.add_argument(
        "--external-nat", action="store_true", help="guests behind routers reach what this host reaches"
    )
    parser.add_argument("--underlay", default="", help="this host's IPv4 address among the hosts, for its tunnels")
    parser.add_argument("--provider-interface", default="", help="the link to the segment of external networks")
    parser.add_argument("--number", type=int, default=0, help="which one this is of those that share the machine")
    parser.add_argument("--sharing", type=int, default=1, help="how many host processes share the machine")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("qemu.qmp").setLevel(logging.WARNING)
    if os.geteuid() != 0:
        print("the host process must run as root: machines and networks need it", file=sys.stderr)
        return 1
    os.umask(0o077)
    points.arm_from_environment("host")
    try:
        around = Surroundings(options.external_nat, options.underlay, options.provider_interface,
                              options.number, options.sharing)
        asyncio.run(serve(options.name, options.state, options.socket, options.uid, options.gid, around))
    except HostError as exc:
        print(f"cloudseed.host: {exc.message}", file=sys.stderr)
        return 1
    return 0
