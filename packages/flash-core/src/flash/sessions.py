"""Sessions of visitors in Redis, by the package flask-session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash.redis.address import Kind

if TYPE_CHECKING:
    import quart

    from flash.redis.address import Address


def keep_sessions(server: quart.Quart, address: Address) -> None:
    """Keep the sessions of a server that Flash has made in the Redis at ``address``.

    Keys begin with ``<prefix>:session:``. flask-session's own ``SESSION_…`` settings of the server
    apply, except for those of the store. Raises ``ImportError`` with the remedy.
    """
    try:
        from flask_session import Session
    except ImportError as error:
        raise ImportError(
            'sessions="redis" needs flask-session: pip install "flash-core[sessions]"'
        ) from error
    from redis import Redis

    client = _client(address)
    server.config["SESSION_TYPE"] = "redis"
    server.config.setdefault("SESSION_KEY_PREFIX", f"{address.prefix}:session:")
    # flask-session accepts only clients of one server. It uses no method that one of a cluster
    # lacks, so that one is set afterwards.
    server.config["SESSION_REDIS"] = client if isinstance(client, Redis) else Redis()
    Session(server)
    sessions: Any = server.session_interface
    sessions.client = client


def _client(address: Address) -> Any:
    """Return redis-py's blocking client, which a session is loaded and saved with in a thread."""
    from redis import Redis
    from redis.cluster import ClusterNode, RedisCluster
    from redis.sentinel import Sentinel

    settings: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": address.timeout,
        "socket_connect_timeout": address.connect_timeout,
    }
    if address.tls:
        settings |= {"ssl": True, **address.tls_options}
    if address.kind is Kind.UNIX:
        return Redis(unix_socket_path=address.nodes[0].host, db=address.db, **settings)
    if address.kind is Kind.CLUSTER:
        return RedisCluster(
            startup_nodes=[ClusterNode(node.host, node.port) for node in address.nodes], **settings
        )
    if address.kind is Kind.SENTINEL:
        sentinels = Sentinel(
            [(node.host, node.port) for node in address.nodes],
            sentinel_kwargs={
                **settings,
                "username": address.sentinel_username,
                "password": address.sentinel_password,
            },
            **settings,
        )
        return sentinels.master_for(address.service, db=address.db)
    node = address.nodes[0]
    return Redis(host=node.host, port=node.port, db=address.db, **settings)
