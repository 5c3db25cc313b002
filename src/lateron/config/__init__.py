"""Settings: what an operator may choose, and where each choice came from.

One table, ``SETTINGS``, says everything about a setting: its name, how its text is read, its default for
``serve`` and for ``dev``, its help. Flags, environment names, the keys of the TOML file, ``config show``
and ``config init`` are all derived from it, so none can disagree with another::

    setting        dedup-window
    flag           --dedup-window 1h
    environment    LATERON_DEDUP_WINDOW=1h      (an empty value is as if it were not there)
    TOML file      dedup-window = "1h"

The first layer that has a value wins: flags, then environment, then file, then default. A typing mistake must
never be silent: an unknown flag or key is an error that suggests the nearest name. An unknown ``LATERON_*``
variable is only a warning, for an environment is shared and may hold names of a newer version.

A secret has no flag (process lists are public); it comes from the environment, or from a file whose path is
given by ``<name>-file`` in any layer (``LATERON_TOKEN_FILE``), as container platforms mount them.
"""

from __future__ import annotations

import stat
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Final, Literal

from lateron.config.kinds import Many, PathKind, Private, Text
from lateron.config.table import PREFIX, SAME
from lateron.config.table import SETTINGS as SETTINGS
from lateron.config.table import Command as Command
from lateron.config.table import Setting as Setting
from lateron.core.oidc import Rule
from lateron.core.values import Millis
from lateron.errors import ServiceError

Network = IPv4Network | IPv6Network

DEFAULT_FILE: Final = "lateron.toml"


class InvalidSettings(ServiceError):
    """The settings cannot be used as they stand; an operator must change them. One sentence for people."""


BY_NAME: Final = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value came from."""

    layer: Literal["flag", "environment", "file", "default"]
    name: str = ""  # ``--port``, ``LATERON_PORT``, ``lateron.toml: port``; empty for a default.

    def __str__(self) -> str:  # noqa: D105
        return f"{self.layer} {self.name}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One value for every line of ``SETTINGS``; see there for the meaning. Times are milliseconds."""

    host: tuple[str, ...]
    port: int
    log_port: int | None
    metrics_port: int | None
    metrics_host: tuple[str, ...]
    insecure: bool
    tls_cert: Path | None
    tls_key: Path | None
    trusted_proxy: tuple[Network, ...]
    data_dir: Path | None
    allow_network_files: bool
    reserve: int | None
    ephemeral: bool
    encryption_key: tuple[bytes, ...] = field(repr=False)
    encrypt: bool
    token: str | None = field(repr=False)
    current_signing_key: str | None = field(repr=False)
    next_signing_key: str | None = field(repr=False)
    console: bool
    console_host: tuple[str, ...]
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret: str | None = field(repr=False)
    oidc_scopes: tuple[str, ...]
    oidc_allow: tuple[Rule, ...]
    oidc_name: str
    upstash_signature: bool
    region: str | None
    allow_private: bool | tuple[Network, ...]
    allow_address: tuple[str, ...]
    resolve: tuple[str, ...]
    ca_file: Path | None
    concurrency: int
    global_parallelism: int | None
    host_parallelism: int | None
    user_parallelism: int | None
    start_ramp: Millis
    crash_limit: int | None
    catcher: bool
    quota: str
    max_body: int
    response_time: Millis
    dedup_window: Millis
    catch_up: Millis
    rate_limit: int | None
    message_retention: Millis
    history_retention: Millis
    history_size: int | None
    dlq_retention: Millis
    audit_retention: Millis
    drain: Millis
    stall: Millis
    log_level: str
    log_format: str
    log_attempts: str
    cpu: int | None
    command: Command
    sources: Mapping[str, Source]  # By name of the setting.
    warnings: tuple[str, ...] = ()

    def shown(self) -> Iterable[tuple[str, str, str]]:
        """Yield name, value and source of every setting of this command, secrets masked."""
        for setting in SETTINGS:
            if setting.serves(self.command):
                value = getattr(self, setting.field)
                text = (
                    "********"
                    if setting.secret and value
                    else "-"
                    if value is None
                    else setting.kind.show(value) or "-"
                )
                yield setting.name, text, str(self.sources[setting.name])


