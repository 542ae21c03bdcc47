"""TLS: what is trusted, what is not, and what is said then; and several hosts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from limpet import ConfigurationError, create_storage
from limpet_conformance.servers import Server, free_port, running
from limpet_conformance.servers._certificates import Certificates
from limpet_conformance.servers._postgresql import postgresql
from limpet_drivers.postgresql import PostgresqlDriver

HBA = """
hostssl template1 postgres 127.0.0.1/32 cert
hostssl all       postgres 127.0.0.1/32 trust
"""
"""In `template1` one has to show a certificate of the user's name."""


@pytest.fixture(scope="module")
def files() -> Iterator[Certificates]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to the server's user
        Path(folder).chmod(0o755)
        yield Certificates(Path(folder), owner="postgres")


def started(files: Certificates, cert: str, key: str) -> Server:
    server = postgresql(
        "ssl=on", f"ssl_cert_file={cert}", f"ssl_key_file={key}", f"ssl_ca_file={files.ca}", hba=HBA,
    )  # fmt: skip
    if server is None:
        pytest.skip("there is no program of PostgreSQL here to start with TLS")
    return server


@pytest.fixture(scope="module")
def server(files: Certificates) -> Iterator[Server]:
    own = started(files, files.cert, files.key)
    yield own
    own.end()


def driver_on(server: Server, database: str = "postgres", **options: Any) -> PostgresqlDriver:
    options = {"connect_timeout": 5, "schema": f"s{uuid4().hex}", **options}
    url = server.url.removesuffix("/postgres") + f"/{database}?"
    return PostgresqlDriver.from_url(url + "&".join(f"{name}={value}" for name, value in options.items()))


@pytest.mark.parametrize("ssl", [{}, {"ssl": "verify-full"}, {"ssl": "verify-ca"}], ids=["left-out", "full", "ca"])
async def test_a_server_whose_authority_is_named_is_trusted(
    server: Server, files: Certificates, ssl: dict[str, str]
) -> None:
    driver = driver_on(server, ssl_ca=files.ca, **ssl)
    async with create_storage(driver) as storage:
        await storage.set_item("a", 1)
        assert await storage.get_item("a") == 1
        async with driver._opened.connection() as connection:
            assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def test_a_server_that_nobody_vouches_for_is_refused(server: Server, files: Certificates) -> None:
    for ca in (files.other_ca, "system"):
        for ssl in ("verify-full", "verify-ca"):
            with pytest.raises(ConfigurationError, match=r"not trusted.*ssl_ca"):
                await driver_on(server, ssl=ssl, ssl_ca=ca).open()


async def test_without_an_authority_it_is_as_with_psql(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(ConfigurationError, match=r"root\.crt"):
        await driver_on(server, ssl="verify-full").open()
    async with driver_on(server, ssl="require") as driver:  # encrypted, with whoever it is
        assert (await driver.health()).version


async def test_a_certificate_for_another_name_is_refused_unless_allowed(files: Certificates) -> None:
    server = started(files, files.other_name, files.other_key)
    try:
        with pytest.raises(ConfigurationError, match=r"not trusted.*host name"):
            await driver_on(server, ssl_ca=files.ca).open()
        async with driver_on(server, ssl="verify-ca", ssl_ca=files.ca) as driver:
            assert (await driver.health()).version
    finally:
        server.end()


async def test_a_server_that_asks_who_we_are_is_shown_a_certificate(server: Server, files: Certificates) -> None:
    shown = {"ssl_cert": files.client_cert, "ssl_key": files.client_key}
    async with driver_on(server, "template1", ssl_ca=files.ca, **shown) as driver:
        assert (await driver.health()).version
    with pytest.raises(ConfigurationError, match="certificate"):
        await driver_on(server, "template1", ssl_ca=files.ca).open()


async def test_what_does_not_speak_tls_is_named(files: Certificates) -> None:
    with pytest.raises(ConfigurationError, match="does not support TLS"):
        await driver_on(running("postgresql"), ssl_ca=files.ca).open()


async def test_who_speaks_no_tls_is_refused_where_the_server_asks_for_it(server: Server) -> None:
    with pytest.raises(ConfigurationError, match="pg_hba"):
        await driver_on(server, ssl="disable").open()


async def test_files_that_cannot_be_used_are_named(server: Server, files: Certificates, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        await driver_on(server, ssl_ca=str(tmp_path / "none.pem")).open()
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        await driver_on(server, ssl_ca=files.ca, ssl_cert=str(tmp_path / "none.pem")).open()


async def test_of_several_hosts_the_one_that_can_be_written_is_used(files: Certificates) -> None:
    reading = postgresql("default_transaction_read_only=on")
    writing = running("postgresql")
    if reading is None:
        pytest.skip("there is no program of PostgreSQL here to start")
    try:
        there = writing.url.partition("@")[2]
        url = f"postgresql://postgres@127.0.0.1:{free_port()},127.0.0.1:{reading.port},{there}?schema=s{uuid4().hex}"
        async with create_storage(url) as storage:
            await storage.set_item("a", 1)
            assert await storage.get_item("a") == 1
    finally:
        reading.end()
