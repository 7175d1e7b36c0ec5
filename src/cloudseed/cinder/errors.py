"""Cinder's errors, in upstream's words where clients look at them."""

from __future__ import annotations

from cloudseed.kernel.errors import BodyTooLarge, Conflict, Invalid, NotFound


class VolumeNotFound(NotFound):
    template = "Volume %(volume_id)s could not be found."


class SnapshotNotFound(NotFound):
    template = "Snapshot %(snapshot_id)s could not be found."


class AttachmentNotFound(NotFound):
    template = "Volume attachment could not be found with filter: attachment_id = %(attachment_id)s."


class VolumeTypeNotFound(NotFound):
    template = "Volume type %(volume_type_id)s could not be found."


class VolumeTypeNameNotFound(NotFound):
    template = "Volume type with name %(name)s could not be found."


class BackupNotFound(NotFound):
    template = "Backup %(backup_id)s could not be found."


class GroupNotFound(NotFound):
    template = "Group %(group_id)s could not be found."


class GroupTypeNotFound(NotFound):
    template = "Group type %(group_type_id)s could not be found."


class GroupSnapshotNotFound(NotFound):
    template = "GroupSnapshot %(group_snapshot_id)s could not be found."


class TransferNotFound(NotFound):
    template = "Transfer %(transfer_id)s could not be found."


class QosSpecsNotFound(NotFound):
    template = "No such QoS spec %(specs_id)s."


class MessageNotFound(NotFound):
    template = "Message %(message_id)s could not be found."


class ServiceNotFound(NotFound):
    template = "Service %(service_id)s could not be found."


class MetadataNotFound(NotFound):
    template = "Metadata item was not found"


class InvalidVolume(Invalid):
    template = "Invalid volume: %(reason)s"


class InvalidSnapshot(Invalid):
    template = "Invalid snapshot: %(reason)s"


class InvalidInput(Invalid):
    template = "Invalid input received: %(reason)s"


class InvalidBackup(Invalid):
    template = "Invalid backup: %(reason)s"


class ResourceConflict(Conflict):
    template = "Resource conflict: %(reason)s"


class NovaUsesAttachment(Conflict):
    template = "Detach volume from instance %(server_id)s using the Compute API"


class QuotaExceeded(BodyTooLarge):
    """413, as upstream; the element's name is the one that clients know."""

    kind = "overLimit"
    template = "%(reason)s"


class NotSupported(Invalid):
    """A thing of upstream's API that this cloud has no way to do."""

    template = "%(what)s is not supported by this cloud: %(why)s"



class ManagerFailed(Conflict):
    """What a manager answers when it could not do its work; becomes a user message."""

    template = "%(reason)s"
