"""Assembles cinder's control part: cinder-api with its operations, and cinder-scheduler.

They speak with each other, and with the managers of all hosts (`volume/`, `backup/`), over the bus only.
"""

from __future__ import annotations

from typing import Any

from cloudseed.cinder import attachments, ledger, models, services, volume_types
from cloudseed.cinder.api import MICROVERSIONS
from cloudseed.cinder.api.prefix import ProjectUrls
from cloudseed.cinder.api.routes import routes
from cloudseed.cinder.backup_work import BackupWork
from cloudseed.cinder.export_work import ExportWork
from cloudseed.cinder.groups import GroupWork
from cloudseed.cinder.managers import Managers
from cloudseed.cinder.policies import RULES
from cloudseed.cinder.snapshots import SnapshotWork
from cloudseed.cinder.state import Cinder
from cloudseed.cinder.volume_work import VolumeWork
from cloudseed.kernel.context import Context
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service

PART, SCHEDULER = "cinder-api", "cinder-scheduler"


def build(env: Environment) -> Service:
    """Cinder but for the managers."""
    db = env.database("cinder", models.metadata)
    bus = env.bus(PART)
    cinder = Cinder(config=env.config, db=db, policy=env.policy("cinder", RULES),
                    engine=env.operations(db, models.operation_tables), session=env.session(PART, "cinder"), bus=bus,
                    scheduler_bus=env.bus(SCHEDULER), managers=Managers(bus))
    exports = ExportWork(cinder)
    cinder.engine.register(*VolumeWork(cinder).types(), *SnapshotWork(cinder).types(),
                           *BackupWork(cinder).types(), *GroupWork(cinder).types(), *exports.types())
    app: Any = make_app(routes(cinder, exports), fault=faults.nova, validator=env.validator(cinder.session),
                        identity_url=env.identity_url, microversions=MICROVERSIONS)
    app.add_middleware(ProjectUrls())
    app.req_options.strip_url_path_trailing_slash = True

    async def report_state(ctx: Context, host: str, binary: str, capabilities: dict[str, Any]) -> None:
        await services.report(cinder, host, binary, capabilities)

    async def export_wish(ctx: Context, host: str) -> list[dict[str, Any]]:
        return await attachments.wished(cinder, host)

    async def choose_host(ctx: Context, size: int, zone: str, extra_specs: dict[str, str]) -> str:
        return await services.choose_host(cinder, ctx, size=size, zone=zone, extra_specs=extra_specs)

    last_words = services.last_words(cinder)

    async def report() -> None:
        await last_words.bring_back()
        await services.report(cinder, env.config.host, SCHEDULER, {})

    async def start() -> None:
        await last_words.listen(cinder.bus.watch)
        await volume_types.make_default(cinder)
        bus.serve(PART, {"report_state": report_state, "export_wish": export_wish})
        cinder.scheduler_bus.serve(SCHEDULER, {"choose_host": choose_host})

    async def picture() -> dict[str, Any]:
        return await ledger.picture(cinder)

    async def explain(kind: str, name: str) -> dict[str, Any] | None:
        return await ledger.explain(cinder, kind, name)

    return Service("cinder", mounts=[Mount("/volume", PART, app)],
                   loops=[Loop("cinder service reports", report, env.config.report_interval_s)],
                   engines=[cinder.engine], start=start, ledger=picture, explain=explain, handle=cinder)
