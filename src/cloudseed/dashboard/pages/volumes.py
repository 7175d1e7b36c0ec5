"""Volumes, where this cloud has a volume service."""

from __future__ import annotations

from urllib.parse import quote

from cloudseed.dashboard.html import el
from cloudseed.dashboard.layout import PREFIX, button, field, form, state, table
from cloudseed.dashboard.visit import Resource, Visit, part
from cloudseed.kernel.http.app import Response


class Volumes(Resource):
    """/dashboard/volumes"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        volumes = await visit.find_if_served("volume", f"/v3/{visit.project_id}/volumes/detail", "volumes")
        if volumes is None:
            visit.page(resp, "Volumes", el("p", "There is no volume service in this cloud.", class_="empty"))
            return
        visit.page(resp, "Volumes", table(
            ("Name", "State", "Size", "Type", "Attached to", ""),
            [(volume["name"] or volume["id"], state(volume["status"]), f"{volume['size']} GiB",
              volume.get("volume_type") or "", ", ".join(a["device"] or a["server_id"] for a in volume["attachments"]),
              button(visit, f"/volumes/{quote(volume['id'], safe='')}/delete", "Delete", danger=True)
              if not volume["attachments"] else None) for volume in volumes], "There are no volumes yet."),
            el("details", el("summary", "New volume"), form(
                visit, "/volumes", "Create", field("Name", "name", maxlength=255),
                field("Size in GiB", "size", type="number", min=1, value=1, required=True))))

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        size = form.get("size", "")
        await visit.ask("volume", "POST", f"/v3/{visit.project_id}/volumes",
                        {"volume": {"name": form.get("name", ""), "size": int(size) if size.isdecimal() else size}})
        return f"{PREFIX}/volumes"


class DeleteVolume(Resource):
    """/dashboard/volumes/{volume_id}/delete"""

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        await visit.ask("volume", "DELETE", f"/v3/{visit.project_id}/volumes/{part(names['volume_id'])}")
        return f"{PREFIX}/volumes"
