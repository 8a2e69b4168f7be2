// Package publish forwards ports of the host to services: it accepts outside and connects inside.
//
// It owns the connections and sessions between a listening socket that it is given and a dialer that it is given, and ends
// all of them before it returns. The socket was made in the host's network namespace and stays a socket of it, in whatever
// namespace the process is that holds it; so nothing of the host's network is changed, and a port in use is an error of
// whoever made the socket.
//
// It refuses to listen by itself, to look inside what it forwards, and to hide the service's state: a service that refuses a
// connection makes the client's be reset, an end of sending is passed on as one, and a reset as a reset.
//
// The bytes of TCP go from socket to socket by splice(2), which io.Copy does between two TCP connections.
package publish
