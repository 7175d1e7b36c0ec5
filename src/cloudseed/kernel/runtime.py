"""Hosts services in a process: gives each what it stands on, starts them in order, serves, stops them in order.

A service is built by its `service.build(env)`, which returns a `Service`.  No service knows what else runs in
its process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn

from cloudseed.kernel import bus_faults, listening, migrate
from cloudseed.kernel.auth import TokenCache, TokenValidator
from cloudseed.kernel.bus import Bus, InProcessEngine
from cloudseed.kernel.bus import Engine as BusEngine
from cloudseed.kernel.config import Config, Secrets, secrets_of
from cloudseed.kernel.context import Context
from cloudseed.kernel.control import ControlServer
from cloudseed.kernel.db import Database
from cloudseed.kernel.flow.recorder import FlowRecorder
from cloudseed.kernel.flow.relay import TOPIC as FLOWS
from cloudseed.kernel.flow.relay import FlowReceiver, FlowSender
from cloudseed.kernel.flow.store import FlowStore
from cloudseed.kernel.host_pictures import PART, HostPictures
from cloudseed.kernel.http.client import Credentials, ServiceSession
from cloudseed.kernel.http.edge import Edge, Mount
from cloudseed.kernel.http.reading import BulkReader
from cloudseed.kernel.http.transport import HttpTransport, LocalTransport
from cloudseed.kernel.operations import Engine
from cloudseed.kernel.operations.tables import OperationTables
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.policy import Policy, Rule
from cloudseed.kernel.service_types import SERVICE_TYPES
from cloudseed.kernel.sqlite import SqliteDatabase

log = logging.getLogger(__name__)

@dataclass
class Service:
    """What a service hands to the runtime.

    `ledger`: a plain picture of what the service holds (lists of JSON objects by name), which `audit` compares
    across services.  `explain`: the story of a resource.  `ready` runs once every endpoint answers.
    """

    name: str
    mounts: list[Mount] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    engines: list[Engine] = field(default_factory=list)
    start: Callable[[], Awaitable[None]] | None = None
    ready: Callable[[], Awaitable[None]] | None = None
    stop: Callable[[], Awaitable[None]] | None = None
    ledger: Callable[[], Awaitable[dict[str, Any]]] | None = None
    explain: Callable[[str, str], Awaitable[dict[str, Any] | None]] | None = None  # (resource type, id or name)
    handle: Any = None  # the service's own object, for tests


class Environment:
    """What services stand on.  One for each process; constructors get it, nothing is global."""

    def __init__(
        self, config: Config, *, host: Any = None, secrets: Secrets | None = None, serves_api: bool = True
    ) -> None:
        """`serves_api` False: a process of agents, which keeps nothing that somebody asks for later."""
        self.config = config
        self.state = config.data_path
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.secrets = secrets or secrets_of(config)
        self.host = host  # cloudseed.host.client.HostClient, None without a privileged process
        self.flow_store = FlowStore(self.state / "flows.sqlite") if config.record_flows and serves_api else None
        self.relays_flows = config.record_flows and not serves_api and bool(config.broker)
        self.recorder = FlowRecorder(self.flow_store, relayed=self.relays_flows)
        key = bytes.fromhex(self.secrets.keys.get("hop", ""))
        self.edge = Edge(self.recorder, config.public_url, key)
        self.remote = HttpTransport(key)
        self.transport = LocalTransport(self.edge, self.remote)
        self.bus_engine = bus_engine(config)
        self.token_cache = TokenCache()
        # where services are called (one URL or several by comma), and what clients are told
        self.endpoints = {kind: config.endpoint(kind, prefix) for kind, (prefix, _) in SERVICE_TYPES.items()}
        self.catalogue = {kind: urls.partition(",")[0].strip() for kind, urls in self.endpoints.items()}
        self.identity_url = self.catalogue["identity"]
        self.databases: dict[str, Database] = {}
        self.sole = not config.database  # no other process works on our databases
        self._postgres: Any = None  # kernel.postgres.Server, loaded only where it is used

    def database(self, service: str, metadata: sa.MetaData) -> Database:
        """The service's own database, at its newest schema: a file's is upgraded, a server's must be so already."""
        if self.config.database:
            return self._on_postgres(service)
        directory = self.state / "db"
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f"{service}.sqlite"
        migrate.upgrade(service, path)
        database = self.databases[service] = SqliteDatabase(path, name=service)
        return database

    def _on_postgres(self, service: str) -> Database:
        from cloudseed.kernel.postgres import schema
        from cloudseed.kernel.postgres.database import PostgresDatabase
        from cloudseed.kernel.postgres.server import Server

        if self._postgres is None:
            self._postgres = Server(self.config.database)
        name = schema.check(self.config.database, service)
        database = self.databases[service] = PostgresDatabase(self._postgres, name, name=service)
        return database

    async def close_databases(self) -> None:
        for database in self.databases.values():
            await database.close()
        if self._postgres is not None:
            await self._postgres.close()

    def session(self, part: str, user: str, *, discover: bool = False) -> ServiceSession:
        """HTTP calls to other services as part `part`, authenticated as service user `user`."""
        credentials = Credentials(user, self.secrets.passwords[user], discover=discover)
        return ServiceSession(
            part,
            credentials,
            self.endpoints,
            self.transport,
            self.recorder,
            {kind: name for kind, (_, name) in SERVICE_TYPES.items()},
        )

    def bus(self, part: str) -> Bus:
        return Bus(part, self.bus_engine, self.recorder)

    def validator(self, session: ServiceSession) -> TokenValidator:
        """Token validation for the part that `session` belongs to; the cache is the process's."""
        return TokenValidator(session, self.token_cache)

    def policy(self, service: str, rules: list[Rule], **options: Any) -> Policy:
        folder = Path(self.config.policy_dir) if self.config.policy_dir else self.state / "policy"
        return Policy(rules, folder / f"{service}.yaml", **options)

    def operations(self, database: Database, tables: OperationTables) -> Engine:
        return Engine(database, tables, lease_s=self.config.operation_lease_s, sole=self.sole)


