#!/bin/sh
# Entry point of the Mosquitto container: starts the broker and sends SIGHUP when the gateway wrote
# a new password file, so a new vehicle can sign in without a restart.
#   /mosquitto/config   this directory, read only
#   /mosquitto/secrets  the password file the gateway writes (named passwords)
#   /mosquitto/ca, /mosquitto/certs, /mosquitto/log   as assemble.sh says
set -eu
root=${MOSQUITTO_ROOT:-/mosquitto}
run=$root/run
secrets=$root/secrets/passwords
umask 077
mkdir -p "$run" "$root/data"

# A copy that belongs to the broker: the gateway is another user in another container.
take_passwords() {
    if [ -f "$secrets" ]; then cp "$secrets" "$run/passwords.new"; else : > "$run/passwords.new"; fi
    chown mosquitto "$run/passwords.new" 2>/dev/null || true
    mv "$run/passwords.new" "$run/passwords"
}
fingerprint() { stat -c '%i %Y %s' "$secrets" 2>/dev/null || echo none; }

sh "$root/config/assemble.sh" "$root" > "$run/assembled.conf"
sed "s|/mosquitto/|$root/|" "$run/assembled.conf" > "$run/mosquitto.conf"
sed "s|caas/v1/vehicles|${CAAS_MQTT_PREFIX:-caas/v1/vehicles}|" "$root/config/acl" > "$run/acl"
before=$(fingerprint)
take_passwords
chown -R mosquitto "$run" "$root/data" 2>/dev/null || true

OPENSSL_CONF=$root/config/openssl.cnf mosquitto -c "$run/mosquitto.conf" &
broker=$!
trap 'kill -TERM "$broker" 2>/dev/null' TERM INT
while kill -0 "$broker" 2>/dev/null; do
    # In the background, so that a signal is not held up by it.
    sleep 0.5 &
    wait $! || true
    now=$(fingerprint)
    if [ "$now" != "$before" ]; then
        before=$now
        take_passwords
        kill -HUP "$broker"
    fi
done
wait "$broker"
