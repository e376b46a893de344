"""ferryd as curl and browsers see it: the rows `web`, `web-disk` and `tus`."""

import base64
import http.client
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager
from statistics import median
from urllib.parse import urlsplit

from . import data, disk, report
from .contestants import Contestant, Ferry, free_port, pipeline
from .measure import Lane, peak_memory, race
from .report import Claim, Section, mib
from .tools import GIB, KIB, MIB, human, run_quietly, say

# Certificates are of their servers' own making here; that of ferryd is pinned where people use it.
CURL = ["curl", "--silent", "--show-error", "--fail", "--insecure"]


class FerryWeb(Ferry):
    """A ferryd with its side for browsers, and a token for it."""

    name = "ferryd, by curl"
    serves = ["--web=127.0.0.1:0"]

    def __init__(self, course, name=name, **where):
        super().__init__(course, name, **where)

    def launch(self):
        address = super().launch()
        self.address = self.listening()
        return address

    def start(self):
        super().start()
        self.token = {"Authorization": f"Bearer {self.invite().split('#invite=')[1]}"}

    def invite(self):
        invite = [self.bins / "ferryd", "invite", "--web", "--root", self.inbox]
        link = subprocess.run(invite, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log.file, check=True)
        return link.stdout.decode().strip()

    def commands(self, run, source):
        digest = base64.b64encode(source.digest).decode()
        yield [*self.put(run, source), "-H", f"Repr-Digest: sha-256=:{digest}:"], {}

    def put(self, run, source):
        headers = [word for name, value in self.token.items() for word in ("-H", f"{name}: {value}")]
        return [*CURL, *headers, "-T", source.path, f"{self.address}/files/{run}/"]

    @contextmanager
    def connected(self):
        """A connection of somebody who shows the token."""
        place = urlsplit(self.address)
        connection = http.client.HTTPSConnection(place.hostname, place.port, context=ssl._create_unverified_context())
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, connection, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, self.token | headers)
        answer = connection.getresponse()
        return answer, answer.read()


class FerryWebDigest(FerryWeb):
    """Its client takes the digest, too."""

    name = "ferryd, by openssl and curl"
    script = 'digest=$(openssl dgst -sha256 -binary "$1" | base64 -w 0) && shift && "$@" -H "Repr-Digest: sha-256=:$digest:"'

    def __init__(self, course, **where):
        super().__init__(course, self.name, **where)

    def commands(self, run, source):
        yield pipeline(self.script, source.path, *self.put(run, source)), {}


class Dufs(Contestant):
    name = "dufs"
    does_not = "TLS 1.3, by the same curl. No digest of what was sent or stored, no receipt. Nothing is synced."
    flags = ()

    def start(self):
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        run_quietly(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-keyout", key, "-out", certificate,
        ).check_returncode()
        port = free_port()
        self.address = f"https://127.0.0.1:{port}"
        self.serve(
            ["dufs", "--allow-all", "--bind", "127.0.0.1", "--port", str(port), "--tls-cert", certificate, "--tls-key", key,
             "--log-file", self.folder / "dufs.log", self.inbox], port,
        )

    def prepare(self, run, source):
        (self.inbox / run).mkdir()

    def commands(self, run, source):
        yield [*CURL, *self.flags, "-T", source.path, f"{self.address}/{run}/"], {}


class DufsHttp1(Dufs):
    name = "dufs, HTTP/1.1"
    does_not = "The same. ferryd speaks nothing newer, and curl sends a large file more slowly by HTTP/2, which it prefers."
    flags = ["--http1.1"]


def web(course):
    course.need(ram=2 * 3 * GIB)
    return put(course, "one file of {}, put over HTTPS")


def web_disk(course):
    course.need(ram=3 * GIB, disk=2 * 3 * GIB)
    return put(course, "one file of {}, put over HTTPS, to a disk", on_disk=True, clears=True)


