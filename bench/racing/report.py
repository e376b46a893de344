"""Telling what came of a row: as Markdown, each row in a marked block of bench/RESULTS.md that is replaced alone."""

import os
import platform
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from .tools import HOUSE, MIB, human, text_of

RESULTS = HOUSE / "bench/RESULTS.md"
HEAD = "# Results\n\nEach section is written by a script in this folder.\n"
PREFACE = """## race: ferry beside what people use instead

Each part below is one row of `bench/race`, measured by itself, with its own date and commit. What holds for all:

- Both ends run on one machine and share its cores, over loopback; only `link` has a slower way between them.
- The contestants of a row send the same data, in an order that changes every round, after a warm-up that does not count
  (unless the row says otherwise). What arrived is compared with what was sent after each run, byte by byte or by a digest
  taken when it was made, and removed.
- Contents are random bytes. Sources always lie on a tmpfs. Where a row does not name a disk, what arrives and all state
  lie there too: no disk plays a part, and syncing is free. Before each run as many bytes as it will store are written
  and removed, because a virtual machine may hand free memory back to its host, and gets it again more slowly than ferry or
  rsync fills it. Where a row names a disk, what arrives and all state of both ends lie on that disk. Each run goes into a
  new folder; before it, the file system is synced, and the disk has been quiet for a second. There nothing is removed
  before the end, because the runs after that would pay for it (but photos, which are few and large, go after each run).
- ferry sends to a ferryd that runs on, into a new folder, without its digest cache (but in `unchanged`). It encrypts
  (TLS 1.3), compares a digest of each file at both ends, and its receipts are durable: synced and catalogued. There is no
  other way to run it.
- Seconds are those from the start of the client to its end; with `nc`, to the end of both ends. MB/s are 1,000,000 bytes of
  content a second.
- CPU is user + system, in seconds, of all processes of an end. What the kernel does by itself, as writing to a disk, is
  counted for nobody.
- Peaks of resident memory, in MiB, are from one more run each, with a new server: of the largest process of an end. Where
  it has several, their number and the sum of their peaks (in which shared pages count several times) stand in brackets.
- "Before" is the resident memory of the server before that run, in MiB.
- Seconds, CPU and MB/s are medians. A ratio is that of the medians; by round, it is that of two runs of the same round.
  A ratio below 1 is in ferry's favour. Bounds are compared before anything is rounded."""


@dataclass
class Section:
    """What a row has to tell."""

    title: str
    results: dict
    claims: list
    peers: list = field(default_factory=list)  # the contestants beside ferry
    notes: list = field(default_factory=list)
    tables: str = ""  # of a row whose figures are others than times and ratios


@dataclass
class Claim:
    """A figure, what it was by round, and the bound that it must keep, if it has one."""

    what: str
    value: float | None  # None if it could not be measured
    by_round: list
    most: float = None
    least: float = None
    cpu: float = None

    def verdict(self):
        if self.most is None and self.least is None:
            return ""
        if self.value is None:
            return "not measured"
        is_met = (self.most is None or self.value <= self.most) and (self.least is None or self.value >= self.least)
        return "met" if is_met else "**missed**"

    def line(self):
        value = "" if self.value is None else f"{self.value:.3f}"
        spread = f"{min(self.by_round):.3f} to {max(self.by_round):.3f}" if len(self.by_round) > 1 else ""
        bounds = [("at most", self.most), ("at least", self.least)]
        must = ", ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
        cpu = "" if self.cpu is None else f"{self.cpu:.2f}"
        return f"| {self.what} | {value} | {spread} | {must} | {self.verdict()} | {cpu} |"


def section(course, row, told):
    claims = told.claims and [
        "| | measured | by round | must be | | ratio of CPU |",
        "| --- | --: | --- | --- | --- | --: |",
        *(claim.line() for claim in told.claims),
    ]
    parts = [
        f"### {row.name}: {told.title}",
        circumstances(course, row),
        table(told.results) if told.results else "",
        "\n".join(claims),
        told.tables,
    ]
    remarks = [f"- {note}" for note in told.notes]
    remarks += [f"- Disturbed ({times} ×): {trouble}." for trouble, times in Counter(course.troubles).items()]
    remarks += [f"- {peer.name}: {peer.does_not}" for peer in told.peers]
    if remarks:
        parts.append("\n".join(remarks))
    return "\n\n".join(filter(None, parts))


