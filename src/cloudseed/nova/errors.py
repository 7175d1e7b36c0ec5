"""Nova's own errors; the tree and its statuses are the kernel's.  Texts are those that upstream's clients know."""

from __future__ import annotations

from cloudseed.kernel import errors


class ServerNotFound(errors.NotFound):
    template = "Instance %(server_id)s could not be found."


class FlavorNotFound(errors.NotFound):
    template = "Flavor %(flavor_id)s could not be found."


class VolumeNotFound(errors.NotFound):
    template = "Volume %(volume_id)s could not be found."


class NotAttached(errors.NotFound):
    template = "Instance %(server_id)s is not attached to volume %(volume_id)s"


class KeyPairNotFound(errors.NotFound):
    template = "Keypair %(name)s not found for user %(user_id)s"


class ServerLocked(errors.Conflict):
    template = "Instance %(server_id)s is locked"


class NotSupportedYet(errors.Invalid):
    """An action that this cloud does not have yet; said plainly, before anything is changed."""

    template = "The action %(action)s is not supported yet by this cloud."


class NotImplementedHere(errors.CloudseedError):
    """The hypervisor cannot do it: upstream's 501."""

    status, title = 501, "Not Implemented"
    template = "Unable to get the information: the hypervisor driver does not support it."


class MovedAway(errors.Gone):
    template = "This resource is no longer available. No forwarding address is given."


class NeverActive(errors.Conflict):
    template = "Cannot '%(action)s' an instance which has never been active"


class ServerNotReady(errors.Conflict):
    template = "Instance %(server_id)s is not ready"


class ConsoleTokenNotFound(errors.NotFound):
    template = "Token not found"
