"""Placement's errors: kernel classes with the codes that its clients look at (from microversion 1.23 on)."""

from __future__ import annotations

from cloudseed.kernel import errors


class ResourceProviderNotFound(errors.NotFound):
    template = "No resource provider with uuid %(uuid)s found"


class ResourceClassNotFound(errors.NotFound):
    template = "No such resource class %(name)s."


class TraitNotFound(errors.NotFound):
    template = "No such trait(s): %(name)s."


class InventoryNotFound(errors.NotFound):
    template = "No inventory of class %(resource_class)s for %(uuid)s"


class AllocationsNotFound(errors.NotFound):
    template = "No allocations for consumer '%(consumer)s'"


class ConcurrentUpdate(errors.Conflict):
    """A generation that a client based its write on is no longer the current one: read again, then retry."""

    code = "placement.concurrent_update"
    template = "Another thread concurrently updated the data. Please retry your update"


class InventoryInUse(errors.Conflict):
    code = "placement.inventory.inuse"
    template = "update conflict: Inventory for '%(classes)s' on resource provider '%(uuid)s' in use."


class DuplicateName(errors.Conflict):
    code = "placement.duplicate_name"


class ResourceProviderInUse(errors.Conflict):
    code = "placement.resource_provider.inuse"
    template = "Unable to delete resource provider %(uuid)s: Resource provider has allocations."


class CannotDeleteParent(errors.Conflict):
    code = "placement.resource_provider.cannot_delete_parent"
    template = "Unable to delete parent resource provider %(uuid)s: It has child resource providers."


class ReshapedProviderNotFound(errors.Invalid):
    code = "placement.resource_provider.not_found"
    template = "Resource provider %(uuid)s in inventories not found: it does not exist."


class AllocationRefused(errors.NoCapacity):
    """No inventory, too little of it left, or an amount that it does not hand out."""


class QueryBadValue(errors.Invalid):
    code = "placement.query.bad_value"


class QueryMissingValue(errors.Invalid):
    code = "placement.query.missing_value"


class QueryDuplicateKey(errors.Invalid):
    code = "placement.query.duplicate_key"
