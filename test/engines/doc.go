// Package engines tests that container engines can use sandboxrun as their OCI
// runtime: real daemons and clients, in the VM with real cgroup v2.
//
//	make engines
//
// It runs nowhere else: an engine changes the machine's network, its AppArmor
// profiles and its cgroups. Everywhere else each test is skipped.
//
// Each test starts its engine with storage, state and sockets of its own, loads
// an image that is made here (no registry is asked), uses the engine by its own
// client as a user would, and ends it. What the machine has afterwards is
// compared with what it had before: processes, mounts, cgroups, network
// namespaces, interfaces, files of state. What an engine itself leaves, with any
// runtime, is named in its test.
//
// docs/engines.md tells users what is tried here, in the same words; what
// TestUnpackedTrees finds is in docs/bundles.md.
//
// The environment: SANDBOXRUN_BIN is the program, SANDBOXRUN_BUNDLES the
// directory of the sample bundles, SANDBOXRUN_ENGINES the directory of engines
// that Debian doesn't have, made by test/engines/tools. With SANDBOXRUN_PEERS the
// slow comparison of unpacked images with podman is made, too.
package engines
