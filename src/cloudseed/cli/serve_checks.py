"""Are the settings of `serve` right for this machine and these roles?  Each error names the place of the setting."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import urlsplit

from cloudseed.cli.processes import host_socket
from cloudseed.cli.roles import CONTROL, UnknownRole, parts_of, speaks_with_others
from cloudseed.kernel import listening
from cloudseed.kernel.config import Config, ConfigError, read_secrets, secrets_path
from cloudseed.kernel.config_sources import Sources
from cloudseed.kernel.service_types import SERVICE_TYPES

_SERVED_BY = dict(zip(SERVICE_TYPES, ("keystone", "glance", "nova", "placement", "neutron", "cinder", "swift"),
                      strict=True))
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not listened on


def check(config: Config, sources: Sources) -> list[str]:
    """The parts to run.  Raises ConfigError for the first setting that is wrong.  What the secrets of this machine
    say of the broker is put into `config`."""
    parts = _parts(config, sources)
    _secrets(config, sources)
    _database(config, sources, parts)
    if speaks_with_others(parts) and not config.broker:
        raise sources.error("broker", "parts of a service are on other machines; it must be "
                            "amqp://USER:PASSWORD@HOST:PORT/VHOST")
    if config.broker and not _is_url(config.broker, ("amqp", "amqps")):
        raise sources.error("broker", "it must be amqp://USER:PASSWORD@HOST:PORT/VHOST")
    _endpoints(config, sources, parts)
    _addresses(config, sources, serves_api=any(part in CONTROL for part in parts))
    _driver(config, sources, parts)
    return parts


def _parts(config: Config, sources: Sources) -> list[str]:
    if not config.services:
        raise sources.error("services", "which roles or services run here, such as control, or compute,network")
    try:
        return parts_of(name.strip() for name in config.services.split(","))
    except UnknownRole as exc:
        raise sources.error("services", str(exc)) from None


def _secrets(config: Config, sources: Sources) -> None:
    if config.secrets_file or config.controller:
        path = secrets_path(config)
        try:
            found = read_secrets(path)
        except OSError as exc:
            raise sources.error("secrets_file", f"{path} cannot be read ({exc.strerror}); on a control machine, "
                                f"`cloudseed secrets --for {config.host}` makes it") from None
        except ConfigError as exc:
            raise sources.error("secrets_file", str(exc)) from None
        config.broker = config.broker or found.broker
    for name in ("database", "broker"):
        file = sources.file_of(name)
        if file is not None and "@" in getattr(config, name) and _others_may_read(file):
            raise ConfigError(f"{sources.where(name)}: {name} holds a password, and others may read the file: chmod o= "
                              f"{file}")


def _others_may_read(file: Path) -> bool:
    return bool(file.stat().st_mode & stat.S_IROTH)


def _database(config: Config, sources: Sources, parts: list[str]) -> None:
    if config.database and not _is_url(config.database, ("postgresql",)):
        raise sources.error("database", "it must be postgresql://USER:PASSWORD@HOST:PORT/PREFIX")
    here = [part for part in parts if part in CONTROL]
    if here and config.broker and not sources.given("database"):
        raise sources.error("database", 'a cloud of many machines keeps its records in PostgreSQL; database = "" says '
                            "that SQLite is meant, where no second process runs " + ", ".join(here))


def _endpoints(config: Config, sources: Sources, parts: list[str]) -> None:
    for kind, urls in config.endpoints.items():
        if kind not in SERVICE_TYPES:
            raise sources.error("endpoints", f"there is no service type {kind!r}: {', '.join(SERVICE_TYPES)}")
        if not all(_is_url(url.strip(), ("http", "https")) for url in urls.split(",")):
            raise sources.error("endpoints", f"{kind}: {urls!r} is no http:// URL")
    if config.controller and not _is_url(config.controller, ("http", "https")):
        raise sources.error("controller", "it must be a URL such as http://10.0.0.1:8080")
    away = [kind for kind, part in _SERVED_BY.items() if part not in parts and kind not in config.endpoints]
    if away and not config.controller:
        raise sources.error("controller", f"where the API is of what does not run here ({', '.join(away)}), such as "
                            "http://10.0.0.1:8080")


def _addresses(config: Config, sources: Sources, *, serves_api: bool) -> None:
    try:
        if config.underlay_address:
            name = "underlay_address"
            listening.check(config.underlay_address)
        if serves_api:
            name = "address"
            listening.check(config.address)
            name = "port"
            listening.check(config.address, config.port)
            name = "listen"
            for address, port in map(listening.parse, config.listen):
                listening.check(address)
                listening.check(address, port)
    except listening.BadAddress as exc:
        raise sources.error(name, str(exc)) from None
    if serves_api and config.address in _EVERYWHERE and not config.controller:
        raise sources.error("controller", f"the API listens on every address ({config.address}): by which URL do "
                            "clients reach it?")


def _driver(config: Config, sources: Sources, parts: list[str]) -> None:
    if config.driver not in ("auto", "qemu", "fake"):
        raise sources.error("driver", "it must be auto, qemu or fake")
    needs = [part for part in parts if part not in CONTROL]
    if needs and config.driver == "qemu" and os.geteuid() != 0 and not host_socket(config.state_path).exists():
        raise sources.error("driver", f"{', '.join(needs)} need the privileged host process: start as root, or set "
                            'driver = "fake"')


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
