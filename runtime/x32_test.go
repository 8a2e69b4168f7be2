package runtime

import (
	"os"
	"os/exec"
	goruntime "runtime"
	"slices"
	"testing"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

func TestDropX32AsTheKernelHasIt(t *testing.T) {
	for _, before := range [][]string{{"amd64", "x86", "x32"}, {"x32"}, {"amd64", "x86"}, nil} {
		profile := &configs.Seccomp{Architectures: slices.Clone(before)}
		dropX32(profile)
		want := slices.Clone(before)
		if lacksX32() {
			want = slices.DeleteFunc(want, func(arch string) bool { return arch == "x32" })
		}
		if !slices.Equal(profile.Architectures, want) {
			t.Errorf("%q became %q, want %q", before, profile.Architectures, want)
		}
	}
	dropX32(nil)
}

const askedUnderFilter = "SANDBOXRUN_TEST_ASK_X32"

// A process whose own filter kills calls by x32 numbers, as those of container engines may, must not make one.
func TestDropX32UnderAFilterThatKills(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("x32 is of amd64")
	}
	if os.Getenv(askedUnderFilter) == "" {
		self := exec.Command("/proc/self/exe", "-test.run=^TestDropX32UnderAFilterThatKills$", "-test.count=1")
		self.Env = append(os.Environ(), askedUnderFilter+"=1")
		if output, err := self.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		return
	}
	goruntime.LockOSThread() // for good: the filter is this thread's
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the system call's number
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: x32Bit, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); errno != 0 {
		t.Fatal(errno)
	}
	profile := &configs.Seccomp{Architectures: []string{"amd64", "x32"}}
	dropX32(profile)
	if !slices.Contains(profile.Architectures, "x32") {
		t.Error("x32 was dropped without knowing")
	}
}
