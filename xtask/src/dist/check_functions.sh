# What the checks of the deb and of the rpm share.
# shellcheck shell=bash disable=SC2034

data=/var/lib/lightning-db/data
configuration=/etc/lightning-db/config.toml
unit=/usr/lib/systemd/system/lightning-db.service
service=

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

say() {
    echo "--- $*"
}

# What the unit says, as systemd would do it: the same command line, by the same user.
start() {
    local line user
    line=$(sed -n 's/^ExecStart=//p' "$unit")
    user=$(sed -n 's/^User=//p' "$unit")
    # shellcheck disable=SC2086
    setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs $line &
    service=$!
    for _ in $(seq 300); do
        if lightning-db get --port 7379 nothing 2>/dev/null || [ $? -eq 1 ]; then
            return
        fi
        kill -0 "$service" 2>/dev/null || fail "the service ended: $line"
        sleep 0.1
    done
    fail "the service doesn't serve"
}

stop() {
    kill -TERM "$service"
    wait "$service" || fail "the service ended with $?"
}

mode_of() {
    stat --format '%U:%G %a' "$1"
}
