#!/bin/bash
# Makes the CockroachDB cluster of docker-compose.yml and loads the library; may run again without failing.
set -euo pipefail

sql() { cockroach sql --insecure --host=downtown-library:26257 "$@"; }

# Try `$@` once a second until it succeeds, a minute long.
insist() {
    for _ in $(seq 60); do
        if "$@"; then return 0; fi
        sleep 1
    done
    echo "gave up: $*" >&2
    return 1
}

# An initialised cluster refuses `init`, but answers SQL.
initialise() { cockroach init --insecure --host=downtown-library:26357 || sql --execute='SELECT 1'; }

insist initialise
insist sql --execute='SELECT 1'
# A draining node says so 8 s before it refuses connections, so that a proxy notices in time.
sql --execute="SET CLUSTER SETTING server.shutdown.initial_wait = '8s'"
if [[ -n "${COCKROACH_LICENSE:-}" ]]; then
    sql --execute="SET CLUSTER SETTING enterprise.license = '${COCKROACH_LICENSE//\'/\'\'}'"
fi
cat /sql/init.sql /sql/dummydata.sql | sql
# A zone that names a region is refused until a node of that region has joined.
insist sql --file=/sql/zones.sql
