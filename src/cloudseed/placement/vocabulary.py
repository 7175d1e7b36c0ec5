"""Names of resource classes and traits, and the numbers that rows use for them.

Kept in memory, read again when the database says that a name came or went.  The ecosystem's own names come from
os-resource-classes and os-traits: written at a start that finds other versions of them than the last one.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import CloudseedError
from cloudseed.placement.changes import Counters
from cloudseed.placement.errors import ResourceClassNotFound, TraitNotFound
from cloudseed.placement.models import changes, resource_classes, traits

CUSTOM = "CUSTOM_"  # what operators' own names begin with


class Vocabulary:
    """Names to ids and back.  `refresh` in the transaction at hand before use."""

    def __init__(self) -> None:
        self._version = -1
        self.class_ids: dict[str, int] = {}
        self.class_names: dict[int, str] = {}
        self.trait_ids: dict[str, int] = {}
        self.trait_names: dict[int, str] = {}

    async def refresh(self, tx: Tx, counters: Counters) -> None:
        """Read the names again when they have changed."""
        if counters.vocabulary == self._version:
            return
        classes = [tuple(row) for row in await tx.all(sa.select(resource_classes.c.name, resource_classes.c.id))]
        known = [tuple(row) for row in await tx.all(sa.select(traits.c.name, traits.c.id))]
        self.class_ids = dict(classes)
        self.class_names = {number: name for name, number in classes}
        self.trait_ids = dict(known)
        self.trait_names = {number: name for name, number in known}
        self._version = counters.vocabulary

    def class_id(self, name: str, error: type[CloudseedError] = ResourceClassNotFound) -> int:
        """The class's number; raises `error` with ResourceClassNotFound's text."""
        number = self.class_ids.get(name)
        if number is None:
            raise error(ResourceClassNotFound.template % {"name": name})
        return number

    def traits_by_name(self, names: Iterable[str], error: type[CloudseedError] = TraitNotFound,
                       prefix: str = "") -> list[int]:
        """The traits' numbers; raises `error` that names all unknown ones."""
        names = list(names)
        unknown = sorted({name for name in names if name not in self.trait_ids})
        if unknown:
            raise error(prefix + TraitNotFound.template % {"name": ", ".join(unknown)})
        return [self.trait_ids[name] for name in names]


async def sync_standards(tx: Tx) -> None:
    """Write the standard names that are missing.  Needs a write transaction; makes the row of `changes` too."""
    source = f"os-traits {version('os-traits')} os-resource-classes {version('os-resource-classes')}"
    known = await tx.scalar(sa.select(changes.c.standards))
    if known == source:
        return
    import os_resource_classes  # 30 ms of imports that an ordinary start does not need
    import os_traits
    if known is None:
        await tx.execute(sa.insert(changes).values(id=1, change=0, removals=0, vocabulary=0, standards=source))
    now = utcnow()
    for table, names in ((resource_classes, os_resource_classes.STANDARDS), (traits, os_traits.get_traits())):
        present = set(await tx.scalars(sa.select(table.c.name)))
        missing = [{"name": name, "created_at": now} for name in names if name not in present]
        if missing:
            await tx.execute(sa.insert(table), missing)
    await tx.execute(sa.update(changes).values(standards=source, vocabulary=changes.c.vocabulary + 1))
