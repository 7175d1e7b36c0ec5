"""Projects and domains: one tree, domains at its roots.

A project's parent is a project of the same domain or the domain itself.  What is disabled has nothing enabled
below it, so that a look at the project itself (and its domain) says whether it can be used.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.keystone import checks, directory, revocations, rows
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.keystone.lists import Filters, fetch
from cloudseed.keystone.models import assignments, credentials, groups, project_tags, projects, users
from cloudseed.keystone.state import Keystone
from cloudseed.keystone.targets import target

MAX_DEPTH = 5  # of projects below one another, keystone's max_project_tree_depth
MAX_TAGS = 80
NAME_LENGTH = 64


async def get_project(ks: Keystone, ctx: Context, project_id: str, rule: str = "get_project") -> Record:
    """Raises NotFound, or Forbidden to those who may not know."""
    row = await directory.find_project(ks, project_id)
    ks.enforce(ctx, rule, target("project", row))
    if row is None:
        raise NotFound("project", project_id)
    return row


async def list_projects(ks: Keystone, ctx: Context, filters: Filters, tags: dict[str, list[str]]) -> list[Record]:
    """`tags`: filter (tags, tags-any, not-tags, not-tags-any) -> names."""
    rows.keep_to_own_domain(ks, ctx, "list_projects", "target.domain_id", filters)
    filters.exact.setdefault("is_domain", False)
    statement = sa.select(projects)
    for name, wanted in tags.items():
        statement = statement.where(_tag_clause(name, wanted))
    async with ks.db.read() as tx:
        return await fetch(tx, projects, filters, "project", statement)


def _tag_clause(name: str, wanted: Collection[str]) -> sa.ColumnElement[bool]:
    has = sa.select(sa.func.count()).where(project_tags.c.project_id == projects.c.id,
                                           project_tags.c.name.in_(set(wanted))).scalar_subquery()
    match name:
        case "tags":
            return has == len(set(wanted))
        case "tags-any":
            return has > 0
        case "not-tags":
            return has < len(set(wanted))
        case _:
            return has == 0


async def tags_of(ks: Keystone, project_ids: Collection[str]) -> dict[str, list[str]]:
    """Tags by project, in one statement."""
    found: dict[str, list[str]] = {}
    async with ks.db.read() as tx:
        for row in await tx.all(sa.select(project_tags).where(project_tags.c.project_id.in_(list(project_ids)))
                                .order_by(project_tags.c.name)):
            found.setdefault(row.project_id, []).append(row.name)
    return found


async def create_project(ks: Keystone, ctx: Context, *, name: str, domain_id: str | None, parent_id: str | None,
                         description: str | None, enabled: bool, is_domain: bool, options: dict[str, Any] | None,
                         tags: Sequence[str], extra: dict[str, Any]) -> Record:
    if is_domain:
        if domain_id or parent_id:
            raise Invalid("A project that acts as a domain has neither a domain_id nor a parent_id.")
        return await create_domain(ks, ctx, name=name, description=description, enabled=enabled, options=options,
                                   tags=tags, extra=extra, domain_id=None)
    parent = await directory.find_project(ks, parent_id) if parent_id else None
    home = domain_id or ((parent.domain_id or parent.id) if parent is not None else None) or own_domain(ctx)
    ks.enforce(ctx, "create_project", {"target.project.domain_id": home})
    domain = await directory.find_domain(ks, home)
    if domain is None:
        raise NotFound("domain", home)
    if parent_id and parent is None:
        raise NotFound("project", parent_id)
    parent = parent if parent is not None else domain
    if (parent.domain_id or parent.id) != domain.id:
        raise Invalid(f"The parent project {parent.id} is in another domain than {domain.id}.")
    above = [parent, *await directory.ancestors(ks, parent.id)]
    if not all(row.enabled for row in above):
        raise Forbidden("Cannot create a project in a branch that holds a disabled project or domain.")
    if len([row for row in above if not row.is_domain]) >= MAX_DEPTH:
        raise Forbidden(f"Max hierarchy depth reached for {parent.id}: projects lie at most {MAX_DEPTH} deep.")
    values = {"id": uuid.uuid4().hex, "name": checks.check_name("name", name, NAME_LENGTH), "domain_id": domain.id,
              "parent_id": parent.id, "description": description, "enabled": enabled, "is_domain": False,
              "options": checks.merge_options({}, options, checks.RESOURCE_OPTIONS), "extra": extra}
    checks.check_text("description", description)
    return await _insert(ks, ctx, values, tags, Conflict(
        "project", f"it is not permitted to have two projects with the same name in the same domain: {name}"))


def own_domain(ctx: Context) -> str:
    """The domain in which something is made when the request names none: the token's."""
    return ctx.identity.domain_id or ctx.identity.project_domain_id or "default"


