"""up, status, flow, explain, audit and down, as a person runs them; clouds.yaml is merged, never overwritten."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cloudseed.cli import clouds_yaml
from cloudseed.cli.__main__ import COMMANDS, main
from tests.support.daemon import Daemon


@pytest.fixture(scope="module")
def cloud() -> Iterator[Daemon]:
    with Daemon(driver="fake") as cloud:
        yield cloud


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        if command != "openstack":  # its --help is the client's own
            with pytest.raises(SystemExit) as ended:
                main([command, "--help"])
            assert ended.value.code == 0
            text = capsys.readouterr().out
            assert f"cloudseed {command}" in text and "exit codes" in text
    assert main(["nonsense"]) == 2 and main([]) == 2 and main(["--help"]) == 0


def test_up_again_changes_nothing_and_says_where_everything_is(cloud: Daemon, tmp_path: Path) -> None:
    target = tmp_path / "clouds.yaml"
    before = cloud.ask("status")["started_at"]
    done = cloud.cloudseed(
        "up", "--json", "--port", str(cloud.config.port), "--driver", "fake", "--clouds-yaml", str(target)
    )
    told = json.loads(done.stdout)
    assert told["endpoints"]["compute"] == f"{cloud.url}/compute" and told["clouds_yaml"] == str(target)
    assert cloud.ask("status")["started_at"] == before
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert yaml.safe_load(target.read_text())["clouds"]["cloudseed"]["auth"]["auth_url"] == f"{cloud.url}/identity/"


def test_status_audit_and_explain(cloud: Daemon) -> None:
    told = json.loads(cloud.cloudseed("status", "--json").stdout)
    assert told["running"] and "nova" in told["services"] and told["processes"][0]["pss_mib"] > 10
    assert json.loads(cloud.cloudseed("audit", "--json").stdout) == {"clean": True, "violations": []}
    assert cloud.cloudseed("explain", "server", "nobody", check=False).returncode == 1


def test_flows_are_listed_drawn_and_found_by_their_beginning(cloud: Daemon, tmp_path: Path) -> None:
    cloud.api.send("POST", "/networking/v2.0/networks", {"network": {"name": "n"}})
    flows = json.loads(cloud.cloudseed("flow", "--json").stdout)
    changed = next(flow for flow in flows if flow["changed"])
    assert changed["first_change"] == "POST /networking/v2.0/networks"
    picture = tmp_path / "flow.svg"
    drawn = cloud.cloudseed("flow", changed["flow_id"][:10], "--timing", "--svg", str(picture)).stdout
    assert drawn.startswith("sequenceDiagram\nopenstack->>keystone: POST /identity/v3/auth/tokens [+0.0 ms]")
    assert "<svg" in picture.read_text()
    assert drawn.splitlines()[0] == cloud.cloudseed("flow", "last").stdout.splitlines()[0]
    assert cloud.cloudseed("flow", "ffffffffffff0000", check=False).returncode == 1


def test_a_stopped_cloud_says_so_and_comes_back_with_its_data(cloud: Daemon) -> None:
    cloud.api.send("POST", "/networking/v2.0/networks", {"network": {"name": "kept"}})
    assert "stopped" in cloud.cloudseed("down").stdout
    assert cloud.cloudseed("status", check=False).returncode == 1
    assert cloud.cloudseed("audit", check=False).returncode == 3
    assert "not running" in cloud.cloudseed("down").stdout
    cloud.start()
    assert [n["name"] for n in cloud.api.get("/networking/v2.0/networks?name=kept")["networks"]] == ["kept"]


def test_wrong_settings_are_named(cloud: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "cloud.toml"
    config.write_text("port = 'many'\n")
    for arguments, reason in (
        (["--config", str(config)], "port"),
        (["--set", "prot=1"], "prot"),
        (["--set", "port=x"], "port"),
        (["--config", str(tmp_path / "no")], "no"),
    ):
        done = cloud.cloudseed("up", *arguments, check=False)
        assert done.returncode == 2 and reason in done.stderr


def test_clouds_yaml_of_this_cloud_alone_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "openstack" / "clouds.yaml"
    clouds_yaml.write(path, clouds_yaml.entry("http://x", "secret", "R"))
    clouds_yaml.write(path, None)
    assert list(tmp_path.iterdir()) == []


def test_clouds_yaml_keeps_what_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "openstack" / "clouds.yaml"
    clouds_yaml.write(path, clouds_yaml.entry("http://x", "secret", "R"))
    content = yaml.safe_load(path.read_text())
    content["clouds"]["other"] = {"auth": {"auth_url": "http://other"}}
    path.write_text(yaml.safe_dump(content))
    clouds_yaml.write(path, clouds_yaml.entry("http://y", "secret", "R"))
    content = yaml.safe_load(path.read_text())
    assert content["clouds"]["other"] and content["clouds"]["cloudseed"]["auth"]["auth_url"] == "http://y/identity/"
    clouds_yaml.write(path, None)
    assert list(yaml.safe_load(path.read_text())["clouds"]) == ["other"]
    path.write_text("[x]")
    with pytest.raises(ValueError, match="left as it is"):
        clouds_yaml.write(path, None)
    assert path.read_text() == "[x]"
