"""peers.py: the clients of tests/bench/peers.sh, which says what is measured and why.

    peers.py run PEER PORT PID FOLDER EVENTS N     prints a line "MEASURE VALUE..." for each
    peers.py table SAMPLES N                       the medians of those lines, as Markdown

Only the standard library, no client libraries. To keep Python out of what is measured, bytes to
send are put together before the clock starts, replies are counted and events cut out by the C code
behind bytes.count() and re, a thousand at a time, and nothing is parsed that is not needed. Its
processor time was 0.3 us for an event published (RabbitMQ 0.6) and 0.9 us for one consumed
(RabbitMQ 2.6), beside the server on another core: at most a third of the time that NATS and Redis
took to consume, and next to nothing of the others. What a client library does besides (objects,
callbacks, reconnecting) is missing. One connection publishes, one consumes.
"""

import itertools
import json
import os
import re
import select
import socket
import statistics
import struct
import subprocess
import sys
import time

BATCH = 1000  # events taken and acknowledged together
WINDOW = 20000  # published and not acknowledged yet; with 4,000 Redis and RabbitMQ are slower
TIMES = 200  # one-shots, and events sent to a waiting consumer
WARM = 20  # of each, before those that count
WARM_BULK = 1000


class Conn:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        data = self.sock.recv(1 << 20)
        if not data:
            raise EOFError("the server has closed the connection: " + repr(bytes(self.buf[:200])))
        self.buf += data

    def take(self, pattern):
        """The next match; everything up to its end is dropped."""
        while not (match := pattern.search(self.buf)):
            self.fill()
        groups = match.groups() or (match.group(),)
        del self.buf[: match.end()]
        return groups

    def take_all(self, pattern, count):
        """The groups of the next count matches."""
        found = []
        while len(found) < count:
            matches = list(itertools.islice(pattern.finditer(self.buf), count - len(found)))
            found += [match.groups() for match in matches]
            if matches:
                del self.buf[: matches[-1].end()]
            else:
                self.fill()
        return found

    def close(self):
        self.sock.close()


def blast(conn, parts, acked, window):
    """Send parts, a list of (events, bytes), while reading replies; acked(bytes) says how many
    events these acknowledge. No more than window events wait for an answer."""
    total = sum(events for events, _ in parts)
    parts = [(events, memoryview(data)) for events, data in parts]
    sent = done = 0
    data = memoryview(b"")
    conn.sock.setblocking(False)
    while done < total:
        if not data and parts and sent - done < window:
            events, data = parts.pop(0)
            sent += events
        readable, writable, _ = select.select([conn.sock], [conn.sock] if data else [], [], 60)
        if not readable and not writable:
            raise TimeoutError(f"{done} of {total} events were acknowledged")
        if readable:
            reply = conn.sock.recv(1 << 20)
            if not reply:
                raise EOFError("the server has closed the connection")
            done += acked(reply)
        if writable:
            data = data[conn.sock.send(data) :]
    conn.sock.settimeout(60)


def counter(pattern):
    """How often pattern occurs in what comes, even when it is cut in two."""
    tail = b""

    def count(data):
        nonlocal tail
        data = tail + data
        tail = data[len(data) - len(pattern) + 1 :] if len(pattern) > 1 else b""
        return data.count(pattern)

    return count


def framed(lines, frame, size=100):
    return [
        (len(lines[i : i + size]), b"".join(map(frame, lines[i : i + size])))
        for i in range(0, len(lines), size)
    ]


def batches(count):
    return [min(BATCH, count - i) for i in range(0, count, BATCH)]


# ---------------------------------------------------------------------------------------- peers
#
# A peer has: connect(); prepare(lines) -> what publish(conn, it) sends, which ends when all is
# acknowledged; consume(conn, count, out), which writes lines to out and acknowledges by BATCH; and
# for a waiting consumer wait(conn) to ask for one event, got(conn) to have it, settle(conn).