def bus_engine(config: Config) -> BusEngine:
    """What carries this process's messages: RabbitMQ when a broker is configured, nothing but itself otherwise."""
    engine: BusEngine = InProcessEngine()
    if config.broker:
        from cloudseed.kernel.amqp import RabbitEngine  # a process without a broker does not pay for it

        engine = RabbitEngine(config.broker)
    if (faults := bus_faults.from_environment()) is not None:  # tests only
        engine = bus_faults.UnreliableEngine(engine, faults)
    return engine


class Runtime:
    """Runs services until stopped."""

    def __init__(self, env: Environment, builders: list[Callable[[Environment], Service]]) -> None:
        self.env = env
        self.services = [build(env) for build in builders]
        self._tasks: list[asyncio.Task[Any]] = []
        for mount in (mount for service in self.services for mount in service.mounts):
            for kind, (prefix, _) in SERVICE_TYPES.items():
                if prefix == mount.prefix:  # ours: called without a socket, whatever others call it by
                    env.endpoints[kind] = env.config.public_url + prefix
        self._server: uvicorn.Server | None = None
        self._ended = asyncio.Event()
        self._control: ControlServer | None = None
        self._hosts = HostPictures(env.config, env.host, env.bus(PART))
        self.started_at = time.time()

    async def start(self, *, listen: bool = True) -> None:
        """Start every service; return when every endpoint answers.  `listen` False: in-process calls only.

        A process whose services have no endpoint listens nowhere."""
        for service in self.services:
            for mount in service.mounts:
                self.env.edge.mount(mount)
        await self.env.bus_engine.start()
        if self.env.host is not None:
            self._hosts.serve()
        if self.env.flow_store is not None and self.env.config.broker:
            self.env.bus(FLOWS).serve(FLOWS, {"store": FlowReceiver(self.env.flow_store).store})
        self.env.bus("token-cache").serve("token-cache", {"forget": self._forget_tokens})
        for service in self.services:
            for engine in service.engines:
                await engine.recover()
            if service.start is not None:
                await service.start()
        if listen and any(service.mounts for service in self.services):
            await self._listen()
        for service in self.services:
            for engine in service.engines:
                self._spawn(f"{service.name} operations", engine.run())
            for loop in service.loops:
                self._spawn(loop.name, loop.run())
        self._spawn("flow recorder", self._flush_flows())
        for service in self.services:
            if service.ready is not None:
                await service.ready()
        await self.env.bus_engine.settled(timeout_s=5.0)  # a broker that is away does not keep us from starting
        if listen:
            self._control = ControlServer(self.env.state / "control.sock", self._commands())
            await self._control.start()

    async def _forget_tokens(self, ctx: Context) -> None:
        """Keystone revoked something (fanout on the topic "token-cache")."""
        self.env.token_cache.clear()

    def _spawn(self, name: str, work: Any) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._died)
        self._tasks.append(task)

    def _died(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s died; the process stops", task.get_name(), exc_info=error)
            self._ended.set()

    async def _listen(self) -> None:
        config = self.env.config
        sockets = listening.listeners([(config.address, config.port), *map(listening.parse, config.listen)])
        settings = uvicorn.Config(
            self.env.edge,
            http=BulkReader,  # type: ignore[arg-type]  # a class made and used like uvicorn's own
            ws="wsproto",
            ws_max_size=1 << 20,  # what a viewer sends: keys, and texts for a clipboard
            ws_per_message_deflate=False,  # a small message may unpack to a large one, and costs memory meanwhile
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=75,
            h11_max_incomplete_event_size=None,
        )
        # at INFO it writes each websocket's URL into the log, and a console's URL holds its token
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._server = uvicorn.Server(settings)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._serving = asyncio.create_task(self._server.serve(sockets=sockets), name="http")
        while not self._server.started:
            if self._serving.done():
                self._serving.result()
                raise RuntimeError("the HTTP server did not start")
            await asyncio.sleep(0.005)

    async def _flush_flows(self) -> None:
        sender = FlowSender(self.env.recorder, Bus(FLOWS, self.env.bus_engine, FlowRecorder()))
        while True:
            await asyncio.sleep(0.5)
            try:
                if self.env.relays_flows:
                    await sender.send()
                else:
                    self.env.recorder.flush()
            except Exception as exc:  # a full disk loses flows, and nothing else
                log.warning("flows could not be kept: %s", exc)

    def _commands(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        """What our own CLI asks of the running process, through a unix socket in the state directory."""

        async def status() -> dict[str, Any]:
            return {
                "services": [s.name for s in self.services],
                "url": self.env.config.public_url,
                "started_at": self.started_at,
            }

        async def ledger() -> dict[str, Any]:
            return await self.ledger()

        async def explain(kind: str, name: str) -> dict[str, Any] | None:
            for service in self.services:
                if service.explain is not None and (story := await service.explain(kind, name)) is not None:
                    return story
            return None

        async def flush() -> None:
            self.env.recorder.flush()

        return {"status": status, "ledger": ledger, "explain": explain, "flush": flush}

    async def ledger(self) -> dict[str, Any]:
        """What every service holds, by service name; what this host holds (`host`), and what others do (`hosts`)."""
        picture: dict[str, Any] = {}
        for service in self.services:
            if service.ledger is not None:
                picture[service.name] = await service.ledger()
            if service.engines:
                open_operations = [op for engine in service.engines for op in await engine.open_operations()]
                picture.setdefault(service.name, {})["operations"] = open_operations
        others = await self._hosts.others(picture)
        if (mine := await self._hosts.mine()) is not None:
            picture["host"] = mine
        if others:
            picture["hosts"] = others
        return {**picture, "taken_at": time.time()}

    async def stop(self) -> None:
        """Stop taking requests, let work end within a grace time, then close."""
        if self._control is not None:
            await self._control.stop()
        if self._server is not None:
            self._server.should_exit = True
            await asyncio.wait({self._serving}, timeout=5)
        for task in reversed(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self.env.bus_engine.drain()
        for service in reversed(self.services):
            if service.stop is not None:
                await service.stop()
        await self.env.bus_engine.stop()
        self.env.recorder.flush()
        await self.env.remote.close()
        await self.env.close_databases()
        if self.env.flow_store is not None:
            self.env.flow_store.close()

    async def wait(self) -> None:
        """Until something without which the process is of no use has ended."""
        broken = asyncio.create_task(self._ended.wait())
        await asyncio.wait({broken} if self._server is None else {broken, self._serving},
                           return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()

    def context(self) -> Context:
        return Context()
