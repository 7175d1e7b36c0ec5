"""The certificates by which a cloud's hosts know one another; TLS contexts are made of them in `tls.py`.

One authority for a cloud, kept where the cloud is set up; each host gets `tls/{ca.pem,cert.pem,key.pem}` in its state
directory, which only root may enter.  A host's certificate names its address on the underlay: who connects to that
address learns whether it is that host, and who is connected to whether it is any host of this cloud.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=3650)
_BEFORE = datetime.timedelta(days=1)  # a host's clock may be late


def make_authority(directory: Path, cloud: str) -> None:
    """Make `directory/{ca.pem,ca-key.pem}`; those that are there stay."""
    certificate, key_file = directory / "ca.pem", directory / "ca-key.pem"
    if certificate.exists() and key_file.exists():
        return
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cloudseed {cloud}")])
    built = _builder(name, name, key.public_key())
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    _write(key_file, _pem(key))
    _write(certificate, built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def is_issued(authority: Path, directory: Path) -> bool:
    """Whether the directory has a certificate of this authority."""
    try:
        known = (directory / "ca.pem").read_bytes() == (authority / "ca.pem").read_bytes()
    except FileNotFoundError:
        return False
    return known and (directory / "cert.pem").exists() and (directory / "key.pem").exists()


def issue(authority: Path, directory: Path, host: str, addresses: list[str]) -> None:
    """Make `directory/{ca.pem,cert.pem,key.pem}` for the host, which is at these addresses; anew each time."""
    issuer = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    issuer_key = serialization.load_pem_private_key((authority / "ca-key.pem").read_bytes(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    names: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    built = _builder(issuer.subject, name, key.public_key())
    built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    _write(directory / "key.pem", _pem(key))
    _write(directory / "cert.pem", built.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(directory / "ca.pem", issuer.public_bytes(serialization.Encoding.PEM))  # last: with it, all is there


def _builder(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(now - _BEFORE).not_valid_after(now + _VALID))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    temporary.rename(path)
