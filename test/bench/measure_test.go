package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func openMeter(t *testing.T, timeout time.Duration) *meter {
	t.Helper()
	m, err := newMeter(filepath.Join(t.TempDir(), "stderr"), timeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return m
}

const spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"

func TestMeasure(t *testing.T) {
	m := openMeter(t, time.Minute)
	tests := []struct {
		name, script string
		wantErr      string
	}{
		{"the process itself", spin, ""},
		{"a child that is waited for", "(" + spin + "; :); :", ""},
		{"an orphan", "(" + spin + ") &", ""},
		{"an exit code", "echo first >&2; echo second >&2; exit 7", "exit code 7: first; second"},
		{"a signal", "kill -TERM $$", "ended by signal terminated: it said nothing"},
	}
	idle, err := m.measure([]string{"/bin/sh", "-c", ":"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := m.measure([]string{"/bin/sh", "-c", test.script})
			if test.wantErr != "" {
				if err == nil || !strings.HasSuffix(err.Error(), test.wantErr) {
					t.Errorf("error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.CPU < 10*idle.CPU || got.CPU < 10*time.Millisecond {
				t.Errorf("CPU time %v, that of nothing is %v: the loop was not counted", got.CPU, idle.CPU)
			}
			if left := children(); len(left) > 0 {
				t.Errorf("children %v are left", left)
			}
		})
	}
}

func TestMeasureTimeout(t *testing.T) {
	m := openMeter(t, 100*time.Millisecond)
	for _, script := range []string{
		"while :; do read x < /dev/zero; done",
		"setsid sleep 1000 & sleep 1000",
		"setsid sh -c 'setsid sleep 1000 & sleep 1000' &",
	} {
		_, err := m.measure([]string{"/bin/sh", "-c", script})
		if !errors.Is(err, errTimeout) {
			t.Errorf("%s: error %v", script, err)
		}
		if left := children(); len(left) > 0 {
			t.Errorf("%s: children %v are left", script, left)
		}
	}
}

func TestMeasureMissing(t *testing.T) {
	_, err := openMeter(t, time.Minute).measure([]string{"/no/such/program"})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("error %v", err)
	}
}
