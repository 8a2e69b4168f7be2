package runtime

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// errNoMemoryController: nothing can be told without one.
var errNoMemoryController = errors.New("the container's cgroup has no memory controller")

// oomSource tells of OOM kills in a cgroup. Its descriptor is readable when
// there may be some. It is for one goroutine.
type oomSource interface {
	fd() int
	// read returns how many there were since the last call, without waiting.
	read() uint64
	close()
}

// openOOMSource takes the cgroup's directories by controller, or the one of
// cgroup v2 under the empty key.
func openOOMSource(paths map[string]string) (oomSource, error) {
	if dir := paths["memory"]; dir != "" {
		return openOOMv1(dir)
	}
	if dir := paths[""]; dir != "" {
		return openOOMv2(dir)
	}
	return nil, errNoMemoryController
}

// oomV1 is an eventfd that the kernel counts up at each OOM, and once when the
// group goes (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).
type oomV1 struct {
	eventfd int
	control string
}

func openOOMv1(dir string) (_ oomSource, retErr error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, err
	}
	defer control.Close()
	eventfd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	defer func() {
		if retErr != nil {
			unix.Close(eventfd)
		}
	}()
	register, err := os.OpenFile(filepath.Join(dir, "cgroup.event_control"), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer register.Close()
	if _, err := fmt.Fprintf(register, "%d %d", eventfd, control.Fd()); err != nil {
		return nil, err
	}
	return &oomV1{eventfd: eventfd, control: control.Name()}, nil
}

func (o *oomV1) fd() int { return o.eventfd }

func (o *oomV1) read() uint64 {
	var counter [8]byte
	if _, err := unix.Read(o.eventfd, counter[:]); err != nil {
		return 0
	}
	if _, err := os.Lstat(o.control); errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	return binary.NativeEndian.Uint64(counter[:])
}

func (o *oomV1) close() { unix.Close(o.eventfd) }

// oomV2 follows the counter oom_kill of memory.events, at whose changes inotify
// tells (Documentation/admin-guide/cgroup-v2.rst).
type oomV2 struct {
	inotify int
	events  string
	told    uint64
}

func openOOMv2(dir string) (_ oomSource, retErr error) {
	o := &oomV2{events: filepath.Join(dir, "memory.events")}
	var err error
	if o.inotify, err = unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	defer func() {
		if retErr != nil {
			unix.Close(o.inotify)
		}
	}()
	_, err = unix.InotifyAddWatch(o.inotify, o.events, unix.IN_MODIFY)
	if errors.Is(err, unix.ENOENT) {
		return nil, errNoMemoryController
	}
	if err != nil {
		return nil, &os.PathError{Op: "inotify_add_watch", Path: o.events, Err: err}
	}
	if o.told, err = readOOMKills(o.events); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *oomV2) fd() int { return o.inotify }

func (o *oomV2) read() uint64 {
	// How often it changed does not matter, only the number in it.
	var discard [4096]byte
	for n, err := unix.Read(o.inotify, discard[:]); n > 0 && err == nil; {
		n, err = unix.Read(o.inotify, discard[:])
	}
	kills, err := readOOMKills(o.events)
	if err != nil || kills <= o.told {
		return 0
	}
	fresh := kills - o.told
	o.told = kills
	return fresh
}

func (o *oomV2) close() { unix.Close(o.inotify) }

func readOOMKills(path string) (uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no counter oom_kill", path)
}
