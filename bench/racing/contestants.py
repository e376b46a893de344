"""Who races: each knows how to start its server, what its client is called with, and what it does not do."""

import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .network import Loopback
from .tools import program, remove, run_quietly, text_of

CIPHER = "aes128-gcm@openssh.com"


class Contestant:
    """A client and the server that it sends to. Entering it starts the server, leaving it stops the server.

    What it has on the disk stays there until the race is over, unless it is told to clear it, because many files that are
    removed make the next run slow, whoever's it is (`disk.await_inodes`).
    """

    name = None
    does_not = ""

    def __init__(self, course, on_disk=False, clears=False, way=Loopback()):
        self.log, self.bins, self.time_limit = course.log, course.bins, course.time_limit
        self.way, self.on_disk = way, on_disk
        self.clears = clears or not on_disk
        self.base = course.disk if on_disk else course.ram

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(dir=self.base))
        self.inbox = self.folder / "inbox"
        self.inbox.mkdir()
        self.server = None
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.terminate()
            try:
                self.server.wait(30)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        if self.clears:
            remove(self.folder)

    def start(self):
        """Starts what runs on from one run to the next, if anything does."""

    def prepare(self, run, source):
        """What has to be there before a run, or must not be."""

    def to_write(self, source):
        """How many bytes a run stores."""
        return source.payload

    def receiver(self, run, source):
        """What receives this run alone, and the port that it listens on, if there is such a thing."""
        return None

    def commands(self, run, source):
        """The clients, each with its environment, that send `source` into the new folder `run` of the inbox."""
        raise NotImplementedError

    def under_way(self, began):
        """The clients of a run have just been started."""

    def over(self, said):
        """They have ended; `said()` is what they said. Gives what else the run has shown."""
        return {}

    def has(self, run, source):
        """Whether what was sent has arrived."""
        return source.arrived_in(self.inbox / run)

    def clear(self, run):
        if self.clears:
            remove(self.inbox / run)

    def serve(self, command, port=None, **more):
        command = self.way.at_server(command)
        self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.log.file, **more)
        if port:
            self.wait_for(port, self.server)

    def wait_for(self, port, process):
        """Until somebody listens. Asking by a connection would take the only one that `nc` accepts."""
        listening = f":{port:04X} 00000000:0000 0A"
        deadline = time.monotonic() + 10
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                self.log.fail(f"the server of {self.name} does not start")
            # As the server's own network sees it.
            if listening in Path(f"/proc/{process.pid}/net/tcp").read_text():
                return
            time.sleep(0.005)


class Ferry(Contestant):
    """One ferryd, and as many clients as there are senders, each with an identity of its own."""

    name = "ferry"
    serves = ()  # flags of its ferryd

    def __init__(self, course, name="ferry", flags=(), senders=1, **where):
        super().__init__(course, **where)
        self.name, self.flags, self.senders = name, flags, senders

    def start(self):
        self.homes = [self.folder / f"home-{number}" for number in range(self.senders)]
        address = self.launch()
        host = ["--host", address, "--uses", str(len(self.homes))]
        invite = subprocess.run(
            [self.bins / "ferryd", "invite", "--root", self.inbox, *host],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log.file, check=True,
        )
        pair = self.way.at_client([self.bins / "ferry", "pair", "-", "--as", "race"])
        for home in self.homes:
            subprocess.run(
                pair, input=invite.stdout, stdout=self.log.file, stderr=self.log.file, check=True,
                env=os.environ | {"FERRY_HOME": str(home)},
            )

    def launch(self):
        """Starts ferryd, and gives its address."""
        flags = ["--listen", f"{self.way.address}:0", "--root", self.inbox, *self.serves]
        self.serve([self.bins / "ferryd", *flags], stdout=subprocess.PIPE, text=True)
        return self.listening()

    def listening(self):
        line = self.server.stdout.readline()
        if not line.startswith("listening on "):
            self.log.fail("ferryd does not start")
        return line.split()[-1]

    def prepare(self, run, source):
        for home in self.homes:
            for cache in home.glob("digests.db*"):
                cache.unlink()

    def commands(self, run, source):
        if len(self.homes) > 1:
            sources = sorted(source.path.iterdir())
        else:
            # A slash at the end means what is in the folder.
            sources = [f"{source.path}/" if source.path.is_dir() else source.path]
        for home, path in zip(self.homes, sources, strict=True):
            send = [self.bins / "ferry", "send", path, "--to", "race", "--dir", run, "--progress", "never", *self.flags]
            yield self.way.at_client(send), {"FERRY_HOME": str(home)}


def ferries(course, **where):
    """ferry as it comes, and with the faster digest if it has that."""
    found = [Ferry(course, **where)]
    if "--digest" in text_of(course.bins / "ferry", "send", "--help"):
        found.append(Ferry(course, "ferry blake3", ["--digest", "blake3"], **where))
    return found


class Rsync(Contestant):
    name = "rsync daemon"
    does_not = "No encryption. Verified by its own checksum on the way. Nothing is synced."
    settings = ""
    flags = ()

    def start(self):
        port = free_port()
        self.place = f"rsync://127.0.0.1:{port}/inbox"
        (self.folder / "rsyncd.conf").write_text(
            f"{self.settings}use chroot = no\nuid = {os.getuid()}\ngid = {os.getgid()}\n"
            f"log file = {self.folder}/rsyncd.log\nlock file = {self.folder}/lock\n[inbox]\npath = {self.inbox}\nread only = no\n"
        )
        self.serve(
            ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}",
             f"--config={self.folder}/rsyncd.conf"], port,
        )

    def commands(self, run, source):
        yield ["rsync", "-a", *self.flags, from_here(source), f"{self.place}/{run}/"], {}