def circumstances(course, row):
    cpu = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "?")
    congestion = Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
    changed = [line for line in text_of("git", "status", "--porcelain").splitlines() if not line.endswith(RESULTS.name)]
    how = f"`bench/race --only {row.name} --rounds {course.rounds} --warm-up {course.warm_up}`"
    return f"""| | |
| --- | --- |
| when | {course.began:%Y-%m-%d %H:%M} UTC, load average {course.load_before:.2f} before the script and {course.load:.2f} before the row |
| commit | {text_of("git", "rev-parse", "--short=12", "HEAD")}{" with uncommitted changes" if changed else ""} |
| how | {how}{" with tiny sizes" if course.quick else ""}{", with programs that were built before" if course.options.bins else ", release build"} |
| machine | {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, {human(memory)} of memory, Linux {platform.release()}, {system}, TCP {congestion} |
| versions | {"; ".join(versions(course, row))} |"""


def versions(course, row):
    yield text_of(course.bins / "ferry", "--version")
    if not course.options.bins:
        yield text_of("rustc", "--version")
    if "scp" in row.programs:
        yield text_of("ssh", "-V").split(",")[0]
    if "rsync" in row.programs:
        yield " ".join(text_of("rsync", "--version").split()[:3])
    if "nc.openbsd" in row.programs:
        yield text_of("nc.openbsd", "-h").splitlines()[0]
    if "tar" in row.programs:
        yield text_of("tar", "--version").splitlines()[0]
    if "iperf3" in row.programs:
        yield " ".join(text_of("iperf3", "--version").split()[:2])
    if "curl" in row.programs:
        yield " ".join(text_of("curl", "--version").split()[:2])
    for program in ("dufs", "chromium"):
        if program in row.programs:
            yield " ".join(text_of(program, "--version").split()[:2])


def table(results):
    lines = [
        "| | seconds | min to max | MB/s | CPU of client | CPU of server | of both | peak of client | peak of server | before |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for result in results.values():
        walls = result.each(lambda run: run.wall)
        rate = median(result.rates()) / 1e6
        # Of what is not sent again, and of names without bytes, there is none that makes sense.
        rate = "" if result.lane.twice or rate < 1 else f"{rate:,.0f}"
        lines.append(
            f"| {result.lane.name} | {median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f} | {rate} "
            f"| {cpu_cell(result.each(lambda run: run.client))} | {cpu_cell(result.each(lambda run: run.server))} "
            f"| {median(result.each(lambda run: run.cpu)):.2f} "
            f"| {peak_cell(result.clients)} | {peak_cell(result.servers)} | {mib(result.idle)} |"
        )
    return "\n".join(lines)


def cpu_cell(pairs):
    return f"{median(user for user, _ in pairs):.2f} + {median(system for _, system in pairs):.2f}"


def peak_cell(peaks):
    if not peaks:
        return ""
    together = f" ({len(peaks)}: {mib(sum(peaks.values()))})" if len(peaks) > 1 else ""
    return mib(max(peaks.values())) + together


def mib(count):
    return f"{count / MIB:.1f}" if count else ""


def ratio(mine, other, most=None):
    wall, cpu = lambda run: run.wall, lambda run: run.cpu
    return Claim(
        f"{mine.lane.name} / {other.lane.name}",
        median(mine.each(wall)) / median(other.each(wall)),
        [a.wall / b.wall for a, b in zip(mine.runs, other.runs, strict=True)],
        most=most,
        # What is finished within a tick of the clock has no CPU time.
        cpu=median(mine.each(cpu)) / median(other.each(cpu)) if median(other.each(cpu)) else None,
    )


def write(name, text, order):
    """Puts the preface and a row's block in place of those before; git keeps them. A new row comes where it belongs."""
    results = RESULTS.read_text() if RESULTS.exists() else HEAD
    results = put(results, "preface", PREFACE, [])
    results = put(results, name, text, ["preface", *order[: order.index(name)]])
    RESULTS.write_text(results)


def put(results, name, text, before):
    begin, end = marks(name)
    block = f"{begin}\n{text}\n{end}\n"
    if begin in results:
        head, rest = results.split(begin, 1)
        return head + block + rest.split(end, 1)[1].removeprefix("\n")
    for earlier in reversed(before):
        _, mark = marks(earlier)
        if mark in results:
            head, rest = results.split(mark, 1)
            return head + mark + "\n\n" + block + rest.removeprefix("\n")
    return f"{results.rstrip()}\n\n{block}"


def marks(name):
    return f"<!-- race {name}: begin -->", f"<!-- race {name}: end -->"
