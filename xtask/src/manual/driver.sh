#!/bin/bash
# Runs the blocks of the manual, in their order, in a root of its own. What each came to
# stands in /run/given/N/result then: `passed`, or why not.
set -uo pipefail

given=/run/given
unit=/etc/systemd/system/lightning-db.service
service=

# What the unit says, as systemd would do it: the same command line, by the same user.
start() {
    local line user
    line=$(sed -n 's/^ExecStart=//p' "$unit")
    user=$(sed -n 's/^User=//p' "$unit")
    # shellcheck disable=SC2086
    setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs $line >"$1" 2>&1 &
    service=$!
    for _ in $(seq 300); do
        grep -q ' serves: ' "$1" && return 0
        kill -0 "$service" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

stop() {
    kill -TERM "$service" 2>/dev/null
    wait "$service"
}

# A command that fails is noted with its exit code. A finding of lightning-cli, such as a
# disk that is nearly full, is no failure of the block.
cat >/run/prelude.sh <<'PRELUDE'
note() {
    if [[ "$2" == 'source "'* ]]; then
        # It ends as its last command did, which is noted by itself.
        return
    fi
    if [ "$1" = 1 ] && [[ "$2" == *lightning-cli* ]]; then
        return
    fi
    echo "exit code $1 of \`${2%%$'\n'*}\`" >>"$FAILED"
}
set -E
trap 'note "$?" "$BASH_COMMAND"' ERR
PRELUDE

run() {
    local folder=$1 path=$PATH
    if [ -d "$folder/stand_ins" ]; then
        path="$folder/stand_ins:$PATH"
    fi
    local work
    work=$(mktemp -d)
    (
        cd "$work" || exit 1
        FAILED=$folder/failed PATH=$path timeout 120 bash --noprofile --norc \
            -c 'source /run/prelude.sh; source "$1"; if [ -f "$2" ]; then source "$2"; fi' \
            block "$folder/block" "$folder/then" >"$folder/output" 2>&1 </dev/null
        code=$?
        [ "$code" != 124 ] || echo "it took more than two minutes" >>"$folder/failed"
    )
}

for folder in $(ls -v -d $given/[0-9]*); do
    if [ -f "$folder/prepare" ] && ! bash -eu "$folder/prepare" >"$folder/output" 2>&1; then
        echo "what it counts on couldn't be done" >"$folder/result"
        continue
    fi
    if [ -f "$folder/path" ]; then
        target=$(cat "$folder/path")
        mkdir -p "$(dirname "$target")"
        cp "$folder/block" "$target"
        : >"$folder/block"
    fi
    if [ -f "$folder/service" ] && ! start "$folder/service-output"; then
        cp "$folder/service-output" "$folder/output"
        echo "the service doesn't start" >"$folder/result"
        continue
    fi
    run "$folder"
    [ ! -f "$folder/service" ] || stop
    if [ -s "$folder/failed" ]; then
        paste -s -d ';' "$folder/failed" >"$folder/result"
    else
        echo passed >"$folder/result"
    fi
done
