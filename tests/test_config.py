"""Settings: four layers, one table, and no mistake that stays silent."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.config import BY_NAME, SETTINGS, Command, InvalidSettings, Setting, Settings, load, render_toml
from lateron.config.kinds import (
    Addresses,
    Choice,
    Count,
    Duration,
    Issuer,
    Kind,
    Networks,
    PathKind,
    Private,
    Rules,
    Size,
    Switch,
)
from lateron.core.oidc import Rule
from lateron.core.token import GRANTS
from lateron.core.values import DAY, MINUTE, SECOND


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no lateron.toml lies by chance."""
    monkeypatch.chdir(tmp_path)


PROVIDER = {
    "LATERON_OIDC_ISSUER": "https://login.example.com",
    "LATERON_OIDC_CLIENT_ID": "lateron",
    "LATERON_OIDC_ALLOW": "groups=viewers:read",
    "LATERON_CONSOLE_HOST": "queue.example.com",
}


def settings(
    flags: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    file: Path | None = None,
    command: Command = "serve",
) -> Settings:
    return load(command, flags or {}, environ or {}, file)


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_flags_win_over_environment_over_file_over_default(tmp_path: Path) -> None:
    """An operator overrules for one start what the machine says, and the machine what the project says."""
    file = written(tmp_path / "a.toml", "port = 1\n")
    environ = {"LATERON_PORT": "2"}

    ports = [
        settings().port,
        settings(file=file).port,
        settings(environ=environ, file=file).port,
        settings({"port": "3"}, environ, file).port,
    ]

    assert ports == [8080, 1, 2, 3]


def test_every_value_names_its_source(tmp_path: Path) -> None:
    """`Why is it 5?` is answered by the program, not by guessing."""
    file = written(tmp_path / "a.toml", 'region = "eu"\n')
    loaded = settings({"port": "5"}, {"LATERON_QUOTA": "pro"}, file)

    sources = {name: source for name, _, source in loaded.shown()}

    assert sources["port"] == "flag --port"
    assert sources["quota"] == "environment LATERON_QUOTA"
    assert sources["region"] == f"file {file}: region"
    assert sources["drain"] == "default"


def test_lateron_toml_of_the_working_directory_is_read(tmp_path: Path) -> None:
    """The file that `config init` writes works without a flag; another one is named by LATERON_CONFIG."""
    written(tmp_path / "lateron.toml", "port = 1\n")
    other = written(tmp_path / "other.toml", "port = 2\n")

    assert settings().port == 1
    assert settings(environ={"LATERON_CONFIG": str(other)}).port == 2


@pytest.mark.parametrize(
    ("key", "hint"), [("prot", "did you mean port?"), ("dedup_windw", "did you mean dedup-window?"), ("zzzz", "")]
)
def test_unknown_key_of_the_file_is_an_error_with_a_suggestion(tmp_path: Path, key: str, hint: str) -> None:
    """A typing mistake in a limit must not run as the default."""
    file = written(tmp_path / "a.toml", f"{key} = 1\n")

    with pytest.raises(InvalidSettings, match="no such setting") as caught:
        settings(file=file)

    assert hint in str(caught.value)


def test_unknown_variable_is_a_warning_with_a_suggestion() -> None:
    """An environment is shared and may be of a newer version, so the server starts; but it says so."""
    loaded = settings(environ={"LATERON_PROT": "1", "LATERON_WHATEVER": "1", "OTHER": "1"})

    assert loaded.warnings == (
        "LATERON_PROT: no such setting, ignored; did you mean LATERON_PORT?",
        "LATERON_WHATEVER: no such setting, ignored",
    )


def test_empty_variable_is_as_if_it_were_not_there() -> None:
    """Compose files pass on variables that nobody has set."""
    assert settings(environ={"LATERON_PORT": ""}).port == 8080


def test_dev_reads_the_names_of_qstash_own_server_and_serve_does_not() -> None:
    """Scripts for QStash's development server work as they are; production is not moved by them."""
    environ = {"QSTASH_DEV_PORT": "9001", "QSTASH_DEV_LOG_PORT": "9002", "QSTASH_DEV_QUOTA": "pro"}

    dev, serve = settings(environ=environ, command="dev"), settings(environ=environ)

    assert (dev.port, dev.log_port, dev.quota) == (9001, 9002, "pro")
    assert (serve.port, serve.log_port, serve.quota) == (8080, None, "none")


