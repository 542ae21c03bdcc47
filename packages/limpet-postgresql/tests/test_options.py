"""Keywords and their spelling in a URL."""

import socket

import pytest
from limpet import ConfigurationError, UnavailableError
from limpet.opening import driver_from_url
from limpet_drivers.postgresql import PostgresqlDriver
from limpet_drivers.postgresql._options import Options


def test_a_url_says_all_that_keywords_say() -> None:
    options = Options.from_url(
        "postgresql://ada:p%40ss@db.example.org:6432/agents?schema=s&table=t&pool_size=3&timeout=2.5&connect_timeout=4"
        "&ssl=require&watch=true"
    )
    assert options == Options(
        host="db.example.org", port=6432, user="ada", password="p@ss", database="agents", ssl="require", schema="s",
        table="t", pool_size=3, connect_timeout=4, timeout=2.5, watch=True,
    )  # fmt: skip
    assert Options.from_url("postgresql://?host=/run/postgresql").host == "/run/postgresql"
    options = Options.from_url(
        "postgresql://one,[::2]:5433/agents?ssl=verify-ca&ssl_ca=ca.pem&ssl_cert=c.pem&ssl_key=k.pem"
    )
    assert options == Options(
        host="one:5432,[::2]:5433", database="agents", ssl="verify-ca", ssl_ca="ca.pem", ssl_cert="c.pem",
        ssl_key="k.pem",
    )  # fmt: skip
    assert isinstance(driver_from_url("postgres://localhost/agents"), PostgresqlDriver)


def test_what_is_left_out_is_as_psql_would_have_it() -> None:
    assert Options.from_url("postgresql://").connecting() == {}


def test_no_password_is_shown() -> None:
    assert "secret" not in Options.from_url("postgresql://ada:secret@host/agents").place


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"table": "no-such"}, "table"),
        ({"schema": 'a"b'}, "schema"),
        ({"schema": "s" * 41}, "schema"),
        ({"pool_size": 0}, "pool_size"),
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("inf")}, "connect_timeout"),
        ({"ssl": "perhaps"}, "ssl"),
        ({"watch": True, "pgbouncer": True}, "watch"),
        ({"ssl": "require", "ssl_ca": "ca.pem"}, "verify-full"),
        ({"ssl_cert": "c.pem"}, "ssl_ca"),
        ({"host": "one,two", "port": 5432}, "several hosts"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        PostgresqlDriver(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ["pool=3", "connectionString=x", "password=x"])
def test_unknown_options_are_errors(query: str) -> None:
    with pytest.raises(ConfigurationError, match="no option"):
        PostgresqlDriver.from_url(f"postgresql://host/agents?{query}")


def test_a_pool_knows_its_server() -> None:
    with pytest.raises(ConfigurationError, match="pool"):
        PostgresqlDriver(pool=object(), host="localhost")  # type: ignore[arg-type]


async def test_who_listens_there_and_says_nothing_is_no_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql://ada:secret@127.0.0.1:{server.getsockname()[1]}/agents?connect_timeout=0.3"
        with pytest.raises(
            UnavailableError, match="check the address and the server's load, or raise 'connect_timeout'"
        ):
            await driver_from_url(url).open()
