"""Starting one machine: its files opened and handed to a QEMU of its own user, in its own session.

All here is synchronous and runs in a worker thread.  Whatever was opened is closed again in our process, however
the start ends; what QEMU needs, it has inherited.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from cloudseed.host import binaries, disks, links, netns, processes, qemu_command, suspension
from cloudseed.host.errors import HostError, from_os_error
from cloudseed.host.paths import MachinePaths, StatePaths, namespace_name, tap_name
from cloudseed.host.records import DiskSpec, MachineSpec, NicSpec
from cloudseed.host.users import Users
from cloudseed.host.wire import listen


class Launcher:
    """Starts machines of one cloud; the control process's user gets the sockets and the console."""

    def __init__(self, cloud: str, paths: StatePaths, control_uid: int, control_gid: int, users: Users) -> None:
        self._cloud = cloud
        self._paths = paths
        self._control = (control_uid, control_gid)
        self.users = users

    def directory(self, server_id: str) -> MachinePaths:
        """The machine's directory, made if missing: the control process may enter and read it, nobody else."""
        machine = self._paths.machine(server_id)
        machine.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(machine.directory, 0, self._control[1])
        machine.directory.chmod(0o750)
        return machine

    def start(self, spec: MachineSpec, accel: Literal["kvm", "tcg"],
              expected: suspension.Layout | None = None) -> processes.ProcessRecord:
        """Start QEMU and record its process; it may still refuse, which its monitor or its log tells.

        `expected`: it waits for a guest of that layout from another host.
        """
        machine = self.directory(spec.server_id)
        layout = expected or suspension.load_layout(machine)
        if layout is not None and expected is None:  # its memory is of the devices that it had
            spec = _as_it_was(self.load_spec(spec.server_id), spec)
        try:
            with ExitStack() as stack, self.users.reserve() as uid:
                launch = self._open_all(stack, spec, machine, accel, uid)
                argv = qemu_command.arguments(spec, launch, layout)
                passed = _descriptors(launch)
                if expected is not None:
                    argv += ["-S", "-incoming", "defer"]
                elif layout is not None:
                    memory = os.open(machine.memory, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                    stack.callback(os.close, memory)
                    passed.append(memory)
                    argv += ["-S", "-incoming", f"fd:{memory}"]
                machine.qemu_log.unlink(missing_ok=True)
                self.save_spec(spec)  # before it runs: whoever takes it up needs to know what it has
                record = processes.spawn(
                    argv,
                    log=machine.qemu_log,
                    pass_fds=passed,
                    uid=uid,
                    gid=uid,
                    groups=_kvm_groups() if accel == "kvm" else (),
                    umask=0o007,
                )
                processes.save(machine.pid, record)
                return record
        except OSError as exc:
            raise from_os_error(exc, f"starting server {spec.server_id}") from exc

    def save_spec(self, spec: MachineSpec) -> None:
        """Keep what the machine runs with beside it."""
        processes.replace_file(self._paths.machine(spec.server_id).spec, msgspec.json.encode(spec))

    def load_spec(self, server_id: str) -> MachineSpec | None:
        """What the machine was last started with, hot-plugged parts included."""
        try:
            return msgspec.json.decode(self._paths.machine(server_id).spec.read_bytes(), type=MachineSpec)
        except (OSError, msgspec.DecodeError):
            return None

    def open_disk(
        self, stack: ExitStack, server_id: str, disk: DiskSpec, volumes: int | None = None
    ) -> qemu_command.DiskFiles:
        """Open a disk's files, closed with the stack; `not_found` when one is missing.

        `volumes`: the descriptor under which the machine has the directory of its volumes' sockets.
        """
        match disk.kind:
            case "config_drive":
                path = self._paths.machine(server_id).config_drive
                return qemu_command.DiskFiles(_open(stack, path, os.O_RDONLY, disk), read_only=True)
            case "volume":
                name = self._paths.machine(server_id).volume_socket(disk.attachment_id).name
                socket_path = f"/proc/self/fd/{volumes}/{name}"
                return qemu_command.DiskFiles(None, read_only=disk.read_only, socket=socket_path)
            case "overlay":
                path = self._paths.machine(server_id).disk(disk.name)
        descriptor = _open(stack, path, os.O_RDONLY if disk.read_only else os.O_RDWR, disk)
        key = disks.backing_key(self._paths, path)
        if key is None:
            return qemu_command.DiskFiles(descriptor, read_only=disk.read_only)
        image = disks.image_info(self._paths, key)
        below = _open(stack, self._paths.image(image.key), os.O_RDONLY, disk)
        return qemu_command.DiskFiles(descriptor, disk.read_only, below, image.format)

    def open_tap(self, stack: ExitStack, nic: NicSpec) -> int:
        """The port's tap, closed with the stack; its network must have been applied."""
        namespace, name = namespace_name(self._cloud, nic.network_id), tap_name(nic.port_id)

        def open_existing() -> int:
            # opening makes a tap that is missing, and one without rules passes nothing: say so instead
            if name not in {n for _, n in socket.if_nameindex()}:
                message = f"port {nic.port_id} has no tap on this host: apply its network before the machine"
                raise HostError("not_found", message)
            return links.open_tap(name)

        descriptor = netns.run(namespace, open_existing)
        stack.callback(os.close, descriptor)
        return descriptor

    def _open_all(
        self,
        stack: ExitStack,
        spec: MachineSpec,
        machine: MachinePaths,
        accel: Literal["kvm", "tcg"],
        uid: int,
    ) -> qemu_command.Launch:
        log = os.open(machine.console_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, log)
        os.fchown(log, *self._control)
        machine.vnc_directory.mkdir(mode=0o700, exist_ok=True)
        machine.vnc_socket.unlink(missing_ok=True)
        # the group's bit makes the socket that QEMU puts here the control process's as well
        os.chown(machine.vnc_directory, uid, self._control[1])
        machine.vnc_directory.chmod(0o2770)
        vnc = os.open(machine.vnc_directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, vnc)
        machine.volumes.mkdir(mode=0o710, exist_ok=True)
        os.chown(machine.volumes, 0, uid)  # to pass, not to see what is there
        machine.volumes.chmod(0o710)
        volumes = os.open(machine.volumes, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, volumes)
        return qemu_command.Launch(
            binary=binaries.find("qemu-system-x86_64"),
            accel=accel,
            disks={disk.name: self.open_disk(stack, spec.server_id, disk, volumes) for disk in spec.disks},
            taps={nic.port_id: self.open_tap(stack, nic) for nic in spec.nics},
            qmp=listen(stack, machine.qmp_socket, self._control),
            host_qmp=listen(stack, machine.host_qmp_socket, (0, 0)),
            serial=listen(stack, machine.serial_socket, self._control),
            agent=listen(stack, machine.agent_socket, self._control) if spec.guest_agent else -1,
            console_log=log,
            vnc_directory=vnc,
            volumes_directory=volumes,
            uefi=self._open_firmware(stack, machine) if spec.firmware == "uefi" else None,
        )

    def _open_firmware(self, stack: ExitStack, machine: MachinePaths) -> tuple[int, int]:
        """UEFI's firmware, and the machine's own variables, made from the package's at its first start."""
        if not binaries.UEFI_CODE.exists():
            message = f"{binaries.UEFI_CODE} is missing: install it with: apt-get install ovmf"
            raise HostError("failed", f"the machine asks for UEFI, and {message}")
        code = os.open(binaries.UEFI_CODE, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, code)
        if not machine.nvram.exists():
            processes.replace_file(machine.nvram, binaries.UEFI_VARIABLES.read_bytes(), mode=0o600)
        variables = os.open(machine.nvram, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, variables)
        return code, variables


def _as_it_was(saved: MachineSpec | None, spec: MachineSpec) -> MachineSpec:
    """The devices of `saved`, its volumes as `spec` knows them now."""
    if saved is None:
        return spec
    now = {disk.name: disk for disk in spec.disks if disk.kind == "volume"}
    return msgspec.structs.replace(saved, disks=[now.get(disk.name, disk) for disk in saved.disks])


def _kvm_groups() -> tuple[int, ...]:
    """The group that may use /dev/kvm, if one may."""
    status = os.stat("/dev/kvm")
    return (status.st_gid,) if status.st_mode & 0o060 == 0o060 and status.st_gid else ()


def _descriptors(launch: qemu_command.Launch) -> list[int]:
    found = [launch.qmp, launch.host_qmp, launch.serial, launch.console_log]
    found += [launch.vnc_directory, launch.volumes_directory]
    found += [launch.agent] if launch.agent >= 0 else []
    found += launch.taps.values()
    found += launch.uefi or ()
    for files in launch.disks.values():
        found += [d for d in (files.descriptor, files.backing_descriptor) if d is not None]
    return found


def _open(stack: ExitStack, path: Path, mode: int, disk: DiskSpec) -> int:
    try:
        descriptor = os.open(path, mode | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise HostError("not_found", f"disk {disk.name} has no file {path.name} on this host") from None
    stack.callback(os.close, descriptor)
    return descriptor
