"""What a cloud of many hosts needs of this machine besides what any cloud needs."""

from __future__ import annotations

import os

from cloudseed.cli.doctor import Check, memory_available_mib
from cloudseed.cli.hosts.places import MAX_HOSTS
from cloudseed.cli.servers import postgres, rabbitmq

SERVERS_MIB, HOST_MIB = 300, 90  # the database, the broker and the services; each host's two processes (bench hosts)


def checks(count: int, meminfo: str) -> list[Check]:
    """The findings for that many hosts; `meminfo` is the text of /proc/meminfo."""
    return [check_rights(os.geteuid()), check_count(count), check_postgres(), check_rabbitmq(),
            check_room(count, memory_available_mib(meminfo))]


def check_rights(effective_uid: int) -> Check:
    if effective_uid == 0:
        return Check("hosts: root", "ok", "namespaces can be made")
    return Check("hosts: root", "fail", "hosts are network namespaces, which only root may make",
                 "sudo ./cloudseed up --hosts 3")  # fmt: skip


def check_count(count: int) -> Check:
    if 1 <= count <= MAX_HOSTS:
        return Check("hosts: number", "ok", f"{count} hosts")
    return Check("hosts: number", "fail", f"{count} hosts, and 1 to {MAX_HOSTS} can be",
                 f"./cloudseed up --hosts {min(max(count, 1), MAX_HOSTS)}")  # fmt: skip


def check_postgres() -> Check:
    found = postgres.find_binaries()
    if found is None:
        return Check("hosts: PostgreSQL", "fail", "not installed (keeps the services' tables)",
                     "sudo apt-get install --no-install-recommends postgresql")  # fmt: skip
    return Check("hosts: PostgreSQL", "ok", str(found))


def check_rabbitmq() -> Check:
    if not rabbitmq.is_installed():
        return Check("hosts: RabbitMQ", "fail", "not installed (carries messages between hosts)",
                     "sudo apt-get install --no-install-recommends rabbitmq-server")  # fmt: skip
    return Check("hosts: RabbitMQ", "ok", str(rabbitmq.PROGRAMS))


def check_room(count: int, available_mib: int) -> Check:
    """Room for the processes of that many hosts; their machines come on top."""
    needed = SERVERS_MIB + count * HOST_MIB
    finding = f"{available_mib} MiB available, {count} hosts without machines take {needed}"
    if available_mib < needed:
        return Check("hosts: memory", "fail", finding, f"./cloudseed up --hosts {max(1, count // 2)}")
    if available_mib < 2 * needed:
        return Check("hosts: memory", "warn", f"{finding}; room for few machines",
                     "ps aux --sort=-rss | head  (shows what could end)")  # fmt: skip
    return Check("hosts: memory", "ok", finding)
