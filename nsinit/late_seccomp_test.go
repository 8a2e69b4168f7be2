package nsinit

import (
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

func TestLateSeccompNeedsTheLibcontainerThatItKnows(t *testing.T) {
	const path = "github.com/opencontainers/runc"
	build := func(modules ...*debug.Module) *debug.BuildInfo { return &debug.BuildInfo{Deps: modules} }
	tests := []struct {
		name  string
		info  *debug.BuildInfo
		known bool
	}{
		{"the one", build(&debug.Module{Path: "a", Version: "v1"}, &debug.Module{Path: path, Version: libcontainerVersion}), true},
		{"another", build(&debug.Module{Path: path, Version: libcontainerVersion + "1"}), false},
		{"a replaced one", build(&debug.Module{Path: path, Version: libcontainerVersion, Replace: &debug.Module{Path: "../runc"}}), false},
		{"none that is told", build(), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := requireKnownLibcontainer(tt.info, true); (err == nil) != tt.known {
				t.Errorf("requireKnownLibcontainer() = %v", err)
			}
		})
	}
}

func TestLateSeccompAnswers(t *testing.T) {
	for answer, want := range map[string]string{
		"ok":          "",
		"":            "did not come to it",
		"o":           "load seccomp profile: o",
		"ok\nand why": "and why",
		"it is wrong": "load seccomp profile: it is wrong",
	} {
		err := LateSeccompConfirmed(answer)
		if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
			t.Errorf("LateSeccompConfirmed(%q) = %v, want %q", answer, err, want)
		}
	}
}

func TestLateSeccompWithoutProfileIsNotEncoded(t *testing.T) {
	if _, err := (LateSeccomp{}).Encode(); err == nil {
		t.Error("Encode() of nothing succeeds")
	}
}

// A descriptor that does not hold what it should ends init; it is closed in any
// case, so that no program inherits it.
func TestLateSeccompRefusesWhatItCannotRead(t *testing.T) {
	for _, content := range []string{"", "{", "[]", `{"Profile":7}`, "\x00\x01", "{}", `{"Profile":null}`} {
		path := filepath.Join(t.TempDir(), "order")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := new(lateLoader).prepare(fd); err == nil {
			t.Errorf("prepare() with %q succeeds", content)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
			t.Errorf("after prepare() with %q the descriptor is open: %v", content, err)
		}
	}
}

func TestLateSeccompOrderSurvivesItsWay(t *testing.T) {
	order := LateSeccomp{
		Profile:      &configs.Seccomp{DefaultAction: configs.Allow, Syscalls: []*configs.Syscall{{Name: "getcwd", Action: configs.Errno}}},
		DropSysAdmin: true,
	}
	data, err := order.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got lateLoader
	if err := got.decode(strings.NewReader(string(data))); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.LateSeccomp, order) {
		t.Errorf("got %+v, want %+v", got.LateSeccomp, order)
	}
}

func TestOrdinaryLogLevelsAreLeftAlone(t *testing.T) {
	for _, level := range []string{"", "5", "-1", "x", "65535"} {
		t.Setenv("_LIBCONTAINER_LOGLEVEL", level)
		if err := prepareLateSeccomp(); err != nil {
			t.Errorf("level %q: %v", level, err)
		}
		if got := os.Getenv("_LIBCONTAINER_LOGLEVEL"); got != level {
			t.Errorf("level %q became %q", level, got)
		}
	}
}

func TestLogLevelAnnouncesADescriptor(t *testing.T) {
	for _, want := range []int{0, 3, 1000} {
		if fd, announced := announcedDescriptor(LateSeccompLogLevel(want)); fd != want || !announced {
			t.Errorf("descriptor %d arrives as %d, %t", want, fd, announced)
		}
	}
}

func TestLogPipeThatIsClosedIsNoError(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	pipe := logPipe{writer}
	if n, err := pipe.Write([]byte("one")); n != 3 || err != nil {
		t.Errorf("Write() = %d, %v", n, err)
	}
	writer.Close()
	if n, err := pipe.Write([]byte("two")); n != 3 || err != nil {
		t.Errorf("Write() to what is closed = %d, %v", n, err)
	}
	if got, err := io.ReadAll(reader); string(got) != "one" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}