class Redis:
    """XADD to a stream, a consumer group. One connection is read 16 KiB at a time, and with
    appendfsync always each such read is a flush; so a thousand XADD go into a MULTI, which is
    flushed once. That is two to three times as fast as a plain pipeline. Fifty connections with
    pipelines, as redis-benchmark -c 50 -P 1000 has them, reach the same, or somewhat more."""

    EVENT = re.compile(
        rb"\$\d+\r\n(\d+-\d+)\r\n\*2\r\n\$1\r\ne\r\n\$\d+\r\n([^\r]*)\r\n"
    )
    ACKED = re.compile(rb":(\d+)\r\n")
    ADDED = re.compile(rb"\$\d+\r\n\d+-\d+\r\n")

    def __init__(self, port):
        self.port = port
        conn = self.connect()
        conn.send(self.command(b"XGROUP", b"CREATE", b"s", b"g", b"$", b"MKSTREAM"))
        conn.take(re.compile(rb"\+OK\r\n"))
        conn.close()

    @staticmethod
    def command(*words):
        return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)

    def connect(self):
        return Conn(self.port)

    consumer = connect

    def add(self, line):
        return self.command(b"XADD", b"s", b"*", b"e", line)

    def prepare(self, conn, lines):
        multi, run = self.command(b"MULTI"), self.command(b"EXEC")
        if len(lines) == 1:
            return [(1, self.add(lines[0]))]
        return [(n, multi + data + run) for n, data in framed(lines, self.add, BATCH)]

    def pipeline(self, lines):
        return framed(lines, self.add)

    def publish(self, conn, parts):
        # An id is the only thing with a minus in it, but for errors; those end in a timeout.
        blast(conn, parts, counter(b"-"), WINDOW)

    def consume(self, conn, count, out):
        # One request ahead, so that the server has something to do while we have.
        sizes = batches(count)
        conn.send(b"".join(map(self.read, sizes[:2])))
        for i, size in enumerate(sizes):
            found = conn.take_all(self.EVENT, size)
            conn.send(self.command(b"XACK", b"s", b"g", *[place for place, _ in found])
                      + b"".join(map(self.read, sizes[i + 2 : i + 3])))
            out(b"\n".join([event for _, event in found]) + b"\n")
        # Replies before the last events have been passed over.
        conn.take_all(self.ACKED, len(sizes[-2:]))

    def read(self, count, *block):
        return self.command(
            b"XREADGROUP", b"GROUP", b"g", b"c", b"COUNT", b"%d" % count, *block,
            b"STREAMS", b"s", b">",
        )

    def wait(self, conn):
        conn.send(self.read(1, b"BLOCK", b"0"))

    def got(self, conn):
        self.place, event = conn.take(self.EVENT)
        return event

    def settle(self, conn):
        conn.send(self.command(b"XACK", b"s", b"g", self.place))
        conn.take(self.ACKED)

    def process(self, line):
        return ["redis-cli", "-p", str(self.port), "XADD", "s", "*", "e", line.decode()]


