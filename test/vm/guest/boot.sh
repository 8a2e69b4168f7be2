#!/bin/busybox sh
# shellcheck shell=dash
# PID 1 of the guest, after the initramfs, or a service of the systemd that is
# PID 1 then. Brings the machine up, runs one command (/run/vm/command), writes
# /out and its exit code to the report disk and powers off. It talks with the harness over the virtio port "control":
#
#	guest -> host   booted
#	host -> guest   go SECONDS      0: no limit
#	guest -> host   exited CODE | timed-out
#	guest -> host   reported | unreported REASON
#	host -> guest   bye             once both output streams have ended
#
# In /run/vm: command (a shell script), token (ends each output stream),
# interactive (exists: the command gets the serial console instead), systemd
# (exists: that is PID 1).
#
# busybox runs this and what it calls without a path: under software emulation
# a static program starts in a fraction of the time.
vm=/run/vm
PATH=$vm/bin
# The parent of the harness's groups and the command's: the root, or what
# systemd delegates to this service.
groups=/sys/fs/cgroup
[ ! -e $vm/systemd ] || groups=$groups/sandboxrun-vm.service

say() { echo "sandboxrun-vm: $*" >/dev/console; }

# By sysrq and not by reboot(8): it works while everything else hangs.
power_off() {
	echo b >/proc/sysrq-trigger
	sleep 60
}

die() {
	say "$*"
	power_off
}

disk() { # SERIAL: its device
	for block in /sys/block/vd*; do
		[ "$(cat "$block/serial")" = "$1" ] && echo "/dev/${block##*/}"
	done
}

port() { # NAME: its device
	for found in /sys/class/virtio-ports/*; do
		[ "$(cat "$found/name")" = "$1" ] && echo "/dev/${found##*/}"
	done
}

mount_all() {
	mkdir -p /dev/pts /dev/shm /dev/mqueue
	cat >"$vm/fstab" <<-EOF
		proc /proc proc nosuid,nodev,noexec
		sysfs /sys sysfs nosuid,nodev,noexec
		devpts /dev/pts devpts nosuid,noexec,gid=5,mode=620,ptmxmode=666
		shm /dev/shm tmpfs nosuid,nodev
		mqueue /dev/mqueue mqueue nosuid,nodev,noexec
		securityfs /sys/kernel/security securityfs nosuid,nodev,noexec
		bpf /sys/fs/bpf bpf nosuid,nodev,noexec,mode=700
		cgroup2 /sys/fs/cgroup cgroup2 nosuid,nodev,noexec,nsdelegate,memory_recursiveprot
	EOF
	mount -a -T "$vm/fstab" || die "cannot mount"
	# As systemd does; runc and its like expect to have to undo it.
	mount --make-rshared /
	ln -sf /proc/self/fd /dev/fd
	ln -sf /proc/self/fd/0 /dev/stdin
	ln -sf /proc/self/fd/1 /dev/stdout
	ln -sf /proc/self/fd/2 /dev/stderr
	mkdir -p /run/lock
}

delegate() {
	# Before the controllers are enabled: a group with processes of its own
	# may not give controllers to its children.
	mkdir "$groups/init" "$groups/command"
	while read -r pid; do
		# Kernel threads stay, and refuse.
		echo "$pid" >"$groups/init/cgroup.procs"
	done <"$groups/cgroup.procs" 2>/dev/null
	# shellcheck disable=SC2013 # words are meant
	for controller in $(cat "$groups/cgroup.controllers"); do
		echo "+$controller" >"$groups/cgroup.subtree_control" ||
			say "cannot enable the $controller controller"
	done
}

devices() {
	hostname -F /etc/hostname
	ip link set lo up
	# Without udev nothing makes the device nodes that would load these, nor
	# gives them to everybody.
	/sbin/modprobe -a fuse tun loop
	chmod 666 /dev/fuse /dev/net/tun
	for serial in host test; do
		found=$(disk $serial)
		[ -z "$found" ] || mount -t ext4 -o noatime "$found" "/work/$serial" ||
			die "cannot mount the disk $serial"
	done
}

# One stream of output: FIFO PORT. The port stays open after the token, since
# closing it drops what the host hasn't taken yet.
stream() {
	{
		cat "$1"
		cat "$vm/token"
		exec sleep infinity
	} >"$2" 5>&-
}

# What the command left behind may hold its streams open for ever. Killing that,
# and not the readers, loses nothing that was written. Of systemd's own groups
# it is the slices of users and machines, and the scopes.
end_streams() {
	sleep 2
	for group in "$groups"/*/ /sys/fs/cgroup/*/ /sys/fs/cgroup/system.slice/*.scope/; do
		case $group in
		*/init/ | */init.scope/ | */sandboxrun-vm.service/ | */system.slice/) continue ;;
		esac
		[ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill"
	done
}

# Runs the command in place of the shell: ARG... come before it.
become() {
	echo 0 >"$groups/command/cgroup.procs"
	exec 5>&-
	exec /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		SANDBOXRUN_IN_VM=1 SANDBOXRUN_IO_DISK="$(disk io)" \
		"$@" /bin/sh "$vm/command"
}

start_command() {
	if [ -e "$vm/interactive" ]; then
		become setsid --ctty --wait </dev/ttyS0 >/dev/ttyS0 2>&1 &
		command=$!
		return
	fi
	mkfifo "$vm/stdout" "$vm/stderr"
	stream "$vm/stdout" "$(port stdout)" &
	stream "$vm/stderr" "$(port stderr)" &
	become </dev/null >"$vm/stdout" 2>"$vm/stderr" &
	command=$!
}

# Ends the command after SECONDS: by SIGTERM, then the whole group.
limit() {
	sleep "$1"
	: >"$vm/timed-out"
	kill -TERM "$command"
	sleep 2
	echo 1 >"$groups/command/cgroup.kill"
}

# The header goes last and in one block: a disk with a header is complete.
report() { # CODE
	device=$(disk report)
	/bin/tar -C /out --numeric-owner -cf - . 2>"$vm/tar.err" |
		dd of="$device" bs=64K seek=1 iflag=fullblock conv=fsync 2>"$vm/dd.err"
	dd_status=$?
	if [ $dd_status -ne 0 ] || [ -s "$vm/tar.err" ]; then
		echo "unreported $(tail -n 1 "$vm/tar.err" "$vm/dd.err" | tr '\n' ' ')" >&5
		return
	fi
	printf 'sandboxrun-vm 1\nexit %d\n' "$1" |
		dd of="$device" bs=4096 conv=sync,fsync 2>/dev/null
	echo reported >&5
}

[ -e $vm/systemd ] || mount_all
delegate
devices
control=$(port control)
[ -n "$control" ] || die "no control port"
exec 5<>"$control"
echo booted >&5
read -r verb seconds <&5
[ "$verb" = go ] || die "not told to go: $verb"

cd /root || die "no /root"
start_command
if [ "$seconds" -gt 0 ]; then
	limit "$seconds" 5>&- &
	limiter=$!
	# The watchdog, should the machine be too ill to report.
	{
		sleep $((seconds + 120))
		echo b >/proc/sysrq-trigger
	} 5>&- &
fi
wait "$command"
code=$?
if [ -e "$vm/timed-out" ]; then
	echo timed-out >&5
else
	[ -z "${limiter:-}" ] || kill "$limiter"
	echo "exited $code" >&5
fi
end_streams 5>&- &
report "$code"
read -r verb <&5
power_off
