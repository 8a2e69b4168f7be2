// Package samples builds ready-made bundles around small static Go programs of
// this repository: nothing is downloaded.
//
//	hello     answers one HTTP request inside its own network namespace, prints
//	          what it sees and exits; 64 MiB of memory, half a CPU
//	workload  one program with a subcommand for each thing a test or benchmark
//	          wants a sandboxed process to do; without limits
//
// Build compiles a program with the go command, so it needs a Go toolchain and
// must run inside this module (go run ./bundles/samples/build -o bin/bundles, or a
// test). The package refuses names it doesn't know. Bundles are the same byte for
// byte each time they are built by one toolchain on one kernel.
package samples
