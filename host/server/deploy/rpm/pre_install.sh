# Makes the service's user, whom files of the package belong to.
getent group lightning >/dev/null || groupadd --system lightning
getent passwd lightning >/dev/null || useradd --system --gid lightning \
    --home-dir /var/lib/lightning-db --no-create-home --shell /sbin/nologin lightning
exit 0
