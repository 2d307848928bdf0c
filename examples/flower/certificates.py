"""Makes certificates and node keys, as operators of a SuperLink do once, here for a day."""

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PEM, PUBLIC = serialization.Encoding.PEM, serialization.PublicFormat.OpenSSH
PRIVATE = serialization.PrivateFormat


def make_certificates(folder: Path) -> None:
    """Writes ``ca.pem``, and ``server.pem`` with ``server.key`` for 127.0.0.1."""
    authority, server = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    (folder / "ca.pem").write_bytes(certificate("example authority", authority, authority, True))
    (folder / "server.pem").write_bytes(certificate("127.0.0.1", server, authority, False))
    write_key(folder / "server.key", server, PRIVATE.PKCS8)


def make_node_key(path: Path) -> None:
    """Writes the key with which a SuperNode logs in, and beside it ``.pub`` to register it."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_key(path, key, PRIVATE.OpenSSH)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, PUBLIC)
    path.with_suffix(".pub").write_bytes(public)


def write_key(path: Path, key: Any, form: Any) -> None:
    """Writes a private key that only its owner can read."""
    path.touch(0o600)
    path.write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))


def certificate(subject: str, key: Any, signer: Any, authority: bool) -> bytes:
    """Returns a certificate of a key, signed by the authority."""
    now = datetime.datetime.now(datetime.UTC)
    issuer, subject_name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
        for text in ("example authority", subject)
    )
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject_name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
    )
    return builder.sign(signer, hashes.SHA256()).public_bytes(PEM)
