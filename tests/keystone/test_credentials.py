"""Credentials that keystone keeps, EC2 keys among them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.keystone.conftest import V3, client_of, create
from tests.support.cloud import Client, Cloud
from tests.support.databases import whole_text


async def test_a_credential_from_birth_to_death(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    made = await create(me, "credential", type="cert", blob="very secret text", user_id=me.user_id, note="n")
    assert made["blob"] == "very secret text" and made["project_id"] is None and made["note"] == "n"
    raw = whole_text(cloud.env, "keystone")
    assert b"very secret text" not in raw and made["id"].encode() in raw  # encrypted where it lies
    path = f"{V3}/credentials/{made['id']}"
    assert (await me.get(path)).json()["credential"] == made
    for method in ("GET", "DELETE"):
        assert (await other.request(method, path)).status == 403
    assert (await other.patch(path, {"credential": {"blob": "x"}})).status == 403
    assert (
        await other.post(f"{V3}/credentials", {"credential": {"type": "cert", "blob": "x", "user_id": me.user_id}})
    ).status == 403
    assert (await me.patch(path, {"credential": {"blob": "new"}})).json()["credential"]["blob"] == "new"
    assert (await me.patch(path, {"credential": {"user_id": other.user_id}})).status == 403
    assert [c["id"] for c in (await me.get(f"{V3}/credentials")).json()["credentials"]] == [made["id"]]
    assert (await other.get(f"{V3}/credentials")).json()["credentials"] == []
    asked = await other.get(f"{V3}/credentials", params={"user_id": me.user_id})
    assert asked.json()["credentials"] == []
    assert len((await admin.get(f"{V3}/credentials", params={"type": "cert"})).json()["credentials"]) == 1
    assert (await me.delete(path)).status == 204 and (await admin.get(path)).status == 404


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"type": "cert"},
        {"blob": "x"},
        {"type": "", "blob": "x"},
        {"type": "cert", "blob": {}},
        {"type": "ec2", "blob": "{}"},
        {"type": "ec2", "blob": "x", "project_id": "P"},
        {"type": "ec2", "blob": '{"secret": "s"}', "project_id": "P"},
        {"type": "ec2", "blob": "[" * 5000, "project_id": "P"},
    ],
)
async def test_bad_ones(admin: Client, values: dict[str, Any]) -> None:
    values = {k: admin.project_id if v == "P" else v for k, v in values.items()}
    answer = await admin.post(f"{V3}/credentials", {"credential": values})
    assert answer.status == 400, answer.body


async def test_ec2_keys(cloud: Cloud, admin: Client) -> None:
    me, other = await cloud.new_project("demo"), await cloud.new_project("other")
    path = f"{V3}/users/{me.user_id}/credentials/OS-EC2"
    made = (await me.post(path, {"tenant_id": me.project_id})).json()["credential"]
    assert made["tenant_id"] == me.project_id and len(made["access"]) == len(made["secret"]) == 32
    assert (await me.get(path)).json()["credentials"] == [made]
    assert (await me.get(f"{path}/{made['access']}")).json()["credential"] == made
    stored = (await me.get(f"{V3}/credentials")).json()["credentials"][0]
    assert json.loads(stored["blob"])["access"] == made["access"]
    changed = {**json.loads(stored["blob"]), "trust_id": "x"}  # nobody gives a key more than it had
    body = {"credential": {"blob": json.dumps(changed)}}
    assert (await me.patch(f"{V3}/credentials/{stored['id']}", body)).status == 400
    assert (await other.get(f"{path}/{made['access']}")).status == 403
    assert (await other.post(path, {"tenant_id": other.project_id})).status == 403
    assert (await me.post(path, {"tenant_id": other.project_id})).status == 403  # no role there
    assert (await me.post(path, {"tenant_id": "unknown"})).status == 404
    assert (await me.post(path, {})).status == 400
    assert (await me.delete(f"{path}/{made['access']}")).status == 204
    assert (await me.get(f"{path}/{made['access']}")).status == 404


async def test_a_limited_token_sees_no_other_ec2_keys(cloud: Cloud, admin: Client) -> None:
    """The secret of a key that has no limits would lift those of an application credential (CVE-2020-12689)."""
    me = await cloud.new_project("demo")
    path = f"{V3}/users/{me.user_id}/credentials/OS-EC2"
    whole = (await me.post(path, {"tenant_id": me.project_id})).json()["credential"]["access"]
    robot = {"name": "robot", "roles": [{"name": "member"}], "unrestricted": True}
    made = (await me.post(f"{V3}/users/{me.user_id}/application_credentials", {"application_credential": robot}))
    proof = {key: made.json()["application_credential"][key] for key in ("id", "secret")}
    answer = await cloud.anonymous().post(f"{V3}/auth/tokens", {
        "auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}})
    limited = client_of(cloud, answer)
    answer = await limited.post(path, {"tenant_id": me.project_id})
    assert answer.status == 201, answer.body
    own = answer.json()["credential"]["access"]
    assert [key["access"] for key in (await limited.get(path)).json()["credentials"]] == [own]
    assert (await limited.get(f"{path}/{whole}")).status == 403 and (await limited.get(f"{path}/{own}")).status == 200
    assert (await limited.delete(f"{path}/{whole}")).status == 403
    blobs = [c["blob"] for c in (await limited.get(f"{V3}/credentials")).json()["credentials"]]
    assert len(blobs) == 1 and own in blobs[0]
    whole_id = hashlib.sha256(whole.encode()).hexdigest()
    assert (await limited.get(f"{V3}/credentials/{whole_id}")).status == 403
    assert {key["access"] for key in (await me.get(path)).json()["credentials"]} == {whole, own}
