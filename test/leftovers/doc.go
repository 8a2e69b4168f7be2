// Package leftovers owns how tests find out what a host has, and how they remove
// what is left of theirs: processes, control groups, mounts.
//
// Which of it is a test's own is the test's to say, by names and directories
// that nobody else has. What would take others' for the test's is not offered:
// a mount that is left on the host is in the mount table of every process on it,
// so the table says nothing of a process that has the host's (HasMountsBelow);
// and a process is killed only if it still is the one that was recognised.
//
// It is for tests alone; test/imports holds that.
package leftovers
