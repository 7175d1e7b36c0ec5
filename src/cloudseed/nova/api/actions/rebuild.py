"""Rebuild."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova.api.body import check_name, check_text, convert, is_uuid, shown
from cloudseed.nova.api.links import links_of
from cloudseed.nova.api.server_bodies import (
    File,
    canonical_address,
    check_address,
    check_base64,
    check_hostname,
    check_metadata,
)
from cloudseed.nova.api.servers import Server
from cloudseed.nova.server_rebuild import RebuildOrder, rebuild_server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

ADDED = {"description": (2, 19), "key_name": (2, 54), "user_data": (2, 57), "trusted_image_certificates": (2, 63),
         "hostname": (2, 90)}
REMOVED = {"personality": (2, 57)}
UNSET = msgspec.UNSET


class Rebuild(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    image: str = msgspec.field(name="imageRef")
    name: str | msgspec.UnsetType = UNSET
    description: str | msgspec.UnsetType | None = UNSET
    metadata: dict[str, str] | msgspec.UnsetType = UNSET
    admin_password: str | None = msgspec.field(name="adminPass", default=None)
    preserve_ephemeral: bool = False
    disk_config: Literal["AUTO", "MANUAL"] | None = msgspec.field(name="OS-DCF:diskConfig", default=None)
    access_ip_v4: str | msgspec.UnsetType = msgspec.field(name="accessIPv4", default=UNSET)
    access_ip_v6: str | msgspec.UnsetType = msgspec.field(name="accessIPv6", default=UNSET)
    personality: list[File] | msgspec.UnsetType = UNSET
    key_name: str | msgspec.UnsetType | None = UNSET
    user_data: str | msgspec.UnsetType | None = UNSET
    trusted_image_certificates: list[str] | msgspec.UnsetType | None = UNSET
    hostname: str | msgspec.UnsetType = UNSET

    def __post_init__(self) -> None:
        if not is_uuid(self.image.rpartition("/")[2]):
            raise ValueError(f"Invalid input for field/attribute imageRef. Value: {shown(self.image)}. "
                             f"{shown(self.image)} is not a 'uuid'")
        for what in ("name", "key_name"):
            value = getattr(self, what)
            if isinstance(value, str):
                check_name(value, what)
        if isinstance(self.description, str):
            check_text(self.description, "description")
        check_text(self.admin_password, "adminPass")
        if isinstance(self.metadata, dict):
            check_metadata(self.metadata)
        if isinstance(self.user_data, str):
            if len(self.user_data) > 65535:
                raise ValueError("Invalid input for field/attribute user_data. It is longer than 65535 characters")
            check_base64(self.user_data, "user_data")
        for what, version in (("access_ip_v4", 4), ("access_ip_v6", 6)):
            value = getattr(self, what)
            if isinstance(value, str) and value:
                check_address(value, what, version)
        certificates = self.trusted_image_certificates
        if isinstance(certificates, list) and not (
                1 <= len(certificates) <= 50 and all(0 < len(c) < 256 for c in certificates)):
            raise ValueError("Invalid input for field/attribute trusted_image_certificates. It must have 1 to 50 ids")


async def rebuild(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    given = convert(req, {"rebuild": value}, "rebuild", Rebuild, added=ADDED, removed=REMOVED)
    if given.preserve_ephemeral:
        raise Invalid("The current driver does not support preserving ephemeral partitions.")
    changes = {name: field for name in (
        "name", "description", "metadata", "key_name", "user_data", "trusted_image_certificates", "hostname")
        if (field := getattr(given, name)) is not UNSET}
    if isinstance(given.hostname, str):
        check_hostname(given.hostname, req.microversion)
    for name in ("access_ip_v4", "access_ip_v6"):
        address = getattr(given, name)
        if isinstance(address, str):
            changes[name] = canonical_address(address)
    if isinstance(given.personality, list):
        changes["personality"] = [msgspec.to_builtins(file) for file in given.personality]
    row, password = await rebuild_server(nova, req.ctx, server_id, RebuildOrder(
        image_id=given.image.rpartition("/")[2].lower(), changes=changes, disk_config=given.disk_config,
        admin_password=given.admin_password, reimage=req.microversion >= (2, 93)))
    view = await Server(nova).view(req, row, update=True)
    if req.microversion >= (2, 54):
        view["key_name"] = row.key_name
    if req.microversion >= (2, 57):
        view["user_data"] = row.user_data
    view.pop("OS-EXT-SRV-ATTR:user_data", None)  # only under its old name here, as upstream
    resp.set_header("Location", links_of(req, "servers", server_id)[0]["href"])
    resp.media = {"server": {**view, "adminPass": password}}


HANDLERS = {"rebuild": rebuild}
