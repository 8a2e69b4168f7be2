// Package supervisor owns the life of an environment: it is what PID 1 of the
// environment's own PID, mount, network and IPC namespaces does, from the
// handover to the last container's end.
//
// It carries out a plan.Plan and decides nothing that the plan could have
// decided. If its process dies, the kernel ends every process, mount, interface
// and route of the environment; what then is left on the host's disk and in its
// control groups is package environment's to remove.
//
// One goroutine owns each instance (a service's container) from waiting for its
// dependencies to its end for good. Whatever others need to know of it is in its
// status, which is changed under the supervisor's lock; whoever waits for
// something waits for the next change of any. A stop is one more such change:
// each instance then waits until what depends on it has ended, and ends too, so
// that everything stops as parallel as it can.
//
//	Waiting → Creating → Up → Ending → Exited
//	               ↑      ↓
//	               Restarting
//
// The package makes containers by package runtime, their bundles by bundles/build,
// and their network by package network. It refuses to run outside a PID namespace
// of its own: nothing that it makes could be relied on to go.
package supervisor
