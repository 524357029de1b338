"""fakeredis's state machines, which draw random commands, with Redis on one side and the
service on the other: replies have to be the same bytes, errors included.

Hypothesis makes a history that tells the two apart as short as it can. fakeredis's own
strategies come first; further ones for what they leave out stand below.

Arguments: the port of Redis, the port of the service, a seed, how many histories each
machine tries. The folder of fakeredis's source is in the path.
"""

import socket
import sys

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from test.test_hypothesis import base, test_connection, test_server, test_string, test_transaction
from test.test_hypothesis.base import commands, counts, dbnums, ints, keys, values

redis_port, own_port, seed_number, examples = (int(word) for word in sys.argv[1:])


class Connection:
    """A connection that gives replies as they are, each with the sign of its type."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def read(self):
        """A reply; where the server has closed the connection, nothing of no type."""
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind in (b"$", b"="):
            length = int(rest)
            return (kind, None if length < 0 else self.file.read(length + 2)[:-2])
        if kind in (b"*", b"~", b"%", b">"):
            length = int(rest) * (2 if kind == b"%" else 1)
            return (kind, None if length < 0 else [self.read() for _ in range(length)])
        return (kind, rest)

    def send(self, words):
        words = [base.Command.encode(word) for word in words]
        request = b"*%d\r\n" % len(words)
        request += b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        self.socket.sendall(request)

    def __call__(self, *words):
        self.send(words)
        return self.read()


def names(connection):
    return {name for _, name in connection("COMMAND", "LIST")[1]}


# What Redis has and the service doesn't is in the table of commands, and not compared.
LACKING = names(Connection(redis_port)) - names(Connection(own_port))
# The order of the keys in Redis follows from a hash.
UNORDERED = {b"keys"}


def in_order(reply):
    return (reply[0], sorted(reply[1])) if isinstance(reply[1], list) else reply


class Machine(base.BaseMachine):
    """fakeredis's machine, with two servers, and the comparison of this file."""

    version = 2

    def __init__(self):
        super(base.BaseMachine, self).__init__()
        self.keys = self.fields = self.values = self.scores = ()
        self.initialized_data = False
        self.create_command_strategy = self.create_commands
        self.command_strategy = (
            self.base_commands | base.common_commands | self.redis_only_commands | self.redis7_commands)
        self.queued = []
        self.redis, self.own = Connection(redis_port), Connection(own_port)
        for connection in (self.redis, self.own):
            connection("HELLO", self.version)
            connection("FLUSHALL")

    def teardown(self):
        self.redis.close()
        self.own.close()

    def _compare(self, command):
        name = base.Command.encode(command.args[0]).lower() if command.args else b""
        if name in LACKING or not command.testable:
            return
        self.redis.send(command.args)
        found, expected = self.own(*command.args), self.redis.read()
        if expected == (b"+", b"QUEUED"):
            self.queued.append(name)
        elif name in UNORDERED:
            found, expected = in_order(found), in_order(expected)
        elif name == b"exec" and expected[0] == b"*" and expected[1]:
            for reply in (found, expected):
                for index, queued in enumerate(self.queued):
                    if queued in UNORDERED and index < len(reply[1]):
                        reply[1][index] = in_order(reply[1][index])
        if name in (b"exec", b"discard"):
            self.queued = []
        assert found == expected, f"{command}\nRedis:   {expected}\nservice: {found}"


# What fakeredis's strategies leave out.

bits = st.sampled_from(["0", "1"]) | counts
kinds = st.builds(lambda sign, width: f"{sign}{width}", st.sampled_from("iux"), st.integers(0, 66))
places = st.builds(lambda sign, number: f"{sign}{number}", st.sampled_from(["", "#"]), counts)
units = st.sampled_from([(), "bit", "byte", "bogus"])
ranges = st.just(()) | st.tuples(counts) | st.tuples(counts, counts) | st.tuples(counts, counts, units)
fields = st.lists(
    st.tuples(st.just("get"), kinds, places)
    | st.tuples(st.just("set"), kinds, places, values | ints)
    | st.tuples(st.just("incrby"), kinds, places, values | ints)
    | st.tuples(st.just("overflow"), st.sampled_from(["wrap", "sat", "fail", "bogus"])), max_size=5)
bit_commands = (
    commands(st.just("bitcount"), keys, ranges)
    | commands(st.just("bitpos"), keys, bits, ranges)
    | commands(st.just("bitop"), st.sampled_from(["and", "or", "xor", "not", "bogus"]), keys, st.lists(keys, max_size=3))
    | commands(st.sampled_from(["bitfield", "bitfield_ro"]), keys, fields)
    | commands(st.just("setbit"), keys, st.integers(0, 100) | ints, bits)
    | commands(st.just("getbit"), keys, counts)
    | commands(st.sampled_from(["set", "append"]), keys, st.binary(max_size=12))
)

