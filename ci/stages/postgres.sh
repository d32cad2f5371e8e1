#!/usr/bin/env bash
# The rules of keys on a PostgreSQL server: Debian's, on a free port with a folder of its own, stopped at the end.
. "$(dirname "$0")/../lib.sh"
need pg_ctlcluster:postgresql python3:python3
use_test_build

programs=$(find /usr/lib/postgresql/*/bin -maxdepth 0 | sort -V | tail -1)
folder=$(mktemp -d)
as_user=()
# The server refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    as_user=(setpriv --reuid=postgres --regid=postgres --init-groups)
    chown postgres "$folder"
fi
stop() {
    (cd / && "${as_user[@]}" "$programs/pg_ctl" -D "$folder/data" -m immediate -s stop) || true
    rm -rf "$folder"
}
trap stop EXIT
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$folder/password")
[ "$(id -u)" != 0 ] || chown postgres "$folder/password"
(
    cd /
    "${as_user[@]}" "$programs/initdb" -D "$folder/data" -U kms --auth=scram-sha-256 --pwfile="$folder/password" -N >"$folder/log"
    "${as_user[@]}" "$programs/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -s \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off -c max_connections=300" start
)
KMS_TEST_POSTGRES="postgres://kms:$(cat "$folder/password")@127.0.0.1:$port/postgres"
export KMS_TEST_POSTGRES
count_cargo cargo test --locked --no-fail-fast --features postgres --lib -- postgres::
count_cargo cargo test --locked --no-fail-fast --features postgres --test postgres
count_cargo cargo test --locked --no-fail-fast --features postgres --test contract -- \
    aliases:: deletion:: import:: lists:: matrix:: policy:: rotation_rules:: states:: tags:: version_states::
