"""`cloudseed conformance`: the unmodified conformance suite of OpenStack (Tempest) against a fresh cloud of ours.

The cloud lives in a directory of its own on a free port and is purged at the end, whatever happened; a cloud that
runs on this machine already is not touched.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudseed.cli import control, down, openstack, public_network, tempest_config, tempest_results
from cloudseed.cli.api import Api, ApiError
from cloudseed.cli.tempest_results import OUTCOMES, Outcome
from cloudseed.guest_images import BuildError
from cloudseed.guest_images.tiny import build_tiny
from cloudseed.kernel.config import Config, load, load_secrets

DESCRIPTION = """Run the pinned Tempest, unmodified, against a cloud that is made for the run and purged after it.

  cloudseed conformance --list FILE       test ids, one a line (tags in [] may be absent); may repeat
  cloudseed conformance --regex RE        the tests whose id matches; both may be given

Prints what passed, failed, was skipped or gave no result, by area, and each failure's reason.  The output directory
has results.tsv (status, seconds, id, reason), failures.txt (traces and requests of what failed), tempest.conf and the
cloud's logs.

exit codes: 0 every test passed, 1 some failed, were skipped or gave no result, 2 nothing could be run"""

FLAVOR, FLAVOR_ALT = "42", "84"  # m1.nano, m1.micro
COMPUTES = 2


class CannotRun(RuntimeError):
    """No test could be run; the text says why."""


def run(argv: list[str]) -> int:
    made = argparse.ArgumentParser(
        prog="cloudseed conformance", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--list", action="append", type=Path, default=[], metavar="FILE", help="a file of test ids")
    made.add_argument("--regex", metavar="RE", help="tests whose full id this matches")
    made.add_argument("--driver", choices=("auto", "qemu", "fake"), default="auto", help="the hypervisor driver")
    made.add_argument(
        "--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="an option of tempest.conf"
    )
    made.add_argument("--concurrency", type=int, default=2, metavar="N", help="tests at once (default %(default)s)")
    made.add_argument("--timeout", type=int, default=600, metavar="S", help="seconds for one test")
    made.add_argument(
        "--output",
        type=Path,
        default=openstack.launcher().parent / "conformance-output",
        metavar="DIR",
        help="where results go (default: %(default)s)",
    )
    made.add_argument("--json", action="store_true", help="print JSON for scripts")
    chosen = made.parse_args(argv)
    if not chosen.list and not chosen.regex:
        made.error("say which tests: --list or --regex")
    for item in chosen.set:
        if not re.fullmatch(r"[\w-]+\.\w+=.*", item):
            made.error(f"--set {item}: it must be SECTION.OPTION=VALUE")
    progress = Console(stderr=True, highlight=False)
    try:
        outcomes = _Run(chosen, progress).run()
    except (CannotRun, ApiError, BuildError, control.StartFailed, OSError, subprocess.CalledProcessError) as exc:
        progress.print(f"[red]cannot run:[/] {escape(str(exc))}", soft_wrap=True)
        return 2
    table = tempest_results.by_area(outcomes)
    if chosen.json:
        failed = {test: o.reason for test, o in outcomes.items() if o.status in ("failed", "missing")}
        answer = {"areas": table, "failed": failed, "output": str(chosen.output)}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() + "\n")
    else:
        _print(table, outcomes, chosen.output)
    return 0 if table["total"]["passed"] == len(outcomes) else 1


def _print(table: dict[str, dict[str, int]], outcomes: dict[str, Outcome], output: Path) -> None:
    out = Console(highlight=False, soft_wrap=True)
    rows = Table(box=None, header_style="bold", pad_edge=False)
    rows.add_column("area")
    for heading in OUTCOMES:
        rows.add_column(heading, justify="right")
    for name, counts in table.items():
        rows.add_row(name, *(str(counts[outcome]) for outcome in OUTCOMES))
    out.print(rows)
    for test, outcome in outcomes.items():
        if outcome.status == "failed":
            out.print(f"failed {test}\n  {outcome.reason}", markup=False)
    out.print(f"results: {output}", markup=False)


class _Run:
    def __init__(self, chosen: argparse.Namespace, progress: Console) -> None:
        self.chosen = chosen
        self.output: Path = chosen.output.absolute()
        self.progress = progress
        self.bin: Path
        self._temporary = self.output / "tmp"

    def run(self) -> dict[str, Outcome]:
        shutil.rmtree(self.output, ignore_errors=True)
        self.output.mkdir(parents=True)
        with self.progress.status("setting up Tempest ..."):
            venv = openstack.environment("tempest")
        self.bin = venv / "bin"
        package = next(venv.glob("lib/python3*/site-packages/tempest"))
        # tests of one class run one after the other, in one process
        (self.output / ".stestr.conf").write_text(
            f"[DEFAULT]\ntest_path={package}/test_discover\ntop_dir={package}\ngroup_regex=([^\\.]*\\.)*\n"
        )
        with self.progress.status("building the guest image (once) ...") as status:
            image = build_tiny(openstack.cache(), lambda text: status.update(f"{text} ..."))
        self._temporary.mkdir()
        self._call("stestr", "init", check=True, capture_output=True)
        # a short path of its own: unix sockets' paths are limited to 107 bytes
        home = Path(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
        if os.geteuid() == 0:
            home.chmod(0o711)  # the control process, of another user, must pass
        settings = {"state": str(home / "s"), "port": _free_port(), "driver": self.chosen.driver}
        # what is tested is not the hash's cost: Tempest makes a user and logs in for each class of tests
        config = load(**settings, password_hash_rounds=4, computes=COMPUTES, fake_hosts=COMPUTES, external_nat=False,
                      **tempest_config.CLOUD)
        try:
            with self.progress.status("starting a cloud ..."):
                control.start(config, lambda text: None)
                self._prepare(config, image)
            tests = self._choose()
            with self.progress.status(f"{len(tests)} tests, {self.chosen.concurrency} at once ..."):
                self._tempest(tests)
        finally:
            with self.progress.status("removing the cloud ..."):
                shutil.copytree(home / "s" / "logs", self.output / "logs", dirs_exist_ok=True)
                down.purge(home / "s", home / "clouds.yaml")
                shutil.rmtree(home, ignore_errors=True)
                shutil.rmtree(self._temporary, ignore_errors=True)
        return self._results(tests)

    def _prepare(self, config: Config, image: Path) -> None:
        """What Tempest expects an operator to have made, and its configuration."""
        password = load_secrets(config.state_path).passwords["admin"]
        api = Api(config.public_url, "admin", password, "admin")
        made = {"flavor": FLAVOR, "flavor_alt": FLAVOR_ALT}
        for name in ("image", "image_alt"):
            made[name] = _image(api, f"tiny-{name}", image)
        public_network.ensure(config)
        found = api.get("/networking/v2.0/networks?router:external=true")["networks"][0]
        made |= {"network": found["id"], "network_name": found["name"]}
        api.send("POST", "/volume/v3/types", {"volume_type": {
            "name": tempest_config.MULTIATTACH_TYPE, "extra_specs": {"multiattach": "<is> True"}}})
        if not api.get("/identity/v3/roles?name=ResellerAdmin")["roles"]:
            api.send("POST", "/identity/v3/roles", {"role": {"name": "ResellerAdmin"}})
        file = self.output / "etc" / "tempest.conf"
        tempest_config.write(file, api, config.public_url, password, made, self.chosen.set, computes=COMPUTES,
                             guests_answer=os.geteuid() == 0 and self.chosen.driver != "fake")

    def _choose(self) -> list[str]:
        """The full ids, with tags, of the tests that were asked for."""
        done = self._call("tempest", "run", "--config-file", "etc/tempest.conf", "--list-tests", capture_output=True)
        known = {
            tempest_results.bare(line): line for line in done.stdout.splitlines() if re.match(r"^\w+(\.\w+)+", line)
        }
        if not known or "import errors" in done.stdout[:1000]:
            raise CannotRun(f"Tempest does not find its tests: {(done.stderr or done.stdout).strip()[-1000:]}")
        wanted, unknown = set(), []
        for path in self.chosen.list:
            for line in path.read_text().splitlines():
                if line.strip() and not line.startswith("#"):
                    test = known.get(tempest_results.bare(line))
                    wanted.add(test) if test else unknown.append(line.strip())
        if unknown:
            raise CannotRun(f"{len(unknown)} of the listed ids are not in this Tempest, the first: {unknown[0]}")
        if self.chosen.regex:
            wanted |= {test for test in known.values() if re.search(self.chosen.regex, test)}
        if not wanted:
            raise CannotRun("no test matches")
        return sorted(wanted)

    def _tempest(self, tests: list[str]) -> None:
        (self.output / "tests.txt").write_text("\n".join(tests) + "\n")
        with (self.output / "run.subunit").open("wb") as stream, (self.output / "run.log").open("wb") as log:
            self._call(
                *("tempest", "run", "--config-file", "etc/tempest.conf", "--load-list", "tests.txt", "--subunit"),
                *("--concurrency", str(self.chosen.concurrency)),
                stdout=stream,
                stderr=log,
            )

    def _results(self, tests: list[str]) -> dict[str, Outcome]:
        with (self.output / "run.subunit").open("rb") as stream:
            done = self._call("python", tempest_results.__file__, stdin=stream, capture_output=True)
        records = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
        if not records:
            raise CannotRun(f"Tempest gave no results: {(self.output / 'run.log').read_text()[-500:]}")
        outcomes = tempest_results.settle(tests, records)
        with (self.output / "results.tsv").open("w") as file:
            for test, outcome in outcomes.items():
                file.write(f"{outcome.status}\t{outcome.seconds:.1f}\t{test}\t{outcome.reason}\n")
        with (self.output / "failures.txt").open("w") as file:
            for record in records:
                if record["status"] == "fail":
                    details = "\n".join(f"--- {name}\n{text}" for name, text in record["details"].items())
                    file.write(f"{'=' * 72}\n{record['id']}\n{details}\n")
        return outcomes

    def _call(self, program: str, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
        """A program of Tempest's environment, in the output directory, knowing nothing of this shell's clouds."""
        foreign = ("OS_", "PYTHON", "CLOUDSEED_", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        env |= {"PATH": f"{self.bin}:{env.get('PATH', '')}", "HOME": str(self.output), "PYTHONWARNINGS": "ignore"}
        env |= {"OS_TEST_TIMEOUT": str(self.chosen.timeout), "OS_LOG_CAPTURE": "1"}
        env |= {"TEMPEST_CONFIG_DIR": str(self.output / "etc"), "TEMPEST_CONFIG": "tempest.conf"}
        env |= {"TMPDIR": str(self._temporary)}  # its programs leave files there
        return subprocess.run([str(self.bin / program), *arguments], cwd=self.output, env=env, text=True, **streams)


def _image(api: Api, name: str, path: Path) -> str:
    record = {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
    image_id: str = api.send("POST", "/image/v2/images", record)["id"]
    with path.open("rb") as file:
        api.upload(f"/image/v2/images/{image_id}/file", file)
    return image_id


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