assert {s.field for s in SETTINGS} == {f.name for f in fields(Settings)} - {"command", "sources", "warnings"}


def load(
    command: Command,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    file: Path | None = None,
) -> Settings:
    """Read all layers.

    Args:
        command: What will run; it decides defaults and which settings apply.
        flags: Text by name of the setting, as given on the command line.
        environ: The environment of the process.
        file: The TOML file; None: ``LATERON_CONFIG``, else ``lateron.toml`` here if there is one.

    Raises:
        InvalidSettings: Something is unknown, cannot be read, or does not fit together.
    """
    document, label = _read_file(file, environ)
    known = _names()
    for key in (*flags, *document):
        if key not in known:
            where = f"--{key}" if key in flags else f"{label}: {key}"
            raise InvalidSettings(f"{where}: no such setting{suggest(key, known)}")
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    warnings = _unknown_variables(environ)
    for setting in SETTINGS:
        text, source = _first(setting, command, flags, environ, document, label)
        if text is not None and not setting.serves(command):
            if source.layer == "environment":
                warnings.append(f"{source.name} has no effect in `lateron {command}`")
            text, source = None, Source("default")
        values[setting.field] = setting.default_for(command) if text is None else _read(setting, text, source)
        sources[setting.name] = source
    settings = Settings(**values, command=command, sources=sources, warnings=tuple(warnings))
    _check(settings)
    return settings


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``; did you mean X?`` for the nearest known name, or nothing."""
    near = get_close_matches(name.lower().replace("_", "-"), list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def render_toml() -> str:
    """Return a TOML file that names every setting with its help and default, all commented out."""
    lines = ["# Settings of Lateron. Flags and LATERON_* variables win over this file.", ""]
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            lines += [f"# --- {group} ---", ""]
        lines.append(f"# {setting.help}")
        if setting.secret:
            lines += [f'# {setting.name}-file = "/run/secrets/{setting.name}"', ""]
            continue
        if setting.dev is not SAME:
            lines.append(f"# In `dev`: {setting.kind.toml(setting.dev)}")
        lines += [f"# {setting.name} = {setting.kind.toml(setting.default)}", ""]
    return "\n".join(lines)


def _names() -> dict[str, Setting]:
    """Return the settings by every name a flag or key may have."""
    return BY_NAME | {f"{s.name}-file": s for s in SETTINGS if s.secret}


def _read_file(file: Path | None, environ: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the keys of the TOML file as text, and how to call it."""
    chosen = file or (Path(environ["LATERON_CONFIG"]) if environ.get("LATERON_CONFIG") else None)
    path = chosen or Path(DEFAULT_FILE)
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if chosen is None:
            return {}, ""
        raise InvalidSettings(f"{path}: no such file") from None
    except OSError as error:
        raise InvalidSettings(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path}: expected TOML, which is UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path}: {error}") from None
    keys = {key.replace("_", "-"): value for key, value in document.items()}
    return {key: _toml_text(f"{path}: {key}", key, value) for key, value in keys.items()}, str(path)


