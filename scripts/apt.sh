# What the scripts know about Debian's and Ubuntu's packages; to be sourced.

# Whether we may install system packages here.
can_apt() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null
}

# apt_install PACKAGE...: install quietly; what comes as a service is neither started now nor at
# the next boot, for the programs are run by the platform itself, on ports of its own.
apt_install() (
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    log=$(mktemp)
    made_policy=
    trap 'rm -f "$log"; [ -z "$made_policy" ] || rm -f "$policy"' EXIT
    trap 'exit 130' INT TERM HUP
    if [ ! -e "$policy" ]; then
        made_policy=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # Package lists may be missing (slim images) or old: refresh them only when it does not go.
    if ! apt_get install "$@" >"$log" 2>&1; then
        if ! { apt_get update && apt_get install "$@"; } >"$log" 2>&1; then
            grep '^E:' "$log" >&2 || tail -n 3 "$log" >&2
            exit 1
        fi
    fi
    for package in "$@"; do
        [ ! -e "/etc/init.d/$package" ] || update-rc.d "$package" disable
        deb-systemd-helper disable "$package.service"
    done >/dev/null 2>&1 || true
)

apt_get() {
    apt-get -q -y -o Dpkg::Use-Pty=0 -o APT::Install-Recommends=false "$@"
}
