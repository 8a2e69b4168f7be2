// Package patience makes Go's monitor thread (sysmon) of a container's init sleep
// longer than it asks to.
//
// That thread sleeps for 20 µs at a time while a process is young, which is all
// that an init ever is, and its wake-ups cost about as much CPU as the namespaces.
// With a timer slack of 2 ms (prctl(2), PR_SET_TIMERSLACK) the kernel lets it
// sleep on. The slack is each thread's own and inherited: nsinit gives the main
// thread, which becomes the user's program, its own back before anything else.
//
// It is a package of its own for the sake of the linker, which orders C
// constructors by packages: this one has to come after libcontainer's nsexec.
package patience

import "C" // for init.c
