"""Which method of `Volumes` does which command about volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cloudseed.host import records as r
from cloudseed.host.volumes import Volumes


def volume_commands(volumes: Volumes) -> dict[type[r.Command], Callable[[Any], Any]]:
    """The part of the host process's table that is about volumes."""
    return {
        r.CreateVolume: lambda c: volumes.create(c.volume_id, c.size_bytes, c.source),
        r.DeleteVolume: lambda c: volumes.delete(c.volume_id),
        r.ExtendVolume: lambda c: volumes.extend(c.volume_id, c.size_bytes),
        r.CreateSnapshot: lambda c: volumes.create_snapshot(c.snapshot_id, c.volume_id),
        r.DeleteSnapshot: lambda c: volumes.delete_snapshot(c.snapshot_id),
        r.RevertVolume: lambda c: volumes.revert(c.volume_id, c.snapshot_id),
        r.ExportVolume: lambda c: volumes.export(c.volume_id, c.attachment_id, c.read_only, c.peer),
        r.UnexportVolume: lambda c: volumes.unexport(c.volume_id, c.attachment_id),
        r.ListVolumes: lambda c: volumes.report(),
        r.ReadVolume: lambda c: volumes.read(c.source, c.offset, c.length),
        r.WriteVolume: lambda c: volumes.write(c.volume_id, c.offset, c.data, c.zero_bytes, c.sync),
        r.PackVolume: lambda c: volumes.pack(c.pack_id, c.source),
        r.RemovePack: lambda c: volumes.remove_pack(c.pack_id),
    }
