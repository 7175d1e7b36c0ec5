"""`serve` looks at its settings before it does anything, and names the place of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudseed.cli import certificates, secrets, serve
from cloudseed.cli.roles import CONTROL, ROLES, UnknownRole, parts_of, speaks_with_others, whole
from cloudseed.host.tls import tls_context
from cloudseed.kernel.config import Config, ConfigError, read_secrets
from tests.support.daemon import free_port

BROKER = "amqp://u:p@127.0.0.1:5672/c"


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.toml"
    path.write_text(f'# one machine of many\nstate = "{tmp_path}/state"\n')
    return path


def refused(settings: Path, capsys: pytest.CaptureFixture[str], text: str, *more: str) -> str:
    """What `serve` says of the settings with `text` in the file's third line."""
    settings.write_text("".join(settings.read_text().splitlines(keepends=True)[:2]) + text + "\n")
    settings.chmod(0o600)
    assert serve.run(["--config", str(settings), "--check", *more]) == 2
    said = capsys.readouterr().err
    assert not (settings.parent / "state").exists()
    return said


@pytest.mark.parametrize(("text", "reason"), [
    ('service = "control"', "there is no setting 'service'; did you mean services?"),
    ('services = "contrl"', "'contrl' is no role"),
    ('services = "control"\nport = "http"', "line 4: port = 'http': Expected int"),
    ("services = [", ""),
    ('services = "control,compute,network,storage"\naddress = "192.0.2.1"', "not an address of this machine"),
    ('services = "control,compute,network,storage"\nlisten = ["127.0.0.1"]', "not ADDRESS:PORT"),
    ('services = "control,compute,network,storage"\naddress = "0.0.0.0"', "by which URL"),
    ('services = "control,compute,network,storage"\ndatabase = "mysql://x"', "postgresql://"),
    ('services = "control,compute,network,storage"\nreport_interval_s = 90.0', "must count as down later"),
    ('services = "compute"\ncontroller = "http://10.0.0.1:8080"', "secrets_file is missing"),
    (f'services = "control"\nbroker = "{BROKER}"', "database is missing"),
    ('services = "control"', "broker is missing"),
    (f'services = "compute"\nbroker = "{BROKER}"', "controller is missing"),
    (f'services = "compute"\nbroker = "{BROKER}"\n[endpoints]\nimages = "http://10.0.0.1/image"', "'images'"),
])
def test_what_is_wrong_is_named_with_its_place(settings: Path, capsys: pytest.CaptureFixture[str], text: str,
                                               reason: str) -> None:
    said = refused(settings, capsys, text)
    assert str(settings) in said and reason in said, said
    if "missing" not in said:
        assert ", line " in said, said


def test_the_environment_and_flags_are_named_too(settings: Path, capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--services: services = 'x'" in refused(settings, capsys, "", "--services", "x")
    monkeypatch.setenv("CLOUDSEED_PORT", "eighty")
    assert "CLOUDSEED_PORT in the environment" in refused(settings, capsys, 'services = "control"')


def test_passwords_are_neither_shown_nor_readable(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(settings, capsys, 'services = "control"\nbroker = "http://user:hunter2@127.0.0.1/"\ndatabase = ""')
    assert "hunter2" not in said and "line 4" in said
    settings.write_text(settings.read_text().replace("http:", "amqp:"))
    settings.chmod(0o644)
    assert serve.run(["--config", str(settings), "--check"]) == 2
    assert "others may read" in capsys.readouterr().err


def test_right_settings_are_right(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text(settings.read_text() + f'services = "control"\nbroker = "{BROKER}"\ndatabase = ""\n')
    settings.chmod(0o600)
    assert serve.run(["--config", str(settings), "--check", "--port", str(free_port())]) == 0
    assert "keystone" in capsys.readouterr().out


def test_a_hosts_certificate_comes_with_its_secrets(settings: Path, tmp_path: Path) -> None:
    settings.write_text(settings.read_text() + f'broker = "{BROKER}"\n')
    told = {}
    for name, address in (("h1", "10.0.0.1"), ("h2", "10.0.0.2")):
        out = tmp_path / f"{name}.json"
        assert secrets.run(["--config", str(settings), "--for", name, "--services", "compute", "--underlay", address,
                            "--output", str(out)]) == 0
        told[name] = read_secrets(out).tls
        place = tmp_path / name
        certificates.lay(Config(state=str(place)), told[name], control=False)
        assert (place / "tls" / "key.pem").stat().st_mode & 0o077 == 0
        tls_context(place / "tls", server=True)  # the key fits the certificate
    assert told["h1"]["ca.pem"] == told["h2"]["ca.pem"] and told["h1"]["key.pem"] != told["h2"]["key.pem"]
    assert secrets.run(["--config", str(settings), "--for", "h3", "--underlay", "nowhere"]) == 2


def test_a_hosts_secrets_are_those_it_needs(settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings.write_text(settings.read_text() + f'broker = "{BROKER}"\n')
    out = tmp_path / "h1.json"
    assert secrets.run(["--config", str(settings), "--for", "h1", "--services", "compute,network", "--output",
                        str(out)]) == 0
    found = read_secrets(out)
    assert set(found.passwords) == {"nova"} and set(found.keys) == {"hop"} and found.broker == BROKER
    assert secrets.run(["--config", str(settings), "--for", "c2", "--services", "control", "--output", str(out)]) == 0
    everything = read_secrets(out)
    assert everything.passwords["nova"] == found.passwords["nova"] and "admin" in everything.passwords
    host = tmp_path / "host.toml"
    host.write_text(f'state = "{tmp_path}/h"\nservices = "compute"\ncontroller = "http://10.0.0.1:8080"\n'
                    f'secrets_file = "{out}"\n')
    assert serve.run(["--config", str(host), "--check"]) == 0, capsys.readouterr().err  # the broker is in the secrets
    out.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secrets(out)
    assert serve.run(["--config", str(host), "--check"]) == 2
    assert "line 4: secrets_file" in capsys.readouterr().err


def test_roles_are_parts() -> None:
    assert parts_of(["control"]) == list(CONTROL)
    assert set(whole()) == {part for parts in ROLES.values() for part in parts}
    assert parts_of(["network", "compute"]) == parts_of(["compute", "network"])
    assert whole(["neutron"]) == ["neutron", "neutron-l2-agent", "neutron-dhcp-agent", "neutron-l3-agent"]
    assert not speaks_with_others(whole()) and not speaks_with_others(["keystone", "swift"])
    assert speaks_with_others(parts_of(["compute"])) and speaks_with_others([*CONTROL, "nova-compute"])
    with pytest.raises(UnknownRole):
        parts_of([""])
