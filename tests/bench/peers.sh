#!/bin/bash
# peers.sh: the same work done by eventutils, and by brokers that Debian has packages of: Redis
# Streams, RabbitMQ, NATS JetStream and beanstalkd. Prints a table in Markdown.
#
#     make bench                        # once: it builds gen and measure
#     PATH="$PWD/build/bin:$PATH" BUILD="$PWD/build" [N=100000] [ROUNDS=3] tests/bench/peers.sh
#
# Each server is started here, on loopback, on a free port, in a folder of its own that is removed
# in the end; none that runs already is touched, and nothing is installed. What is missing is left
# out, with a line that says so. All take turns, each round with a fresh server, each measure after
# a warm-up; the figures are medians of the rounds. Needs python3 and 500 MB beside BUILD; takes
# three to five minutes.
#
# What is measured, with events of about 300 bytes:
#   publish     N of them, from the first byte sent until the last is acknowledged
#   one event   from the start of a process, or of a connection, until it is acknowledged; and in a
#               row of its own from the line until its echo, through a publish that is a coprocess
#   consume     N of them, each once, into a pipe, and acknowledged
#   waiting     from sending an event until a consumer that waits has it, both connected already
#   memory      resident, of the server and all its processes once it holds N events; of eventutils
#               the largest that publish was, as nothing is left when it ends
#   disk        what the folder takes then
set -euo pipefail

: "${BUILD:?}"
n=${N:-100000}
rounds=${ROUNDS:-3}
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH:/usr/sbin"
for name in "${!EVENT_@}" "${!RABBITMQ_@}" "${!ERL_@}" TRACEPARENT TRACESTATE; do
    unset "$name"
done
for name in python3 publish consume gen measure; do
    command -v "$name" >/dev/null || {
        echo "peers.sh: there is no $name; the others come from make bench" >&2
        exit 69
    }
done

work=$(mktemp -d "$BUILD/peers.XXXXXX")
servers=() # process ids, each the leader of a session
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ------------------------------------------------------------------------------------- servers

