"""A server's root disk made into an image: steps that snapshot, backup and shelve have in common.

    step     does                                                     undo
    image    the image's record is in glance, queued                  the image is deleted
    copy     the host has a flat copy of the disk, of one instant     the copy is given up and removed
    upload   the image is active, the host's copy gone

The id of the image is chosen with the order, so each step finds what it did before.  An operation with these
steps has `data["image"] = {"id", "body"}`: the id, and the record as it is to be made (`new_image`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Conflict, NotFound
from cloudseed.kernel.http.client import ServiceSession
from cloudseed.kernel.operations import Run, Step
from cloudseed.nova.compute.errors import NotHere
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import begin_event, change, read_server
from cloudseed.nova.server_images import BASE
from cloudseed.nova.server_states import TaskState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
COPY_PATIENCE_S = 6 * 3600.0
# of a base image alone; nova's `non_inheritable_image_properties` and those that it never inherits
NOT_INHERITED = frozenset({
    "cache_in_nova", "bittorrent", "cinder_encryption_key_id", "cinder_encryption_key_deletion_policy",
    "img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid"})


class States(NamedTuple):
    """The task states of the steps."""

    copying: TaskState = TaskState.IMAGE_SNAPSHOT
    copied: TaskState = TaskState.IMAGE_PENDING_UPLOAD
    uploading: TaskState = TaskState.IMAGE_UPLOADING


def new_image(row: Any, ctx: Context, name: str, image_type: str, metadata: dict[str, str]) -> dict[str, Any]:
    """The record of an image of the server `row`, as upstream makes it: the properties of the image that it was
    made from, what it is of, then the user's.  A user of another project shares it with the server's."""
    inherited = {key: value for key, value in (row.image_properties or {}).items()
                 if key not in NOT_INHERITED and not key.startswith("os_glance")}
    minima = {key: _number(inherited.get(key)) for key in ("min_disk", "min_ram")}
    properties = {key: value for key, value in inherited.items() if key not in BASE or key == "base_image_ref"}
    return {
        **properties, "instance_uuid": row.id, "user_id": ctx.user_id, "image_type": image_type,
        "image_location": "snapshot", "image_state": "available", "owner_id": row.project_id,
        "boot_roles": ",".join(sorted(ctx.identity.roles)), **metadata,
        **({"instance_owner": row.project_id} if row.project_id != ctx.project_id else {}),
        "name": name, "visibility": "private" if row.project_id == ctx.project_id else "shared",
        "min_ram": minima["min_ram"], "min_disk": max(minima["min_disk"], (row.flavor or {}).get("disk") or 0)}


def _number(text: Any) -> int:
    return int(text) if str(text or "").isdecimal() else 0


async def make_record(session: ServiceSession, ctx: Context, image_id: str, body: dict[str, Any]) -> None:
    """The image's record in glance, made by the user, whose policy and quota count; one that is there is fine."""
    try:
        await session.request(ctx, "image", "POST", "/v2/images", json={**body, "id": image_id}, as_user=True)
    except Conflict:
        await session.get_json(ctx, "image", f"/v2/images/{image_id}", as_user=True)
    if body["visibility"] == "shared":
        try:
            await session.request(ctx, "image", "POST", f"/v2/images/{image_id}/members", as_user=True,
                                  json={"member": body["instance_owner"]})
        except Conflict:
            pass  # shared before


class ImageOfServer:
    """The steps; `event` is upstream's name of what the host does, in os-instance-actions."""

    def __init__(self, nova: Nova, hosts: Hosts, event: str, states: States | None = None) -> None:
        self._nova = nova
        self._hosts = hosts
        self._event = event
        self._states = states or States()
        self.steps = (
            Step("image", self.image, self.undo_image),
            Step("copy", self.copy, self.undo_copy, patience_s=COPY_PATIENCE_S),
            Step("upload", self.upload, patience_s=COPY_PATIENCE_S))

    async def image(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            await change(tx, row, task_state=self._states.copying.value)
            await begin_event(tx, run, self._event, row.host)
        await make_record(self._nova.conductor_session, run.ctx, run.data["image"]["id"], run.data["image"]["body"])

    async def undo_image(self, run: Run) -> None:
        try:
            await self._nova.conductor_session.request(run.ctx, "image", "DELETE",
                                                       f"/v2/images/{run.data['image']['id']}")
        except NotFound:
            pass

    async def copy(self, run: Run) -> None:
        await self._ask(run, "snapshot", "copy the disk of", task_state=self._states.copied)

    async def undo_copy(self, run: Run) -> None:
        async with self._nova.db.read() as tx:
            row = await read_server(tx, run.resource_id)
        if row.host is None:
            return
        try:
            await self._hosts.ask(run, row.host, "discard_snapshot", image_id=run.data["image"]["id"])
        except HostGone as exc:
            log.warning("host %s is gone with a copy of server %s's disk", exc.host, row.id)

    async def upload(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), task_state=self._states.uploading.value)
        await self._ask(run, "upload_snapshot", "upload the snapshot of")

    async def _ask(self, run: Run, method: str, doing: str, task_state: TaskState | None = None) -> None:
        async with self._nova.db.read() as tx:
            row = await read_server(tx, run.resource_id)
        if row.host is None:
            raise NotHere(f"Instance {row.id} is on no host.")
        try:
            await self._hosts.ask(run, row.host, method, spec=encode_spec(spec_from_row(row)),
                                  image_id=run.data["image"]["id"])
        except HostGone as exc:
            raise exc.failure(f"{doing} server {row.id}") from exc
        if task_state is not None:
            async with self._nova.db.write() as tx:
                await change(tx, await read_server(tx, run.resource_id), task_state=task_state.value)
