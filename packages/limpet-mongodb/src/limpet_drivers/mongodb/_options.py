"""The driver's options: keyword arguments, their defaults, and their form in a URL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args
from urllib.parse import quote, urlencode

from limpet import ConfigurationError
from limpet.driver.kit import (
    SecretUrl,
    Url,
    check_counts,
    check_seconds,
    hide_password,
    option_types,
    parse_server_url,
    read_options,
)

__all__ = ["Durability", "Options", "Transactions"]

Transactions: TypeAlias = Literal["auto", "true", "false"]
Durability: TypeAlias = Literal["disk", "process"]

DATABASE = "limpet"
"""If neither the URL nor a keyword names one."""

_PASSED_ON = frozenset(
    {
        "appName", "authMechanism", "authMechanismProperties", "authSource", "compressors", "directConnection",
        "heartbeatFrequencyMS", "loadBalanced", "localThresholdMS", "maxIdleTimeMS", "proxyHost", "proxyPassword",
        "proxyPort", "proxyUsername", "replicaSet", "retryReads", "srvMaxHosts", "srvServiceName", "ssl", "tls",
        "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsCAFile", "tlsCertificateKeyFile",
        "tlsCertificateKeyFilePassword", "tlsCRLFile", "tlsDisableOCSPEndpointCheck", "tlsInsecure",
        "zlibCompressionLevel",
    }
)  # fmt: skip
"""Parts of MongoDB's connection strings that only concern its client."""

_ANSWERED: dict[str, tuple[frozenset[str], str]] = {
    "w": (frozenset({"majority"}), "every write waits for the majority"),
    "retryWrites": (frozenset({"true", "false"}), "the client never resends a write"),
    "readPreference": (frozenset({"primary"}), "every read is from the primary"),
    "readConcernLevel": (frozenset({"majority", "snapshot"}), "every read returns what the majority has"),
    "journal": (frozenset(), "use durability=disk or durability=process"),
    "j": (frozenset(), "use durability=disk or durability=process"),
    "wTimeoutMS": (frozenset(), "write timeout=SECONDS"),
    "timeoutMS": (frozenset(), "write timeout=SECONDS"),
    "socketTimeoutMS": (frozenset(), "write timeout=SECONDS"),
    "connectTimeoutMS": (frozenset(), "write connect_timeout=SECONDS"),
    "serverSelectionTimeoutMS": (frozenset(), "write connect_timeout=SECONDS"),
    "waitQueueTimeoutMS": (frozenset(), "write connect_timeout=SECONDS"),
    "maxPoolSize": (frozenset(), "write pool_size=NUMBER"),
    "minPoolSize": (frozenset(), "connections are opened when they are first needed"),
}
"""Other options in copied connection strings: the values that change nothing, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a driver, checked. Raises `ConfigurationError` if they cannot be used."""

    url: str = "mongodb://localhost:27017"
    """In the form of MongoDB's clients, without our options."""
    database: str | None = None
    """`None`: the one in the URL, or the default."""
    collection: str = "limpet"
    transactions: Transactions = "auto"
    """Whether batches are transactions: as the server reports, or as configured."""
    durability: Durability = "disk"
    """Whether an acknowledged write is in the journal on disk, in a replica set on the majority."""
    pool_size: int = 8
    """Maximum number of connections."""
    connect_timeout: float = 10.0
    """Seconds for finding a server, connecting to it, and waiting for a free connection."""
    timeout: float = 30.0
    """Seconds for one call to the server."""

    def __post_init__(self) -> None:
        parts = parse_server_url(self.url)
        if parts.scheme not in ("mongodb", "mongodb+srv"):
            raise ConfigurationError(f"{parts.scheme}:// is not mongodb:// or mongodb+srv://")
        theirs = _mongodbs_own(parts, ours=())
        if theirs.get("authMechanism") == "PLAIN" and not _uses_tls(parts):
            raise ConfigurationError(
                "authMechanism=PLAIN sends the password in cleartext: add tls=true, or choose SCRAM-SHA-256"
            )
        for name, value, unfit, most in (
            ("database", self.database_name, '/\\. "$*<>:|?\0', 63),
            ("collection", self.collection, "$\0", 120),
        ):
            if not isinstance(value, str) or not 0 < len(value.encode()) <= most or set(value) & set(unfit):
                raise ConfigurationError(f"{name} is {value!r}: use up to {most} bytes, none of {unfit!r} among them")
        if self.collection.startswith("system."):
            raise ConfigurationError(
                f"collection is {self.collection!r}: names that begin with 'system.' are reserved by MongoDB"
            )
        check_seconds(connect_timeout=self.connect_timeout, timeout=self.timeout)
        check_counts(pool_size=self.pool_size)
        if self.transactions not in get_args(Transactions):
            raise ConfigurationError(f"transactions is {self.transactions!r}: use 'auto', 'true' or 'false'")
        if self.durability not in get_args(Durability):
            raise ConfigurationError(f"durability is {self.durability!r}: use 'disk' or 'process'")

    @classmethod
    def from_url(cls, url: str) -> Options:
        """Parse `mongodb://user:password@host:port/database?collection=agents`. Options are in the query."""
        parts = parse_server_url(url)
        theirs = _mongodbs_own(parts, ours=_OURS)
        ours = {name: value for name, value in parts.query.items() if name in _OURS}
        return cls(url=_written(parts, theirs), **read_options(replace(parts, query=ours), _OURS))

    @property
    def database_name(self) -> str:
        """The database of the collection."""
        return self.database or parse_server_url(self.url).path.removeprefix("/") or DATABASE

    @property
    def tls_problem(self) -> str | None:
        """Return why others on the network could read or change what is sent; `None` if nobody can."""
        on = _uses_tls(parse_server_url(self.url))
        if not on:
            return f"{self.place} is reached without TLS: add tls=true to its URL"
        said = {name.lower(): value for name, value in parse_server_url(self.url).query.items()}
        loose = [name for name in _LOOSE if said.get(name.lower()) == "true"]
        if loose and not (loose == ["tlsAllowInvalidHostnames"] and "tlscafile" in said):
            return f"{self.place} may show the certificate of anybody: leave out {' and '.join(loose)}"
        return None

    @property
    def place(self) -> str:
        """Where the server is, for messages, without the password."""
        return f"MongoDB at {hide_password(self.url.partition('?')[0])}, {self.database_name}.{self.collection}"


