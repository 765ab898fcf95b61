#!/bin/sh
# Prints the container's configuration: the internal listener, the doors for vehicles where there is
# a server certificate, and the log for `caas run broker-log` where there is a place for it.
#   /mosquitto/ca      what `caas ca` made: ca.crt, crl.pem, crls/, and server.crt, server.key
#   /mosquitto/certs   optional: another server.crt and server.key
#   /mosquitto/log     optional
set -eu
root=$1
tls=$root/run/tls
server=$root/certs
[ -f "$server/server.crt" ] || server=$root/ca

cat "$root/config/mosquitto.conf"
if [ -f "$server/server.crt" ] && [ -f "$root/ca/crl.pem" ]; then
    # Copies that belong to the broker: it gives up root before it reads them.
    mkdir -p "$tls"
    cp "$server/server.crt" "$server/server.key" "$root/ca/ca.crt" "$root/ca/crl.pem" "$tls/"
    cat "$root/config/tls.conf"
fi
if [ -d "$root/log" ]; then
    chown mosquitto "$root/log" 2>/dev/null || true
    # The reader is another user in another container, and empties it.
    : >> "$root/log/mosquitto.log"
    chmod 0666 "$root/log/mosquitto.log"
    chown mosquitto "$root/log/mosquitto.log" 2>/dev/null || true
    cat "$root/config/log.conf"
fi
