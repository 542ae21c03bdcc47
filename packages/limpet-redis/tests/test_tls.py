"""TLS: what is trusted, what is not, and what is said then."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from limpet import ConfigurationError, UnavailableError, create_storage
from limpet_conformance.servers import Server, running
from limpet_conformance.servers._certificates import Certificates
from limpet_conformance.servers._redis import redis
from limpet_drivers.redis import RedisDriver


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def started(files: Certificates, cert: str, key: str, clients: str) -> Server:
    shown = (
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        files.ca,
        "--tls-auth-clients",
        clients,
    )
    cli = ("--tls", "--insecure", "--cert", files.client_cert, "--key", files.client_key)
    server = redis(*shown, tls=cli)
    if server is None:
        pytest.skip("there is no program of Redis here to start with TLS")
    return server


@pytest.fixture(scope="module")
def server(files: Certificates) -> Iterator[Server]:
    own = started(files, files.cert, files.key, "no")
    yield own
    own.end()


def driver_on(url: str, **options: Any) -> RedisDriver:
    return RedisDriver(url, base=uuid4().hex, connect_timeout=5, **options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_whose_authority_is_named_is_trusted(server: Server, files: Certificates, host: str) -> None:
    url = server.url.replace("127.0.0.1", host)
    async with create_storage(f"{url}?base={uuid4().hex}&ssl_ca={files.ca}") as storage:
        await storage.set_item("a", 1)
        assert await storage.get_item("a") == 1


async def test_a_server_that_nobody_vouches_for_is_refused(server: Server, files: Certificates) -> None:
    for options in ({}, {"ssl_ca": files.other_ca}, {"ssl_ca": files.other_ca, "ssl_check_hostname": False}):
        with pytest.raises(ConfigurationError, match=r"not trusted.*ssl_ca"):
            await driver_on(server.url, **options).open()


async def test_a_certificate_for_another_name_is_refused_unless_allowed(files: Certificates) -> None:
    server = started(files, files.other_name, files.other_key, "no")
    try:
        with pytest.raises(ConfigurationError, match=r"not trusted.*host name"):
            await driver_on(server.url, ssl_ca=files.ca).open()
        async with driver_on(server.url, ssl_ca=files.ca, ssl_check_hostname=False) as driver:
            assert (await driver.health()).version
    finally:
        server.end()


async def test_a_server_that_asks_who_we_are_is_shown_a_certificate(files: Certificates) -> None:
    server = started(files, files.cert, files.key, "yes")
    try:
        shown = {"ssl_cert": files.client_cert, "ssl_key": files.client_key}
        async with driver_on(server.url, ssl_ca=files.ca, **shown) as driver:
            assert (await driver.health()).version
        with pytest.raises((ConfigurationError, UnavailableError)):  # it may hang up before its alert is read
            await driver_on(server.url, ssl_ca=files.ca).open()
    finally:
        server.end()


async def test_what_does_not_speak_tls_is_named(server: Server, files: Certificates) -> None:
    plain = running("redis").url.replace("redis://", "rediss://")
    driver = RedisDriver(plain, connect_timeout=1, ssl_ca=files.ca)
    with pytest.raises(UnavailableError, match="supports TLS"):  # it waits for the end of what it takes for a command
        await driver.open()
    other_way = RedisDriver(server.url.replace("rediss://", "redis://"), connect_timeout=1)
    with pytest.raises(UnavailableError):
        await other_way.open()


async def test_files_that_cannot_be_used_are_named(server: Server, files: Certificates, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for options in (
        {"ssl_ca": str(tmp_path / "none.pem")},
        {"ssl_ca": str(empty)},
        {"ssl_ca": files.ca, "ssl_cert": str(empty), "ssl_key": files.client_key},
    ):
        with pytest.raises(ConfigurationError, match=str(tmp_path)):
            await driver_on(server.url, **options).open()
    with pytest.raises(ConfigurationError, match="ssl_key needs ssl_cert"):
        await driver_on(server.url, ssl_key=files.client_key).open()
