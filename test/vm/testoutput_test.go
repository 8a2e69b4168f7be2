package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestTestOutput(t *testing.T) {
	tests := []struct {
		name, in, want string
	}{
		{"two binaries",
			"MARK begin m/a\nPASS\nMARK end m/a 0 1500\nMARK begin m/b\nFAIL\nMARK end m/b 1 20\n",
			"PASS\nok  \tm/a\t1.500s\nFAIL\nFAIL\nFAIL\tm/b\t0.020s\n"},
		{"an unfinished line before a message",
			"MARK begin m/a\nhalf a lineMARK end m/a 2 0\n",
			"half a lineFAIL\nFAIL\tm/a\t0.000s\n"},
		{"the guest ended in a test", "MARK begin m/a\nstarted\n", "started\nFAIL\nFAIL\tm/a\t0.000s\n"},
		{"control characters are the test's", "MARK begin m/a\n\x01\x01x\nMARK end m/a 0 0\n", "\x01\x01x\nok  \tm/a\t0.000s\n"},
		{"outside of tests", "sh: not found", "sh: not found"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 1 << 20} {
				var out bytes.Buffer
				output := newTestOutput(&out)
				in := strings.ReplaceAll(test.in, "MARK", output.mark)
				for len(in) > 0 {
					n := min(size, len(in))
					if _, err := output.Write([]byte(in[:n])); err != nil {
						t.Fatal(err)
					}
					in = in[n:]
				}
				if err := output.Close(); err != nil {
					t.Fatal(err)
				}
				if out.String() != test.want {
					t.Errorf("in pieces of %d: got %q, want %q", size, out.String(), test.want)
				}
			}
		})
	}
}

func TestTestOutputRefusesOtherMessages(t *testing.T) {
	output := newTestOutput(&bytes.Buffer{})
	if _, err := output.Write([]byte(output.mark + " what\n")); err == nil {
		t.Error("no error")
	}
}

func TestTestOutputAsJSON(t *testing.T) {
	var out bytes.Buffer
	output := newTestOutput(&out)
	output.convert = true
	for _, line := range []string{
		output.mark + " begin m/a\n",
		"\x16=== RUN   TestA\n", "\x16--- PASS: TestA (0.00s)\n", "\x16PASS\n",
		output.mark + " end m/a 0 10\n",
		output.mark + " begin m/c\n", "\x16PASS\n", output.mark + " end m/c 1 10\n",
		output.mark + " begin m/b\n", "panic: oh\n", output.mark + " end m/b 2 10\n",
	} {
		if _, err := output.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := output.Close(); err != nil {
		t.Fatal(err)
	}
	type verdict struct{ Package, Test, Action string }
	var got []verdict
	for line := range strings.Lines(out.String()) {
		var event verdict
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		if event.Action == "pass" || event.Action == "fail" {
			got = append(got, event)
		}
	}
	want := []verdict{{"m/a", "TestA", "pass"}, {"m/a", "", "pass"}, {"m/c", "", "fail"}, {"m/b", "", "fail"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzTestOutput(f *testing.F) {
	f.Add(" begin m/a\n", "text", " end m/a 1 2\n")
	f.Fuzz(func(t *testing.T, first, text, second string) {
		output := newTestOutput(&bytes.Buffer{})
		for _, piece := range []string{output.mark, first, text, output.mark, second} {
			if _, err := output.Write([]byte(piece)); err != nil {
				return
			}
		}
		if err := output.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestReadTestBinary takes this very test as its binary.
func TestReadTestBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readTestBinary(self)
	want := testBinary{file: self, pkg: "github.com/sandboxrun/sandboxrun/test/vm", dir: "test/vm"}
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := buildinfo.ReadFile(tool); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{tool, "tests.go", "absent"} {
		if _, err := readTestBinary(file); err == nil {
			t.Errorf("%s: no error", file)
		}
	}
}

func TestStageTests(t *testing.T) {
	repo, stage := t.TempDir(), t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(repo, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/a.test", "binary")
	write("a/b/testdata/deep/golden", "golden")
	err := stageTests(stage, repo, []testBinary{
		{file: filepath.Join(repo, "bin/a.test"), pkg: "m/a/b", dir: "a/b"},
		{file: filepath.Join(repo, "bin/a.test"), pkg: "m", dir: "."},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/b/b.test": "binary", "a/b/testdata/deep/golden": "golden", "m.test": "binary"} {
		got, err := os.ReadFile(filepath.Join(stage, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

func TestTestScriptIsShell(t *testing.T) {
	script := testScript([]testBinary{{pkg: "m/it's", dir: "it's"}}, []string{"-test.run", "A|B $x"}, 90*time.Second, "-test.v", "\x01mark")
	cmd := exec.Command("sh", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sh -n: %v: %s", err, out)
	}
	for _, want := range []string{"each=90 hard=105", `run_test 0 'm/it'\''s' 'it'\''s' 'it'\''s.test' '-test.run' 'A|B $x'`} {
		if !strings.Contains(script, want) {
			t.Errorf("no %q in\n%s", want, script)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for _, test := range []struct{ in, files, args []string }{
		{[]string{"a", "b"}, []string{"a", "b"}, nil},
		{[]string{"a", "--", "-test.run", "X"}, []string{"a"}, []string{"-test.run", "X"}},
		{[]string{"a", "--", "--"}, []string{"a"}, []string{"--"}},
	} {
		if files, args := splitArgs(test.in); !reflect.DeepEqual(files, test.files) || !reflect.DeepEqual(args, test.args) {
			t.Errorf("%q: got %q, %q", test.in, files, args)
		}
	}
}
