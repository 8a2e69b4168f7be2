package conformance

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadTAP(t *testing.T) {
	tests := []struct {
		name, output string
		exitCode     int
		want         result
	}{
		{"pass", "TAP version 13\nok 1 - has it\n  ---\n  {\n    \"error\": \"expected\"\n  }\n  ...\nok 2 # SKIP\n1..2\n", 0, result{passed, 2, nil}},
		{"not ok", "TAP version 13\nok 1 - a\nnot ok 2 - b c\n1..2\n", 0, result{failed, 1, []string{"b c"}}},
		{"inner not ok is text", "  ---\n  \"stdout\": \"not ok 3\"\nok 1\n1..1\n", 0, result{passed, 1, nil}},
		{"exit code", "TAP version 13\nok 1 - a\n1..1\n", 1, result{failed, 1, []string{"exit code 1"}}},
		{"cut off", "TAP version 13\nok 1 - a\n", 0, result{failed, 1, []string{"it ended before its plan"}}},
		{"plan first", "1..1\nok 1\n", 0, result{passed, 1, nil}},
		{"silent", "TAP version 13\n1..0\n", 0, result{silent, 0, nil}},
		{"nothing", "", 0, result{silent, 0, nil}},
		{"error without an assertion", "TAP version 13\n  ---\n  {\n    \"error\": \"Hooks MUST be called\"\n  }\n  ...\n1..0\n", 0, result{failed, 0, []string{`"Hooks MUST be called"`}}},
		{"no error", "TAP version 13\n  ---\n  {\n    \"error\": \"\"\n  }\n  ...\n1..0\n", 0, result{silent, 0, nil}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := readTAP(tt.output, tt.exitCode); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestReadUntilFailure(t *testing.T) {
	const output = "TAP version 13\nok 1\n  \"stdout\": \"not ok\"\nnot ok 2 - b\nok 3\n1..3"
	tests := []struct {
		name   string
		enough bool
		want   string
		cut    bool
	}{
		{"all of it", false, output, false},
		{"the first failure is enough", true, "TAP version 13\nok 1\n  \"stdout\": \"not ok\"\nnot ok 2 - b\n", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, cut, err := readUntilFailure(iotest.HalfReader(strings.NewReader(output)), tt.enough)
			if got != tt.want || cut != tt.cut || err != nil {
				t.Errorf("got %q, %t, %v; want %q, %t", got, cut, err, tt.want, tt.cut)
			}
		})
	}
	if _, _, err := readUntilFailure(iotest.ErrReader(io.ErrClosedPipe), true); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error of the pipe: got %v", err)
	}
}

func FuzzReadTAP(f *testing.F) {
	f.Add("TAP version 13\nok 1 - a\nnot ok 2 - b\n1..2\n", 0)
	f.Add("  \"error\": \"x\"\n", 1)
	f.Fuzz(func(t *testing.T, output string, exitCode int) {
		r := readTAP(output, exitCode)
		if (r.verdict == failed) != (len(r.problems) > 0) || (r.verdict == passed && r.ok == 0) || (exitCode != 0 && r.verdict != failed) {
			t.Errorf("readTAP(%q, %d) = %+v", output, exitCode, r)
		}
	})
}
