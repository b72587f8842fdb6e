#!/bin/sh
# Brings what the tests need beside Python, where it is absent: a Chromium with its driver, a Redis
# server, and nginx. By apt on Debian and Ubuntu; elsewhere it says what to install, and fails.
set -eu

runs() { "$1" --version >/dev/null 2>&1; }
# Its directory is not in every user's PATH.
has_nginx() { nginx -v >/dev/null 2>&1 || /usr/sbin/nginx -v >/dev/null 2>&1; }
has_browser() { runs chromium || runs chromium-browser || runs google-chrome; }

chromium=chromium driver=chromium-driver
if grep -qs '^ID.*ubuntu' /etc/os-release; then
    chromium=chromium-browser driver=chromium-chromedriver
fi

lack() {
    missing="$missing${missing:+, }$1"
    packages="$packages $2"
}
survey() {
    missing='' packages=''
    has_browser || lack Chromium "$chromium"
    runs chromedriver || lack chromedriver "$driver"
    runs redis-server || lack redis-server redis-server
    has_nginx || lack nginx nginx-light
}
give_up() {
    echo "Missing: $missing." >&2
    echo "$1 (Debian, Ubuntu, as root: apt-get install$packages), then run this again." >&2
    exit 1
}

survey
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || give_up "Install it with this system's package manager"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo=sudo
else
    give_up "Installing it needs root or sudo; install it by hand"
fi

echo "Missing: $missing. Installing by apt:$packages"
# $packages unquoted: a list of names.
{
    $sudo apt-get update --quiet=2 &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes \
            --no-upgrade --no-install-recommends $packages
} </dev/null || give_up "apt-get could not install it; install it by hand"

survey
# Ubuntu's Chromium is a snap, which runs in few containers.
[ -z "$missing" ] || give_up "It was installed but does not run; install another build of it"
