#!/bin/sh
# The test of a study on several machines keeps its runs in PostgreSQL. Where this may install it (root on Debian: a container, CI), it
# does; elsewhere the test says that it was skipped and why.
command -v initdb >/dev/null 2>&1 && exit 0
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing PostgreSQL for the test of a study on several machines"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql; } >/dev/null 2>&1 && exit 0
fi
echo "PostgreSQL is not installed: the test of a study on several machines will be skipped"
