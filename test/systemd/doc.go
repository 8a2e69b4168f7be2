// Package systemd tests --systemd-cgroup with a real systemd, and sandboxes of an
// ordinary user with and without delegated cgroups. It runs in the VM, in the
// image with systemd as PID 1:
//
//	make systemd
//
// Everywhere else each test is skipped with that reason.
//
// What it finds there: SANDBOXRUN_BIN, SANDBOXRUN_BUNDLES and SANDBOXRUN_RUNC name
// the program, the sample bundles and the runc to compare with; the user tester
// (1000) has subordinate IDs, and gets a service manager of his own for as long as
// the tests run.
//
// Tests are in pairs of one idea: what a caller (root, or tester) runs, and what
// systemctl or the kernel then says. A ground is the caller with a directory, a
// state root and a name that begins all IDs. When a test ends, passed or failed,
// nothing of its name may be left: no unit, loaded or failed, no cgroup, process,
// mount or state.
package systemd