def test_own_name_wins_over_the_name_of_qstash_own_server() -> None:
    """Who sets both means the one that is ours."""
    assert settings(environ={"QSTASH_DEV_PORT": "1", "LATERON_PORT": "2"}, command="dev").port == 2


def test_dev_and_serve_have_their_own_defaults() -> None:
    """`dev` is open towards this machine and readable; `serve` is closed and made for collectors."""
    dev, serve = settings(command="dev"), settings()

    assert (dev.allow_private, dev.catcher, dev.quota, dev.log_format) == (True, True, "payg", "pretty")
    assert (serve.allow_private, serve.catcher, serve.quota, serve.log_format) == ((), False, "none", "json")
    assert (dev.data_dir, serve.data_dir) == (Path(".lateron"), None)
    assert dev.host == serve.host == ("127.0.0.1", "::1")


@pytest.mark.promise("D-62")
def test_secret_comes_from_a_file_and_never_from_a_flag(tmp_path: Path) -> None:
    """Process lists and shell histories are read by others; mounted files are not."""
    file = written(tmp_path / "token", "the-secret\n")

    assert settings(environ={"LATERON_TOKEN_FILE": str(file)}).token == "the-secret"
    assert settings({"token-file": str(file)}).token == "the-secret"
    assert settings(environ={"LATERON_TOKEN": "direct"}).token == "direct"
    assert "the-secret" not in repr(settings({"token-file": str(file)}))


@pytest.mark.parametrize(
    "environ",
    [
        {"LATERON_TOKEN": "a", "LATERON_TOKEN_FILE": "b"},
        {"LATERON_TOKEN_FILE": "not-there"},
        {"LATERON_TOKEN_FILE": "empty"},
        {"LATERON_NEXT_SIGNING_KEY": "sig_x"},
        {"LATERON_CURRENT_SIGNING_KEY": "sig_x", "LATERON_NEXT_SIGNING_KEY": "sig_x"},
        {"LATERON_TLS_CERT": "cert.pem"},
        {"LATERON_PORT": "8080", "LATERON_LOG_PORT": "8080"},
        {"LATERON_OIDC_CLIENT_ID": "lateron"},
        {"LATERON_OIDC_CLIENT_SECRET": "the-secret", "LATERON_OIDC_NAME": "Ours"},
        *({name: value for name, value in PROVIDER.items() if name != left_out} for left_out in PROVIDER),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    """Half a certificate or two tokens would be half a server; nothing starts."""
    written(tmp_path / "empty", "\n")

    with pytest.raises(InvalidSettings):
        settings(environ=environ)


def test_secrets_are_masked_when_shown() -> None:
    """`config show` is pasted into issues."""
    loaded = settings(environ={"LATERON_TOKEN": "the-secret"})

    shown = {name: value for name, value, _ in loaded.shown()}

    assert shown["token"] == "********"
    assert shown["current-signing-key"] == "-"


@pytest.mark.promise("D-54")
def test_provider_of_logins_is_shown_without_its_secret(tmp_path: Path) -> None:
    """The rules as they were written, for they say who gets in."""
    secret = written(tmp_path / "secret", "the-secret\n")
    loaded = settings(
        {"oidc-client-secret-file": str(secret)},
        PROVIDER | {"LATERON_OIDC_ALLOW": "email=ops@example.org:manage, urn:g=a:b:read"},
    )

    shown = {name: value for name, value, _ in loaded.shown()}

    assert loaded.oidc_allow == (Rule("email", "ops@example.org", "manage"), Rule("urn:g", "a:b", "read"))
    assert loaded.oidc_client_secret == "the-secret"
    assert (shown["oidc-client-secret"], shown["oidc-scopes"]) == ("********", "openid,email")
    assert shown["oidc-allow"] == "email=ops@example.org:manage,urn:g=a:b:read"
    assert "the-secret" not in repr(loaded)


def test_unreadable_secret_does_not_show_in_its_error() -> None:
    """An error line ends in a log."""
    with pytest.raises(InvalidSettings) as caught:
        settings(environ={"LATERON_TOKEN": "the-\x07secret"})

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("port", "65536"),
        ("port", "-1"),
        ("port", "8O80"),
        ("drain", "soon"),
        ("dedup-window", "91d"),
        ("dedup-window", "0.5s"),
        ("quota", "huge"),
        ("ephemeral", "maybe"),
        ("max-body", "50 elephants"),
        ("max-body", "0"),
        ("trusted-proxy", "10.0.0.1/8"),
        ("allow-address", "metadata.internal"),
        ("allow-private", "sometimes"),
        ("concurrency", "0"),
        ("oidc-issuer", "login.example.com"),
        ("oidc-issuer", "http://login.example.com"),
        ("oidc-issuer", "http://localhost.example.com"),
        ("oidc-issuer", "https://login.example.com/?a=b"),
        ("oidc-issuer", "https://login.example.com/#a"),
        ("oidc-allow", "groups=viewers"),
        ("oidc-allow", "groups=viewers:reader"),
        ("oidc-allow", "groups:read"),
        ("oidc-allow", "=viewers:read"),
        ("oidc-allow", "groups=:read"),
        ("oidc-allow", "groups=a,b:read"),
    ],
)
def test_unreadable_value_names_setting_value_and_expectation(name: str, text: str) -> None:
    """The line must be enough to mend it."""
    variable = BY_NAME[name].variable

    with pytest.raises(InvalidSettings) as caught:
        settings(environ={variable: text})

    assert variable in str(caught.value)
    assert repr(text) in str(caught.value)
    assert BY_NAME[name].kind.expected in str(caught.value)


