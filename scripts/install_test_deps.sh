#!/bin/sh
# Installs what tests/parts.txt names and this machine lacks (as root on Debian or Ubuntu), or says
# what is missing. With CI=true a part that stays missing is a failure.
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

# missing: "NAME PACKAGE" a line, for each part none of whose programs is here.
missing() {
    grep -v '^#' tests/parts.txt | while read -r name package programs; do
        found=
        for program in $programs; do
            if PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null; then found=yes; fi
        done
        if [ -n "$name" ] && [ -z "$found" ]; then echo "$name $package"; fi
    done
}

wanted=$(missing)
if [ -n "$wanted" ] && can_apt; then
    packages=$(echo "$wanted" | cut -d ' ' -f 2 | sort -u)
    echo "Installing for the tests: $(echo "$packages" | xargs)"
    # shellcheck disable=SC2086 # one argument a package
    apt_install $packages || true
    wanted=$(missing)
fi
if [ -n "$wanted" ]; then
    names=$(echo "$wanted" | cut -d ' ' -f 1 | xargs)
    packages=$(echo "$wanted" | cut -d ' ' -f 2 | sort -u | xargs)
    echo "Missing: $names; their tests are skipped (Debian: apt-get install $packages)" >&2
    if [ "${CI:-}" = true ]; then exit 1; fi
fi
