"""Shelve, shelveOffload and unshelve as clients see them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.nova.api.cloud import Json, NovaCloud, message, nova
from tests.support.cloud import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def act(client: Client, server: Json, body: Any, version: str = "latest") -> Any:
    return await nova(client, "POST", f"/servers/{server['id']}/action", body, version)


async def test_who_may_bring_a_server_back_where(cloud: NovaCloud) -> None:
    user = await cloud.new_project("shelve")
    server = await cloud.boot(user)
    for body in ({"unshelve": None}, {"shelveOffload": None}):
        answer = await act(cloud.admin, server, body)
        assert answer.status == 409 and message(answer) == (
            f"Cannot '{next(iter(body))}' instance {server['id']} while it is in vm_state active")
    for value, version, status in (
            ({}, "2.77", 400), ({"host": "x"}, "2.77", 400), ({"availability_zone": None}, "2.77", 400),
            ({}, "2.91", 400),
            ({"availability_zone": 5}, "2.91", 400), ({"x": 1}, "2.91", 400)):
        assert (await act(cloud.admin, server, {"unshelve": value}, version)).status == status, value
    stranger = await cloud.new_project("stranger-of-shelve")
    assert (await act(stranger, server, {"shelve": None})).status == 404
    assert (await act(user, server, {"shelveOffload": None})).status == 403
    assert (await act(user, server, {"unshelve": {"host": "localhost"}}, "2.91")).status in (403, 409)
    await nova(user, "DELETE", f"/servers/{server['id']}")
