// Package parent makes the control groups above containers: one for an environment, whose limits hold for
// all its services together, and below which libcontainer makes a group for each.
//
// It is the only importer of github.com/containerd/cgroups/v3 and kept apart from package cgroup because
// of what that library links (D-Bus, eBPF, protocol buffers): about 0.4 ms of start-up for each
// execution of the program. Removing needs none of it: cgroup.Host.Group(path).Remove.
//
// On v2 a group may not have processes and controllers for groups below it at once, so a parent never
// holds a process; whoever uses it puts processes, its own too, into groups below.
package parent
