"""Key pairs: public keys of users, given or made here; a private key is shown once and never kept."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Conflict, Invalid, OverQuota
from cloudseed.kernel.http.paging import Page
from cloudseed.nova import quotas
from cloudseed.nova.errors import KeyPairNotFound
from cloudseed.nova.models import key_pairs
from cloudseed.nova.paging import Sort, page_of

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

KeyPair = sa.Row[Any]
_BAD = "Keypair data is invalid: failed to generate fingerprint"


class Material(NamedTuple):
    public_key: str
    fingerprint: str
    private_key: str | None = None


async def list_key_pairs(nova: Nova, user_id: str, page: Page) -> tuple[list[KeyPair], bool]:
    """A user's keys by name; the marker is a name."""
    query = sa.select(key_pairs).where(key_pairs.c.user_id == user_id)
    async with nova.db.read() as tx:
        return await page_of(tx, query, key_pairs.c.name, page, Sort(((key_pairs.c.name, False),)),
                             Invalid(f"marker [{page.marker}] not found"))


async def get_key_pair(nova: Nova, user_id: str, name: str) -> KeyPair:
    async with nova.db.read() as tx:
        return await _get(tx, user_id, name)


async def _get(tx: Tx, user_id: str, name: str) -> KeyPair:
    row = await tx.first(sa.select(key_pairs).where(key_pairs.c.user_id == user_id, key_pairs.c.name == name))
    if row is None:
        raise KeyPairNotFound(name=name, user_id=user_id)
    return row


async def create_key_pair(nova: Nova, ctx: Context, user_id: str, name: str, type: str,
                          public_key: str | None) -> tuple[KeyPair, str | None]:
    """Import `public_key`, or make a new pair; returns the record and the private key, if it was made here.

    Raises Invalid (not a key), Conflict (name taken), OverQuota.
    """
    if public_key is not None:
        material = Material(public_key, fingerprint_of(type, public_key))
    else:
        material = await asyncio.to_thread(generate_ssh if type == "ssh" else generate_x509, user_id)
    async with nova.db.write() as tx:
        limit = (await quotas.get_limits(tx, ctx.project_id, user_id))["key_pairs"]
        if 0 <= limit <= await quotas.count_key_pairs(tx, user_id):
            raise OverQuota("Quota exceeded, too many key pairs.")
        present = await tx.first(sa.select(key_pairs.c.id).where(key_pairs.c.user_id == user_id,
                                                                 key_pairs.c.name == name))
        if present is not None:
            raise Conflict(f"Key pair '{name}' already exists.")
        await tx.execute(sa.insert(key_pairs).values(
            user_id=user_id, name=name, type=type, fingerprint=material.fingerprint,
            public_key=material.public_key, created_at=utcnow()))
        return await _get(tx, user_id, name), material.private_key


async def delete_key_pair(nova: Nova, user_id: str, name: str) -> None:
    """Forget a key; servers that were made with it keep it."""
    async with nova.db.write() as tx:
        gone = await tx.execute(sa.delete(key_pairs).where(key_pairs.c.user_id == user_id,
                                                           key_pairs.c.name == name))
        if gone.rowcount == 0:
            raise KeyPairNotFound(name=name, user_id=user_id)


# ---- keys

def fingerprint_of(type: str, public_key: str) -> str:
    """MD5 of an SSH key's blob, SHA-1 of a certificate, in hex with colons.  Raises Invalid when it is neither."""
    if type == "x509":
        return _certificate_fingerprint(public_key)
    parts = public_key.strip().split(None, 2)
    if len(parts) < 2 or "\n" in public_key.strip() or "\x00" in public_key:
        raise Invalid(_BAD)
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(_BAD) from None
    # the blob names its own algorithm, which must be the one before it (RFC 4253, section 6.6)
    size = int.from_bytes(blob[:4], "big")
    if blob[4:4 + size] != parts[0].encode() or not _loads(public_key):
        raise Invalid(_BAD)
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def _loads(public_key: str) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if public_key.startswith("sk-"):  # keys in hardware: the library reads no more than their name
        return True
    try:
        load_ssh_public_key(public_key.strip().encode())
    except (ValueError, UnsupportedAlgorithm, UnicodeEncodeError):
        return False
    return True


def _certificate_fingerprint(text: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        certificate = x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        raise Invalid(_BAD) from None
    return _colons(certificate.fingerprint(hashes.SHA1()).hex())  # noqa: S303 - upstream's format, not a signature


def _colons(digits: str) -> str:
    return ":".join(digits[i:i + 2] for i in range(0, len(digits), 2))


def generate_ssh(user_id: str) -> Material:
    """An RSA pair of 2048 bits, in the formats of old OpenSSH.  Takes some 100 ms: call it off the loop."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                serialization.NoEncryption()).decode()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH,
                                           serialization.PublicFormat.OpenSSH).decode()
    public += " Generated-by-Nova"
    return Material(public, fingerprint_of("ssh", public), private)


def generate_x509(user_id: str) -> Material:
    """A self-signed client certificate for Windows guests; the private part is a PKCS #12 bundle in base64."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now)
                   .not_valid_after(now + datetime.timedelta(days=3650))
                   .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
                   .sign(key, hashes.SHA256()))
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    bundle = pkcs12.serialize_key_and_certificates(b"", key, certificate, None, serialization.NoEncryption())
    return Material(public, _certificate_fingerprint(public), base64.b64encode(bundle).decode())
