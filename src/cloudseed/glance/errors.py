"""Glance's errors, in upstream's words where its users know them."""

from __future__ import annotations

from cloudseed.kernel import errors


class ImageNotFound(errors.NotFound):
    template = "No image found with ID %(image_id)s"


class ImageGone(errors.Gone):
    template = ("Image %(image_id)s could not be found after upload. The image may have been deleted during the "
                "upload.")


class BadTransition(errors.Conflict):
    template = "Image status transition from %(old)s to %(new)s is not allowed"


class FormatRefused(errors.UnsupportedMediaType):
    """The bytes are not what the image says, or could harm a host that opens them."""


class TooLarge(errors.BodyTooLarge):
    pass


class MemberNotFound(errors.NotFound):
    template = "%(member)s not found in the member list of the image %(image_id)s."
