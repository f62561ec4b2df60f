"""Networks of the tests' own: namespaces of the Linux kernel, which need root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence


class NoNamespacesError(Exception):
    """They cannot be had here; the text says why."""


class Namespace:
    """A network of its own, with a loopback interface only. It lasts until `close`, or until the test process ends."""

    def __init__(self) -> None:
        for program in ("ip", "unshare", "nsenter"):
            if shutil.which(program) is None:
                raise NoNamespacesError(f"{program} is not installed")
        if os.geteuid() != 0:
            raise NoNamespacesError("network namespaces need root")
        # cat ends with its input, which is ours: nothing is left when the tests are killed
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready && exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            reason = self._holder.stderr.read().strip()
            self.close()
            raise NoNamespacesError(f"no network namespaces here: {reason}")
        self.ip("link", "set", "lo", "up")

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._holder.pid

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs this one in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def ip(self, *arguments: str) -> None:
        """Run `ip` in it. Raises `NoNamespacesError` when the kernel cannot do it."""
        done = subprocess.run(self.inside(["ip", *arguments]), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoNamespacesError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")

    def close(self) -> None:
        """End it."""
        self._holder.communicate(timeout=10)


def cable(left: Namespace, right: Namespace, name: str = "cable") -> None:
    """Connect two namespaces by an interface of this name in each; in one and the same, the far end is `name`-far."""
    far = f"{name}-far" if left is right else name
    peer = ["peer", "name", far, *(() if left is right else ("netns", str(right.pid)))]
    left.ip("link", "add", name, "type", "veth", *peer)
    for namespace, end in ((left, name), (right, far)):
        namespace.ip("link", "set", end, "addrgenmode", "none", "multicast", "on", "up")
