"""`cloudseed openstack ...`: the unmodified client from its own environment, pointed at this cloud."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cloudseed.cli import clouds_yaml, processes
from cloudseed.kernel.config import default_state, load_secrets


def launcher() -> Path:
    """The launcher at the checkout's root, which makes environments from lock files."""
    return Path(os.environ.get("CLOUDSEED_CHECKOUT") or Path(__file__).parents[3]) / "cloudseed"


def cache() -> Path:
    """Where downloads, environments and guest images are kept; the launcher says it."""
    fallback = "/var/cache/cloudseed" if os.geteuid() == 0 else str(Path.home() / ".cache/cloudseed")
    return Path(os.environ.get("CLOUDSEED_CACHE") or fallback)


def environment(lock: str) -> Path:
    """The virtual environment made from `requirements/<lock>.lock`, made now if it is not there yet."""
    done = subprocess.run([str(launcher()), "--venv", lock], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


def variables(state: Path, url: str) -> dict[str, str]:
    """OS_* for the cloud's admin."""
    auth = clouds_yaml.entry(url, load_secrets(state).passwords["admin"], "RegionOne")["auth"]
    return {
        "OS_AUTH_URL": auth["auth_url"],
        "OS_USERNAME": auth["username"],
        "OS_PASSWORD": auth["password"],
        "OS_PROJECT_NAME": auth["project_name"],
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_IDENTITY_API_VERSION": "3",
    }


def run(argv: list[str]) -> int:
    state = default_state()
    known = processes.load(state)
    if not known.url:
        print("cloudseed: the cloud was never started; start it with `cloudseed up`", file=sys.stderr)
        return 1
    client = environment("client") / "bin" / "openstack"
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONPATH"))}
    os.execve(client, [str(client), *argv], {**env, **variables(state, known.url)})  # noqa: S606 -- a list of arguments, no shell
