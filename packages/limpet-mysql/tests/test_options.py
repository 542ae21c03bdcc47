"""Keywords and their spelling in a URL."""

import socket

import pytest
from limpet import ConfigurationError, UnavailableError
from limpet.opening import driver_from_url
from limpet_drivers.mysql import MysqlDriver
from limpet_drivers.mysql._options import Options


def test_a_url_says_all_that_keywords_say() -> None:
    options = Options.from_url(
        "mysql://ada:p%40ss@db.example.org:3307/agents?table=t&pool_size=3&timeout=2.5&connect_timeout=4&ssl=verify-full"
        "&ssl_ca=ca.pem&ssl_cert=me.pem&ssl_key=me.key&multi_statements=false&client=asyncmy"
    )
    assert options == Options(
        host="db.example.org", port=3307, user="ada", password="p@ss", database="agents", table="t", pool_size=3,
        timeout=2.5, connect_timeout=4, ssl="verify-full", ssl_ca="ca.pem", ssl_cert="me.pem", ssl_key="me.key",
        multi_statements=False, client="asyncmy",
    )  # fmt: skip
    assert Options.from_url("mysql:///agents?unix_socket=/run/mysqld/mysqld.sock").unix_socket
    assert isinstance(driver_from_url("mariadb://localhost/agents"), MysqlDriver)


def test_what_is_left_out() -> None:
    assert Options.from_url("mysql://") == Options()
    assert (Options().host, Options().port, Options().database) == ("localhost", 3306, None)


def test_no_password_is_shown() -> None:
    assert "secret" not in Options.from_url("mysql://ada:secret@host/agents").place


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"table": "no-such"}, "table"),
        ({"table": "a`b"}, "table"),
        ({"table": "t" * 41}, "table"),
        ({"database": "a.b"}, "database"),
        ({"database": "a/b"}, "database"),
        ({"pool_size": 0}, "pool_size"),
        ({"port": 0}, "port"),
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("inf")}, "connect_timeout"),
        ({"ssl": "perhaps"}, "ssl"),
        ({"ssl_ca": "ca.pem"}, "ssl=verify-full"),
        ({"client": "mysqlclient"}, "client"),
        ({"database": None}, "no database given"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        MysqlDriver(**{"database": "agents", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ["pool=3", "uri=x", "password=x", "charset=utf8mb4"])
def test_unknown_options_are_errors(query: str) -> None:
    with pytest.raises(ConfigurationError, match="no option"):
        MysqlDriver.from_url(f"mysql://host/agents?{query}")


def test_one_server() -> None:
    with pytest.raises(ConfigurationError, match="one server"):
        MysqlDriver.from_url("mysql://one,two/agents")


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="aiomysql or asyncmy"):
        MysqlDriver(pool=object())


async def test_who_listens_there_and_says_nothing_is_no_load() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mysql://ada:secret@127.0.0.1:{server.getsockname()[1]}/agents?connect_timeout=0.3"
        with pytest.raises(
            UnavailableError, match="check the address and the server's load, or raise 'connect_timeout'"
        ):
            await driver_from_url(url).open()
