// Env compares environments with what people use instead: a compose file of
// three services that need each other, from `up` until the last one answers,
// and `down`.
//
//	env [-rounds N] [-seed N] [-many LIST] PROGRAM WORKLOAD
//
// PROGRAM is sandboxrun with its companions beside it, WORKLOAD the static
// sample program. The contenders are podman-compose with podman, where those are
// installed, from the same image; and the bare minimum, three times
// `unshare --net --pid --mount --fork`, each started when the one before
// listens. Each round has every contender once, in an order that is shuffled
// anew; a ratio is taken within a round, and its median over the rounds is
// shown. Images are in the stores beforehand.
//
// The second part brings environments up side by side, 1, 10 and 50 (-many), and
// one environment with 50 containers, and tells how long each took until it was
// ready and what its supervisor has in memory three seconds later (PSS, of which
// shared pages are counted in parts), per service.
//
// CPU time is that of a cgroup which every command runs in, with what it leaves
// running, and of the environment's groups, which are below it: supervisor,
// services, conmon. podman's containers have a group of
// their own, which is counted too. It is read from cgroup v1's cpuacct; where
// that is not mounted it is not known, and shown as "-".
//
// All of it happens in a network and a mount namespace of env's own: podman's
// bridge and firewall rules are nobody else's, and crun, which refuses a
// hybrid host with controllers in cgroup2, does not see that mount. env needs
// root, and leaves nothing.
package main
