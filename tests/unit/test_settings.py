"""Settings: read from an environment, validated whole, and silent about values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ci360_twilio.core.message import AttributeNames
from ci360_twilio.errors import SettingsError
from ci360_twilio.settings import SETTINGS, Settings, data_folder, read_settings, unknown_names


def read(**variables: str) -> Settings:
    """Read settings from variables whose names lack the prefix."""
    return read_settings({f"CI360_TWILIO_{name}": value for name, value in variables.items()})


def problems(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what is wrong with an environment, by variable."""
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    return {issue.field: str(issue) for issue in caught.value.issues}


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    """A ledger in the user's data folder, a day to live, a hundred connections, a minute's lease."""
    settings = read_settings({"HOME": str(tmp_path)})
    assert settings == Settings(
        ledger=f"sqlite:///{tmp_path}/.local/share/ci360-twilio/ledger.db",
    )
    assert (settings.event_ttl, settings.connections, settings.lease) == (86_400, 100, 60)
    assert settings.tenants is None
    assert not settings.authenticated_upstream


def test_the_default_ledger_is_never_memory() -> None:
    """A server must not forget what it sent."""
    assert read_settings({}).ledger.startswith("sqlite:////")


def test_an_edge_may_choose_another_default_ledger() -> None:
    """The direct Lambda starts in memory; a set ledger still wins."""
    assert read_settings({}, ledger="memory:").ledger == "memory:"
    set_one = {"CI360_TWILIO_LEDGER": "sqlite:////var/ledger.db"}
    assert read_settings(set_one, ledger="memory:").ledger == "sqlite:////var/ledger.db"


def test_the_data_folder_follows_the_xdg_specification(tmp_path: Path) -> None:
    """``XDG_DATA_HOME`` comes before ``HOME``; an empty one is as if unset."""
    assert data_folder({"XDG_DATA_HOME": "/data", "HOME": "/home/x"}) == Path("/data/ci360-twilio")
    empty = data_folder({"XDG_DATA_HOME": "", "HOME": "/home/x"})
    assert empty == Path("/home/x/.local/share/ci360-twilio")


def test_settings_cannot_be_changed() -> None:
    """They are read once, when a process starts."""
    with pytest.raises(AttributeError):
        read().lease = 1.0  # type: ignore[misc]


def test_every_setting_has_a_reader_and_every_reader_a_setting() -> None:
    """The table and the value name the same things."""
    assert set(SETTINGS) == set(Settings.__struct_fields__)
    assert all(setting.help.endswith(".") for setting in SETTINGS.values())


