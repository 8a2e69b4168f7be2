// Package cgroup owns the resource limits of a sandbox and the control group that enforces them.
//
// It reads limits as people write them (Limits, ParseBytes, ParseLimits, …), puts them into an OCI
// spec (Limits.Apply), tells which of a spec's limits the host cannot enforce and why (Host.Missing),
// and works on the group of a container that already exists (Group): counters and effective limits
// while it lives, the victims of the kernel's OOM killer (OOMLog), pressure triggers (Trigger), kill
// and removal. Version 2 of the interface comes first; version 1 and hybrid hosts, where the
// controllers are on version 1 and pressure is on an otherwise empty version 2 tree, are served from
// the same calls.
//
// It refuses guesses. A figure that the kernel cannot give is nil and not zero, a limit that cannot
// hold is an error or a Missing and not a warning in a log, and no function works on the root of a
// hierarchy.
//
// It creates no container group: libcontainer does that, called by package runtime, which hands the
// directories to Open. Groups above containers are made by package cgroup/parent. This package reads
// small files by itself and links neither D-Bus nor eBPF nor protocol buffers, because the program
// that links it is executed twice for each container and pays for every package's initialisation.
//
// Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/*.rst, accounting/psi.rst and
// ABI/testing/dev-kmsg of the Linux kernel; config-linux.md of the OCI runtime specification 1.3.
package cgroup
