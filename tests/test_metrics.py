"""Figures: complete, true, and read by a real Prometheus, which also runs the dashboard and the alert rules."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from importlib.resources import files
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Receiver
from tests.support.server import Server
from tests.test_tidy import ROOT

from lateron.cli import main
from lateron.server.figures import FIGURES, Figure, full_name

PROMTOOL, PROMETHEUS = shutil.which("promtool") or "promtool", shutil.which("prometheus") or "prometheus"
MONITORING = files("lateron").joinpath("monitoring")


def scrape(port: int, path: str = "/metrics") -> tuple[int, str]:
    """Ask the port for figures as Prometheus does, without a token."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def unused_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def figures_port(server: Server) -> int:
    """Return the port that serves figures only, as the log says it."""
    return int(until(lambda: re.search(r"127\.0\.0\.1:([0-9]+)/metrics", server.log), "the port for metrics")[1])


def read(text: str) -> dict[str, float]:
    """Return the samples of an exposition by name and labels as written."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(number) for name, number in (line.rsplit(" ", 1) for line in lines)}


def shown(server: Server) -> dict[str, float]:
    return read(server.call("GET", "/metrics").text)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has delivered and failed, and holds a message that is delayed and one in a queue."""
    directory = tmp_path_factory.mktemp("metrics") / "data"
    with Receiver() as receiver, Server(directory, "--metrics-port", "0") as server:
        good, bad = receiver.endpoint(), receiver.endpoint()
        good.answers(Answer(200))
        bad.answers(Answer(500))

        def publish(to: str, *options: tuple[str, str], path: str = "/v2/publish") -> None:
            reply = server.call("POST", f"{path}/{to}", b"hello", options)
            assert reply.status == 201, reply.text

        for _ in range(3):
            publish(good.url)
        publish(good.url, ("Upstash-Callback", good.url))
        publish(bad.url, ("Upstash-Retries", "0"))
        publish(f"http://127.0.0.1:{unused_port()}/", ("Upstash-Retries", "0"))
        publish(good.url, ("Upstash-Delay", "1h"))
        server.call("POST", "/v2/queues", b'{"queueName":"mail","parallelism":1}')
        assert server.call("POST", "/v2/queues/mail/pause").status == 200
        publish(good.url, path="/v2/enqueue/mail")
        until(lambda: shown(server)["lateron_open_messages"] == 2, "all others to come to rest")
        yield server


@pytest.mark.promise("P-121")
def test_figures_tell_what_has_happened(busy: Server) -> None:
    """An operator acts on these numbers at night; each must be that of the store."""
    seen = shown(busy)

    published = sum(number for name, number in seen.items() if name.startswith("lateron_messages_published_total"))
    ends = [seen[f"lateron_messages_{end}_total"] for end in ("delivered", "failed", "canceled")]
    assert published - sum(ends) == seen["lateron_open_messages"] == 2
    assert seen['lateron_messages_published_total{kind="publish"}'] == 8
    assert seen['lateron_messages_published_total{kind="callback"}'] == 1
    assert seen["lateron_messages_failed_total"] == seen["lateron_dlq_depth"] == 2
    assert seen["lateron_guard_blocked_total"] == 0
    assert seen['lateron_attempts_total{class="answered",status_group="2xx"}'] == 5
    assert seen['lateron_attempts_total{class="answered",status_group="5xx"}'] == 1
    assert seen['lateron_attempts_total{class="connect",status_group="none"}'] == 1
    assert seen["lateron_attempt_seconds_count"] == seen["lateron_schedule_lag_seconds_count"] == 7
    assert seen["lateron_delayed_depth"] == seen["lateron_queued_depth"] == 1
    assert seen["lateron_ready_depth"] == seen["lateron_oldest_ready_age_seconds"] == seen["lateron_in_flight"] == 0
    assert seen["lateron_store_write_seconds_count"] > 0
    assert min(seen["lateron_store_size_bytes"], seen["lateron_wal_bytes"], seen["lateron_store_disk_free_bytes"]) > 0
    assert seen["lateron_ready"] == 1


@pytest.mark.promise("P-121")
def test_depths_are_there_again_after_a_crash(tmp_path: Path) -> None:
    """Counters may begin at 0 again, which Prometheus knows; what waits must not."""
    with Receiver() as receiver, Server(tmp_path / "data") as server:
        bad = receiver.endpoint()
        bad.answers(Answer(500))
        server.call("POST", f"/v2/publish/{bad.url}", b"", (("Upstash-Retries", "0"),))
        server.call("POST", f"/v2/publish/{bad.url}", b"", (("Upstash-Delay", "1h"),))
        until(lambda: shown(server)["lateron_dlq_depth"] == 1, "the dead letter")

        server.restart()

        seen = shown(server)
        names = ("open_messages", "delayed_depth", "dlq_depth", "depths_exact", "ready_depth")
        assert [seen[f"lateron_{name}"] for name in names] == [1, 1, 1, 1, 0]
        assert server.call("DELETE", "/v2/dlq").status == server.call("DELETE", "/v2/messages").status == 200
        seen = shown(server)
        assert [seen[f"lateron_{name}"] for name in names] == [0, 0, 0, 1, 0]


def test_figures_need_a_token_or_the_port_that_is_on_loopback(busy: Server) -> None:
    """D-16: what a server does is nobody's business; its own port serves nothing else."""
    port = figures_port(busy)

    assert busy.call("GET", "/metrics", token="").status == 401
    status, text = scrape(port)
    assert (status, read(text).keys()) == (200, shown(busy).keys())
    assert scrape(port, "/v2/messages")[0] == scrape(port, "/")[0] == 404
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False).stdout
    assert not listening or f"127.0.0.1:{port}" in listening


