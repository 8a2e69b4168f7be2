package probe

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

func TestNotifySeesReady(t *testing.T) {
	// A path that no address has room for; a program in a sandbox has another, by a mount.
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "notify")
	n, err := ListenNotify(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("the socket is %v, %v, want it open to the sandbox's users", info, err)
	}
	inside := filepath.Join(t.TempDir(), "notify")
	if err := os.Symlink(path, inside); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unixgram", inside)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, datagram := range []string{"STATUS=warming\x1b[2J up", "READY=0\nMAINPID=7", "X=1\nREADY=1\nSTATUS=serving\n", "READY=1"} {
		if _, err := conn.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Wait(t.Context(), Target{Notified: n.Ready()}, plan.Probe{Kind: plan.ProbeNotify}); err != nil {
		t.Error(err)
	}
	if got := n.Status(); got != "serving" {
		t.Errorf("status is %q", got)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's path is still there: %v", err)
	}
}

func TestListenNotifyRefusesAPathThatExists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := ListenNotify(path); err == nil {
		t.Errorf("it listens; closed: %v", n.Close())
	} else if want := "listen for notifications: bind " + path + ": address already in use"; err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestParseNotification(t *testing.T) {
	tests := []struct {
		in     string
		ready  bool
		status string
	}{
		{"READY=1", true, ""},
		{"READY=1\n", true, ""},
		{"STATUS=a=b\nREADY=1", true, "a=b"},
		{"READY=1\nREADY=0", true, ""}, // nothing takes readiness back
		{"READY=10", false, ""},
		{" READY=1", false, ""},
		{"RELOADING=1", false, ""},
		{"", false, ""},
		{"STATUS=\xff\x00é" + strings.Repeat("y", 300), false, "..é" + strings.Repeat("y", 252) + "…"},
	}
	for _, tt := range tests {
		if ready, status := parseNotification([]byte(tt.in)); ready != tt.ready || status != tt.status {
			t.Errorf("%q: got %v, %q, want %v, %q", tt.in, ready, status, tt.ready, tt.status)
		}
	}
}

func FuzzParseNotification(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=up"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ready, status := parseNotification(in)
		if ready && !strings.Contains(string(in), "READY=1") {
			t.Error("ready out of nothing")
		}
		if !utf8.ValidString(status) || strings.ContainsAny(status, "\x1b\n\x00\x7f") || len(status) > maxPrintable*utf8.UTFMax {
			t.Errorf("status %q is not fit to show", status)
		}
	})
}
