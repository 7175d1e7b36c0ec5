"""`cloudseed secrets`: a file with what one machine of many needs to log in to the others, and nothing more."""

from __future__ import annotations

import argparse
import os
import sys
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from cloudseed.cli import certificates, control
from cloudseed.cli.processes import CONTROL_UID
from cloudseed.cli.roles import UnknownRole, needed_secrets, parts_of
from cloudseed.kernel.config import ConfigError, Secrets, load, load_secrets, write_secrets

DESCRIPTION = """Write the secrets for one machine of a cloud of many: the passwords of the service users that its
roles log in as, and where the broker is.  Run it on a control machine, after its first start or before; carry the
file to the machine (scp) and name it there as `secrets_file`.  A machine without the role control gets neither the
administrator's password nor a key that opens anything.

exit codes: 0 written, 1 it cannot be, 2 wrong settings"""


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="cloudseed secrets", description=DESCRIPTION,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, metavar="FILE", help="this control machine's settings")
    parser.add_argument("--state", metavar="DIR", help="its state directory, when no file says so")
    parser.add_argument("--for", dest="host", required=True, metavar="HOST", help="the machine's name")
    parser.add_argument("--services", default="compute,network,storage", metavar="ROLES",
                        help="its roles (default: %(default)s)")
    parser.add_argument("--underlay", metavar="ADDRESS", help="its address among the hosts (underlay_address): the "
                        "file then holds its certificate, for volumes, moves and consoles between hosts")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to (default: HOST.json)")
    chosen = parser.parse_args(argv)
    target = chosen.output or Path(f"{chosen.host}.json")
    try:
        config = load(chosen.config, state=chosen.state)
        parts = parts_of(chosen.services.split(","))
        control.prepare(config.state_path, CONTROL_UID if os.geteuid() == 0 else os.geteuid())
        known = secrets_for(load_secrets(config.state_path), parts, config.broker)
        if chosen.underlay:
            known.tls = certificates.issued(config, chosen.host, str(IPv4Address(chosen.underlay)))
        write_secrets(target, known)
    except (ConfigError, UnknownRole, AddressValueError) as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
        return 2
    except OSError as exc:
        print(f"cloudseed: {exc}", file=sys.stderr)
        return 1
    print(f"{target}: for {chosen.host}, readable by user {target.stat().st_uid} only")
    return 0


def secrets_for(known: Secrets, parts: list[str], broker: str) -> Secrets:
    """What a machine that runs these parts may know of the cloud's secrets."""
    users, everything = needed_secrets(parts)
    if everything:
        return Secrets(known.passwords, known.keys, broker)
    keys = {name: key for name, key in known.keys.items() if name == "hop"}  # by which requests of our parts are known
    return Secrets({user: known.passwords[user] for user in sorted(users)}, keys, broker)
