"""Convert URLs to keyword arguments, and remove passwords from URLs for messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, get_type_hints
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import TypeAdapter, ValidationError

from ..._errors import ConfigurationError, explain
from ..._secrets import SecretText, SecretUrl, hide_password, raise_alone

__all__ = [
    "Url",
    "check_counts",
    "check_seconds",
    "hide_password",
    "keywords",
    "option_types",
    "parse_server_url",
    "parse_url",
    "read_options",
]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A driver's URL in parts, percent-decoded."""

    scheme: str
    rest: str
    """Everything between `://` and `?`: for drivers whose URL is a path."""
    username: str | None
    password: str | None
    host: str | None
    port: int | None
    path: str
    """With its leading slash; empty if there is none."""
    query: Mapping[str, str]
    hosts: tuple[tuple[str, int | None], ...] = ()
    """Every host of `a:1,b:2` with its port, for backends with several servers. `host` and `port` are the first."""

    def __repr__(self) -> str:  # a part may contain some of a password that was not percent-encoded
        return f"<Url {self.scheme}://...>"


_SEPARATES = "percent-encode what separates parts in the user and the password (/ is %2F, ? is %3F, # is %23, @ is %40)"
_STRIPPED = re.compile(r"[\x00-\x1f\x7f]")


def parse_url(url: str) -> Url:
    """Parse a driver's URL. Raises `ConfigurationError` if it is invalid; the message never contains a password."""
    url = SecretUrl(url)
    if not _SCHEME.match(url):
        shown = f"{url.split(':', 1)[0][:20]}:..." if ":" in url else hide_password(url)
        raise ConfigurationError(f"{shown!r} is not a URL: write one like 'sqlite:///data/agent.db' or 'fs://./data'")
    if _STRIPPED.search(url):
        raise ConfigurationError(f"{hide_password(url)!r} is not a valid URL: it holds a control character")
    parts = _parts(url)
    if isinstance(parts, str):
        raise ConfigurationError(f"{hide_password(url)!r} is not a valid URL: {parts}")
    return parts


def parse_server_url(url: str) -> Url:
    """Like `parse_url`, for a URL with a host: also refuses an `@` that does not end user and password."""
    parts = parse_url(url)
    if "@" in url.split("://", 1)[1].partition("/")[2] or "@" in url.partition("?")[2] or "#" in url:
        raise ConfigurationError(f"{hide_password(url)!r} has '@' or '#' in an unusual place: {_SEPARATES}")
    return parts


def _parts(url: SecretUrl) -> Url | str:
    """Return the parts of a URL, or what is wrong with it.

    Raises nothing, since some of urllib's errors quote a password.
    """
    try:
        parts = urlsplit(str(url))
        hosts = tuple(_host(each) for each in parts.netloc.rpartition("@")[2].split(",") if each)
    except ValueError:
        return f"its host or port cannot be read; {_SEPARATES}"
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return f"its options cannot be read, write ?name=value&name=value; {_SEPARATES}"
    query = {name: SecretText(value) for name, value in pairs}
    if len(query) != len(pairs):
        return "an option occurs twice, keep one of them"
    rest = unquote(url.split("://", 1)[1].split("?", 1)[0])
    username, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    host, port = hosts[0] if hosts else (None, None)
    return Url(
        parts.scheme.lower(),
        SecretText(rest),
        username if password is not None or username is None else SecretText(username),
        None if password is None else SecretText(password),
        host or None,
        port,
        unquote(parts.path),
        query,
        hosts,
    )


def _host(written: str) -> tuple[str, int | None]:
    parts = urlsplit(f"//{written}")
    return parts.hostname or "", parts.port


def check_seconds(**options: object) -> None:
    """Raise `ConfigurationError`, which names the option, unless it is a number of seconds above 0."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (isfinite(value) and value > 0):
            raise ConfigurationError(f"{name} is {value!r}: use a number of seconds above 0")


def check_counts(**options: object) -> None:
    """Raise `ConfigurationError`, which names the option, unless it is a whole number above 0."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(f"{name} is {value!r}: use a whole number above 0")


def read_options(url: Url, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the URL's query as keyword arguments. `known` maps each option to its type, for pydantic.

    Raises `ConfigurationError` for an unknown option (and names the nearest one) or a value of the wrong type.
    """
    options: dict[str, Any] = {}
    for option, written in url.query.items():
        if option not in known:
            near = get_close_matches(option, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known)) or 'none'}"
            raise ConfigurationError(f"{url.scheme}:// has no option {option!r}: {hint}")
        try:
            read = TypeAdapter(known[option]).validate_strings(str(written))
            options[option] = SecretText(read) if isinstance(read, str) and "password" in option else read
        except ValidationError as error:
            raise_alone(ConfigurationError(f"the option {option!r} of {url.scheme}:// is invalid: {explain(error)}"))
    return options


def option_types(options: type[Any], *, elsewhere: Iterable[str] = ()) -> dict[str, Any]:
    """Return name and type of an options dataclass's fields, for `read_options`, except those elsewhere in the URL."""
    types = get_type_hints(options)
    return {field.name: types[field.name] for field in fields(options) if field.name not in set(elsewhere)}


def keywords(options: Any) -> dict[str, Any]:
    """Return the fields of an options dataclass as keyword arguments, for a constructor that takes the same ones."""
    return {field.name: getattr(options, field.name) for field in fields(options)}
