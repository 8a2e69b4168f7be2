package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/net/http2/hpack"
)

// Frames of HTTP/2 (RFC 9113, 6) that mean something to a client with one
// request at a time.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindow       = 0x8
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Bounds on what a server can make us read for one answer.
const (
	maxFrame   = 16 << 10 // the protocol's own, as long as no setting raises it
	maxFrames  = 100
	maxHeaders = 16 << 10
	maxData    = 4 << 10

	headerTable = 4096 // bytes of HPACK's dynamic table, the protocol's default
)

const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// http2Conn is the client's end of an HTTP/2 connection with prior knowledge
// (RFC 9113, 3.3), for small requests one after the other. After an error it is
// of no more use.
type http2Conn struct {
	conn      io.Writer
	in        *bufio.Reader
	authority string
	greeted   bool
	stream    uint32 // of the last request
	encoder   *hpack.Encoder
	block     strings.Builder // what encoder has written
	decoder   *hpack.Decoder
	answer    *http2Answer // where decoder puts fields
}

// http2Answer is what is kept of an answer.
type http2Answer struct {
	status, grpcStatus, grpcMessage string
	data                            []byte
}

func newHTTP2Conn(conn io.ReadWriter, authority string) *http2Conn {
	c := &http2Conn{conn: conn, in: bufio.NewReaderSize(conn, 1024), authority: authority}
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(headerTable, c.field)
	c.decoder.SetMaxStringLength(maxHeaders)
	return c
}

// field takes a header or trailer of the answer.
func (c *http2Conn) field(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		c.answer.status = f.Value
	case "grpc-status":
		c.answer.grpcStatus = f.Value
	case "grpc-message":
		c.answer.grpcMessage = f.Value
	}
}

// post sends a gRPC request and reads its answer.
func (c *http2Conn) post(path string, body []byte) (*http2Answer, error) {
	var out []byte
	if !c.greeted {
		c.greeted = true
		out = append(out, clientPreface...)
		out = appendFrame(out, frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 2}, 0)) // ENABLE_PUSH 0
		c.stream = 1
	} else {
		c.stream += 2
	}
	c.block.Reset()
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", path},
		{":authority", c.authority},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"user-agent", "sandboxrun"},
	} {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return nil, err
		}
	}
	out = appendFrame(out, frameHeaders, flagEndHeaders, c.stream, []byte(c.block.String()))
	out = appendFrame(out, frameData, flagEndStream, c.stream, body)
	if _, err := c.conn.Write(out); err != nil {
		return nil, err
	}
	return c.read()
}

// read reads frames until the answer has ended.
func (c *http2Conn) read() (*http2Answer, error) {
	c.answer = &http2Answer{}
	for range maxFrames {
		f, err := c.frame()
		if err != nil {
			return nil, err
		}
		ended, err := c.take(f)
		if ended || err != nil {
			return c.answer, err
		}
	}
	return nil, errors.New("the answer has no end")
}

// take handles one frame and tells whether it ended the answer.
func (c *http2Conn) take(f frame) (ended bool, err error) {
	ours := f.stream == c.stream
	switch f.kind {
	case frameHeaders:
		// Another stream's headers belong to an answer that was given up, and count for the decoder's table all the same.
		if err := c.headers(f); err != nil {
			return false, err
		}
		return ours && f.flags&flagEndStream != 0, nil
	case frameData:
		if size := len(f.payload); size > 0 {
			if err := c.write(frameWindow, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(size))); err != nil {
				return false, err
			}
		}
		data, err := f.unpadded()
		if err != nil || !ours {
			return false, err
		}
		if len(c.answer.data)+len(data) > maxData {
			return false, errors.New("the answer is too long for a health check")
		}
		c.answer.data = append(c.answer.data, data...)
		return f.flags&flagEndStream != 0, nil
	case frameSettings:
		if f.flags&flagAck != 0 {
			return false, nil
		}
		return false, c.settings(f)
	case framePing:
		if f.flags&flagAck != 0 {
			return false, nil
		}
		return false, c.write(framePing, flagAck, 0, f.payload)
	case frameReset:
		if ours && len(f.payload) == 4 {
			return false, fmt.Errorf("the request was reset with HTTP/2 error %d", binary.BigEndian.Uint32(f.payload))
		}
		return false, nil
	case frameGoAway:
		if len(f.payload) >= 8 && binary.BigEndian.Uint32(f.payload)&^(1<<31) >= c.stream {
			return false, nil // the last answer is still to come
		}
		return false, errors.New("the server ended the connection")
	default: // what is unknown is to be passed over (RFC 9113, 4.1)
		return false, nil
	}
}

// settings obeys the one setting that this client could break, and confirms.
func (c *http2Conn) settings(f frame) error {
	const tableSize = 0x1
	for s := f.payload; len(s) >= 6; s = s[6:] {
		if binary.BigEndian.Uint16(s) == tableSize {
			c.encoder.SetMaxDynamicTableSizeLimit(min(binary.BigEndian.Uint32(s[2:]), headerTable))
		}
	}
	return c.write(frameSettings, flagAck, 0, nil)
}

// headers reads a header block, with the frames that continue it.
func (c *http2Conn) headers(f frame) error {
	block, err := f.unpadded()
	if err != nil {
		return err
	}
	if f.flags&flagPriority != 0 {
		if len(block) < 5 {
			return errFrame
		}
		block = block[5:]
	}
	theirs := c.answer
	if f.stream != c.stream {
		c.answer = &http2Answer{}
	}
	defer func() { c.answer = theirs }()
	for stream, size := f.stream, len(block); ; size += len(block) {
		if size > maxHeaders {
			return errors.New("the answer's headers are too long")
		}
		if _, err := c.decoder.Write(block); err != nil {
			return fmt.Errorf("decode headers: %w", err)
		}
		if f.flags&flagEndHeaders != 0 {
			return c.decoder.Close()
		}
		if f, err = c.frame(); err != nil {
			return err
		}
		if f.kind != frameContinuation || f.stream != stream || len(f.payload) == 0 {
			return errFrame
		}
		block = f.payload
	}
}

// frame is one frame as it was read.
type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

var errFrame = errors.New("the answer is not HTTP/2")

// frame reads the next one.
func (c *http2Conn) frame() (frame, error) {
	var head [9]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return frame{}, err
	}
	size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if size > maxFrame {
		return frame{}, errFrame
	}
	f := frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]) &^ (1 << 31), payload: make([]byte, size)}
	_, err := io.ReadFull(c.in, f.payload)
	return f, err
}

// unpadded returns a frame's payload without its padding.
func (f frame) unpadded() ([]byte, error) {
	if f.flags&flagPadded == 0 {
		return f.payload, nil
	}
	if len(f.payload) == 0 || int(f.payload[0]) > len(f.payload)-1 {
		return nil, errFrame
	}
	return f.payload[1 : len(f.payload)-int(f.payload[0])], nil
}

func (c *http2Conn) write(kind, flags byte, stream uint32, payload []byte) error {
	_, err := c.conn.Write(appendFrame(nil, kind, flags, stream, payload))
	return err
}

// appendFrame appends a frame of at most maxFrame.
func appendFrame(to []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	size := len(payload)
	to = append(to, byte(size>>16), byte(size>>8), byte(size), kind, flags)
	to = binary.BigEndian.AppendUint32(to, stream)
	return append(to, payload...)
}
