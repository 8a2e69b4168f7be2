package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCRIUsErrorIsTheLastThatTells(t *testing.T) {
	const log = `(00.000001) Version: 3.17.1
(00.151706) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.151709) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/log
(00.151713) ----------------------------------------
(00.151729) Error (criu/cr-dump.c:1698): Dump files (pid: 21205) failed with -1
(00.214881) Error (criu/cr-dump.c:2128): Dumping FAILED.
`
	failed := errors.New("criu failed: type DUMP errno 0")
	began := time.Now().Add(-time.Minute)
	for _, c := range []struct {
		name, log string
		since     time.Time
		err       error
		want      string // LOG is the path of the log
	}{
		{"told", log, began, failed, "Can't lookup mount=27 for fd=1 path=/log; see LOG"},
		{"nothing told", "(00.1) Error (a.c:1): Dumping FAILED.\n", began, failed, "criu failed: type DUMP errno 0; see LOG"},
		{"an old log", log, time.Now().Add(time.Minute), failed, "criu failed: type DUMP errno 0"},
		{"no log", "", began, failed, "criu failed: type DUMP errno 0"},
		{"an error of ours", log, began, os.ErrPermission, "permission denied; see LOG"},
		{"no iptables", "Error (a.c:1): net: iptables-restore returned -1.\n", began, failed,
			"net: iptables-restore returned -1.; criu needs iptables to hold a network back, install it (Debian: apt-get install iptables); see LOG"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dump.log")
			if c.log != "" {
				if err := os.WriteFile(path, []byte(c.log), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := explainCRIU(c.err, path, c.since)
			if !errors.Is(got, c.err) {
				t.Errorf("%v does not wrap %v", got, c.err)
			}
			want := c.want
			if n := len(want) - len("LOG"); n > 0 && want[n:] == "LOG" {
				want = want[:n] + path
			}
			if got.Error() != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// TestQuotedCRIULog are texts of libcontainer's logCriuErrors.
func TestQuotedCRIULog(t *testing.T) {
	for message, want := range map[string]bool{
		`--- Quoting "/images/dump.log"`: true,
		"...":                            true,
		"---":                            true,
		"70:(00.015612) Error (criu/util.c:1534): no": true,
		"498:pie: 1: __sent ack msg: 71 71 0":         true,
		"wait on criuProcess returned ECHILD":         false,
		"unable to get oom kill count":                false,
	} {
		if got := isQuotedCRIULog(message); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
}
