"""What the cloud's owner tells every guest: a JSON object in a file that the setting `vendor_data_file` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from cloudseed.kernel.config import ConfigError

MAX_BYTES = 256 * 1024


def load(path: str) -> dict[str, Any]:
    """The file's object; empty when no file is named.  Raises ConfigError when it is not to be read or no object."""
    if not path:
        return {}
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(f"vendor_data_file: {path} has more than {MAX_BYTES} bytes")
        return msgspec.json.decode(content, type=dict[str, Any])
    except OSError as exc:
        raise ConfigError(f"vendor_data_file: {path} cannot be read: {exc.strerror}. The services run as an "
                          "unprivileged user, who must be allowed to.") from None
    except msgspec.DecodeError as exc:
        raise ConfigError(f"vendor_data_file: {path} is no JSON object: {exc}") from None
