"""Images: what servers can be made from."""

from __future__ import annotations

from urllib.parse import quote

from cloudseed.dashboard.layout import LISTED, PREFIX, button, size, state, table
from cloudseed.dashboard.visit import Resource, Visit, part
from cloudseed.kernel.http.app import Response


class Images(Resource):
    """/dashboard/images"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        images = await visit.find("image", "/v2/images", "images", limit=LISTED)
        visit.page(resp, "Images", table(
            ("Name", "State", "Format", "Size", "Visible to", ""),
            [(image["name"] or image["id"], state(image["status"]), image.get("disk_format") or "",
              size(image.get("size")), image["visibility"],
              button(visit, f"/images/{quote(image['id'], safe='')}/delete", "Delete", danger=True)
              if image["owner"] == visit.project_id and not image["protected"] else None) for image in images],
            "There are no images yet: openstack image create --file FILE NAME"))


class DeleteImage(Resource):
    """/dashboard/images/{image_id}/delete"""

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        await visit.ask("image", "DELETE", f"/v2/images/{part(names['image_id'])}")
        return f"{PREFIX}/images"
