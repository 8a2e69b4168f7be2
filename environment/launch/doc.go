// Package launch gives birth to an environment: it does on the host's side what
// cannot be done from inside, hands a plan over to a new supervisor, and waits until
// that answers.
//
//	launch                                  supervisor (sandboxrun env-supervisor)
//	take the name (lock), clear a dead rest
//	open published ports
//	write the record
//	directories, control socket, cgroups
//	clone: new PID, mount, network, IPC ──► waits for the handover
//	into its cgroups (v2: at the clone)
//	host's half of egress
//	handover through a pipe ──────────────► goes on
//	ask for the status ───────────────────► answers
//	let go of the lock                      holds it alone, until it ends
//
// Whatever happens, nothing is left: a launch that fails, or whose ctx ends, undoes
// all by the steps of environment.Remove; of one that is killed, the supervisor
// either never got a whole handover and ends, or lives and holds the lock, and what
// is on disk is for the next launch of that name or for GC.
//
// The package is linked by the command line alone: making limited groups needs a
// library that the supervisor's program must not pay for.
package launch
