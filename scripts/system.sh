#!/bin/sh
# Brings what the tests need beside Python: a Chromium with its driver, and a Redis server.
set -eu
cd "$(dirname "$0")/.."

runs() { "$1" --version >/dev/null 2>&1; }
has_browser() { runs chromium || runs chromium-browser || runs google-chrome; }

chromium=chromium driver=chromium-driver
if grep -qs '^ID.*ubuntu' /etc/os-release; then
    chromium=chromium-browser driver=chromium-chromedriver
fi

missing='' packages=''
lack() {
    missing="$missing${missing:+, }$1"
    packages="$packages $2"
}
survey() {
    missing='' packages=''
    has_browser || lack Chromium "$chromium"
    runs chromedriver || lack chromedriver "$driver"
    runs redis-server || lack redis-server redis-server
}

survey
[ -n "$missing" ] || exit 0
# Unquoted: a list of package names.
sh scripts/packages.sh "$missing" $packages
survey
[ -z "$missing" ] || {
    echo "Installed, but still not running: $missing. (Ubuntu's Chromium is a snap: where snaps do" >&2
    echo "not run, install Google Chrome and the chromedriver of its version.)" >&2
    exit 1
}
