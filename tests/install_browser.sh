#!/bin/sh
# The test of the graph opens it in Chromium. Where this may install it (root on Debian: a container, CI), it does;
# elsewhere the test says that it was skipped and why.
command -v chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Chromium for the test of the graph"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0
fi
echo "Chromium is not installed: the test of the graph will be skipped"
