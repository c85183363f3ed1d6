"""
URLs: their parts, their options, and that nothing of a secret is ever shown.
"""

from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import coatcheck
from coatcheck._settings.durations import optional_seconds, seconds
from coatcheck._settings.options import read_options
from coatcheck._settings.readers import boolean, words
from coatcheck._settings.url import URL, masked
from coatcheck.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "scheme", "netloc", "path", "query"),
    [
        ("redis://u:p@h:1/0?db=2&x=", "redis", "u:p@h:1", "/0", {"db": "2", "x": ""}),
        ("REDIS+Socket:///run/r.sock", "redis+socket", "", "/run/r.sock", {}),
        ("sqlite:///a%20b.db", "sqlite", "", "/a b.db", {}),
        ("sqlite:////abs/me@home.db", "sqlite", "", "//abs/me@home.db", {}),
        ("memory://", "memory", "", "", {}),
        ("memory:", "memory", "", "", {}),
        ("memory://name", "memory", "name", "", {}),
        ("a://h?x=1&x=2", "a", "h", "", {"x": "2"}),
        ("a://h?user=me%40home&x=%26", "a", "h", "", {"user": "me@home", "x": "&"}),
        ("a:///p@q?user=me@home", "a", "", "/p@q", {"user": "me@home"}),
        ("mongodb://u:p@h1,h2:2/db", "mongodb", "u:p@h1,h2:2", "/db", {}),
        ("sentinel://:p@h1;sentinel://:q@h2/0", "sentinel", ":p@h1;sentinel:", "//:q@h2/0", {}),
    ],
)
def test_parts_are_as_written(url, scheme, netloc, path, query):
    """
    Scheme, hosts, path and query are found; only the path and the query are decoded.
    """
    parsed = URL(url)

    assert (scheme, netloc, path, query) == (
        parsed.scheme, parsed.netloc, parsed.path, parsed.query,
    )  # fmt: skip
    assert url == parsed.raw


