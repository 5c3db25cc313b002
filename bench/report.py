"""What a run has measured: figures with their values, limits and verdicts, as a table and as JSON.

A figure is measured several times; its median stands beside its least and its most, for one good round is
luck. What else the machine did meanwhile is measured too: ``foreign cores`` is the CPU time of everybody
but the run itself, by the second. A run with much of it says less.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
FIGURE = "{:,.4g}"
FOREIGN = "foreign cores"


@dataclass(slots=True)
class Figure:
    """One figure: its values, and the limit that their median must keep."""

    values: list[float] = field(default_factory=list)
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """Return the middle value."""
        return statistics.median(self.values)

    @property
    def kept(self) -> bool:
        """Whether the median keeps the limit, if there is one."""
        above = self.at_least is None or self.median >= self.at_least
        return above and (self.at_most is None or self.median <= self.at_most)

    @property
    def limit(self) -> str:
        """Return the limit and whether it is kept, for people."""
        if self.at_most is None and self.at_least is None:
            return ""
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        return f"{sign} {_shown(bound or 0.0)}: {'kept' if self.kept else '**missed**'}"


class Sheet:
    """The figures of one scenario, in the order in which they were first named.

    Args:
        title: Of the scenario.
        what: What was run, in a sentence or two.
    """

    def __init__(self, title: str, what: str) -> None:
        self.title = title
        self.what = what
        self.figures: dict[str, Figure] = {}
        self._load = Load()

    def add(self, figure: str, *values: float, at_most: float | None = None, at_least: float | None = None) -> None:
        """Add values of a figure, and its limit if it has one."""
        known = self.figures.setdefault(figure, Figure())
        known.values += values
        known.at_most = known.at_most if at_most is None else at_most
        known.at_least = known.at_least if at_least is None else at_least

    def ratio(self, figure: str, above: str, below: str, **limit: float) -> None:
        """Add the ratio of two figures, round by round."""
        pairs = zip(self.figures[above].values, self.figures[below].values, strict=True)
        self.add(figure, *[a / b if b else float("inf") for a, b in pairs], **limit)

    def median(self, figure: str) -> float:
        """Return the median of a figure."""
        return self.figures[figure].median

    def close(self) -> None:
        """Note what the machine did beside us since the sheet was opened."""
        self.add(FOREIGN, self._load.foreign())

    @property
    def kept(self) -> bool:
        """Whether all limits are kept."""
        return all(figure.kept for figure in self.figures.values())

    def table(self) -> str:
        """Return the figures as a Markdown table."""
        lines = ["| figure | median | least | most | limit |", "|---|---|---|---|---|"]
        for name, figure in self.figures.items():
            shown = [_shown(value) for value in (figure.median, min(figure.values), max(figure.values))]
            spread = shown[1:] if len(figure.values) > 1 else ["", ""]
            lines.append(f"| {name} | {shown[0]} | {' | '.join(spread)} | {figure.limit} |")
        return "\n".join(lines)


class Load:
    """The CPU time of everybody but this process and its children, from now on."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds() - _own_seconds()

    def foreign(self) -> float:
        """Return how many cores others used on average; to be asked when all children have ended."""
        return max(0.0, _busy_seconds() - _own_seconds() - self._busy) / (time.monotonic() - self._began)


def publish(sheets: list[Sheet], *, record: bool) -> bool:
    """Print the tables, write them as JSON into bench/out, append them to RESULTS.md if asked.

    Returns:
        Whether all limits were kept.
    """
    now = datetime.now(UTC)
    made = setting()
    head = f", {now:%Y-%m-%d %H:%M} UTC"
    text = "".join(f"\n## {each.title}{head}\n\n{each.what} {made}\n\n{each.table()}\n" for each in sheets)
    print(text)
    document = {
        "setting": made,
        "scenarios": [
            {
                "title": each.title,
                "what": each.what,
                "figures": {
                    name: {"values": f.values, "at_most": f.at_most, "at_least": f.at_least, "kept": f.kept}
                    for name, f in each.figures.items()
                },
            }
            for each in sheets
        ],
    }
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    (out / f"{now:%Y%m%dT%H%M%S%fZ}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False))
    if record:
        with (HERE / "RESULTS.md").open("a", encoding="utf-8") as results:
            results.write(text)
    return all(each.kept for each in sheets)


def setting() -> str:
    """Say on what machine and at which commit a run was made."""
    command = ["git", "describe", "--always", "--dirty"]
    described = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
    return (
        f"Commit {described or 'unknown'}. {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}."
    )


def _shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _busy_seconds() -> float:
    """Return the CPU time of the whole machine since it was started."""
    fields = Path("/proc/stat").read_text("ascii").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = map(int, fields)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
