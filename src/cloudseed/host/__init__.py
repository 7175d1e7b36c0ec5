"""The privileged host process: the only code of Cloudseed that touches the operating system with privileges.

It knows no service.  It takes whole wishes as typed records (`records.py`) over a unix socket, computes the
difference with what the system says is there, and applies it.  It keeps no truth of its own: machines and
dnsmasq run on in sessions of their own when it dies, and its successor finds them by pid and start time.

Read first: `records.py` (what can be asked), `server.py` (socket, who may ask, dispatch), then by role:
networks: `networks.py`, `netns.py`, `links.py`, `dhcp.py`, `dhcp_files.py`, `firewall.py`, `connections.py`,
`metadata.py`; routers: `routers.py`, `translation.py`, `routes.py`, `advertising.py`, `external.py`;
machines: `machines.py`, `launch.py`, `qemu_command.py`, `qmp.py`; disks: `disks.py`, `images.py`, `config_drive.py`;
volumes: `volumes.py`, `volume_files.py`, `exporters.py`;
what exists that carries our name: `inventory.py`, `strays.py`.
Callers need only `client.py`, `records.py`, `qmp.py` and `paths.py`.
"""
