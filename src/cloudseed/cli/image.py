"""`cloudseed image`: build guest images, and list those in the cache."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from cloudseed.cli.openstack import cache
from cloudseed.guest_images import BuildError, build_debian, build_tiny, list_cached

DESCRIPTION = """Build guest images from Debian's packages, and list those that are built.

  cloudseed image build tiny    a disk of 30 MiB that boots in seconds, for trying things out
  cloudseed image build debian  a whole Debian with cloud-init, for trying what real guests do (root, some minutes)
  cloudseed image list          the images in the cache

exit codes: 0 done, 1 it could not be done (the reason is printed), 2 wrong command line"""

BUILDERS: dict[str, Callable[[Path, Callable[[str], None]], Path]] = {"debian": build_debian, "tiny": build_tiny}


def run(argv: list[str]) -> int:
    """The command: prints the image's path, or a table of images; returns its exit code."""
    made = argparse.ArgumentParser(
        prog="cloudseed image", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build an image, or find it built; prints its path")
    build.add_argument("name", choices=sorted(BUILDERS), help="which image")
    build.add_argument("--output", type=Path, metavar="FILE", help="write the image (qcow2) here too")
    build.add_argument("--json", action="store_true", help="print JSON for scripts")
    listing = commands.add_parser("list", help="the images in the cache")
    listing.add_argument("--json", action="store_true", help="print JSON for scripts")
    chosen = made.parse_args(argv)
    try:
        if chosen.command == "build":
            return _build(chosen.name, chosen.output, chosen.json)
        return _list(chosen.json)
    except BuildError as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
    except OSError as exc:
        where = f" ({exc.filename})" if exc.filename else ""
        print(
            f"cloudseed: {exc.strerror or exc}{where}. CLOUDSEED_CACHE names another cache directory", file=sys.stderr
        )
    return 1


def _build(name: str, output: Path | None, as_json: bool) -> int:
    begin = time.monotonic()
    # on standard error, so that a script reads the path alone
    with Console(stderr=True).status(f"building the image {name} ...") as status:
        path = BUILDERS[name](cache(), lambda step: status.update(f"{name}: {step} ..."))
        if output is not None:
            status.update(f"writing {output} ...")
            path = _copy(path, output)
    seconds = round(time.monotonic() - begin, 1)
    if as_json:
        answer = {
            "name": name,
            "path": str(path),
            "format": "qcow2",
            "size_bytes": path.stat().st_size,
            "seconds": seconds,
        }
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    else:
        print(path)
    return 0


def _copy(source: Path, target: Path) -> Path:
    """Copy to the user's file by rename, so that no half of an image is ever found under its name."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, temporary)
        temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def _list(as_json: bool) -> int:
    images = list_cached(cache())
    if as_json:
        answer = [
            {
                "name": image.name,
                "path": str(image.path),
                "size_bytes": image.size_bytes,
                "built_at": datetime.fromtimestamp(image.built_at, UTC).isoformat(timespec="seconds"),
            }
            for image in images
        ]
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        return 0
    out = Console(highlight=False)
    if not images:
        out.print("No image is built yet.  Build one with: ./cloudseed image build tiny")
        return 0
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "MiB", "built", "file"):
        table.add_column(heading, overflow="fold")
    for image in images:
        built = datetime.fromtimestamp(image.built_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
        table.add_row(image.name, f"{image.size_bytes / (1 << 20):.0f}", built, str(image.path))
    out.print(table)
    return 0