async def create_domain(ks: Keystone, ctx: Context, *, name: str, description: str | None, enabled: bool,
                        options: dict[str, Any] | None, tags: Sequence[str], extra: dict[str, Any],
                        domain_id: str | None) -> Record:
    """`domain_id`: an explicit id (upstream's explicit_domain_id)."""
    ks.enforce(ctx, "create_domain")
    if domain_id is not None and (len(domain_id) != 32 or any(c not in "0123456789abcdef" for c in domain_id)):
        raise Invalid("Invalid input for field/attribute explicit_domain_id. It must be a UUID in hex form.")
    values = {"id": domain_id or uuid.uuid4().hex, "name": checks.check_name("name", name, NAME_LENGTH),
              "domain_id": None, "parent_id": None, "description": description, "enabled": enabled,
              "is_domain": True, "options": checks.merge_options({}, options, checks.RESOURCE_OPTIONS),
              "extra": extra}
    checks.check_text("description", description)
    return await _insert(ks, ctx, values, tags, Conflict("domain", f"Duplicate entry found with name {name}"))


async def _insert(ks: Keystone, ctx: Context, values: dict[str, Any], tags: Sequence[str],
                  conflict: Conflict) -> Record:
    check_tags(tags)
    async with ks.changing(ctx, conflict=conflict, forget=False) as tx:
        await tx.execute(sa.insert(projects).values(**values))
        if tags:
            await tx.execute(sa.insert(project_tags), [{"project_id": values["id"], "name": tag} for tag in set(tags)])
        row = await tx.first(sa.select(projects).where(projects.c.id == values["id"]))
    assert row is not None
    return row


async def update_project(ks: Keystone, ctx: Context, project_id: str, patch: dict[str, Any], extra: dict[str, Any],
                         *, noun: str = "project") -> Record:
    """`patch`: attributes to set.  `noun`: project or domain, whose rule and name in errors apply."""
    row = await (get_domain if noun == "domain" else get_project)(ks, ctx, project_id, f"update_{noun}")
    checks.check_immutable(noun, row, patch.get("options"))
    if "parent_id" in patch and patch.pop("parent_id") != row.parent_id:
        raise Forbidden("Update of `parent_id` is not allowed.")
    rows.check_patch(noun, row, patch, extra, fixed=("domain_id", "is_domain"), name_length=NAME_LENGTH)
    tags = patch.pop("tags", None)
    if tags is not None:
        check_tags(tags)
    if "options" in patch:
        patch["options"] = checks.merge_options(row.options, patch["options"], checks.RESOURCE_OPTIONS)
    conflict = Conflict(noun, f"the name {patch.get('name')} is taken")
    async with ks.changing(ctx, conflict=conflict) as tx:
        if patch.get("enabled") is False and row.enabled:
            if not row.is_domain and await _enabled_children(tx, project_id):
                raise Forbidden(f"Cannot disable project {project_id} since its subtree contains enabled projects.")
            await revocations.revoke(tx, **{"domain_id" if row.is_domain else "project_id": project_id})
        if patch.get("enabled") and not row.is_domain and not await _parent_enabled(tx, row.parent_id):
            raise Forbidden(f"Cannot enable project {project_id} since it has disabled parents.")
        if tags is not None:
            await _replace_tags(tx, project_id, tags)
        return await rows.change(tx, projects, noun, project_id, patch)


async def _enabled_children(tx: Tx, project_id: str) -> bool:
    return bool(await tx.scalar(sa.select(sa.func.count()).where(projects.c.parent_id == project_id,
                                                                 projects.c.enabled.is_(True))))


async def _parent_enabled(tx: Tx, parent_id: str) -> bool:
    return bool(await tx.scalar(sa.select(projects.c.enabled).where(projects.c.id == parent_id)))


async def delete_project(ks: Keystone, ctx: Context, project_id: str) -> None:
    row = await get_project(ks, ctx, project_id, "delete_project")
    checks.check_immutable("project", row)
    if row.is_domain:
        await delete_domain(ks, ctx, project_id)
        return
    async with ks.changing(ctx) as tx:
        if await tx.scalar(sa.select(sa.func.count()).where(projects.c.parent_id == project_id)):
            raise Forbidden(f"Cannot delete the project {project_id} since it is not a leaf in the hierarchy. "
                            "Delete the projects below it first.")
        await _forget_projects(tx, [project_id])
        await tx.execute(sa.delete(projects).where(projects.c.id == project_id))


async def _forget_projects(tx: Tx, project_ids: Collection[str]) -> None:
    """What refers to projects without a foreign key."""
    ids = list(project_ids)
    await tx.execute(sa.delete(assignments).where(assignments.c.target_kind.in_(("project", "domain")),
                                                  assignments.c.target_id.in_(ids)))
    await tx.execute(sa.delete(credentials).where(credentials.c.project_id.in_(ids)))
    await tx.execute(sa.update(users).where(users.c.default_project_id.in_(ids)).values(default_project_id=None))


