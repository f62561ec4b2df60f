"""Programs that interop tests connect with: our own peer and server, and those of others, built when needed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest
from network_namespace import Namespace, NoNamespacesError, cable

PEERS = Path(__file__).parent / "peers"
REQUIRED = os.environ.get("FASTICEPY_REQUIRE_INTEROP") == "1"
"""Set where everything must be there (CI): what is missing then fails the tests instead of skipping them."""


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where nothing may be missing."""
    if REQUIRED:
        pytest.fail(f"{reason}, and FASTICEPY_REQUIRE_INTEROP=1 asks for it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def harness() -> ModuleType:
    """tests/interop/peers/harness.py, which is a program of its own too."""
    spec = importlib.util.spec_from_file_location("peer_harness", PEERS / "harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    """A network with an IPv6 address that pion takes (it never gathers ::1), and an interface that is no loopback."""
    try:
        made = Namespace()
        try:
            made.ip("-6", "addr", "add", "fd00::1/128", "dev", "lo", "nodad")
            cable(made, made)
            made.ip("addr", "add", "10.55.0.1/24", "dev", "cable")
        except NoNamespacesError:
            made.close()
            raise
    except NoNamespacesError as reason:
        missing(str(reason))
    yield made
    made.close()


@pytest.fixture
def two_hosts() -> Iterator[tuple[Namespace, Namespace]]:
    """Two networks with a cable between them: 10.56.0.1 and 10.56.0.2."""
    made: list[Namespace] = []
    try:
        try:
            made.append(Namespace())
            made.append(Namespace())
            cable(made[0], made[1])
            for number, host in enumerate(made, 1):
                host.ip("addr", "add", f"10.56.0.{number}/24", "dev", "cable")
        except NoNamespacesError as reason:
            missing(str(reason))
        yield made[0], made[1]
    finally:
        for host in made:
            host.close()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> PeerCommands:
    """The command line of each implementation's peer."""
    return PeerCommands(tmp_path_factory)


class PeerCommands:
    """Finds and builds the peers, each once."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._tmp_path_factory = tmp_path_factory
        self._built: dict[str, Path] = {}

    def get(self, name: str) -> list[str]:
        """The command line of `fasticepy`, `aioice` or `pion`."""
        if name == "fasticepy":
            return [sys.executable, "-m", "fasticePy", "peer"]
        if name == "aioice":
            if importlib.util.find_spec("aioice") is None:
                missing("aioice is not installed (pip install '.[dev]')")
            return [sys.executable, str(PEERS / "aioice_peer.py")]
        return [str(self.build("pion_ice"))]

    @staticmethod
    def installed(name: str, package: str) -> str:
        """A program that comes with a package of the system."""
        program = shutil.which(name)
        if program is None:
            missing(f"{name} is not installed (Debian: apt-get install {package})")
        return str(program)

    def build(self, name: str) -> Path:
        """The program made of the Go sources in peers/`name`."""
        if name not in self._built:
            go = shutil.which("go")
            if go is None:
                missing(f"Go is not installed: {name} cannot be built")
            version = subprocess.check_output([str(go), "env", "GOVERSION"], text=True).strip()
            if _too_old(version):
                missing(f"Go is too old ({version or 'unknown'}) to fetch what {name} is built with")
            output = self._tmp_path_factory.mktemp("pion") / name
            build = [str(go), "build", "-o", str(output), "."]
            done = subprocess.run(build, cwd=PEERS / name, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{name} does not build: {done.stderr.strip()[-2000:]}"
            self._built[name] = output
        return self._built[name]


def _too_old(version: str) -> bool:
    """Go from 1.21 on fetches the version that go.mod asks for."""
    found = re.match(r"go(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) < (1, 21)


@pytest.fixture(scope="session")
def stun_url() -> Iterator[str]:
    """Our own server, as `fasticepy serve` runs it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "fasticePy", "serve", "--listen", "127.0.0.1:0", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        ready = server.stdout.readline()
        assert ready, "fasticepy serve ended at once"
        yield "stun:" + json.loads(ready)["udp"]
    finally:
        server.terminate()
        server.communicate(timeout=10)
    assert server.returncode == 0
