"""Usages over HTTP: by provider, by owner, by consumer type; a project sees its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.placement.conftest import Api
from tests.support.cloud import Cloud


def consumer(number: int) -> str:
    return f"cccccccc-0000-4000-8000-{number:012d}"


async def _fill(api: Api, project: str) -> str:
    host = await api.provider("host", {"VCPU": {"total": 100}, "DISK_GB": {"total": 100}})
    await api.claim(consumer(1), {host: {"VCPU": 1, "DISK_GB": 10}}, project_id=project, user_id="ann")
    await api.claim(consumer(2), {host: {"VCPU": 2}}, project_id=project, user_id="bob")
    await api.claim(consumer(3), {host: {"VCPU": 4}}, project_id=project, consumer_type="MIGRATION", user_id="ann")
    await api.claim(consumer(4), {host: {"VCPU": 8}}, project_id="other")
    await api.at("1.12").call("PUT", f"/allocations/{consumer(5)}", {
        "allocations": {host: {"resources": {"VCPU": 16}}}, "project_id": project, "user_id": "ann"}, 204)
    return host


@pytest.mark.parametrize(("version", "query", "usages"), [
    ("1.39", "", {"INSTANCE": {"VCPU": 3, "DISK_GB": 10, "consumer_count": 2},
                  "MIGRATION": {"VCPU": 4, "consumer_count": 1}, "unknown": {"VCPU": 16, "consumer_count": 1}}),
    ("1.39", "&user_id=ann&consumer_type=INSTANCE", {"INSTANCE": {"VCPU": 1, "DISK_GB": 10, "consumer_count": 1}}),
    ("1.39", "&consumer_type=all", {"all": {"VCPU": 23, "DISK_GB": 10, "consumer_count": 4}}),
    ("1.39", "&consumer_type=unknown", {"unknown": {"VCPU": 16, "consumer_count": 1}}),
    ("1.39", "&user_id=nobody", {}),
    ("1.37", "", {"VCPU": 23, "DISK_GB": 10}), ("1.9", "&user_id=bob", {"VCPU": 2})])
async def test_sums_by_owner(api: Api, version: str, query: str, usages: dict[str, Any]) -> None:
    host = await _fill(api, "mine")
    assert await api.at(version).get(f"/usages?project_id=mine{query}") == {"usages": usages}
    assert (await api.get(f"/resource_providers/{host}/usages"))["usages"] == {"VCPU": 31, "DISK_GB": 10}


async def test_a_projects_reader_sees_the_projects_own(api: Api, cloud: Cloud) -> None:
    mine = Api(await cloud.new_project("mine", ["reader"]))
    await _fill(api, mine.client.project_id)
    seen = await mine.get(f"/usages?project_id={mine.client.project_id}&consumer_type=all")
    assert seen["usages"]["all"]["VCPU"] == 23
    await mine.get("/usages?project_id=other", 403)
    await mine.get("/usages", 403)


@pytest.mark.parametrize(("version", "query", "status"), [
    ("1.8", "project_id=a", 404), ("1.39", "", 400), ("1.39", "project_id=", 400),
    ("1.37", "project_id=a&consumer_type=X", 400), ("1.39", "project_id=a&consumer_type=x", 400),
    ("1.39", "project_id=a&more=1", 400), ("1.39", f"project_id={'a' * 256}", 400)])
async def test_bad_questions(api: Api, version: str, query: str, status: int) -> None:
    await api.at(version).get(f"/usages?{query}", status)
