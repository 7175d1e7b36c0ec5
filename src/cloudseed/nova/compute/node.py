"""Who this node is, kept on the host itself: `<state>/nova-compute/<host>/node.json`."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec


class Node(msgspec.Struct, kw_only=True):
    """`id` is the compute node's and its resource provider's; `boot_id` the host boot whose machines were looked
    after last."""

    id: str
    host: str
    boot_id: str = ""


class NodeFile:
    """The node's identity, made on the first start of this host."""

    def __init__(self, directory: Path, host: str) -> None:
        self._path = directory / "node.json"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.exists():
            self.node = msgspec.json.decode(self._path.read_bytes(), type=Node)
        else:
            self.node = Node(id=str(uuid.uuid4()), host=host)
            self._save()

    def looked_after(self, boot_id: str) -> None:
        """The machines of this boot of the host are as they should be."""
        if self.node.boot_id != boot_id:
            self.node.boot_id = boot_id
            self._save()

    def _save(self) -> None:
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(msgspec.json.encode(self.node))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
