package imports_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/test/imports"
)

// tags are those of the Makefile: a file behind one of them must keep the arrows too.
const tags = "seccomp urfave_cli_no_docs netgo osusergo"

func TestTheModuleKeepsItsArrows(t *testing.T) {
	packages := load(t)
	if len(packages) < 5 {
		t.Fatalf("go list found only %d packages; the test must see the whole module", len(packages))
	}
	for _, broken := range imports.Check(packages) {
		t.Error(broken)
	}
}

// load asks the go command for all packages of the module.
func load(t *testing.T) []imports.Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-tags", tags,
		"-json=ImportPath,Name,Imports,TestImports,XTestImports", imports.Module+"/...")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, &stderr)
	}
	var packages []imports.Package
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p imports.Package
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		packages = append(packages, p)
	}
}

func TestCheck(t *testing.T) {
	const m = imports.Module
	tests := []struct {
		name string
		in   imports.Package
		want []string
	}{
		{
			name: "arrows that point down",
			in: imports.Package{
				ImportPath: m + "/runtime", Name: "runtime",
				Imports: []string{
					"context", m + "/cgroup", m + "/nsinit", m + "/internal/lockfile",
					"github.com/opencontainers/runc/libcontainer", "github.com/opencontainers/cgroups",
				},
				XTestImports: []string{m + "/runtime"},
			},
		},
		{
			name: "a package below another of its part",
			in:   imports.Package{ImportPath: m + "/bundles/samples/build", Name: "main", Imports: []string{m + "/bundles"}},
		},
		{
			name: "an arrow that points up, in a test",
			in:   imports.Package{ImportPath: m + "/cgroup", Name: "cgroup", TestImports: []string{m + "/runtime"}},
			want: []string{m + "/cgroup imports " + m + "/runtime: of ours, cgroup imports only internal"},
		},
		{
			name: "an external test that uses its package as a user does",
			in:   imports.Package{ImportPath: m + "/runtime", Name: "runtime", XTestImports: []string{m + "/bundles/samples"}},
		},
		{
			name: "the same from inside the package",
			in:   imports.Package{ImportPath: m + "/runtime", Name: "runtime", TestImports: []string{m + "/bundles"}},
			want: []string{m + "/runtime imports " + m + "/bundles: of ours, runtime imports only nsinit, cgroup, internal"},
		},
		{
			name: "libcontainer outside runtime and nsinit",
			in: imports.Package{
				ImportPath: m + "/cgroup", Name: "cgroup",
				Imports: []string{"github.com/opencontainers/cgroups/fs2", "github.com/opencontainers/runc/libcontainer", "github.com/opencontainers/runtime-spec/specs-go"},
			},
			want: []string{
				m + "/cgroup imports github.com/opencontainers/cgroups/fs2: only runtime and nsinit may",
				m + "/cgroup imports github.com/opencontainers/runc/libcontainer: only runtime and nsinit may",
			},
		},
		{
			name: "containerd in a command",
			in:   imports.Package{ImportPath: m + "/cmd/sandboxrun", Name: "main", Imports: []string{"github.com/containerd/containerd/v2/client"}},
			want: []string{m + "/cmd/sandboxrun imports github.com/containerd/containerd/v2/client: only shim may"},
		},
		{
			name: "the shim in the wrong command",
			in:   imports.Package{ImportPath: m + "/cmd/sandboxrun", Name: "main", Imports: []string{m + "/shim"}},
			want: []string{m + "/cmd/sandboxrun imports " + m + "/shim: of ours, cmd/sandboxrun imports only environment, runtime, bundles, rootfs, cgroup, network, nsinit, internal"},
		},
		{
			name: "a command imported",
			in:   imports.Package{ImportPath: m + "/test/integration", Name: "integration", Imports: []string{m + "/cmd/sandboxrun"}},
			want: []string{m + "/test/integration imports " + m + "/cmd/sandboxrun: a command is never imported"},
		},
		{
			name: "an internal package that imports another",
			in:   imports.Package{ImportPath: m + "/internal/cleanup", Name: "cleanup", Imports: []string{m + "/internal/lockfile"}},
			want: []string{m + "/internal/cleanup imports " + m + "/internal/lockfile: internal packages import nothing of ours"},
		},
		{
			name: "what serves tests in a program",
			in:   imports.Package{ImportPath: m + "/test/bench", Name: "main", Imports: []string{m + "/test/leftovers"}},
			want: []string{m + "/test/bench imports " + m + "/test/leftovers: it is for tests alone"},
		},
		{
			name: "what serves tests in tests and beside its like",
			in: imports.Package{
				ImportPath: m + "/test/environments", Name: "environments",
				Imports: []string{m + "/test/leftovers"}, TestImports: []string{m + "/network/networktest"}, XTestImports: []string{m + "/test/leftovers"},
			},
		},
		{
			name: "a name that says nothing",
			in:   imports.Package{ImportPath: m + "/internal/utils", Name: "utils"},
			want: []string{m + `/internal/utils: a package named "utils" owns no one idea; name it for what it owns`},
		},
		{
			name: "a part without arrows",
			in:   imports.Package{ImportPath: m + "/pkg/a", Name: "a"},
			want: []string{m + `/pkg/a: no arrows are known for "pkg"; enter it in test/imports and docs/architecture.md`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := imports.Check([]imports.Package{tt.in}); !slices.Equal(got, tt.want) {
				t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}
