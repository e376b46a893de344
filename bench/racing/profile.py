"""The row `profile`: what the processors do while ferry sends, at each end."""

import re
import subprocess
from collections import Counter

from . import data
from .contestants import Ferry
from .measure import Lane, Sending
from .report import Section
from .tools import GIB, MIB, human, remove, say

FREQUENCY = 2000  # samples in a second of processor time

# What a sample is counted for: the first of these that fits. Of the kernel's samples, any function that was being
# called may decide; of the programs', the innermost does, because optimised programs do not tell who called it.
COPY = re.compile(r"copy_folio_|_copy_(to|from)_iter|copy_page|clear_page|rep_movs|rep_stos|memcpy|memset")
KERNEL = [
    ("page faults", re.compile(r"exc_page_fault|do_user_addr_fault")),
    ("waiting and waking up", re.compile(r"futex|epoll|eventfd|nanosleep|^schedule$|halt")),
    ("network", re.compile(r"tcp_|inet_|sock_|net_rx_action|__sys_(send|recv)")),
    ("files and folders", re.compile(r"sys_|vfs_")),
]
PROGRAM = [
    ("SHA-256", re.compile(r"sha2::|sha256")),
    ("BLAKE3", re.compile(r"blake3")),
    ("AES-GCM", re.compile(r"aes_|gcm")),
    ("SQLite", re.compile(r"^sqlite3|^(btree|vdbe|pager|pcache1|wal)[A-Z]|^balance_")),
    ("copying, program", re.compile(r"memmove|memcpy|memset")),
    ("allocating", re.compile(r"^_*(GI_+)?(libc_|int_)?(malloc|calloc|realloc|c?free)|^unlink_chunk")),
]
KINDS = [
    "SHA-256", "BLAKE3", "AES-GCM", "copying, kernel", "copying, program", "network", "files and folders",
    "SQLite", "allocating", "page faults", "waiting and waking up", "the rest of the program", "the rest of the kernel",
]


class Sampled(Ferry):
    """Both ends run under `perf`, from their start to their end."""

    def serve(self, command, port=None, **more):
        super().serve(sampling(self.folder / "server.perf", command), port, **more)

    def commands(self, run, source):
        for command, environment in super().commands(run, source):
            yield sampling(self.folder / "client.perf", command), environment


def sampling(samples, command):
    return [
        "perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(FREQUENCY), "--call-graph", "fp",
        "--output", samples, "--", *command,
    ]


def profile(course):
    course.need(ram=4 * GIB)
    file = data.one_file(course.source / "big.bin", course.pick(GIB, 32 * MIB))
    tree = data.small_files(course.source / "tree", course.pick(20_000, 400))
    columns = {}
    for name, source, flags in [
        (human(file.payload), file, []),
        (f"{human(file.payload)}, BLAKE3", file, ["--digest", "blake3"]),
        (f"{tree.files:,} small files", tree, []),
    ]:
        for number in range(course.rounds):
            say(f"  sampling {name}, {number + 1}")
            for end, seconds in sample(course, source, flags).items():
                columns.setdefault((name, end), Counter()).update(seconds)
    return Section(
        "what the processors do meanwhile",
        {},
        [],
        notes=[
            f"Seconds of processor time, from {FREQUENCY:,} samples a second of it by `perf`, of both ends from their "
            f"start to their end; means of {course.rounds} runs. Data and state lie on the tmpfs.",
            "Copying in the kernel is to and from sockets and files, with what the machine takes to find pages for them.",
        ],
        tables=table(columns, course.rounds),
    )


def sample(course, source, flags):
    """Seconds by kind, of each end."""
    ferry = Sampled(course, flags=flags)
    # What was sampled is read when the server has ended, and removed only then.
    ferry.clears = False
    with ferry:
        ferry.prepare("run", source)
        with Sending(course, Lane(ferry, source), "run") as sending:
            sending.reap()
            sending.check()
    found = {end: Counter(kinds(ferry.folder / f"{end}.perf")) for end in ["client", "server"]}
    remove(ferry.folder)
    return {end: {kind: count / FREQUENCY for kind, count in counts.items()} for end, counts in found.items()}


def kinds(samples):
    """The kind of each sample."""
    script = ["perf", "script", "--input", samples, "--fields", "ip,sym,dso"]
    text = subprocess.run(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout.decode()
    for stack in re.split(r"\n\s*\n", text):
        # An address, a function, and in brackets where it comes from.
        frames = re.findall(r"^\s*[0-9a-f]+ (.+) \(([^()]*)\)$", stack, re.MULTILINE)
        if frames:
            yield kind(frames)


def kind(frames):
    (innermost, where), *_ = frames
    if "kernel" in where:
        if COPY.search(innermost):
            return "copying, kernel"
        called = [function for function, where in frames if "kernel" in where]
        found = (name for name, sign in KERNEL if any(sign.search(function) for function in called))
        return next(found, "the rest of the kernel")
    return next((name for name, sign in PROGRAM if sign.search(innermost)), "the rest of the program")


def table(columns, rounds):
    heads = [f"{name}: {end}" for name, end in columns]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' --: |' * len(heads)}"]
    for kind in KINDS:
        if any(column[kind] for column in columns.values()):
            lines.append(f"| {kind} | {' | '.join(f'{column[kind] / rounds:.2f}' for column in columns.values())} |")
    total = " | ".join(f"{column.total() / rounds:.2f}" for column in columns.values())
    return "\n".join([*lines, f"| **all** | {total} |"])
