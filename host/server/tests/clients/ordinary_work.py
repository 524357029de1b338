"""Ordinary work of an application with redis-py: port and version of the protocol."""

import sys
import threading
import time

import redis

port, version = int(sys.argv[1]), int(sys.argv[2])


def connect(**options):
    return redis.Redis(port=port, protocol=version, decode_responses=True, **options)


db = connect(client_name="worker")
db.flushall()

# Strings and counters.
assert db.set("a", "1") and db.get("a") == "1"
assert db.set("a", "2", nx=True) is None
assert db.incr("a", 5) == 6 and db.incrbyfloat("f", 1.5) == 1.5
assert db.mset({"b": "x", "c": "y"}) and db.mget("b", "none", "c") == ["x", None, "y"]
assert db.append("b", "yz") == 3 and db.getrange("b", 1, -1) == "yz"
assert db.setbit("bits", 7, 1) == 0 and db.bitcount("bits") == 1
assert db.bitfield("bits").set("u8", 0, 200).get("u8", 0).execute() == [1, 200]
assert db.delete("b", "none") == 1 and db.exists("b") == 0
assert db.type("a") == "string" and db.object("encoding", "a") == "int"

# Expiry.
assert db.set("short", "1", px=80) and 0 < db.pttl("short") <= 80
assert db.expire("a", 100) and 99 <= db.ttl("a") <= 100 and db.persist("a")
time.sleep(0.1)
assert db.get("short") is None

# A pipeline, and a transaction that another client's write makes fail.
with db.pipeline(transaction=False) as pipe:
    for number in range(500):
        pipe.set(f"key:{number}", number)
    assert pipe.execute() == [True] * 500
attempts = []


def double(pipe):
    number = int(pipe.get("a"))
    attempts.append(number)
    if len(attempts) == 1:
        connect().set("a", number + 1)
    pipe.multi()
    pipe.set("a", number * 2)


assert db.transaction(double, "a") == [True]
assert attempts == [6, 7] and db.get("a") == "14"
with db.pipeline() as pipe:
    pipe.set("t", "text").incr("t").get("t")
    replies = pipe.execute(raise_on_error=False)
assert replies[0] is True and replies[2] == "text"
assert "not an integer" in str(replies[1]), replies

# Scans.
assert len(set(db.scan_iter("key:*", count=7))) == 500
assert len(db.keys("key:1?")) == 10 and db.dbsize() >= 500

# Channels.
listener = db.pubsub(ignore_subscribe_messages=True)
listener.subscribe("news")
listener.psubscribe("n*")
assert listener.get_message(timeout=1) is None
assert listener.get_message(timeout=1) is None
assert connect().publish("news", "hello") == 2
heard = [listener.get_message(timeout=5) for _ in range(2)]
assert sorted(message["type"] for message in heard) == ["message", "pmessage"], heard
assert all(message["data"] == "hello" for message in heard)
listener.close()

# What clients ask about the service.
assert db.ping() and db.echo("x") == "x" and db.time()[0] > 0
assert db.client_getname() == "worker" and db.client_id() > 0
assert any(client["name"] == "worker" for client in db.client_list())
assert db.client_info()["lib-name"].startswith("redis-py")
assert db.info()["redis_version"] and db.info("keyspace")["db0"]["keys"] > 0
assert db.info("commandstats")["cmdstat_set"]["calls"] > 0
assert db.config_get("maxclients") == {"maxclients": "1000"}
assert db.config_set("slowlog-log-slower-than", 0) and db.slowlog_len() >= 0
assert db.get("a") and any(b"GET a" in entry["command"] or "GET a" in str(entry["command"])
                           for entry in db.slowlog_get())
assert db.config_set("slowlog-log-slower-than", 10000) and db.slowlog_reset()
assert db.memory_usage("a") > 0 and db.memory_stats()["total.allocated"] > 0
assert db.command_count() == len(db.command())
assert db.command_getkeys("MSET", "a", "1", "b", "2") == ["a", "b"]
assert db.command()["get"]["arity"] == 2
assert db.acl_whoami() == "default" and db.acl_getuser("default")["enabled"]
assert db.module_list() == [] and db.role()[0] in ("master", b"master")
assert db.latency_latest() == [] and db.lastsave() is not None
try:
    db.execute_command("BOGUS")
    raise AssertionError("BOGUS was taken")
except redis.ResponseError as error:
    assert str(error).startswith("unknown command 'BOGUS'"), error

# Many clients at once.
def count():
    own = connect()
    for _ in range(50):
        own.incr("together")
    own.close()


threads = [threading.Thread(target=count) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert db.get("together") == "400"

# Values that the client keeps, and is told of when others change them.
if version == 3:
    from redis.cache import CacheConfig
    from redis.connection import CacheProxyConnection

    # It keeps nothing of a Redis before 7.4, which the service doesn't say it is.
    CacheProxyConnection.MIN_ALLOWED_VERSION = "7.0.0"
    keeping = connect(cache_config=CacheConfig())
    db.set("kept", "1")
    assert keeping.get("kept") == "1" and len(keeping.get_cache().collection) == 1
    for number in range(100):
        db.set("kept", number)
        # It comes by another connection than the reply to SET.
        while keeping.get("kept") != str(number):
            time.sleep(0.001)
    keeping.close()

db.close()
print("done")
