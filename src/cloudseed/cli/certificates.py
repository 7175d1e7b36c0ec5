"""A machine's certificate among the hosts, where the cloud is not set up by `up --hosts` but machine by machine.

The authority's key stays on the control machine, in `<state>/authority`.  `cloudseed secrets --for` puts a machine's
certificate and key into its secrets; `cloudseed serve` lays them where the host process finds them, and, on a control
machine, where the control process may read them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cloudseed.cli.processes import CONTROL_UID
from cloudseed.host import authority
from cloudseed.host.paths import StatePaths
from cloudseed.kernel.config import Config

NAMES = ("ca.pem", "cert.pem", "key.pem")


def issued(config: Config, host: str, address: str) -> dict[str, str]:
    """A new certificate and key for the machine at this address, by file name."""
    keys = config.state_path / "authority"
    authority.make_authority(keys, config.name)
    with tempfile.TemporaryDirectory() as place:
        authority.issue(keys, Path(place), host, [address])
        return {name: (Path(place) / name).read_text() for name in NAMES}


def lay(config: Config, told: dict[str, str], *, control: bool) -> None:
    """Put what this machine was told where it is used; a control machine that was told nothing makes its own."""
    tls = StatePaths(config.state_path).tls
    if not told and control and config.underlay_address and not (tls / "key.pem").exists():
        told = issued(config, config.host, config.underlay_address)
    if told:
        tls.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in NAMES:
            temporary = tls / f"{name}.new"
            temporary.unlink(missing_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(told[name])
            temporary.rename(tls / name)
    if control and tls.exists():
        let_control_read(tls)


def let_control_read(tls: Path) -> None:
    """The control process looks at hosts' consoles with it; it may read it, and put nothing in its place."""
    for path, mode in ((tls, 0o750), *((tls / name, 0o640) for name in NAMES)):
        os.chown(path, 0, CONTROL_UID)
        path.chmod(mode)
