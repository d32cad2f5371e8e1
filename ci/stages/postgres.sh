#!/usr/bin/env bash
# The rules of keys on Debian's PostgreSQL server, which the stage starts and stops; with KMS_LONG, the campaigns.
. "$(dirname "$0")/../lib.sh"
PATH=$PATH:/usr/sbin
need openssl:openssl pgbouncer:pgbouncer
use_postgres_server
build_release # Programs in C and C++ use what is released.
use_postgres_build

folder=$(mktemp -d)
[ "$(id -u)" != 0 ] || chown postgres "$folder"
pooler=
stop() {
    [ -z "$pooler" ] || kill "$pooler" || true
    (cd / && "${as_user[@]}" "$programs/pg_ctl" -D "$folder/data" -m immediate -s stop) || true
    rm -rf "$folder"
}
trap stop EXIT
port=$(free_port)
pooled=$(free_port)
(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$folder/password")

# An authority that the tests trust and one that they don't; certificates of localhost, one of which is over.
mkdir "$folder/tls"
new_key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/tls/$1.key"; }
new_authority() {
    new_key "$1"
    openssl req -x509 -key "$folder/tls/$1.key" -out "$folder/tls/$1.crt" -subj "/CN=$1" -days 2
}
# certify NAME SUBJECT DAYS
certify() {
    new_key "$1"
    openssl req -new -key "$folder/tls/$1.key" -subj "/CN=$2" |
        openssl x509 -req -CA "$folder/tls/authority.crt" -CAkey "$folder/tls/authority.key" -set_serial "$RANDOM" -days "$3" \
            -extfile <(echo "subjectAltName=DNS:$2") -out "$folder/tls/$1.crt" 2>/dev/null
}
new_authority authority
new_authority stranger
certify server localhost 2
certify over localhost -1
certify client certified 2
chmod 600 "$folder"/tls/*.key
# The client's key stays the tests' own.
[ "$(id -u)" != 0 ] || chown postgres "$folder/password" "$folder"/tls/{server,over}.*
(
    cd /
    "${as_user[@]}" "$programs/initdb" -D "$folder/data" -U kms --auth=scram-sha-256 --pwfile="$folder/password" -N >"$folder/log"
    # Not options of the server, which the tests could not change. Users with certificates log in by them.
    printf "%s\n" "ssl = on" "ssl_cert_file = '$folder/tls/server.crt'" "ssl_key_file = '$folder/tls/server.key'" \
        "ssl_ca_file = '$folder/tls/authority.crt'" >>"$folder/data/postgresql.conf"
    sed -i '1i hostssl all certified 127.0.0.1/32 cert' "$folder/data/pg_hba.conf"
    "${as_user[@]}" "$programs/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -s \
        -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder -c fsync=off -c max_connections=300" start
)

# Two connections for all: a transaction may run on any.
printf '"kms" "%s"\n' "$(cat "$folder/password")" >"$folder/users"
cat >"$folder/pooler.ini" <<POOLER
[databases]
postgres = host=127.0.0.1 port=$port
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $pooled
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $folder/users
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
server_tls_sslmode = disable
logfile = $folder/pooler.log
POOLER
[ "$(id -u)" != 0 ] || chown postgres "$folder/users" "$folder/pooler.ini"
(cd / && exec "${as_user[@]}" pgbouncer -q "$folder/pooler.ini") &
pooler=$!
KMS_TEST_PGBOUNCER="postgres://kms:$(cat "$folder/password")@127.0.0.1:$pooled/postgres"
KMS_TEST_TLS=$folder/tls
export KMS_TEST_PGBOUNCER KMS_TEST_TLS
chmod 755 "$folder"
KMS_TEST_POSTGRES="postgres://kms:$(cat "$folder/password")@127.0.0.1:$port/postgres"
export KMS_TEST_POSTGRES
# Changes are seen by polling: separate tests cover neighbours on a host, which announce them.
export XDG_RUNTIME_DIR=/nonexistent
# make test-long: the counts of a campaign alone, the server restarted in the middle.
if [ -n "${KMS_LONG:-}" ]; then
    export KMS_TEST_CAMPAIGN=1
    KMS_TEST_POSTGRES_RESTART="cd / && ${as_user[*]} $programs/pg_ctl -D $folder/data -m immediate -w -s -l $folder/server.log restart"
    export KMS_TEST_POSTGRES_RESTART
    count_cargo timeout 7200 cargo test --locked --no-fail-fast --features postgres --test postgres -- --nocapture --test-threads=1 \
        processes_that_are_killed a_connection_that_is_cut many_keys_are_copied
    KMS_MODEL_SEQUENCES=$((2000 * KMS_LONG)) count_cargo timeout $((7200 * KMS_LONG)) cargo test --locked --features postgres --test model -- \
        random_sequences --nocapture
    exit
fi
cargo clippy --locked --all-targets --features postgres -- -D warnings
count_cargo cargo test --locked --no-fail-fast --features postgres --lib -- postgres::
count_cargo cargo test --locked --no-fail-fast --features postgres --test postgres
KMS_MODEL_SEQUENCES=10 count_cargo cargo test --locked --features postgres --test model -- random_sequences
KMS_TEST_POSTGRES="$KMS_TEST_POSTGRES?prepare=on" KMS_MODEL_SEQUENCES=10 count_cargo cargo test --locked --features postgres --test model -- random_sequences
count_cargo cargo test --locked --no-fail-fast --features postgres --package kms-cli --test cli -- database::
count_cargo cargo test --locked --no-fail-fast --features postgres --test contract -- \
    aliases:: deletion:: import:: lists:: matrix:: policy:: rotation_rules:: states:: tags:: version_states::

# Programs in C, C++ and Python, with TLS and a small RLIMIT_MEMLOCK, which root would not have to keep.
cat /etc/ssl/certs/ca-certificates.crt "$folder/tls/authority.crt" >"$folder/authorities" 2>/dev/null || true
clients=$ROOT/target/postgres
mkdir -p "$clients"
of_server="${KMS_TEST_POSTGRES/127.0.0.1/localhost}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=$folder/authorities"
absent="postgres://ann:hunter2@127.0.0.1:1/keys?sslmode=disable"
limited=(prlimit --memlock=65536)
[ "$(id -u)" != 0 ] || limited=(setpriv --bounding-set=-ipc_lock "${limited[@]}")
cpp_client() {
    g++ -std=c++17 -Wall -Wextra -Werror -Iinclude -Ibindings/cpp/include -o "$clients/cpp" tests/postgres/clients/client.cpp \
        -L"$(dirname "$LIBRARY")" -Wl,-rpath,"$ROOT/$(dirname "$LIBRARY")" -lkms &&
        "$clients/cpp" "$of_server#cpp" "$absent"
}
python_client() (
    cargo build --quiet --locked --manifest-path bindings/python/Cargo.toml --features postgres &&
        rm -rf "$clients/python" && mkdir "$clients/python" && cp -r bindings/python/python/libkms "$clients/python/" &&
        cp target/ci/debug/lib_libkms.so "$clients/python/libkms/_libkms.abi3.so" &&
        PYTHONPATH=$clients/python python3 tests/postgres/clients/client.py "$of_server#python" "$absent"
)
attempt "C: compile" compile_c tests/postgres/clients/client.c "$clients/c" "$LIBRARY"
attempt "C: a database" in_empty_folder "${limited[@]}" "$clients/c" "$of_server#c" "$absent"
attempt "C++: a database" cpp_client
attempt "Python: a database" python_client
all_passed
