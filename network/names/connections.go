package names

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// serveConnections accepts on a TCP socket until it is closed.
func (s *Server) serveConnections(listener *net.TCPListener, network string) {
	for {
		connection, err := listener.AcceptTCP()
		if err != nil {
			if s.pause(err) {
				continue
			}
			return
		}
		client := connection.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !s.admit(connection, client) {
			connection.Close()
			continue
		}
		s.running.Go(func() {
			defer s.dismiss(connection)
			s.serveConnection(connection, source{address: client, network: network})
		})
	}
}

// admit remembers a connection, unless there are too many or the server is closed.
func (s *Server) admit(connection net.Conn, client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ofClient := 0
	for _, c := range s.connections {
		if c == client {
			ofClient++
		}
	}
	if s.closed || len(s.connections) >= maxConnections || ofClient >= maxPerClient {
		return false
	}
	s.connections[connection] = client
	return true
}

func (s *Server) dismiss(connection net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections, connection)
	connection.Close()
}

// serveConnection answers one question after the other until the client has no more, or is silent for too long.
func (s *Server) serveConnection(connection net.Conn, from source) {
	for {
		if connection.SetDeadline(time.Now().Add(connectionIdle)) != nil {
			return
		}
		packet, err := readFrame(connection)
		if err != nil {
			return
		}
		q, reply := s.read(packet, from, true)
		if q != nil {
			select {
			case s.forwarded <- struct{}{}:
				reply = s.forward(q)
				<-s.forwarded
			default:
				reply = q.refuse(serverFailure)
			}
		}
		if reply == nil {
			return
		}
		if _, err := connection.Write(frame(reply)); err != nil {
			return
		}
	}
}

// frame puts a message's length before it, as TCP needs: RFC 1035, section 4.2.2.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...)
}

func readFrame(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}
