"""Resize, its confirmation and its revert; moves to other hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cloudseed.kernel.errors import Invalid
from cloudseed.kernel.http.app import Response
from cloudseed.kernel.http.request import Request
from cloudseed.nova import server_moves, server_resize
from cloudseed.nova.api.body import as_type, check_name

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class ResizeOrder(msgspec.Struct, forbid_unknown_fields=True, rename={"flavor_ref": "flavorRef", "disk_config":
                                                                      "OS-DCF:diskConfig"}):
    flavor_ref: str | int
    disk_config: Literal["AUTO", "MANUAL"] | None = None

    def __post_init__(self) -> None:
        text = str(self.flavor_ref)
        if not text or len(text) > 512 or not text.isprintable():
            raise ValueError("Invalid input for field/attribute flavorRef. It must be a flavor's id")


class Migrate(msgspec.Struct, forbid_unknown_fields=True):
    """Since 2.56."""

    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            check_name(self.host, "host")


Flag = bool | Literal["True", "true", "TRUE", "False", "false", "FALSE", "1", "0", "on", "off", "yes", "no"]


class MigrateLive(msgspec.Struct, forbid_unknown_fields=True):
    host: str | None
    block_migration: Flag | Literal["auto"]
    disk_over_commit: Flag | msgspec.UnsetType = msgspec.UNSET
    force: Flag | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.host is not None:
            check_name(self.host, "host")


class Evacuate(msgspec.Struct, forbid_unknown_fields=True, rename={"on_shared": "onSharedStorage",
                                                                   "password": "adminPass"}):
    host: str | None = None
    on_shared: Flag | msgspec.UnsetType = msgspec.UNSET
    password: str | None = None
    force: Flag | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.host is not None:
            check_name(self.host, "host")


async def resize(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, ResizeOrder, "resize")
    await server_resize.resize_server(nova, req.ctx, server_id, str(order.flavor_ref), order.disk_config)


async def confirm(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    """Any value is taken, as upstream takes it: clients send null, SDKs an empty object."""
    await server_resize.confirm_resize(nova, req.ctx, server_id)
    resp.status = 204


async def revert(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    await server_resize.revert_resize(nova, req.ctx, server_id)


async def migrate(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order = as_type(value, Migrate, "migrate") if value is not None and req.microversion >= (2, 56) else Migrate()
    await server_moves.migrate_server(nova, req.ctx, server_id, order.host)


async def migrate_live(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order, version = as_type(value, MigrateLive, "os-migrateLive"), req.microversion
    _between(order.disk_over_commit, "disk_over_commit", version < (2, 25), needed=version < (2, 25))
    _between(order.force, "force", (2, 30) <= version < (2, 68))
    if version < (2, 25) and order.block_migration == "auto":
        raise Invalid("Invalid input for field/attribute block_migration. Value: auto. 'auto' is not a 'boolean'.")
    forced = _truth(order.force)
    if forced and not order.host:
        raise Invalid("Can't force to a non-provided destination")
    await server_moves.live_migrate_server(nova, req.ctx, server_id, server_moves.LiveOrder(
        host=order.host, block_migration=None if order.block_migration == "auto" else _truth(order.block_migration),
        forced=bool(order.host) and (forced or version < (2, 30)), wait=version < (2, 34)))


async def evacuate(nova: Nova, req: Request, resp: Response, server_id: str, value: Any) -> None:
    order, version = as_type(value, Evacuate, "evacuate"), req.microversion
    _between(order.on_shared, "onSharedStorage", version < (2, 14), needed=version < (2, 14))
    _between(order.force, "force", (2, 29) <= version < (2, 68))
    forced = _truth(order.force)
    if forced and not order.host:
        raise Invalid("Can't force to a non-provided destination")
    password = await server_moves.evacuate_server(nova, req.ctx, server_id, server_moves.EvacuateOrder(
        host=order.host, forced=bool(order.host) and (forced or version < (2, 29)), stopped=version >= (2, 95),
        admin_password=order.password))
    resp.status = 200
    if version < (2, 14):
        resp.media = {"adminPass": password}


def _truth(value: Any) -> bool:
    """A flag as clients write it."""
    return value is not msgspec.UNSET and str(value).lower() in ("true", "1", "on", "yes")


def _between(value: Any, name: str, known: bool, needed: bool = False) -> None:
    """A field that only some microversions have."""
    if value is not msgspec.UNSET and not known:
        raise Invalid(f"Invalid input for field/attribute body. Additional properties are not allowed ('{name}' was "
                      "unexpected).")
    if value is msgspec.UNSET and needed:
        raise Invalid(f"Invalid input for field/attribute body. '{name}' is a required property.")


HANDLERS = {"resize": resize, "confirmResize": confirm, "revertResize": revert, "migrate": migrate,
            "os-migrateLive": migrate_live, "evacuate": evacuate}
