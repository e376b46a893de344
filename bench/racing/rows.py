"""The rows: each says what is sent by whom, and what the figures must be."""

import time
from dataclasses import dataclass
from statistics import median

from . import album, backup, data, disk, report, web
from .contestants import (
    Copy, Ferry, Iperf, Netcat, Rsync, RsyncFsync, RsyncNoDelay, RsyncOverSsh, Scp, TarNetcat, TarNetcatSync,
    ferries,
)
from .measure import Lane, race
from .network import Gigabit
from .profile import profile
from .report import Claim, Section
from .resume import resume
from .tools import GIB, MIB, human
from .watching import watch


@dataclass
class Row:
    name: str
    work: str
    run: object
    programs: tuple = ()  # that are installed where they are missing
    rounds: int = 9
    warm_up: int = 1
    needs_root: bool = False


def big(course):
    course.need(ram=2 * 3 * GIB)
    source = data.one_file(course.source / "big.bin", course.pick(3 * GIB, 32 * MIB))
    contestants = [*ferries(course), Scp(course), Rsync(course), RsyncOverSsh(course), Netcat(course), Copy(course)]
    bounds = {
        ("ferry", "scp"): 0.85, ("ferry", "rsync daemon"): 1.7,
        ("ferry blake3", "scp"): 0.6, ("ferry blake3", "rsync daemon"): 1.3,
    }
    title = f"one file of {human(source.payload)}"
    return sent_by(course, contestants, source, bounds, title)


def small(course):
    source = small_tree(course)
    contestants = [Ferry(course), Rsync(course), RsyncNoDelay(course), RsyncOverSsh(course), TarNetcat(course)]
    return sent_by(course, contestants, source, {("ferry", "rsync daemon"): 1.0}, name_of(source))


def small_disk(course):
    course.need(disk=8 * GIB)
    source = small_tree(course)
    contestants = [maker(course, on_disk=True) for maker in (Ferry, RsyncFsync, TarNetcatSync)]
    bounds = {("ferry", "rsync --fsync"): 0.2, ("ferry", "tar, nc, tar, sync"): 1.3}
    return sent_by(course, contestants, source, bounds, f"{name_of(source)}, to a disk")


def unchanged(course):
    source = small_tree(course)
    # ferry reads a file anew that was touched less than two seconds before it was read.
    time.sleep(2.5)
    contestants = [Ferry(course), Rsync(course), RsyncNoDelay(course)]
    title = f"{name_of(source)}, sent again unchanged"
    section = sent_by(course, contestants, source, {("ferry", "rsync daemon"): 1.2}, title, twice=True)
    section.notes.append(
        "Each round everything is sent into a new folder, and then sent there again; only that is timed. ferry's digest "
        "cache knows of the first time."
    )
    return section


def photos(course):
    course.need(ram=9 * GIB, disk=9 * GIB)
    count = course.pick(2_000, 8)
    source = data.photos(course.source, count)
    # Few files, of many bytes: what is removed hardly disturbs, and would not fit.
    where = {"on_disk": True, "clears": True}
    contestants = [*ferries(course, **where), RsyncFsync(course, **where)]
    bounds = {("ferry", "rsync --fsync"): 1.2, ("ferry blake3", "rsync --fsync"): 1.0}
    title = f"{count:,} files of 2 to 6 MB, {human(source.payload)}, to a disk"
    return sent_by(course, contestants, source, bounds, title)


def million(course):
    count = course.pick(1_000_000, 5_000)
    # An inode each, and a page for every other one; ferryd's log has a line for each. Four times it arrives, and stays.
    course.need(ram=5 * GIB, disk=4 * 4 * GIB, files=4 * count)
    source = data.specks(course.source, count)
    contestants = [Ferry(course, on_disk=True), Rsync(course, on_disk=True)]
    title = f"{count:,} files of up to 64 bytes, half of them empty, in {data.folders(count):,} folders, to a disk"
    section = sent_by(course, contestants, source, {("ferry", "rsync daemon"): 1.5}, title)
    if course.rounds == 1:
        section.notes.append("There is room for one round, so ferry goes first and rsync behind it.")
    ferry = section.results["ferry"]
    for end, peaks in [("client", ferry.clients), ("server", ferry.servers)]:
        section.claims.append(Claim(f"ferry: peak of {end}, MiB", sum(peaks.values()) / MIB, [], most=64))
    return section


def senders(course):
    course.need(ram=2 * 16 * 200 * MIB)
    many = 16
    source = data.several_files(course.source, many, course.pick(200 * MIB, 2 * MIB))
    lanes = [Lane(Ferry(course, f"{many} senders", senders=many), source), Lane(Ferry(course, "one sender"), source)]
    results = race(course, lanes)
    return Section(
        f"{many} files of {human(source.payload // many)}, by {many} senders at once and by one",
        results,
        [report.ratio(*results.values(), most=1.2)],
        notes=["All are clients of ferry with an identity each. The one sender sends the same files, in one run."],
    )


