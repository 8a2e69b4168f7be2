package runtime

import (
	"os"
	"reflect"
	"strconv"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestNotificationsAreFiltered(t *testing.T) {
	tests := []struct {
		message string
		lines   []string
		ready   bool
	}{
		{"READY=1", []string{"READY=1"}, true},
		{"READY=1\nSTATUS=Serving = all\n", []string{"READY=1", "STATUS=Serving = all"}, true},
		{"READY=0\nREADY=yes\nREADY", nil, false},
		{"RELOADING=1\nMONOTONIC_USEC=5", []string{"RELOADING=1", "MONOTONIC_USEC=5"}, false},
		{"STOPPING=1\nEXTEND_TIMEOUT_USEC=9", []string{"STOPPING=1", "EXTEND_TIMEOUT_USEC=9"}, false},
		{"WATCHDOG=1", []string{"WATCHDOG=1"}, false},
		{"WATCHDOG=trigger\nMAINPID=1\nFDSTORE=1\nFDNAME=x\nBARRIER=1\nERRNO=2\nBUSERROR=x\nNOTIFYACCESS=all\nWATCHDOG_USEC=1", nil, false},
		{" READY=1\nxREADY=1\nready=1", nil, false},
		{"STATUS=a\x00b", nil, false},
		{"", nil, false},
	}
	for _, tt := range tests {
		lines, ready := filterNotification(tt.message)
		if !reflect.DeepEqual(lines, tt.lines) || ready != tt.ready {
			t.Errorf("filterNotification(%q) = %q, %v; want %q, %v", tt.message, lines, ready, tt.lines, tt.ready)
		}
	}
}

func FuzzNotificationsAreFiltered(f *testing.F) {
	f.Add("READY=1\nMAINPID=1")
	f.Fuzz(func(t *testing.T, message string) {
		lines, ready := filterNotification(message)
		for _, line := range lines {
			again, _ := filterNotification(line)
			if len(again) != 1 || again[0] != line {
				t.Errorf("%q is not passed on by itself: %q", line, again)
			}
		}
		if ready && len(lines) == 0 {
			t.Error("ready by nothing")
		}
	})
}

func TestActivationIsForItsProcessOnly(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	tests := []struct {
		pid, fds string
		fails    bool
	}{
		{"", "", false},
		{"1", "1", false}, // of a parent, passed on by accident
		{"x", "1", false},
		{self, "0", false},
		{self, "", true},
		{self, "-1", true},
		{self, "many", true},
		{self, "1000", true}, // no such descriptors, or our own
	}
	for _, tt := range tests {
		env := map[string]string{"LISTEN_PID": tt.pid, "LISTEN_FDS": tt.fds}
		got, err := InheritedActivation(func(name string) string { return env[name] })
		if (err != nil) != tt.fails || len(got.Files) != 0 {
			t.Errorf("LISTEN_PID=%s LISTEN_FDS=%s: %+v, %v", tt.pid, tt.fds, got, err)
		}
	}
}

func TestActivationComesBeforeOtherDescriptors(t *testing.T) {
	a, b := os.Stdin, os.Stdout
	opts := &CreateOptions{
		Spec:           &specs.Spec{Process: &specs.Process{Env: []string{"A=1"}}},
		ProcessOptions: ProcessOptions{ExtraFiles: []*os.File{b}},
		Activation:     Activation{Files: []*os.File{a}, Names: []string{"web"}},
	}
	got := withActivation(opts)
	if want := []*os.File{a, b}; !reflect.DeepEqual(got.ExtraFiles, want) {
		t.Errorf("files %v, want %v", got.ExtraFiles, want)
	}
	if want := []string{"A=1", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web"}; !reflect.DeepEqual(got.Spec.Process.Env, want) {
		t.Errorf("environment %q, want %q", got.Spec.Process.Env, want)
	}
	if len(opts.ExtraFiles) != 1 || len(opts.Spec.Process.Env) != 1 {
		t.Errorf("the caller's options were changed: %+v", opts)
	}
}
