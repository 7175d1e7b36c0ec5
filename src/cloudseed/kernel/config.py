"""Settings: one TOML file, the environment and flags, checked at start.  Everything has a default.

Secrets (service users' passwords, the admin's) are made at random on the first start and kept in
`<state>/control/secrets.json`, mode 0600.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import tomllib
from pathlib import Path
from typing import Any

import msgspec

SERVICE_USERS = ("glance", "placement", "neutron", "nova", "cinder", "swift")
MAX_COMPUTES = 16


class Config(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Every setting of a process.  `state` is the one directory that holds all of a cloud's data."""

    state: str = ""
    address: str = "127.0.0.1"  # where the API listens
    port: int = 8080
    region: str = "RegionOne"
    services: str = ""  # which services or roles run here, by comma; empty for all
    host: str = "localhost"  # this machine's name as a compute and network host
    name: str = ""  # short name of this cloud, prefix of namespaces and links; by default made from `state`
    driver: str = "auto"  # nova's hypervisor driver: qemu, fake, or auto (qemu where root and QEMU are there)
    password_hash_rounds: int = 12  # bcrypt's cost, keystone's default
    token_expiration_s: int = 3600
    lockout_failure_attempts: int = 0  # how many wrong passwords lock an account; 0: none does
    lockout_duration_s: int = 1800  # how long; 0: until an administrator enables the user again
    unique_last_password_count: int = 0  # a user's new password must not be one of this many last ones; 0: it may
    console_token_ttl_s: int = 600  # how long a console's URL opens it
    image_store: str = "swift"  # or "file"
    image_format_enforcement: bool = True  # refuse images whose content is not what their disk_format says
    cpu_allocation_ratio: float = 4.0
    ram_allocation_ratio: float = 1.0
    disk_allocation_ratio: float = 1.0
    # placement's limited candidates are any of all, not always the first: else the scheduler, which looks at some of
    # thousands of hosts, would fill one after the other
    randomize_allocation_candidates: bool = True
    computes: int = 1  # how many nova-computes share this machine's processors, memory and disk
    fake_hosts: int = 1  # how many fake hypervisors, with driver = "fake"
    fake_vcpus: int = 1000
    fake_memory_mib: int = 1_000_000
    fake_disk_gib: int = 1_000_000
    # guests behind routers reach what this machine reaches: it forwards for them and lends them its address
    external_nat: bool = True
    external_cidr: str = "172.24.4.0/24"  # of the network `public`, made at the first start as root
    record_flows: bool = True
    operation_lease_s: float = 30.0
    vendor_data_file: str = ""  # a JSON object that every guest is told; see nova/metadata/vendor_data.py
    force_config_drive: bool = False  # give every server a config drive, also those that are not asked to have one
    policy_dir: str = ""  # holds <service>.yaml overrides
    # many hosts
    hosts: int = 0  # how many hosts `up` makes of this machine, each in a network namespace; 0: it is one itself
    machine_shares: int = 1  # how many hosts share this machine's processors, memory and disk
    database: str = ""  # postgresql://USER:PASSWORD@HOST:PORT/PREFIX: a database PREFIX_<service> each; empty: SQLite
    broker: str = ""  # amqp://USER:PASSWORD@HOST:PORT/VHOST; empty: messages stay within this process
    controller: str = ""  # where the API is, for a process that does not serve it all: http://10.0.0.1:8080
    endpoints: dict[str, str] = {}  # service type -> URL, for services that are not at `controller`
    underlay_address: str = ""  # this host's address among the hosts: tunnels, volumes, migrations; empty: alone
    provider_interface: str = ""  # the link to the network `public`; empty: this machine is its gateway
    report_interval_s: float = 10.0  # how often parts say that they are alive
    service_down_s: float = 60.0  # after how long without a word a part counts as down

    @property
    def state_path(self) -> Path:
        return Path(self.state)

    @property
    def data_path(self) -> Path:
        """What the services keep; see `data_directory`."""
        return data_directory(self.state_path)

    @property
    def compute_names(self) -> list[str]:
        """The names of this machine's computes: its own, then `<host>-2` and so on; of many pretended ones, from 1."""
        if self.driver == "fake" and self.fake_hosts > 1:
            return [f"{self.host}-{number}" for number in range(1, self.fake_hosts + 1)]
        return [self.host, *(f"{self.host}-{number}" for number in range(2, self.computes + 1))]

    @property
    def public_url(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{address}:{self.port}"


class ConfigError(ValueError):
    """A setting is wrong; the text says which and why."""


def default_state() -> Path:
    """The state directory when none is named: the machine's for root, the user's otherwise."""
    if os.environ.get("CLOUDSEED_STATE"):
        return Path(os.environ["CLOUDSEED_STATE"])
    if os.geteuid() == 0:
        return Path("/var/lib/cloudseed")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "cloudseed"


def load(path: Path | None = None, **flags: Any) -> Config:
    """Defaults, then the file, then CLOUDSEED_* in the environment, then `flags` that are not None."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values.update(tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError) as exc:
            raise ConfigError(f"{path}: {exc}") from None
    for field in msgspec.structs.fields(Config):
        raw = os.environ.get(f"CLOUDSEED_{field.name.upper()}")
        if raw is not None:
            values[field.name] = raw
    values.update({name: value for name, value in flags.items() if value is not None})
    values.setdefault("state", str(default_state()))
    try:
        config = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path or 'settings'}: {exc}") from None
    if not 1 <= config.computes <= MAX_COMPUTES:
        raise ConfigError(f"computes = {config.computes}: it must be 1 to {MAX_COMPUTES}")
    for name in ("lockout_failure_attempts", "lockout_duration_s", "unique_last_password_count"):
        if not 0 <= getattr(config, name) < 2**31:
            raise ConfigError(f"{name} = {getattr(config, name)}: it must be 0 or more")
    config.state = str(Path(config.state).absolute())
    if not config.name:
        # several clouds on one machine (tests!) must not share a name
        digest = hashlib.blake2b(config.state.encode(), digest_size=2).hexdigest()
        config.name = "cs" if config.state == "/var/lib/cloudseed" else f"cs{digest}"
    return config


class Secrets(msgspec.Struct):
    """Passwords by user name, and keys by purpose."""

    passwords: dict[str, str]
    keys: dict[str, str] = {}


def data_directory(state: Path) -> Path:
    """What the unprivileged control process owns of a state directory.

    All else in there belongs to the host process (root) and cannot be renamed or replaced by the control process:
    the program that root runs, and the machines' files.
    """
    return state / "control"


def load_secrets(state: Path) -> Secrets:
    """The secrets of the cloud with this state directory, made on the first call."""
    path = data_directory(state) / "secrets.json"
    # the directory is the control process's, and root comes here too: no link may lead root to another file
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        pass
    else:
        with os.fdopen(descriptor, "rb") as file:
            return msgspec.json.decode(file.read(), type=Secrets)
    made = Secrets(
        passwords={name: secrets.token_urlsafe(18) for name in ("admin", *SERVICE_USERS)},
        keys={"metadata": secrets.token_hex(32), "swift-tempurl": secrets.token_hex(32),
              "dashboard": secrets.token_hex(32)},
    )
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(made), indent=2))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return made
