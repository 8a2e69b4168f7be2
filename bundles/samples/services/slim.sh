#!/usr/bin/env bash
# slim.sh FROM TO NAME... copies what extract.sh made in FROM to TO, but of each tree only what the service and its client
# need: a fifth. It is for the tests in an emulated machine, which would spend minutes on the rest. psql is itself there, not
# the wrapper in perl that chooses among versions.
set -euo pipefail

from=$(cd "$1" && pwd)
to=$(mkdir -p "$2" && cd "$2" && pwd)
lib=usr/lib/x86_64-linux-gnu

# keep NAME PATH... copies these files and directories of a tree, with what programs and modules among them are linked to.
keep() {
	local name=$1 file library
	shift
	rm -rf "${to:?}/$name"
	mkdir -p "$to/$name"
	cd "$from/$name"
	# Directories outside /usr, and the links of a merged /usr.
	tar -c --exclude='./usr/*' . | tar -x -C "$to/$name"
	cp -a --parents -t "$to/$name" "$@"
	mkdir -p "$to/$name/$lib" "$to/$name/usr/lib64" "$to/$name/usr/bin" "$to/$name/usr/sbin"
	find "$to/$name/usr" -type f \( -perm -100 -o -name '*.so' \) | while read -r file; do
		"$lib/ld-linux-x86-64.so.2" --inhibit-cache --library-path "$lib:$lib/systemd" --list "$file" 2>/dev/null || true
	done | sed -n 's|.* => \(usr/[^ ]*\) .*|\1|p' | sort -u | while read -r library; do
		cp -L "$library" "$to/$name/$library"
	done
	cp -L "$lib/ld-linux-x86-64.so.2" "$to/$name/$lib/"
	ln -s "/$lib/ld-linux-x86-64.so.2" "$to/$name/usr/lib64/"
	cp "$from/$name.yaml" "$to/$name.yaml"
}

for name in "${@:3}"; do
	case $name in
	redis) keep redis usr/bin/redis-{server,check-rdb,cli} ;;
	nginx) keep nginx usr/sbin/nginx usr/bin/{curl,grep} ;;
	postgresql)
		version=$(basename "$from"/postgresql/usr/lib/postgresql/*)
		keep postgresql usr/bin/{sh,dash} "usr/lib/postgresql/$version/bin/"{postgres,initdb,psql} \
			"usr/lib/postgresql/$version/lib/"{plpgsql,dict_snowball}.so "usr/share/postgresql/$version" usr/share/zoneinfo/{Etc,UTC,GMT}
		ln -s "../lib/postgresql/$version/bin/psql" "$to/postgresql/usr/bin/psql"
		;;
	*)
		echo "slim: there is no service '$name'; there are redis, nginx and postgresql" >&2
		exit 2
		;;
	esac
done
