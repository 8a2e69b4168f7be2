// Command vm gives tests a machine with cgroup v2: it boots Debian's cloud
// kernel under QEMU, runs one command in it as root with every controller
// delegated, passes its output through as it comes and ends with its exit
// code.
//
//	go run ./test/vm run   [--image F] [--dir DIR] [--out DIR] [--timeout D] [--memory M] -- COMMAND ARG...
//	go run ./test/vm test  [--image F] [--dir DIR] [--out DIR] [--timeout D] [--each D] [--json] BINARY... [-- ARG...]
//	go run ./test/vm shell [--image F] [--dir DIR] [--out DIR] [--memory M]
//	go run ./test/vm build [--image F]
//	go run ./test/vm which [--image F]
//
// What the command finds: itself in /sys/fs/cgroup/command, the harness in
// /sys/fs/cgroup/init and all controllers enabled at the root, which is
// mounted with nsdelegate and memory_recursiveprot; a copy of --dir at
// /work/host, which is also its working directory; an empty /out, whose
// regular files, directories and symbolic links come back to --out; no
// network but lo; a user tester (1000) with subordinate ids; no swap. Its
// environment is PATH, HOME, LANG, SANDBOXRUN_IN_VM=1, SANDBOXRUN_IO_DISK (a
// blank disk of 64 MiB that the command may overwrite) and what --env adds.
// Standard input is /dev/null.
//
// Images come in flavours (--image). base is all of the above; engines has
// containerd, podman and docker too, none of them started; systemd has that as
// PID 1, with logins and users' own managers: there the harness and the command
// are a service in the group sandboxrun-vm.service, which is delegated to them
// and has their two groups, and the command begins when everything else has
// been started.
//
// The exit code is the command's own, 128+n if signal n ended it; 124 if it
// was ended at the deadline; 125 for a failure of the harness or the machine;
// 2 for wrong usage; 130 and 143 when SIGINT or SIGTERM ended the harness.
//
// test runs binaries made by `go test -c`, all in one boot, each in a
// directory named after its package with that package's testdata beside it,
// in a mount namespace and a control group (test-N, beside command) of its own,
// with -test.v, a deadline (--each) and ARG... after all those. A line as of
// go test ends each one's output; with --json the output is that of
// `go test -json`. A binary that leaves a process in its group has failed.
// One or more failures make exit code 1.
//
// # How it fits together
//
// Each flavour's image is made once from Debian packages and kept under
// ${SANDBOXRUN_CACHE:-.cache}/vm, named by a hash of what it is made of
// (image/packages.txt, the flavour's own list and the scripts beside them);
// debootstrap's result is kept apart, so that a changed package list doesn't
// repeat it. Package mirrors are
// the host's own apt sources where the host is Debian. Building needs root;
// running needs none.
//
//	harness (this command)                       guest
//	  QEMU: -kernel vmlinuz -initrd ------------> init.sh: root disk, switch_root
//	        image's initrd + /vm of this run      [systemd, which starts]
//	                                              boot.sh: mounts, cgroups, disks
//	  port control   <- booted
//	                 -> go SECONDS
//	  port stdout    <-------- the command's streams
//	  port stderr    <--------
//	  port control   <- exited CODE | timed-out
//	  disk report    <-------- header and a tar of /out
//	  port control   <- reported
//	                 -> bye                       power off
//
// Nothing is left behind, whatever the way out. The disks and the initrd of a
// run are files without a name, passed to QEMU as descriptors; QEMU's writes
// to the root go to an overlay without a name too; the ports are socket
// pairs; QEMU dies with the harness (Pdeathsig). A build runs in PID and mount
// namespaces of its own, in a directory that the next run removes if SIGKILL
// kept this one from it.
//
// It never hangs: a machine that is silent for 45 s while booting is killed
// and booted again, --timeout covers everything after the image is there, the
// command is ended early enough before it for its output and /out to be saved,
// and the guest has a watchdog of its own.
//
// KVM is used if a boot with it works; the answer is kept for this image and
// host. Otherwise software emulation is: correct, and 5 to 12 times slower.
//
// Refused: architectures other than amd64, and talking to any registry but
// Debian's package mirrors.
package main
