#!/bin/sh
# Entry point of the Mosquitto container. It starts the broker with its dynamic security plugin, over
# which the gateway makes changes of accounts known at once. The password file is what the broker
# begins with; where it changes, Mosquitto 2.1 reads it again at SIGHUP. An older one corrupts its list
# of expiring sessions at SIGHUP: it gets none, and is started anew instead: with the plugin where an
# account of a service changed (the gateway's is the first thing it needs), without it at any change.
#   /mosquitto/config   this directory, read only
#   /mosquitto/secrets  the password file the gateway writes (named passwords)
#   /mosquitto/ca, /mosquitto/certs, /mosquitto/log   as assemble.sh says
set -eu
root=${MOSQUITTO_ROOT:-/mosquitto}
run=$root/run
secrets=$root/secrets/passwords
accounts=$run/dynamic-security.json
# Many changes (a first fill) are one restart.
quiet_looks=${CAAS_BROKER_QUIET_LOOKS:-6}
umask 077
mkdir -p "$run" "$root/data"

# A copy that belongs to the broker: the gateway is another user in another container.
take_passwords() {
    if [ -f "$secrets" ]; then cp "$secrets" "$run/passwords.new"; else : > "$run/passwords.new"; fi
    chown mosquitto "$run/passwords.new" 2>/dev/null || true
    mv "$run/passwords.new" "$run/passwords"
}
fingerprint() {
    if [ "$on_change" = restart-for-services ]; then
        grep '^svc-' "$secrets" 2>/dev/null | cksum
    else
        stat -c '%i %Y %s' "$secrets" 2>/dev/null || echo none
    fi
}
find_plugin() {
    for place in ${MOSQUITTO_PLUGINS-/usr/lib /usr/lib64 /usr/local/lib /usr/lib/*}; do
        if [ -f "$place/mosquitto_dynamic_security.so" ]; then
            echo "$place/mosquitto_dynamic_security.so"
            return
        fi
    done
}
# The plugin holds what changed since the broker started: it begins empty, and says in the role's
# description how old the password file is (as caas/brokers/overlay.py does).
reset_accounts() {
    written=$(stat -c %Y "$secrets" 2>/dev/null || echo 0)
    if [ "$on_change" = reload ]; then written="$written follows"; fi
    cat > "$accounts" <<END
{"defaultACLAccess": {"publishClientSend": false, "publishClientReceive": false,
 "subscribe": false, "unsubscribe": false}, "clients": [], "groups": [], "roles": [
 {"rolename": "revoked", "textdescription": "$written", "acls": [
  {"acltype": "publishClientSend", "topic": "#", "priority": 0, "allow": false},
  {"acltype": "publishClientReceive", "topic": "#", "priority": 0, "allow": false},
  {"acltype": "subscribePattern", "topic": "#", "priority": 0, "allow": false},
  {"acltype": "unsubscribePattern", "topic": "#", "priority": 0, "allow": false}]}]}
END
}

plugin=$(find_plugin)
version=$(mosquitto -h 2>/dev/null | sed -n 's/^mosquitto version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
case $version in
    2.[1-9]*|[3-9].*) on_change=reload ;;
    *) if [ -n "$plugin" ]; then on_change=restart-for-services; else on_change=restart; fi ;;
esac
if [ -z "$plugin" ]; then
    echo "no dynamic security plugin: a change of accounts works after a $on_change" >&2
fi
sh "$root/config/assemble.sh" "$root" > "$run/assembled.conf"
if [ -n "$plugin" ]; then
    sed "s|^plugin .*|plugin $plugin|" "$root/config/plugin.conf" >> "$run/assembled.conf"
fi
sed "/^plugin /!s|/mosquitto/|$root/|" "$run/assembled.conf" > "$run/mosquitto.conf"
sed "s|caas/v1/vehicles|${CAAS_MQTT_PREFIX:-caas/v1/vehicles}|" "$root/config/acl" > "$run/acl"

start() {
    before=$(fingerprint)
    take_passwords
    reset_accounts
    chown -R mosquitto "$run" "$root/data" 2>/dev/null || true
    OPENSSL_CONF=$root/config/openssl.cnf mosquitto -c "$run/mosquitto.conf" &
    broker=$!
    trap 'kill -TERM "$broker" 2>/dev/null; ending=1' TERM INT
}

ending=
quiet=0
start
while kill -0 "$broker" 2>/dev/null; do
    # In the background, so that a signal is not held up by it.
    sleep 0.5 &
    wait $! || true
    now=$(fingerprint)
    if [ "$now" = "$before" ]; then quiet=0; continue; fi
    case $on_change in
        reload) before=$now; take_passwords; kill -HUP "$broker" ;;
        *)
            if [ "$now" != "${seen:-}" ]; then seen=$now; quiet=0; continue; fi
            quiet=$((quiet + 1))
            if [ "$quiet" -lt "$quiet_looks" ] || [ -n "$ending" ]; then continue; fi
            quiet=0
            echo "the password file has changed: starting the broker anew" >&2
            kill -TERM "$broker"
            wait "$broker" || true
            start
            ;;
    esac
done
wait "$broker"