@pytest.mark.parametrize("url", ["", "nothing", "://h", "1a://h", "a b://h", "redis//h", "/a/b"])
def test_other_texts_are_no_urls(url):
    """
    A text without a scheme is refused with an example.
    """
    with pytest.raises(ConfigurationError, match="is not a URL: write scheme://"):
        URL(url if ":" in url else url.replace("nothing", "no thing"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/0", "redis://***@h:1/0"),
        ("redis://:p@h", "redis://***@h"),
        ("redis://h/0", "redis://h/0"),
        ("redis://u@h", "redis://***@h"),
        ("redis://h?password=p&db=1", "redis://h?password=***&db=***"),
        ("redis://h?token", "redis://h?***"),
        ("redis://h?", "redis://h?***"),
        ("redis://h?user=me@home", "redis://***"),
        ("sentinel://:p@h1:1;sentinel://:q@h2:2/0", "sentinel://***@h1:1;sentinel://***@h2:2/0"),
        ("sentinel://:p@h1?a=b;sentinel://h2", "sentinel://***@h1?a=***;sentinel://h2"),
        ("mongodb://u:p@h1,h2/db?a=b", "mongodb://***@h1,h2/db?a=***"),
        ("memcached://u:p@h1;u2:p2@h2", "memcached://***@h2"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("redis://h:secret/0", "redis://h:***/0"),
        ("redis://u:secret", "redis://u:***"),
        ("mongodb://h1:27017,h2:12ab,h3:3/db", "mongodb://h1:27017,h2:***,h3:3/db"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("u:p@h", "***@h"),
        ("u:p@redis://h", "***@redis://h"),
        ("a b:p@h", "***@h"),
    ],
)
def test_user_info_and_query_values_are_masked(url, shown):
    """
    The user info of every host and the values of all options are hidden.
    """
    assert shown == masked(url)


SECRETS = [
    "hunter2", "s3:cret", "s3@cret", "s3/cret", "s3?cret", "s3#cret", "s3;cret", "@cret", "cret@",
    "a/b@c?d#e;f:g", "1/cret", "12?cret=1", "p?wxyz=cret", "p@x?y@cret", "p@x/cret", "x;redis://cret",
    "x;b://cret", "p?cret&x", "cret?x&y=z",
]  # fmt: skip
#: What must not be found in anything that is shown.
PIECES = ("cret", "hunter2", "wxyz")
TEMPLATES = [
    "nosuch://user:{}@host:6379/0",
    "nosuch://:{}@host/0",
    "nosuch://{}@host",
    "nosuch://u:{}@h1:1;nosuch://u:{}@h2:2/0",
    "nosuch://u:{}@h1,h2,h3/db?opt=1",
    "nosuch://u:{}@h1;u:{}@h2:11211/",
    "nosuch+ssl://user:{}@host:6379/0?nosuch_option=1",
    "sqlite://u:{}@host/x.db",
    "sqlite:///x.db?password={}",
    "sqlite:///x.db?operation_timeout={}",
    "sqlite:///x.db?expires={}&strict={}",
    "sqlite:///x.db?serializer=json&strict={}",
    "memory://u:{}@host?nosuch=1",
    "disabled://u:{}@host?nosuch=1",
    "u:{}@host",
    "not a url:{}@host",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_no_secret_is_shown(template, secret):
    """
    No part of a password is in any error, nor in the text or the repr of a URL or of results.
    """
    url = template.replace("{}", secret)
    shown = [masked(url)]
    try:
        parsed = URL(url)
        shown += [str(parsed), repr(parsed)]
        results = coatcheck.by_url(url)
        shown += [repr(results), str(results), repr(results.backend)]
    except ConfigurationError as error:
        shown += [str(error), repr(error)]
        assert error.__cause__ is None

    names = () if "&" not in secret else ("cret",)  # an "&" in a value starts another option
    for text in shown:
        assert not [piece for piece in PIECES if piece in text and piece not in names], text


@given(st.text(min_size=6, max_size=20), st.sampled_from([t for t in TEMPLATES if "}@" in t]))
def test_no_password_is_shown(secret, template):
    """
    Whatever characters a password has, it is not in the masked URL.
    """
    assume(secret not in template)

    assert secret not in masked(template.replace("{}", secret))


@pytest.mark.parametrize(
    "url", ["a://:12/x@h/0", "a://:p@s/w@h/0", "a://u:p?x@h", "a://u:p@x?y@h", "a://u:12?x=1@h"]
)
def test_ambiguous_urls_are_refused(url):
    """
    Where a password could be taken for a path or an option, the way out is named.
    """
    with pytest.raises(ConfigurationError, match=r"more than one way: write @ / . as %40 %2F %3F"):
        URL(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("a://u:p@h:1/?b=c&appName=@u@", "a://***@h:1/?b=***&appName=***"),
        ("a://u:p@h/d?appName=@u@&w=1", "a://***@h/d?appName=***&w=***"),
        ("a://u:p@h?name=x@y&w=1&v=2", "a://***@h?name=***&w=***&v=***"),
        ("a://u:p@h1,h2:2/?x=@", "a://***@h1,h2:2/?x=***"),
    ],
)
def test_options_with_an_at_sign(url, shown):
    """
    Where nothing behind the last @ could be a host, it is part of an option's value.
    """
    assert shown == str(URL(url))
    assert "@" in "".join(URL(url).query.values())


@pytest.mark.parametrize(
    "url",
    [
        "a://u:p@x?b=1@h", "a://u:p@x?b=1@h/0?c=d", "a://u:p@x?b=1@h:1,h2:2/0", "a://u:p?b=1@&c=d",
        "a://u:p/x@y?b=@", "a://u:p@x/y@h?b=@", "a://u:p@x?b=1@h&c", "a://u:p@x?b=1@h&c=d@e",
        "a://h?b=@",
    ],
)  # fmt: skip
def test_options_that_could_be_a_password(url):
    """
    Where what is behind the last @ could be the host, the URL is still refused, and not shown.
    """
    with pytest.raises(ConfigurationError, match="more than one way"):
        URL(url)
    assert "***" == masked(url).rpartition("/")[2]


def test_urls_are_not_split_at_other_schemes():
    """
    Only URLs of the same scheme stand in one.
    """
    assert "a://***@h" == masked("a://:x;b://y@h")


@pytest.mark.parametrize("value", [True, 1, "1", "true", "YES", "on"])
def test_words_for_yes(value):
    """
    Several words mean yes, in any case.
    """
    assert boolean(value) is True


@pytest.mark.parametrize("value", [False, 0, "0", "false", "No", "off"])
def test_words_for_no(value):
    """
    Several words mean no, in any case.
    """
    assert boolean(value) is False


@pytest.mark.parametrize("value", ["", "maybe", None, 2])
def test_other_words_are_neither(value):
    """
    Other words are refused with those that are understood.
    """
    with pytest.raises(ValueError, match="use 1 or 0, true or false"):
        boolean(value)


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), ("0.5", 0.5), (timedelta(minutes=1), 60.0), ("1e3", 1000.0)]
)
def test_seconds_are_numbers(value, number):
    """
    A number, its text or a timedelta is read as seconds.
    """
    assert number == seconds(value) == optional_seconds(value)
    assert float is type(seconds(value))


