"""Every TCP port that a cluster listens on, and what each answers: to no token, to a wrong one, to the right one."""

from __future__ import annotations

import functools
import http.client
import importlib
import pkgutil
import socket
from collections.abc import Iterator
from typing import NamedTuple

import psutil

WRONG = "f" * 64
SECONDS = 30.0  # that an answer may take on a busy machine


class Port(NamedTuple):
    """One listening socket."""

    host: str  # an address that reaches it
    number: int
    binds: str  # all interfaces, the node's address, or loopback
    process: str


class Service(NamedTuple):
    """A service of Ray 2.60 on a port: how it is recognised, and what it answers to everybody."""

    name: str
    option: str  # of `ray start`, which pins the port
    probe: str  # gRPC: a method of the service; HTTP: a request; answered to the right token alone
    open: tuple[str, ...] = ()  # what is answered without a token, and why that may be

    @property
    def protocol(self) -> str:
        return "gRPC" if self.probe.startswith("/") else "HTTP"


HEALTH = "/grpc.health.v1.Health/Check"
SERVICES = (
    Service("GCS (head)", "--port, 6379", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo", (HEALTH,)),
    Service("raylet", "--node-manager-port", "/ray.rpc.NodeManagerService/GetNodeStats", (HEALTH,)),
    Service("object manager", "--object-manager-port", "/ray.rpc.ObjectManagerService/Push", (HEALTH,)),
    Service("worker, driver", "--min-worker-port", "/ray.rpc.CoreWorkerService/GetCoreWorkerStats", (HEALTH,)),
    Service("dashboard agent", "--dashboard-agent-grpc-port", "/ray.rpc.ReporterService/HealthCheck"),
    Service(
        "dashboard and Jobs API (head)",
        "--dashboard-port, 8265",
        "GET /api/jobs/",
        # The page is the same for everybody and asks for the token; nothing of the cluster is in it.
        ("GET /", "GET /favicon.ico", "GET /api/authentication_mode", "GET /api/gcs_healthz"),
    ),
    Service(
        "dashboard agent",
        "--dashboard-agent-listen-port, 52365",
        "POST /api/job_agent/jobs/",
        ("GET /api/healthz", "GET /api/local_raylet_healthz"),
    ),
    Service("runtime environment agent", "--runtime-env-agent-port", "POST /get_runtime_envs_info"),
)
# More of the Jobs and state API than the one request that tells the service: writing, reading, and what is not there.
REQUESTS = (
    *("GET /api/jobs/", "POST /api/jobs/", "DELETE /api/jobs/none", "POST /api/jobs/none/stop", "GET /api/version"),
    *("GET /api/packages/gcs/none.zip", "PUT /api/packages/gcs/none.zip", "GET /nodes?view=summary", "GET /timezone"),
    *("GET /api/v0/tasks", "GET /api/v0/logs", "GET /api/v0/logs/file?node_id=none", "GET /api/cluster_status"),
    *("GET /api/job_agent/jobs/none/logs", "POST /get_or_create_runtime_env", "POST /delete_runtime_env_if_possible"),
    *(
        "GET /worker/traceback",
        "GET /metrics",
        "GET /logs",
        "GET /nothing",
        "GET //api/jobs/",
        "GET /static/../api/jobs/",
    ),
)


class Row(NamedTuple):
    """The answers of a port."""

    service: Service
    port: Port
    answers: tuple[str, str, str]  # to the probe: no token, a wrong one, the right one
    leaks: tuple[str, ...]  # what was answered without the right token, save what the service names


def family(mark: str, value: str) -> set[psutil.Process]:
    """Returns the processes whose environment has `mark` at `value`, whoever is their parent, and their descendants.

    Those alone would not do: the agents write their title over their environment.
    """
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(mark) == value:
                found |= {process, *process.children(recursive=True)}
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


def ports_of(processes: set[psutil.Process]) -> Iterator[Port]:
    """Returns the listening sockets of `processes`."""
    seen = set()
    for process in processes:
        try:
            found, name = process.net_connections("tcp"), process.name()
        except psutil.NoSuchProcess:
            continue
        for connection in found:
            if connection.status == psutil.CONN_LISTEN and connection.laddr not in seen:
                seen.add(connection.laddr)  # a socket that a child has inherited
                host, number = connection.laddr
                host = host.removeprefix("::ffff:")
                everywhere = host in ("::", "0.0.0.0")
                binds = (
                    "all interfaces" if everywhere else "loopback" if host.startswith("127.") else "the node's address"
                )
                yield Port("127.0.0.1" if everywhere else host, number, binds, name)


def ask(port: Port, token: str) -> Row | None:
    """Sends a port all requests that Ray serves anywhere, without a token and with a wrong one.

    Returns:
        None: nobody listens there any more, as an idle worker that Ray has ended meanwhile.

    Raises:
        AssertionError: nothing that is known answers there to the right token.
    """
    try:
        row = _asked(port, token)
    except (AssertionError, OSError):
        if _listens(port):
            raise
        return None
    return row if not row.leaks or _listens(port) else None


def _listens(port: Port) -> bool:
    try:
        socket.create_connection((port.host, port.number), SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


def _asked(port: Port, token: str) -> Row:
    speak = _call if _speaks_grpc(port) else _request
    known = [service for service in SERVICES if (service.protocol == "gRPC") is (speak is _call)]
    service = next((known for known in known if _is_answer(speak(port, known.probe, token))), None)
    assert service is not None, f"{port}: an unknown service, or one that refuses the right token"
    answers = (speak(port, service.probe, None), speak(port, service.probe, WRONG), speak(port, service.probe, token))
    everything = all_methods() if speak is _call else REQUESTS
    shut = [what for what in service.open if not _is_answer(speak(port, what, None))]
    assert not shut, f"{port}: {service.name} is said to answer {shut} without a token, and does not"
    leaks = tuple(
        what
        for what in dict.fromkeys(everything)
        if what not in service.open
        for given in (None, WRONG)
        if not _is_refusal(speak(port, what, given))
    )
    return Row(service, port, answers, leaks)


def _is_answer(said: str) -> bool:
    return said not in ("UNIMPLEMENTED", "UNAUTHENTICATED", "UNAVAILABLE", "401", "403", "404")


def _is_refusal(said: str) -> bool:
    """True if the answer refuses a stranger's request; a missing gRPC method need not be refused."""
    return said in ("UNAUTHENTICATED", "UNIMPLEMENTED", "401", "403")


def _speaks_grpc(port: Port) -> bool:
    """True if the port speaks gRPC, whose server sends HTTP/2 settings first."""
    with socket.create_connection((port.host, port.number), SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return connection.recv(5)[3:5] == b"\4\0"


def _call(port: Port, method: str, token: str | None) -> str:
    import grpc

    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    try:
        _channel(port).unary_unary(method)(b"", metadata=metadata, timeout=SECONDS)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@functools.cache
def _channel(port: Port):  # type: ignore[no-untyped-def]
    import grpc

    return grpc.insecure_channel(f"{port.host}:{port.number}")


def _request(port: Port, request: str, token: str | None) -> str:
    verb, _, path = request.partition(" ")
    connection = http.client.HTTPConnection(port.host, port.number, timeout=SECONDS)
    try:
        connection.request(verb, path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
        return str(connection.getresponse().status)
    finally:
        connection.close()


@functools.cache
def all_methods() -> tuple[str, ...]:
    """Returns every method of the gRPC services that Ray declares to Python (not the object manager's)."""
    from ray.core import generated

    modules = (name for _, name, _ in pkgutil.iter_modules(generated.__path__) if name.endswith("_pb2"))
    files = [importlib.import_module(f"{generated.__name__}.{name}").DESCRIPTOR for name in modules]
    services = [service for file in files for service in file.services_by_name.values()]
    declared = [f"/{service.full_name}/{method.name}" for service in services for method in service.methods]
    return (*declared, *(f"/ray.rpc.ObjectManagerService/{name}" for name in ("Push", "Pull", "FreeObjects")), HEALTH)


def table(rows: list[Row]) -> list[str]:
    """Returns a Markdown table, a line per kind of port, without port numbers that differ between nodes."""
    binds: dict[Service, set[str]] = {}
    for row in rows:
        binds.setdefault(row.service, set()).add(row.port.binds)
    lines = {
        f"| {row.service.name} | `{row.service.option}` | {row.service.protocol} | "
        f"{', '.join(sorted(binds[row.service]))} | {' | '.join(row.answers)} | "
        f"{', '.join(f'`{what}`' for what in row.service.open) or 'nothing'} |"
        for row in rows
    }
    return sorted(lines)
