package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// healthClient asks grpc.health.v1.Health/Check (gRPC's health checking
// protocol), a question at a time, over one connection while that lasts.
type healthClient struct {
	service string
	conn    net.Conn // nil before the first question and after an error
	http2   *http2Conn
}

// begin takes a fresh connection.
func (h *healthClient) begin(conn net.Conn) {
	h.conn, h.http2 = conn, newHTTP2Conn(conn, conn.RemoteAddr().String())
}

func (h *healthClient) close() {
	if h.conn != nil {
		_ = h.conn.Close()
		h.conn = nil
	}
}

// The values of grpc.health.v1.HealthCheckResponse.ServingStatus.
var servingStatuses = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

const serving = 1

// ask asks once and says what came in place of SERVING. The connection is
// h.conn; after an error it is closed, and the next question has to begin anew.
func (h *healthClient) ask(net.Conn) string {
	whose := "grpc://" + h.conn.RemoteAddr().String()
	answer, err := h.http2.post("/grpc.health.v1.Health/Check", appendMessage(nil, appendHealthRequest(nil, h.service)))
	var status int
	if err == nil && answer.grpcStatus == "0" {
		status, err = parseHealthAnswer(answer.data)
	}
	switch {
	case err != nil:
		h.close()
		return silence(err, whose)
	case answer.status != "200":
		return fmt.Sprintf("HTTP status %s from %s", printable([]byte(answer.status)), whose)
	case answer.grpcStatus != "0":
		return fmt.Sprintf("gRPC status %s from %s: %s", printable([]byte(answer.grpcStatus)), whose, printable([]byte(answer.grpcMessage)))
	case status == serving:
		return ""
	case status < len(servingStatuses):
		return fmt.Sprintf("%s from %s", servingStatuses[status], whose)
	default:
		return fmt.Sprintf("serving status %d from %s", status, whose)
	}
}

// appendMessage appends a gRPC message: a flag for compression, a length of four
// bytes, the message.
func appendMessage(to, message []byte) []byte {
	to = binary.BigEndian.AppendUint32(append(to, 0), uint32(len(message)))
	return append(to, message...)
}

// appendHealthRequest appends a HealthCheckRequest: field 1 is the service, a string.
func appendHealthRequest(to []byte, service string) []byte {
	if service == "" {
		return to
	}
	to = binary.AppendUvarint(append(to, 1<<3|2), uint64(len(service)))
	return append(to, service...)
}

var (
	errCompressed = errors.New("the gRPC answer is compressed, which was not asked for")
	errNoMessage  = errors.New("the gRPC answer is no health.v1 message")
)

// parseHealthAnswer returns the status in a HealthCheckResponse behind its gRPC
// prefix: field 1, a varint, 0 where it is missing. Other fields are passed over.
func parseHealthAnswer(data []byte) (int, error) {
	if len(data) < 5 {
		return 0, errNoMessage
	}
	if data[0] != 0 {
		return 0, errCompressed
	}
	size := binary.BigEndian.Uint32(data[1:])
	message := data[5:]
	if uint64(size) != uint64(len(message)) {
		return 0, errNoMessage
	}
	status := 0
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return 0, errNoMessage
		}
		message = message[n:]
		value := uint64(0)
		switch tag & 7 {
		case 0: // varint
			if value, n = binary.Uvarint(message); n <= 0 {
				return 0, errNoMessage
			}
		case 1: // 64 bits
			n = 8
		case 2: // length and bytes
			length, m := binary.Uvarint(message)
			if m <= 0 || length > uint64(len(message)-m) {
				return 0, errNoMessage
			}
			n = m + int(length)
		case 5: // 32 bits
			n = 4
		default:
			return 0, errNoMessage
		}
		if n > len(message) {
			return 0, errNoMessage
		}
		message = message[n:]
		if tag == 1<<3 {
			if value > 1<<31-1 {
				return 0, errNoMessage
			}
			status = int(value)
		}
	}
	return status, nil
}
