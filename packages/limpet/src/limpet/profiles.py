"""Configuration from the environment: `LIMPET_*`, or the `FAME_STORAGE_*` of Naylence."""

from __future__ import annotations

import asyncio
import os
import re
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import NoReturn, Unpack
from urllib.parse import quote

from ._errors import ClosedError, ConfigurationError, FormatError, InvalidKeyError, UnsupportedError
from ._secrets import SecretText, SecretUrl, hide_password
from .driver import Driver, Health, text
from .driver.kit import host_now_ms
from .opening import OnDemand, OpeningOptions, driver_class, open_driver
from .stores import Persistence
from .structures import collect_garbage
from .wrappers import encrypted
from .wrappers.encryption import KeySource, find_key, key_in_environment

__all__ = ["FolderPersistence", "Profile", "open_profile", "profile_from_env", "profile_on_demand"]

_FAME = "FAME_STORAGE_"
_VARIABLES = ("PROFILE", "DB_DIRECTORY", "MASTER_KEY", "ENCRYPTED")
_PROFILES = ("memory", "sqlite", "encrypted-sqlite")
_FOLDER = "./data/sqlite"
_SWITCH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

_PLAIN = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,99}")
_LITERAL = re.compile(r"[a-z0-9_-]")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")
_LONG = 100
_HEAD = 64 * 1024
"""How many bytes at the start of a database show its tables."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the environment requests."""

    url: str | None = None
    """The URL of the database; `None`: the default one, unless there is a folder."""
    folder: Path | None = None
    """A folder with one SQLite database per namespace."""
    key: KeySource | None = field(default=None, repr=False)
    """The source of the encryption key; `None`: values are stored in plaintext."""


def profile_from_env() -> Profile:
    """Read the environment. No IO. An empty variable counts as not set.

    `LIMPET_URL` names the place, and `LIMPET_ENCRYPTION_KEY` or `LIMPET_ENCRYPTION_KEY_FILE` encrypts it. Where
    `LIMPET_URL` is not set but one of Naylence's variables is, they mean what they mean there:

        FAME_STORAGE_PROFILE        memory (the default), sqlite, encrypted-sqlite, or any URL
        FAME_STORAGE_DB_DIRECTORY   the folder of the SQLite profiles, ./data/sqlite by default
        FAME_STORAGE_MASTER_KEY     the key of encrypted-sqlite, or env://VARIABLE, or secret://name
        FAME_STORAGE_ENCRYPTED      true encrypts the profile sqlite, or a URL, as well

    Raises `ConfigurationError` for an unknown profile, for a variable whose name is nearly one of these, and for a key
    that is missing or would not be used.
    """
    url = SecretUrl(os.environ.get("LIMPET_URL") or "")
    fame: dict[str, str] = {
        name: (SecretText if name == "MASTER_KEY" else SecretUrl)(os.environ[_FAME + name])
        for name in _VARIABLES
        if os.environ.get(_FAME + name)
    }
    if fame.get("PROFILE") == "limpet":  # Naylence's storage is Limpet's: where it lies is said as for everything else
        del fame["PROFILE"]
    if url and fame:
        warnings.warn(
            f"LIMPET_URL is set, so {', '.join(sorted(_FAME + name for name in fame))} has no effect: unset one of them",
            stacklevel=3,
        )
    if not url:
        _refuse_typos()
    if url or not fame:
        return Profile(url=url or None, key=key_in_environment())
    profile = fame.get("PROFILE", "memory")
    if profile == "memory":
        return Profile(url="memory://")
    if profile not in _PROFILES and "://" not in profile:
        near = get_close_matches(profile, _PROFILES, 1)
        profile = hide_password(profile)
        advice = f"did you mean {near[0]!r}?" if near else f"use {', '.join(_PROFILES)}, or a URL"
        raise ConfigurationError(f"FAME_STORAGE_PROFILE is {profile!r}, which is not a profile: {advice}")
    key = _fame_key(profile, fame)
    if "://" in profile:
        return Profile(url=profile, key=key)
    return Profile(folder=Path(fame.get("DB_DIRECTORY", _FOLDER)).expanduser(), key=key)


