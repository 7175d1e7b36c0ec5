"""What is in the guest: the root file system and the initramfs, as lists of entries.

Sources are the unpacked packages, of which single files are taken, and the guest's own scripts in `tiny_root/`
and `tiny_initramfs/`.  The tree has merged directories (`/bin` is `/usr/bin`), whatever the packages' layout.
"""

from __future__ import annotations

import stat
from pathlib import Path

from cloudseed.guest_images import kernel_modules
from cloudseed.guest_images.cpio import Entry, directory, file, symlink
from cloudseed.guest_images.elf import interpreter, needed_libraries
from cloudseed.guest_images.errors import BuildError, run_tool

HERE = Path(__file__).parent

# Programs beside busybox: where the guest has them, and their packages' file names.
PROGRAMS = ("dropbear", "dropbearkey", "dbclient", "mke2fs", "resize2fs", "e2fsck", "lsblk", "blkid")
PROGRAM_LINKS = {
    "ssh": "dbclient",
    "mkfs.ext2": "mke2fs",
    "mkfs.ext3": "mke2fs",
    "mkfs.ext4": "mke2fs",
    "fsck.ext4": "e2fsck",
}

# Disk drivers the boot needs, by bus; then what a running guest needs besides.
BOOT_MODULES = ("virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ata_piix", "ata_generic")
GUEST_MODULES = (
    "virtio_net",
    "virtio_rng",
    "button",
    "evdev",
    "isofs",
    "sr_mod",
    "vfat",
    "nls_cp437",
    "nls_utf8",
    "nls_ascii",
    "loop",
)
# Not in every kernel package's selection.
OPTIONAL_MODULES = ("ahci", "e1000", "virtio_balloon", "virtio_console", "crc32c_intel", "8021q", "psmouse")

# cirros: the password in issue; root: none, so that sudo and a login at the console need none.
SHADOW = (
    "root::::::::\n"
    "cirros:$6$cloudseed$XjRK8ciTuel/JnKbtMxAAsUUqukt8tqEmMyATGnkfOz0ONIYUllWq2Kwjzf7hBAq7IUSBiA6UySTjdpXES4491:::::::\n"
)

_DIRECTORIES = (
    "dev", "etc", "home", "mnt", "proc", "root", "run", "sys", "tmp", "usr", "var",
    "etc/dropbear", "usr/bin", "usr/lib", "usr/lib64", "var/lib", "var/lib/cloudseed", "var/log", "var/tmp",
)  # fmt: skip
# one directory of programs: a user whose PATH has no sbin finds ip and mkfs.ext4 too
_MERGED = {"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64"}
_BUSYBOX = "usr/bin/busybox"


def find(unpacked: Path, name: str) -> Path:
    """A program of the unpacked packages.  Raises BuildError when none of them brought it."""
    for place in ("usr/sbin", "usr/bin", "sbin", "bin"):
        if (path := unpacked / place / name).exists():
            return path
    raise BuildError(f"none of the packages brought the program {name}")


def kernel(unpacked: Path) -> tuple[Path, Path]:
    """The kernel file and the directory of its modules.  Raises BuildError unless there is exactly one of each."""
    files = sorted((unpacked / "boot").glob("vmlinuz-*"))
    modules = sorted({*unpacked.glob("lib/modules/*/"), *unpacked.glob("usr/lib/modules/*/")})
    if len(files) != 1 or len(modules) != 1:
        raise BuildError(f"expected one kernel with its modules in the packages, found {len(files)} and {len(modules)}")
    return files[0], modules[0]


def root(unpacked: Path) -> list[Entry]:
    """The root file system's entries, directories before what they hold."""
    entries = {name: directory(name) for name in _DIRECTORIES}
    entries["root"] = directory("root", 0o700)
    entries["tmp"] = directory("tmp", 0o1777)
    entries["var/tmp"] = directory("var/tmp", 0o1777)
    entries["home/cirros"] = directory("home/cirros", 0o755, owner=1000)
    for name, target in _MERGED.items():
        entries[name] = symlink(name, target)
    entries["etc/mtab"] = symlink("etc/mtab", "/proc/mounts")
    entries["etc/resolv.conf"] = symlink("etc/resolv.conf", "/run/resolv.conf")
    entries["etc/shadow"] = file("etc/shadow", SHADOW.encode(), 0o600)
    # set-user-id for su alone: for every other command busybox gives the privilege back before it starts
    entries[_BUSYBOX] = file(_BUSYBOX, find(unpacked, "busybox").read_bytes(), 0o4755)
    for path in busybox_links(unpacked):
        entries[path] = symlink(path, "/" + _BUSYBOX)
    for entry in _programs(unpacked):
        entries[entry.path] = entry
    for entry in _own_files(HERE / "tiny_root"):
        entries[entry.path] = entry
    for entry in _modules(unpacked, BOOT_MODULES + GUEST_MODULES, OPTIONAL_MODULES):
        entries[entry.path] = entry
    return _with_parents(entries)


