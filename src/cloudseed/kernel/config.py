"""Settings: one TOML file, the environment and flags, checked at start.  Everything has a default.

Secrets (service users' passwords, the admin's) are made at random on the first start and kept in
`<state>/control/secrets.json`, mode 0600.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from cloudseed.kernel.config_sources import ConfigError as ConfigError
from cloudseed.kernel.config_sources import Sources

SERVICE_USERS = ("glance", "placement", "neutron", "nova", "cinder", "swift")
MAX_COMPUTES = 16
_KEYS = ("metadata", "swift-tempurl", "dashboard", "keystone", "hop")  # secrets, by purpose


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
    listen: list[str] = []  # where the API listens besides `address`: ADDRESS:PORT each
    secrets_file: str = ""  # what `cloudseed secrets` made for this machine; empty: <state>/control/secrets.json
    controller: str = ""  # where the API is, for a process that does not serve it all: http://10.0.0.1:8080
    endpoints: dict[str, str] = {}  # service type -> URL, for what is not at `controller`; several by comma
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

    def endpoint(self, kind: str, prefix: str) -> str:
        """The URL of a service type, several by comma."""
        return self.endpoints.get(kind) or (self.controller.rstrip("/") or self.public_url) + prefix

    @property
    def public_url(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{address}:{self.port}"


def default_state() -> Path:
    """The state directory when none is named: the machine's for root, the user's otherwise."""
    if os.environ.get("CLOUDSEED_STATE"):
        return Path(os.environ["CLOUDSEED_STATE"])
    if os.geteuid() == 0:
        return Path("/var/lib/cloudseed")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "cloudseed"


def load(path: Path | None = None, **flags: Any) -> Config:
    """Defaults, then the file, then CLOUDSEED_* in the environment, then `flags` that are not None."""
    return load_with_sources(path, **flags)[0]


def load_with_sources(path: Path | None = None, **flags: Any) -> tuple[Config, Sources]:
    """As `load`; the sources know where each setting was given, for the errors of those who look closer."""
    sources = Sources(path, flags, Config.__struct_fields__, ("listen",))
    values = sources.values
    values.setdefault("state", str(default_state()))
    try:
        config = msgspec.convert(values, Config, strict=False)
    except msgspec.ValidationError as exc:
        raise sources.invalid(str(exc)) from None
    if not 1 <= config.computes <= MAX_COMPUTES:
        raise sources.error("computes", f"it must be 1 to {MAX_COMPUTES}")
    for name in ("lockout_failure_attempts", "lockout_duration_s", "unique_last_password_count"):
        if not 0 <= getattr(config, name) < 2**31:
            raise sources.error(name, "it must be 0 or more")
    if not 0 < config.report_interval_s < config.service_down_s:
        raise sources.error("service_down_s" if sources.given("service_down_s") else "report_interval_s",
                            f"a part reports every report_interval_s ({config.report_interval_s:g}), and must count as "
                            f"down later than that: after service_down_s ({config.service_down_s:g})")
    config.state = str(Path(config.state).absolute())
    if not config.name:
        # several clouds on one machine (tests!) must not share a name
        digest = hashlib.blake2b(config.state.encode(), digest_size=2).hexdigest()
        config.name = "cs" if config.state == "/var/lib/cloudseed" else f"cs{digest}"
    return config, sources


class Secrets(msgspec.Struct):
    """Passwords by user name, and keys by purpose.  `broker`: for a machine that is told where it is with them.
    `tls`: that machine's certificate among the hosts, by file name; root takes it out.
    """

    passwords: dict[str, str]
    keys: dict[str, str] = {}
    broker: str = ""
    tls: dict[str, str] = {}


def data_directory(state: Path) -> Path:
    """What the unprivileged control process owns of a state directory.

    All else in there belongs to the host process (root) and cannot be renamed or replaced by the control process:
    the program that root runs, and the machines' files.
    """
    return state / "control"


def read_secrets(path: Path) -> Secrets:
    """The secrets in a file.  Raises FileNotFoundError, and ConfigError when it is none of ours to trust."""
    # the directory may be the control process's, and root comes here too: no link may lead root to another file
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if mode & 0o077:
            raise ConfigError(f"{path} has mode {mode & 0o777:03o}, so others may read the secrets in it: chmod 600 it")
        try:
            return msgspec.json.decode(file.read(), type=Secrets)
        except msgspec.DecodeError as exc:
            raise ConfigError(f"{path} holds no secrets: {exc}") from None


def write_secrets(path: Path, made: Secrets, owner: tuple[int, int] | None = None) -> None:
    """Replace the file; only its owner (user and group id) may read it.  When root asks and names nobody, it is the
    directory's owner, whose process will read it."""
    if owner is None and os.geteuid() == 0:
        place = path.parent.stat()
        owner = place.st_uid, place.st_gid
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if owner is not None:
            os.fchown(descriptor, *owner)
        file.write(msgspec.json.format(msgspec.json.encode(made), indent=2))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def secrets_path(config: Config) -> Path:
    return Path(config.secrets_file) if config.secrets_file else config.data_path / "secrets.json"


def load_secrets(state: Path) -> Secrets:
    """The secrets of the cloud with this state directory, made on the first call."""
    path = data_directory(state) / "secrets.json"
    try:
        known, owner = read_secrets(path), path.stat()
    except FileNotFoundError:
        made = Secrets({name: secrets.token_urlsafe(18) for name in ("admin", *SERVICE_USERS)},
                       {name: secrets.token_hex(32) for name in _KEYS})
        write_secrets(path, made)
        return made
    if missing := [name for name in _KEYS if name not in known.keys]:  # a cloud of an older version
        known.keys = {**known.keys, **{name: secrets.token_hex(32) for name in missing}}
        write_secrets(path, known, (owner.st_uid, owner.st_gid))
    return known


def secrets_of(config: Config) -> Secrets:
    """The secrets for this process.  Raises ConfigError when a machine of many has none: they are made elsewhere."""
    if not config.secrets_file and not config.controller:
        return load_secrets(config.state_path)
    path = secrets_path(config)
    try:
        return read_secrets(path)
    except OSError as exc:
        raise ConfigError(f"secrets_file: {path} cannot be read ({exc.strerror}): on a control machine, `cloudseed "
                          f"secrets --for {config.host}` makes it") from None
