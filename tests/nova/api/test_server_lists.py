"""Lists of servers: filters, order, pages; the number of SQL statements does not depend on the rows."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from cloudseed.nova.models import servers
from cloudseed.nova.server_list import address_pattern, matches
from tests.nova.api.cloud import NovaCloud, message, nova
from tests.support.cloud import Client
from tests.support.statements import counted_statements

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def user(cloud: NovaCloud) -> AsyncIterator[Client]:
    """A project with alpha (tags red, blue), beta (stopped; tag red) and gamma (another flavor)."""
    user = await cloud.new_project("lists")
    await cloud.boot(user, name="alpha", tags=["red", "blue"], hostname="a-host")
    beta = await cloud.boot(user, name="beta", tags=["red"])
    await nova(user, "POST", f"/servers/{beta['id']}/action", {"os-stop": None})
    await cloud.wait_for(user, beta["id"], "SHUTOFF")
    await cloud.boot(user, name="gamma.1", flavorRef="84")
    yield user


async def names(client: Client, query: str, version: str = "latest") -> list[str]:
    answer = await nova(client, "GET", f"/servers?sort_key=display_name&sort_dir=asc&{query}", version=version)
    assert answer.status == 200, answer.body
    return [server["name"] for server in answer.json()["servers"]]


@pytest.mark.parametrize(("query", "expected"), [
    ("", "alpha beta gamma.1"), ("name=a", "alpha beta gamma.1"), ("name=ALPHA", "alpha"), ("name=^b", "beta"),
    ("name=a$", "alpha beta"), ("name=^(alpha|beta)$", "alpha beta"), ("name=a.1", "gamma.1"), ("name=%25", ""),
    ("status=ACTIVE", "alpha gamma.1"), ("status=shutoff", "beta"),
    ("status=ACTIVE&status=SHUTOFF", "alpha beta gamma.1"),
    ("flavor=84", "gamma.1"), ("flavor=nothing", ""), ("image=nothing", ""), ("tags=red", "alpha beta"),
    ("tags=red,blue", "alpha"), ("tags-any=blue,green", "alpha"), ("not-tags=red", "gamma.1"),
    ("not-tags=red,blue", "beta gamma.1"), ("not-tags-any=red,blue", "gamma.1"), ("ip=10.1.", "alpha beta gamma.1"),
    ("ip=10.2.", ""), ("ip6=fd00", ""), ("vm_state=stopped", "beta"), ("power_state=4", "beta"),
    ("power_state=running", "alpha gamma.1"), ("locked=false", "alpha beta gamma.1"), ("locked=true", ""),
    ("availability_zone=nova", "alpha beta gamma.1"), ("availability_zone=mars", ""),
    ("changes-since=2001-01-01T00:00:00Z", "alpha beta gamma.1"), ("changes-since=2999-01-01T00:00:00Z", ""),
    ("changes-before=2001-01-01T00:00:00Z", ""), ("config_drive=false", "alpha beta gamma.1"), ("key_name=x", ""),
    ("name=a&limit=2", "alpha beta"), ("reservation_id=r-none", "")])
async def test_filters(user: Client, query: str, expected: str) -> None:
    assert await names(user, query) == expected.split()


@pytest.mark.parametrize("query", [
    "status=nonsense", "limit=x", "limit=-1", "marker=nobody", "sort_key=nope", "sort_dir=up", "changes-since=never",
    "name=(a", "name=(a%2B)%2B$", "name=a*a*a*a*b", "ip=x;y", "unknown=1", "all_tenants=perhaps", "_a=1",
    "power_state=soft", "locked=maybe", "changes-since=2020-01-01&changes-before=2019-01-01",
    "sort_key=uuid&sort_dir=asc&sort_dir=asc", "name=%00", "config_drive=maybe"])
async def test_bad_queries_are_refused(user: Client, query: str) -> None:
    for path in ("/servers", "/servers/detail"):
        answer = await nova(user, "GET", f"{path}?{query}")
        assert answer.status == 400 and message(answer), query


async def test_a_hostile_expression_takes_no_time(user: Client) -> None:
    began = time.monotonic()
    for pattern in ("(a|a)*$", "(.*)*$", "^(([a-z])+.)+[A-Z]([a-z])+$", ".*.*.*.*x", "a{1,9999}{1,9999}", "\\1" * 80):
        assert (await nova(user, "GET", "/servers", None)).status == 200
        answer = await user.get("/compute/v2.1/servers", params={"name": pattern})
        assert answer.status == 400, pattern
    assert time.monotonic() - began < 2.0


async def test_old_versions_ignore_what_they_do_not_know(user: Client) -> None:
    assert await names(user, "unknown=1&status=nonsense", "2.1") == []
    assert await names(user, "unknown=1", "2.74") == ["alpha", "beta", "gamma.1"]
    assert await names(user, "tags=red", "2.25") == ["alpha", "beta", "gamma.1"]
    assert await names(user, "host=elsewhere", "2.1") == ["alpha", "beta", "gamma.1"]  # for admins only


async def test_admins_filter_by_everything(cloud: NovaCloud, user: Client) -> None:
    project = f"all_tenants=1&project_id={user.project_id}"
    assert await names(cloud.admin, f"{project}&host=localhost") == ["alpha", "beta", "gamma.1"]
    assert await names(cloud.admin, f"{project}&host=elsewhere") == []
    assert await names(cloud.admin, f"{project}&user_id={user.user_id}&name=alpha") == ["alpha"]
    assert await names(cloud.admin, "name=alpha") == []  # without all_tenants, only one's own project


async def test_pages(user: Client) -> None:
    first = (await nova(user, "GET", "/servers?limit=2&sort_key=display_name&sort_dir=desc")).json()
    assert [s["name"] for s in first["servers"]] == ["gamma.1", "beta"]
    (link,) = first["servers_links"]
    assert link["rel"] == "next" and link["href"].startswith("http://127.0.0.1:8080/compute/v2.1/servers?")
    rest = (await nova(user, "GET", link["href"].partition("/v2.1")[2])).json()
    assert [s["name"] for s in rest["servers"]] == ["alpha"] and "servers_links" not in rest
    newest = (await nova(user, "GET", "/servers/detail")).json()["servers"]
    assert [s["name"] for s in newest] == ["gamma.1", "beta", "alpha"]


async def test_details_are_those_of_show(user: Client) -> None:
    listed = {s["id"]: s for s in (await nova(user, "GET", "/servers/detail")).json()["servers"]}
    for server_id, server in listed.items():
        shown = (await nova(user, "GET", f"/servers/{server_id}")).json()["server"]
        assert shown.pop("server_groups") == []
        assert shown == server


async def test_deleted_servers_show_in_changes(cloud: NovaCloud) -> None:
    user = await cloud.new_project("changes")
    server = await cloud.boot(user, name="gone")
    await nova(user, "DELETE", f"/servers/{server['id']}")
    await cloud.wait_gone(user, server["id"])
    assert await names(user, "") == []
    changed = (await nova(user, "GET", "/servers/detail?changes-since=2001-01-01T00:00:00Z")).json()["servers"]
    assert [(s["name"], s["status"]) for s in changed] == [("gone", "DELETED")]
    assert (await nova(user, "GET", "/servers?status=deleted")).status == 403
    assert await names(cloud.admin, f"all_tenants=1&deleted=true&project_id={user.project_id}") == ["gone"]
    assert await names(cloud.admin, f"all_tenants=1&status=DELETED&project_id={user.project_id}") == ["gone"]


async def test_statements_do_not_grow_with_rows(cloud: NovaCloud, user: Client) -> None:
    counts = []
    await nova(user, "GET", "/servers/detail?limit=1")  # what is cached after the first time is
    for limit in (1, 3):
        with counted_statements() as statements:
            await nova(user, "GET", f"/servers/detail?limit={limit}")
        counts.append(len(statements))
    assert counts[0] == counts[1] < 12


async def test_address_patterns_find_addresses_alone() -> None:

    info = ('[{"address":"fa:16:3e:10:01:02","network":{"subnets":[{"gateway":{"address":"10.0.0.1","type":"gateway"},'
            '"ips":[{"address":"10.0.0.15","type":"fixed"}]}]}}]')
    found = {text: bool(re.search(address_pattern(text), info)) for text in (
        "10.0.0.15", "^10.0.0.15$", "10.0.0.1", "^10.0.0.1$", "10.0.0.1$", "0.0.15", "^0.0", "fa:16", "10\\.0\\.0")}
    assert found == {"10.0.0.15": True, "^10.0.0.15$": True, "10.0.0.1": True, "^10.0.0.1$": False, "10.0.0.1$": False,
                     "0.0.15": True, "^0.0": False, "fa:16": False, "10\\.0\\.0": True}
    assert "LIKE" in str(matches(servers.c.name, "plain"))
