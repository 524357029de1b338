#!/bin/bash
# Installs, starts, upgrades and purges the package, in a root of its own.
set -euo pipefail

source /run/given/functions.sh

install() {
    DEBIAN_FRONTEND=noninteractive dpkg --install "$1"
}

say "install"
! getent passwd lightning >/dev/null || fail "there is a user lightning already"
install /run/given/first.deb
[ "$(mode_of /var/lib/lightning-db)" = "lightning:lightning 750" ] || fail "mode of the data"
[ "$(mode_of /var/log/lightning-db)" = "lightning:lightning 750" ] || fail "mode of the logs"
[ "$(mode_of $configuration)" = "root:lightning 640" ] || fail "mode of the configuration"
dpkg-query --showformat '${Conffiles}' --show lightning-db | grep -q "$configuration" ||
    fail "the configuration is no conffile"
first=$(dpkg-query --showformat '${Version}' --show lightning-db)
for file in /usr/share/man/man1/lightning-{db,cli,admin-server}.1.gz \
    /usr/share/bash-completion/completions/lightning-cli \
    /usr/lib/systemd/system/lightning-db.service.d/hardening.conf \
    /usr/share/doc/lightning-db/copyright; do
    [ -s "$file" ] || fail "$file is missing"
done
! grep -r /usr/local "$unit" || fail "the unit runs programs that are not the package's"
lightning-admin-server --config $configuration --check

say "start, and write"
start
[ "$(ps -o user= -p "$service")" = lightning ] || fail "the service isn't the user lightning"
for number in $(seq 1000); do
    echo "{\"key\":\"k$number\",\"value\":\"of $number\"}"
done | lightning-db load --port 7379
lightning-cli health || [ $? -eq 1 ] || fail "the service is not well"
lightning-cli config show --running >/dev/null
[ -s /var/log/lightning-db/lightning.log ] || fail "there is no log"
ls -l $data
stop

say "upgrade, with the data and a changed configuration in place"
echo "# of the administrator" >>$configuration
chmod 600 $configuration
chown lightning $configuration
install /run/given/next.deb
next=$(dpkg-query --showformat '${Version}' --show lightning-db)
dpkg --compare-versions "$next" gt "$first" || fail "$next is not higher than $first"
grep -q "of the administrator" $configuration || fail "the configuration was replaced"
[ "$(stat --format '%U %a' $configuration)" = "lightning 600" ] ||
    fail "the configuration's owner or mode was changed"
start
[ "$(lightning-db count --port 7379)" = 1000 ] || fail "the data are not there after the upgrade"
lightning-db put --port 7379 last one
stop

say "remove, and purge"
dpkg --remove lightning-db
[ -f $configuration ] || fail "removing took the configuration"
[ -d $data ] || fail "removing took the data"
install /run/given/next.deb
dpkg --purge lightning-db
[ ! -e $configuration ] || fail "purging left the configuration"
[ ! -e "$unit" ] || fail "purging left the unit"
[ ! -e /usr/bin/lightning-db ] || fail "purging left programs"
[ ! -e /var/log/lightning-db ] || fail "purging left the logs"
[ "$(mode_of /var/lib/lightning-db)" = "lightning:lightning 750" ] || fail "purging took the data's owner"

say "the data are still there, and a new installation finds them"
install /run/given/first.deb
start
[ "$(lightning-db count --port 7379)" = 1001 ] || fail "the data are gone"
[ "$(lightning-db get --port 7379 last)" = one ] || fail "the last write is gone"
stop
lightning-db verify --data $data

say "passed"
