"""Assembles nova's control part: nova-api, nova-conductor, nova-scheduler, the consoles' pages.

They speak with one another, and with the computes of all hosts (`compute/service.py`), over the bus only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cloudseed.kernel.bus import Bus
from cloudseed.kernel.config import Config
from cloudseed.kernel.db import Database
from cloudseed.kernel.hearing import Hearing
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.operations import Engine
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.policy import Policy
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.nova import ledger, models, services
from cloudseed.nova.api import MICROVERSIONS
from cloudseed.nova.api.prefix import OldUrls
from cloudseed.nova.api.routes import routes
from cloudseed.nova.conductor import Conductor
from cloudseed.nova.console import pages
from cloudseed.nova.console.proxy import ConsoleProxy
from cloudseed.nova.consoles import PREFIX as CONSOLES
from cloudseed.nova.metadata.answer import TOPIC as METADATA
from cloudseed.nova.metadata.answers import Answers
from cloudseed.nova.policies import RULES
from cloudseed.nova.scheduler import Scheduler


@dataclass
class Nova:
    """What nova's parts share within a process: no part reaches another through it, but over the bus.

    `conductor` is here for its ordering functions, which write into the caller's own transaction.
    """

    env: Environment
    config: Config
    db: Database
    policy: Policy
    engine: Engine
    api_session: ServiceSession
    conductor_session: ServiceSession
    scheduler_session: ServiceSession
    api_bus: Bus
    conductor_bus: Bus
    scheduler_bus: Bus
    conductor: Conductor = field(init=False)
    scheduler: Scheduler = field(init=False)
    metadata: Answers = field(init=False)
    hearing: Hearing = field(init=False)

    def __post_init__(self) -> None:
        self.hearing = Hearing(self.db.now, self.config.service_down_s)


def build(env: Environment) -> Service:
    """Nova but for the computes."""
    db = env.database("nova", models.metadata)
    nova = Nova(
        env=env, config=env.config, db=db, policy=env.policy("nova", RULES),
        engine=env.operations(db, models.operation_tables),
        api_session=env.session("nova-api", "nova"), conductor_session=env.session("nova-conductor", "nova"),
        scheduler_session=env.session("nova-scheduler", "nova"),
        api_bus=env.bus("nova-api"), conductor_bus=env.bus("nova-conductor"),
        scheduler_bus=env.bus("nova-scheduler"))
    nova.conductor = Conductor(nova)
    nova.scheduler = Scheduler(nova)
    nova.metadata = Answers(nova)
    nova.engine.register(*nova.conductor.types)
    app: Any = make_app(routes(nova), fault=faults.nova, validator=env.validator(nova.api_session),
                        identity_url=env.identity_url, microversions=MICROVERSIONS)
    app.add_middleware(OldUrls())
    console_app: Any = make_app(pages.routes(nova), fault=faults.nova, validator=env.validator(nova.api_session),
                                identity_url=env.identity_url)

    last_words = services.last_words(nova)

    async def report() -> None:
        await last_words.bring_back()
        await services.report_controllers(nova)

    async def start() -> None:
        await last_words.listen(nova.conductor_bus.watch)
        await nova.conductor.start()
        await nova.scheduler.start()
        nova.conductor_bus.serve(METADATA, nova.metadata.handlers())

    async def picture() -> dict[str, Any]:
        return await ledger.picture(nova)

    async def explain(kind: str, name: str) -> dict[str, Any] | None:
        return await ledger.explain(nova, kind, name)

    return Service(
        "nova", mounts=[Mount("/compute", "nova-api", app),
                        Mount(CONSOLES, "nova-novncproxy", console_app, ConsoleProxy(nova), "browser")],
        loops=[Loop("nova service reports", report, env.config.report_interval_s), nova.conductor.heartbeats.loop],
        engines=[nova.engine], start=start, ledger=picture, explain=explain, handle=nova)
