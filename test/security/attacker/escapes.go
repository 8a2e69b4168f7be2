package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errEmpty: a masked file has nothing to say.
var errEmpty = errors.New("EMPTY")

// way is one way out, or one step of it. Its error is what the kernel said.
type way struct {
	name string
	try  func() error
}

// ways are tried each in a process of its own. What they need to know of the
// host stands in the environment:
//
//	VICTIM   a process of the host
//	MARKER   a file of the host
//	HANDLE   its file handle, type and bytes, as TYPE:HEX
func ways() []way {
	return []way{
		{"mount tmpfs", func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }},
		{"mount proc", func() error { return unix.Mount("proc", "/tmp", "proc", 0, "") }},
		{"mount bind", func() error { return unix.Mount("/proc", "/tmp", "", unix.MS_BIND, "") }},
		{"remount root", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOATIME, "") }},
		{"make root shared", func() error { return unix.Mount("", "/", "", unix.MS_SHARED, "") }},
		{"unmount dev", func() error { return unix.Unmount("/dev/shm", unix.MNT_DETACH) }},
		{"fsopen", func() error { return descriptor(unix.Fsopen("tmpfs", 0)) }},
		{"open_tree", func() error {
			return descriptor(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
		}},
		{"chroot", func() error { return unix.Chroot("/tmp") }},
		{"mknod block", func() error { return unix.Mknod("/dev/way-out", unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))) }},
		{"mknod char", func() error { return unix.Mknod("/dev/way-out", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 11))) }},
		{"open kernel log", func() error { return readOpen("/node-kmsg") }},
		{"open loop device", func() error { return readOpen("/node-loop") }},
		{"signal host process", func() error { return unix.Kill(victim(), 0) }},
		{"ptrace host process", func() error { return unix.PtraceSeize(victim()) }},
		{"read host process", readVictim},
		{"root of PID 1", func() error { _, err := readAt(unix.AT_FDCWD, "/proc/1/root"+os.Getenv("MARKER")); return err }},
		{"root of host process", func() error {
			_, err := readAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/root%s", victim(), os.Getenv("MARKER")))
			return err
		}},
		{"setns", enterVictim},
		{"make cgroup", makeCgroup},
		{"raise own limit", func() error { return openForWriting(cgroupDir() + "/" + limitFile()) }},
		{"new user namespace", func() error { return start(unix.CLONE_NEWUSER) }},
		{"new mount namespace", func() error { return start(unix.CLONE_NEWNS) }},
		{"unshare mounts", func() error { return unix.Unshare(unix.CLONE_NEWNS) }},
		{"clone3", func() error { return raw(unix.SYS_CLONE3, 0, 0, 0) }},
		{"keyctl", func() error { _, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false); return err }},
		{"add_key", func() error {
			_, err := unix.AddKey("user", "way-out", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return err
		}},
		{"bpf", makeMap},
		{"perf_event_open", func() error {
			attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
			return descriptor(unix.PerfEventOpen(attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC))
		}},
		{"userfaultfd", func() error { return raw(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0) }},
		{"io_uring_setup", func() error { return raw(unix.SYS_IO_URING_SETUP, 1, 0, 0) }},
		{"kexec_load", func() error { return raw(unix.SYS_KEXEC_LOAD, 0, 0, 0) }},
		{"init_module", func() error { return raw(unix.SYS_INIT_MODULE, 0, 0, 0) }},
		{"reboot", func() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF) }},
		{"set clock", func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: -1}) }},
		{"swapon", func() error { return raw(unix.SYS_SWAPON, 0, 0, 0) }},
		{"open by handle", openHandle},
		{"set hostname", func() error { return unix.Sethostname([]byte("way-out")) }},
		{"packet socket", func() error { return descriptor(unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)) }},
		{"vsock", func() error { return descriptor(unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)) }},
		{"core_pattern", func() error { return openForWriting("/proc/sys/kernel/core_pattern") }},
		{"sysrq-trigger", func() error { return openForWriting("/proc/sysrq-trigger") }},
		{"kernel memory", func() error { return readSome("/proc/kcore") }},
		{"keys", func() error { return readSome("/proc/keys") }},
		{"timers", func() error { return readSome("/proc/timer_list") }},
		{"huge pages", func() error { return openForWriting("/sys/kernel/mm/transparent_hugepage/enabled") }},
		{"write root filesystem", func() error {
			fd, err := unix.Open("/way-out", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			return descriptor(fd, err)
		}},
	}
}

