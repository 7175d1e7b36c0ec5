"""Options that several commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from cloudseed.kernel.config import Config, ConfigError, default_state, load


def parser(command: str, description: str, *, json: bool = True) -> argparse.ArgumentParser:
    """A command's parser with --state, and --json where a script may read the output."""
    made = argparse.ArgumentParser(
        prog=f"cloudseed {command}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--state",
        type=Path,
        default=default_state(),
        metavar="DIR",
        help="the cloud's state directory (default: %(default)s)",
    )
    if json:
        made.add_argument("--json", action="store_true", help="print JSON for scripts")
    return made


def add_settings(made: argparse.ArgumentParser) -> None:
    """Options that become settings of a cloud (kernel/config.py)."""
    made.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML")
    made.add_argument("--address", help="where the API listens (default 127.0.0.1)")
    made.add_argument("--port", type=int, help="the API's port (default 8080)")
    made.add_argument("--name", help="short name of the cloud, prefix of its namespaces and links")
    made.add_argument("--driver", choices=("auto", "qemu", "fake"), help="the hypervisor driver (default auto)")
    made.add_argument(
        "--computes", type=int, metavar="N", help="nova-computes that share this machine, for learning and tests"
    )
    made.add_argument(
        "--hosts", type=int, metavar="N", help="make N hosts of this machine, each in a network namespace"
    )
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting")


def settings(options: argparse.Namespace) -> Config:
    """The settings that the options say; exits with 2 and the reason when they are wrong."""
    flags = {
        "state": str(options.state),
        "address": options.address,
        "port": options.port,
        "name": options.name,
        "driver": options.driver,
        "computes": options.computes,
        "hosts": options.hosts,
    }
    try:
        for item in options.set:
            name, equals, value = item.partition("=")
            if not equals or name not in {field.name for field in msgspec.structs.fields(Config)}:
                raise ConfigError(f"--set {item}: it must be NAME=VALUE with a setting's name")
            flags[name] = value
        return load(options.config, **flags)
    except ConfigError as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
        raise SystemExit(2) from None
