#!/bin/sh
# Makes the base layer: a minimal Debian as one tar.
#
#   base.sh SUITE MIRROR WORK
#
# Leaves WORK/base.tar. MIRROR may be empty: debootstrap's own default.
# Runs as PID 1 of its own PID and mount namespaces (see build.go): whatever
# debootstrap mounts is gone with this process, however it ends.
set -eu
suite=$1 mirror=$2 work=$3

mount -t proc proc /proc

# debootstrap downloads by wget, which knows nothing of apt's proxy setting.
if [ -z "${http_proxy:-}" ] && command -v apt-config >/dev/null; then
	eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
	[ -z "${http_proxy:-}" ] || export http_proxy
fi

# An empty mirror must be no argument at all, not an empty one.
debootstrap --variant=minbase --arch=amd64 --force-check-gpg \
	"$suite" "$work/root" ${mirror:+"$mirror"}

rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
tar -C "$work/root" --one-file-system --numeric-owner -cf "$work/base.tar" .
