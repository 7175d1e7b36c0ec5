"""What of upstream's APIs this cloud serves, found by asking it; writes the generated part of docs/compatibility.md.

    PYTHONPATH=src:. python -m tests.conformance.compatibility       # writes the document

`operations/*.tsv` (METHOD, PATH, ACTION) lists upstream's operations, without those that are legacy, optional or
follow from others.  An operation counts as served when its service has a route for it and, asked for it as the admin
(of a real server, where the path has one; of other things that do not exist), does not answer that it knows no such
method or action or does not have it yet.  So a route that only refuses does not count, but for what upstream refuses
as well (most of those are nova's, gone for ever: 410).
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cloud import Answer, Client, Cloud
from tests.support.routes import routes_of

OPERATIONS = Path(__file__).with_name("operations")
DOCUMENT = Path(__file__).parents[2] / "docs" / "compatibility.md"
BEGIN, END = "<!-- generated: python -m tests.conformance.compatibility -->", "<!-- end of what is generated -->"
SERVICES = {  # list of operations -> (its name, where it is served)
    "identity": ("Identity (keystone)", "/identity"), "image": ("Image (glance)", "/image"),
    "compute": ("Compute (nova)", "/compute"), "placement": ("Placement", "/placement"),
    "network": ("Network (neutron)", "/networking"), "object-store": ("Object store (swift)", "/object-store"),
    "block-storage": ("Block storage (cinder)", "/volume")}
# in upstream's descriptions, but refused by upstream's own services (tried with release 2026.2)
_NEVER_ALLOWED = ("GET /v3/ec2tokens", "GET /v3/s3tokens", "DELETE /v2/tasks/{}")
_REFUSED = re.compile(r"not supported yet|no such action|does not exist in this cloud", re.IGNORECASE)
NEWEST = {"openstack-api-version": "compute latest, placement latest"}


@dataclass(frozen=True)
class Operation:
    """One row; `action` is empty where the path and method say all."""

    method: str
    path: str
    action: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + (f" ({self.action})" if self.action else "")


@dataclass
class Coverage:
    """`missing`: the operations that are not served."""

    total: int
    missing: list[Operation] = field(default_factory=list)


def load(name: str) -> list[Operation]:
    rows = [line.split("\t") for line in (OPERATIONS / f"{name}.tsv").read_text().splitlines()]
    return [Operation(method, path, "" if action == "-" else action) for method, path, action in rows]


async def coverage(cloud: Cloud) -> dict[str, Coverage]:
    """Every list of operations held against the cloud."""
    admin = await cloud.login("admin")
    server_id = await _server(admin)
    routes = _routes(cloud)
    result = {}
    for name, (_, prefix) in SERVICES.items():
        operations = load(name)
        result[name] = Coverage(len(operations))
        # what would end the server comes last
        for operation in sorted(operations, key=_ends_server):
            if not await _served(admin, operation, prefix, routes.get(prefix, []), server_id):
                result[name].missing.append(operation)
        result[name].missing.sort(key=lambda o: (o.path, o.action, o.method))
    return result


def _ends_server(operation: Operation) -> bool:
    return operation.action == "forceDelete" or operation == Operation("DELETE", "/v2.1/servers/{}", "")


def _routes(cloud: Cloud) -> dict[str, list[tuple[re.Pattern[str], str]]]:
    """Prefix -> what its falcon app routes, as patterns, the most literal first."""
    found = {}
    for service in cloud.runtime.services:
        for mount in service.mounts:
            templates = [route.path for route in routes_of(mount.app)]  # type: ignore[arg-type]
            templates.sort(key=lambda t: [part.startswith("{") for part in t.split("/")])
            found[mount.prefix] = [(_pattern(template), template) for template in templates]
    return found


def _pattern(template: str) -> re.Pattern[str]:
    """`{path:path}` takes the rest of a URL, other fields one segment."""
    parts = ["[^?]+" if part.endswith(":path}") else "[^/]+" if part.startswith("{") else re.escape(part)
             for part in template.split("/")]
    return re.compile("/".join(parts) + "/?")


async def _served(admin: Client, operation: Operation, prefix: str, routes: list[tuple[re.Pattern[str], str]],
                  server_id: str) -> bool:
    template = next((t for pattern, t in routes if pattern.fullmatch(operation.path)), None)
    if template is None:
        return False
    account = f"AUTH_{admin.project_id}"
    path = operation.path.replace("/servers/{}", f"/servers/{server_id}").replace("/v1/{}", f"/v1/{account}", 1)
    answer = await admin.request(
        operation.method, prefix + path.replace("{}", "x"), headers=NEWEST,
        json={operation.action: {"name": "x"}} if operation.action else {} if operation.method != "GET" else None)
    if answer.status == 405:
        return str(operation) in _NEVER_ALLOWED
    if answer.status == 501 or _REFUSED.search(_reason(answer)):
        return False
    # a word of upstream's URL that our template takes for somebody's id: only an answer shows that it is known
    swallowed = any(ours.startswith("{") and theirs != "{}" and not ours.endswith(":path}")
                    for ours, theirs in zip(template.split("/"), operation.path.split("/"), strict=False))
    return not (swallowed and answer.status == 404 and "{}" not in operation.path)


def _reason(answer: Answer) -> str:
    return answer.body.decode(errors="replace") if answer.status >= 400 else ""


async def _server(admin: Client) -> str:
    """A server that the questions about servers are asked of."""
    image = (await admin.post("/image/v2/images", {"name": "x", "disk_format": "raw", "container_format": "bare"}))
    image_id = image.json()["id"]
    data = {"content-type": "application/octet-stream"}
    assert (await admin.request("PUT", f"/image/v2/images/{image_id}/file", body=b"x", headers=data)).status == 204
    body = {"server": {"name": "x", "flavorRef": "c1", "imageRef": image_id, "networks": "none"}}
    made = await admin.post("/compute/v2.1/servers", body, headers={"openstack-api-version": "compute latest"})
    assert made.status == 202, made.body
    server_id: str = made.json()["server"]["id"]
    for _ in range(1000):
        server = (await admin.get(f"/compute/v2.1/servers/{server_id}")).json()["server"]
        if server["status"] == "ACTIVE":
            return server_id
        await asyncio.sleep(0.02)
    raise AssertionError(server)


async def versions(cloud: Cloud) -> dict[str, str]:
    """What each service says of its own version."""
    admin = await cloud.login("admin")

    async def get(path: str) -> Any:
        return (await admin.get(path)).json()

    identity = (await get("/identity/v3"))["version"]
    image = next(v for v in (await get("/image/versions"))["versions"] if v["status"] == "CURRENT")
    compute = (await get("/compute/v2.1"))["version"]
    placement = (await get("/placement/"))["versions"][0]
    volume = (await get("/volume/v3"))["versions"][0]
    network = (await get("/networking/"))["versions"][0]
    extensions = (await get("/networking/v2.0/extensions"))["extensions"]
    features = sorted(name for name in await get("/object-store/info") if name != "swift")
    return {
        "identity": identity["id"], "image": image["id"],
        "compute": f"microversions {compute['min_version']} to {compute['version']}",
        "placement": f"microversions {placement['min_version']} to {placement['max_version']}",
        "network": f"{network['id']}, {len(extensions)} extensions", "object-store": f"v1; {', '.join(features)}",
        "block-storage": f"microversions {volume['min_version']} to {volume['version']}"}


def render(found: dict[str, Coverage], said: dict[str, str]) -> str:
    """The generated part of the document, markers included."""
    lines = [BEGIN, "", "| service | API | upstream's operations | served | missing |", "|---|---|---|---|---|"]
    total = missing = 0
    for name, one in found.items():
        total, missing = total + one.total, missing + len(one.missing)
        lines.append(f"| {SERVICES[name][0]} | {said[name]} | {one.total} | {one.total - len(one.missing)} "
                     f"| {len(one.missing)} |")
    lines += [f"| all | | {total} | {total - missing} | {missing} |", "", "### What is missing", ""]
    for name, one in found.items():
        if len(one.missing) == one.total:
            lines += [f"**{SERVICES[name][0]}**: all of it.", ""]
        elif one.missing:
            lines += [f"**{SERVICES[name][0]}**", "", *_grouped(one.missing), ""]
    return "\n".join([*lines, END])


def _grouped(operations: list[Operation]) -> list[str]:
    """One line a path: its methods, or its actions."""
    paths: dict[str, list[str]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation.action or operation.method)
    return [f"- `{path}`: {', '.join(words)}" for path, words in paths.items()]


def replace(document: str, generated: str) -> str:
    """The document with its generated part exchanged."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + generated + after


async def generate(state: Path) -> str:
    async with Cloud(state) as cloud:
        return render(await coverage(cloud), await versions(cloud))


def main() -> None:
    with tempfile.TemporaryDirectory() as state:
        generated = asyncio.run(generate(Path(state)))
    DOCUMENT.write_text(replace(DOCUMENT.read_text(), generated))
    sys.stdout.write(generated + "\n")


if __name__ == "__main__":
    main()
