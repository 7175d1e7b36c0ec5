"""The body that says what a consumer shall hold, in the shape of each microversion, as a `Claim`.

Used by PUT and POST of allocations and by the reshaper.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from cloudseed.kernel.http.microversion import Version
from cloudseed.placement.allocations import INCOMPLETE_OWNER, Claim
from cloudseed.placement.api.wire import NAME, Amount, ClassName, Owner, Uuid36, require_uuid

Resources = Annotated[dict[ClassName, Amount], msgspec.Meta(min_length=1)]
Mappings = Annotated[dict[str, Annotated[list[str], msgspec.Meta(min_length=1)]], msgspec.Meta(min_length=1)]
ConsumerType = Annotated[str, msgspec.Meta(pattern=NAME, min_length=1, max_length=255)]


class ProviderName(msgspec.Struct, forbid_unknown_fields=True):
    uuid: str


class ListedShare(msgspec.Struct, forbid_unknown_fields=True):
    resource_provider: ProviderName
    resources: Resources


class Share(msgspec.Struct, forbid_unknown_fields=True):
    """What is held of one provider.  `generation` is accepted, as it comes with a GET, and means nothing."""

    resources: Resources
    generation: int = 0


Shares = dict[Uuid36, Share]


class Body1_0(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Until 1.7: a list, and no owner."""

    allocations: Annotated[list[ListedShare], msgspec.Meta(min_length=1)]


class Body1_8(Body1_0, forbid_unknown_fields=True, kw_only=True):
    project_id: Owner
    user_id: Owner


class Body1_13(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """From 1.12: by provider; POST, which came with 1.13, may empty it."""

    allocations: Shares
    project_id: Owner
    user_id: Owner


class Body1_12(Body1_13, forbid_unknown_fields=True, kw_only=True):
    """PUT before 1.28 may not."""

    allocations: Annotated[Shares, msgspec.Meta(min_length=1)]


class Body1_28(Body1_13, forbid_unknown_fields=True, kw_only=True):
    consumer_generation: int | None


class Body1_34(Body1_28, forbid_unknown_fields=True, kw_only=True):
    mappings: Mappings | msgspec.UnsetType = msgspec.UNSET


class Body1_38(Body1_34, forbid_unknown_fields=True, kw_only=True):
    consumer_type: ConsumerType


Body = Body1_0 | Body1_13
_BY_VERSION: list[tuple[Version, Any]] = [
    ((1, 38), Body1_38), ((1, 34), Body1_34), ((1, 28), Body1_28), ((1, 12), Body1_12), ((1, 8), Body1_8),
    ((1, 0), Body1_0)]


def one_body(version: Version) -> Any:
    """The type of PUT's body."""
    return next(body for since, body in _BY_VERSION if version >= since)


def many_bodies(version: Version) -> Any:
    """The type of POST's body: by consumer."""
    body = Body1_13 if version < (1, 28) else one_body(version)
    return dict[Uuid36, body]  # type: ignore[valid-type]


def claim_of(consumer: str, body: Body) -> Claim:
    """Lifted to the newest shape.  Raises Invalid for a malformed provider uuid."""
    held: dict[str, dict[str, int]] = {}
    if isinstance(body, Body1_0):
        for entry in body.allocations:
            held[require_uuid(entry.resource_provider.uuid, "resource_provider")] = dict(entry.resources)
        project_id, user_id = (body.project_id, body.user_id) if isinstance(body, Body1_8) \
            else (INCOMPLETE_OWNER, INCOMPLETE_OWNER)
        return Claim(consumer, held, project_id, user_id)
    held = {uuid.lower(): dict(share.resources) for uuid, share in body.allocations.items()}
    guarded = isinstance(body, Body1_28)
    return Claim(consumer, held, body.project_id, body.user_id, guarded,
                 body.consumer_generation if isinstance(body, Body1_28) else None,
                 body.consumer_type if isinstance(body, Body1_38) else None)
