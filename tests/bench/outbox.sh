#!/bin/bash
# outbox.sh: how fast outbox-relay empties a SQLite table, beside sqlite3 that only reads it into
# publish, and what it costs the application: the 99th percentile of its transactions with a relay
# that follows, beside those without. tests/bench/run calls it.
#
#     BUILD=folder [ROUNDS=5] tests/bench/outbox.sh
set -euo pipefail

: "${BUILD:?}"
rounds=${ROUNDS:-5}
rows=50000
orders=2000

work=$(mktemp -d "$BUILD/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH"

fresh() {
    rm -f "$work"/*
    { echo 'PRAGMA journal_mode = wal; CREATE TABLE orders(id INTEGER PRIMARY KEY, total);' && outbox-relay --schema; } |
        sqlite3 "$work/app.db" >/dev/null
}

fill() {
    fresh
    sqlite3 "$work/app.db" "INSERT INTO outbox_events(event_id, aggregate_id, event_type, payload)
        SELECT 'id-' || (1000000 + value), 'order-' || (value / 3), 'order.placed',
            '{\"customer\":\"c-00042\",\"total_cents\":9950,\"items\":[{\"sku\":\"A-0042\",\"qty\":1}]}'
        FROM generate_series(1, $rows)"
    publish -s "$work/spool" -t first -d 0 2>/dev/null
}

ours_relay() { measure outbox-relay -s "$work/spool" "$work/app.db"; }
# shellcheck disable=SC2016 # the inner shell expands
bare_relay() {
    measure sh -c 'sqlite3 "$1/app.db" "SELECT json_object('\''id'\'', event_id, '\''type'\'', event_type, '\''subject'\'',
        aggregate_id, '\''time'\'', created_at, '\''data'\'', json(payload)) FROM outbox_events WHERE published = 0
        ORDER BY id" | publish -s "$1/spool"' sh "$work"
}

ours_write() {
    outbox-relay -f -s "$work/spool" "$work/app.db" 2>/dev/null &
    outbox_writer "$work/app.db" $orders
    kill $!
    wait $! || true
}
bare_write() { outbox_writer "$work/app.db" $orders; }

for ((round = 1; round <= rounds; round++)); do
    for side in ours bare; do
        fill
        echo "relay $side $("${side}_relay" | cut -d' ' -f1)"
        fresh
        echo "write $side $("${side}_write" | cut -d' ' -f2)"
    done
done | awk -v rows=$rows -v rounds="$rounds" '
    { figure[$1, $2, ++count[$1, $2]] = $1 == "relay" ? rows / $3 : $3 }
    function median(work, side,   list, i, j, t) {
        for (i = 1; i <= rounds; i++) list[i] = figure[work, side, i]
        for (i = 2; i <= rounds; i++)
            for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
        return rounds % 2 ? list[(rounds + 1) / 2] : (list[rounds / 2] + list[rounds / 2 + 1]) / 2
    }
    END {
        ours = median("relay", "ours"); bare = median("relay", "bare")
        printf "%-34s %-6s %9.0f %9.0f  %4.2f %18s %-4s %s\n", "outbox-relay (1/s)", "", ours, bare,
            ours / bare, ">=", 0.6, (ours / bare >= 0.6 ? "" : "missed")
        ours = median("write", "ours"); bare = median("write", "bare")
        printf "%-34s %-6s %9.2f %9.2f  %4.2f %18s %-4s %s\n", "beside a relay, p99 of a write (ms)", "", ours, bare,
            ours / bare, "<=", 1.5, (ours / bare <= 1.5 ? "" : "missed")
    }'
