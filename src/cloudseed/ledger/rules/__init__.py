"""The rules by subject.  Importing this package registers all of them, in this order."""

from cloudseed.ledger.rules import operations  # isort: skip
from cloudseed.ledger.rules import allocations, machines, ports, wiring, routers, images, objects  # isort: skip
from cloudseed.ledger.rules import volumes, attachments, block_storage, consoles  # isort: skip

__all__ = [
    "allocations", "attachments", "block_storage", "consoles", "images", "machines", "objects", "operations", "ports",
    "routers", "volumes", "wiring"]
