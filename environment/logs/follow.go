package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// follow drains the files and does so again each time something was written, until
// it is told that nothing is to come.
func (r *reader) follow(ctx context.Context) error {
	// Before the first look: what is written after it is seen by one or the other.
	watch, err := newWatch(r.dir)
	if err != nil {
		return err
	}
	defer watch.close()
	for {
		ended := isClosed(r.query.Ended)
		if err := r.discover(); err != nil {
			return err
		}
		if err := r.drain(ctx); err != nil {
			return err
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.query.Ended:
		case err := <-watch.changed:
			if err != nil {
				return err
			}
		}
		// An instance that appears while we follow is new: all of it is shown.
		r.query.Tail = -1
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watch tells of changes in a directory.
type watch struct {
	file    *os.File
	changed chan error
	done    chan struct{}
}

func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("follow logs: %w", os.NewSyscallError("inotify_init1", err))
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE_SELF); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("follow logs: %w", &fs.PathError{Op: "inotify_add_watch", Path: dir, Err: err})
	}
	// The channel holds one: changes that come while somebody reads are one more change.
	w := &watch{file: os.NewFile(uintptr(fd), "inotify"), changed: make(chan error, 1), done: make(chan struct{})}
	go w.run()
	return w, nil
}

// run ends when the file is closed. What the events say does not matter: that there
// were some does, also when the kernel's queue overflowed.
func (w *watch) run() {
	defer close(w.done)
	buf := make([]byte, 4096)
	for {
		_, err := w.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			err = fmt.Errorf("follow logs: %w", err)
		}
		select {
		case w.changed <- err:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (w *watch) close() {
	w.file.Close()
	<-w.done
}
