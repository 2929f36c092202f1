"""Every setting: its defaults, the environment, the flags, the checks, and what is shown."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tornado.options import Error as OptionError

from config_checks import is_loopback

ROOT = Path(__file__).resolve().parents[2]
Load = Callable[..., ModuleType]


def run_config(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``python config.py`` as a user does, with these environment variables alone."""
    return subprocess.run(
        [sys.executable, "config.py", *flags],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **env},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that reads config.py afresh under the given environment."""

    def load(**env: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("config_of_a_test", ROOT / "config.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            spec.loader.exec_module(module)
        return module

    return load


def problems(config: ModuleType) -> dict[str, str]:
    """Return what ``check`` finds wrong."""
    try:
        config.check()
    except config.ConfigError as exc:
        return dict(exc.problems)
    return {}


def test_the_defaults_are_usable(load: Load) -> None:
    assert problems(load()) == {}


def test_every_setting_has_a_help_which_states_its_unit(load: Load) -> None:
    units = {r".*_s$": r"\b(s|seconds)$", r".*_(bytes|size)$": r"\bbytes$"}

    for setting in load().SETTINGS:
        assert setting.help, setting.name
        for name, unit in units.items():
            if re.match(name, setting.name):
                assert re.search(unit, setting.help), (setting.name, setting.help)


def test_every_number_has_limits(load: Load) -> None:
    without = [s.name for s in load().SETTINGS if not isinstance(s.default, str) and not s.check]

    assert without == []


def test_every_setting_that_may_hold_a_password_is_secret(load: Load) -> None:
    telling = [s for s in load().SETTINGS if s.name.endswith(("_url", "_auth", "_keys", "_api"))]

    assert [s.name for s in telling if not s.secret] == []


def test_the_environment_replaces_a_default(load: Load) -> None:
    config = load(PORT="8000", SMTP_TIMEOUT_S="2.5", MAIL_FROM="me@example.com")

    assert config.options.port == 8000
    assert config.options.smtp_timeout_s == 2.5
    assert config.options.mail_from == "me@example.com"


def test_a_flag_wins_over_the_environment(load: Load) -> None:
    config = load(PORT="8000")

    config.options.parse_command_line(["server.py", "--port=9000"])

    assert config.options.port == 9000


def test_flags_are_written_with_dashes(load: Load) -> None:
    config = load()

    config.options.parse_command_line(["server.py", "--max-body-size=2048"])

    assert config.options.max_body_size == 2048


def test_help_goes_where_it_can_be_searched() -> None:
    done = run_config("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "--smtp-url=... is SMTP_URL=..." in done.stdout
    assert "site-packages" not in done.stdout


def test_an_unknown_flag_is_one_line() -> None:
    done = run_config("--smtp-ulr=smtp://relay")

    assert done.stderr == "--smtp-ulr: there is no such flag; see --help\n"


@pytest.mark.parametrize("program", ["config.py", "server.py"])
def test_a_word_that_is_no_flag_is_refused(program: str) -> None:
    command = [sys.executable, program, "port=9", "--address=192.0.2.1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)

    assert done.returncode != 0
    assert done.stderr == "port=9 is not a flag: write settings as --name=value; see --help\n"


def test_an_unknown_flag_is_refused(load: Load) -> None:
    config = load()

    with pytest.raises(OptionError, match="no-such-flag"):
        config.options.parse_command_line(["server.py", "--no-such-flag=1"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "x"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("PROCESSES", "-1"),
        ("MAX_BODY_SIZE", "0"),
        ("PUBLISH_TIMEOUT_S", "soon"),
        ("PUBLISH_TIMEOUT_S", "nan"),
        ("DRAIN_S", "inf"),
        ("BROKER_URL", "redis://localhost"),
        ("BROKER_URL", "amqp://"),
        ("BROKER_URL", "amqp://a.example;http://b.example"),
        ("BROKER_URL", "amqp://a.example:port/"),
        ("DATABASE_URL", "mysql://localhost/windmail"),
        ("DATABASE_URL", "sqlite://"),
        ("DATABASE_URL", "sqlite:///"),
        ("DATABASE_URL", "sqlite:///:memory:"),
        ("DATABASE_URL", "sqlite:///file::memory:?uri=true"),
        ("SMTP_URL", "localhost:25"),
        ("SMTP_URL", "smtp://localhost?tls=maybe"),
        ("SMTP_URL", "smtp://localhost:smtp"),
        ("SMTP_URL", "smtp://[::1"),
        ("MAIL_FROM", ""),
        ("TASK_SERIALIZER", "pickle"),
        ("TASK_SERIALIZER", "yaml"),
        ("TASK_COMPRESSION", "rar"),
        ("TASK_TIME_LIMIT_S", "1800"),
        ("RESULT_STREAM", ""),
        ("FLOWER_AUTH", "only-a-user"),
        ("FLOWER_AUTH", "user:gehe\u00edm"),
        ("FLOWER_BROKER_API", "http://user:secret@rabbit.example:15672/api/"),
        ("BROKER_URL", "amqps://a.example;amqp://b.example"),
        ("BROKER_CA_FILE", "/no/such/file"),
        ("BROKER_CA_FILE", "/tmp"),
        ("BROKER_CA_FILE", __file__),
        ("BROKER_CERT_FILE", "/no/such/file"),
        ("TASK_SIGNING_KEYS", "too-short"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(load: Load, name: str, value: str) -> None:
    assert list(problems(load(**{name: value}))) == [name.lower()]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("BROKER_URL", "amqp://localhost"),
        ("BROKER_URL", "amqps://user:secret@a.example:5671/mail;amqps://b.example//"),
        ("DATABASE_URL", "postgresql://windmail:secret@db.example/windmail"),
        ("DATABASE_URL", "sqlite:///var/ledger.sqlite3"),
        ("DATABASE_URL", "sqlite:////var/lib/windmail/ledger.sqlite3"),
        ("SMTP_URL", "smtp://user:secret@relay.example:587?tls=required"),
        ("SMTP_URL", "smtps://relay.example"),
        ("TASK_SERIALIZER", "msgpack"),
        ("TASK_COMPRESSION", "gzip"),
        ("TASK_COMPRESSION", "bzip2"),
        ("TASK_COMPRESSION", "lzma"),
        ("TASK_COMPRESSION", "zstd"),
        ("FLOWER_AUTH", "user:secret"),
        ("FLOWER_BROKER_API", "https://user:secret@rabbit.example:15671/api/"),
        ("FLOWER_BROKER_API", "http://user:secret@127.0.0.1:15672/api/"),
        ("TASK_SIGNING_KEYS", "n" * 43 + "," + "o" * 43),
    ],
)
def test_a_good_value_is_taken(load: Load, name: str, value: str) -> None:
    config = load(**{name: value})

    assert problems(config) == {}
    assert str(config.options[name.lower()]) == value


def test_all_bad_values_are_named_at_once(load: Load) -> None:
    config = load(PORT="x", TASK_SERIALIZER="pickle", SMTP_URL="nowhere")

    with pytest.raises(config.ConfigError) as caught:
        config.check()

    assert set(caught.value.problems) == {"port", "task_serializer", "smtp_url"}
    assert all(name in str(caught.value) for name in ("PORT", "TASK_SERIALIZER", "SMTP_URL"))


def test_a_soft_time_limit_over_the_hard_one_is_refused(load: Load) -> None:
    found = problems(load(TASK_SOFT_TIME_LIMIT_S="61", TASK_TIME_LIMIT_S="60"))

    assert list(found) == ["task_soft_time_limit_s"]


def test_records_are_kept_for_as_long_as_mails_are_tried(load: Load) -> None:
    assert list(problems(load(LEDGER_DAYS="1"))) == ["ledger_days"]
    assert problems(load(LEDGER_DAYS="2")) == {}
    assert problems(load(LEDGER_DAYS="1", MAIL_RETRY_FOR_S="86400")) == {}


def test_a_key_is_not_remembered_for_longer_than_its_mails(load: Load) -> None:
    assert list(problems(load(LEDGER_DAYS="2", IDEMPOTENCY_S="172801"))) == ["idempotency_s"]
    assert problems(load(LEDGER_DAYS="2", IDEMPOTENCY_S="172800")) == {}


def test_a_bad_secret_is_not_told(load: Load) -> None:
    config = load(
        BROKER_URL="redis://user:hunter2@localhost",
        SMTP_URL="ftp://user:hunter2@localhost",
        FLOWER_AUTH="hunter2",
    )

    with pytest.raises(config.ConfigError) as caught:
        config.check()

    assert len(caught.value.problems) == 3
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("broker_url", "amqp://user:hunter2@host:5672//", "amqp://user:***@host:5672//"),
        ("broker_url", "amqp://u:hunter2@a;amqps://v:hunter2@b", "amqp://u:***@a;amqps://v:***@b"),
        ("broker_url", "amqp://user:hunter@2@host//", "amqp://user:***@host//"),
        ("broker_url", "amqp://user:hunter2@[host", "amqp:***"),
        ("broker_url", "amqp://localhost//", "amqp://localhost//"),
        ("smtp_url", "smtp://me%40x.org:hunter2@h?tls=none", "smtp://me%40x.org:***@h?tls=none"),
        ("broker_url", "amqp://user:1/hunter2@host", "amqp://user:***@host"),
        ("broker_url", "amqp://user:1;hunter2@host/", "amqp://user:***@host/"),
        ("broker_url", "amqp://user:1?hunter2@host/", "amqp://user:***@host/"),
        (
            "database_url",
            "postgresql://h/d?a=b&password=x&c=d",
            "postgresql://h/d?a=b&password=***&c=d",
        ),
        ("flower_auth", "user:hunter2", "user:***"),
        ("task_signing_keys", "hunter2" * 4 + ":1,hunter2", "***"),
        ("flower_auth", "", ""),
        ("mail_from", "me@example.com", "me@example.com"),
    ],
)
def test_a_password_is_masked(load: Load, name: str, value: str, shown: str) -> None:
    config = load(**{name.upper(): value})
    (setting,) = (setting for setting in config.SETTINGS if setting.name == name)

    assert setting.masked(config.options[name]) == shown


def test_config_py_prints_the_effective_settings_without_secrets() -> None:
    done = run_config("--port=9000", BROKER_URL="amqp://user:hunter2@broker.example//")

    assert done.returncode == 0
    assert re.search(r"^PORT +9000$", done.stdout, re.MULTILINE)
    assert re.search(r"^BROKER_URL +amqp://user:\*\*\*@broker.example//$", done.stdout, re.M)
    assert "hunter2" not in done.stdout + done.stderr


def test_config_py_exits_with_1_and_names_each_bad_value() -> None:
    done = run_config(PORT="x", TASK_SERIALIZER="pickle")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "  PORT: 'x' is not a whole number",
        "  TASK_SERIALIZER: 'pickle' is not one of json, msgpack",
    ]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--no-such-flag", "--port=x", "--smtp-timeout-s=soon"])
def test_config_py_exits_with_1_and_names_a_bad_flag(flag: str) -> None:
    done = run_config(flag)

    assert done.returncode == 1
    assert flag.lstrip("-").partition("=")[0] in done.stderr.replace("_", "-")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "flower.example"])
def test_a_public_flower_needs_a_login(load: Load, address: str) -> None:
    assert list(problems(load(FLOWER_ADDRESS=address))) == ["flower_address"]
    assert problems(load(FLOWER_ADDRESS=address, FLOWER_AUTH="user:secret")) == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_a_flower_on_loopback_needs_none(load: Load, address: str) -> None:
    assert problems(load(FLOWER_ADDRESS=address)) == {}


def test_a_file_of_tls_is_named_with_what_is_wrong_with_it() -> None:
    done = run_config(BROKER_CA_FILE="/no/such/file", BROKER_CERT_FILE=__file__)

    assert done.returncode == 1
    assert "BROKER_CA_FILE: cannot be read: No such file or directory" in done.stderr
    assert "BROKER_CERT_FILE: is not usable: no certificate or no key is in it" in done.stderr


def test_a_key_with_a_password_is_refused_and_no_terminal_is_asked(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:secret", "-subj",
         "/CN=x", "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"],
        check=True, capture_output=True,
    )  # fmt: skip
    files = {"BROKER_CERT_FILE": tmp_path / "certificate", "BROKER_KEY_FILE": tmp_path / "key"}

    done = run_config(**{name: str(file) for name, file in files.items()})

    assert "BROKER_CERT_FILE: is not usable: " in done.stderr
    assert "the key has a password" in done.stderr


def test_a_broker_that_is_reached_in_clear_is_warned_of(load: Load) -> None:
    clear = load(BROKER_URL="amqp://me:secret@127.0.0.1;amqp://me:secret@rabbit.example").warnings()

    assert clear == [
        "BROKER_URL: mails and the password go to rabbit.example unencrypted; use amqps://"
    ]
    assert load(BROKER_URL="amqps://rabbit.example").warnings() == []
    assert load().warnings() == []


def test_flower_asks_a_broker_with_tls_by_tls(load: Load) -> None:
    assert load(BROKER_URL="amqps://me:a%40b@rabbit.example:5671//").management_url() == (
        "https://me:a%40b@rabbit.example:15671/api/"
    )
    assert load(BROKER_URL="amqps://me@[::1]").management_url() == "https://me@[::1]:15671/api/"
    assert load().management_url() is None


def test_signing_keys_are_shown_to_nobody(load: Load) -> None:
    done = run_config(TASK_SIGNING_KEYS="n" * 43)

    assert done.returncode == 0
    assert "nnn" not in done.stdout + done.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "0.0.0.0", "localhost.example.com"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
