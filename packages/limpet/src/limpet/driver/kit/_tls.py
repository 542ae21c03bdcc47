"""TLS to a server: one context for all connections of a driver, and why a handshake failed."""

from __future__ import annotations

import ssl

from ..._errors import ConfigurationError

__all__ = ["tls_failure_reason", "tls_context"]

_REFUSALS = ("ALERT", "WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNSUPPORTED_PROTOCOL")
"""OpenSSL's names for failures that a retry does not change. Anything else is a broken connection."""


def tls_context(
    *, ca: str | None = None, cert: str | None = None, key: str | None = None, check_hostname: bool = True
) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, or only those in `ca`, and presents `cert` with `key`.

    All three are paths of PEM files; the key may be in `cert`. Raises `ConfigurationError` if one cannot be used.
    """
    if key is not None and cert is None:
        raise ConfigurationError("ssl_key needs ssl_cert: pass the certificate that the key belongs to")
    reading = f"ssl_ca {ca!r}"
    try:
        context = ssl.create_default_context(cafile=ca)
        context.check_hostname = check_hostname
        if cert is not None:
            reading = f"ssl_cert {cert!r}" + (f" or ssl_key {key!r}" if key is not None else "")
            context.load_cert_chain(cert, key, password=_no_password)
    except OSError as error:  # includes OpenSSL's own errors
        raise ConfigurationError(f"{reading} cannot be used ({error}): pass a file in PEM format") from error
    return context


def tls_failure_reason(error: BaseException) -> str | None:
    """Return why a TLS handshake failed and would fail again, and what to do, if that caused a client's error."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}): set ssl_ca to the file of the certificate authority "
            "that signed it, and use a host name that the certificate contains"
        )
    if cause is not None and any(word in (cause.reason or "") for word in _REFUSALS):
        return (
            f"TLS failed ({cause.reason}): check whether the server supports TLS on this port, and whether it requires "
            "a client certificate (ssl_cert, ssl_key)"
        )
    return None


def _no_password() -> str:
    raise ConfigurationError("the key of ssl_cert is protected by a password: use one that is not")
