"""Where the programs are that we start, and which Debian package brings each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cloudseed.host.errors import HostError

# an operator's programs may lie elsewhere; the host process takes its environment from `up` alone
SEARCH_PATH = os.environ.get("CLOUDSEED_HOST_PATH") or f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
_PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "dnsmasq": "dnsmasq-base",
    "nft": "nftables",
    "radvd": "radvd",
}

# UEFI for machines that ask for it, of the package ovmf: the firmware, and what its variables are at first
UEFI_CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
UEFI_VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def find(name: str) -> str:
    """The program's full path; `missing_binary` names the package to install."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        package = _PACKAGES[name]
        raise HostError(
            "missing_binary",
            f"{name} is not installed: run apt-get install --no-install-recommends {package}",
        )
    return path


def missing() -> list[str]:
    """What is not installed, each with its remedy."""
    problems = []
    for name in _PACKAGES:
        try:
            find(name)
        except HostError as exc:
            problems.append(exc.message)
    return problems
