#!/usr/bin/env bash
# extract.sh DIR NAME... makes DIR/NAME, a root filesystem with the Debian package of a service and all that it depends
# on, and DIR/NAME.yaml beside it, the service file:
#
#   redis        redis-server, with redis-cli
#   postgresql   postgresql, with psql; the cluster is made at the first start
#   nginx        nginx-light, with curl to ask it
#
# Packages come from this host's own release, whatever it is, and are extracted only: no maintainer script runs, and
# nothing is installed here. Accounts that scripts would make are in the service files. A tree that is there is kept.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift

# packages_of NAME prints what to extract.
packages_of() {
	case $1 in
	redis) echo redis-server redis-tools ;;
	postgresql) echo postgresql postgresql-client ;;
	nginx) echo nginx-light curl ;;
	*)
		echo "extract: there is no service '$1'; there are redis, postgresql and nginx" >&2
		exit 2
		;;
	esac
}

# extract NAME fills $out/NAME.
extract() {
	local name=$1 packages partial package
	read -r -a packages <<<"$(packages_of "$name")"
	partial=$out/.$name.partial
	rm -rf "$partial"
	mkdir -p "$partial/archives/partial" "$partial/tree"
	# With no package installed, apt takes every dependency, down to libc. coreutils and dash are what entrypoints need.
	: >"$partial/status"
	apt-get -qq -o Dir::State::status="$partial/status" -o Dir::Cache::archives="$partial/archives" -o APT::Sandbox::User=root \
		-o Debug::NoLocking=1 --no-install-recommends --download-only -y install "${packages[@]}" dash coreutils bash grep sed >/dev/null || {
		echo "extract: cannot download the packages of $name; on a fresh machine, run apt-get update first" >&2
		exit 1
	}
	# A merged /usr first, into which the packages' /bin and /lib go.
	for dir in bin sbin lib lib64; do
		mkdir -p "$partial/tree/usr/$dir"
		ln -s "usr/$dir" "$partial/tree/$dir"
	done
	for package in "$partial"/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$package" | tar -x -C "$partial/tree" --keep-directory-symlink --no-same-owner \
			--exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale' --exclude='./dev'
	done
	[[ -e $partial/tree/usr/bin/sh ]] || ln -s dash "$partial/tree/usr/bin/sh"
	mkdir -p "$partial/tree/tmp" && chmod 1777 "$partial/tree/tmp"
	mv -T "$partial/tree" "$out/$name"
	rm -rf "$partial"
}

for program in apt-get dpkg-deb; do
	command -v "$program" >/dev/null || {
		echo "extract: there is no $program here; the sample services are made on Debian and Ubuntu" >&2
		exit 1
	}
done
for name in "$@"; do
	packages_of "$name" >/dev/null
	[[ -d $out/$name ]] || extract "$name"
	cp "$here/$name.yaml" "$out/$name.yaml"
	echo "$out/$name"
done
