"""Key pairs as a client sees them."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.nova.api.cloud import NovaCloud, message, nova

pytestmark = pytest.mark.asyncio(loop_scope="module")

# its fingerprint is what `ssh-keygen -E md5 -lf` prints
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOhuqyeWt1/xjwpQ9FYOVEDJe+yAoFPtYw/VxFe2BJSg me"
FINGERPRINT = "bc:ac:cf:6a:75:71:1b:2b:2e:68:0b:09:76:a4:40:9a"


def ssh(key: Any) -> str:
    return str(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


async def test_import_show_list_delete(cloud: NovaCloud) -> None:
    user = await cloud.new_project("keys")
    made = await nova(user, "POST", "/os-keypairs", {"keypair": {"name": "key", "public_key": ED25519}})
    assert made.status == 201
    assert made.json()["keypair"] == {"name": "key", "type": "ssh", "public_key": ED25519,
                                      "fingerprint": FINGERPRINT, "user_id": user.user_id}
    again = await nova(user, "POST", "/os-keypairs", {"keypair": {"name": "key", "public_key": ED25519}})
    assert again.status == 409 and message(again) == "Key pair 'key' already exists."
    shown = (await nova(user, "GET", "/os-keypairs/key")).json()["keypair"]
    assert shown["deleted"] is False and shown["created_at"] and shown["updated_at"] is None
    listed = (await nova(user, "GET", "/os-keypairs")).json()["keypairs"]
    assert listed == [{"keypair": {"name": "key", "type": "ssh", "public_key": ED25519, "fingerprint": FINGERPRINT}}]
    assert "type" not in (await nova(user, "GET", "/os-keypairs", version="2.1")).json()["keypairs"][0]["keypair"]
    assert (await nova(user, "DELETE", "/os-keypairs/key")).status == 204
    gone = await nova(user, "DELETE", "/os-keypairs/key")
    assert gone.status == 404 and message(gone) == f"Keypair key not found for user {user.user_id}"


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
async def test_ecdsa_and_rsa_keys(cloud: NovaCloud, curve: Any) -> None:
    key = ssh(ec.generate_private_key(curve()))
    body = {"keypair": {"name": f"ec-{curve.name}", "public_key": key}}
    assert (await nova(cloud.admin, "POST", "/os-keypairs", body)).status == 201


async def test_generated_keys_are_real_and_shown_once(cloud: NovaCloud) -> None:
    made = await nova(cloud.admin, "POST", "/os-keypairs", {"keypair": {"name": "made"}}, "2.1")
    assert made.status == 200
    body = made.json()["keypair"]
    private = load_pem_private_key(body["private_key"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey) and body["public_key"].startswith(ssh(private))
    assert "private_key" not in (await nova(cloud.admin, "GET", "/os-keypairs/made")).json()["keypair"]
    certificate = await nova(cloud.admin, "POST", "/os-keypairs", {"keypair": {"name": "cert", "type": "x509"}}, "2.2")
    assert certificate.json()["keypair"]["public_key"].startswith("-----BEGIN CERTIFICATE-----")
    assert len(certificate.json()["keypair"]["fingerprint"].split(":")) == 20
    assert (await nova(cloud.admin, "POST", "/os-keypairs", {"keypair": {"name": "none"}}, "2.92")).status == 400


@pytest.mark.parametrize("change", [
    {"public_key": "ssh-rsa AAAAfoo"}, {"public_key": "nonsense"}, {"public_key": ""},
    {"public_key": "ssh-rsa " + ED25519.split()[1]}, {"public_key": ED25519 + "\nmore"}, {"public_key": "ssh-ed25519 " +
     "A" * 40}, {"public_key": "x" * 17000}, {"type": "dsa"}, {"name": ""}, {"name": "a/b"}, {"name": "a" * 256},
    {"name": "a\n"}, {"name": " a"}, {"name": None}, {"unknown": 1}, {"public_key": 5}, {"type": "x509"}])
async def test_bad_keys_are_refused(cloud: NovaCloud, change: dict[str, Any]) -> None:
    answer = await nova(cloud.admin, "POST", "/os-keypairs", {"keypair": {
        "name": "bad", "public_key": ED25519, **change}})
    assert answer.status == 400 and message(answer)


async def test_names_since_2_92(cloud: NovaCloud) -> None:
    body = {"keypair": {"name": "me@host.example", "public_key": ED25519}}
    assert (await nova(cloud.admin, "POST", "/os-keypairs", body, "2.91")).status == 400
    assert (await nova(cloud.admin, "POST", "/os-keypairs", body, "2.92")).status == 201
    assert (await nova(cloud.admin, "GET", "/os-keypairs/me@host.example")).status == 200


async def test_keys_are_their_users(cloud: NovaCloud) -> None:
    one, other = await cloud.new_project("key-one"), await cloud.new_project("key-other")
    await nova(one, "POST", "/os-keypairs", {"keypair": {"name": "mine", "public_key": ED25519}})
    assert (await nova(other, "GET", "/os-keypairs/mine")).status == 404
    assert (await nova(other, "GET", f"/os-keypairs/mine?user_id={one.user_id}")).status == 403
    assert (await nova(cloud.admin, "GET", f"/os-keypairs/mine?user_id={one.user_id}")).status == 200
    given = {"keypair": {"name": "given", "public_key": ED25519, "user_id": other.user_id}}
    assert (await nova(one, "POST", "/os-keypairs", given)).status == 403
    assert (await nova(cloud.admin, "POST", "/os-keypairs", given)).status == 201
    assert (await nova(other, "GET", "/os-keypairs/given")).status == 200


async def test_pages_and_quota(cloud: NovaCloud) -> None:
    user = await cloud.new_project("key-pages")
    for name in "abc":
        await nova(user, "POST", "/os-keypairs", {"keypair": {"name": name, "public_key": ED25519}})
    page = (await nova(user, "GET", "/os-keypairs?limit=2")).json()
    assert [k["keypair"]["name"] for k in page["keypairs"]] == ["a", "b"]
    assert "marker=b" in page["keypairs_links"][0]["href"]
    rest = (await nova(user, "GET", "/os-keypairs?marker=b")).json()["keypairs"]
    assert [k["keypair"]["name"] for k in rest] == ["c"]
    assert (await nova(user, "GET", "/os-keypairs?marker=x")).status == 400
    await nova(cloud.admin, "PUT", f"/os-quota-sets/{user.project_id}", {"quota_set": {"key_pairs": 3}})
    over = await nova(user, "POST", "/os-keypairs", {"keypair": {"name": "d", "public_key": ED25519}})
    assert over.status == 403 and message(over) == "Quota exceeded, too many key pairs."
