"""A cloud for nova's API tests: keystone, placement, neutron and nova as they are, and a glance of a few images.

The image service here is a double, since nova asks it for two documents only, and its images must be able to have
every size and state.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from cloudseed.cli.roles import builders, whole
from cloudseed.kernel import errors
from cloudseed.kernel.http import faults
from cloudseed.kernel.http.app import Response, make_app
from cloudseed.kernel.http.edge import Mount
from cloudseed.kernel.http.request import Request
from cloudseed.kernel.runtime import Environment, Runtime, Service
from cloudseed.nova.compute.drivers.fake import FakeDriver
from tests.nova.engine.cinder_double import Cinder
from tests.support.cloud import Answer, Client, Cloud

LATEST = {"OpenStack-API-Version": "compute latest"}
Json = dict[str, Any]


class Images:
    """The double's images, by id."""

    def __init__(self) -> None:
        self.images: dict[str, Json] = {}
        self.asked: list[str] = []

    def add(self, **values: Any) -> str:
        image_id = str(uuid.uuid4())
        self.images[image_id] = {
            "id": image_id, "name": "tiny", "status": "active", "size": 1000, "disk_format": "raw",
            "container_format": "bare", "min_disk": 0, "min_ram": 0, "visibility": "public", "owner": "somebody",
            "checksum": "0" * 32, **values}
        return image_id

    def build(self, env: Environment) -> Service:
        double = self

        class Image:
            async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
                double.asked.append(req.path)
                if image_id not in double.images:
                    raise errors.NotFound(f"No image found with ID {image_id}")
                resp.media = double.images[image_id]

        class NewImage:
            async def on_post(self, req: Request, resp: Response) -> None:
                body = await req.json(Json)
                double.images[body["id"]] = {"status": "queued", "owner": req.ctx.project_id, **body}
                resp.status = 201
                resp.media = double.images[body["id"]]

        class Schema:
            async def on_get(self, req: Request, resp: Response) -> None:
                double.asked.append(req.path)
                resp.media = {"name": "image", "properties": {
                    **{name: {"is_base": True} for name in ("id", "name", "status", "size", "owner", "disk_format",
                                                           "container_format", "min_disk", "min_ram", "visibility")},
                    "hw_disk_bus": {"is_base": False}}}

        class File:
            async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
                resp.data = b"x" * 1000

            async def on_put(self, req: Request, resp: Response, image_id: str) -> None:
                double.images[image_id] |= {"status": "active", "size": len(await req.stream.read())}
                resp.status = 204

        session = env.session("glance-api", "glance")
        app: Any = make_app({"/v2/images": NewImage(), "/v2/images/{image_id}": Image(), "/v2/schemas/image": Schema(),
                             "/v2/images/{image_id}/file": File()},
                            fault=faults.glance, validator=env.validator(session), identity_url=env.identity_url)
        return Service("glance", mounts=[Mount("/image", "glance-api", app)])


class NovaCloud(Cloud):
    """`network_id`: a shared network with a subnet; `image_id`: an active image that fits every flavor."""

    def __init__(self, path: Path, **settings: Any) -> None:
        super().__init__(path, (), **settings)
        self.images = Images()
        self.image_id = self.images.add()
        self.cinder = Cinder()
        self.network_id = ""
        self.admin: Client

    async def __aenter__(self) -> NovaCloud:
        self.env = Environment(self.config)
        services = builders(whole(("keystone", "placement", "neutron", "nova")))
        self.runtime = Runtime(self.env, [*services[:3], self.images.build, self.cinder.build, *services[3:]])
        await self.runtime.start(listen=False)
        self.admin = await self.login("admin")
        self.network_id = await self.new_network(self.admin, "public-net", shared=True)
        return self

    async def new_network(self, client: Client, name: str, **values: Any) -> str:
        """A network with one subnet."""
        made = await client.post("/networking/v2.0/networks", {"network": {"name": name, **values}})
        assert made.status == 201, made.body
        network_id: str = made.json()["network"]["id"]
        subnet = {"network_id": network_id, "cidr": "10.1.0.0/20", "ip_version": 4}
        assert (await client.post("/networking/v2.0/subnets", {"subnet": subnet})).status == 201
        return network_id

    def driver(self) -> FakeDriver:
        """The hypervisor of the only host."""
        driver = self.service("nova-compute").handle[0].driver
        assert isinstance(driver, FakeDriver)
        return driver

    def order(self, **values: Any) -> Json:
        """A body for POST /servers; a null takes a field away."""
        body = {"name": "vm", "flavorRef": "c1", "imageRef": self.image_id, "networks": [{"uuid": self.network_id}],
                **values}
        return {"server": {name: value for name, value in body.items() if value is not None}}

    async def boot(self, client: Client, version: str = "latest", **values: Any) -> Json:
        """A server that is ACTIVE, as GET shows it."""
        answer = await nova(client, "POST", "/servers", self.order(**values), version)
        assert answer.status == 202, answer.body
        return await self.wait_for(client, answer.json()["server"]["id"], "ACTIVE")

    async def wait_for(self, client: Client, server_id: str, status: str, deadline_s: float = 15.0) -> Json:
        """The server once it has `status` and nothing is being done to it."""
        until = time.monotonic() + deadline_s
        while True:
            server: Json = (await nova(client, "GET", f"/servers/{server_id}")).json()["server"]
            if server["status"] == status and server["OS-EXT-STS:task_state"] is None:
                return server
            assert time.monotonic() < until and (status == "ERROR" or server["status"] != "ERROR"), server
            await asyncio.sleep(0.02)

    async def wait_gone(self, client: Client, server_id: str, deadline_s: float = 15.0) -> None:
        until = time.monotonic() + deadline_s
        while (await nova(client, "GET", f"/servers/{server_id}")).status != 404:
            assert time.monotonic() < until
            await asyncio.sleep(0.02)


async def nova(client: Client, method: str, path: str, json: Any = None, version: str = "latest", *,
               body: bytes | None = None) -> Answer:
    """A request to /compute/v2.1, in a microversion."""
    return await client.request(method, f"/compute/v2.1{path}", json=json, body=body,
                                headers={"OpenStack-API-Version": f"compute {version}"})


def message(answer: Answer) -> str:
    """The reason in an error body, whose form is checked: one element, code and status agree."""
    fault = msgspec.json.decode(answer.body)
    (element,) = fault.values()
    assert element["code"] == answer.status, answer
    text: str = element["message"]
    return text