class Rabbit:
    """AMQP 0-9-1: a durable classic queue, persistent messages, publisher confirms, a prefetch of
    2,000, and acknowledgements by the thousand."""

    # A body frame; 0xCE ends a frame and is not in our ASCII events.
    EVENT = re.compile(rb"\x03\x00\x01.{4}(\{[^\xce]*\})\xce", re.S)

    def __init__(self, port):
        self.port = port
        conn = self.connect()
        self.call(conn, 50, 10, b"\0\0" + self.short(b"s") + b"\2" + b"\0\0\0\0")
        conn.close()

    @staticmethod
    def short(text):
        return bytes([len(text)]) + text

    @staticmethod
    def frame(kind, payload, channel=1):
        return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"

    def method(self, family, number, arguments, channel=1):
        return self.frame(1, struct.pack(">HH", family, number) + arguments, channel)

    def reply(self, conn, family, number):
        while True:
            while len(conn.buf) < 7 or len(conn.buf) < 8 + struct.unpack_from(">I", conn.buf, 3)[0]:
                conn.fill()
            size = struct.unpack_from(">I", conn.buf, 3)[0]
            payload = bytes(conn.buf[7 : 7 + size])
            del conn.buf[: 8 + size]
            if payload[:4] == struct.pack(">HH", family, number):
                return payload[4:]
            raise ValueError("an unexpected answer: " + repr(payload))

    def call(self, conn, family, number, arguments, channel=1):
        conn.send(self.method(family, number, arguments, channel))
        return self.reply(conn, family, number + 1)

    def connect(self):
        conn = Conn(self.port)
        conn.send(b"AMQP\0\0\x09\x01")
        self.reply(conn, 10, 10)
        login = b"\0guest\0guest"
        conn.send(self.method(10, 11, b"\0\0\0\0" + self.short(b"PLAIN")
                              + struct.pack(">I", len(login)) + login + self.short(b"en_US"), 0))
        tune = self.reply(conn, 10, 30)
        conn.send(self.method(10, 31, tune[:6] + b"\0\0", 0))  # no heartbeats
        self.call(conn, 10, 40, self.short(b"/") + b"\0\0", 0)
        self.call(conn, 20, 10, b"\0")
        self.call(conn, 85, 10, b"\0")  # confirms
        conn.tag = 0
        return conn

    def consumer(self):
        conn = self.connect()
        self.call(conn, 60, 10, struct.pack(">IHB", 0, 2 * BATCH, 0))
        self.call(conn, 60, 20, b"\0\0" + self.short(b"s") + self.short(b"c") + b"\0" + b"\0\0\0\0")
        return conn

    def put(self, line):
        return (
            self.method(60, 40, b"\0\0\0" + self.short(b"s") + b"\0")
            + self.frame(2, struct.pack(">HHQHB", 60, 0, len(line), 0x1000, 2))
            + self.frame(3, line)
        )

    def prepare(self, conn, lines):
        return framed(lines, self.put)

    def publish(self, conn, parts):
        first = conn.tag + 1
        conn.tag += sum(n for n, _ in parts)
        pending = set(range(first, conn.tag + 1))
        low, rest = first, b""

        def acked(data):
            nonlocal low, rest
            before = len(pending)
            rest += data
            while len(rest) >= 21:
                if rest[7:11] != b"\0\x3c\0\x50":
                    raise ValueError("an unexpected answer: " + repr(rest[:60]))
                tag, multiple = struct.unpack_from(">QB", rest, 11)
                if multiple:
                    pending.difference_update(range(low, tag + 1))
                    low = tag + 1
                else:
                    pending.discard(tag)
                rest = rest[21:]
            return before - len(pending)

        blast(conn, parts, acked, WINDOW)

    def ack(self, conn):
        conn.send(self.method(60, 80, struct.pack(">QB", conn.tag, 1)))

    def consume(self, conn, count, out):
        # Acknowledgements are not answered; a call that is says that the server has seen them.
        while count > 0:
            batch = min(count, BATCH)
            while batch > 0:
                found = self.some(conn, batch)
                out(b"\n".join(found) + b"\n")
                batch -= len(found)
                count -= len(found)
                conn.tag += len(found)
            self.ack(conn)
        conn.send(self.method(60, 10, struct.pack(">IHB", 0, 2 * BATCH, 0)))
        self.reply(conn, 60, 11)

    def some(self, conn, most):
        found = []
        while not found:
            end = 0
            for match in self.EVENT.finditer(conn.buf):
                found.append(match.group(1))
                end = match.end()
                if len(found) == most:
                    break
            del conn.buf[:end]
            if not found:
                conn.fill()
        return found

    def wait(self, conn):
        pass

    def got(self, conn):
        conn.tag += 1
        return conn.take(self.EVENT)[0]

    settle = ack