def initramfs(unpacked: Path) -> list[Entry]:
    """The initramfs' entries: busybox, the drivers of disks and virtio cards, and `init`."""
    entries = {name: directory(name) for name in ("dev", "proc", "sys", "root", "bin", "lib")}
    entries["bin/busybox"] = file("bin/busybox", find(unpacked, "busybox").read_bytes(), 0o755)
    for name in (
        "sh",
        "mount",
        "modprobe",
        "cat",
        "dd",
        "usleep",
        "blockdev",
        "switch_root",
        "printf",
        "ls",
        "vi",
        "fdisk",
    ):
        entries[f"bin/{name}"] = symlink(f"bin/{name}", "busybox")
    entries["sbin"] = symlink("sbin", "bin")
    entries["init"] = file("init", (HERE / "tiny_initramfs" / "init").read_bytes(), 0o755)
    for entry in _modules(unpacked, (*BOOT_MODULES, "virtio_net"), ("ahci",), prefix="lib/modules"):
        entries[entry.path] = entry
    return _with_parents(entries)


def busybox_links(unpacked: Path) -> list[str]:
    """Where the guest's busybox should be found under other names, as busybox itself lists them."""
    # packaging tools of other systems, which would only mislead in this guest
    unwanted = {"busybox", "dpkg", "dpkg-deb", "rpm", "rpm2cpio", "linuxrc", "init"}
    text = run_tool(
        [find(unpacked, "busybox"), "--list-full"], doing="listing busybox's commands", package="busybox-static"
    )
    names = {line.rpartition("/")[2] for line in text.split()}
    return [f"usr/bin/{name}" for name in sorted(names - unwanted | {"init"})]


def _programs(unpacked: Path) -> list[Entry]:
    """Programs with every library that they need, and the loader at the path that is written into them."""
    libraries = {
        path.name: path for pattern in ("lib/*/*.so*", "usr/lib/*/*.so*") for path in sorted(unpacked.glob(pattern))
    }
    entries = []
    # asked for by name at run time, when busybox or a program resolves host names
    resolver = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
    waiting: list[str] = [name for name in resolver if name in libraries]
    for name in PROGRAMS:
        content = find(unpacked, name).read_bytes()
        entries.append(file(f"usr/bin/{name}", content, 0o755))
        waiting += needed_libraries(content)
        if (loader := interpreter(content)) is not None:
            found = libraries[Path(loader).name].resolve()
            entries.append(file(f"usr/lib64/{Path(loader).name}", found.read_bytes(), 0o755))
    entries += [symlink(f"usr/bin/{name}", target) for name, target in PROGRAM_LINKS.items()]
    done: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in done or name.startswith("ld-linux"):
            continue
        done.add(name)
        if name not in libraries:
            raise BuildError(f"none of the packages brought the library {name}")
        content = libraries[name].resolve().read_bytes()
        entries.append(file(f"usr/lib/x86_64-linux-gnu/{name}", content, 0o755))
        waiting += needed_libraries(content)
    return entries


def _own_files(source: Path) -> list[Entry]:
    """Our scripts (they start with `#!`: executable) and settings, at their paths."""
    entries = []
    for path in sorted(source.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            mode = 0o755 if content.startswith(b"#!") else 0o644
            entries.append(file(str(path.relative_to(source)), content, mode))
    return entries


def _modules(
    unpacked: Path, wanted: tuple[str, ...], optional: tuple[str, ...], prefix: str = "usr/lib/modules"
) -> list[Entry]:
    _, source = kernel(unpacked)
    chosen = kernel_modules.choose(source, wanted, optional)
    place = f"{prefix}/{source.name}"
    return [
        *(file(f"{place}/{m.path}", kernel_modules.without_signature((source / m.path).read_bytes())) for m in chosen),
        file(f"{place}/modules.dep", kernel_modules.dependency_index(chosen).encode()),
        file(f"{place}/modules.alias", kernel_modules.alias_index(chosen).encode()),
    ]


def _with_parents(entries: dict[str, Entry]) -> list[Entry]:
    for path in list(entries):
        for parent in Path(path).parents:
            entries.setdefault(str(parent), directory(str(parent)))
    entries.pop(".", None)
    return [entries[path] for path in sorted(entries)]


def write(entries: list[Entry], target: Path) -> None:
    """Write a tree to a directory (owners are left to the file system's maker, who needs no privilege for them)."""
    for entry in entries:
        path = target / entry.path
        if stat.S_ISDIR(entry.mode):
            path.mkdir(parents=True, exist_ok=True)
        elif stat.S_ISLNK(entry.mode):
            path.symlink_to(entry.content.decode())
        else:
            path.write_bytes(entry.content)
            path.chmod(stat.S_IMODE(entry.mode))
    for entry in reversed(entries):
        if stat.S_ISDIR(entry.mode):
            (target / entry.path).chmod(stat.S_IMODE(entry.mode) | 0o700)
