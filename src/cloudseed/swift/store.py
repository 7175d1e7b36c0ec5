"""What swift's domain functions share: the service's own object, and the parts of an object's path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cloudseed.kernel.db import Database
from cloudseed.swift.files import FileStore

MAX_OBJECT_NAME = 1024
MAX_CONTAINER_NAME = 256
MAX_FILE_SIZE = 5 << 40  # one local file holds an object, so upstream's 5 GiB would be arbitrary


@dataclass
class Swift:
    """The service: its database, its files, and whom to tell that there is trash."""

    db: Database
    files: FileStore
    started_at: float
    hint_cleanup: Callable[[], None] = lambda: None


class Target(NamedTuple):
    """What a URL names: an account, a container (object empty) or an object."""

    account: str
    container: str = ""
    name: str = ""
