"""`cloudseed COMMAND ...`: finds the command's module and runs it; everything else is in the modules."""

from __future__ import annotations

import importlib
import sys

from cloudseed.cli import signals

# command -> (module in this package, what it does)
COMMANDS = {
    "demo": ("demo", "from nothing to a running virtual machine, with a picture of every request"),
    "up": ("up", "start the cloud; returns when every endpoint answers"),
    "serve": ("serve", "run some of the services or roles in this process, one machine of many"),
    "migrate": ("migrate", "make and upgrade the services' databases of a cloud of many processes"),
    "secrets": ("secrets", "what a machine of many needs to log in to the others, in a file"),
    "status": ("status", "what runs, and where its endpoints are"),
    "down": ("down", "stop the cloud; --purge removes every trace of it"),
    "host": ("hosts.command", "the hosts of `up --hosts`: list, kill one, start it again"),
    "doctor": ("doctor", "check this machine, and say how to mend what is missing"),
    "flow": ("flow", "list flows, draw one, or hold one against a recording"),
    "explain": ("explain", "the story of one resource: each step, who, how long, why it failed"),
    "audit": ("audit", "check the invariants across services and host"),
    "image": ("image", "build guest images"),
    "openstack": ("openstack", "the unmodified openstack client, set up for this cloud"),
    "conformance": ("conformance", "the unmodified conformance suite of OpenStack against a fresh cloud"),
    "simulate": ("simulate", "a cloud of thousands of pretended hypervisors, and how it bears its load"),
    "bench": ("bench", "measure this machine's cloud, and hold it against what we promise"),
    "test": ("test", "every check and every test"),
}

_OWN_CLOUD = ("simulate", "conformance", "bench")  # they make one, and remove it


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return (
        "usage: cloudseed COMMAND [options]\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\n`cloudseed COMMAND --help` says more about each."
    )


def main(argv: list[str]) -> int:
    """Run one command; its exit code is the program's.  2 means that the command line was wrong."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        from cloudseed import __version__

        print(f"cloudseed {__version__}")
        return 0
    if argv[0] == "daemon":  # what `up` starts; not for people
        from cloudseed.cli.daemon import run

        return run(argv[1:])
    if argv[0] not in COMMANDS:
        print(f"cloudseed: there is no command {argv[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"cloudseed.cli.{COMMANDS[argv[0]][0]}")
    try:
        return int(module.run(argv[1:]) or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in _OWN_CLOUD:
        signals.end_in_order()
    sys.exit(main(sys.argv[1:]))