class Nats:
    """JetStream: a stream in files, and a durable pull consumer, acknowledged by the thousand (ack
    policy "all")."""

    EVENT = re.compile(rb"MSG s 1 (\S+) \d+\r\n([^\r]*)\r\n")
    REPLY = re.compile(rb"MSG i\S* 1 +\d+\r\n([^\r]*)\r\n")

    def __init__(self, port):
        self.port = port
        conn = self.connect()
        self.ask(conn, b"$JS.API.STREAM.CREATE.S", {
            "name": "S", "subjects": ["s"], "storage": "file", "retention": "limits",
            "discard": "old", "num_replicas": 1, "max_consumers": -1, "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
        })
        self.ask(conn, b"$JS.API.CONSUMER.DURABLE.CREATE.S.D", {
            "stream_name": "S",
            "config": {"durable_name": "D", "ack_policy": "all", "deliver_policy": "all",
                       "ack_wait": 600 * 10**9, "max_ack_pending": -1},
        })
        conn.close()

    @staticmethod
    def pub(subject, data, reply):
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(data), data)

    def ask(self, conn, subject, request):
        conn.send(self.pub(subject, json.dumps(request).encode(), conn.inbox))
        answer = json.loads(conn.take(self.REPLY)[0])
        if "error" in answer:
            raise ValueError("an unexpected answer: " + repr(answer))

    def connect(self):
        conn = Conn(self.port)
        conn.take(re.compile(rb"INFO .*\r\n"))
        conn.inbox = b"i%d" % conn.sock.getsockname()[1]
        conn.send(b'CONNECT {"verbose":false,"pedantic":false,"lang":"py","version":"0",'
                  b'"protocol":1}\r\nSUB %b 1\r\nPING\r\n' % conn.inbox)
        conn.take(re.compile(rb"PONG\r\n"))
        return conn

    consumer = connect

    def prepare(self, conn, lines):
        return framed(lines, lambda line: self.pub(b"s", line, conn.inbox))

    def publish(self, conn, parts):
        blast(conn, parts, counter(b'"seq":'), WINDOW)

    def pull(self, conn, count):
        conn.send(self.pub(b"$JS.API.CONSUMER.MSG.NEXT.S.D", b'{"batch":%d}' % count, conn.inbox))

    def consume(self, conn, count, out):
        # One request ahead, as with Redis; only the last acknowledgement is answered.
        sizes = batches(count)
        for size in sizes[:2]:
            self.pull(conn, size)
        for i, size in enumerate(sizes):
            found = conn.take_all(self.EVENT, size)
            self.place = found[-1][0]
            if i + 2 < len(sizes):
                conn.send(b"PUB %b 4\r\n+ACK\r\n" % self.place)
                self.pull(conn, sizes[i + 2])
            out(b"\n".join([event for _, event in found]) + b"\n")
        self.settle(conn)

    def wait(self, conn):
        self.pull(conn, 1)

    def got(self, conn):
        self.place, event = conn.take(self.EVENT)
        return event

    def settle(self, conn):
        conn.send(self.pub(self.place, b"+ACK", conn.inbox))
        conn.take(self.REPLY)


class Beanstalk:
    """Puts, reserves and deletes, pipelined by the thousand. It answers one command after the
    other, and flushes after each put and delete, however many are waiting."""

    EVENT = re.compile(rb"RESERVED (\d+) \d+\r\n([^\r]*)\r\n")
    DELETED = re.compile(rb"(DELETED)\r\n")

    def __init__(self, port):
        self.port = port

    def connect(self):
        return Conn(self.port)

    consumer = connect

    def prepare(self, conn, lines):
        return framed(lines, lambda line: b"put 0 0 600 %d\r\n%b\r\n" % (len(line), line))

    def publish(self, conn, parts):
        blast(conn, parts, counter(b"INSERTED"), WINDOW)

    def consume(self, conn, count, out):
        for size in batches(count):
            conn.send(b"reserve\r\n" * size)
            found = conn.take_all(self.EVENT, size)
            conn.send(b"".join([b"delete %b\r\n" % place for place, _ in found]))
            out(b"\n".join([event for _, event in found]) + b"\n")
            conn.take_all(self.DELETED, size)

    def wait(self, conn):
        conn.send(b"reserve\r\n")

    def got(self, conn):
        self.place, event = conn.take(self.EVENT)
        return event

    def settle(self, conn):
        conn.send(b"delete %b\r\n" % self.place)
        conn.take(self.DELETED)


# ----------------------------------------------------------------------------------------- work


