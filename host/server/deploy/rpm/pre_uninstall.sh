# Stops the service before its programs go; an upgrade doesn't come here with 0.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now lightning-db.service
fi
exit 0
