"""What the volume manager may have to say beside the kernel's errors."""

from __future__ import annotations

from cloudseed.kernel.errors import CloudseedError, Invalid


class HostFailed(CloudseedError):
    """The host could not do it, and asking again would not help."""

    template = "Host %(host)s could not %(doing)s: %(reason)s"


class ImageRefused(Invalid):
    """The image cannot be a volume."""

    template = "Image %(image_id)s is unacceptable: %(reason)s"
