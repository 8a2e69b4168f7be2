#!/bin/sh
# Prints all that a program can see of its surroundings, each line with the name
# of its section, so that a line that differs tells where it stood.
section() {
	name=$1
	shift
	"$@" 2>&1 | sed "s|^|$name: |"
}

attributes() {
	for attribute in current exec fscreate keycreate prev sockcreate; do
		echo "$attribute $(cat /proc/self/attr/$attribute 2>&1)"
	done
}

namespaces() {
	for namespace in /proc/self/ns/*; do
		echo "${namespace##*/} $(readlink "$namespace")"
	done
}

devices() {
	find /dev -xdev ! -path /dev/fd/\* 2>/dev/null | sort | while read -r path; do
		stat -c '%n %F %a %u:%g %t:%T' "$path"
		[ ! -L "$path" ] || readlink "$path"
	done
}

# masked tells what a program finds under paths that are masked or read-only.
masked() {
	for path in /proc/acpi /proc/kcore /proc/keys /proc/timer_list /proc/scsi /sys/firmware /proc/sys /proc/sysrq-trigger /proc/bus /data/file /data/sub; do
		[ -e "$path" ] || continue
		stat -c '%n %F %a' "$path"
		if [ -f "$path" ] && [ "$path" != /proc/kcore ] && [ "$path" != /proc/sysrq-trigger ]; then head -c 16 "$path" 2>&1 | wc -c; fi
		# shellcheck disable=SC2012 # names do not matter for a count
		if [ -d "$path" ]; then ls "$path" | wc -l; fi
	done
}

scheduling() {
	# priority, nice value, real-time priority and policy of proc_pid_stat(5)
	sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 16,17,38,39
	ionice -p $$
	taskset -p $$
	cat /proc/self/personality
	cat /proc/self/timerslack_ns
}

kernel() {
	cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward
	cat /proc/sys/net/ipv4/ping_group_range /proc/sys/net/ipv4/ip_unprivileged_port_start
	ls /sys/class/net /proc/sys/net/ipv4/conf
	ip addr
}

write_attempts() {
	for path in / /data /proc/sys/kernel /sys /dev /dev/shm /tmp /mnt /sys/fs/cgroup; do
		[ -d "$path" ] || continue
		touch "$path/probe" 2>&1 && echo "$path can be written to" && rm -f "$path/probe"
	done
}

terminal() {
	for fd in 0 1 2; do
		if [ -t $fd ]; then echo "$fd is a terminal"; else echo "$fd is none"; fi
	done
}

terminal | sed 's|^|terminal: |'
section id id
section umask umask
section pwd pwd
section environment tr '\0' '\n' </proc/$$/environ
section status cat /proc/self/status
section limits cat /proc/self/limits
section oom_score_adj cat /proc/self/oom_score_adj
section mountinfo cat /proc/self/mountinfo
section cgroup cat /proc/self/cgroup
section attributes attributes
section namespaces namespaces
section timens cat /proc/self/timens_offsets
section mappings cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
section descriptors /bin/workload fds
section devices devices
section masked masked
section scheduling scheduling
section kernel kernel
section writing write_attempts
section loginuid awk 1 /proc/self/loginuid
section cmdline tr '\0' ' ' </proc/$$/cmdline
