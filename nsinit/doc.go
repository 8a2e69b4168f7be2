// Package nsinit owns what runs between clone and the user's program.
//
// Importing it (package runtime does) makes a binary able to start containers:
// libcontainer re-executes /proc/self/exe with the single argument "init", and
// this package turns such a process into the container's init before main
// runs. Nothing happens in a process that was not started that way.
//
// It also holds the optional PID 1 of a sandbox (see [PID1Args]), a small C
// program inside the same executable that forwards signals and reaps orphans
// for programs that do neither. It never enters the Go runtime, so that it
// costs the sandbox some tens of kilobytes.
//
// The package refuses everything else: no flags, no files, no policy.
package nsinit
