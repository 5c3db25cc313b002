"""The settings, one by one: name, kind, defaults, help. What is done with them is in the package itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from lateron.config.kinds import (
    Addresses,
    Choice,
    Count,
    Duration,
    Entries,
    Issuer,
    Keys,
    Kind,
    Networks,
    PathKind,
    Private,
    Rules,
    Size,
    Switch,
    Text,
    Texts,
)
from lateron.core.values import DAY, HOUR, MINUTE, SECOND

Command = Literal["dev", "serve"]

PREFIX: Final = "LATERON_"
SAME: Final = object()  # The default of ``dev`` is that of ``serve``.


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing an operator may choose."""

    name: str
    kind: Kind
    default: Any  # In ``serve``.
    help: str  # One sentence, for --help and the TOML file.
    group: str
    dev: Any = SAME  # In ``dev``, if it differs.
    also: tuple[str, ...] = ()  # Environment names of QStash's development server; read by ``dev`` only.
    secret: bool = False
    private: bool = False  # A file with it must not be open to others.
    only: Command | None = None  # The command that knows it; None: both.

    @property
    def field(self) -> str:
        """Return its name in ``Settings``."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Return its name in the environment."""
        return PREFIX + self.field.upper()

    def default_for(self, command: Command) -> Any:  # noqa: ANN401 - Its kind decides its type.
        """Return the value it has when no layer gives one."""
        return self.default if command == "serve" or self.dev is SAME else self.dev

    def serves(self, command: Command) -> bool:
        """Tell whether ``command`` uses it."""
        return self.only in {None, command}


_NETWORK, _DATA, _ACCESS, _DELIVERY, _LIMITS, _RUNNING = (
    "Listening",
    "Data",
    "Access",
    "Delivery",
    "Limits and retention",
    "Running",
)

