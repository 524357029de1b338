#!/bin/bash
# What systemd does with the package's unit, as process 1: run by it as a service of its own.
set -euo pipefail

source /run/given/functions.sh

is() {
    [ "$(systemctl show --property "$1" --value lightning-db)" = "$2" ] ||
        fail "$1 is $(systemctl show --property "$1" --value lightning-db), not $2"
}

main() {
    systemctl show --property MainPID --value lightning-db
}

# Waits until another process than the one before serves.
wait_for_another() {
    for _ in $(seq 300); do
        if [ "$(main)" != "$1" ] && systemctl --quiet is-active lightning-db; then
            return
        fi
        sleep 0.1
    done
    fail "the service wasn't started again"
}

rows() {
    lightning-db count --port 7379
}

install() {
    DEBIAN_FRONTEND=noninteractive dpkg --install "$1"
}

# Quicker than the unit says, so that nobody waits for it.
mkdir -p /run/systemd/system/lightning-db.service.d
printf '[Service]\nRestartSec=200ms\nWatchdogSec=3\n' >/run/systemd/system/lightning-db.service.d/quick.conf

say "installing enables and starts it; it says when it serves"
install /run/given/first.deb
systemctl --quiet is-enabled lightning-db || fail "it isn't enabled"
is ActiveState active
is Type notify
[[ "$(systemctl show --property StatusText --value lightning-db)" == *" serves: "* ]] ||
    fail "it doesn't say what it serves"
[ "$(rows)" = 0 ] || fail "it doesn't serve"

say "what it may do"
process=/proc/$(main)
[ "$(stat --format %U "$process")" = lightning ] || fail "it isn't the user lightning"
for line in 'NoNewPrivs:\s1' 'Seccomp:\s2' 'CapBnd:\s0*$' 'CapEff:\s0*$'; do
    grep --quiet --perl-regexp "^$line" "$process/status" || fail "no $line in its status"
done
for place in /usr /etc /home /etc/lightning-db; do
    ! nsenter --target "$(main)" --mount touch "$place/probe" 2>/dev/null ||
        fail "$place isn't protected"
done
nsenter --target "$(main)" --mount touch $data/../probe || fail "its data are protected from it"
merge=$(grep --files-with-matches --line-regexp lightning-merge "$process"/task/*/comm | head -n 1)
[ "$(cut -d ' ' -f 19 "${merge%comm}stat")" = 5 ] || fail "merges don't give way to clients"

say "reload"
for number in $(seq 1000); do
    echo "{\"key\":\"k$number\",\"value\":\"of $number\"}"
done | lightning-db load --port 7379
before=$(main)
sed -i 's/^level = .*/level = "debug"/' $configuration
systemctl reload lightning-db
is ActiveState active
[ "$(main)" = "$before" ] || fail "reload has started it again"
lightning-cli config show --running | grep --quiet 'level.*debug' || fail "reload changed nothing"

say "killed, it is started again, and has its data"
before=$(main)
kill -KILL "$before"
wait_for_another "$before"
[ "$(rows)" = 1000 ] || fail "the data are not there after a kill"

say "where it hangs, the watchdog has it started again"
before=$(main)
kill -STOP "$before"
wait_for_another "$before"
[ "$(rows)" = 1000 ] || fail "the data are not there after the watchdog"
[ "$(systemctl show --property NRestarts --value lightning-db)" = 2 ] || fail "not two restarts"

say "stop"
systemctl stop lightning-db
is Result success
is ExecMainStatus 0
tail -n 1 /var/log/lightning-db/lightning.log | grep --quiet 'everything is durable' ||
    fail "it didn't say that all is durable"

say "an upgrade leaves it stopped, where it was; else it is started again"
install /run/given/next.deb
is ActiveState inactive
systemctl start lightning-db
before=$(main)
install /run/given/next.deb
wait_for_another "$before"
[ "$(rows)" = 1000 ] || fail "the data are not there after an upgrade"

say "removing stops and disables it"
dpkg --remove lightning-db
! systemctl --quiet is-active lightning-db || fail "it still runs"
dpkg --purge lightning-db
! systemctl --quiet is-enabled lightning-db 2>/dev/null || fail "it is still enabled"
[ -d $data ] || fail "the data are gone"

say "passed, with $(systemctl --version | head -n 1) as process 1"