def put(course, title, **where):
    source = data.one_file(course.source / "big.bin", course.pick(3 * GIB, 32 * MIB))
    ours, peers = [FerryWeb(course, **where), FerryWebDigest(course, **where)], [Dufs(course, **where), DufsHttp1(course, **where)]
    results = race(course, [Lane(contestant, source) for contestant in ours + peers])
    claims = [
        report.ratio(results[mine.name], results[peer.name], most)
        for mine, most in zip(ours, [0.5, None], strict=True)
        for peer in peers
    ]
    notes = [
        f"{ours[0].name}: curl is told the file's SHA-256, which ferryd compares with that of what came before it gives the "
        "file its name; it answers when the file is durable.",
        f"{ours[1].name}: the same, and the digest is taken within the run.",
    ]
    if where:
        notes.append(f"The disk: {disk.describe(course.disk)}.")
    return Section(title.format(human(source.payload)), results, claims, peers, notes)


def tus(course):
    """Many uploads, each with a connection and a thread of its own, in pieces that one has to answer before the next."""
    many, pieces, length = course.pick(200, 20), 32, course.pick(256 * KIB, 4 * KIB)
    course.need(ram=3 * many * pieces * length)
    source = data.several_files(course.source, many, pieces * length)
    walls, pauses = [], []
    with FerryWeb(course) as ferry:
        for number in range(-course.warm_up, course.rounds):
            wall, pause = upload_all(course, ferry, source, length, f"run.{number}")
            say(f"  {f'round {number + 1}' if number >= 0 else 'warm-up'}: {wall:.2f} s, longest pause {pause:.2f} s")
            if number >= 0:
                walls.append(wall)
                pauses.append(pause)
        peak = max(peak_memory([ferry.server]).values())
    return Section(
        f"{many} tus uploads of {human(pieces * length)} at once",
        {},
        [
            Claim("the longest that any of them waited for an answer, seconds", max(pauses), pauses, most=5.0),
            Claim("MB/s of all together", source.payload / median(walls) / 1e6, [source.payload / wall / 1e6 for wall in walls]),
        ],
        notes=[
            f"Each has a connection of its own and goes in pieces of {human(length)}, of which each waits for the answer to the "
            "one before. All are created before any goes on. What arrived is compared with what was sent.",
            f"All are through after {median(walls):.2f} s. The client is Python, which takes more of the processors than ferryd.",
            f"Peak of the server: {mib(peak)} MiB.",
        ],
    )


def upload_all(course, ferry, source, length, run):
    """Seconds until all are there, and the longest that one waited for an answer."""
    names = sorted(path.name for path in source.path.iterdir())
    together, waited, problems = threading.Barrier(len(names)), [], []

    def upload(name):
        with ferry.connected() as connection:
            content = (source.path / name).read_bytes()
            path = base64.b64encode(f"{run}/{name}".encode()).decode()
            metadata = {"Upload_Length": str(len(content)), "Upload_Metadata": f"filename {path}"}
            answer, _ = ferry.ask(connection, "POST", "/uploads", Tus_Resumable="1.0.0", **metadata)
            place = answer.headers["Location"]
            together.wait(course.time_limit)
            for offset in range(0, len(content), length):
                began = time.perf_counter()
                answer, _ = ferry.ask(
                    connection, "PATCH", place, content[offset : offset + length], Tus_Resumable="1.0.0",
                    Upload_Offset=str(offset), Content_Type="application/offset+octet-stream",
                )
                waited.append(time.perf_counter() - began)
                if answer.status != 204:
                    raise OSError(f"{name}: {answer.status}")

    def run_one(name):
        try:
            upload(name)
        except Exception as problem:
            problems.append(problem)
            together.abort()

    threads = [threading.Thread(target=run_one, args=[name]) for name in names]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    if problems:
        course.log.fail(f"an upload failed: {problems[0]}")
    if not source.arrived_in(ferry.inbox / run):
        course.log.fail("what was uploaded is not what arrived")
    ferry.clear(run)
    return wall, max(waited)
