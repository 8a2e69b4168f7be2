package main

import (
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMachineArgs(t *testing.T) {
	m := machine{
		accel: accelTCG, memory: 512 << 20, cpus: 2, kernel: "k", initrd: "/proc/self/fd/3", console: 7,
		drives: []drive{{serial: "root", path: "/a,b/root.img", scratch: true}, {serial: "io", path: "/proc/self/fd/4"}},
		ports:  []port{{name: "control", fd: 5}, {name: "stdout", fd: 6}},
	}
	args := strings.Join(m.args(), "\n") + "\n"
	if *update {
		if err := os.WriteFile("testdata/tcg.args", []byte(args), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile("testdata/tcg.args")
	if err != nil {
		t.Fatal(err)
	}
	if args != string(golden) {
		t.Errorf("args differ from testdata/tcg.args:\n%s", args)
	}

	m.accel, m.console = accelKVM, -1
	got := strings.Join(m.args(), " ")
	for _, want := range []string{"-accel kvm -cpu host", "-chardev stdio,id=console,signal=off -serial chardev:console"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "tcg") {
		t.Errorf("tcg in %q", got)
	}
}

func TestCommandScript(t *testing.T) {
	dir := t.TempDir()
	c := command{
		args: []string{"printf", "[%s]", "", "a b", "it's", "$HOME `id` \\ \"", "new\nline"},
		dir:  dir,
		env:  []string{"GREETING=it's $HOME"},
	}
	out, err := exec.Command("sh", "-c", c.script()).Output()
	if want := "[][a b][it's][$HOME `id` \\ \"][new\nline]"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	c.args = []string{"sh", "-c", `echo "$GREETING $PWD"`}
	out, err = exec.Command("sh", "-c", c.script()).Output()
	if want := "it's $HOME " + dir + "\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
}

func TestCPIO(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("needs cpio to read the archive")
	}
	archive := cpio([]archiveFile{
		{name: "init", mode: 0o755, data: []byte("#!")},
		{name: "vm/", mode: 0o755},
		{name: "vm/command", mode: 0o640, data: []byte("exec\n")},
		{name: "vm/empty", mode: 0o600},
	})
	dir := t.TempDir()
	cmd := exec.Command("cpio", "--quiet", "-i", "--preserve-modification-time")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(string(archive))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for name, want := range map[string]string{"init": "#!", "vm/command": "exec\n", "vm/empty": ""} {
		got, err := os.ReadFile(dir + "/" + name)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	info, err := os.Stat(dir + "/init")
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("init: mode %v, %v, want 0755", info.Mode(), err)
	}
}

func TestCommandLimit(t *testing.T) {
	now := time.Unix(1000, 0)
	tests := []struct {
		name     string
		deadline time.Time
		want     int
	}{
		{"none", time.Time{}, 0},
		{"a quarter is kept of a short time", now.Add(20 * time.Second), 15},
		{"15 s are kept of a long time", now.Add(10 * time.Minute), 585},
		{"no time is left", now.Add(-time.Second), 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := commandLimit(now, test.deadline); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}
