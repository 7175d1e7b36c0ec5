"""Bulk delete: many names in one request, each with its own outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from cloudseed.kernel.context import Identity
from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.swift import containers, objects
from cloudseed.swift.errors import BadRequest
from cloudseed.swift.store import Swift, Target

MAX_DELETES = 10_000


def parse_names(account: str, body: bytes) -> list[Target]:
    """One quoted path a line.  Raises BadRequest."""
    try:
        lines = [unquote(line.strip(), errors="strict") for line in body.decode("utf-8").splitlines() if line.strip()]
    except UnicodeError:
        raise BadRequest("The list of names is not valid UTF-8.") from None
    if len(lines) > MAX_DELETES:
        raise BadRequest(f"Maximum Bulk Deletes: {MAX_DELETES} per request")
    targets = []
    for line in lines:
        container, _, name = line.lstrip("/").partition("/")
        targets.append(Target(account, container, name))
    return targets


async def delete_all(swift: Swift, identity: Identity, targets: Iterable[Target]) -> dict[str, Any]:
    """Delete objects and (empty) containers in the given order; upstream's report."""
    deleted = missing = 0
    failed: list[list[str]] = []
    for target in targets:
        try:
            if target.name:
                await objects.delete_object(swift, identity, target)
            else:
                await containers.delete_container(swift, identity, target)
            deleted += 1
        except NotFound:
            missing += 1
        except CloudseedError as exc:
            path = "/" + target.container + (f"/{target.name}" if target.name else "")
            failed.append([path, f"{exc.status} {exc.title}"])
    status = "400 Bad Request" if failed else "404 Not Found" if not deleted and missing else "200 OK"
    return {"Number Deleted": deleted, "Number Not Found": missing, "Response Body": "", "Response Status": status,
            "Errors": failed}