async def get_domain(ks: Keystone, ctx: Context, domain_id: str, rule: str = "get_domain") -> Record:
    row = await directory.find_domain(ks, domain_id)
    ks.enforce(ctx, rule, target("domain", row))
    if row is None:
        raise NotFound("domain", domain_id)
    return row


async def list_domains(ks: Keystone, ctx: Context, filters: Filters) -> list[Record]:
    domain_id = ctx.identity.domain_id
    ks.enforce(ctx, "list_domains", {"target.domain.id": domain_id})
    if domain_id is not None and not ks.allows(ctx, "list_domains", {}):
        filters.exact["id"] = domain_id
    filters.exact["is_domain"] = True
    async with ks.db.read() as tx:
        return await fetch(tx, projects, filters, "domain")


async def delete_domain(ks: Keystone, ctx: Context, domain_id: str) -> None:
    """With all that it holds.  Only when it is disabled: nobody deletes a domain by a slip."""
    row = await get_domain(ks, ctx, domain_id, "delete_domain")
    checks.check_immutable("domain", row)
    if domain_id == "default":
        raise Forbidden("The default domain cannot be deleted.")
    if row.enabled:
        raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
    async with ks.changing(ctx) as tx:
        inside = list(await tx.scalars(sa.select(projects.c.id).where(projects.c.domain_id == domain_id)))
        await _forget_projects(tx, [domain_id, *inside])
        for kind, table in (("user", users), ("group", groups)):
            await tx.execute(sa.delete(assignments).where(
                assignments.c.actor_kind == kind,
                assignments.c.actor_id.in_(sa.select(table.c.id).where(table.c.domain_id == domain_id))))
            await tx.execute(sa.delete(table).where(table.c.domain_id == domain_id))
        # leaves first: a parent cannot go while a child points at it
        while inside:
            leaves = set(inside) - set(await tx.scalars(
                sa.select(projects.c.parent_id).where(projects.c.domain_id == domain_id)))
            await tx.execute(sa.delete(projects).where(projects.c.id.in_(leaves)))
            inside = [i for i in inside if i not in leaves]
        await tx.execute(sa.delete(projects).where(projects.c.id == domain_id))


# --- the tree around a project


async def subtree(ks: Keystone, project_id: str) -> list[Record]:
    """All projects below one, parents before children."""
    below = sa.select(projects.c.id, sa.literal(0).label("depth")).where(projects.c.id == project_id).cte(
        recursive=True)
    below = below.union_all(sa.select(projects.c.id, below.c.depth + 1).where(projects.c.parent_id == below.c.id))
    async with ks.db.read() as tx:
        return list(await tx.all(sa.select(projects).join(below, below.c.id == projects.c.id)
                                 .where(below.c.depth > 0).order_by(below.c.depth, projects.c.id)))


# --- tags


def check_tags(tags: Sequence[str]) -> None:
    if len(set(tags)) > MAX_TAGS:
        raise Invalid(f"Invalid input for field/attribute tags. A project has at most {MAX_TAGS} tags.")
    for tag in tags:
        checks.check_name("tags", tag)
        if "/" in tag or "," in tag:
            raise Invalid("Invalid input for field/attribute tags. A tag must not hold a slash or a comma.")


async def _replace_tags(tx: Tx, project_id: str, tags: Sequence[str]) -> None:
    await tx.execute(sa.delete(project_tags).where(project_tags.c.project_id == project_id))
    if tags:
        await tx.execute(sa.insert(project_tags), [{"project_id": project_id, "name": tag} for tag in set(tags)])


async def set_tags(ks: Keystone, ctx: Context, project_id: str, tags: Sequence[str], rule: str) -> None:
    row = await get_project(ks, ctx, project_id, rule)
    checks.check_immutable("project", row)
    check_tags(tags)
    async with ks.changing(ctx, forget=False) as tx:
        await _replace_tags(tx, project_id, tags)


async def add_tag(ks: Keystone, ctx: Context, project_id: str, tag: str) -> None:
    row = await get_project(ks, ctx, project_id, "create_project_tag")
    checks.check_immutable("project", row)
    async with ks.changing(ctx, forget=False) as tx:
        have = set(await tx.scalars(sa.select(project_tags.c.name).where(project_tags.c.project_id == project_id)))
        check_tags([*have, tag])
        if tag not in have:
            await tx.execute(sa.insert(project_tags).values(project_id=project_id, name=tag))


async def remove_tag(ks: Keystone, ctx: Context, project_id: str, tag: str) -> None:
    row = await get_project(ks, ctx, project_id, "delete_project_tag")
    checks.check_immutable("project", row)
    async with ks.changing(ctx, forget=False) as tx:
        gone = await tx.execute(sa.delete(project_tags).where(project_tags.c.project_id == project_id,
                                                              project_tags.c.name == tag))
    if gone.rowcount == 0:
        raise NotFound("project tag", tag)
