package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// recorder is a testing.TB that notes errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, _ ...any) { r.errors = append(r.errors, format) }
func (r *recorder) Failed() bool                   { return len(r.errors) > 0 }
func (r *recorder) Logf(string, ...any)            {}
func (r *recorder) Name() string                   { return r.TB.Name() + "/artefacts" }

// TestFinalCheckFindsWhatIsLeft: a check that cannot fail is none.
func TestFinalCheckFindsWhatIsLeft(t *testing.T) {
	requireRoot(t)
	hierarchy := "/sys/fs/cgroup"
	if _, err := os.Stat(hierarchy + "/pids/cgroup.procs"); err == nil {
		hierarchy += "/pids"
	}
	cases := []struct {
		name, want string
		leave      func(t *testing.T, s *sandbox)
	}{
		{"nothing", "", func(*testing.T, *sandbox) {}},
		{"process by environment", "known by its environment", func(t *testing.T, s *sandbox) {
			startSleeper(t, "/", append(os.Environ(), s.env...))
		}},
		{"process by directory", "known by its working directory", func(t *testing.T, s *sandbox) {
			startSleeper(t, s.work, nil)
		}},
		{"cgroup", "cgroup ", func(t *testing.T, s *sandbox) {
			if err := os.Mkdir(filepath.Join(hierarchy, "sandboxrun-"+s.id+"-x"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		{"state", "state ", func(t *testing.T, s *sandbox) {
			if err := os.MkdirAll(filepath.Join(s.root, "containers", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"lock of an environment", "state ", func(t *testing.T, s *sandbox) {
			if err := errors.Join(os.MkdirAll(filepath.Join(s.root, "environment-locks"), 0o700), os.WriteFile(filepath.Join(s.root, "environment-locks", "x"), nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}},
		{"data of an environment", "state ", func(t *testing.T, s *sandbox) {
			if err := os.MkdirAll(filepath.Join(s.work, ".data", "environments", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
		{"temporary file", "temporary file ", func(t *testing.T, s *sandbox) {
			if err := os.WriteFile(filepath.Join(s.tmp, "x"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	}
	t.Cleanup(func() {
		os.RemoveAll(filepath.Join(shared.artefacts, t.Name())) //nolint:errcheck // what failures would keep
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			work := t.TempDir()
			tmp := filepath.Join(work, ".tmp")
			if err := os.Mkdir(tmp, 0o755); err != nil {
				t.Fatal(err)
			}
			r := &recorder{TB: t}
			s := newSandbox(r, work, tmp)
			c.leave(t, s)
			// A process has no environment in /proc for a moment after execve(2).
			err := eventually(patience(), func() error { return expectLeftover(s.leftovers(), c.want) })
			if err != nil {
				t.Error(err)
			}
			s.end()
			if r.Failed() != (c.want != "") {
				t.Errorf("end said %q", r.errors)
			}
			if _, err := os.Stat(work); err == nil && len(s.leftovers()) > 0 {
				t.Errorf("not swept: %q", s.leftovers())
			}
		})
	}
}

// expectLeftover wants nothing where want is empty.
func expectLeftover(found []string, want string) error {
	if want == "" && len(found) == 0 || want != "" && slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, want) }) {
		return nil
	}
	return fmt.Errorf("found %q, want %q", found, want)
}

// startSleeper starts a process that lives until the sweep kills it.
func startSleeper(t *testing.T, dir string, env []string) {
	t.Helper()
	command := exec.Command("sleep", "1h")
	command.Dir, command.Env = dir, env
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		command.Wait() //nolint:errcheck // killed
		close(waited)
	}()
	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck // swept already
		<-waited
	})
}

func TestSnapshotTellsWhatIsNew(t *testing.T) {
	before := snapshot{"cgroup /a": true}
	later := snapshot{"cgroup /a": true, "cgroup /sandboxrun-" + shared.nonce + "-1": true, "cgroup /other": true}
	if os.Geteuid() != 0 {
		t.Skip("the nonce is made for root only")
	}
	want := []string{"cgroup /sandboxrun-" + shared.nonce + "-1"}
	if inVM() {
		want = []string{"cgroup /other", want[0]}
	}
	if got := before.newSince(later); !slices.Equal(got, want) {
		t.Errorf("newSince = %q, want %q", got, want)
	}
}

func TestCompare(t *testing.T) {
	const document = `{"a": {"b": [1, "zwei", null, {"c.d": true}]}, "n": 2.5}`
	cases := []struct {
		path, op, operand string
		holds             bool
	}{
		{"n", "==", "2.5", true},
		{"n", "==", "2.50", true},
		{"n", "!=", "2.5", false},
		{"n", "<", "2.6", true},
		{"n", ">=", "2.6", false},
		{"n", "<", "10", true},
		{"a.b[1]", "==", "zwei", true},
		{"a.b[1]", "matches", "^zw", true},
		{"a.b[1]", "<", "3", false},
		{"a.b[2]", "is", "null", true},
		{"a.b[2]", "==", "0", false},
		{"a.b[2]", "<", "1", false},
		{`a.b[3]["c.d"]`, "==", "true", true},
		{"a.b", "len", "4", true},
		{"a.b[0]", "in", "[1,2]", true},
		{"a.b[0]", "in", "[2]", false},
		{".", "is", "object", true},
	}
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		at, err := lookUp(value, c.path)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		err = compare(at, c.op, c.operand)
		if err != nil && !errors.Is(err, errNotSo) || (err == nil) != c.holds {
			t.Errorf("%s %s %s: %v, want %v", c.path, c.op, c.operand, err, c.holds)
		}
	}
	for _, path := range []string{"missing", "a.b[9]", "n.x", "a.b[x]", `["a`} {
		if at, err := lookUp(value, path); err == nil {
			t.Errorf("%s: found %v", path, at)
		}
	}
	for _, bad := range [][2]string{{"~", "1"}, {"<", "many"}, {"matches", "("}, {"in", "1"}} {
		if err := compare(1.0, bad[0], bad[1]); err == nil || errors.Is(err, errNotSo) {
			t.Errorf("compare with %q: %v, want a refusal", bad, err)
		}
	}
}

func TestEdit(t *testing.T) {
	cases := []struct{ before, expression, after string }{
		{`{}`, "a.b=1", `{"a":{"b":1}}`},
		{`{"a":1}`, "a-", `{}`},
		{`{"a":[1,2]}`, "a[0]-", `{"a":[2]}`},
		{`{"a":[1]}`, `a+={"x":"y=z"}`, `{"a":[1,{"x":"y=z"}]}`},
		{`{}`, "a+=1", `{"a":[1]}`},
		{`{"a":[1]}`, "a[0]=text", `{"a":["text"]}`},
		{`{"a":1}`, "a=", `{"a":""}`},
	}
	for _, c := range cases {
		after, err := edit(parseValue(c.before), c.expression)
		if err != nil || text(after) != c.after {
			t.Errorf("edit(%s, %s) = %s, %v, want %s", c.before, c.expression, text(after), err, c.after)
		}
	}
	for _, c := range [][2]string{{`{}`, "a"}, {`{"a":1}`, "a.b=1"}, {`{"a":1}`, "a+=1"}, {`{"a":[]}`, "a[0]=1"}} {
		if after, err := edit(parseValue(c[0]), c[1]); err == nil {
			t.Errorf("edit(%s, %s) = %s, want an error", c[0], c[1], text(after))
		}
	}
}
