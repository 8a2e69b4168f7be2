package control

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// receiveRequest reads one line and the descriptors that come with it. The caller
// closes the files. More than a line, or more descriptors than a request may have,
// is an error.
func receiveRequest(conn *net.UnixConn) (line []byte, files []*os.File, retErr error) {
	defer func() {
		if retErr != nil {
			closeAll(files)
			files = nil
		}
	}()
	var buf []byte
	chunk := make([]byte, 4096)
	// Room for more than is allowed: the kernel would drop the rest without a word.
	oob := make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	for {
		n, oobn, flags, _, err := conn.ReadMsgUnix(chunk, oob)
		received, parseErr := parseRights(oob[:oobn])
		files = append(files, received...)
		if parseErr != nil {
			return nil, files, parseErr
		}
		if flags&unix.MSG_CTRUNC != 0 || len(files) > maxFiles {
			return nil, files, fmt.Errorf("request %w: more than %d descriptors", ErrBroken, maxFiles)
		}
		if err != nil {
			return nil, files, fmt.Errorf("read request: %w", err)
		}
		if n == 0 {
			return nil, files, fmt.Errorf("read request: %w", io.EOF)
		}
		buf = append(buf, chunk[:n]...)
		if i := bytes.IndexByte(chunk[:n], '\n'); i >= 0 {
			if i != n-1 {
				return nil, files, fmt.Errorf("request %w: more than a line", ErrBroken)
			}
			buf = buf[:len(buf)-1]
			if len(buf) > MaxLine {
				return nil, files, ErrTooLong
			}
			return buf, files, nil
		}
		if len(buf) > MaxLine {
			return nil, files, ErrTooLong
		}
	}
}

// parseRights returns the descriptors in a control message. They are close-on-exec.
func parseRights(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("read descriptors: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// sendRequest writes a line and descriptors. The files stay the caller's.
func sendRequest(conn *net.UnixConn, line []byte, files []*os.File) error {
	if len(files) == 0 {
		_, err := conn.Write(line)
		return err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		if f == nil {
			return errors.New("cannot pass streams: one is missing")
		}
		fd, err := descriptor(f)
		if err != nil {
			return err
		}
		fds[i] = fd
	}
	n, _, err := conn.WriteMsgUnix(line, unix.UnixRights(fds...), nil)
	if err == nil && n < len(line) {
		_, err = conn.Write(line[n:]) // the descriptors went with the first byte
	}
	return err
}

// descriptor returns the number of f and leaves it as it is; (*os.File).Fd would make
// it blocking.
func descriptor(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	number := -1
	err = raw.Control(func(fd uintptr) { number = int(fd) })
	return number, err
}
