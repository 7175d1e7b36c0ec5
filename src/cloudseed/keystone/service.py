"""Keystone, assembled: database, policy, keys, the URL table, and the work in the background."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.config import ConfigError
from cloudseed.kernel.db import Database
from cloudseed.kernel.errors import CloudseedError, Conflict
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.periodic import Loop
from cloudseed.kernel.runtime import Environment, Service
from cloudseed.keystone import revocations, shared
from cloudseed.keystone.bootstrap import bootstrap
from cloudseed.keystone.keys import KeyRepository, KeyRing
from cloudseed.keystone.models import metadata, projects, users
from cloudseed.keystone.passwords import Passwords
from cloudseed.keystone.policies import RULES
from cloudseed.keystone.routes import routes
from cloudseed.keystone.shared import SharedKeys
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.validation import LocalValidator


def _keys(env: Environment, db: Database, kind: str) -> KeyRing:
    """In files where this process is alone, else shared by way of the database."""
    if env.sole:
        return KeyRepository(env.state / "keystone" / kind)
    secret = env.secrets.keys.get("keystone")
    if not secret:
        raise ConfigError("this machine's secrets have no key for keystone: cloudseed secrets --services control")
    return SharedKeys(db, kind, secret)


def build(env: Environment) -> Service:
    db = env.database("keystone", metadata)
    ks = Keystone(
        config=env.config, db=db,
        policy=env.policy("keystone", RULES, message="You are not authorized to perform the requested action: {rule}."),
        bus=env.bus("keystone"), passwords=Passwords(env.config.password_hash_rounds),
        token_keys=_keys(env, db, "fernet-keys"), credential_keys=_keys(env, db, "credential-keys"),
        alone=env.sole)
    challenge = f'Keystone uri="{env.identity_url}/v3"'

    async def say_where(req: Request, resp: Response, error: CloudseedError) -> None:
        if error.status == 401:
            resp.set_header("WWW-Authenticate", challenge)

    app = make_app(routes(ks), fault=faults.keystone, validator=LocalValidator(ks),
                   identity_url=f"{env.identity_url}/v3", on_error=say_where)
    async def look() -> None:
        if await ks.look():
            env.token_cache.clear()  # the news may not have come over the bus

    stop_listening = ks.bus.serve("keystone", {"rotate_keys": ks.rotate_keys})
    loops = [Loop("keystone: old revocations", lambda: revocations.drop_old(ks), 3600.0, first_delay_s=600.0)]
    if not env.sole:
        others = Loop("keystone: changes by others", look, shared.LOOK_S)
        db.listen(shared.CHANNEL, others.hint)
        loops.append(others)

    async def start() -> None:
        await ks.load_keys()
        try:
            await bootstrap(ks, env.secrets.passwords, env.catalogue, env.config.region)
        except Conflict:  # another keystone of a new cloud was doing the same
            await bootstrap(ks, env.secrets.passwords, env.catalogue, env.config.region)

    async def stop() -> None:
        stop_listening()
        ks.passwords.close()

    async def ledger() -> dict[str, Any]:
        """Who can own something elsewhere: what belongs to an id that is not here has lost its owner."""
        async with ks.db.read() as tx:
            owners = await tx.all(sa.select(projects.c.id, projects.c.name, projects.c.domain_id,
                                            projects.c.enabled, projects.c.is_domain))
            people = await tx.all(sa.select(users.c.id, users.c.name, users.c.domain_id, users.c.enabled))
        return {"projects": [dict(row._mapping) for row in owners], "users": [dict(row._mapping) for row in people]}

    return Service("keystone", mounts=[Mount("/identity", "keystone", app)],
                   loops=loops, start=start, stop=stop, ledger=ledger, handle=ks)