def percentiles(name, seconds):
    seconds = sorted(seconds)
    middle = (seconds[(len(seconds) - 1) // 2] + seconds[len(seconds) // 2]) / 2
    last = seconds[-(-len(seconds) * 99 // 100) - 1]
    print(name, f"{middle * 1000:.3f} {last * 1000:.3f}", flush=True)


def timed(function):
    begin = time.monotonic()
    function()
    return time.monotonic() - begin


def spawn(arguments, **redirect):
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, **redirect)
    if process.wait() != 0:
        raise OSError(f"{arguments[0]} has failed with status {process.returncode}")


def processes(name, commands):
    samples = [timed(lambda: spawn(command)) for command in commands]
    percentiles(name, samples[WARM:])


def resident(pid):
    """KiB of a process and all below it."""
    total = 0
    try:
        with open(f"/proc/{pid}/status") as status:
            total += sum(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as children:
                total += sum(resident(int(child)) for child in children.read().split())
    except FileNotFoundError:
        pass
    return total


def used(folder):
    """KiB of disk below a folder."""
    return int(subprocess.check_output(["du", "-sk", folder]).split()[0])


class Reader:
    """cat at the other end of a pipe."""

    def __init__(self):
        self.cat = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.bytes = 0

    def write(self, data):
        self.bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self.cat.stdin.fileno(), view) :]

    def close(self):
        self.cat.stdin.close()
        self.cat.wait()


class Events:
    """The lines of the file, each given out once."""

    def __init__(self, path, n):
        with open(path, "rb") as file:
            self.lines = file.read().splitlines()
        self.n = n
        self.at = 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.lines)
        return self.lines[self.at - count : self.at]


def run_peer(peer, pid, folder, events):
    out = peer.connect()

    def drain(conn, count, expected=None):
        reader = Reader()
        begin = time.monotonic()
        peer.consume(conn, count, reader.write)
        reader.close()
        seconds = time.monotonic() - begin
        if expected is not None and reader.bytes != expected:
            raise ValueError(f"{reader.bytes} bytes were consumed instead of {expected}")
        return seconds

    def shot(line):
        begin = time.monotonic()
        conn = peer.connect()
        peer.publish(conn, peer.prepare(conn, [line]))
        seconds = time.monotonic() - begin
        conn.close()
        return seconds

    def bulk(lines):
        parts = peer.prepare(out, lines)
        return timed(lambda: peer.publish(out, parts))

    bulk(events.take(WARM_BULK))
    conn = peer.consumer()
    drain(conn, WARM_BULK)
    conn.close()

    lines = events.take(events.n)
    print("publish", bulk(lines))
    print("memory", resident(pid))
    print("disk", used(folder))
    conn = peer.consumer()
    print("consume", drain(conn, events.n, sum(map(len, lines)) + events.n))

    samples = [shot(line) for line in events.take(WARM + TIMES)]
    percentiles("connection", samples[WARM:])
    drain(conn, WARM + TIMES)
    if hasattr(peer, "process"):
        processes("process", [peer.process(line) for line in events.take(WARM + TIMES)])
        drain(conn, WARM + TIMES)

    samples = []
    for line in events.take(WARM + TIMES):
        parts = peer.prepare(out, [line])
        peer.wait(conn)
        time.sleep(0.003)  # the consumer is waiting, and the acknowledgement before is done with
        begin = time.monotonic()
        out.send(parts[0][1])
        event = peer.got(conn)
        samples.append(time.monotonic() - begin)
        assert event == line
        settle_publish(peer, out)
        peer.settle(conn)
    percentiles("latency", samples[WARM:])
    if hasattr(peer, "pipeline"):
        parts = peer.pipeline(lines)
        print("pipeline", timed(lambda: peer.publish(out, parts)))


def settle_publish(peer, out):
    """Read the answer to one event that was sent without publish()."""
    if isinstance(peer, Rabbit):
        out.tag += 1
        peer.reply(out, 60, 80)
    else:
        out.take({Redis: Redis.ADDED, Nats: Nats.REPLY}.get(
            type(peer), re.compile(rb"INSERTED \d+\r\n")))


# One event after another, as a busy script does it: each waits for its echo.
COPROCESS = r"""
coproc P { exec publish -s "$1" --echo; }
while IFS= read -r line; do
    begin=${EPOCHREALTIME/./}
    printf '%s\n' "$line" >&"${P[1]}"
    IFS= read -r echo <&"${P[0]}"
    echo $((${EPOCHREALTIME/./} - begin))
    [ "$echo" = "$line" ] || exit 1
done
"""


def coprocess(spool, lines):
    answer = subprocess.run(["bash", "-c", COPROCESS, "bash", spool], check=True,
                            input=b"\n".join(lines) + b"\n", stdout=subprocess.PIPE)
    percentiles("coprocess", [int(us) / 1e6 for us in answer.stdout.split()][WARM:])


def run_ours(folder, events):
    spool = ["-s", folder + "/spool"]

    def publish(lines):
        with open(folder + "/in", "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        answer = subprocess.check_output(["measure", "publish", *spool, folder + "/in"],
                                         stderr=subprocess.DEVNULL)
        os.unlink(folder + "/in")
        seconds, kib = answer.split()
        return float(seconds), int(kib)

    def consume(expected=None, *more):
        begin = time.monotonic()
        consumer = subprocess.Popen(["consume", *spool, "-g", "g", "--auto-ack", *more],
                                    stdout=subprocess.PIPE)
        block, size = bytearray(1 << 17), 0
        while (got := os.readv(consumer.stdout.fileno(), [block])) > 0:
            size += got
        consumer.stdout.close()
        assert consumer.wait() == 0
        seconds = time.monotonic() - begin
        if expected is not None and size != expected:
            raise ValueError(f"{size} bytes were consumed instead of {expected}")
        return seconds

    publish(events.take(WARM_BULK))
    consume(None, "--from", "start")

    lines = events.take(events.n)
    seconds, kib = publish(lines)
    print("publish", seconds)
    print("memory", kib)
    print("disk", used(folder))
    print("consume", consume(sum(map(len, lines)) + events.n))
    processes("process", [["publish", *spool, "-d", line.decode()]
                          for line in events.take(WARM + TIMES)])
    processes("true", [["true"]] * (WARM + TIMES))
    coprocess(folder + "/spool", events.take(WARM + TIMES))
    consume()

    # Both sides run already, as with the peers: publish reads a pipe, and commits what is there.
    publisher = subprocess.Popen(["publish", *spool], stdin=subprocess.PIPE)
    consumer = subprocess.Popen(["consume", *spool, "-g", "g", "-f", "--auto-ack"],
                                stdout=subprocess.PIPE)
    samples = []
    time.sleep(0.2)
    for line in events.take(WARM + TIMES):
        time.sleep(0.003)
        begin = time.monotonic()
        os.write(publisher.stdin.fileno(), line + b"\n")
        event = os.read(consumer.stdout.fileno(), 1 << 16)
        samples.append(time.monotonic() - begin)
        assert event == line + b"\n"
    percentiles("latency", samples[WARM:])
    publisher.stdin.close()
    publisher.wait()
    consumer.terminate()
    consumer.wait()

PEERS = {"redis": Redis, "rabbitmq": Rabbit, "nats": Nats, "beanstalkd": Beanstalk}


# ---------------------------------------------------------------------------------------- table


def table(path, n):
    """Lines of "PEER<tab>LABEL<tab>ON DISK WHEN ACKNOWLEDGED<tab>MEASURE VALUE..."."""
    samples, labels = {}, {}
    for line in open(path):
        peer, label, disk, measure = line.rstrip("\n").split("\t")
        name, *values = measure.split()
        samples.setdefault((peer, name), []).append([float(value) for value in values])
        labels[peer] = (label, disk)

    def middle(peer, name):
        rounds = samples.get((peer, name))
        return rounds and [statistics.median(column) for column in zip(*rounds)]

    def rate(peer, name):
        value = middle(peer, name)
        return f"{n / value[0]:,.0f}" if value else "-"

    def milliseconds(peer, name):
        value = middle(peer, name)
        return f"{value[0]:.2f} / {value[1]:.2f}" if value else "-"

    def mib(peer, name):
        value = middle(peer, name)
        return f"{value[0] / 1024:.0f}" if value else "-"

    print("| | when acknowledged | publish, 1/s | one event, new process, ms |"
          " one event, new connection, ms | consume, 1/s | to a waiting consumer, ms |"
          " memory, MiB | disk, MiB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for peer, (label, disk) in labels.items():
        print("|", " | ".join([
            label, disk, rate(peer, "publish"), milliseconds(peer, "process"),
            milliseconds(peer, "connection"), rate(peer, "consume"),
            milliseconds(peer, "latency"), mib(peer, "memory"), mib(peer, "disk"),
        ]), "|")
        value = middle(peer, "coprocess")
        if value:
            print("|", " | ".join([
                label + ", a `publish --echo` that stays, each event after the echo of the last",
                disk, f"{1 / (value[0] / 1000):,.0f}", milliseconds(peer, "coprocess"),
                "-", "-", "-", "-", "-",
            ]), "|")
    print()
    value = middle("eventutils", "true")
    if value:
        print(f"A new process that does nothing (true) takes {value[0]:.2f} / {value[1]:.2f} ms.")
    for peer, (label, _) in labels.items():
        if (peer, "pipeline") in samples:
            print(f"{label}, XADD in a pipeline without MULTI, as with redis-cli --pipe: "
                  f"{rate(peer, 'pipeline')} a second.")


def main():
    if sys.argv[1] == "table":
        table(sys.argv[2], int(sys.argv[3]))
        return
    name, port, pid, folder, path, n = sys.argv[2:]
    events = Events(path, int(n))
    if name == "eventutils":
        run_ours(folder, events)
    else:
        run_peer(PEERS[name](int(port)), int(pid), folder, events)


main()
