"""What a backup is for: to be given back, compared, and read again."""

import os
import subprocess
import time
from statistics import median

from . import data, report
from .contestants import Contestant, Ferry, Rsync, from_here
from .measure import Lane, race
from .report import Claim, Section
from .tools import GIB, MIB, human, remove

# What lies at the server before the first run.
KEPT = "kept"


class Keeper:
    """Mixed into a contestant: what it sends lies at its server already, and something else is done about it."""

    def prepare(self, run, source):
        if not (self.inbox / KEPT).exists():
            super().prepare(KEPT, source)
            for command, environment in super().commands(KEPT, source):
                whole = os.environ | environment
                subprocess.run(command, env=whole, stdout=self.log.file, stderr=self.log.file, check=True)

    def clear(self, run):
        pass


class Getter(Keeper):
    """What is got goes into folders of its own, and is compared there."""

    def start(self):
        super().start()
        self.back = self.folder / "back"
        self.back.mkdir()

    def has(self, run, source):
        return source.arrived_in(self.back / run)

    def clear(self, run):
        remove(self.back / run)


class FerryGet(Getter, Ferry):
    name = "ferry get"

    def __init__(self, course, flags=()):
        super().__init__(course, "ferry get", flags)

    def prepare(self, run, source):
        super().prepare(run, source)
        Ferry.prepare(self, run, source)

    def commands(self, run, source):
        get = [self.bins / "ferry", "get", f"race:{KEPT}/", self.back / run, "--progress", "never", *self.flags]
        yield self.way.at_client(get), {"FERRY_HOME": str(self.homes[0])}


class RsyncGet(Getter, Rsync):
    name = "rsync daemon, get"

    def commands(self, run, source):
        yield ["rsync", "-a", f"{self.place}/{KEPT}/", f"{self.back / run}/"], {}


class Checker(Keeper):
    """Nothing is moved: the exit code says how it went."""

    def to_write(self, source):
        return 0

    def has(self, run, source):
        return True


class FerryVerify(Checker, Ferry):
    name = "ferry verify"

    def __init__(self, course):
        super().__init__(course, "ferry verify")

    def commands(self, run, source):
        verify = [self.bins / "ferry", "verify", from_here(source), "--to", "race", "--dir", KEPT]
        yield self.way.at_client(verify), {"FERRY_HOME": str(self.homes[0])}


class RsyncCompare(Checker, Rsync):
    name = "rsync -nrc"
    does_not = "Encrypts nothing; reads and digests every file at both ends."

    def commands(self, run, source):
        # It prints what it would send.
        script = 'out=$(rsync -nrc --out-format=%n "$1" "$2") && test -z "$out"'
        yield ["bash", "-c", script, "bash", from_here(source), f"{self.place}/{KEPT}/"], {}


class Scrub(Checker, Ferry):
    """Beside a server that runs and has nothing to do."""

    def __init__(self, course, name):
        super().__init__(course, name)

    def commands(self, run, source):
        yield [self.bins / "ferryd", "scrub", "--root", self.inbox], {}


class Digests(Contestant):
    does_not = "Reads and digests the same files, and compares them with nothing."

    def __init__(self, course, name):
        super().__init__(course)
        self.name = name

    def to_write(self, source):
        return 0

    def has(self, run, source):
        return True

    def commands(self, run, source):
        script = 'find "$1" -type f -print0 | xargs -0 openssl dgst -sha256 >/dev/null'
        yield ["bash", "-o", "pipefail", "-c", script, "bash", source.path], {}


def restored(course, source, title):
    sender, getter, rsync = Ferry(course), FerryGet(course), RsyncGet(course)
    results = race(course, [Lane(sender, source), Lane(getter, source), Lane(rsync, source)])
    of = lambda contestant: results[contestant.name]
    claims = [report.ratio(of(getter), of(sender), most=1.15), report.ratio(of(getter), of(rsync))]
    notes = ["`ferry get` restores into a new folder, without its digest cache, and makes it durable as a server does."]
    return Section(title, results, claims, [rsync], notes)


def restore_small(course):
    course.need(ram=4 * GIB)
    tree = data.small_files(course.source, course.pick(20_000, 400))
    return restored(course, tree, f"{tree.files:,} files of 1 to 8 KiB, sent and got back")


def restore_big(course):
    course.need(ram=5 * 3 * GIB)
    tree = data.several_files(course.source, 1, course.pick(3 * GIB, 32 * MIB))
    return restored(course, tree, f"one file of {human(tree.payload)}, sent and got back")


def verify(course):
    tree = data.small_files(course.source, course.pick(20_000, 400))
    # A digest that was made of a file less than two seconds after it was touched is not kept.
    time.sleep(2.5)
    ferry, rsync = FerryVerify(course), RsyncCompare(course)
    results = race(course, [Lane(ferry, tree), Lane(rsync, tree)])
    claims = [report.ratio(results[ferry.name], results[rsync.name], most=0.8)]
    notes = ["ferry's digest cache is warm, and the server answers from its catalogue; it stats each file."]
    return Section(f"{tree.files:,} files of 1 to 8 KiB, compared", results, claims, [rsync], notes)


def scrub(course):
    course.need(ram=4 * GIB)
    large = data.several_files(course.source / "large", 4, course.pick(256 * MIB, 8 * MIB))
    small = data.small_files(course.source / "small", course.pick(20_000, 400))
    lanes = []
    for source, what in [(large, "large"), (small, "small")]:
        lanes += [
            Lane(Scrub(course, f"ferryd scrub, {what}"), source),
            Lane(Digests(course, f"openssl dgst, {what}"), source),
        ]
    results = race(course, lanes)
    claims = []
    for what in ["large", "small"]:
        ours, other = results[f"ferryd scrub, {what}"], results[f"openssl dgst, {what}"]
        by_round = [mine / peer for mine, peer in zip(ours.rates(), other.rates(), strict=True)]
        value = median(ours.rates()) / median(other.rates())
        claims.append(Claim(f"{what} files: rate of ferryd scrub / openssl dgst", value, by_round, least=0.8))
    title = f"4 files of {human(large.payload // 4)}, and {small.files:,} of 1 to 8 KiB, read again; the page cache is warm"
    return Section(title, results, claims, [lanes[1].contestant])


def rate(course):
    """How well a limit is kept."""
    limit, seconds = course.pick(50, 50), course.pick(10, 2)
    course.need(ram=4 * GIB)
    tree = data.several_files(course.source, 2, limit * 1_000_000 * seconds // 2)
    flags = ["--limit-rate", f"{limit}MB"]
    sender = Ferry(course, "ferry send", flags)
    getter = FerryGet(course, flags)
    results = race(course, [Lane(sender, tree), Lane(getter, tree)])
    claims = []
    for name, result in results.items():
        shares = [rate / (limit * 1_000_000) for rate in result.rates()]
        claims.append(Claim(f"{name}: rate / limit", median(shares), shares, most=1.05, least=0.95))
    return Section(f"{human(tree.payload)} with `--limit-rate {limit}MB`", results, claims)