async def open_profile(profile: Profile, **options: Unpack[OpeningOptions]) -> Persistence:
    """Open what a profile describes, with `wrappers` around its encryption. Raises what `create_persistence` raises."""
    if profile.key is not None:
        options["wrappers"] = [*options.get("wrappers", ()), encrypted(key=await find_key(profile.key))]
    if profile.folder is None:
        return Persistence(await open_driver(profile.url, **options))
    return await FolderPersistence.open(profile.folder, **options)


def profile_on_demand(
    profile: Profile, **options: Unpack[OpeningOptions]
) -> tuple[Persistence, Callable[[], Awaitable[object]]]:
    """Return what a profile describes, not opened yet, and how to open it."""
    if profile.key is not None:
        options["wrappers"] = [*options.get("wrappers", ()), encrypted(key=profile.key)]
    if profile.folder is None:
        driver = OnDemand(profile.url, **options)
        return Persistence(driver), driver.open
    folder = FolderPersistence(profile.folder, options)
    return folder, folder.prepare


class FolderPersistence(Persistence):
    """Key-value stores and agent states in a folder, a SQLite database for each namespace: `<folder>/<namespace>.db`.

    A database is opened when its namespace is first used, and what opening raises is raised then. A name that is not
    made of `a-z 0-9 _ . -`, or is long, is percent-encoded or cut and given a digest. A database of Naylence raises
    `FormatError` and is left as it is. Whatever is neither a key-value store nor a state raises `UnsupportedError`.
    """

    def __init__(self, folder: Path, options: OpeningOptions) -> None:
        self.folder: Path = folder.absolute()
        self._options = options
        self._drivers: dict[str, _Database] = {}
        self._closed = False

    @classmethod
    async def open(cls, folder: Path, **options: Unpack[OpeningOptions]) -> FolderPersistence:
        """Create the folder if it is missing. Raises `ConfigurationError`, or `DriverNotFoundError` without SQLite."""
        made = cls(folder, options)
        await made.prepare()
        return made

    async def prepare(self) -> None:
        """Do what `open` does, for an existing object."""
        driver_class("sqlite", self._options.get("plugins"))
        _Database(self.folder, "any", self._options)  # raises what each database would raise
        try:
            await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder {self.folder} cannot be created ({error.strerror}): choose another"
            ) from error

    @property
    def driver(self) -> Driver:
        raise _unsupported("driver")

    def __getattr__(self, name: str) -> NoReturn:
        if name in Persistence.__annotations__:
            raise _unsupported(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _driver_of(self, namespace: str) -> Driver:
        if self._closed:
            raise ClosedError("used after aclose(): open a new one")
        stem = file_stem(namespace)
        if stem not in self._drivers:
            self._drivers[stem] = _Database(self.folder, stem, self._options)
        return self._drivers[stem]

    def _driver_of_tree(self) -> Driver:
        raise _unsupported("namespaces of several labels")

    async def health(self) -> Health:
        """Return the health of all namespaces in use as one: all problems, and this machine's clock."""
        found = await asyncio.gather(*(driver.health() for driver in self._drivers.values()))
        return Health(
            "SQLite",
            found[0].version if found else "",
            host_now_ms(),
            tuple(dict.fromkeys(problem for each in found for problem in each.problems)),
            {"folder": str(self.folder), "databases in use": str(len(found))},
        )

    async def purge(self) -> int:
        """Delete what has expired in the namespaces in use; return how many items."""
        return sum([await driver.purge() for driver in list(self._drivers.values())])

    async def collect_garbage(self) -> int:
        """Free what nothing references any more in the namespaces in use; return how many items."""
        return sum([await collect_garbage(await driver.opened()) for driver in list(self._drivers.values())])

    async def aclose(self) -> None:
        for driver in self._drivers.values():
            driver.ensure_owner()
        self._closed = True
        await asyncio.gather(*(driver.close() for driver in self._drivers.values()))


class _Database(OnDemand):
    def __init__(self, folder: Path, stem: str, options: OpeningOptions) -> None:
        path = folder / f"{stem}.db"
        url = f"sqlite:///{quote(path.as_posix(), safe='/:')}"
        super().__init__(url, **options)
        self._path = path

    async def _open(self) -> Driver:
        older = await asyncio.to_thread(_older_naylence, self._path)
        if older is not None:
            raise FormatError(
                f"{older} is a database of Naylence for this namespace: set FAME_STORAGE_DB_DIRECTORY to another folder, "
                "or move the file away. The file was left unchanged"
            )
        return await super()._open()


def file_stem(namespace: str) -> str:
    """Return the name of a namespace's file without `.db`: valid on any file system, and unique for each namespace."""
    if not isinstance(namespace, str):
        raise InvalidKeyError(f"a namespace must be a string, not {type(namespace).__name__}: write it as text")
    text(namespace)  # refuses what UTF-8 cannot encode
    if _PLAIN.fullmatch(namespace) and not _DEVICE.fullmatch(namespace):
        return namespace
    written = "".join(
        character if _LITERAL.fullmatch(character) else "".join(f"%{byte:02x}" for byte in character.encode())
        for character in namespace
    )
    if len(written) > _LONG or _DEVICE.fullmatch(written) or not written:
        return f"{written[:40]}~{sha256(namespace.encode()).hexdigest()[:32]}"
    return written


def _older_naylence(path: Path) -> Path | None:
    """Return whether this is a file `<namespace>_<model>.db`, as Naylence once named them, with that model's table."""
    for found in sorted(path.parent.glob(f"{path.stem}_*.db")):
        table = f"CREATE TABLE kv_{found.stem.removeprefix(path.stem + '_')} ".encode()
        for part in (found, found.with_name(f"{found.name}-wal")):
            if part.is_file():
                with part.open("rb") as content:
                    if table in content.read(_HEAD):
                        return found
    return None


def _refuse_typos() -> None:
    """An unnoticed typing error would select the in-memory profile, and stored data would be lost."""
    given = {name.removeprefix(_FAME) for name, value in os.environ.items() if name.startswith(_FAME) and value}
    for name in sorted(given.difference(_VARIABLES)):
        if near := get_close_matches(name, _VARIABLES, 1):
            raise ConfigurationError(f"{_FAME}{name} is set but has no meaning: did you mean {_FAME}{near[0]}?")


def _fame_key(profile: str, fame: Mapping[str, str]) -> KeySource | None:
    switch = str(fame.get("ENCRYPTED", ""))
    encrypted = _SWITCH.get(switch.lower()) if switch else None
    if switch and encrypted is None:
        raise ConfigurationError(f"FAME_STORAGE_ENCRYPTED is {switch!r}: use true or false")
    key = _source(fame.get("MASTER_KEY")) or key_in_environment()
    if profile == "encrypted-sqlite" or encrypted:
        if key is None:
            raise ConfigurationError(
                "FAME_STORAGE_MASTER_KEY is not set, but this profile encrypts: set it to 64 hex characters "
                "('limpet keygen' generates one), to secret://name, or set LIMPET_ENCRYPTION_KEY_FILE"
            )
        return key
    if key is not None and encrypted is None:
        raise ConfigurationError(
            f"there is an encryption key, but the profile {profile!r} would store plaintext: use encrypted-sqlite, "
            "or set FAME_STORAGE_ENCRYPTED to true or false"
        )
    if key is not None:
        warnings.warn(
            "there is an encryption key, but FAME_STORAGE_ENCRYPTED is off: values are stored as plaintext",
            stacklevel=4,
        )
    return None


def _source(key: str | None) -> KeySource | None:
    if not key or key.startswith(("env://", "secret://")):
        return key or None
    return "env://FAME_STORAGE_MASTER_KEY"


def _unsupported(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: this profile only has key-value stores and agent states, each namespace in its own database; "
        "set LIMPET_URL to one database for everything"
    )