@pytest.mark.parametrize(
    "value", [0, -1, "0", "nan", "inf", float("nan"), "x", "", None, [], timedelta(0), 10**400]
)
def test_seconds_are_positive(value):
    """
    What is no positive, finite number is refused, without being shown.
    """
    with pytest.raises(ValueError, match=r"^use a positive number of seconds$"):
        seconds(value)


@pytest.mark.parametrize("value", [None, "none", "None"])
def test_seconds_may_be_none(value):
    """
    Nothing, or the word for it, is none where that is allowed.
    """
    assert optional_seconds(value) is None


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a, b,,c ", ("a", "b", "c")),
        ("", ()),
        (["a", "b"], ("a", "b")),
        ({"a"}, ("a",)),
        (ValueError, (ValueError,)),
        ([ValueError, "a"], (ValueError, "a")),
    ],
)
def test_words_are_lists(value, read):
    """
    A text with commas, any iterable, or one class is read as a list.
    """
    assert read == words(value)


def test_options_are_read():
    """
    Each option is read as its name says.
    """
    known = {"timeout": seconds, "strict": boolean}

    assert {"timeout": 2.0, "strict": True} == read_options(
        {"timeout": "2", "strict": "yes"}, known, where="a://"
    )


def test_unknown_options_name_the_nearest():
    """
    An option that does not exist is an error with the nearest name and all there are, those of
    the results included.
    """
    with pytest.raises(
        ConfigurationError,
        match=r"^a:// has no option 'timout': did you mean 'timeout'\? It has: accept, .*expires, .*, timeout",
    ):
        read_options({"timout": "secret"}, {"timeout": seconds, "strict": boolean}, where="a://")


def test_unknown_options_without_a_near_one():
    """
    Where no name is near, those there are stand alone.
    """
    with pytest.raises(ConfigurationError, match=r"^a:// has no option 'zzz': It has: accept, "):
        read_options({"zzz": 1}, {"strict": boolean}, where="a://")


@pytest.mark.parametrize("value", ["hunter2", b"hunter2", ["hunter2"]])
@pytest.mark.parametrize("read", [int, float, seconds, boolean, timedelta])
def test_values_of_options_are_not_shown(value, read):
    """
    A value that cannot be read is not part of the error, whatever read it says.
    """
    with pytest.raises(ConfigurationError, match="the option 'x' of a://: ") as info:
        read_options({"x": value}, {"x": read}, where="a://")

    assert "hunter2" not in str(info.value)
    assert info.value.__cause__ is None
    assert info.value.__suppress_context__
