"""Keywords and their spelling in a URL."""

import pytest
from limpet import ConfigurationError
from limpet.opening import driver_from_url
from limpet_drivers.redis import RedisDriver
from limpet_drivers.redis._options import Options


def test_a_url_says_all_that_keywords_say() -> None:
    url = "rediss://ada:p%40ss@cache.example.org:6380/2?base=agents&pool_size=3&timeout=2.5&connect_timeout=4&eviction=allow"
    assert Options.from_url(url) == Options(
        url="rediss://ada:p%40ss@cache.example.org:6380/2", base="agents", pool_size=3, timeout=2.5, connect_timeout=4,
        eviction="allow",
    )  # fmt: skip
    url = "rediss+cluster://ada:p%2C@one:7000,[::2]/?base=agents&ssl_ca=ca.pem&ssl_cert=c.pem&ssl_key=k.pem&ssl_check_hostname=false"
    assert Options.from_url(url) == Options(
        url="rediss+cluster://ada:p%2C@one:7000,[::2]:6379/0", base="agents", ssl_ca="ca.pem", ssl_cert="c.pem",
        ssl_key="k.pem", ssl_check_hostname=False,
    )  # fmt: skip
    url = "redis+sentinel://:secret@one,two:5000/my%20master/3?sentinel_username=ada&sentinel_password=hidden"
    assert Options.from_url(url) == Options(
        url="redis+sentinel://:secret@one:26379,two:5000/my%20master/3", sentinel_username="ada",
        sentinel_password="hidden",
    )  # fmt: skip
    for scheme in ("rediss", "redis+cluster", "rediss+cluster"):
        assert isinstance(driver_from_url(f"{scheme}://localhost"), RedisDriver)
    for scheme in ("redis+sentinel", "rediss+sentinel"):
        assert isinstance(driver_from_url(f"{scheme}://localhost/mymaster"), RedisDriver)


def test_what_is_left_out() -> None:
    assert Options.from_url("redis://") == Options()
    assert Options.from_url("redis://[::1]:7000").url == "redis://[::1]:7000/0"


def test_no_password_is_shown() -> None:
    assert "secret" not in Options.from_url("redis://ada:secret@host/0").place
    assert "secret" not in Options.from_url("redis+cluster://ada:secret@one:1,two:2").place


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base": "a{b}"}, "base"),
        ({"base": ""}, "base"),
        ({"pool_size": 0}, "pool_size"),
        ({"timeout": 0}, "timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"eviction": "perhaps"}, "eviction"),
        ({"ssl_ca": "ca.pem"}, "rediss://"),
        ({"sentinel_password": "x"}, "sentinel"),
        ({"url": "redis://one,two/0"}, "redis\\+cluster://"),
        ({"url": "redis+cluster://one/1"}, "only database 0"),
        ({"url": "redis+sentinel://one"}, "mymaster"),
        ({"url": "redis://one/0?base=x"}, "keyword arguments"),
        ({"url": "redis+srv://one"}, "is not redis:"),
        ({"client": object()}, "redis.asyncio"),
    ],
)
def test_what_cannot_be_used_is_named(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        RedisDriver(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["redis://host/agents", "redis://host/0?prefix=x", "redis://host?decode_responses=true"]
)
def test_unknown_options_are_errors(url: str) -> None:
    with pytest.raises(ConfigurationError):
        RedisDriver.from_url(url)
