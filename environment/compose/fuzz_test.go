package compose

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// FuzzLoad reads any file. What loads must be right by the library's own schema, which Load does not ask, and must load
// again to the same plan. The library must never come to something that makes it panic.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.txtar", "testdata/samples/*.txtar"} {
		archives, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, archive := range archives {
			a, err := txtar.ParseFile(archive)
			if err != nil {
				f.Fatal(err)
			}
			for _, file := range a.Files {
				if strings.HasSuffix(file.Name, ".yaml") {
					f.Add(file.Data)
				}
			}
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 || bytes.Contains(data, []byte("file")) || bytes.Contains(data, []byte("include")) {
			t.Skip("it may name files of the machine, or is large")
		}
		options := func() Options {
			return Options{Files: []string{"-"}, Stdin: bytes.NewReader(data), Dir: dir, Environ: []string{"A=1", "HOME=/root"}, Profiles: []string{"*"}}
		}
		load := func() (*plan.Plan, error) {
			p, _, err := Load(t.Context(), options())
			return p, err
		}
		p, err := load()
		if err != nil {
			if strings.Contains(err.Error(), "cannot be understood") {
				t.Fatalf("the library panics: %v", err)
			}
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("an error that is none of the file's: %v", err)
			}
			return
		}
		s, err := gather(options())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.load(t.Context(), options(), true); err != nil {
			t.Fatalf("the library's schema refuses what loads: %v", err)
		}
		again, err := load()
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("the second time it is another plan (%v)", err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back plan.Plan
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if p.Text() != back.Text() {
			t.Errorf("it is another plan after JSON:\n%s\n%s", p.Text(), back.Text())
		}
	})
}

// FuzzSandbox reads any value as x-sandbox, of a service and of the file.
func FuzzSandbox(f *testing.F) {
	f.Add(`{"rootfs": "./r", "ready": [{"tcp": 1}, {"http": {"port": 2, "path": "/", "headers": {"a": 1}}, "timeout": "1s"}]}`)
	f.Add(`{"binary": "~/b", "ready": {"log": {"pattern": "x+", "times": 3}, "grpc": {"port": "4", "service": "s"}, "notify": true, "listen": 5}}`)
	f.Add(`{"host": true, "wall_time": "1m", "cpu_time": "1s"}`)
	f.Add(`{"base": "oci:./x"}`)
	f.Add(`{"egress": ["10.0.0.0/8", "example.org", "::1"], "ttl": "1h", "limits": {"memory": "1g", "cpus": 0.5, "pids": 10, "cpuset": "0-1"}}`)
	f.Add(`{"egress": "all"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			t.Skip("no JSON")
		}
		c := &converter{
			walk:    newWalk(nil),
			sources: &sources{dir: "/srv", files: []file{{name: "compose.yaml"}}, variables: types.Mapping{"HOME": "/root"}},
			project: &types.Project{Extensions: types.Extensions{sandboxKey: value}},
		}
		var p plan.Plan
		c.sandboxOfProject(&p)
		var s plan.ServiceRequest
		c.sandboxOfService([]string{"services", "a"}, types.ServiceConfig{Extensions: types.Extensions{sandboxKey: value}}, &s)
		for _, r := range p.Egress.Rules {
			if r.Prefix.IsValid() == (r.Name != "") {
				t.Errorf("a rule has a subnet and a name, or neither: %+v", r)
			}
		}
		for _, problem := range c.problems {
			if problem.Text == "" || problem.File != "compose.yaml" {
				t.Errorf("a problem without text or file: %+v", problem)
			}
		}
		if len(c.problems) == 0 {
			for _, r := range s.Ready {
				needsPort := r.Kind != plan.ProbeLog && r.Kind != plan.ProbeNotify
				if needsPort && r.Port == 0 || r.Kind == plan.ProbeLog && r.Pattern == "" {
					t.Errorf("a probe of nothing: %+v", r)
				}
			}
		}
	})
}