def test_no_figure_names_what_a_user_chose(busy: Server) -> None:
    """F-47: a label with a value of users grows without end, and tells one of them about another."""
    labels = {label for name in shown(busy) for label in re.findall(r'(\w+)="', name)}

    assert labels == {"le", *(label for figure in FIGURES for label in figure.labels)}
    assert "mail" not in busy.call("GET", "/metrics").text


def test_figures_are_as_prometheus_wants_them(busy: Server) -> None:
    """Its own tool reads them, and finds nothing to say about a name, a type or a help."""
    text = busy.call("GET", "/metrics").text

    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_page_of_metrics_has_every_figure_and_no_other() -> None:
    """A number that is not explained is not used."""
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)(?:\{([\w,]+)\})?` \| (\w+) \| (.+) \|$", page, re.MULTILINE)

    assert rows == [(full_name(f), ",".join(f.labels), f.kind, f.help) for f in FIGURES]


def test_dashboard_and_rules_ask_for_figures_that_exist() -> None:
    """A panel without data looks like a server without trouble."""
    board, rules = MONITORING.joinpath("grafana.json").read_text(), MONITORING.joinpath("alerts.yml").read_text()
    names = {name for figure in FIGURES for name in _samples(figure)}

    asked = set(re.findall(r"\b(?:lateron|process)_\w+", "\n".join([*_expressions(board), rules])))

    assert asked <= names
    unshown = {full_name(f) for f in FIGURES} - {re.sub("_bucket$", "", name) for name in asked}
    assert unshown == {
        "lateron_open_messages", "lateron_depths_exact", "process_start_time_seconds", "process_open_fds",
        "process_max_fds",
    }  # fmt: skip


def _samples(figure: Figure) -> set[str]:
    name = full_name(figure)
    return {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if figure.kind == "histogram" else {name}


def _expressions(board: str) -> list[str]:
    """Return the queries of the dashboard, its variables filled in as Grafana would."""
    values = {"$__rate_interval": "1m", "$instance": ".*"}
    asked = [target["expr"] for panel in json.loads(board)["panels"] for target in panel.get("targets", ())]
    for name, value in values.items():
        asked = [query.replace(name, value) for query in asked]
    return asked


@pytest.mark.parametrize(("argv", "file"), [(["grafana"], "grafana.json"), (["alerts"], "alerts.yml")])
def test_dashboard_and_rules_are_printed(argv: list[str], file: str, capsys: pytest.CaptureFixture[str]) -> None:
    """They come with the package, so that they fit its version."""
    assert main(argv) == 0

    assert capsys.readouterr().out == MONITORING.joinpath(file).read_text("utf-8")


def test_a_real_prometheus_reads_the_server_and_evaluates_every_query(busy: Server, tmp_path: Path) -> None:
    """What the dashboard and the rules ask, asked of Prometheus, about a server that works: each has an answer."""
    rules = tmp_path / "alerts.yml"
    rules.write_text(MONITORING.joinpath("alerts.yml").read_text("utf-8"), "utf-8")
    checked = subprocess.run([PROMTOOL, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    with Prometheus(tmp_path, figures_port(busy)) as prometheus:
        until(lambda: prometheus.ask("count_over_time(lateron_ready[10m])", 3), "three scrapes")

        for query in _expressions(MONITORING.joinpath("grafana.json").read_text("utf-8")):
            assert prometheus.ask(query), query
        until(lambda: prometheus.evaluated() or None, "the rules to be evaluated")
        for rule in prometheus.evaluated():
            assert rule["health"] == "ok", rule
            assert _has_figures(prometheus, rule["query"]), rule["query"]


def _has_figures(prometheus: Prometheus, query: str) -> bool:
    """Whether what a rule compares has data; a rule itself has an answer only when something is wrong."""
    left = re.split(r" (?:>|<|==|>=) ", query)[0]
    return bool(prometheus.ask(left))


class Prometheus:
    """A Prometheus of our own, which scrapes one port each second; a context manager."""

    def __init__(self, directory: Path, scraped: int) -> None:
        self.port = unused_port()
        self._directory = directory
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(directory / "alerts.yml")],
            "scrape_configs": [
                {"job_name": "lateron", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]},
            ],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config), "utf-8")  # YAML has JSON in it.

    def __enter__(self) -> Self:
        command = [
            PROMETHEUS,
            f"--config.file={self._directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._directory / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        with (self._directory / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def get(self, path: str) -> Mapping[str, Any] | None:
        """Ask its API; None while it does not answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            content = json.loads(answer.read()) if answer.status != 503 else None
        except ConnectionRefusedError:
            assert self._process.poll() is None, (self._directory / "prometheus.log").read_text()
            return None
        finally:
            connection.close()
        if content is None:
            return None
        assert content["status"] == "success", content
        return dict(content["data"])

    def ask(self, query: str, least: float | None = None) -> list[Any]:
        """Return the samples of a query; with ``least`` only if the first is at least so large."""
        answer = self.get(f"/api/v1/query?query={quote(query)}")
        samples = [] if answer is None else list(answer["result"])
        return samples if samples and (least is None or float(samples[0]["value"][1]) >= least) else []

    def evaluated(self) -> list[Mapping[str, Any]]:
        """Return the rules, once each was evaluated."""
        answer = self.get("/api/v1/rules")
        rules = [rule for group in (answer or {"groups": []})["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else []
