"""Two control machines on one PostgreSQL: either answers, and what one of them was doing the other goes on with."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from cloudseed.cli import migrate
from cloudseed.cli.api import Api, ApiError
from cloudseed.cli.servers.postgres import PostgresServer, find_binaries, free_port
from cloudseed.cli.servers.rabbitmq import Broker
from cloudseed.kernel.config import load_secrets
from cloudseed.kernel.service_types import SERVICE_TYPES
from cloudseed.ledger import checks
from tests.faults.scene import COMPUTE, Scene
from tests.support.daemon import Daemon, wait_for
from tests.support.serving import Serving

# objects lie on one machine's disk: the second has everything else
SECOND = "keystone,placement,glance,cinder,neutron,nova,dashboard"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a server's databases that are at their newest schema."""
    if find_binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    directory = Path(tempfile.mkdtemp(prefix="cs-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        owner = pwd.getpwnam("postgres")
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    server = PostgresServer(directory, free_port(), "not-secret-in-a-test", fsync=False)
    try:
        server.start()
        url = server.url("cs")
        config = directory.parent / f"{directory.name}.toml"
        config.write_text(f'database = "{url}"\nstate = "{directory}-state"\n')
        config.chmod(0o600)
        assert migrate.run(["--config", str(config)]) == 0
        yield url
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(f"{directory}-state", ignore_errors=True)
        (directory.parent / f"{directory.name}.toml").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def cloud(broker: Broker, database: str) -> Iterator[Serving]:
    with Serving(broker.url, operation_lease_s=3.0) as cloud:
        second = free_port()
        cloud.start("c1", "control", database=database)
        cloud.start("c2", SECOND, database=database, port=second)
        both = {kind: f"http://127.0.0.1:{second}{prefix},{cloud.url}{prefix}" for kind, (prefix, _) in
                SERVICE_TYPES.items() if kind != "object-store"}
        cloud.start("h1", "compute,network,storage", endpoints=both)
        yield cloud


def other(cloud: Serving) -> str:
    """The second machine's URL."""
    line = next(line for line in (cloud.root / "c2.toml").read_text().splitlines() if line.startswith("port"))
    return f"http://127.0.0.1:{line.split('=')[1].strip()}"


def login(cloud: Serving, url: str) -> Api:
    return Api(url, "admin", load_secrets(cloud.state("c1")).passwords["admin"], "admin")


def test_a_token_of_one_is_good_at_the_other_until_it_is_revoked(cloud: Serving) -> None:
    one, two = login(cloud, cloud.url), login(cloud, other(cloud))
    two._token, own = one._token, two._token
    assert two.get(f"{COMPUTE}/flavors")["flavors"]
    one._headers["X-Subject-Token"] = one._token
    one.send("DELETE", "/identity/v3/auth/tokens")

    def refused() -> bool:
        try:
            two.get(f"{COMPUTE}/flavors")
        except ApiError as exc:
            assert ": 401 " in str(exc)
            return True
        return False

    wait_for(refused, 5, "the revocation to be known")
    two._token = own
    assert two.get("/identity/v3/users")["users"]


def test_what_one_changes_the_other_does_not_remember_otherwise(cloud: Serving) -> None:
    one, two = login(cloud, cloud.url), login(cloud, other(cloud))
    user = one.send("POST", "/identity/v3/users", {"user": {"name": "twice", "password": "first"}})["user"]["id"]
    project = one.get("/identity/v3/projects?name=admin")["projects"][0]["id"]
    role = one.get("/identity/v3/roles?name=member")["roles"][0]["id"]
    one.send("PUT", f"/identity/v3/projects/{project}/users/{user}/roles/{role}")
    for _ in range(2):
        Api(other(cloud), "twice", "first", "admin")
    one.send("PATCH", f"/identity/v3/users/{user}", {"user": {"password": "second"}})
    wait_for(lambda: _logs_in(other(cloud), "twice", "second"), 5, "the new password")
    assert not _logs_in(other(cloud), "twice", "first")
    two.send("DELETE", f"/identity/v3/users/{user}")
    wait_for(lambda: not _logs_in(cloud.url, "twice", "second"), 5, "the user to be gone")


def _logs_in(url: str, user: str, password: str) -> bool:
    try:
        Api(url, user, password, "admin")
    except ApiError:
        return False
    return True


def test_one_goes_on_with_what_the_other_was_doing(cloud: Serving) -> None:
    scene, second = Scene(cast(Daemon, cloud)), login(cloud, other(cloud))
    conductors = {s["host"] for s in second.get(f"{COMPUTE}/os-services?binary=nova-conductor")["services"]}
    assert conductors == {"c1", "c2"}
    servers = []
    for number in range(8):
        scene.api = second if number % 2 else cloud.api
        servers.append(scene.boot(f"s{number}"))
    cloud.stop("c2", signal.SIGKILL)
    scene.api = cloud.api

    def ended() -> list[Any] | None:
        found = [scene.server(server_id) for server_id in servers]
        return found if all(server and server["status"] in ("ACTIVE", "ERROR") for server in found) else None

    began = time.monotonic()
    found = wait_for(ended, 60, "every server to be ACTIVE or ERROR")
    print(f"all ended {time.monotonic() - began:.1f} s after the kill")
    assert [server["status"] for server in found] == ["ACTIVE"] * 8, [server.get("fault") for server in found]
    cloud.restart("c2")
    for server_id in servers:
        scene.send("DELETE", f"{COMPUTE}/servers/{server_id}")
    for server_id in servers:
        scene.wait_gone(server_id)
    wait_for(lambda: not checks.check(cloud.ask("c1", "ledger")), 20, "a clean audit")