def _toml_text(where: str, key: str, value: object) -> str:
    """Turn a TOML value into the text that a flag would have, so that one reader serves all layers."""
    kind = BY_NAME[key].kind if key in BY_NAME else None
    items = value if isinstance(value, list) else [value]
    is_switch = isinstance(kind, Private) and isinstance(value, bool)  # `true` is all private networks.
    if isinstance(kind, Text | PathKind | Many) and not is_switch and not all(isinstance(item, str) for item in items):
        raise InvalidSettings(f"{where}: expected {kind.expected}, as text in quotes")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return (kind.separator if isinstance(kind, Many) else ",").join(str(item) for item in value)
    raise InvalidSettings(f"{where}: expected a text, a number, true, false or a list of texts")


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for every variable with our prefix that is no setting."""
    known = {setting.variable for setting in SETTINGS} | {"LATERON_CONFIG"}
    known |= {f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret}
    # Without the prefix, which is alike in all and would make all look near.
    ends = {name.removeprefix(PREFIX): name for name in known}
    warnings = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = get_close_matches(name.removeprefix(PREFIX).upper(), ends, n=1)
            hint = f"; did you mean {ends[near[0]]}?" if near else ""
            warnings.append(f"{name}: no such setting, ignored{hint}")
    return warnings


def _first(
    setting: Setting,
    command: Command,
    flags: Mapping[str, str],
    environ: Mapping[str, str],
    document: Mapping[str, str],
    label: str,
) -> tuple[str | None, Source]:
    """Return the text of the first layer that has one, and which that is."""
    also = setting.also if command == "dev" else ()
    layers: Sequence[tuple[Literal["flag", "environment", "file"], str, str | None, str | None]] = (
        ("flag", f"--{setting.name}", flags.get(setting.name), flags.get(f"{setting.name}-file")),
        ("environment", setting.variable, environ.get(setting.variable), environ.get(f"{setting.variable}_FILE")),
        *(("environment", name, environ.get(name), None) for name in also),
        ("file", f"{label}: {setting.name}", document.get(setting.name), document.get(f"{setting.name}-file")),
    )
    for layer, name, text, path in layers:
        direct, by_file = text or None, (path or None) if setting.secret else None
        suffix = "_FILE" if layer == "environment" else "-file"
        if direct and by_file:
            raise InvalidSettings(f"{name} and {name}{suffix} are both given; give one")
        if by_file:
            return _secret_file(f"{name}{suffix}", by_file, private=setting.private), Source(layer, f"{name}{suffix}")
        if direct:
            return direct, Source(layer, name)
    return None, Source("default")


def _secret_file(name: str, path: str, *, private: bool) -> str:
    """Return the content of a secret's file without the newline at its end."""
    try:
        if private and sys.platform != "win32" and Path(path).stat().st_mode & stat.S_IRWXO:
            raise InvalidSettings(f"{name}: {path} is open to other users of this machine; close it: chmod 600 {path}")
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidSettings(f"{name}: cannot read {path}: {reason}") from None
    if not text:
        raise InvalidSettings(f"{name}: {path} is empty")
    return text


def _read(setting: Setting, text: str, source: Source) -> Any:  # noqa: ANN401 - Its kind decides its type.
    try:
        return setting.kind.read(text)
    except ValueError:
        got = "" if setting.secret else f", got {text!r}"
        raise InvalidSettings(f"{source.name}: expected {setting.kind.expected}{got}") from None


def _check(settings: Settings) -> None:
    """Refuse settings that are readable one by one and make no sense together."""
    kept = settings.sources["data-dir"]
    if settings.ephemeral and settings.data_dir is not None and kept.layer != "default":
        raise InvalidSettings(
            f"ephemeral and data-dir exclude each other: {settings.sources['ephemeral'].name} keeps everything in "
            f"memory, {kept.name} names {settings.data_dir}; give one"
        )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidSettings("tls-cert and tls-key belong together; give both or none")
    if settings.next_signing_key is not None and settings.current_signing_key is None:
        raise InvalidSettings("next-signing-key needs current-signing-key")
    if settings.current_signing_key is not None and settings.current_signing_key == settings.next_signing_key:
        raise InvalidSettings("current-signing-key and next-signing-key must differ")
    _check_oidc(settings)
    if settings.log_port is not None and settings.log_port == settings.port:
        raise InvalidSettings("log-port must differ from port")
    if settings.metrics_port and settings.metrics_port in {settings.port, settings.log_port}:
        raise InvalidSettings("metrics-port must differ from port and log-port")


def _check_oidc(settings: Settings) -> None:
    """Refuse half of what a login by OpenID Connect needs: nobody would get in, or know where to come back to."""
    needed = {
        "oidc-client-id": settings.oidc_client_id,
        "oidc-allow": settings.oidc_allow,
        "console-host": settings.console_host,
    }
    if settings.oidc_issuer is not None:
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise InvalidSettings(f"oidc-issuer needs {', '.join(missing)} too")
        return
    given = [name for name in BY_NAME if name.startswith("oidc-") and settings.sources[name].layer != "default"]
    if given:
        raise InvalidSettings(f"{', '.join(given)}: needs oidc-issuer too")
