// Report runs test commands and counts what they ran.
//
//	report run NAME -- COMMAND [ARG...]  runs one phase: COMMAND prints test2json events (go test -json)
//	report total NAME [NAME...]         adds the phases up and prints the closing lines
//
// A phase's events are kept in bin/test-results/NAME.jsonl, its only state: total reads them again. `run` prints a line a
// package and the whole output of each test that failed; lines that are not events are passed through to stderr. It exits
// with 1 if a test or COMMAND failed. `total` lists the failed and the skipped tests with their reasons and closes with
//
//	N passed, N failed, N skipped
//
// What is counted are tests without subtests, so that a table of ten cases counts ten. Counted as failed too: a test that
// started and never ended, a test that failed outside its subtests, a package that could not be built or died outside its
// tests, a command that failed where no test did, and a phase that left no events. A test that one phase skipped and
// another ran (natively without cgroup v2, then in the VM) is not counted as skipped.
//
// Why not gotestsum: it counts a table and its cases alike, and it does not know of a test that is skipped here and run
// there. What remains is this package, without a dependency.
package main
