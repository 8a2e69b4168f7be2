// Package probe owns the question whether a service is ready, and whether it
// is healthy.
//
// Readiness (x-sandbox.ready) is seen from outside the sandbox, by the
// environment's supervisor: a port that answers, an answer by HTTP or gRPC, a
// line of output, READY=1 by sd_notify(3), a listening socket. No process is
// started in the sandbox, and its image needs no shell. Each condition is seen
// within 20 ms of being true; what the package can be told of (output, notify)
// it does not poll. What is polled is asked every 1 ms at first and every
// 15 ms soon, and a port only after the kernel says that somebody listens
// there.
//
// Health (compose's healthcheck) is a command in the container: when to run it,
// when to give it up, and what its results make of the service. How a command
// is run is its caller's business.
//
// The package is linked by the program that libcontainer executes again for
// each container's first process, so that it must cost nothing to have: HTTP
// and gRPC are spoken by hand, without net/http and grpc-go, and https is
// refused, because crypto/tls costs 0.25 ms of each start (use tcp, or a health
// check with the service's own client). What services answer is hostile: reads
// are bounded in bytes and in time.
package probe
