"""Calls that block the event loop: in ``async def``, or in what an ``async def`` calls."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash.checking.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash.checking.project import Project, Source

_THREAD = "await asyncio.to_thread(function, …), or make the function a plain def"
_HTTPX = "an httpx.AsyncClient, shared by all calls"

# By dotted name, or its start if that ends with a dot: what to use instead.
_BLOCKING = {
    "time.sleep": "await asyncio.sleep(…)",
    "requests.": _HTTPX,
    "httpx.Client": _HTTPX,
    **{f"httpx.{verb}": _HTTPX for verb in ("get", "post", "put", "patch", "delete", "request")},
    "urllib.request.urlopen": _HTTPX,
    "urllib.request.urlretrieve": _HTTPX,
    "urllib3.": _HTTPX,
    "http.client.HTTPConnection": _HTTPX,
    "http.client.HTTPSConnection": _HTTPX,
    "sqlite3.connect": f"aiosqlite, or {_THREAD}",
    "psycopg2.connect": "psycopg.AsyncConnection or asyncpg",
    "psycopg.connect": "psycopg.AsyncConnection",
    "pymysql.connect": "asyncmy or aiomysql",
    "MySQLdb.connect": "asyncmy or aiomysql",
    "mysql.connector.connect": "mysql.connector.aio",
    "pyodbc.connect": f"aioodbc, or {_THREAD}",
    "oracledb.connect": "oracledb.connect_async",
    "cx_Oracle.connect": "oracledb.connect_async",
    "pymssql.connect": _THREAD,
    "duckdb.connect": _THREAD,
    "snowflake.connector.connect": _THREAD,
    "google.cloud.bigquery.Client": _THREAD,
    "sqlalchemy.create_engine": "sqlalchemy.ext.asyncio.create_async_engine",
    "sqlalchemy.orm.Session": "sqlalchemy.ext.asyncio.AsyncSession",
    "sqlalchemy.orm.sessionmaker": "sqlalchemy.ext.asyncio.async_sessionmaker",
    "pymongo.MongoClient": "pymongo.AsyncMongoClient",
    "redis.Redis": "redis.asyncio",
    "redis.StrictRedis": "redis.asyncio",
    "redis.from_url": "redis.asyncio",
    "elasticsearch.Elasticsearch": "elasticsearch.AsyncElasticsearch",
    "boto3.client": f"aioboto3, or {_THREAD}",
    "boto3.resource": f"aioboto3, or {_THREAD}",
    **{
        f"pandas.read_{kind}": _THREAD
        for kind in ("csv", "excel", "parquet", "json", "feather", "hdf", "sql", "table", "pickle")
    },
    "pandas.read_sql_query": _THREAD,
    "pandas.read_sql_table": _THREAD,
    "polars.read_": _THREAD,
    **{
        f"subprocess.{name}": "await asyncio.create_subprocess_exec(…)"
        for name in ("run", "call", "check_call", "check_output", "getoutput")
    },
    "os.system": "await asyncio.create_subprocess_shell(…)",
    "os.popen": "await asyncio.create_subprocess_shell(…)",
    "socket.create_connection": "await asyncio.open_connection(…)",
    "socket.getaddrinfo": "await asyncio.get_running_loop().getaddrinfo(…)",
    "socket.gethostbyname": "await asyncio.get_running_loop().getaddrinfo(…)",
    "smtplib.SMTP": f"aiosmtplib, or {_THREAD}",
    "smtplib.SMTP_SSL": f"aiosmtplib, or {_THREAD}",
    "ftplib.FTP": _THREAD,
    "paramiko.SSHClient": "asyncssh",
}

# Of the names above, those that stand for values and errors, not for calls that wait.
_HARMLESS = (
    "requests.auth.",
    "requests.codes",
    "requests.exceptions.",
    "requests.adapters.",
    "requests.Request",
    "requests.structures.",
    "requests.utils.",
    "urllib3.exceptions.",
    "urllib3.util.",
    "urllib3.disable_warnings",
)


def _remedy_for(name: str) -> str | None:
    """Return what to use instead of a blocking call; None if the call is none."""
    if name.startswith(_HARMLESS):
        return None
    for known, remedy in _BLOCKING.items():
        if name == known or (known.endswith((".", "_")) and name.startswith(known)):
            return remedy
        # Methods that make a client: `redis.Redis.from_url`.
        if name.startswith(f"{known}.from_"):
            return remedy
    return None


@dataclass(frozen=True, slots=True)
class _Blocking:
    """A call that blocks, as `_BLOCKING` names it."""

    name: str
    remedy: str
    # Where it is, as ``file:line``.
    place: str


@dataclass(frozen=True, slots=True)
class _Client:
    """An object whose methods block, such as a `requests.Session`."""

    made_by: str
    remedy: str


def blocking_calls(project: Project) -> Iterator[Finding]:
    """Report blocking calls in ``async def``, through plain functions of the project as well.

    Calls in a thread (`asyncio.to_thread`) and awaited calls are not reported.
    """
    sources = list(project.served)
    clients = _clients(sources)
    plain = _blocking_functions(sources, clients)
    for source in sources:
        for function in ast.walk(source.tree):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            where = f"in `async def {function.name}`"
            for call, name in _calls(function, source):
                file, line = str(source.path), call.lineno
                found = _blocking_call(name, f"{file}:{line}", clients)
                if found is not None:
                    what = f"{found.name} blocks the event loop {where}"
                    yield Finding(file, line, what, f"use {found.remedy}")
                elif (found := plain.get(name)) is not None:
                    what = (
                        f"{ast.unparse(call.func)}() calls {found.name} ({found.place}), which "
                        f"blocks the event loop {where}"
                    )
                    yield Finding(file, line, what, f"use {_THREAD}; or, in it, {found.remedy}")


def _blocking_functions(sources: list[Source], clients: dict[str, _Client]) -> dict[str, _Blocking]:
    """Return the plain functions of the project that block, by full name."""
    found: dict[str, _Blocking] = {}
    calls: list[tuple[str, str]] = []
    for source in sources:
        for function in source.tree.body:
            if not isinstance(function, ast.FunctionDef):
                continue
            own = f"{source.module}.{function.name}"
            for call, name in _calls(function, source):
                blocking = _blocking_call(name, f"{source.path}:{call.lineno}", clients)
                if blocking is not None:
                    found.setdefault(own, blocking)
                else:
                    calls.append((own, name))
    is_growing = True
    while is_growing:
        is_growing = False
        for own, name in calls:
            if name in found and own not in found:
                found[own] = found[name]
                is_growing = True
    return found


def _blocking_call(name: str, place: str, clients: dict[str, _Client]) -> _Blocking | None:
    """Return what a call of ``name`` blocks on, if it does."""
    remedy = _remedy_for(name)
    if remedy is not None:
        return _Blocking(name, remedy, place)
    parts = name.split(".")
    for length in range(1, len(parts)):
        client = clients.get(".".join(parts[:length]))
        if client is not None:
            called = ".".join(parts[length - 1 :])
            return _Blocking(f"{called} (a {client.made_by})", client.remedy, place)
    return None


def _clients(sources: list[Source]) -> dict[str, _Client]:
    """Return the blocking clients that modules of the project hold, by full name."""
    found: dict[str, _Client] = {}
    for source in sources:
        for statement in source.tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call() as call):
                    pass
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.Call() as call):
                    pass
                case _:
                    continue
            name = source.names.full(call.func)
            last = "" if name is None else name.rpartition(".")[2]
            remedy = None if name is None else _remedy_for(name)
            if name is not None and remedy is not None and _makes_client(last):
                found[f"{source.module}.{target}"] = _Client(name, remedy)
    return found


def _makes_client(function: str) -> bool:
    """Whether a blocking function returns a client, on which calls block, or mere data."""
    named = {"connect", "create_engine", "sessionmaker", "client", "resource", "session"}
    return function in named or function.startswith("from_") or function[:1].isupper()


def _calls(
    function: ast.FunctionDef | ast.AsyncFunctionDef, source: Source
) -> Iterator[tuple[ast.Call, str]]:
    """Yield the calls that a function itself makes, with full names, but for awaited ones."""
    local = _local_names(function)
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            # Called elsewhere, such as in a thread.
            continue
        if isinstance(node, ast.Await) and isinstance(node.value, ast.Call):
            given = [*node.value.args, *(each.value for each in node.value.keywords)]
            stack.extend(reversed(given))
            continue
        if isinstance(node, ast.Call):
            name = source.names.full(node.func)
            if name is not None and _root(node.func) not in local:
                yield node, name
        stack.extend(reversed(list(ast.iter_child_nodes(node))))


def _root(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return parameters and variables, which are not what the module calls by that name."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    found = {each.arg for each in (*named, arguments.vararg, arguments.kwarg) if each}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Global):
            found.difference_update(node.names)
    return found
