"""A PostgreSQL server for tests: its own port, data folder and socket, gone with its folder when the test run ends."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from sqlalchemy import URL, make_url

PASSWORD = "p@ss:w/o{r}d %41#?"  # every character that means something in a URL, a format string or a config file
USER = "team"


def server_programs() -> Path | None:
    """Finds the folder with `initdb` and `postgres`, which Debian keeps out of PATH; None if there is none."""
    found = shutil.which("postgres")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))


class PostgresServer:
    """A server that wants a password over TCP; made with its folder, started by `start`."""

    password = PASSWORD

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._data, self._log = programs, folder / "data", folder / "log"
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._databases = 0
        self._process: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            for path in (folder, secret):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self._run("initdb", "-D", self._data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}", "-N")

    def start(self) -> None:
        """Starts the server, unless it runs, and waits until it answers.

        Raises:
            RuntimeError: it does not come up; with the end of its log.
        """
        if self._process is not None:
            return
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": self._folder, "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_nobody(), self._programs / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.sql("select 1")
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()[-2000:]}") from None
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the server by its own process: connections are cut, as in a restart for maintenance."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)
            self._process = None

    def new_database(self, name: str | None = None) -> str:
        """Makes an empty database and returns its URL, as a user would type it."""
        self._databases += 1
        name = name or f"db{self._databases}"
        self.sql(f'create database "{name}"')
        return self.url(name)

    def remove_database(self, url: str) -> None:
        """Removes a database, and cuts the connections to it that are left: the server takes a hundred of all."""
        self.sql(f'drop database "{make_url(url).database}" with (force)')

    def url(self, database: str, *, user: str = USER, password: str = PASSWORD) -> str:
        """Returns the URL of a database, whether it is there or not."""
        return URL.create("postgresql", user, password, "127.0.0.1", self.port, database).render_as_string(False)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Runs one statement."""
        place = {"host": "127.0.0.1", "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}
        with psycopg.connect(**place, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: object) -> None:
        command = [*_as_nobody(), self._programs / program, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.strip() or done.stdout.strip()}")


def _as_nobody() -> list[str]:
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []


@contextlib.contextmanager
def running_server(programs: Path) -> Iterator[PostgresServer]:
    """Runs a new server in the block, in a folder with a short path: a socket's may have 107 characters."""
    with tempfile.TemporaryDirectory(prefix="tfp-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(programs, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
