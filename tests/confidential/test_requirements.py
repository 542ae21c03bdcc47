"""What an operator may insist on: encryption, and TLS to the backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from limpet import (
    ConfigurationError,
    create_persistence,
    create_persistence_from_env,
    create_storage,
    open_persistence,
    open_storage,
    sync,
)
from limpet.driver import MemoryDriver
from limpet.events import create_queue
from limpet.opening import driver_from_url, open_as_written
from limpet.wrappers import compressed, encrypted

KEY = "07" * 32

OPENINGS: dict[str, Callable[..., Any]] = {
    "create_persistence": create_persistence,
    "create_storage": create_storage,
    "create_queue": create_queue,
}


@pytest.mark.parametrize("name", OPENINGS)
@pytest.mark.parametrize("by", ["option", "environment"])
async def test_a_stack_without_encryption_is_refused_before_anything_is_opened(
    name: str, by: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options = {"require_encryption": True} if by == "option" else {}
    if by == "environment":
        monkeypatch.setenv("LIMPET_REQUIRE_ENCRYPTION", "true")
    file = tmp_path / "a.db"
    with pytest.raises(ConfigurationError, match=r"(?i)without encryption, but (LIMPET_)?require_encryption is set"):
        await OPENINGS[name](f"sqlite:///{file}", wrappers=[compressed()], **options)
    assert not file.exists()
    opened = await OPENINGS[name](f"sqlite:///{file}", wrappers=[compressed(), encrypted(key=KEY)], **options)
    await opened.aclose()


async def test_the_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMPET_REQUIRE_ENCRYPTION", "1")
    monkeypatch.setenv("LIMPET_REQUIRE_TLS", "yes")
    async with create_persistence("memory://", require_encryption=False, require_tls=False):
        pass
    monkeypatch.setenv("LIMPET_REQUIRE_TLS", "ture")
    with pytest.raises(ConfigurationError, match="LIMPET_REQUIRE_TLS is 'ture': use true or false"):
        await create_persistence("memory://", require_encryption=False)


@pytest.mark.parametrize(
    "open",
    [
        open_persistence,
        open_storage,
        pytest.param(sync.create_persistence, id="sync.create_persistence"),
        pytest.param(sync.create_storage, id="sync.create_storage"),
        pytest.param(sync.open_persistence, id="sync.open_persistence"),
    ],
)
def test_without_await_it_is_the_same(open: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="require_encryption is set"):
        open("memory://", require_encryption=True)
    with pytest.raises(ConfigurationError, match="require_tls is set"):
        open("redis://h", require_tls=True)


async def test_profiles_have_it_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIMPET_URL", "memory://")
    with pytest.raises(ConfigurationError, match="require_encryption is set"):
        await create_persistence_from_env(require_encryption=True)
    monkeypatch.setenv("LIMPET_ENCRYPTION_KEY", KEY)
    async with create_persistence_from_env(require_encryption=True):
        pass
    monkeypatch.delenv("LIMPET_URL")
    monkeypatch.delenv("LIMPET_ENCRYPTION_KEY")
    monkeypatch.setenv("FAME_STORAGE_PROFILE", "sqlite")
    monkeypatch.setenv("FAME_STORAGE_DB_DIRECTORY", str(tmp_path / "folder"))
    with pytest.raises(ConfigurationError, match="require_encryption is set"):
        await create_persistence_from_env(require_encryption=True)
    assert not (tmp_path / "folder").exists()


PROTECTED = [
    "memory://",
    "sqlite:///a.db",
    "fs://./a",
    "postgresql://h/d?ssl=verify-full",
    "postgresql://h/d?ssl_ca=system",
    "postgresql://h/d?ssl=verify-ca&ssl_ca=a.pem",
    "postgresql://?host=/var/run",
    "mysql://h/d?ssl=verify-full",
    "mysql://h/d?ssl=verify-ca&ssl_ca=a.pem",
    "mysql:///d?unix_socket=/run/mysqld.sock",
    "rediss://h",
    "rediss+cluster://h",
    "rediss+sentinel://h/name",
    "rediss://h?ssl_check_hostname=false&ssl_ca=a.pem",
    "mongodb://h/d?tls=true",
    "mongodb://h/d?ssl=true",
    "mongodb+srv://h/d",
]
EXPOSED = [
    "postgresql://h/d",
    "postgresql://h/d?ssl=prefer",
    "postgresql://h/d?ssl=require",
    "postgresql://h/d?ssl=verify-ca&ssl_ca=system",
    "mysql://h/d",
    "mysql://h/d?ssl=require",
    "mysql://h/d?ssl=verify-ca",
    "redis://h",
    "redis+cluster://h",
    "redis+sentinel://h/name",
    "rediss://h?ssl_check_hostname=false",
    "mongodb://h/d",
    "mongodb+srv://h/d?tls=false",
    "mongodb://h/d?tls=true&tlsInsecure=true",
    "mongodb://h/d?tls=true&tlsAllowInvalidCertificates=true",
    "mongodb://h/d?tls=true&tlsAllowInvalidHostnames=true",
]


@pytest.mark.parametrize("url", PROTECTED)
def test_what_nobody_on_the_way_can_read_is_taken(url: str) -> None:
    assert driver_from_url(url).tls_problem is None


@pytest.mark.parametrize("url", EXPOSED)
async def test_what_somebody_on_the_way_can_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Refused because require_tls is set"):
        await create_persistence(url, require_tls=True)


async def test_nothing_is_sent_first_not_by_the_command_line_either(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append("a connection")
        writer.close()

    monkeypatch.setenv("LIMPET_REQUIRE_TLS", "1")
    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        url = f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConfigurationError, match="LIMPET_REQUIRE_TLS is set"):
            await create_persistence(url)
        with pytest.raises(ConfigurationError, match="LIMPET_REQUIRE_TLS is set"):
            await open_as_written(url)
        with pytest.raises(ConfigurationError, match="LIMPET_REQUIRE_TLS is set"):
            await open_as_written(url, reading=True)
    assert not heard


async def test_a_driver_that_does_not_say_is_refused() -> None:
    class Unsaid(MemoryDriver):
        tls_problem = property(lambda self: super(MemoryDriver, self).tls_problem)

    with pytest.raises(ConfigurationError, match="Unsaid does not say whether its connections"):
        await create_persistence(Unsaid(), require_tls=True)


async def test_a_client_of_the_application_is_refused() -> None:
    redis = pytest.importorskip("redis.asyncio")
    from limpet_drivers.redis import RedisDriver

    client = redis.Redis()
    with pytest.raises(ConfigurationError, match="does not show whether it uses TLS"):
        await create_persistence(RedisDriver(client=client), require_tls=True)
    await client.aclose()


def test_mongodbs_cleartext_mechanism_needs_tls() -> None:
    with pytest.raises(ConfigurationError, match="PLAIN sends the password in cleartext"):
        driver_from_url("mongodb://u:p@h/d?authMechanism=PLAIN")
    driver_from_url("mongodb://u:p@h/d?authMechanism=PLAIN&tls=true")
