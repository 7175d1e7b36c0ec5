"""Compute hosts: each listens on `compute.<host>`, reports in, and looks after its machines.

Assembled here, with the door for their guests; what is done to a server is in `host_work.py`, in which order in
`worker.py`, by which driver in `drivers/`.  It has no database.  Its end touches no machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cloudseed.host.paths import StatePaths
from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.nova.compute.admission import Ask, Kind
from cloudseed.nova.compute.begun import Begun
from cloudseed.nova.compute.consoles import ConsoleKind
from cloudseed.nova.compute.drivers.base import Driver
from cloudseed.nova.compute.drivers.fake import FakeDriver
from cloudseed.nova.compute.drivers.qemu import QemuDriver
from cloudseed.nova.compute.errors import Superseded
from cloudseed.nova.compute.guest_requests import GuestRequests
from cloudseed.nova.compute.host_work import HostWork
from cloudseed.nova.compute.images import ImageCache
from cloudseed.nova.compute.move_work import LiveRequests
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.node import NodeFile
from cloudseed.nova.compute.parts import HostParts
from cloudseed.nova.compute.plugging import Plugs
from cloudseed.nova.compute.publishing import Publisher
from cloudseed.nova.compute.reconcile import Action, Mend, decide
from cloudseed.nova.compute.resources import Resources
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.compute.worker import ServerWorker
from cloudseed.nova.metadata import vendor_data
from cloudseed.nova.metadata.door import Door
from cloudseed.nova.metadata.inquiry import Inquiry

log = logging.getLogger(__name__)
RECONCILE_S = 60.0
RECONCILE_AGAIN_S = 3.0
DROP_IMAGES_S = 3600.0
SOFT_TIMEOUT_S = 60.0
LOCAL = (Kind.FORGET_PORT, Kind.SYNC_NETWORK, Kind.SYNC_POWER, Kind.EXTEND_VOLUME)  # not asked by an operation


class ComputeService:
    """The machines of one host, driven by `driver`.  `network_host`: the host's name for neutron, when it is not the
    process's own."""

    def __init__(self, env: Environment, host_name: str, driver: Driver,
                 session: ServiceSession | None = None, images: ImageCache | None = None,
                 network_host: str = "") -> None:
        self.host = host_name
        self.driver = driver
        self._underlay = env.config.underlay_address
        self._session = session or env.session("nova-compute", "nova")
        self._bus = env.bus("nova-compute")
        self._node = NodeFile(_directory(env, host_name), host_name)
        self.node_id = self._node.node.id
        self._publisher = Publisher(self._bus, host_name, self.node_id,
                                    env.config.underlay_address or env.config.address)
        self._resources = Resources(self._session, env.config, self.node_id, host_name)
        self._plugs = Plugs()
        self._images = images
        self._work = HostWork(HostParts(
            host=host_name, network_host=network_host or env.config.host,
            address=env.config.underlay_address or env.config.address,
            node_id=self.node_id, driver=driver, session=self._session, images=images, plugs=self._plugs,
            publisher=self._publisher,
            networks=Networks(self._session), volumes=Volumes(self._session),
            vendor_data=vendor_data.load(env.config.vendor_data_file)))
        self._workers: dict[str, ServerWorker] = {}
        self._begun = Begun()
        self._report_loop = Loop(f"nova-compute {host_name}: report", self._report, env.config.report_interval_s,
                                 first_delay_s=env.config.report_interval_s)
        self._reconcile_loop = Loop(f"nova-compute {host_name}: machines", self._reconcile, RECONCILE_S)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Listen, report in once (its failure is made good by the loop), then look after the machines."""
        asks = {kind.value: self._asked(kind) for kind in Kind if kind not in LOCAL}
        self._unsubscribe = self._bus.serve(f"compute.{self.host}", {
            **asks, "external_event": self._external_event, "console_output": self._console_output,
            "console": self._console, "look_again": self._look_again,
            **GuestRequests(self.driver, self.host).handlers(), **LiveRequests(self.driver).handlers()})
        try:
            await self._report()
        except CloudseedError as exc:
            log.warning("%s could not report in yet: %s", self.host, exc.message)
            self._report_loop.hint()
        loops = [self._report_loop, self._reconcile_loop]
        if self._images is not None:
            loops.append(Loop(f"nova-compute {self.host}: images", self._images.drop_unused, DROP_IMAGES_S))
        for loop in loops:
            self._spawn(loop.run())
        self._spawn(self._watch())

    async def stop(self) -> None:
        """Let go of the machines; they run on."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        tasks = [*self._tasks, *(worker.task for worker in self._workers.values())]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        self.driver.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("nova-compute %s: a task died: %s", self.host, error, exc_info=error)

    # ---- requests

    def _worker(self, server_id: str) -> ServerWorker:
        worker = self._workers.get(server_id)
        if worker is None:
            worker = self._workers[server_id] = ServerWorker(server_id, self._work.perform, self._forget)
        return worker

    def _forget(self, server_id: str) -> None:
        self._workers.pop(server_id, None)

    def _asked(self, kind: Kind) -> Callable[..., Awaitable[Any]]:
        async def handle(ctx: Context, server_id: str, operation_id: str, **arguments: Any) -> Any:
            ask = Ask(kind, operation_id)
            return await self._worker(server_id).ask(ctx, ask, self._begun.corrected(ask, arguments))

        return handle

    async def _external_event(self, ctx: Context, events: list[dict[str, Any]]) -> None:
        """What neutron told nova-api: [{"name", "server_uuid", "tag", "status"}]."""
        for event in events:
            server_id, name = event["server_uuid"], event["name"]
            if name == "network-vif-plugged" and event.get("status", "completed") == "completed":
                self._plugs.plugged(server_id, event.get("tag") or "")
            elif name == "network-vif-plugged" and event.get("status") == "failed":
                self._plugs.failed(server_id, event.get("tag") or "")
            elif name == "network-changed" and not self._plugs.expects(server_id):
                self._spawn(self._quietly(ctx, server_id, Ask(Kind.SYNC_NETWORK), {}))
            elif name == "network-vif-deleted" and not self._plugs.expects(server_id):
                self._spawn(self._quietly(ctx, server_id, Ask(Kind.FORGET_PORT), {"port_id": event.get("tag")}))
            elif name == "volume-extended":
                self._spawn(self._quietly(ctx, server_id, Ask(Kind.EXTEND_VOLUME), {"volume_id": event.get("tag")}))

    async def _quietly(self, ctx: Context, server_id: str, ask: Ask, arguments: dict[str, Any]) -> bool:
        try:
            await self._worker(server_id).ask(ctx, ask, arguments)
        except Superseded:
            return True  # it is being deleted: there is nothing to keep true any more
        except CloudseedError as exc:
            log.warning("%s of server %s on %s failed: %s", ask.kind, server_id, self.host, exc.message)
            return False
        return True

    async def _console_output(self, ctx: Context, server_id: str, length: int | None = None) -> str:
        return await self.driver.console_output(server_id, length)

    async def _console(self, ctx: Context, server_id: str, kind: ConsoleKind, viewer: str = "") -> dict[str, Any]:
        """Where the console is; for a `viewer` at another address than ours, with a way to it that is good once."""
        found = await self.driver.console(server_id, kind)
        if viewer not in ("", self._underlay):
            door = await self.driver.console_door(server_id, kind, viewer)
            found = msgspec.structs.replace(found, server_id=server_id, door=door)
        address: dict[str, Any] = msgspec.to_builtins(found)
        return address

    async def _look_again(self, ctx: Context) -> None:
        self._reconcile_loop.hint()

    # ---- what must stay true

    async def _report(self) -> None:
        ctx, facts = Context(), await self.driver.facts()
        await self._publisher.report_host(ctx, facts)
        await self._resources.report(ctx, facts)

    async def _watch(self) -> None:
        """Machines' ends, as they happen; when the source is lost, look at all machines and listen again."""
        while True:
            try:
                async for exit_ in self.driver.exits():
                    self._spawn(self._quietly(Context(), exit_.server_id, Ask(Kind.SYNC_POWER),
                                              {"reason": exit_.reason}))
            except CloudseedError as exc:
                log.warning("%s cannot watch its machines now: %s", self.host, exc.message)
            await asyncio.sleep(1.0)
            self._reconcile_loop.hint()

    async def _reconcile(self) -> None:
        ctx = Context()
        facts = await self.driver.facts()
        machines = await self.driver.machines()  # before the wish: see decide
        wish = await self._publisher.wish(ctx)
        strangers = sorted({m.server_id for m in machines} - {server["id"] for server in wish})
        fates = await self._publisher.fates(ctx, strangers) if strangers else {}
        rebooted = self._node.node.boot_id not in ("", facts.boot_id)
        actions = decide(machines, wish, fates, rebooted=rebooted)
        done = await asyncio.gather(*(self._mend(ctx, action) for action in actions))
        # one with an operation under way is looked at again once that is over
        if all(done) and not any(server["busy"] for server in wish):
            self._node.looked_after(facts.boot_id)
        else:
            asyncio.get_running_loop().call_later(RECONCILE_AGAIN_S, self._reconcile_loop.hint)
        if await self._resources.lost(ctx):
            self._report_loop.hint()

    async def _mend(self, ctx: Context, action: Action) -> bool:
        server_id = action.server_id
        log.info("%s: %s server %s", self.host, action.mend, server_id)
        match action.mend:
            case Mend.START:
                assert action.wish is not None
                ask, arguments = Ask(Kind.POWER_ON), {"spec": action.wish["spec"]}
            case Mend.PAUSE:
                ask, arguments = Ask(Kind.PAUSE), {}
            case Mend.STOP:
                ask, arguments = Ask(Kind.POWER_OFF), {"soft_timeout_s": SOFT_TIMEOUT_S}
            case Mend.TELL_OFF:
                ask, arguments = Ask(Kind.SYNC_POWER), {"reason": "found off"}
            case Mend.REMOVE:
                ask, arguments = Ask(Kind.REMOVE_MACHINE), {}
            case Mend.UNKNOWN:
                log.warning("%s has a machine of server %s, which nobody knows: left alone", self.host, server_id)
                return True
        return await self._quietly(ctx, server_id, ask, arguments)


