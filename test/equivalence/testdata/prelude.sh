# shellcheck shell=bash
# The functions of every script; see doc.go.
rt() { "$RUNTIME" --root "$STATE" "$@"; }

code() {
	"$@"
	echo "exit $?"
}

# quietly leaves out the help that runc prints after a wrong command line.
quietly() {
	"$@" >/dev/null
	echo "exit $?"
}

up() {
	rt run -d -b bundle "$@" "$ID" </dev/null >up.out 2>up.err
	local code=$?
	cat up.err >&2
	[ $code = 0 ] || echo "up: exit $code"
}

# until_true polls a condition that is reached in milliseconds.
until_true() {
	local left=400
	until "$@"; do
		left=$((left - 1))
		if [ $left = 0 ]; then
			echo "never: $*"
			return 1
		fi
		sleep 0.02
	done
}

has_status() { [ "$(status)" = "$1" ]; }

status() { rt state "$ID" | sed -n 's/^ *"status": "\([a-z]*\)".*/\1/p'; }

gone() { until_true has_status stopped; }

limits() {
	find /sys/fs/cgroup -path '/sys/fs/cgroup/cpu,cpuacct' -prune -o -type d -name "*$ID*" -print | sort | while read -r dir; do
		for file in memory.limit_in_bytes memory.soft_limit_in_bytes memory.memsw.limit_in_bytes memory.swappiness memory.oom_control \
			cpu.shares cpu.cfs_quota_us cpu.cfs_period_us cpu.cfs_burst_us cpu.idle cpu.rt_runtime_us cpuset.cpus cpuset.mems \
			pids.max blkio.weight blkio.bfq.weight blkio.throttle.read_bps_device blkio.throttle.write_iops_device devices.list freezer.state \
			memory.max memory.low memory.high cpu.max cpu.weight io.max; do
			[ -f "$dir/$file" ] || continue
			sed "s|^|$dir/$file |" "$dir/$file" 2>&1
		done
	done
}

