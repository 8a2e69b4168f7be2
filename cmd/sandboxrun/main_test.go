package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

func TestArgumentsNameBundleAndID(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"box", "empty"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("box/config.json", []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const generated = "*"
	tests := []struct {
		args       string
		bundle, id string // id "": an error
	}{
		{"", "", generated},
		{"web", "", "web"},
		{"box", "box", generated},
		{"box web", "box", "web"},
		{"empty", "", "empty"}, // no bundle, so an ID as with runc
		{"file", "", "file"},
		{"./empty", "./empty", generated}, // a path, which Load refuses
		{".", ".", generated},
		{"missing web", "missing", "web"},
		{"-b box", "box", generated},
		{"-b box web", "box", "web"},
		{"-b box box", "box", "box"},
		{"-b box web more", "", ""},
		{"box web more", "", ""},
		{"box --memory", "", ""},
	}
	for _, tt := range tests {
		var got target
		app := &cli.App{
			Flags:  []cli.Flag{&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}}},
			Action: func(c *cli.Context) (err error) { got, err = parseTarget(c); return err },
		}
		err := app.Run(append([]string{"run"}, strings.Fields(tt.args)...))
		if tt.id == "" {
			if err == nil {
				t.Errorf("%q: %+v, want an error", tt.args, got)
			}
			continue
		}
		if err != nil || got.bundle != tt.bundle || got.generated != (tt.id == generated) || !runtime.ValidID(got.id) ||
			!got.generated && got.id != tt.id {
			t.Errorf("%q: %+v, %v; want bundle %q and ID %q", tt.args, got, err, tt.bundle, tt.id)
		}
	}
}

func TestSignalsHaveNamesAndNumbers(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "SIGTERM": syscall.SIGTERM, "sigkill": syscall.SIGKILL, "usr1": syscall.SIGUSR1,
		"9": syscall.SIGKILL, "0": 0, "64": 64,
	} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("parseSignal(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "NOPE", "-1", "65", "SIG", "9x"} {
		if got, err := parseSignal(text); err == nil {
			t.Errorf("parseSignal(%q) = %v, want an error", text, got)
		}
	}
}

func TestReportDestinationIsTriedFirst(t *testing.T) {
	dir := t.TempDir()
	var stdout bytes.Buffer
	report := runtime.FailedStart("web", "/b", commandline.ErrUsage)

	link := filepath.Join(dir, "link")
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	write, err := openReport(link, &stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(report); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if data, err := os.ReadFile(target); err != nil || !bytes.HasPrefix(data, []byte("before\n{")) {
		t.Errorf("behind the link: %q, %v", data, err)
	}

	for _, bad := range []string{dir, filepath.Join(dir, "missing", "r.json"), "fd:", "fd:-1", "fd:999", "fd:x"} {
		if _, err := openReport(bad, &stdout); err == nil {
			t.Errorf("openReport(%q) succeeded", bad)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
}

func TestCommandLineErrorsAreOneLineAndExitWith2(t *testing.T) {
	for _, args := range []string{
		"nope", "--log-format xml list", "--rootless maybe list", "list more", "gc more", "spec more", "start", "start a b", "kill", "kill a b c",
		"list --format yaml", "run --memory 1x b", "run --nope", "run -d --report - b", "create --wall-time 1s b",
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"sandboxrun", "--root", t.TempDir()}, strings.Fields(args)...), stdio{nil, &stdout, &stderr})
		if code != commandline.ExitUsage || strings.Count(stderr.String(), "\n") != 1 || stdout.Len() != 0 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
}

// Package commandline cannot import runtime, whose libraries the companion would
// pay for.
func TestStateRootIsTheRuntimes(t *testing.T) {
	if got := commandline.StateRoot(0, func(string) string { return "" }); got != runtime.DefaultRoot {
		t.Errorf("StateRoot() = %q, want %q", got, runtime.DefaultRoot)
	}
}
