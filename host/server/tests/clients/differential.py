"""The same random commands to Redis and to the service: replies have to be the same bytes.

Arguments: the port of Redis, the port of the service, a seed, how many commands.
"""

import random
import socket
import sys

redis_port, own_port, seed, count = (int(word) for word in sys.argv[1:])
random.seed(seed)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")

    def read(self):
        """A reply, with the sign of its type."""
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind in (b"$", b"="):
            length = int(rest)
            return (kind, None if length < 0 else self.file.read(length + 2)[:-2])
        if kind in (b"*", b"~", b"%", b">"):
            length = int(rest) * (2 if kind == b"%" else 1)
            return (kind, None if length < 0 else [self.read() for _ in range(length)])
        assert line, "the connection was closed"
        return (kind, rest)

    def __call__(self, *words):
        words = [word if isinstance(word, bytes) else word.encode() for word in words]
        request = b"*%d\r\n" % len(words)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(request)
        return self.read()


KEYS = ["k1", "k2", "k3", "k4", "absent"]
VALUES = ["", "0", "1", "-1", "10", "abc", "9223372036854775807", "-9223372036854775808",
          "1.5", "hello world", b"\xff\x00", "x" * 50, " 1", "01", "1e3", "nan"]
SMALL = ["0", "1", "-1", "2", "5", "7", "8", "9", "31", "100", "-5", "-8"]
NUMBERS = ["9223372036854775807", "-9223372036854775808", "abc", "", "1.5", "4294967295",
           "4294967296", "18446744073709551616"]
WORDS = ["EX", "PX", "NX", "XX", "GT", "LT", "KEEPTTL", "GET", "PERSIST", "IDX", "LEN",
         "WITHMATCHLEN", "BIT", "BYTE", "REPLACE", "DB", "MATCH", "COUNT", "bogus"]


def key():
    return random.choice(KEYS)


def value():
    return random.choice(VALUES)


def number():
    return random.choice(NUMBERS if random.random() < 0.2 else SMALL)


def span():
    """A time of expiry that no key reaches while this runs."""
    return random.choice(NUMBERS + ["100000", "1000000", "0", "-1"])


def options(most):
    """Words and numbers, most of which make no sense."""
    return [random.choice(WORDS) if random.random() < 0.7 else span()
            for _ in range(random.randint(0, most))]


def fields():
    words = []
    for _ in range(random.randint(1, 4)):
        kind = random.choice("iu") + random.choice(["0", "1", "4", "8", "16", "63", "64", "65"])
        place = random.choice(["", "#"]) + random.choice(SMALL[:9])
        words += random.choice([
            ["GET", kind, place], ["SET", kind, place, number()],
            ["INCRBY", kind, place, number()],
            ["OVERFLOW", random.choice(["WRAP", "SAT", "FAIL", "bogus"])]])
    return words


