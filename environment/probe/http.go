package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// maxHead bounds what is read of an answer: status lines and headers, of which
// nothing is kept.
const maxHead = 64 << 10

// request is an HTTP/1.1 request (RFC 9112) and what it wants.
type request struct {
	path, host string
	fields     string // all fields but Host, each with its end
	low, high  int    // status wanted
}

// newRequest takes a probe that has passed check.
func newRequest(p plan.Probe) *request {
	r := &request{path: p.Path, low: p.Status, high: p.Status}
	if r.path == "" {
		r.path = "/"
	}
	if p.Status == 0 {
		r.low, r.high = 200, 399
	}
	given := map[string]bool{}
	var fields strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
		if strings.EqualFold(name, "Host") {
			r.host = p.Headers[name]
			continue
		}
		given[strings.ToLower(name)] = true
		fields.WriteString(name + ": " + p.Headers[name] + "\r\n")
	}
	for _, field := range [][2]string{{"User-Agent", "sandboxrun"}, {"Accept", "*/*"}, {"Connection", "close"}} {
		if !given[strings.ToLower(field[0])] {
			fields.WriteString(field[0] + ": " + field[1] + "\r\n")
		}
	}
	r.fields = fields.String()
	return r
}

// ask sends the request and says what came in place of the wanted status.
func (r *request) ask(conn net.Conn) string {
	host := r.host
	if host == "" {
		host = conn.RemoteAddr().String()
	}
	whose := "http://" + conn.RemoteAddr().String() + r.path
	if _, err := io.WriteString(conn, "GET "+r.path+" HTTP/1.1\r\nHost: "+host+"\r\n"+r.fields+"\r\n"); err != nil {
		return silence(err, whose)
	}
	status, err := readStatus(conn)
	switch {
	case err != nil:
		return silence(err, whose)
	case status < r.low || status > r.high:
		return fmt.Sprintf("status %d from %s", status, whose)
	default:
		return ""
	}
}

// readStatus returns the status of an HTTP/1 answer. Interim answers (100 to
// 199) before it are passed over.
func readStatus(from io.Reader) (int, error) {
	r := bufio.NewReaderSize(io.LimitReader(from, maxHead), 1024)
	for {
		line, err := readLine(r)
		if err != nil {
			return 0, err
		}
		status, err := parseStatusLine(line)
		if err != nil || status >= 200 {
			return status, err
		}
		for line != "" { // the interim answer's fields
			if line, err = readLine(r); err != nil {
				return 0, err
			}
		}
	}
}

// readLine reads a line and drops its end. A line without end is none.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), err
}

// errNotHTTP is when an answer is something else.
var errNotHTTP = errors.New("the answer is not HTTP/1")

// parseStatusLine returns the status of a line as in "HTTP/1.1 200 OK".
func parseStatusLine(line string) (int, error) {
	version, rest, _ := strings.Cut(line, " ")
	code, _, _ := strings.Cut(rest, " ")
	if (version != "HTTP/1.1" && version != "HTTP/1.0") || len(code) != 3 {
		return 0, errNotHTTP
	}
	status, err := strconv.ParseUint(code, 10, 16)
	if err != nil || status < 100 {
		return 0, errNotHTTP
	}
	return int(status), nil
}
