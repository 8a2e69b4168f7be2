// Package integration tests the sandboxrun program on a real kernel, as root.
//
//	make integration                     natively
//	make vm                              once more in a VM with real cgroup v2, but for those in native_test.go
//	go test ./test/integration -run 'TestRun/exit'
//
// One directory of testdata is one suite, one .txtar file one behaviour, and the
// file's name is the sentence that it proves. The framework gives each script
//
//	$ID      a prefix that every container and generated name must begin with
//	$ROOT    the state root; `sandboxrun` in PATH is the program with --root $ROOT
//	         and --data-root $WORK/.data
//	$WORK    the working directory, with $TMPDIR inside
//
// and at the end of each, passed or failed, looks for what is left: processes,
// mounts, cgroups, network namespaces, state, environments, temporary files. Nothing
// may be. A compose file in a script begins with "name: ${ID}".
// There is no way to switch this off. What it finds is removed, and the script's
// directory is kept in bin/integration-artefacts (/out in the VM) when it failed.
//
// Commands besides testscript's own; * polls until it holds or a deadline passes:
//
//	bundle NAME DIR [ARG...]        copy a sample bundle to DIR; process.args are /bin/NAME ARG...
//	spec-edit DIR PATH=VALUE...     set members of DIR/config.json; PATH+=VALUE appends, PATH- deletes
//	json FILE PATH OP VALUE         assert on a JSON file, stdout or stderr: == != < <= > >= is in matches len
//	json FILE keys PATH KEY...      the object at PATH has exactly these members
//	exits CODE COMMAND...           run to the end; CODE is a number or the name of a signal; unlike exec
//	                                it does not wait for the output of a container that lives on
//	one-line REGEXP                 the last command said one line on stderr, and that matches
//	start [-stdin FILE | -pipe | -pty ROWSxCOLUMNS] JOB COMMAND...
//	                                run in the background, output in JOB.stdout and JOB.stderr
//	type JOB TEXT                   write to its pipe or terminal, with Go's escapes
//	hang-up JOB                     close its pipe
//	resize JOB ROWSxCOLUMNS         resize its terminal
//	terminal-is JOB raw|restored*   the mode of the terminal that it was started on
//	signal JOB SIGNAL               send a signal
//	finish JOB CODE*                wait for the end
//	console-socket JOB PATH         receive a terminal; its output goes to JOB.stdout
//	waitfor match FILE REGEXP*      waitfor exec COMMAND...*    waitfor status CONTAINER STATUS*
//	waitfor nothing-running*        no process of this script
//	cpu-share CONTAINER TIME LOW HIGH
//	                                its CPU use over TIME, in CPUs, is never above HIGH,
//	                                and from LOW on in one of four spans
//	nothing-left                    the final check, now
//
// Programs in PATH, which are this test binary: in-cgroup2 (runs a command where
// /sys/fs/cgroup is cgroup v2 without controllers), run-in-process (calls the
// runtime's Go API many times), with-sockets (runs a command with sockets as a
// service manager does), notify-manager (prints what a service manager is told),
// seccomp-listener (answers seccomp notifications), image-registry (an empty registry
// on loopback), with-outside (runs a command on a host of its own with a neighbour to be reached
// by egress), lose-interface (deletes one) and make-image (writes an image as a layout or archive, or to a registry).
//
// Conditions: [root] [vm] [v1] [v2] [io-disk] [controller:NAME] [swap-limit] [host-pids] [criu] [criu:FEATURE] [service:NAME]. What the VM promises
// is never skipped there: the condition fails the script instead.
//
// The environment: SANDBOXRUN_BIN and SANDBOXRUN_BUNDLES name a prebuilt program (with
// sandboxrun-images and sandboxrun-env beside it)
// and a directory of prebuilt sample bundles (without them both are built, which
// needs Go); SANDBOXRUN_SEED repeats a run of the random kills;
// SANDBOXRUN_ARTEFACTS is another place for what failed scripts leave.
package integration
