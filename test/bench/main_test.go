package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	good, err := parseOptions([]string{"-n", "7", "-against", "old=/tmp/old", "-against", "new=/tmp/new", "-variants", "plain", "-aim", "0.5"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if good.rounds != 7 || len(good.against) != 2 || good.against[1] != (build{"new", "/tmp/new"}) || len(good.variants) != 1 || good.aim != 0.5 {
		t.Errorf("options are %+v", good)
	}
	for _, bad := range []string{
		"-n 0", "-warmup -1", "-format xml", "-aim 0", "-timeout 0s", "-variants none", "extra",
		"-against /tmp/x", "-against =x", "-against x=", "-against runc=/tmp/x", "-against sandboxrun=/tmp/x", "-no-such-flag",
	} {
		if _, err := parseOptions(strings.Fields(bad), io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%s: error %v", bad, err)
		}
	}
}

// fakeRuntime is a script that knows --version and otherwise runs body.
func fakeRuntime(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime")
	script := "#!/bin/sh\n[ \"$1\" = --version ] && echo fake 1 && exit\n" + body + "\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// needRoot: the peers and the mount namespace need it.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func emptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s was left in %s", e.Name(), dir)
	}
	if groups := (&scratch{name: fmt.Sprintf("sandboxrun-bench-%d", os.Getpid())}).cgroups(); len(groups) > 0 {
		t.Errorf("cgroups %q are left", groups)
	}
}

func TestRun(t *testing.T) {
	needRoot(t)
	dir, state := t.TempDir(), t.TempDir()
	var out bytes.Buffer
	args := []string{"run", "-n", "1", "-warmup", "0", "-dir", dir, "-state-dir", state, "-sandboxrun", fakeRuntime(t, "exit 0")}
	if err := run(t.Context(), args, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"fake 1", "plain: without seccomp, without limits", "seccomp+limits: with seccomp, with limits", "fork+exec", "x runc with and without seccomp: "} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("there is no %q in\n%s", text, out.String())
		}
	}
	emptyDir(t, dir)
	emptyDir(t, state)
}

func TestRunFails(t *testing.T) {
	needRoot(t)
	stopped, stop := context.WithCancelCause(t.Context())
	stop(errors.New("interrupted"))
	tests := []struct {
		name    string
		ctx     context.Context
		runtime string
		more    []string
		want    string
	}{
		{"a runtime that fails", t.Context(), "case $3 in run) echo broken >&2; exit 9;; esac", nil, "exit code 9: broken"},
		{"what a runtime leaves is deleted", t.Context(), `case $3 in run) mkdir "$2"; exit 9;; delete) rmdir "$2"; exit 8;; esac`, nil, "exit code 8"},
		{"a runtime that hangs", t.Context(), "sleep 1000", []string{"-timeout", "100ms"}, errTimeout.Error()},
		{"an aim that is not reached", t.Context(), "exit 0", []string{"-check", "-aim", "0.000001"}, "not reached"},
		{"an interrupt", stopped, "exit 0", nil, "interrupted"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, state := t.TempDir(), t.TempDir()
			args := append([]string{"run", "-n", "1", "-warmup", "0", "-dir", dir, "-state-dir", state, "-sandboxrun", fakeRuntime(t, test.runtime)}, test.more...)
			err := run(test.ctx, args, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			emptyDir(t, dir)
			emptyDir(t, state)
		})
	}
}

func TestRunWithoutContenders(t *testing.T) {
	needRoot(t)
	err := run(t.Context(), []string{"run", "-sandboxrun", "/no/such/sandboxrun"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "/no/such/sandboxrun") {
		t.Errorf("error %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err = run(t.Context(), []string{"run", "-require", "-sandboxrun", fakeRuntime(t, "exit 0")}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "apt-get install runc crun bubblewrap util-linux") {
		t.Errorf("error %v", err)
	}
}