// escapes tries every way in a child and prints what the kernel said.
func escapes([]string) error {
	for _, w := range ways() {
		command := exec.Command("/proc/self/exe", "escape", w.name)
		command.Stderr = os.Stderr
		said, err := command.Output()
		if err != nil {
			said = fmt.Appendf(nil, "child: %v", err)
		}
		fmt.Fprintf(os.Stdout, "%s: %s\n", w.name, said)
	}
	return nil
}

func escape(args []string) error {
	for _, w := range ways() {
		if w.name == args[0] {
			fmt.Fprint(os.Stdout, result(w.try()))
			return nil
		}
	}
	return fmt.Errorf("no such way out: %q", args[0])
}

func result(err error) string {
	if errors.Is(err, errEmpty) {
		return errEmpty.Error()
	}
	return errnoName(err)
}

// start runs a child in new namespaces, which is clone(2) and not unshare(2): Go
// programs have several threads, and those cannot unshare a user namespace.
func start(namespaces uintptr) error {
	command := exec.Command("/proc/self/exe", "nap", "0s")
	command.SysProcAttr = &unix.SysProcAttr{Cloneflags: namespaces}
	return command.Run()
}

func victim() int {
	pid, err := strconv.Atoi(os.Getenv("VICTIM"))
	if err != nil || pid <= 1 {
		panic("no VICTIM") // a kill of pid 0 or -1 would be a nice test
	}
	return pid
}

func readVictim() error {
	// Its auxiliary vector is at no address that is known here; any answer but
	// EFAULT is about rights.
	var b [8]byte
	local := []unix.Iovec{{Base: &b[0], Len: 8}}
	remote := []unix.RemoteIovec{{Base: 8, Len: 8}}
	_, err := unix.ProcessVMReadv(victim(), local, remote, 0)
	return err
}

// enterVictim enters a namespace of the host's, or tries to enter its own where no
// process of the host is to be seen.
func enterVictim() error {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", victim()), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Setns(fd, unix.CLONE_NEWNET)
}

// cgroupDir is where a hierarchy that counts processes is mounted.
func cgroupDir() string {
	if _, err := os.Stat("/sys/fs/cgroup/pids"); err == nil {
		return "/sys/fs/cgroup/pids"
	}
	return "/sys/fs/cgroup"
}

func limitFile() string {
	if strings.HasSuffix(cgroupDir(), "/pids") {
		return "cgroup.procs"
	}
	return "pids.max"
}

func makeCgroup() error {
	dir := cgroupDir() + "/way-out"
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return unix.Rmdir(dir)
}

func makeMap() error {
	// struct { __u32 map_type, key_size, value_size, max_entries } of bpf(2).
	attr := [4]uint32{2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1}
	return raw(unix.SYS_BPF, 0 /* BPF_MAP_CREATE */, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
}

// openHandle is the "shocker": a file handle of the host's file system, opened
// by way of any file that is on it.
func openHandle() error {
	kind, text, _ := strings.Cut(os.Getenv("HANDLE"), ":")
	number, err := strconv.ParseInt(kind, 10, 32)
	if err != nil {
		return err
	}
	bytes, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	root, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(root, unix.NewFileHandle(int32(number), bytes), unix.O_RDONLY|unix.O_CLOEXEC)
	return descriptor(fd, err)
}

func readOpen(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return descriptor(fd, err)
}

// readSome fails with errEmpty if there is nothing to read.
func readSome(path string) error {
	text, err := readAt(unix.AT_FDCWD, path)
	if err == nil && text == "" {
		return errEmpty
	}
	return err
}

func descriptor(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func raw(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}
