// Package chaos tests that an environment leaves nothing, whatever is killed and
// whatever fails: it strikes at random moments from the first to the last step.
//
//	go test ./test/chaos                                     natively, as root; -short for fewer
//	go test ./test/chaos -run Killed -args -seed 7           a run again
//	go test ./test/chaos -run Killed -args -seed 7 -round 31 one of its rounds
//
// The victim has three services, two networks, a volume, a secret, a published
// port, a health check and a chain of dependencies; a healthy neighbour is up all
// the time and must not notice.
//
// What belongs to an environment is known by names of ours alone: its control
// groups, its name among a process's arguments, and a variable. Never by mounts,
// which other processes see too. A process is killed through a descriptor of it,
// so that a number that is used again is nobody else.
package chaos
