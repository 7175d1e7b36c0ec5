"""/images until microversion 2.35, their metadata until 2.38: glance's images in nova's words, for clients of old.

Nothing is kept here: every request goes to glance as the user's own, whose policy decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import Forbidden, Invalid, NotFound
from cloudseed.kernel.http import paging
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.json import encode
from cloudseed.kernel.http.microversion import require
from cloudseed.kernel.http.request import Request
from cloudseed.nova import quotas
from cloudseed.nova.api.body import as_type, is_uuid, read_whole, shown
from cloudseed.nova.api.links import add_next, links_of
from cloudseed.nova.api.server_bodies import check_metadata
from cloudseed.nova.server_images import custom_properties

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

LAST, LAST_METADATA = (2, 35), (2, 38)
_STATUS = {"active": "ACTIVE", "queued": "SAVING", "saving": "SAVING", "importing": "SAVING", "uploading": "SAVING",
           "deleted": "DELETED", "pending_delete": "DELETED", "killed": "ERROR"}
_PROGRESS = {"queued": 25, "saving": 50, "active": 100}
# filters of ours by glance's name of them
_FILTERS = {"name": "name", "status": "status", "server": "instance_uuid", "type": "image_type", "minRam": "min_ram",
            "minDisk": "min_disk", "changes-since": "updated_at"}
_MISSING = "Image not found."


class _Base:
    def __init__(self, nova: Nova) -> None:
        self.nova = nova

    async def find(self, req: Request, image_id: str) -> dict[str, Any]:
        if not is_uuid(image_id):
            raise NotFound(_MISSING)
        try:
            found: dict[str, Any] = await self.nova.api_session.get_json(
                req.ctx, "image", f"/v2/images/{image_id}", as_user=True)
        except NotFound:
            raise NotFound(_MISSING) from None
        return found

    async def properties(self, req: Request, image: dict[str, Any]) -> dict[str, str]:
        return custom_properties(image, await self.schema(req))

    async def schema(self, req: Request) -> dict[str, Any]:
        found: dict[str, Any] = await self.nova.api_session.get_json(
            req.ctx, "image", "/v2/schemas/image", as_user=True)
        return found


class Images(_Base):
    """/v2.1/images and /v2.1/images/detail"""

    def __init__(self, nova: Nova, *, detail: bool) -> None:
        super().__init__(nova)
        self._detail = detail

    async def on_get(self, req: Request, resp: Response) -> None:
        require(req.microversion, maximum=LAST)
        page = paging.parse(req)
        asked: dict[str, Any] = {"limit": page.limit}
        if page.marker is not None:
            asked["marker"] = page.marker
        for name in req.params:
            value = req.text_param(name)
            if name.startswith("property-"):
                asked[name.removeprefix("property-")] = value
            elif name in _FILTERS and value is not None:
                asked[_FILTERS[name]] = _filter(name, value)
        try:
            found = await self.nova.api_session.get_json(req.ctx, "image", "/v2/images", params=asked, as_user=True)
        except (NotFound, Forbidden) as exc:  # an unknown marker
            raise Invalid(str(exc)) from None
        images = found["images"]
        if self._detail:
            schema = await self.schema(req)
            views = [_view(req, image, custom_properties(image, schema)) for image in images]
        else:
            views = [{"id": image["id"], "name": image["name"], "links": _links(req, image["id"])}
                     for image in images]
        resp.media = body = {"images": views}
        if images:
            add_next(req, body, "images", page, images[-1]["id"], "next" in found)


def _filter(name: str, value: str) -> str:
    if name == "server":  # an id, or a link that ends with it
        return value.rsplit("/", 1)[-1]
    if name == "status":
        return value.lower()
    return f"gte:{value}" if name == "changes-since" else value


class Image(_Base):
    """/v2.1/images/{image_id}"""

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        require(req.microversion, maximum=LAST)
        image = await self.find(req, image_id)
        resp.media = {"image": _view(req, image, await self.properties(req, image))}

    async def on_delete(self, req: Request, resp: Response, image_id: str) -> None:
        require(req.microversion, maximum=LAST)
        image = await self.find(req, image_id)
        try:
            await self.nova.api_session.request(req.ctx, "image", "DELETE", f"/v2/images/{image['id']}", as_user=True)
        except NotFound:
            raise NotFound(_MISSING) from None
        except Forbidden:
            raise Forbidden("You are not allowed to delete the image.") from None
        resp.status = 204


class _Metadata(_Base):
    async def write(self, req: Request, image_id: str, values: dict[str, str], *, keep: bool) -> dict[str, str]:
        """Set properties; those not named stay only if `keep`.  What the image has then."""
        before = await self.properties(req, await self.find(req, image_id))
        after = before | values if keep else values
        async with self.nova.db.read() as tx:
            quotas.check_metadata(await quotas.get_limits(tx, req.ctx.project_id), after)
        await self.patch(req, image_id, [
            *({"op": "replace" if name in before else "add", "path": _pointer(name), "value": value}
              for name, value in after.items() if before.get(name) != value),
            *({"op": "remove", "path": _pointer(name)} for name in before if name not in after)])
        return after

    async def patch(self, req: Request, image_id: str, changes: list[dict[str, str]]) -> None:
        if changes:
            await self.nova.api_session.request(
                req.ctx, "image", "PATCH", f"/v2/images/{image_id}", as_user=True, body=encode(changes),
                headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})


class ImageMetadata(_Metadata):
    """/v2.1/images/{image_id}/metadata"""

    async def on_get(self, req: Request, resp: Response, image_id: str) -> None:
        require(req.microversion, maximum=LAST_METADATA)
        resp.media = {"metadata": await self.properties(req, await self.find(req, image_id))}

    async def on_post(self, req: Request, resp: Response, image_id: str) -> None:
        resp.media = {"metadata": await self.write(req, image_id, await _read(req, "metadata"), keep=True)}

    async def on_put(self, req: Request, resp: Response, image_id: str) -> None:
        resp.media = {"metadata": await self.write(req, image_id, await _read(req, "metadata"), keep=False)}


class ImageMetadataItem(_Metadata):
    """/v2.1/images/{image_id}/metadata/{key}"""

    async def on_get(self, req: Request, resp: Response, image_id: str, key: str) -> None:
        require(req.microversion, maximum=LAST_METADATA)
        found = await self.properties(req, await self.find(req, image_id))
        if key not in found:
            raise NotFound(f"Image {image_id} has no metadata key {shown(key)}.")
        resp.media = {"meta": {key: found[key]}}

    async def on_put(self, req: Request, resp: Response, image_id: str, key: str) -> None:
        values = await _read(req, "meta")
        if list(values) != [key]:
            raise Invalid("Request body and URI mismatch")
        await self.write(req, image_id, values, keep=True)
        resp.media = {"meta": values}

    async def on_delete(self, req: Request, resp: Response, image_id: str, key: str) -> None:
        require(req.microversion, maximum=LAST_METADATA)
        if key not in await self.properties(req, await self.find(req, image_id)):
            raise NotFound("Invalid metadata key")
        await self.patch(req, image_id, [{"op": "remove", "path": _pointer(key)}])
        resp.status = 204


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


async def _read(req: Request, key: str) -> dict[str, str]:
    require(req.microversion, maximum=LAST_METADATA)
    values = as_type((await read_whole(req, key))[key], dict[str, str], key)
    try:
        check_metadata(values)
    except ValueError as exc:
        raise Invalid(f"{exc}.") from None
    return values


def _links(req: Request, image_id: str) -> list[dict[str, str]]:
    glance = req.base_url.rsplit("/", 1)[0] + "/image"
    return [*links_of(req, "images", image_id),
            {"rel": "alternate", "type": "application/vnd.openstack.image", "href": f"{glance}/images/{image_id}"}]


def _view(req: Request, image: dict[str, Any], properties: dict[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": image["id"], "name": image["name"], "minRam": image["min_ram"], "minDisk": image["min_disk"],
        "metadata": properties, "created": image["created_at"], "updated": image["updated_at"],
        "status": _STATUS.get(image["status"], "UNKNOWN"), "progress": _PROGRESS.get(image["status"], 0),
        "OS-EXT-IMG-SIZE:size": image["size"], "links": _links(req, image["id"])}
    server_id = properties.get("instance_uuid")
    if server_id is not None:
        body["server"] = {"id": server_id, "links": links_of(req, "servers", server_id)}
    automatic = properties.get("auto_disk_config")
    if automatic is not None:
        on = automatic.strip().lower() in ("1", "t", "true", "on", "y", "yes")
        body["OS-DCF:diskConfig"] = "AUTO" if on else "MANUAL"
    return body
