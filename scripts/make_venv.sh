#!/bin/sh
# Makes the virtual environment FOLDER and installs the lock file LOCK and this project into it.
# Usage: scripts/make_venv.sh FOLDER LOCK
set -eu
cd "$(dirname "$0")/.."
. scripts/apt.sh

venv=$1
lock=$2
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

die() {
    echo "make setup: $*" >&2
    exit 1
}

# The newest Python of at least 3.11; a name may exist and not run (pyenv's shims).
find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    die "Python 3.11 or newer is needed, and none is on the PATH"
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Debian keeps the part that puts pip into an environment in a package of its own.
has_ensurepip() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null
}

make_with_ensurepip() {
    has_ensurepip || return 1
    "$python" -m venv "$venv"
}

# Python with pip but without ensurepip: that pip can fill the environment.
make_with_own_pip() {
    "$python" -m pip --version >/dev/null 2>&1 || return 1
    "$python" -m venv --without-pip "$venv" &&
        "$python" -m pip --python "$venv/bin/python" install -qq pip
}

# Debian's or Ubuntu's pip, unpacked without being installed: needs no rights.
make_with_debians_wheel() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || return 1
    temporary=$(mktemp -d)
    if (cd "$temporary" && apt-get -q download python3-pip-whl && dpkg -x ./*.deb .) \
        >/dev/null 2>&1; then
        wheel=$(ls "$temporary"/usr/share/python-wheels/pip-*.whl)
        "$python" -m venv --without-pip "$venv" &&
            PYTHONPATH=$wheel "$venv/bin/python" -m pip install -qq --no-index "$wheel"
        made=$?
    else
        made=1
    fi
    rm -rf "$temporary"
    return "$made"
}

make_venv() {
    rm -rf "$venv"
    if ! has_ensurepip && can_apt; then
        package=python$(version_of "$python")-venv
        echo "Installing $package with apt-get"
        apt_install "$package" || true
    fi
    make_with_ensurepip || make_with_own_pip || make_with_debians_wheel || die \
        "$python cannot make virtual environments: install" \
        "python$(version_of "$python")-venv (as root: apt-get install python3-venv)"
}

python=$(find_python)
if [ "$(version_of "$venv/bin/python" || true)" != "$(version_of "$python")" ] ||
    ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    make_venv
fi
echo "Installing the packages of $lock into $venv (once; a minute or two)"
"$venv/bin/python" -m pip install -qq --require-hashes -r "$lock"
# The tools that build are in the lock file too, so nothing unpinned is fetched here.
"$venv/bin/python" -m pip install -qq --no-deps --no-build-isolation -e .