@pytest.mark.parametrize(
    ("name", "value", "read_as"),
    [
        ("EVENT_TTL", "60", 60.0),
        ("EVENT_TTL", "0.5e3", 500.0),
        ("EVENT_TTL", "31536000", 31_536_000.0),
        ("DEFAULT_SENDER", " +12015550199 ", "+12015550199"),
        ("SM_SECRET_ID_PREFIX", "twilio/", "twilio/"),
        ("SECRETS_REGION", "eu-west-1", "eu-west-1"),
        ("TENANT_CACHE", "0", 0.0),
        ("LEDGER", "memory:", "memory:"),
        ("LEDGER", "dynamodb:Messages", "dynamodb:Messages"),
        ("LEDGER", "sqlite:////tmp/a b.db", "sqlite:////tmp/a b.db"),
        ("TWILIO_HOSTS", "127.0.0.1:8365", ("127.0.0.1:8365",)),
        ("TWILIO_HOSTS", " A.Example.com , [::1]:8365,,", ("a.example.com", "[::1]:8365")),
        ("CI360_HOSTS", "localhost", ("localhost",)),
        ("BULK_HOSTS", "files.example.com:443", ("files.example.com:443",)),
        ("PUBLIC_URL", "https://sms.example.com/twilio/", "https://sms.example.com/twilio"),
        ("PUBLIC_URL", "http://[::1]:8360", "http://[::1]:8360"),
        ("AUTHENTICATED_UPSTREAM", "TRUE", True),
        ("AUTHENTICATED_UPSTREAM", "on", True),
        ("AUTHENTICATED_UPSTREAM", "0", False),
        ("AUTHENTICATED_UPSTREAM", "No", False),
        ("TRUSTED_PROXIES", "10.0.0.1, 10.0.0.2", ("10.0.0.1", "10.0.0.2")),
        ("METRICS_TOKEN", "let-me-see", "let-me-see"),
        ("HASH_KEY", "pepper", "pepper"),
        ("CONNECTIONS", "1", 1),
        ("CONNECTIONS", "1000", 1000),
        ("LEASE", "40", 40.0),
        ("ATTRIBUTE_TO", "mobile", "mobile"),
        ("LOG_LEVEL", "DEBUG", "debug"),
    ],
)
def test_each_setting_is_read_as_what_it_is(name: str, value: str, read_as: object) -> None:
    """White space around a value does not matter, nor does the case of words and hosts."""
    assert getattr(read(**{name: value}), name.lower()) == read_as


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("EVENT_TTL", "0", "must be a number from 1 to 3.1536e+07"),
        ("EVENT_TTL", "nan", "must be a number from 1 to 3.1536e+07"),
        ("EVENT_TTL", "inf", "must be a number from 1 to 3.1536e+07"),
        ("EVENT_TTL", "a day", "must be a number from 1 to 3.1536e+07"),
        ("TENANT_CACHE", "-1", "must be a number from 0 to 86,400"),
        ("LEASE", "39.9", "must be a number from 40 to 3,600"),
        ("CONNECTIONS", "0", "must be a whole number from 1 to 1,000"),
        ("CONNECTIONS", "1001", "must be a whole number from 1 to 1,000"),
        ("CONNECTIONS", "1.5", "must be a whole number from 1 to 1,000"),
        ("CONNECTIONS", "-5", "must be a whole number from 1 to 1,000"),
        ("AUTHENTICATED_UPSTREAM", "maybe", "must be true or false"),
        ("LOG_LEVEL", "loud", "must be one of debug, info, warning, error"),
        ("TENANTS", "/nonexistent/folder", "is not a folder"),
        ("TLS_CERT", "/nonexistent/file", "is not a file"),
        ("LEDGER", "sqlite:///relative.db", "must be sqlite:////absolute/path.db, memory:"),
        ("LEDGER", "sqlite:ledger.db", "must be sqlite:////absolute/path.db, memory:"),
        ("LEDGER", "memory", "must be sqlite:////absolute/path.db, memory:"),
        ("LEDGER", "dynamodb:", "must be sqlite:////absolute/path.db, memory:"),
        ("LEDGER", "postgres://x", "must be sqlite:////absolute/path.db, memory:"),
        ("TWILIO_HOSTS", "http://127.0.0.1", "must be hosts with port"),
        ("TWILIO_HOSTS", "127.0.0.1:8365/x", "must be hosts with port"),
        ("TWILIO_HOSTS", "a b", "must be hosts with port"),
        ("PUBLIC_URL", "sms.example.com", "must be an http(s) address without query"),
        ("PUBLIC_URL", "ftp://sms.example.com", "must be an http(s) address without query"),
        ("PUBLIC_URL", "https://sms.example.com?a=b", "must be an http(s) address without query"),
        ("PUBLIC_URL", "https://", "must be an http(s) address without query"),
    ],
)
def test_a_wrong_value_is_told_in_words(name: str, value: str, words: str) -> None:
    """The words say what would be right."""
    found = problems({f"CI360_TWILIO_{name}": value})
    assert found[f"CI360_TWILIO_{name}"].startswith(words)


def test_all_problems_are_listed_at_once() -> None:
    """Whoever sets things up need not start a dozen times."""
    with pytest.raises(SettingsError) as caught:
        read(LEASE="soon", CONNECTIONS="many", PUBLIC_URL="here", LOG_LEVEL="loud")
    fields = [issue.field for issue in caught.value.issues]
    assert sorted(fields) == sorted(
        f"CI360_TWILIO_{name}" for name in ("LEASE", "CONNECTIONS", "PUBLIC_URL", "LOG_LEVEL")
    )
    assert all(field in caught.value.message for field in fields)


