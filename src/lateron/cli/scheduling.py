"""``lateron schedule`` makes a schedule; ``lateron schedules`` looks after those there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from lateron.cli.commands import command, whole
from lateron.cli.exits import USAGE, Failed
from lateron.cli.outgoing import Scheduled
from lateron.cli.publishing import DestinationArgument
from lateron.cli.remote import Item, Remote, path

schedule_app = typer.Typer()
schedules_app = typer.Typer(help="Schedules: look at them, pause them, run one now.", no_args_is_help=True)

PREVIEWED: Final = 5
_ZONED: Final = "CRON_TZ="

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the schedule.")]
CountOption = Annotated[int, whole("--count", least=1, most=100, said="How many ticks.")]


@command(
    schedule_app,
    "lateron schedule '0 4 * * *' https://example.com/report --id daily",
    "lateron schedule '0 9 * * MON-FRI' https://example.com/hook --dry-run",
    "lateron schedule @hourly https://example.com/sync --overlap skip",
    "lateron schedule '@every 10s' https://example.com/poll --runs 100",
)
def schedule(
    remote: Remote,
    message: Scheduled,
    cron: Annotated[str, typer.Argument(metavar="CRON", help="Five fields, six with seconds, or @daily, @every 10s.")],
    destination: DestinationArgument,
    zone: Annotated[str | None, typer.Option("--zone", help="Time zone, e.g. Europe/Berlin.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and print when it would tick.")] = False,
) -> None:
    """Send a message again and again; print the id of the schedule.

    Without --zone the times of a cron are UTC. --dry-run asks no server: it reads the schedule as this version would.
    """
    if zone is not None and cron.strip().startswith(_ZONED):
        raise Failed(f"--zone: the cron names its own, {cron.split()[0]}", USAGE)
    zoned = cron if zone is None else f"{_ZONED}{zone} {cron}"
    headers = {**message.headers(), "Upstash-Cron": zoned}
    if dry_run:
        from lateron.cli.rehearsal import ticks

        _print_times(remote, {"times": ticks(destination, headers, message.content() or b"", PREVIEWED)})
        return
    answer = remote.call("POST", f"/v2/schedules/{destination}", body=message.content(), headers=headers)
    remote.done(answer, answer["scheduleId"])


@command(schedules_app, "lateron schedules list", name="list")
def list_schedules(remote: Remote) -> None:
    """Print all schedules and when each ticks next."""

    def row(item: Item) -> Sequence[str]:
        due = "paused" if item["isPaused"] else remote.instant(item.get("nextScheduleTime"))
        return item["scheduleId"], item["cron"], due, item["destination"]

    remote.listed(remote.call("GET", path("v2", "schedules")), ("schedule", "cron", "next", "url"), row)


@command(schedules_app, "lateron schedules get daily")
def get(remote: Remote, schedule: IdArgument) -> None:
    """Print a schedule."""
    remote.record(remote.call("GET", path("v2", "schedules", schedule)))


@command(schedules_app, "lateron schedules pause daily")
def pause(remote: Remote, schedule: IdArgument) -> None:
    """Let a schedule tick no more; what would have ticked is not made up for."""
    remote.done(remote.call("POST", path("v2", "schedules", schedule, "pause")), f"paused {schedule}")


@command(schedules_app, "lateron schedules resume daily")
def resume(remote: Remote, schedule: IdArgument) -> None:
    """Go on with the next tick."""
    remote.done(remote.call("POST", path("v2", "schedules", schedule, "resume")), f"resumed {schedule}")


@command(schedules_app, "lateron schedules run daily")
def run(remote: Remote, schedule: IdArgument) -> None:
    """Make a message of a schedule now, and print its id; the schedule itself does not move."""
    answer = remote.call("POST", path("v2", "schedules", schedule, "run"))
    remote.done(answer, answer["messageId"])


@command(schedules_app, "lateron schedules preview daily --count 3")
def preview(remote: Remote, schedule: IdArgument, count: CountOption = PREVIEWED) -> None:
    """Print when a schedule will tick; of a paused one, when it would."""
    _print_times(remote, remote.call("GET", path("lateron", "v1", "schedules", schedule, "next"), [("count", count)]))


@command(schedules_app, "lateron schedules delete daily")
def delete(remote: Remote, schedule: IdArgument) -> None:
    """Delete a schedule; messages that it has made are delivered all the same."""
    remote.done(remote.call("DELETE", path("v2", "schedules", schedule)), f"deleted {schedule}")


def _print_times(remote: Remote, answer: Item) -> None:
    remote.done(answer, "\n".join(remote.instant(tick) for tick in answer["times"]) or "never again")
