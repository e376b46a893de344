"""What the rest stands on: other programs, what they say, and how sizes are written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent.parent
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
PACKAGES = {
    "sshd": "openssh-server",
    "scp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "rsync": "rsync",
    "nc.openbsd": "netcat-openbsd",
    "tar": "tar",
    "iperf3": "iperf3",
    "ip": "iproute2",
    "tc": "iproute2",
    "perf": "linux-perf",
    "curl": "curl",
    "openssl": "openssl",
    "node": "nodejs",
    "chromium": "chromium",
}
# What no package has, but cargo installs.
CRATES = {"dufs": "dufs"}


class Log:
    """What all programs say; shown when one fails."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        self.file = open(self.path, "ab")
        return self

    def __exit__(self, *_):
        self.file.close()

    def length(self):
        return self.path.stat().st_size

    def since(self, length):
        with open(self.path, "rb") as file:
            file.seek(length)
            return file.read().decode(errors="replace")

    def fail(self, problem):
        tail = self.since(max(0, self.length() - 4000))
        sys.exit(f"{tail}\nbench/race: {problem}; above is what the programs said last")


def build():
    say("building the release programs")
    subprocess.run(
        ["cargo", "build", "--release", "--locked", "--workspace", "--bins"], cwd=HOUSE, check=True, stdout=sys.stderr
    )
    return Path(os.environ.get("CARGO_TARGET_DIR", HOUSE / "target")) / "release"


def example(package, name):
    """Builds an example for release, and says where it is."""
    say(f"building {name}")
    command = ["cargo", "build", "--release", "--locked", "--package", package, "--example", name]
    subprocess.run(command, cwd=HOUSE, check=True, stdout=sys.stderr)
    return Path(os.environ.get("CARGO_TARGET_DIR", HOUSE / "target")) / "release/examples" / name


def install_missing(programs):
    missing = [name for name in programs if not program(name)]
    for crate in sorted({CRATES[name] for name in missing if name in CRATES}):
        say(f"installing {crate}")
        subprocess.run(["cargo", "install", "--locked", "--quiet", crate], check=True, stdout=sys.stderr)
    packages = sorted({PACKAGES[name] for name in missing if name not in CRATES})
    if packages:
        say(f"installing {' '.join(packages)}")
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for command in [["update"], ["install", "--yes", "--no-install-recommends", *packages]]:
            subprocess.run(["apt-get", "--quiet", *command], check=True, env=environment, stdout=sys.stderr)


def program(name):
    places = [os.environ.get("PATH", ""), "/usr/sbin", "/sbin", str(Path.home() / ".cargo/bin")]
    return shutil.which(name, path=":".join(places))


def run_quietly(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def text_of(*command):
    # `ssh -V` and `nc -h` speak on standard error.
    run = subprocess.run(command, cwd=HOUSE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return run.stdout.decode().rstrip()


def remove(path):
    """As shutil.rmtree, many times as fast where there are a million files."""
    subprocess.run(["rm", "-rf", "--", path], check=True)


def human(count):
    for unit, shift in [("GiB", 30), ("MiB", 20), ("KiB", 10)]:
        if count >= 1 << shift:
            return f"{count / (1 << shift):.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} bytes"


def say(text):
    print(text, file=sys.stderr, flush=True)