COMMANDS = [
    lambda: ["SET", key(), value()] + options(3),
    lambda: ["SET", key(), value(), "EX", span(), random.choice(["EX", "PX"]), "100000"],
    lambda: ["GETEX", key(), "PXAT", span(), random.choice(["PXAT", "PX"]), "9999999999999"],
    lambda: ["GET", key()],
    lambda: ["GETDEL", key()],
    lambda: ["GETSET", key(), value()],
    lambda: ["GETEX", key()] + options(2),
    lambda: ["SETNX", key(), value()],
    lambda: ["SETEX", key(), span(), value()],
    lambda: ["APPEND", key(), value()],
    lambda: ["STRLEN", key()],
    lambda: ["GETRANGE", key(), number(), number()],
    lambda: ["SETRANGE", key(), random.choice(SMALL + ["abc", "4294967296"]), value()],
    lambda: ["INCR", key()],
    lambda: ["DECRBY", key(), number()],
    lambda: ["INCRBY", key(), number()],
    lambda: ["INCRBYFLOAT", "float", random.choice(["1", "0.5", "-2.5", "1e2", "0x10", "abc", " 1"])],
    lambda: ["MGET", key(), key(), key()],
    lambda: ["MSET", key(), value(), key(), value()],
    lambda: ["MSETNX", key(), value(), key(), value()],
    lambda: ["MSET", key(), value(), key()],
    lambda: ["LCS", key(), key()] + options(2),
    lambda: ["SETBIT", key(), random.choice(SMALL + ["abc"]), random.choice("012")],
    lambda: ["GETBIT", key(), number()],
    lambda: ["BITCOUNT", key()] + [number() for _ in range(random.randint(0, 2))],
    lambda: ["BITCOUNT", key(), number(), number(), random.choice(["BIT", "BYTE", "x"])],
    lambda: ["BITPOS", key(), random.choice("012")] + [number() for _ in range(random.randint(0, 2))],
    lambda: ["BITPOS", key(), random.choice("01"), number(), number(), random.choice(["BIT", "BYTE", "x"])],
    lambda: ["BITOP", random.choice(["AND", "OR", "XOR", "NOT", "x"]), key(), key()],
    lambda: ["BITOP", random.choice(["AND", "OR", "XOR"]), key(), key(), key()],
    lambda: ["BITFIELD", key()] + fields(),
    lambda: ["BITFIELD_RO", key()] + fields(),
    lambda: ["EXPIRE", key(), span()] + options(1),
    lambda: ["EXPIREAT", key(), random.choice(SMALL + NUMBERS)],
    lambda: ["PERSIST", key()],
    lambda: ["DEL", key(), key()],
    lambda: ["EXISTS", key(), key()],
    lambda: ["TYPE", key()],
    lambda: ["RENAME", key(), key()],
    lambda: ["RENAMENX", key(), key()],
    lambda: ["COPY", key(), key()] + options(1),
    lambda: ["MOVE", key(), random.choice(["0", "99", "abc"])],
    lambda: ["SELECT", random.choice(["0", "0", "99", "-1", "abc"])],
    lambda: ["PING"] + options(2),
    lambda: ["ECHO", value()],
    lambda: ["HELLO", random.choice(["4", "abc"])],
    lambda: ["AUTH", value()],
    lambda: ["MULTI"],
    lambda: ["EXEC"],
    lambda: ["DISCARD"],
    lambda: ["WATCH", key()],
    lambda: ["UNWATCH"],
    lambda: ["CLIENT", random.choice(["GETNAME", "GETREDIR", "TRACKINGINFO", "FOO", "UNBLOCK"])],
    lambda: ["CLIENT", "SETNAME", value()],
    lambda: ["CLIENT", "KILL", random.choice(["ID", "TYPE", "USER", "ADDR", "SKIPME"]), "bogus"],
    lambda: ["SLOWLOG", random.choice(["GET", "FOO"]), random.choice(["-2", "abc"])],
    lambda: ["LATENCY", random.choice(["RESET", "HISTORY", "FOO"]), "bogus"],
    lambda: ["OBJECT", random.choice(["ENCODING", "FREQ", "IDLETIME", "FOO"]), "absent2"],
    lambda: ["CONFIG", random.choice(["GET", "SET", "FOO"])] + options(1),
    lambda: ["COMMAND", "GETKEYS"] + random.choice(
        [["GET"], ["GET", "a"], ["MSET", "a", "1", "b", "2"], ["PING"], ["BITOP", "AND", "a", "b"],
         ["OBJECT", "ENCODING", "k"], ["BOGUS", "a"]]),
    lambda: ["COMMAND", "INFO", "bogus"],
    lambda: ["ACL", random.choice(["WHOAMI", "USERS", "FOO"])],
    lambda: ["ACL", "DRYRUN", random.choice(["default", "bogus"]), "get", "a"],
    lambda: ["WAIT", random.choice(["0", "abc"]), random.choice(["0", "-1", "abc"])],
    lambda: ["ROLE"],
    lambda: ["PUBSUB", random.choice(["NUMSUB", "NUMPAT", "CHANNELS", "FOO"])],
    lambda: ["PUBLISH", "channel", "message"],
    lambda: ["BOGUS"] + options(2),
    lambda: ["BOGUS", "a\0b"],
    lambda: ["FLUSHDB", random.choice(["SYNC", "bogus"])],
]

for version in ("2", "3"):
    redis, own = Connection(redis_port), Connection(own_port)
    for connection in (redis, own):
        connection("HELLO", version)
        connection("FLUSHALL")
    said = []
    for _ in range(count):
        command = random.choice(COMMANDS)()
        if random.random() < 0.02:
            command.append("more")
        said.append(command)
        expected, found = redis(*command), own(*command)
        if expected != found:
            print(f"version {version}, seed {seed}, behind {said[-6:-1]}")
            sys.exit(f"{command}\nRedis:   {expected}\nservice: {found}")
print("done")