# No time of expiry is reached while this runs, or it is in the past by far.
spans = st.integers(100, 1 << 40) | st.integers(-3, 0) | ints.filter(lambda x: not 0 < x < 100) | values
huge = st.sampled_from(["9223372036854775807", "-9223372036854775808", "9223372036854775", "18446744073709551616"])
conditions = st.lists(st.sampled_from(["nx", "xx", "gt", "lt", "NX", "bogus"]), max_size=2)
options = st.lists(
    st.sampled_from(["nx", "xx", "get", "keepttl", "persist", "bogus", "EX"])
    | st.tuples(st.sampled_from(["ex", "px"]), spans | huge)
    | st.tuples(st.sampled_from(["exat", "pxat"]), st.integers(-3, 3) | huge), max_size=3)
expiry_commands = (
    commands(st.sampled_from(["expire", "pexpire"]), keys, spans | huge, conditions)
    | commands(st.sampled_from(["expireat", "pexpireat"]), keys, counts | huge, conditions)
    | commands(st.sampled_from(["setex", "psetex"]), keys, spans | huge, values)
    | commands(st.just("set"), keys, values, options)
    | commands(st.just("getex"), keys, options)
    | commands(st.sampled_from(["get", "persist", "getdel", "exists", "type", "touch"]), keys)
    | commands(st.just("copy"), keys, keys, st.lists(st.sampled_from(["replace", "db", 1, "bogus"]), max_size=3))
)

# Other sums are told in digits that follow from the machine's long double: these are exact.
floats = st.sampled_from([b"1", b"0.5", b"-2.5", b"1e2", b"abc", b" 1", b"3.0e3", b"", b"1.", b".5", b"0x10", b"-0x1p-1"])
float_commands = (
    commands(st.sampled_from(["set", "incrbyfloat"]), keys, floats | ints)
    | commands(st.sampled_from(["get", "strlen", "incr"]), keys)
)

text_commands = (
    commands(st.just("lcs"), keys, keys, st.lists(
        st.sampled_from(["len", "idx", "withmatchlen", "bogus"]) | st.tuples(st.just("minmatchlen"), counts), max_size=3))
    | commands(st.just("getdel"), keys)
    | commands(st.just("object"), st.sampled_from(["encoding", "freq", "refcount", "bogus"]), st.just("absent"))
    | commands(st.just("setrange"), keys, st.integers(-3, 600_000_000), values)
    | commands(st.sampled_from(["append", "getset", "setnx"]), keys, st.binary(max_size=12))
    | commands(st.sampled_from(["strlen", "dbsize", "mset", "msetnx", "getrange"]), st.lists(values, max_size=1))
    | commands(st.just("scan"), st.just(0), st.just("count"), st.just(1000), st.just("type"), st.sampled_from(["hash", "bogus"]))
)

# What is no UTF-8 stands in the service's errors as a sign that says so.
bad_commands = commands(
    st.text(min_size=1, max_size=20)
    | st.sampled_from(["client", "config", "command", "acl", "object", "slowlog", "memory", "pubsub", "latency",
                       "module", "function"]),
    st.lists(st.text(max_size=20), max_size=6)).filter(lambda command: command.args[1:2] not in [("help",), ("HELP",)])

others = [
    (test_string.StringMachine, None),
    (test_connection.ConnectionMachine, None),
    (test_server.ServerMachine, None),
    (test_transaction.TransactionMachine, None),
    ("Bits", bit_commands),
    ("Expiry", expiry_commands),
    ("Floats", float_commands),
    ("Text", text_commands),
    ("BadCommands", bad_commands | test_connection.connection_commands | test_transaction.transaction_commands),
    ("Joint", bit_commands | expiry_commands | text_commands | bad_commands | test_server.server_commands
     | test_connection.connection_commands | test_transaction.transaction_commands),
]

failed = 0
for machine, strategy in others:
    for version in (2, 3):
        members = {"version": version}
        if strategy is None:
            name, bases = machine.__name__, (Machine, machine)
            for member in ("base_commands", "create_commands", "redis_only_commands", "redis7_commands"):
                members[member] = getattr(machine, member)
        else:
            name, bases = machine, (Machine,)
            members |= {"base_commands": strategy, "create_commands": commands(st.just("set"), keys, ints if name == "Floats" else values)}
        drawn = seed(seed_number)(type(name, bases, members))
        try:
            run_state_machine_as_test(drawn, settings=settings(
                max_examples=examples, database=None, deadline=None, print_blob=False,
                stateful_step_count=50, suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink)))
            print(f"{name} in version {version}: {examples} histories")
        except Exception as difference:
            failed += 1
            print(f"{name} in version {version} differs:\n{difference}")
            print(*getattr(difference, "__notes__", ()), sep="\n")
        sys.stdout.flush()
sys.exit(failed > 0)
