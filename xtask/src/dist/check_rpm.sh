#!/bin/bash
# Installs, starts, upgrades and removes the rpm, in a root of its own. Debian's rpm knows
# no packages that others could depend on, so that dependencies are not looked at.
set -euo pipefail

source /run/given/functions.sh

say "install"
! getent passwd lightning >/dev/null || fail "there is a user lightning already"
rpm --initdb
rpm --install --nodeps /run/given/first.rpm
[ "$(mode_of /var/lib/lightning-db)" = "lightning:lightning 750" ] || fail "mode of the data"
[ "$(mode_of /var/log/lightning-db)" = "lightning:lightning 750" ] || fail "mode of the logs"
[ "$(mode_of $configuration)" = "root:lightning 640" ] || fail "mode of the configuration"
rpm --query --configfiles lightning-db | grep -q "$configuration" || fail "no configuration file"
rpm --verify --nodeps lightning-db || fail "what is installed is not what is packed"

say "start, and write"
start
lightning-db put --port 7379 a 1
stop

say "upgrade, with the data and a changed configuration in place"
echo "# of the administrator" >>$configuration
rpm --upgrade --force --nodeps /run/given/first.rpm
grep -q "of the administrator" $configuration || fail "the configuration was replaced"
start
[ "$(lightning-db get --port 7379 a)" = 1 ] || fail "the data are not there after the upgrade"
stop

say "remove"
rpm --erase lightning-db
[ ! -e "$unit" ] || fail "removing left the unit"
[ ! -e /usr/bin/lightning-db ] || fail "removing left programs"
[ -f "$configuration.rpmsave" ] || fail "removing took the changed configuration"
[ "$(mode_of /var/lib/lightning-db)" = "lightning:lightning 750" ] || fail "removing took the data's owner"
rpm --install --nodeps /run/given/first.rpm
lightning-db verify --data $data
[ "$(lightning-db get --data $data a)" = 1 ] || fail "the data are gone"

say "passed. Not proven: dependencies, and what systemd does as process 1."
