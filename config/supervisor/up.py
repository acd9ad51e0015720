"""The start of everything on one machine, in order."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

import environ
import psycopg

from config import settings
from config.env import is_explicit
from config.supervisor import folder, postgres, redis, sockets
from config.supervisor.errors import StartError
from config.supervisor.ocr import OCR_WORKER, ocr_is_installed
from config.supervisor.parts import Recipe
from config.supervisor.process import last_line, stop_orphans
from config.supervisor.secrets import RuntimeFile, Server
from config.supervisor.supervisor import StopRequested, Supervisor

MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]
SERVER_STARTS_WITHIN_S = 60.0
# Loading the product takes seconds; on a busy small machine many.
CHILD_STARTS_WITHIN_S = 180.0
UNCLEAN_PATIENCE_S = 10.0
METRICS_FOLDER, METRICS_VARIABLE = "metrics", "PROMETHEUS_MULTIPROC_DIR"
SPARE_CONNECTIONS = 30
# What a large document leaves behind in a pool's process goes back with the process (kilobytes).
PREFORK_LIMITS = ["--max-tasks-per-child=200", "--max-memory-per-child=400000"]
# What waiting for a database does not cure.
LASTING_COMPLAINTS = ("password authentication failed", "does not exist", "no pg_hba.conf entry")


def say(name: str, text: str) -> None:
    """One line for the operator. A reader that went away is no reason to stop."""
    with contextlib.suppress(OSError):
        print(f"{name:<13}{text}", flush=True)  # noqa: T201 - the command's output


def web_processes() -> int:
    return settings.WEB_PROCESSES or len(os.sched_getaffinity(0))


def most_connections() -> int:
    """What all processes together may open at the database, if each fills its pool."""
    # Two worker processes and the scheduler; the operator's commands and tools beside them.
    processes = web_processes() + settings.PARSE_PROCESSES + 3 + 2 * ocr_is_installed()
    return processes * settings.DATABASE_POOL_SIZE + SPARE_CONNECTIONS


def run() -> int:
    """Starts the product, watches it and stops it. Returns the exit status."""
    try:
        with folder.locked(settings.DATA_DIR) as data:
            patience_s = UNCLEAN_PATIENCE_S if data.was_left_unclean else 0
            listening = sockets.bind(settings.HOST, settings.PORTS, patience_s=patience_s)
            _run_in(data, listening)
    except StartError as error:
        print(error, file=sys.stderr, flush=True)  # noqa: T201 - the command's output
        return 1
    return 0


def _run_in(data: folder.DataFolder, listening: list[socket.socket]) -> None:
    supervisor = Supervisor(say)
    supervisor.catch_signals()
    try:
        Start(supervisor, data, listening).everything()
        supervisor.watch()
    except StopRequested:
        pass
    finally:
        # With the web processes, the last who listen go: nobody is left to wait for an answer.
        for each in listening:
            each.close()
        supervisor.stop()
        data.mark_clean()
    say("stopped", "everything has ended")


class Start:
    """One start. The steps run in the order in which they stand here."""

    def __init__(
        self, supervisor: Supervisor, data: folder.DataFolder, listening: list[socket.socket]
    ) -> None:
        self.supervisor = supervisor
        self.folder = data.path
        self.listening = listening
        self.runtime = RuntimeFile.load(data.path / "runtime.env")
        self.environment = {
            **os.environ,
            "DATA_DIR": str(data.path),
            "HOST": settings.HOST,
            "PORTS": ",".join(str(port) for port in settings.PORTS),
            "PYTHONUNBUFFERED": "1",
            # Read when the library is imported: each process counts in files of its own there.
            METRICS_VARIABLE: str(data.path / METRICS_FOLDER),
        }

    def everything(self) -> None:
        """Returns when the product serves. Raises StartError or StopRequested."""
        database, cache = self._addresses()
        folder.make_empty(self.folder / METRICS_FOLDER)
        static = self.supervisor.launch(
            "collecting static files", [*MANAGE, "collect_static"], self.environment
        )
        self._database(database)
        self._redis(cache)
        self._migrations()
        found = self._first_start()
        self.supervisor.finish(static)
        self._web()
        self._workers()
        self._beat()
        self._ready(found)

    def _addresses(self) -> tuple[Server | None, Server | None]:
        """The embedded servers' ports, written down for every other command; None: not ours."""
        database = None if is_explicit("DATABASE_URL") else self.runtime.server("EMBEDDED_DATABASE")
        cache = None if is_explicit("REDIS_URL") else self.runtime.server("EMBEDDED_REDIS")
        for name in ("DATABASE_URL", "REDIS_URL"):
            self.runtime.values.pop(name, None)
        if database:
            self.runtime.values["DATABASE_URL"] = (
                f"postgres://app:{database.password}@127.0.0.1:{database.port}/{postgres.DATABASE}"
            )
        if cache:
            self.runtime.values["REDIS_URL"] = f"redis://:{cache.password}@127.0.0.1:{cache.port}/0"
        try:
            self.runtime.save()
        except OSError as error:
            raise StartError(f"{self.runtime.path} cannot be written: {error.strerror}") from None
        return database, cache

    def _database(self, server: Server | None) -> None:
        if server is None:
            self._own_database()
            return
        cluster = self.folder / "postgres"
        postgres.initialise(cluster, password=server.password)
        recipe = Recipe(
            name="database",
            command=postgres.command(cluster, port=server.port, connections=most_connections()),
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            check=lambda: postgres.is_ready(server.port),
            prepare=lambda: postgres.clear_the_way(cluster),
            identity=postgres.identity(cluster),
            stop_signal=postgres.STOP_SIGNAL,
            stop_within_s=4,
            is_server=True,
            log=self.folder / "logs" / "postgres.log",
        )
        self.supervisor.start([recipe], timeout_s=SERVER_STARTS_WITHIN_S)
        arguments: dict[str, Any] = environ.Env.db_url_config(self.runtime.values["DATABASE_URL"])
        postgres.make_database(arguments)
        version = postgres.check(arguments)
        say("database", f"PostgreSQL {version}, embedded, 127.0.0.1:{server.port}")

    def _own_database(self) -> None:
        arguments = settings.DATABASES["default"]
        complaint, version = "", ""

        def is_up() -> bool:
            nonlocal complaint, version
            try:
                version = postgres.check(arguments)
            except psycopg.OperationalError as error:
                if not complaint:
                    say("database", "waiting for the one at DATABASE_URL")
                complaint = last_line(str(error))
                if any(words in complaint for words in LASTING_COMPLAINTS):
                    raise StartError(f"DATABASE_URL: {complaint}") from None
            return bool(version)

        if not self.supervisor.wait_until(is_up, timeout_s=SERVER_STARTS_WITHIN_S / 2):
            raise StartError(f"DATABASE_URL: the database does not answer: {complaint}")
        say("database", f"PostgreSQL {version} at DATABASE_URL")

    def _redis(self, server: Server | None) -> None:
        url = settings.REDIS_URL if server is None else self.runtime.values["REDIS_URL"]
        if server is not None:
            self._embedded_redis(server)
        version: str | None = None

        def is_up() -> bool:
            nonlocal version
            version = redis.check(url)
            return version is not None

        if not self.supervisor.wait_until(is_up, timeout_s=SERVER_STARTS_WITHIN_S / 2):
            raise StartError("REDIS_URL: no Redis answers there")
        where = f"embedded, 127.0.0.1:{server.port}" if server else "at REDIS_URL"
        say("redis", f"Redis {version}, {where}")

    def _embedded_redis(self, server: Server) -> None:
        store = self.folder / "redis"
        configuration = redis.write_config(store, port=server.port, password=server.password)
        recipe = Recipe(
            name="redis",
            command=[redis.binary(), str(configuration)],
            environment={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
            check=lambda: redis.is_ready(server.port),
            prepare=lambda: stop_orphans(store),
            stop_signal=redis.STOP_SIGNAL,
            stop_within_s=2,
            is_server=True,
            log=self.folder / "logs" / "redis.log",
        )
        self.supervisor.start([recipe], timeout_s=SERVER_STARTS_WITHIN_S)

    def _manage(self, name: str, command: str) -> str:
        job = self.supervisor.launch(name, [*MANAGE, command], self.environment)
        return self.supervisor.finish(job)

    def _migrations(self) -> None:
        say("migrations", self._manage("the migration", "migrate_locked").strip())

    def _first_start(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._manage("the first start", "first_start"))
        for line in found["lines"]:
            say("first start", line)
        return found

    def _web(self) -> None:
        count = web_processes()
        sockets.let_listen(self.listening)
        descriptors = tuple(listening.fileno() for listening in self.listening)
        fds = {
            sockets.DESCRIPTORS_VARIABLE: ",".join(str(descriptor) for descriptor in descriptors)
        }
        recipes = [
            self._python(f"web {number}", "config.supervisor.web", environment=fds, fds=descriptors)
            for number in range(1, count + 1)
        ]
        self.supervisor.start(recipes, timeout_s=CHILD_STARTS_WITHIN_S)
        header = _host_header(settings.ALLOWED_HOSTS)
        for listening in self.listening:
            where = f"{settings.HOST} port {listening.getsockname()[1]}"
            check = lambda bound=listening: sockets.answers(bound, host_header=header)  # noqa: E731
            if not self.supervisor.wait_until(check, timeout_s=30):
                raise StartError(f"web: /health does not answer on {where}")
        ports = list(dict.fromkeys(settings.PORTS))
        where = f"{'port' if len(ports) == 1 else 'ports'} {', '.join(map(str, ports))}"
        say("web", f"{_plural(count, 'process', 'processes')} on {settings.HOST}, {where}")

    def _workers(self) -> None:
        threads, processes = settings.WORKER_THREADS, settings.PARSE_PROCESSES
        common = ["worker", "--without-gossip", "--without-mingle", "--loglevel=WARNING"]
        io = [*common, "-n", "io@%h", "-Q", "chat,ingest", "-P", "threads", "-c", str(threads)]
        prefork = [*common, "-P", "prefork", *PREFORK_LIMITS]
        parse = [*prefork, "-n", "parse@%h", "-Q", "parse", "-c", str(processes)]
        recipes = [self._celery("worker io", io), self._celery("worker parse", parse)]
        if ocr_is_installed():
            ocr = [*prefork, "-n", f"{OCR_WORKER}@%h", "-Q", "ocr", "-c", "1"]
            recipes.append(self._celery("worker ocr", ocr))
        self.supervisor.start(recipes, timeout_s=CHILD_STARTS_WITHIN_S)
        pools = f"{_plural(threads, 'thread', 'threads')} for waiting"
        pools += f", {_plural(processes, 'process', 'processes')} for parsing"
        say("workers", f"{pools}, 1 process for OCR" if ocr_is_installed() else pools)

    def _beat(self) -> None:
        command = ["beat", "--loglevel=WARNING", "--pidfile="]
        self.supervisor.start([self._celery("beat", command)], timeout_s=CHILD_STARTS_WITHIN_S)
        say("beat", "recurring work")

    def _celery(self, name: str, arguments: Sequence[str]) -> Recipe:
        return self._python(name, "celery", "--quiet", "-A", "config.celery", *arguments)

    def _python(
        self,
        name: str,
        module: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        fds: tuple[int, ...] = (),
    ) -> Recipe:
        return Recipe(
            name=name,
            command=[sys.executable, "-m", module, *arguments],
            environment={**self.environment, **(environment or {})},
            announces=True,
            sockets=fds,
            folder=settings.BASE_DIR,
        )

    def _ready(self, found: dict[str, Any]) -> None:
        base = f"http://{sockets.local_name(settings.HOST)}:{settings.PORTS[0]}"
        say("ready", base)
        say("  console", f"{base}/admin/")
        for demo in found["demos"]:
            say("  talk", f"{base}/talk/{demo['id']} ({demo['language']})")
        say("  API", f"{base}/api/docs")


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _host_header(allowed: Sequence[str]) -> str:
    """A Host header that Django accepts."""
    name = next(iter(allowed), "localhost")
    return "localhost" if name == "*" else name.lstrip(".")
