"""What is decided when a cloud of many hosts is made, and holds from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.cli import public_network
from cloudseed.cli.hosts import settings, shape
from cloudseed.host.paths import check_cloud_name
from cloudseed.kernel.config import Config, ConfigError, load


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "run").mkdir()
    return load(state=str(tmp_path), name="cs3f2a", hosts=3)


def test_what_was_decided_holds(config: Config) -> None:
    first = shape.ensure(config)
    assert shape.ensure(config) == first == shape.load(config.state_path)
    assert oct(shape.path(config.state_path).stat().st_mode)[-3:] == "600"


def test_hosts_are_added_and_never_taken_away(config: Config) -> None:
    first = shape.ensure(config)
    config.hosts = 4
    more = shape.ensure(config)
    assert more.places(config.state_path)[:3] == first.places(config.state_path)
    config.hosts = 2
    with pytest.raises(ConfigError, match="takes none away"):
        shape.ensure(config)


def test_a_cloud_stays_what_it_was_made(config: Config) -> None:
    shape.ensure(config)
    again = load(state=config.state)
    shape.remember(again)
    assert (again.hosts, again.name) == (3, "cs3f2a")
    config.name = "other"
    with pytest.raises(ConfigError, match="cs3f2a"):
        shape.ensure(config)


def test_a_cloud_of_one_process_becomes_none_of_many(config: Config) -> None:
    (config.data_path / "db").mkdir(parents=True)
    with pytest.raises(ConfigError, match="one process"):
        shape.ensure(config)


@pytest.mark.parametrize(("name", "hosts"), [("cs3f2a", 0), ("cs3f2a", 17), ("cs3f2a1", 3)])
def test_what_cannot_be_is_refused(config: Config, name: str, hosts: int) -> None:
    config.name, config.hosts = name, hosts
    with pytest.raises(ConfigError):
        shape.ensure(config)


def test_places_differ_in_everything(config: Config) -> None:
    config.hosts = 16
    places = shape.ensure(config).places(config.state_path)
    for one in ("name", "cloud", "namespace", "address", "state", "uid", "underlay_port", "provider_port"):
        assert len({getattr(place, one) for place in places}) == 16
    assert all(check_cloud_name(place.cloud) for place in places)
    # the networks of one host are not those of another, whose name it starts with
    assert not any(a.cloud.startswith(b.cloud) for a in places for b in places if a is not b)


def test_a_host_has_no_database_and_reaches_the_controller_by_the_underlay(config: Config) -> None:
    made = shape.ensure(config)
    control = settings.of_control(config, made)
    assert control.database.startswith("postgresql://") and "127.0.0.1" in control.broker
    first, second, _ = (settings.of_host(control, made, host) for host in made.places(config.state_path))
    assert first.database == "" and made.controller in first.broker and made.controller in first.controller
    assert "storage" in first.services and "storage" not in second.services
    assert first.machine_shares == 3 and first.underlay_address != second.underlay_address


def test_ranges_in_use_are_not_taken(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shape.ensure(config)
    shape.path(config.state_path).unlink()
    taken = {free.underlay, free.provider}
    monkeypatch.setattr(shape, "in_use", lambda ip, network: "a link" if str(network) in taken else None)
    monkeypatch.setattr(public_network, "in_use", lambda ip, network: "a link" if str(network) in taken else None)
    other = shape.ensure(config)
    assert other.underlay not in taken and other.provider not in taken