free_port() {
    python3 -c 'import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# start COMMAND...: in a session of its own, so that all its processes can be ended.
start() {
    setsid "$@" >>"$work/log" 2>&1 </dev/null &
    servers+=($!)
}

# In the order in which they were started, each with ten seconds.
stop() {
    local pid i
    for pid in "${servers[@]}"; do
        kill -TERM "$pid" 2>/dev/null || continue
        for ((i = 0; i < 100; i++)); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -KILL -- "-$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    servers=()
}

listening() { # PORT
    local i
    for ((i = 0; i < 300; i++)); do
        (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.1
    done
    echo "peers.sh: the server did not start; it said:" >&2
    tail -n 20 "$work/log" >&2
    return 1
}

start_redis() { # PORT FOLDER APPENDFSYNC
    start redis-server --bind 127.0.0.1 --port "$1" --dir "$2" --save '' --appendonly yes \
        --appendfsync "$3"
}

start_nats() {
    {
        echo "listen: 127.0.0.1:$1"
        echo "jetstream { store_dir: \"$2\" $nats_sync }"
    } >"$work/nats.conf"
    start nats-server -c "$work/nats.conf"
}

start_beanstalkd() { start beanstalkd -l 127.0.0.1 -p "$1" -b "$2" -f 0; }

# Not the wrapper in /usr/sbin, which wants to become another user. Erlang would start a daemon
# that maps names to ports and leave it behind; this one is ours, and ends last.
start_rabbitmq() {
    local mapper
    mapper=$(free_port)
    echo "listeners.tcp.1 = 127.0.0.1:$1" >"$2/conf"
    : >"$2/plugins"
    local settings=(
        HOME="$2" ERL_EPMD_PORT="$mapper" ERL_EPMD_ADDRESS=127.0.0.1
        RABBITMQ_NODENAME="peers$1@localhost" RABBITMQ_DIST_PORT="$(free_port)"
        RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$2/conf"
        RABBITMQ_ENABLED_PLUGINS_FILE="$2/plugins"
        RABBITMQ_MNESIA_BASE="$2/mnesia" RABBITMQ_LOG_BASE="$2/log"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
    )
    start env "${settings[@]}" epmd -port "$mapper" -address 127.0.0.1
    listening "$mapper"
    start env "${settings[@]}" /usr/lib/rabbitmq/bin/rabbitmq-server
    servers=("${servers[1]}" "${servers[0]}")
}

# -------------------------------------------------------------------------------------- rounds

lines=() # SHORT<tab>what it is<tab>what an acknowledgement means

# has COMMAND PACKAGE: whether it is there.
has() {
    command -v "$1" >/dev/null && return
    echo "left out: $2 is not installed (apt-get install $2)" >&2
    return 1
}

add() { lines+=("$1"$'\t'"$2"$'\t'"$3"); }

add eventutils "eventutils $(publish --version | sed -n '1s/.* //p')" 'on disk'
if has redis-server redis-server && has redis-cli redis-tools; then
    version=$(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')
    add redis-always "Redis $version, appendfsync always" 'on disk'
    add redis-everysec "Redis $version, appendfsync everysec" 'in memory, on disk within about 1 s'
fi
if has /usr/lib/rabbitmq/bin/rabbitmq-server rabbitmq-server && has epmd erlang-base; then
    version=$(find /usr/lib/rabbitmq/lib -maxdepth 1 -name 'rabbitmq_server-*' | sed 's/.*-//')
    add rabbitmq "RabbitMQ $version, durable queue, persistent, confirms" 'on disk'
fi
nats_sync='sync_interval: always'
if has nats-server nats-server; then
    version=$(nats-server --version | sed 's/.*v//')
    echo "jetstream { store_dir: \"$work\" $nats_sync }" >"$work/nats.conf"
    if nats-server -t -c "$work/nats.conf" >/dev/null 2>&1; then # since 2.10
        add nats "NATS $version, JetStream, file, sync_interval always" 'on disk'
    else
        nats_sync=
        add nats "NATS $version, JetStream, file (has no sync always)" \
            'in the page cache, on disk within 2 min'
    fi
fi
if has beanstalkd beanstalkd; then
    version=$(beanstalkd -v | sed 's/beanstalkd //')
    add beanstalkd "beanstalkd $version, -b DIR -f 0" 'on disk'
fi

measure_peer() { # SHORT
    local folder=$work/data port=0 pid=0 peer=${1%%-*}
    rm -rf "$folder"
    mkdir "$folder"
    if [ "$peer" != eventutils ]; then
        port=$(free_port)
        "start_$peer" "$port" "$folder" "${1#*-}"
        listening "$port"
        pid=${servers[0]}
    fi
    python3 "$here/peers.py" run "$peer" "$port" "$pid" "$folder" "$work/events" "$n"
    stop
}

# 1,000 events and 20 of each single kind are warm-up.
gen $((n + 2000)) >"$work/events"
for ((round = 1; round <= rounds; round++)); do
    for line in "${lines[@]}"; do
        echo "round $round of $rounds: $(cut -f2 <<<"$line")" >&2
        measure_peer "${line%%$'\t'*}" >"$work/measures"
        while IFS= read -r measure; do
            printf '%s\t%s\n' "$line" "$measure"
        done <"$work/measures" >>"$work/samples"
    done
done

echo "$n events of $(($(wc -c <"$work/events") / (n + 2000))) bytes, medians of $rounds rounds," \
    "$(nproc) cores, Linux $(uname -r | cut -d- -f1), $(df --output=fstype "$work" | tail -n 1)," \
    "$(python3 --version). Times are median / 99th percentile."
echo
python3 "$here/peers.py" table "$work/samples" "$n"
cat <<'END'

What cannot be compared, and why:

- Lines whose acknowledgement does not mean "on disk" promise less: a power cut takes what was
  acknowledged.
- publish: eventutils starts a process, reads a file, checks every line and looks for equal ids
  within the time. The peers take any bytes, and get theirs ready-made from a connected client.
  Redis gets a thousand events in a MULTI, which is one flush; other ways are below the table.
- one event, new connection: does not contain the start of a process. Add that of true, and what a
  client needs to load, to set it beside eventutils and redis-cli. For RabbitMQ, NATS and beanstalkd
  Debian has no command that waits for the acknowledgement.
- consume: eventutils starts a process within the time, and its settles are not flushed one by one:
  after a power cut some events come again. Redis with always and beanstalkd flush them; RabbitMQ
  and NATS do not promise to. With Redis and NATS up to a third of the time is our client's.
- to a waiting consumer: eventutils has the event on disk before it is seen, as has Redis with
  always. RabbitMQ hands it to the consumer before it confirms it.
- memory: servers keep it for as long as they run; publish is gone when it ends.
- disk: eventutils, Redis and NATS keep what was consumed, RabbitMQ and beanstalkd remove it.
- The servers also serve other machines and users, which eventutils does not.
END
