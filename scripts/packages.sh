#!/bin/sh
# Installs system packages by apt, or says what to install and fails.
# Usage: packages.sh 'what is missing, in words' PACKAGE...
set -eu
missing=$1
shift

give_up() {
    echo "Missing: $missing." >&2
    echo "$1 (on Debian and Ubuntu, as root: apt-get install $packages), then run this again." >&2
    exit 1
}
packages=$*

command -v apt-get >/dev/null || give_up "Install it with this system's package manager"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo=sudo
else
    give_up "Installing it needs root or sudo; install it by hand"
fi

echo "Missing: $missing. Installing by apt: $packages"
{
    $sudo apt-get update --quiet=2 &&
        $sudo env DEBIAN_FRONTEND=noninteractive \
            apt-get install --quiet=2 --yes --no-install-recommends "$@"
} </dev/null || give_up "apt-get could not install it; install it by hand"
