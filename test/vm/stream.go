package main

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair returns two connected stream sockets: ours, whose reads can be
// ended by Close, and one to be inherited by a child.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	// Only a non-blocking descriptor is polled by the Go runtime.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "port"), os.NewFile(uintptr(fds[1]), "port"), nil
}

// copyUntil copies from src to dst up to the first token, which it drops, and
// says whether there was one; without one it ends with src. Nothing is held
// back but what may be a token's beginning. After an error of dst the rest is
// read and dropped, so that the writer never blocks.
func copyUntil(dst io.Writer, src io.Reader, token []byte) (found bool, err error) {
	chunk := make([]byte, 64<<10)
	var pending []byte
	write := func(p []byte) {
		if err == nil && len(p) > 0 {
			_, err = dst.Write(p)
		}
	}
	for {
		n, readErr := src.Read(chunk)
		pending = append(pending, chunk[:n]...)
		if at := bytes.Index(pending, token); at >= 0 {
			write(pending[:at])
			return true, err
		}
		held := partialToken(pending, token)
		write(pending[:len(pending)-held])
		pending = append(pending[:0], pending[len(pending)-held:]...)
		if readErr != nil {
			write(pending)
			if !errors.Is(readErr, io.EOF) && !errors.Is(readErr, os.ErrClosed) {
				err = errors.Join(err, readErr)
			}
			return false, err
		}
	}
}

// partialToken returns how many bytes at the end of data begin token.
func partialToken(data, token []byte) int {
	for n := min(len(data), len(token)-1); n > 0; n-- {
		if bytes.HasPrefix(token, data[len(data)-n:]) {
			return n
		}
	}
	return 0
}