SETTINGS: Final = (
    Setting(
        "host",
        Texts("addresses"),
        ("127.0.0.1", "::1"),
        "Addresses to listen on, separated by commas. A `dev` that others can reach needs --insecure or a container.",
        _NETWORK,
    ),
    Setting(
        "port",
        Count(0, 65535),
        8080,
        "Port to listen on; 0 lets the system choose one.",
        _NETWORK,
        also=("QSTASH_DEV_PORT",),
    ),
    Setting(
        "log-port",
        Count(0, 65535, none="0"),
        None,
        "A second port for the same API, where tools of QStash's server look for its logs; 0 for none.",
        _NETWORK,
        also=("QSTASH_DEV_LOG_PORT",),
    ),
    Setting(
        "metrics-port",
        Count(0, 65535),
        None,
        "A port of its own for /metrics, without a token; 0 lets the system choose. Without it /metrics takes a token.",
        _NETWORK,
    ),
    Setting("metrics-host", Texts("addresses"), ("127.0.0.1",), "Addresses of that port.", _NETWORK),
    Setting(
        "insecure",
        Switch(),
        False,
        "Let `dev`, whose tokens are public, listen where others can reach it.",
        _NETWORK,
        only="dev",
    ),
    Setting("tls-cert", PathKind(), None, "Certificate chain (PEM) to serve HTTPS with.", _NETWORK),
    Setting("tls-key", PathKind(), None, "Private key (PEM) of the certificate.", _NETWORK),
    Setting(
        "trusted-proxy",
        Networks(),
        (),
        "Networks whose X-Forwarded-For is believed, as CIDRs separated by commas.",
        _NETWORK,
    ),
    Setting("data-dir", PathKind(), None, "Directory of the store; `serve` needs one.", _DATA, dev=Path(".lateron")),
    Setting(
        "allow-network-files",
        Switch(),
        False,
        "Use a data directory on a network file system, whose locks and fsync may lie.",
        _DATA,
    ),
    Setting(
        "reserve",
        Size(0, none="0"),
        32 << 20,
        "Room on the disk that is kept to end what is under way when it is full; 0 for none.",
        _DATA,
        dev=None,
    ),
    Setting("ephemeral", Switch(), False, "Keep everything in memory; all is lost at the end.", _DATA),
    Setting(
        "encryption-key",
        Keys(),
        (),
        "Keys that stored bodies, headers and signing keys are encrypted with; the first one encrypts, all decrypt.",
        _DATA,
        secret=True,
        private=True,
        only="serve",
    ),
    Setting(
        "encrypt",
        Switch(),
        True,
        "With encryption-key: false stores in clear what comes, and still reads what is encrypted.",
        _DATA,
        only="serve",
    ),
    Setting(
        "token",
        Text(),
        None,
        "Token that seeds a new store; later the store wins. Made and shown once if not given.",
        _ACCESS,
        secret=True,
        only="serve",
    ),
    Setting(
        "current-signing-key",
        Text(),
        None,
        "Signing key that seeds a new store.",
        _ACCESS,
        secret=True,
        only="serve",
    ),
    Setting(
        "next-signing-key",
        Text(),
        None,
        "Signing key that follows at the next rotation; seeds a new store.",
        _ACCESS,
        secret=True,
        only="serve",
    ),
    Setting("console", Switch(), True, "Serve the web console at /console.", _ACCESS),
    Setting(
        "console-host",
        Texts("host names"),
        (),
        "Names by which browsers may come to the console; none means any in `serve`, only localhost in `dev`.",
        _ACCESS,
    ),
    Setting(
        "oidc-issuer",
        Issuer(),
        None,
        "Provider of OpenID Connect by which people may log in to the console, as it calls itself.",
        _ACCESS,
        only="serve",
    ),
    Setting("oidc-client-id", Text(), None, "What the provider calls this server.", _ACCESS, only="serve"),
    Setting(
        "oidc-client-secret",
        Text(),
        None,
        "By what the provider knows this server; none for a public client.",
        _ACCESS,
        secret=True,
        only="serve",
    ),
    Setting(
        "oidc-scopes",
        Texts("scopes"),
        ("openid", "email"),
        "What the provider is asked to tell; openid is always asked for.",
        _ACCESS,
        only="serve",
    ),
    Setting(
        "oidc-allow",
        Rules(),
        (),
        "Who gets in by it, as claim=value:scope; the first that fits decides, and nobody else gets in.",
        _ACCESS,
        only="serve",
    ),
    Setting(
        "oidc-name",
        Text(),
        "single sign-on",
        "What the page for logging in calls the provider.",
        _ACCESS,
        only="serve",
    ),
    Setting("upstash-signature", Switch(), True, "Sign every delivery with `Upstash-Signature`.", _DELIVERY),
    Setting("region", Text(), None, "Value of the header `upstash-region` on deliveries.", _DELIVERY),
    Setting(
        "allow-private",
        Private(),
        (),
        "Deliver to loopback and private addresses: true, false, or CIDRs.",
        _DELIVERY,
        dev=True,
    ),
    Setting(
        "allow-address",
        Addresses(),
        (),
        "Exact addresses allowed although link-local, metadata or multicast.",
        _DELIVERY,
    ),
    Setting(
        "resolve",
        Entries("HOST:PORT:ADDRESS[,ADDRESS] entries"),
        (),
        "Connect to ADDRESS for HOST:PORT, as curl does: HOST:PORT:ADDRESS[,ADDRESS]; repeat for more.",
        _DELIVERY,
    ),
    Setting("ca-file", PathKind(), None, "Certificates (PEM) trusted beside those of the system.", _DELIVERY),
    Setting("concurrency", Count(1, 65536), 256, "Deliveries open at once.", _DELIVERY),
    Setting(
        "global-parallelism",
        Count(0, 65536, none="0"),
        None,
        "Deliveries open at once in all of the server, as /v2/globalParallelism shows; 0 for as many as `concurrency`.",
        _DELIVERY,
    ),
    Setting(
        "host-parallelism",
        Count(0, 65536, none="0"),
        128,
        "Deliveries open at once to one destination host, of one user; 0 for no bound of its own.",
        _DELIVERY,
    ),
    Setting(
        "user-parallelism",
        Count(0, 65536, none="0"),
        None,
        "Deliveries open at once of one user while there are several; 0 for three quarters of all.",
        _DELIVERY,
    ),
    Setting(
        "start-ramp",
        Duration(0, HOUR),
        10 * SECOND,
        "How long after a start with a backlog the bounds above open step by step; 0 for at once.",
        _DELIVERY,
    ),
    Setting(
        "crash-limit",
        Count(0, 1000, none="0"),
        5,
        "Deaths of the process after which a message in flight is attempted alone at the next start; 0 for never.",
        _DELIVERY,
    ),
    Setting(
        "catcher",
        Switch(),
        False,
        "Record requests to /_catch/<name> in memory, to look at them.",
        _DELIVERY,
        dev=True,
    ),
    Setting(
        "quota",
        Choice("free", "payg", "pro", "none"),
        "none",
        "Limits of a QStash plan to simulate.",
        _LIMITS,
        dev="payg",
        also=("QSTASH_DEV_QUOTA",),
    ),
    Setting("max-body", Size(1), 50 << 20, "Largest body of a message; counts under quota `none`.", _LIMITS),
    Setting(
        "response-time",
        Duration(SECOND, DAY),
        2 * HOUR,
        "Longest and default time for a delivery; counts under quota `none`.",
        _LIMITS,
    ),
    Setting(
        "dedup-window",
        Duration(SECOND, 90 * DAY),
        10 * MINUTE,
        "How long equal deduplication ids are one message.",
        _LIMITS,
    ),
    Setting(
        "catch-up",
        Duration(SECOND, DAY),
        MINUTE,
        "How old a missed tick of a schedule may be that still fires.",
        _LIMITS,
    ),
    Setting(
        "rate-limit",
        Count(0, 1_000_000, none="0"),
        None,
        "Management calls a second per token; 0 for no limit. Publishing has none.",
        _LIMITS,
    ),
    Setting(
        "message-retention",
        Duration(0, 90 * DAY),
        10 * MINUTE,
        "How long GET /v2/messages/<id> answers after the end of a message.",
        _LIMITS,
    ),
    Setting(
        "history-retention",
        Duration(MINUTE, 3650 * DAY),
        3 * DAY,
        "How long requests, attempts and events are kept.",
        _LIMITS,
    ),
    Setting(
        "history-size",
        Size(0, none="0"),
        None,
        "Size of the history over which its oldest part goes early; 0 for no bound.",
        _LIMITS,
    ),
    Setting(
        "dlq-retention",
        Duration(MINUTE, 3650 * DAY),
        30 * DAY,
        "How long dead letters are kept; counts under quota `none`.",
        _LIMITS,
    ),
    Setting(
        "audit-retention",
        Duration(MINUTE, 3650 * DAY),
        90 * DAY,
        "How long the audit log keeps who changed what.",
        _LIMITS,
    ),
    Setting("drain", Duration(0, DAY), 30 * SECOND, "How long open deliveries may take after SIGTERM.", _RUNNING),
    Setting(
        "stall",
        Duration(0, DAY),
        MINUTE,
        "How long the process may stand still before it ends itself, to be started again; 0 for ever.",
        _RUNNING,
    ),
    Setting("log-level", Choice("debug", "info", "warning", "error"), "info", "Least level that is logged.", _RUNNING),
    Setting("log-format", Choice("json", "pretty"), "json", "How log lines look.", _RUNNING, dev="pretty"),
    Setting(
        "log-attempts",
        Choice("all", "failures", "sample"),
        "sample",
        "Which attempts are logged: all, those that failed, or these and a success a second.",
        _RUNNING,
    ),
    Setting("cpu", Count(0, 65535), None, "Processor to bind the process to; Linux only.", _RUNNING),
)