HOSTILE = [
    ("EVENT_TTL", "s3cr3t"),
    ("CONNECTIONS", "s3cr3t"),
    ("CONNECTIONS", "9" * 5000),
    ("LEDGER", "postgres://user:s3cr3t@db"),
    ("TWILIO_HOSTS", "user:s3cr3t@host"),
    ("PUBLIC_URL", "s3cr3t"),
    ("PUBLIC_URL", "https://[s3cr3t]/"),
    ("PUBLIC_URL", "https://s3cr3t\u2100.example.com/"),
    ("TENANTS", "/s3cr3t"),
    ("TLS_KEY", "/s3cr3t"),
    ("LOG_LEVEL", "s3cr3t"),
    ("AUTHENTICATED_UPSTREAM", "s3cr3t"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_no_message_holds_a_value(name: str, value: str) -> None:
    """A credential that was put into the wrong variable is not printed."""
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    told = caught.value.message + "".join(map(str, caught.value.issues))
    assert "s3cr3t" not in told
    assert "999999" not in told


@pytest.mark.parametrize(
    "value", ["~no-such-user-here/tenants", "/" + "a" * 300], ids=["home of nobody", "too long"]
)
@pytest.mark.parametrize("name", ["TENANTS", "TLS_CERT"])
def test_a_path_that_the_system_cannot_look_at_is_a_problem_like_any_other(
    name: str, value: str
) -> None:
    """Names too long, and homes of nobody, are told in words and not in a traceback."""
    assert f"CI360_TWILIO_{name}" in problems({f"CI360_TWILIO_{name}": value})


@pytest.mark.parametrize("bare", ["event_ttl", "EVENT_TTL", "Event_Ttl"])
def test_sas_names_are_read_without_prefix_in_any_case(bare: str) -> None:
    """An installation of SAS's sample goes on working."""
    assert read_settings({bare: "120"}).event_ttl == 120


def test_only_sas_three_names_are_read_without_prefix(tmp_path: Path) -> None:
    """``tenants`` or ``lease`` may mean something else to another program."""
    bare = {"default_sender": "MyBrand", "sm_secret_id_prefix": "p/", "event_ttl": "5"}
    settings = read_settings(bare | {"lease": "99", "tenants": str(tmp_path), "LEDGER": "memory:"})
    assert (settings.default_sender, settings.sm_secret_id_prefix) == ("MyBrand", "p/")
    assert (settings.event_ttl, settings.lease, settings.tenants) == (5, 60, None)
    assert settings.ledger != "memory:"


def test_the_prefixed_name_wins_over_the_bare_one() -> None:
    """Whichever stands first in the environment."""
    prefixed, bare = {"CI360_TWILIO_EVENT_TTL": "10"}, {"event_ttl": "20"}
    assert read_settings(prefixed | bare).event_ttl == 10
    assert read_settings(bare | prefixed).event_ttl == 10


def test_a_wrong_bare_value_that_is_overruled_does_no_harm() -> None:
    """Only what counts is looked at."""
    environ = {"CI360_TWILIO_EVENT_TTL": "10", "event_ttl": "soon"}
    assert read_settings(environ).event_ttl == 10


@pytest.mark.parametrize("empty", ["", "   ", "\t"])
def test_an_empty_value_is_as_if_unset(empty: str) -> None:
    """A template that sets everything may leave things blank; the bare name then counts."""
    environ = {
        "CI360_TWILIO_EVENT_TTL": empty,
        "event_ttl": "20",
        "CI360_TWILIO_LEASE": empty,
        "CI360_TWILIO_PUBLIC_URL": empty,
    }
    settings = read_settings(environ)
    assert (settings.event_ttl, settings.lease, settings.public_url) == (20, 60, None)


def test_an_empty_bare_name_does_not_hide_one_that_is_set() -> None:
    """``EVENT_TTL=`` beside ``event_ttl=20``, in either order."""
    assert read_settings({"EVENT_TTL": "", "event_ttl": "20"}).event_ttl == 20
    assert read_settings({"event_ttl": "20", "EVENT_TTL": ""}).event_ttl == 20


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    """One without the other is an error; both are paths of files."""
    file = tmp_path / "server.pem"
    file.write_text("not looked into")
    assert read(TLS_CERT=str(file), TLS_KEY=str(file)).tls_key == file
    for name in ("TLS_CERT", "TLS_KEY"):
        found = problems({f"CI360_TWILIO_{name}": str(file)})
        assert found == {"CI360_TWILIO_TLS_KEY": "tls_cert and tls_key belong together"}


def test_the_folder_of_tenants_may_start_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tilde is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tenants").mkdir()
    assert read(TENANTS="~/tenants").tenants == tmp_path / "tenants"


def test_attribute_names_are_given_as_the_message_takes_them() -> None:
    """Unset ones keep their names."""
    settings = read(ATTRIBUTE_TO="mobile", ATTRIBUTE_MEDIA_URLS="pictures")
    assert settings.attribute_names == AttributeNames("mobile", "from", "pictures")


def test_unknown_names_are_listed_in_order() -> None:
    """Misspelt ones, and right ones in the wrong case; what is not ours is left alone."""
    environ = {
        "CI360_TWILIO_TENANT": "/x",
        "CI360_TWILIO_LEDGER": "memory:",
        "ci360_twilio_lease": "60",
        "CI360_OTHER": "x",
        "event_ttl": "5",
        "PATH": "/bin",
    }
    assert unknown_names(environ) == ["CI360_TWILIO_TENANT", "ci360_twilio_lease"]
