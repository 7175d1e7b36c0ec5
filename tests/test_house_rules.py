"""The habits of the house (docs/architecture.md), checked on every source file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "cloudseed"
SERVICES = ("keystone", "glance", "placement", "nova", "neutron", "swift", "cinder")
FILES = sorted(SOURCE.rglob("*.py"))


def trees(*folders: str) -> Iterator[tuple[Path, ast.AST]]:
    for path in FILES:
        if not folders or path.relative_to(SOURCE).parts[0] in folders:
            yield path.relative_to(SOURCE), ast.parse(path.read_text())


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_services_and_kernel_run_no_programs() -> None:
    """Privileged work, and any other program, belongs to host/ (and to our own command line)."""
    guilty = [
        str(path)
        for path, tree in trees("kernel", "dashboard", *SERVICES)
        if imported(tree) & {"subprocess", "pyroute2", "pty"} or "create_subprocess" in ast.dump(tree)
    ]
    assert guilty == []


def test_only_the_transport_opens_connections() -> None:
    """Every URL that is fetched for a user must pass one place, where it is checked after resolution."""
    clients = {"aiohttp", "requests", "httpx", "urllib.request", "http.client", "urllib3"}
    guilty = [
        str(path)
        for path, tree in trees("kernel", "dashboard", *SERVICES)
        if imported(tree) & clients and str(path) != "kernel/http/transport.py"
    ]
    assert guilty == []


def test_policy_targets_come_from_the_database() -> None:
    """`enforce(rule, identity, target)`: a target made from the request would let the client decide.

    What the validated token says (`req.ctx`) is no claim of the client's.
    """
    guilty = []
    for path, tree in trees(*SERVICES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "enforce":
                for argument in [*node.args[2:], *[k.value for k in node.keywords if k.arg == "target"]]:
                    token = {
                        id(n.value) for n in ast.walk(argument) if isinstance(n, ast.Attribute) and n.attr == "ctx"
                    }
                    names = {n.id for n in ast.walk(argument) if isinstance(n, ast.Name) and id(n) not in token}
                    if names & {"req", "request", "body"}:
                        guilty.append(f"{path}:{node.lineno}")
    assert guilty == []


def test_every_disk_format_is_stated() -> None:
    """A guessed format lets a guest's bytes name files of the host (the CVE-2024-32498 class)."""
    guilty = []
    for path, tree in trees("host", "nova", "glance", "guest_images"):
        for node in ast.walk(tree):
            if isinstance(node, ast.List | ast.Tuple):
                words = [
                    item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)
                ]
                if words and words[0].endswith("qemu-img") and len(words) > 1 and not {"-f", "-O"} & set(words):
                    guilty.append(f"{path}:{node.lineno}")
    assert guilty == []


def test_no_shell_string() -> None:
    guilty = [
        f"{path}:{node.lineno}"
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and any(k.arg == "shell" for k in node.keywords)
    ]
    assert guilty == []


@pytest.mark.parametrize("service", SERVICES)
def test_services_have_one_shape(service: str) -> None:
    folder = SOURCE / service
    missing = [
        name
        for name in ("__init__.py", "service.py", "models.py", "api", "migrations", "policies.py", "errors.py")
        if not (folder / name).exists()
        and (service, name) != ("swift", "policies.py")  # swift has ACLs instead: access.py
    ]
    assert missing == []
    assert (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").count("\n") >= 3


def test_every_module_says_why_it_exists() -> None:
    silent = [str(path) for path, tree in trees() if isinstance(tree, ast.Module) and not ast.get_docstring(tree)]
    assert silent == []
