// Package equivalence runs small cases through runc and through sandboxrun and
// compares all that a caller or the program inside can see.
//
//	make integration                               with the other native tests
//	go test ./test/equivalence -run 'TestCases/exec'
//	go test ./test/equivalence -update             write docs/compatibility.md's part
//
// A case is data: a change to a bundle's config.json and the lines of a shell
// script that calls the runtime as `rt`. Both runtimes get the same script, a
// bundle of their own and a state root of their own. What a script prints,
// exit codes with it, is normalised (ids, times, numbers that the kernel hands
// out) and compared line by line. Messages on stderr are each runtime's own and
// not compared.
//
// A line that differs fails the test unless a difference in the table says that
// it does so, and why; one that no longer differs fails it as well. The part of
// docs/compatibility.md between the markers is printed from the same tables, so
// the page can't say what no test holds.
//
// The runc is SANDBOXRUN_RUNC, which may be a path, or the one in PATH. It must be
// 1.5 or newer, as the one that `make integration` builds at the version in
// go.mod; its version is logged. SANDBOXRUN_BIN and SANDBOXRUN_BUNDLES name what make built.
// The programs inside are a static busybox and the sample workload. Every case
// ends with the assertion that neither runtime left anything.
//
// In scripts, besides the shell and `rt`:
//
//	code COMMAND...          run it and print its exit code
//	quietly COMMAND...       print its exit code only
//	up [FLAG...]             run bundle detached, as $ID
//	gone                     wait until the program of $ID has ended
//	status                   print the status of $ID
//	limits                   print the limits of $ID's cgroups on the host
//	shape [FILE]             print the keys and types of JSON documents
//	pty ROWSxCOLUMNS COMMAND...
//	                         run on a terminal of its own
//	console SOCKET           receive a terminal and print what is written to it
//	pidfd SOCKET             receive a pidfd and print whether it is that of a live process
package equivalence
