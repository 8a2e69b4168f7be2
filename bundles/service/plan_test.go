package service_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/internal/golden"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:999:998::/var/lib/postgresql:/bin/sh\nodd:x:-1:0::/:\nbig:x:4294967295:0::/:\nrel:x:5:5::home:\n"
	group  = "root:x:0:\npostgres:x:998:\nssl:x:101:postgres\naudio:x:29:\n"
)

func accounts() service.Accounts {
	return service.Accounts{Passwd: []byte(passwd), Group: []byte(group)}
}

// postgres is an image like the official one.
func postgres() manifest.Config {
	return manifest.Config{
		OS: "linux", Architecture: "amd64",
		Config: manifest.Execution{
			Env:        []string{"PATH=/usr/lib/postgresql/bin:/usr/bin:/bin", "PGDATA=/var/lib/postgresql/data"},
			Entrypoint: []string{"docker-entrypoint.sh"}, Cmd: []string{"postgres"},
			Volumes:      map[string]struct{}{"/var/lib/postgresql/data": {}, "/var/run/postgresql": {}},
			ExposedPorts: map[string]struct{}{"5432/tcp": {}, "80/tcp": {}},
			StopSignal:   "SIGINT", Labels: map[string]string{"maintainer": "somebody"},
		},
	}
}

// TestMakeMatchesItsGoldenFile: testdata/NAME.yaml, with the postgres image
// unless the name begins with "plain", gives testdata/NAME.json. The seccomp
// filter, which depends on the kernel, is left out there.
func TestMakeMatchesItsGoldenFile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %q, %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := service.Input{Service: parse(t, string(data), ""), Accounts: accounts()}
			if !strings.HasPrefix(name, "plain") {
				in.Image, in.DockerDefaults = postgres(), true
			}
			p, err := service.Make(in)
			if err != nil {
				t.Fatal(err)
			}
			unconfined := strings.Contains(name, "unconfined")
			if (p.Spec.Linux.Seccomp == nil) != unconfined {
				t.Errorf("seccomp is %v, unconfined %v", p.Spec.Linux.Seccomp, unconfined)
			}
			again, err := service.Make(in)
			if err != nil || !reflect.DeepEqual(p, again) {
				t.Errorf("the same input gives another plan: %v", err)
			}
			p.Spec.Linux.Seccomp = nil
			compareGolden(t, "testdata/"+name+".json", p)
		})
	}
}

func compareGolden(t *testing.T, path string, p service.Plan) {
	t.Helper()
	got, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, path, append(got, '\n'))
}

func TestArgumentsAreMergedAsDockerDoes(t *testing.T) {
	tests := []struct {
		entrypoint, command []string
		want                []string
	}{
		{nil, nil, []string{"docker-entrypoint.sh", "postgres"}},
		{nil, []string{"-V"}, []string{"docker-entrypoint.sh", "-V"}},
		{nil, []string{}, []string{"docker-entrypoint.sh"}},
		{[]string{"sh"}, nil, []string{"sh"}},
		{[]string{"sh"}, []string{"-c", "x"}, []string{"sh", "-c", "x"}},
		{[]string{}, []string{"ls"}, []string{"ls"}},
		{[]string{}, nil, nil},
	}
	for _, tt := range tests {
		p, err := service.Make(service.Input{Service: service.Service{Entrypoint: tt.entrypoint, Command: tt.command}, Image: postgres()})
		if tt.want == nil {
			if !errors.Is(err, service.ErrNoCommand) {
				t.Errorf("%q %q: %v, want ErrNoCommand", tt.entrypoint, tt.command, err)
			}
			continue
		}
		if err != nil || !slices.Equal(p.Spec.Process.Args, tt.want) {
			t.Errorf("%q %q: %v, %v", tt.entrypoint, tt.command, p, err)
		}
	}
}

