"""The config drive, read back as a guest reads it."""

from __future__ import annotations

import io

import pycdlib
import pytest

from cloudseed.host import config_drive
from cloudseed.host.errors import HostError


def read(image: bytes, **path: str) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    try:
        out = io.BytesIO()
        iso.get_file_from_iso_fp(out, **path)
        return out.getvalue()
    finally:
        iso.close()


def test_files_are_there_under_their_names() -> None:
    files = {
        "openstack/latest/meta_data.json": b'{"uuid": "x"}',
        "openstack/latest/user_data": b"#!/bin/sh\n",
        "openstack/2018-08-27/network_data.json": b"{}",
        "ec2/latest/meta-data.json": b"",
    }
    image = config_drive.build(files)
    for path, data in files.items():
        assert read(image, rr_path=f"/{path}") == data
        assert read(image, joliet_path=f"/{path}") == data
    iso = pycdlib.PyCdlib()
    iso.open_fp(io.BytesIO(image))
    assert iso.pvd.volume_identifier.rstrip() == b"config-2"
    iso.close()


@pytest.mark.parametrize("path", ["", "/x", "../x", "a//b", "a\0b", "x" * 65, "a/b/c/d/e/f/g"])
def test_paths_that_are_not_plain_are_refused(path: str) -> None:
    with pytest.raises(HostError) as caught:
        config_drive.build({path: b""})
    assert caught.value.code == "invalid"


def test_too_much_is_refused() -> None:
    with pytest.raises(HostError):
        config_drive.build({"x": bytes(config_drive.MAX_BYTES + 1)})
