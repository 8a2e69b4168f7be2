// Command bench compares what it costs to start a sandbox and run nothing in
// it: `sandboxrun run` of a static /bin/true against the same bundle under
// runc and crun, and against bubblewrap, util-linux's unshare and a plain fork
// and exec; and `exec` into a container that runs, and the three processes of
// `create`, `start` and `delete`, against runc's and crun's.
//
//	go run ./test/bench run [-n ROUNDS] [-warmup ROUNDS] [-variants LIST]
//	    [-sandboxrun FILE] [-against NAME=FILE]... [-program FILE]
//	    [-format table|json] [-o FILE] [-require] [-check] [-aim RATIO]
//	    [-seed N] [-timeout TIME] [-dir DIR] [-state-dir DIR]
//
// All contenders run in one interleaved series: each round starts every
// contender in every variant once, in an order that is shuffled anew for each
// round from a fixed seed, so that a noisy minute hits all alike. A ratio is
// taken within a round and its median over the rounds is reported.
//
// The OCI runtimes read the same bundles, made by package bundles. run has four
// variants: with and without the default seccomp profile, with and without
// limits on memory, CPU and processes. The CPU limit is one CPU, so that
// throttling does not become the figure. exec and create-start-delete have two,
// with and without the profile. bubblewrap, unshare and fork+exec know no
// bundle: they run in the plain variant only.
//
// Each runtime enters containers of its own, which it starts before the series
// and removes after it; they run a program that does nothing.
//
// # What is counted
//
// Wall time is from before the fork to the return of wait4(2). CPU time is
// user and system time of the process and of all descendants that were waited
// for, by wait4's rusage; the container's processes are children of the
// runtime, which reaps them, so they count. Descendants that their parents
// leave behind come to bench, which is a subreaper, and count too, but not in
// the wall time.
//
// Not counted: what the kernel does in its own workers afterwards (freeing a
// network namespace takes about 0.3 ms, dying cgroups and mounts some more),
// and work that another process does on request, such as systemd with
// --systemd-cgroup, which is not used here. The sum of user and system time is
// exact to the microsecond; how it divides into the two is only sampled by the
// kernel's tick, which is why only the sum is shown.
//
// bench needs root. It leaves nothing: containers that fail or exceed -timeout
// are killed and deleted by their own runtime, and what is still there at the
// end (cgroups, mounts, files) is removed and is an error. SIGINT and SIGTERM
// end it in the same way after the sandbox that is running.
//
// A result never makes the exit code 1 unless -check is given: a shared machine
// is too noisy to fail a build by it.
package main