def link(course):
    course.need(ram=2 * GIB + 2 * GIB)
    file = data.one_file(course.source / "big.bin", course.pick(GIB, 64 * MIB))
    album = data.photos(course.source / "album", course.pick(400, 16))
    with Gigabit() as way:
        ferry, iperf = Ferry(course, way=way), Iperf(course, course.pick(10, 1), way=way)
        one, photos = Lane(ferry, file, "ferry, one file"), Lane(ferry, album, "ferry, photos")
        netcat = Lane(Netcat(course, way=way), file, "nc, one file")
        results = race(course, [Lane(iperf, None), netcat, one, photos])
    claims = []
    for lane, least in [(one, 0.97), (photos, 0.9)]:
        claims += claims_of_link(results[lane.name], results[iperf.name], least)
    return Section(
        f"one file of {human(file.payload)}, and {human(album.payload)} of photos, at 1 Gbit/s",
        results,
        claims,
        notes=[
            "Client and server are in a network namespace each, with a pair of virtual cards between them, and "
            f"`{way.shape}` at both ends. Data and state lie on the tmpfs.",
            f"iperf3 sends by one connection for {iperf.seconds} s; its rate is that of the bytes that arrived. It keeps "
            "none of them: what it costs to store them here, and no more, is what nc's server takes.",
        ],
    )


def claims_of_link(ferry, iperf, least):
    name = ferry.lane.name
    by_round = [mine / other for mine, other in zip(ferry.rates(), iperf.rates(), strict=True)]
    goodput = median(ferry.rates()) / median(iperf.rates())
    yield Claim(f"{name}: goodput / {iperf.lane.name}", goodput, by_round, least=least)
    for end in ["client", "server"]:
        shares = ferry.each(lambda run: sum(getattr(run, end)) / run.wall)
        yield Claim(f"{name}: cores that the {end} takes", median(shares), shares, most=0.5)


def small_tree(course):
    course.need(ram=GIB)
    return data.small_files(course.source, course.pick(20_000, 400))


def name_of(tree):
    return f"{tree.files:,} files of 1 to 8 KiB in {data.folders(tree.files):,} folders, {human(tree.payload)}"


def sent_by(course, contestants, source, bounds, title, twice=False):
    """Everyone sends the same, and ferry in each of its ways is compared with everyone else."""
    results = race(course, [Lane(contestant, source, twice=twice) for contestant in contestants])
    ours, peers = [], []
    for contestant in contestants:
        (ours if isinstance(contestant, Ferry) else peers).append(contestant)
    claims = [
        report.ratio(results[mine.name], results[peer.name], bounds.get((mine.name, peer.name)))
        for mine in ours for peer in peers
    ]
    absent = [(pair, most) for pair, most in bounds.items() if pair[0] not in results]
    claims += [Claim(" / ".join(pair), None, [], most=most) for pair, most in absent]
    notes = [f"{name} is left out: this ferry has no such digest." for name in sorted({pair[0] for pair, _ in absent})]
    if contestants[0].on_disk:
        notes.append(f"The disk: {disk.describe(course.disk)}.")
    return Section(title, results, claims, peers, notes)


ROWS = [
    Row("big", "one large file, in memory", big, ("sshd", "scp", "ssh-keygen", "rsync", "nc.openbsd")),
    Row("small", "many small files, in memory", small, ("sshd", "scp", "ssh-keygen", "rsync", "nc.openbsd", "tar")),
    Row("small-disk", "many small files, to a disk", small_disk, ("rsync", "nc.openbsd", "tar")),
    Row("unchanged", "many small files that are there already", unchanged, ("rsync",)),
    Row("photos", "files of some megabytes, to a disk", photos, ("rsync",), rounds=5),
    Row("resume", "going on with what was cut", resume, ("rsync",)),
    Row("link", "through 1 Gbit/s, beside iperf3", link, ("iperf3", "nc.openbsd", "ip", "tc"), needs_root=True),
    Row("million", "a million tiny files, to a disk", million, ("rsync",), rounds=1, warm_up=0),
    Row("restore-small", "many small files, sent and got back", backup.restore_small, ("rsync",)),
    Row("restore-big", "one large file, sent and got back", backup.restore_big, ("rsync",)),
    Row("verify", "comparing many small files", backup.verify, ("rsync",)),
    Row("scrub", "reading again what is kept", backup.scrub, ("openssl",)),
    Row("rate", "how well a limit is kept", backup.rate, rounds=5),
    Row("watch", "a folder under watch", watch),
    Row("web", "one large file by curl over HTTPS, in memory", web.web, ("curl", "openssl", "dufs")),
    Row("web-disk", "the same, to a disk", web.web_disk, ("curl", "openssl", "dufs"), rounds=5),
    Row("tus", "two hundred tus uploads at once", web.tus, rounds=5),
    Row("thumbnails", "small pictures of large photos", album.thumbnails, rounds=3, warm_up=0),
    Row("gallery", "ten thousand photos in a browser", album.gallery, ("node", "chromium"), warm_up=0),
    Row("senders", "sixteen senders at once", senders),
    Row("profile", "what the processors do meanwhile", profile, ("perf",), rounds=3, warm_up=0, needs_root=True),
]
