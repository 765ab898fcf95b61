#!/bin/sh
# As root on Debian or Ubuntu: has Mosquitto installed if it is missing. Never fails: without it
# the demo uses a broker inside its process.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

if command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || ! can_apt; then
    exit 0
fi
echo "Installing mosquitto with apt-get (the MQTT broker; no service is started)"
apt_install mosquitto || echo "Going on without mosquitto"
