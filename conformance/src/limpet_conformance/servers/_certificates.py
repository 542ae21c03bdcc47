"""Certificates for servers with TLS in tests: an authority, what it signed, and another authority."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

__all__ = ["Certificates"]


class Certificates:
    """Paths of files: `ca` signed `cert` (for `localhost`, 127.0.0.1) with its `key`; `other_ca` signed nothing.

    `other_name` with its `other_key` is signed by `ca` for a name that is not this machine's. Needs the package
    `cryptography`.
    """

    def __init__(self, folder: Path, *, owner: str | None = None) -> None:
        """`owner` is the only user who can read the keys, if we are root."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        now = datetime.now(UTC)

        def named(name: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

        def made(
            name: str, signer: tuple[x509.Name, Any] | None, names: list[x509.GeneralName]
        ) -> tuple[str, str, Any]:
            key = ec.generate_private_key(ec.SECP256R1())
            issuer, by = signer or (named(name), key)
            builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(issuer)
            builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
            builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=2))
            builder = builder.add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            if signer is None:
                use = dict.fromkeys(
                    ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"),
                    False,
                )
                use |= {"decipher_only": False, "digital_signature": True, "key_cert_sign": True, "crl_sign": True}
                builder = builder.add_extension(x509.KeyUsage(**use), critical=True)
            builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            builder = builder.add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
            )
            if names:
                builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            certificate = builder.sign(by, hashes.SHA256())
            pem = serialization.Encoding.PEM
            written = folder / f"{name}.pem", folder / f"{name}.key"
            written[0].write_bytes(certificate.public_bytes(pem))
            form = serialization.PrivateFormat.PKCS8
            written[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
            written[1].chmod(0o600)
            if owner is not None and hasattr(os, "geteuid") and os.geteuid() == 0:
                import shutil

                shutil.chown(written[1], owner)
            return str(written[0]), str(written[1]), key

        self.ca, _, authority = made("authority", None, [])
        self.other_ca, _, _ = made("another-authority", None, [])
        signer = named("authority"), authority
        here: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
        self.cert, self.key, _ = made("server", signer, here)
        self.other_name, self.other_key, _ = made("elsewhere", signer, [x509.DNSName("elsewhere.example")])
        self.client_cert, self.client_key, _ = made("postgres", signer, [])