def test_toml_may_use_its_own_types(tmp_path: Path) -> None:
    """Numbers, switches and lists are written as TOML has them; both spellings of a name are one."""
    file = written(
        tmp_path / "a.toml",
        'port = 81\nephemeral = true\nhost = ["127.0.0.1"]\nlog_level = "debug"\ndrain = "1m"\n',
    )

    loaded = settings(file=file)

    assert (loaded.port, loaded.ephemeral, loaded.host, loaded.log_level) == (81, True, ("127.0.0.1",), "debug")
    assert loaded.drain == MINUTE


@pytest.mark.parametrize("text", ["port = [", "port = {a = 1}", "port = 1.5", 'host = [["a"]]'])
def test_unreadable_file_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    """No line of the file is skipped."""
    file = written(tmp_path / "a.toml", text)

    with pytest.raises(InvalidSettings, match=r"a\.toml"):
        settings(file=file)


def test_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """A wrong path would silently mean all defaults."""
    with pytest.raises(InvalidSettings, match="no such file"):
        settings(file=tmp_path / "none.toml")


def test_setting_of_the_other_command_in_the_environment_is_a_warning() -> None:
    """Who exports a token and starts `dev` must learn that `dev` does not take it."""
    loaded = settings(environ={"LATERON_TOKEN": "the-secret"}, command="dev")

    assert loaded.token is None
    assert loaded.warnings == ("LATERON_TOKEN has no effect in `lateron dev`",)


def test_written_file_says_the_defaults() -> None:
    """Taking the comment signs away changes nothing."""
    lines = [
        line.removeprefix("# ") if " = " in line and not line.startswith("# In `dev`") else line
        for line in render_toml().splitlines()
    ]
    document = tomllib.loads("\n".join(lines))

    assert len(document) == len(SETTINGS)
    for setting in SETTINGS:
        if not setting.secret:
            value = document[setting.name]
            text = ",".join(value) if isinstance(value, list) else str(value).lower()
            assert (setting.kind.read(text) if text else None) in (setting.default, None), setting.name


def test_every_setting_has_a_field_and_a_default_of_its_kind() -> None:
    """The table and the class are one thing written twice; here they are compared."""
    assert [s.field for s in SETTINGS] == [f.name for f in fields(Settings)][: len(SETTINGS)]
    for setting in SETTINGS:
        for default in (setting.default_for("dev"), setting.default_for("serve")):
            if default is not None and default != ():
                assert setting.kind.read(setting.kind.show(default)) == default, setting.name


def numbers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