def _uses_tls(parts: Url) -> bool:
    said = {name.lower(): value for name, value in parts.query.items()}
    return said.get("tls", said.get("ssl", "true" if parts.scheme == "mongodb+srv" else "false")) == "true"


_LOOSE = ("tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames")
_OURS = option_types(Options, elsewhere=("url",))


def _mongodbs_own(parts: Url, *, ours: Collection[str]) -> dict[str, str]:
    """Return the options that are passed to the client. Raises `ConfigurationError` for unknown ones."""
    names = {name.lower(): name for name in (*_PASSED_ON, *_ANSWERED)}
    theirs: dict[str, str] = {}
    for option, value in parts.query.items():
        name = names.get(option.lower())
        if option in ours:
            continue
        if option in _OURS:
            raise ConfigurationError(f"give {option} as a keyword argument next to the URL, or use from_url(...)")
        if name is None:
            near = get_close_matches(option, [*ours, *sorted(names.values())], 1)
            hint = f"did you mean {near[0]!r}?" if near else f"besides MongoDB's options there are {', '.join(_OURS)}"
            raise ConfigurationError(f"{parts.scheme}:// has no option {option!r}: {hint}")
        if name in _PASSED_ON:
            theirs[name] = value
        elif value.lower() not in _ANSWERED[name][0]:
            raise ConfigurationError(f"{parts.scheme}:// takes no {option}={value}: {_ANSWERED[name][1]}")
    return theirs


def _written(parts: Url, options: Mapping[str, str]) -> str:
    """Return a connection string with MongoDB's own options only."""
    secret = "" if parts.password is None else f":{quote(parts.password, safe='')}"
    credentials = "" if parts.username is None else f"{quote(parts.username, safe='')}{secret}@"
    hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in parts.hosts or (("localhost", None),)]
    at = ",".join(host if port is None else f"{host}:{port}" for host, port in hosts)
    query = f"?{urlencode(options)}" if options else ""
    return SecretUrl(f"{parts.scheme}://{credentials}{at}/{quote(parts.path.removeprefix('/'))}{query}")
