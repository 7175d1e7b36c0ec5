"""The guest image `debian`: a whole Debian with cloud-init, as users of real clouds have it.

debootstrap and apt install it into a directory of the cache, in mount and process namespaces of their own and behind a
change of root: nothing is installed on the machine itself, no loop device is used, and when the build is killed its
mounts and processes go with it.  The disk boots by itself as tiny's does (SYSLINUX, then kernel and initramfs from the
first partition); cloud-init grows the root file system to the disk.

Where packages come from is apt's configuration on this machine.  The image is made anew when apt has another version
of one of the packages that are asked for, or this package's sources changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cloudseed.guest_images import cache, disk, packages, root_tree
from cloudseed.guest_images.cache import Progress
from cloudseed.guest_images.errors import BuildError, run_tool

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates", "cloud-guest-utils", "cloud-init", "dbus", "e2fsprogs", "ifupdown", "iproute2", "iputils-ping",
    "isc-dhcp-client", "linux-image-cloud-amd64", "netbase", "openssh-server", "qemu-guest-agent", "sudo",
    "systemd-sysv", "systemd-timesyncd", "zstd",
)  # fmt: skip
# What makes the disk, and debootstrap: unpacked, never installed.
_TOOLS = ("debootstrap", "e2fsprogs", "mtools", "syslinux", "syslinux-common")
_ROOT_UUID = "c10d5eed-0000-4000-8000-000000000002"
_MIB = 1 << 20
KERNEL_ARGUMENTS = f"root=UUID={_ROOT_UUID} ro quiet console=tty1 console=ttyS0,115200"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STEP_TIMEOUT_S = 1800


def build_debian(cache_dir: Path, progress: Progress = lambda step: None) -> Path:
    """The image's qcow2 file in the cache, built when it is not there yet: some minutes and 150 MB of downloads.

    Raises BuildError with what to do; root is needed.  Without network the newest image built before is returned.
    """
    images = cache_dir / "guest-images"
    images.mkdir(parents=True, exist_ok=True)
    with cache.lock(images, progress):
        progress("asking apt for package versions")
        sources = cache.source_key(others=("tiny",))
        wanted = packages.show(PACKAGES)
        digest = "".join(sorted(package.sha256 for package in wanted))
        target = images / f"debian-{sources}-{cache.digest(digest)}.qcow2"
        if target.exists():
            return target
        if os.geteuid() != 0:
            raise BuildError("building the image debian needs root, to install into a directory. Fix: run it with sudo")
        if missing := [name for name in ("wget", "gpgv") if shutil.which(name) is None]:
            names = " ".join(missing)
            raise BuildError(f"debootstrap needs programs that are not installed. Fix: sudo apt-get install {names}")
        try:
            with tempfile.TemporaryDirectory(prefix="build-", dir=images) as name:
                _build(Path(name), images, target, progress)
        except BuildError:
            older = sorted(images.glob(f"debian-{sources}-*.qcow2"), key=lambda path: path.stat().st_mtime)
            if not older:
                raise
            progress("no new build: using the image built before")
            return older[-1]
        cache.forget_old(images, "debian", keep=1)
        return target


def _build(work: Path, images: Path, target: Path, progress: Progress) -> None:
    sites = _sites()
    progress("downloading the tools")
    tools = packages.resolve(_TOOLS, [], follow=lambda name: name.startswith(("lib", "zlib")))
    unpacked = work / "tools"
    packages.unpack(packages.download(tools, images / "packages"), unpacked)
    root = work / "root"
    root.mkdir(mode=0o755)
    progress(f"installing Debian {SUITE}: the base (about a minute)")
    _debootstrap(unpacked, root, sites[0].split()[1])
    progress("installing Debian: kernel, cloud-init, SSH server (about two minutes)")
    _prepare(root, sites)
    _inside(root, "install", *PACKAGES)
    _inside(root, "clean")
    progress("writing the disk")
    raw = _disk(unpacked, work, root)
    finished = work / "finished.qcow2"
    run_tool(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, finished],
             doing="converting the disk to qcow2", package="qemu-utils", timeout_s=600)
    cache.publish(finished, target)


def _sites() -> list[str]:
    """Lines of sources.list for the suite, from apt's own configuration; the suite itself first."""
    text = run_tool(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT) $(CREATED_BY)"],
                    doing="asking apt where packages come from", package="apt")
    wanted = (SUITE, f"{SUITE}-updates", f"{SUITE}-security")
    found = {(site, release) for site, release, component, kind in (line.split()[:4] for line in text.splitlines())
             if release in wanted and component == "main" and kind == "Packages"}
    lines = [f"deb {site} {release} main" for site, release in sorted(found, key=lambda f: wanted.index(f[1]))]
    if not lines or lines[0].split()[2] != SUITE:
        raise BuildError(f"apt on this machine knows no Debian {SUITE}, of which the image is made. Fix: add it to "
                         "apt's sources, or build the image on a Debian 12 machine and copy it")
    return lines


def _environment() -> dict[str, str]:
    """apt's proxy, for programs that are not apt or do not see its configuration."""
    text = run_tool(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], doing="asking apt for its proxy",
                    package="apt").strip()
    proxy = text.removeprefix("PROXY=").strip("'\"")
    return {"http_proxy": proxy} if proxy else {}


def _apart(argv: list[str | Path], doing: str, env: dict[str, str]) -> None:
    """Run in mount and process namespaces that end with it."""
    run_tool(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", *argv], doing=doing,
             package="util-linux", timeout_s=_STEP_TIMEOUT_S, env=env)


def _debootstrap(unpacked: Path, root: Path, mirror: str) -> None:
    env = {**_environment(), "DEBOOTSTRAP_DIR": str(unpacked / "usr/share/debootstrap")}
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    _apart([unpacked / "usr/sbin/debootstrap", "--variant=minbase", *keyring, SUITE, root, mirror],
           f"installing Debian {SUITE}", env)


def _prepare(root: Path, sites: list[str]) -> None:
    """Our settings, before packages are configured by them."""
    (root / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in sites))
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copytree(root_tree.HERE / "debian_root", root, dirs_exist_ok=True)
    fstab = root / "etc/fstab"
    fstab.write_text(f"UUID={_ROOT_UUID} / ext4 defaults,errors=remount-ro 0 1\n")


def _inside(root: Path, *words: str) -> None:
    _apart(["sh", root_tree.HERE / "debian_build" / "inside", root, *words],
           f"installing Debian {SUITE} ({words[0]})", _environment())


def _disk(unpacked: Path, work: Path, root: Path) -> Path:
    kernels, initrds = sorted((root / "boot").glob("vmlinuz-*")), sorted((root / "boot").glob("initrd.img-*"))
    if len(kernels) != 1 or len(initrds) != 1:
        raise BuildError(f"expected one kernel and one initramfs in the image, found {len(kernels)} and {len(initrds)}")
    boot = disk.boot_file_system(unpacked, work, kernels[0], initrds[0], KERNEL_ARGUMENTS)
    used = int(subprocess.run(["du", "-sm", root], capture_output=True, text=True, check=True).stdout.split()[0])
    image = work / "root.ext4"
    with image.open("wb") as out:
        # room for the file system's own tables, and to boot before it is grown
        out.truncate((used * 5 // 4 + 256) * _MIB)
    disk.e2fs(unpacked, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-U", _ROOT_UUID, "-L", "debian",
              "-E", f"root_owner=0:0,resize={(1 << 40) // 4096}", "-d", root, image)
    return disk.join(unpacked, work, boot, image)