func TestUsersAreThoseOfTheRootFilesystem(t *testing.T) {
	type who struct {
		uid, gid uint32
		groups   []uint32
		home     string
	}
	tests := map[string]*who{
		"":                  {0, 0, nil, "/root"},
		"postgres":          {999, 998, []uint32{101}, "/var/lib/postgresql"},
		"postgres:audio":    {999, 29, nil, "/var/lib/postgresql"},
		"999":               {999, 998, []uint32{101}, "/var/lib/postgresql"},
		"1234":              {1234, 0, nil, "/"},
		"1234:5678":         {1234, 5678, nil, "/"},
		"rel":               {5, 5, nil, "/"},
		"nobody":            nil,
		"postgres:nobody":   nil,
		"odd":               nil,
		"big":               nil,
		"-1":                nil,
		"4294967296":        nil,
		"99999999999999999": nil,
	}
	for user, want := range tests {
		p, err := service.Make(service.Input{Service: service.Service{Command: []string{"x"}, User: user}, Accounts: accounts()})
		if want == nil {
			if !errors.Is(err, service.ErrUser) {
				t.Errorf("%q: %v, want ErrUser", user, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", user, err)
			continue
		}
		process := p.Spec.Process
		got := who{process.User.UID, process.User.GID, process.User.AdditionalGids, ""}
		for _, v := range process.Env {
			if home, ok := strings.CutPrefix(v, "HOME="); ok {
				got.home = home
			}
		}
		if !reflect.DeepEqual(got, *want) {
			t.Errorf("%q is %+v, want %+v", user, got, *want)
		}
		if (process.Capabilities.Effective != nil) != (got.uid == 0) {
			t.Errorf("%q: effective capabilities are %q", user, process.Capabilities.Effective)
		}
	}
}

func TestCapabilitiesAreAddedAndDroppedAsDockerDoes(t *testing.T) {
	tests := []struct {
		add, drop string
		want      int
		has       string
	}{
		{"", "", 14, "CAP_CHOWN"},
		{"CAP_SYS_ADMIN", "", 15, "CAP_SYS_ADMIN"},
		{"CAP_KILL", "ALL", 1, "CAP_KILL"},
		{"ALL", "CAP_SYS_ADMIN", 40, "CAP_BPF"},
		{"ALL", "", 41, "CAP_SYS_ADMIN"},
		{"CAP_CHOWN", "CAP_CHOWN", 14, "CAP_CHOWN"},
	}
	for _, tt := range tests {
		p, err := service.Make(service.Input{
			Service:        service.Service{Command: []string{"x"}, CapAdd: strings.Fields(tt.add), CapDrop: strings.Fields(tt.drop)},
			DockerDefaults: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Spec.Process.Capabilities.Bounding; len(got) != tt.want || !slices.Contains(got, tt.has) {
			t.Errorf("add %q, drop %q: %q", tt.add, tt.drop, got)
		}
	}
}

func TestSeccompProfiles(t *testing.T) {
	for profile, want := range map[string]bool{
		`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}`: true,
		`{`: false,
	} {
		p, err := service.Make(service.Input{Service: service.Service{Command: []string{"x"}, SeccompProfile: []byte(profile)}})
		if (err == nil) != want {
			t.Errorf("%s: %v", profile, err)
		}
		if want && len(p.Spec.Linux.Seccomp.Syscalls) != 1 {
			t.Errorf("%s gives %+v", profile, p.Spec.Linux.Seccomp)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	_, err := service.Make(service.Input{Service: service.Service{Command: []string{"x"}, Sysctls: map[string]string{"kernel.x": "1"}}})
	if spec := (*bundles.SpecError)(nil); !errors.As(err, &spec) || !strings.Contains(spec.Path, "sysctl") {
		t.Errorf("error %v, want a SpecError", err)
	}
}

func TestAccountsOfAHostileRoot(t *testing.T) {
	tests := []struct {
		name  string
		make  func(etc string) error
		want  string
		fails bool
	}{
		{"none", func(string) error { return nil }, "", false},
		{"plain", func(etc string) error { return os.WriteFile(etc+"/passwd", []byte("a"), 0o644) }, "a", false},
		{"link inside", func(etc string) error {
			return errors.Join(os.Symlink("/etc/real", etc+"/passwd"), os.WriteFile(etc+"/real", []byte("b"), 0o644))
		}, "b", false},
		{"link out", func(etc string) error { return os.Symlink("../../../../../../etc/passwd", etc+"/passwd") }, "", true},
		{"cycle", func(etc string) error { return os.Symlink("passwd", etc+"/passwd") }, "", true},
		{"fifo", func(etc string) error { return unix.Mkfifo(etc+"/passwd", 0o644) }, "", true},
		{"directory", func(etc string) error { return os.Mkdir(etc+"/passwd", 0o755) }, "", true},
		{"huge", func(etc string) error {
			return errors.Join(os.WriteFile(etc+"/passwd", nil, 0o644), os.Truncate(etc+"/passwd", 1<<30))
		}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			etc := filepath.Join(root, "etc")
			if err := errors.Join(os.Mkdir(etc, 0o755), tt.make(etc)); err != nil {
				t.Fatal(err)
			}
			a, err := service.ReadAccounts(root)
			if tt.name == "link out" {
				// As in a chroot, ".." ends at the root: the link is to itself.
				if !errors.Is(err, service.ErrAccounts) {
					t.Errorf("error %v, want ErrAccounts", err)
				}
				return
			}
			if tt.fails != errors.Is(err, service.ErrAccounts) || string(a.Passwd) != tt.want {
				t.Errorf("got %q, %v", a.Passwd, err)
			}
		})
	}
}
