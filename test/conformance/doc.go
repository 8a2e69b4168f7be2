// Package conformance runs OCI's own validation suite, the executables below
// validation/ of github.com/opencontainers/runtime-tools, on sandboxrun, in the
// VM with real cgroup v2, and compares with what is known of each.
//
//	make conformance              sandboxrun alone
//	make conformance PEERS=yes    the image's runc and crun too
//
// testdata/expected.txt has one line for each executable: how it ends with
// sandboxrun, runc and crun, and why it can't pass where it doesn't. Any other
// end fails the test, also a better one.
//
// The suite is built by a module of its own, tools/, which pins its version.
//
// The environment: SANDBOXRUN_VALIDATION is the directory of the suite's
// executables with runtimetest and rootfs-amd64.tar.gz; without it the test is
// skipped, but not in the VM. SANDBOXRUN_BIN is the program. SANDBOXRUN_PEERS=yes
// runs the others too.
package conformance