CLAIM_TEXT = st.text("abc:/._", min_size=1, max_size=8)
RULE_TEXT = st.text("aZ0 @:=/.", min_size=1, max_size=8).filter(lambda text: text == text.strip())
KINDS: list[tuple[Kind, st.SearchStrategy[Any]]] = [
    (Count(0, 65535), numbers(0, 65535)),
    (Size(1), numbers(1, 10**14)),
    (Duration(0, 90 * DAY), numbers(0, 90 * DAY)),
    (Switch(), st.booleans()),
    (Choice("a", "b"), st.sampled_from(["a", "b"])),
    (Networks(), st.lists(st.ip_addresses().map(str), max_size=3).map(lambda texts: Networks().read(",".join(texts)))),
    (Addresses(), st.lists(st.ip_addresses().map(str), max_size=3).map(tuple)),
    (Private(), st.just(value=True) | st.just(())),
    (Issuer(), st.sampled_from(["https://login.example.com", "http://localhost:8090/realms/one"])),
    (Rules(), st.lists(st.builds(Rule, CLAIM_TEXT, RULE_TEXT, st.sampled_from(list(GRANTS))), max_size=3).map(tuple)),
    (PathKind(), st.sampled_from([Path("a/b"), Path("/a b")])),
]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=[type(kind).__name__ for kind, _ in KINDS])
def test_what_a_kind_shows_it_reads_back(kind: Kind, values: st.SearchStrategy[Any]) -> None:
    """A value copied from `config show` into a flag is the same value."""

    @given(values)
    def check(value: Any) -> None:
        assert kind.read(kind.show(value)) == value

    check()


@given(st.sampled_from(SETTINGS), st.text(max_size=30))
def test_no_text_makes_a_kind_fail_otherwise_than_by_value_error(setting: Setting, text: str) -> None:
    """A strange value is a line for the operator, never a traceback."""
    try:
        value = setting.kind.read(text)
    except ValueError:
        return
    if value is not None:
        setting.kind.show(value)


def test_units_of_sizes_are_decimal_or_binary_as_written() -> None:
    """MB and MiB differ by five per cent; each is what it says."""
    read = Size(1).read

    assert [read(text) for text in ("1", "1KB", "1kib", "2 MB", "2MiB")] == [1, 1000, 1024, 2_000_000, 2 << 20]


def test_smallest_dedup_window_is_a_second_and_largest_ninety_days() -> None:
    """The bounds are those of the design."""
    assert settings({"dedup-window": "1s"}).dedup_window == SECOND
    assert settings({"dedup-window": "90d"}).dedup_window == 90 * DAY


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_memory_and_a_directory_exclude_each_other(command: Command, tmp_path: Path) -> None:
    """Who names a directory wants to find his messages there after the end."""
    file = written(tmp_path / "a.toml", 'data-dir = "here"\n')
    for flags, environ, named, sources in (
        ({"ephemeral": "true", "data-dir": "here"}, {}, None, ("--ephemeral", "--data-dir")),
        ({"ephemeral": "true"}, {"LATERON_DATA_DIR": "here"}, None, ("--ephemeral", "LATERON_DATA_DIR")),
        ({}, {"LATERON_EPHEMERAL": "1"}, file, ("LATERON_EPHEMERAL", f"{file}: data-dir")),
    ):
        with pytest.raises(InvalidSettings, match="exclude each other") as caught:
            settings(flags, environ, named, command)
        assert all(source in str(caught.value) for source in sources)

    assert settings({"ephemeral": "true"}, command=command).ephemeral
    assert not settings({"ephemeral": "false", "data-dir": "here"}, command=command).ephemeral


def test_secret_that_is_not_set_is_not_shown_as_one() -> None:
    """Stars say that there is a key; whoever trusts them believes his store encrypted."""
    shown = {name: value for name, value, _ in settings().shown()}

    assert (shown["encryption-key"], shown["token"]) == ("-", "-")
    key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    given = {name: value for name, value, _ in settings(environ={"LATERON_ENCRYPTION_KEY": key}).shown()}
    assert given["encryption-key"] == "********"


@pytest.mark.parametrize(
    "text", ["host = 5", "host = [5]", "host = true", "data-dir = 5", "region = true", "token = 12", "resolve = [1]"]
)
def test_number_is_no_text(tmp_path: Path, text: str) -> None:
    """`host = 5` would listen on 0.0.0.5; and a secret is not shown."""
    with pytest.raises(InvalidSettings, match="as text in quotes") as caught:
        settings(file=written(tmp_path / "a.toml", text))

    assert "12" not in str(caught.value).partition("token: ")[2]


def test_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the words of Python."""

    def denied(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)

    with pytest.raises(InvalidSettings, match=r"a\.toml: cannot read it: Permission denied$"):
        settings(file=tmp_path / "a.toml")
