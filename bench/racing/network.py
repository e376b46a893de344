"""The way between client and server: loopback, or a link of 1 Gbit/s."""

import os
import subprocess


class Loopback:
    address = "127.0.0.1"

    def at_server(self, command):
        return command

    at_client = at_server


class Gigabit:
    """Two network namespaces with a pair of virtual cards between them that let 1 Gbit/s pass either way.

    Entering it makes all of that, leaving it removes it. The cards are made where they belong, so that they go with
    their namespaces and this machine's own network never sees them.
    """

    address, other = "192.0.2.1", "192.0.2.2"
    shape = "tbf rate 1gbit burst 256kb latency 50ms"

    def __init__(self):
        self.server, self.client = (f"ferry-race-{os.getpid()}-{end}" for end in ["server", "client"])

    def __enter__(self):
        try:
            for namespace in [self.server, self.client]:
                ip("netns", "add", namespace)
            ip("link", "add", "wire", "netns", self.server, "type", "veth", "peer", "wire", "netns", self.client)
            for namespace, address in [(self.server, self.address), (self.client, self.other)]:
                ip("-n", namespace, "address", "add", f"{address}/30", "dev", "wire")
                ip("-n", namespace, "link", "set", "wire", "up")
                slow_down = ["tc", "-n", namespace, "qdisc", "add", "dev", "wire", "root", *self.shape.split()]
                subprocess.run(slow_down, check=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for namespace in [self.server, self.client]:
            subprocess.run(["ip", "netns", "delete", namespace], stderr=subprocess.DEVNULL)

    # `ip netns exec` becomes the program that it starts, so that its process and what it costs are the program's.
    def at_server(self, command):
        return ["ip", "netns", "exec", self.server, *command]

    def at_client(self, command):
        return ["ip", "netns", "exec", self.client, *command]


def ip(*words):
    subprocess.run(["ip", *words], check=True)
