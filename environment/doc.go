// Package environment owns what is on disk and on the host of an environment:
// its names and directories, the lock that tells whether it lives, the record
// from which all of it can be removed, and what is handed to its supervisor.
//
// An environment lives as long as its lock is held. Its supervisor holds it,
// inherited from whoever launched it; the kernel lets go of it when the supervisor
// dies, however it dies, and ends with it every process, mount and interface of
// the environment's namespaces. What outlives it was written into the record
// before it was made: control groups, directories, and the host's half of egress.
// So Remove, GC and the next launch of the name need what is on disk alone, and
// all three are the same idempotent steps.
//
// The package starts nothing. Package environment/launch gives birth to the
// supervisor, environment/supervisor is what runs in it, and both link this one,
// which is kept cheap: the supervisor's program is executed for each container.
package environment
