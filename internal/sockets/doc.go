// Package sockets finds the TCP and UDP sockets of the caller's network namespace
// and the processes that hold them, to tell people who has a port.
//
// It reads /proc, which takes milliseconds on a busy host, and is for errors and
// audits, not for waiting.
package sockets
