// Package control owns what is said over an environment's control socket: the
// messages, the client that the command line uses and the server in the
// environment's supervisor.
//
// The socket is a unix stream socket, control.sock in the environment's
// directory (0700), and serves only the user that owns the environment
// (SO_PEERCRED; the peer's pid reads 0 across PID namespaces and is not used).
// A connection carries one Request, a line of JSON, and then Replies, a line
// each; descriptors (exec) come with the request by SCM_RIGHTS. Closing the
// connection ends what it asked for. Both sides refuse a line of more than 1 MiB.
package control
