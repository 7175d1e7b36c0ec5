"""`cloudseed demo`: from nothing to a running virtual machine, with a picture of every request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from cloudseed.cli import control, demo_login, flow, openstack, options
from cloudseed.cli.api import Api, ApiError
from cloudseed.cli.up import bring_up
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.kernel.config import Config, load_secrets
from cloudseed.kernel.flow import diagram, picture
from cloudseed.kernel.flow.store import StoredExchange

DESCRIPTION = """Start the cloud, build a tiny guest image, make a network, a security group and a key, then run the
unmodified openstack client's `server create`, watch the machine boot, log in to it by SSH through a floating IP, and
draw every request that the boot took.
Run again, it reuses everything.

exit codes: 0 the machine runs and has its address, 1 it does not"""

SERVER, IMAGE, NETWORK, GROUP, KEY = "cirros-instance", "cloudseed-tiny", "demo", "demo", "demo"
BOOT_SECONDS = 180


class DemoFailed(RuntimeError):
    """The demo ended early; the text says why."""


def run(argv: list[str]) -> int:
    parser = options.parser("demo", DESCRIPTION, json=False)
    options.add_settings(parser)
    parser.add_argument(
        "--output",
        type=Path,
        default=openstack.launcher().parent / "demo-output",
        metavar="DIR",
        help="where the diagram, its picture and the key go (default: %(default)s)",
    )
    chosen = parser.parse_args(argv)
    try:
        return _Demo(options.settings(chosen), chosen.output).run()
    except (DemoFailed, ApiError, control.StartFailed) as exc:
        Console(stderr=True).print(f"[red]the demo failed:[/] {escape(str(exc))}", highlight=False)
        return 1


class _Demo:
    def __init__(self, config: Config, output: Path) -> None:
        self.config = config
        self.state = config.state_path
        self.output = output
        self.out = Console(highlight=False, soft_wrap=True)
        self.real = os.geteuid() == 0 and config.driver != "fake"

    def run(self) -> int:
        self.output.mkdir(parents=True, exist_ok=True)
        with self.out.status("setting up the openstack client ..."):
            client = openstack.environment("client") / "bin" / "openstack"
        with self.out.status("building the guest image (once) ...") as status:
            image = build_tiny(openstack.cache(), lambda text: status.update(f"{text} ..."))
        self._done("guest image", str(image))
        if bring_up(self.config, quiet=True):
            return 1
        self._done("cloud", self.config.public_url)
        api = self._login()
        wanted = {"image": self._image(api, image), "network": self._network(api), "group": self._group(api)}
        external = demo_login.external_network(api) if self.real else None
        if external is not None:
            self._done("router", f"{demo_login.ROUTER} {demo_login.ensure_router(api, external, wanted['network'])}")
        self._key(api)
        self._remove_server(api)
        # services that have just started have no tokens of their own yet, as in the recording
        with self.out.status("restarting the services, so that the flow shows everything ..."):
            control.stop_control(self.state)
            control.start(self.config, lambda text: None)
        command = [
            "openstack",
            "server",
            "create",
            "--flavor",
            "c1",
            "--image",
            wanted["image"],
            "--network",
            wanted["network"],
            "--security-group",
            wanted["group"],
            "--key-name",
            KEY,
            SERVER,
        ]
        self.out.print(f"\n[bold]$ {' '.join(command)}[/]")
        began = time.monotonic()
        self._client(client, command[1:])
        api = self._login()
        server = self._wait_active(api, began)
        address = next(iter(server["addresses"].values()))[0]["addr"]
        if self.real:
            self._watch_console(api, server["id"], address, began)
        exchanges = self._flow()
        if external is not None:
            self._log_in(api, external, server["id"], began)
        return self._draw(exchanges)

    def _done(self, what: str, text: str) -> None:
        self.out.print(f"[green]ok[/] {what:<16}{escape(text)}")

    def _login(self) -> Api:
        return Api(self.config.public_url, "admin", load_secrets(self.state).passwords["admin"], "admin")

    # ---- what the boot needs, made once

    def _image(self, api: Api, path: Path) -> str:
        key = path.stem  # the builder names files by what they were built from
        found = api.get(f"/image/v2/images?name={IMAGE}&sort=created_at:desc")["images"]
        image = next((i for i in found if i["status"] == "active" and i.get("cloudseed_build") == key), None)
        if image is None:
            image = api.send(
                "POST",
                "/image/v2/images",
                {
                    "name": IMAGE,
                    "disk_format": "qcow2" if path.suffix == ".qcow2" else "raw",
                    "container_format": "bare",
                    "visibility": "public",
                    "cloudseed_build": key,
                },
            )
            with self.out.status("uploading the image ..."), path.open("rb") as file:
                api.upload(f"/image/v2/images/{image['id']}/file", file)
        self._done("image", f"{IMAGE} {image['id']}")
        return str(image["id"])

    def _network(self, api: Api) -> str:
        found = api.get(f"/networking/v2.0/networks?name={NETWORK}")["networks"]
        network = (
            found[0]
            if found
            else api.send("POST", "/networking/v2.0/networks", {"network": {"name": NETWORK}})["network"]
        )
        if not network.get("subnets"):
            api.send(
                "POST",
                "/networking/v2.0/subnets",
                {"subnet": {"network_id": network["id"], "name": NETWORK, "ip_version": 4, "cidr": "10.42.0.0/24"}},
            )
        self._done("network", f"{NETWORK} {network['id']} (10.42.0.0/24)")
        return str(network["id"])

    def _group(self, api: Api) -> str:
        found = api.get(f"/networking/v2.0/security-groups?name={GROUP}")["security_groups"]
        if found:
            group = found[0]
        else:
            group = api.send(
                "POST",
                "/networking/v2.0/security-groups",
                {"security_group": {"name": GROUP, "description": "ping and SSH from anywhere"}},
            )["security_group"]
            for rule in ({"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}):
                api.send(
                    "POST",
                    "/networking/v2.0/security-group-rules",
                    {
                        "security_group_rule": {
                            "security_group_id": group["id"],
                            "direction": "ingress",
                            "ethertype": "IPv4",
                            **rule,
                        }
                    },
                )
        self._done("security group", f"{GROUP} {group['id']}")
        return str(group["id"])

    def _key(self, api: Api) -> None:
        private = self.output / "id_ed25519"
        if not private.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "cloudseed-demo", "-f", str(private)], check=True
            )
        public = private.with_suffix(".pub").read_text().strip()
        present = [
            k["keypair"] for k in api.get("/compute/v2.1/os-keypairs")["keypairs"] if k["keypair"]["name"] == KEY
        ]
        if present and present[0]["public_key"].strip() != public:
            api.send("DELETE", f"/compute/v2.1/os-keypairs/{KEY}")
            present = []
        if not present:
            api.send("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": KEY, "public_key": public}})
        self._done("key", f"{KEY} ({private})")

    def _remove_server(self, api: Api) -> None:
        old = api.get(f"/compute/v2.1/servers?name=^{SERVER}$")["servers"]
        for server in old:
            api.send("DELETE", f"/compute/v2.1/servers/{server['id']}")
        until = time.monotonic() + 60
        with self.out.status("removing the last run's server ...") if old else self.out.status(""):
            while old and api.get(f"/compute/v2.1/servers?name=^{SERVER}$")["servers"]:
                if time.monotonic() > until:
                    raise DemoFailed(f"the last run's server does not go away; see `cloudseed explain server {SERVER}`")
                time.sleep(0.1)

    # ---- the boot

    def _client(self, client: Path, arguments: list[str]) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHONPATH"))}
        env |= openstack.variables(self.state, self.config.public_url)
        env["CLIFF_FIT_WIDTH"] = "1"  # its table stays within the terminal
        env["COLUMNS"] = str(self.out.width)
        done = subprocess.run([str(client), *arguments], env=env, text=True, capture_output=True)
        if done.returncode:
            raise DemoFailed(f"openstack {' '.join(arguments[:2])} failed: {done.stderr.strip()}")
        sys.stdout.write(done.stdout)

    def _wait_active(self, api: Api, began: float) -> dict[str, Any]:
        with self.out.status("waiting for ACTIVE ..."):
            while True:
                found = api.get(f"/compute/v2.1/servers/detail?name=^{SERVER}$")["servers"]
                if not found:
                    raise DemoFailed("the server vanished")
                server: dict[str, Any] = found[0]
                if server["status"] == "ERROR":
                    raise DemoFailed(f"the server went to ERROR: {server.get('fault', {}).get('message')}")
                if server["status"] == "ACTIVE":
                    break
                if time.monotonic() - began > BOOT_SECONDS:
                    raise DemoFailed(f"the server is still {server['status']}; see `cloudseed explain server {SERVER}`")
                time.sleep(0.05)
        self._done("ACTIVE", f"{time.monotonic() - began:.1f} s after the command, client included")
        return server

    def _watch_console(self, api: Api, server_id: str, address: str, began: float) -> None:
        """The guest's console up to its login prompt, and the line that proves its address came by DHCP."""
        self.out.print("\n[dim]--- the guest's console ---[/]")
        shown, proof = 0, ""
        while True:
            text = api.send("POST", f"/compute/v2.1/servers/{server_id}/action", {"os-getConsoleOutput": {}})["output"]
            complete = text[shown : text.rfind("\n") + 1] if "login:" not in text[shown:] else text[shown:]
            if complete:
                shown += len(complete)
                self.out.print(complete.rstrip("\n"), markup=False)
            proof = proof or next((line for line in text.splitlines() if "by DHCP" in line and address in line), "")
            if "login:" in text and proof:
                break
            if time.monotonic() - began > BOOT_SECONDS:
                raise DemoFailed(f"the guest shows no login prompt, or no address by DHCP (expected {address})")
            time.sleep(0.1)
        self.out.print("[dim]---[/]")
        self._done("guest", f"login prompt {time.monotonic() - began:.1f} s after the command")
        self._done("DHCP", proof.strip())

    def _log_in(self, api: Api, external: str, server_id: str, began: float) -> None:
        address = demo_login.ensure_floating_ip(api, external, server_id)
        self._done("floating IP", address)
        problem = demo_login.log_in(self.out, self.output / "id_ed25519", address)
        if problem is not None:
            raise DemoFailed(f"no login by SSH at {address}: {problem}")
        self._done("SSH", f"logged in {time.monotonic() - began:.1f} s after the command")

    def _flow(self) -> list[StoredExchange]:
        """The boot's flow: so far the latest that changed something."""
        store = flow.open_store(self.state)
        exchanges = flow.find(store, "last") if store is not None else []
        if not exchanges:
            raise DemoFailed("the flow of the boot was not recorded")
        return exchanges

    def _draw(self, exchanges: list[StoredExchange]) -> int:
        text = diagram.mermaid(exchanges)
        (self.output / "flow.mmd").write_text(text)
        (self.output / "flow.svg").write_text(picture.svg(exchanges, title=f"openstack server create {SERVER}"))
        self.out.print("\n[bold]every request that it took[/] (the messages on the bus: cloudseed flow last --rpc)")
        sys.stdout.write(text)
        self.out.print(f"\ndiagram: {self.output / 'flow.mmd'}\npicture: {self.output / 'flow.svg'}")
        self.out.print(
            "Next: [bold]./cloudseed explain server cirros-instance[/], [bold]./cloudseed openstack server list[/], "
            "[bold]sudo ./cloudseed down --purge[/]"
        )
        return 0
