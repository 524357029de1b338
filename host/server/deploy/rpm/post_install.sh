# Makes the folders, and starts the service again where it ran.
for folder in /var/lib/lightning-db /var/log/lightning-db; do
    if [ ! -d "$folder" ]; then
        mkdir -p "$folder"
        chown lightning:lightning "$folder"
        chmod 750 "$folder"
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" -gt 1 ]; then
        systemctl try-restart lightning-db.service
    else
        systemctl preset lightning-db.service
    fi
fi
exit 0