def build(env: Environment) -> Service:
    """The computes of this process, and the door for the questions of their guests."""
    computes = build_computes(env)
    door = Door(env.state / "metadata.sock", Inquiry(env).answer)

    async def ready() -> None:
        # only now: a compute fetches its token and speaks with placement
        for compute in computes:
            await compute.start()

    async def stop() -> None:
        await door.stop()
        for compute in computes:
            await compute.stop()

    return Service("nova-compute", start=door.start, ready=ready, stop=stop, handle=computes)


def build_computes(env: Environment) -> list[ComputeService]:
    """The computes of this process: `computes` of them over the host process, or that many pretended ones."""
    config, real = env.config, env.host is not None and getattr(env.host, "real", True)
    if config.driver == "qemu" or (config.driver == "auto" and real):
        if env.host is None:
            raise CloudseedError("The qemu driver needs the host process: start as root, or set driver = \"fake\".")
        names, paths = config.compute_names, StatePaths(config.state_path)
        session = env.session("nova-compute", "nova")
        images = ImageCache(session, env.host, config.state_path, config.host)
        sharing = len(names) * config.machine_shares
        return [ComputeService(env, name, QemuDriver(env.host, paths, name, sharing, name == config.host), session,
                               images) for name in names]
    # they share a token: a thousand logins for a thousand pretended hosts would measure nothing
    session, names = env.session("nova-compute", "nova"), config.compute_names
    if config.fake_hosts > 1:
        names = [f"{config.host}-{n + 1}" for n in range(config.fake_hosts)]
    return [ComputeService(env, name, FakeDriver(_directory(env, name) / "machines", config), session)
            for name in names]


def _directory(env: Environment, host_name: str) -> Any:
    return env.state / "nova-compute" / host_name
