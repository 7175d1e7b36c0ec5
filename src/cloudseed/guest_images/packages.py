"""Debian packages as building material: resolved by apt, checked by apt's own digests, unpacked, never installed.

Which versions there are and where they come from is apt's configuration on this machine; nothing here names a
server.  A downloaded file is kept in the cache and used again for as long as its SHA-256 is the one that apt's
(signed) lists give.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cloudseed.guest_images.errors import BuildError, run_tool


@dataclass(frozen=True)
class Package:
    """One package in the version that apt would install.  `sha256` is the digest of its file."""

    name: str
    version: str
    architecture: str
    sha256: str
    depends: tuple[str, ...]

    @property
    def file_name(self) -> str:
        """The name under which `apt-get download` saves it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def parse_show(text: str) -> list[Package]:
    """Read the output of `apt-cache show`.  Of alternative dependencies, the first counts, as for apt."""
    packages = []
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        if "Package" not in fields or "SHA256" not in fields:
            continue
        wanted = ",".join(fields.get(kind, "") for kind in ("Pre-Depends", "Depends"))
        depends = tuple(
            re.split(r"[ (:|]", clause.strip(), maxsplit=1)[0] for clause in wanted.split(",") if clause.strip()
        )
        packages.append(
            Package(fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"], depends)
        )
    return packages


def show(names: Iterable[str]) -> list[Package]:
    """What apt knows of these packages, each in its candidate version; unknown names are left out."""
    argv = ["apt-cache", "show", "--no-all-versions", *sorted(names)]
    try:
        text = run_tool(argv, doing="asking apt for package versions", package="apt")
    except BuildError as exc:
        if "status 100" in str(exc):  # apt-cache's status when any of the names is unknown
            raise BuildError(f"{exc}. Fix: sudo apt-get update") from exc
        raise
    return parse_show(text)


def resolve(seeds: Iterable[str], metapackages: Iterable[str], follow: Callable[[str], bool]) -> list[Package]:
    """Seeds, what the metapackages stand for, and all that these depend on for which `follow(name)` is true.

    Returns packages sorted by name.  Raises BuildError when apt does not know a seed or metapackage.
    """
    seeds, metapackages = set(seeds), set(metapackages)
    found: dict[str, Package] = {}
    wanted = seeds | metapackages
    while wanted:
        shown = {package.name: package for package in show(wanted)}
        if missing := (wanted & (seeds | metapackages)) - shown.keys():
            raise BuildError(f"apt does not know {', '.join(sorted(missing))}. Fix: sudo apt-get update")
        found |= shown
        known = found.keys() | wanted
        wanted = {name for p in shown.values() for name in p.depends if follow(name)} - known
    return sorted((p for name, p in found.items() if name not in metapackages), key=lambda p: p.name)


def apt_state_key() -> str:
    """A digest of what apt's answers depend on: its lists and its configuration, by name, size and date."""
    digest = hashlib.sha256()
    for root in (Path("/var/lib/apt/lists"), Path("/etc/apt"), Path("/var/lib/dpkg/arch")):
        for path in [root, *sorted(root.rglob("*"))]:
            # apt locks its lists when it reads them, and clears its workplace
            if path.name in ("lock", "partial", "auxfiles") or path.is_dir() or not path.exists():
                continue
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def download(packages: list[Package], directory: Path) -> list[Path]:
    """Bring the packages' files into the directory, unless they are there and whole; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    missing = [p for p in packages if not _is_whole(directory / p.file_name, p.sha256)]
    if missing:
        argv = ["apt-get", "download", "-q", "-o", "DPkg::Lock::Timeout=300"]
        if os.geteuid() == 0:
            # the cache is closed to apt's own user, which would only draw a warning
            argv += ["-o", "APT::Sandbox::User=root"]
        argv += [f"{p.name}={p.version}" for p in missing]
        run_tool(argv, doing="downloading Debian packages", package="apt", timeout_s=540, cwd=directory)
    for package in missing:
        if not _is_whole(directory / package.file_name, package.sha256):
            raise BuildError(
                f"{package.name} {package.version} was downloaded but does not have the digest that apt's lists "
                "give. Fix: sudo apt-get update, then try again"
            )
    return [directory / p.file_name for p in packages]


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def unpack(files: Iterable[Path], directory: Path) -> None:
    """Unpack package files into one tree.  Nothing of a package is run."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in files:
        run_tool(["dpkg-deb", "-x", file, directory], doing=f"unpacking {file.name}", package="dpkg")