class RsyncFsync(Rsync):
    name = "rsync --fsync"
    does_not = (
        "To a daemon: no encryption. Verified by its own checksum on the way. Each file's bytes are synced, its name and "
        "time are not."
    )
    flags = ["--fsync"]


class RsyncNoDelay(Rsync):
    name = "rsync daemon, TCP_NODELAY"
    does_not = (
        "As the other, with this option at both ends. Without it rsync's first messages wait for acknowledgements, up to a "
        "tenth of a second in all."
    )
    settings = "socket options = TCP_NODELAY\n"
    flags = ["--sockopts=TCP_NODELAY"]


class OverSsh(Contestant):
    """An sshd of its own, and how to reach it."""

    # sshd, started by root, wants this folder.
    privileges = Path("/run/sshd")

    def start(self):
        self.made = os.getuid() == 0 and not self.privileges.exists()
        if self.made:
            self.privileges.mkdir()
        for key in ["host", "client"]:
            run_quietly("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key).check_returncode()
        self.port = free_port()
        public = (self.folder / "host.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {public}")
        # `internal-sftp` spares scp the user's shell, and the level of shells (SHLVL) spares rsync that shell's
        # start-up files: either may take longer than the data.
        (self.folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/client.pub\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nSetEnv SHLVL=1\n"
        )
        # sshd starts itself anew for every connection, which takes an absolute path.
        self.serve([program("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"], self.port)

    def __exit__(self, *problem):
        super().__exit__(*problem)
        if self.made:
            self.privileges.rmdir()

    def prepare(self, run, source):
        (self.inbox / run).mkdir()

    def ssh_options(self):
        return [
            "-F", "none", "-c", CIPHER, "-i", self.folder / "client", "-o", "IdentitiesOnly=yes",
            "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.folder}/known_hosts",
        ]


class Scp(OverSsh):
    name = "scp"
    does_not = "No digest of what was sent or stored. Nothing is synced."

    def commands(self, run, source):
        to = f"127.0.0.1:{self.inbox / run}/"
        yield ["scp", "-q", *self.ssh_options(), "-P", str(self.port), source.path, to], {}


class RsyncOverSsh(OverSsh):
    name = "rsync over ssh"
    does_not = "Encrypted. Verified by its own checksum on the way. Nothing is synced."

    def commands(self, run, source):
        shell = shlex.join(str(word) for word in ["ssh", *self.ssh_options(), "-p", str(self.port)])
        to = f"127.0.0.1:{self.inbox / run}/"
        yield ["rsync", "-a", "-e", shell, f"--rsync-path={program('rsync')}", from_here(source), to], {}


class Netcat(Contestant):
    """Receives each run by an `nc` of its own. The run is over when both ends are."""

    name = "nc"
    does_not = "No encryption, no digest, no name and no time of the file, no sync: bytes through a socket."
    receives = 'nc.openbsd -d -l "$1" "$2" > "$3/$4"'
    sends = 'nc.openbsd -N "$1" "$2" < "$3"'

    def prepare(self, run, source):
        (self.inbox / run).mkdir()

    def receiver(self, run, source):
        self.port = free_port()
        receive = pipeline(self.receives, self.way.address, self.port, self.inbox / run, source.path.name)
        return self.way.at_server(receive), self.port

    def commands(self, run, source):
        yield self.way.at_client(pipeline(self.sends, self.way.address, self.port, source.path)), {}


class TarNetcat(Netcat):
    name = "tar, nc, tar"
    does_not = "No encryption, no digest, no sync."
    receives = 'nc.openbsd -d -l "$1" "$2" | tar -x -C "$3"'
    sends = 'tar -c -C "$3" . | nc.openbsd -N "$1" "$2"'


class TarNetcatSync(TarNetcat):
    name = "tar, nc, tar, sync"
    does_not = "No encryption, no digest. All of it is synced at once, at the end."
    receives = f'{TarNetcat.receives} && sync -f "$3"'


class Copy(Contestant):
    name = "cp"
    does_not = "No network, no encryption, no digest, no sync: one copy in memory."

    def prepare(self, run, source):
        (self.inbox / run).mkdir()

    def commands(self, run, source):
        yield ["cp", source.path, self.inbox / run], {}


class Iperf(Contestant):
    """What the way lets through. It sends no file."""

    name = "iperf3"

    def to_write(self, source):
        return 0

    def __init__(self, course, seconds, **where):
        super().__init__(course, **where)
        self.seconds = seconds

    def start(self):
        self.port = free_port()
        self.serve(["iperf3", "-s", "-B", self.way.address, "-p", str(self.port)], self.port, stdout=subprocess.DEVNULL)

    def commands(self, run, source):
        measure = ["iperf3", "-c", self.way.address, "-p", str(self.port), "-t", str(self.seconds), "--json"]
        yield self.way.at_client(measure), {}

    def over(self, said):
        return {"rate": json.loads(said())["end"]["sum_received"]["bits_per_second"] / 8}

    def has(self, run, source):
        return True


def from_here(source):
    return f"{source.path}/" if source.path.is_dir() else source.path


def pipeline(script, *arguments):
    """Fails if any of its programs does, and accounts for all of them."""
    return ["bash", "-o", "pipefail", "-c", script, "bash", *(str(argument) for argument in arguments)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
