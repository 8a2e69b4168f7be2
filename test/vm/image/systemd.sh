#!/bin/sh
# Makes a root with systemd one that runs guest/boot.sh as a service. Runs in
# that root.
set -eu
units=/etc/systemd/system

# idle: after the start of everything else. In a group of the root, whose
# whole subtree is the command's. A sandbox that runs out of memory there must
# not end the service.
cat >$units/sandboxrun-vm.service <<UNIT
[Unit]
Description=the command of test/vm
After=basic.target dbus.service systemd-logind.service systemd-user-sessions.service

[Service]
Type=idle
Slice=-.slice
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
ExecStart=/bin/busybox sh /run/vm/boot.sh
StandardInput=null
StandardOutput=tty
TTYPath=/dev/console
UNIT
mkdir -p $units/multi-user.target.wants
ln -s ../sandboxrun-vm.service $units/multi-user.target.wants/sandboxrun-vm.service

# Prompts would take the console from the harness and, without udev, wait for
# their devices; the timers' work is for machines that live.
for unit in getty.target serial-getty@ttyS0.service getty@tty1.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer; do
	ln -sf /dev/null "$units/$unit"
done
