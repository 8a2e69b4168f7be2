package service_test

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
)

// surroundings has a few files and variables.
func surroundings() service.Options {
	files := map[string]string{
		"/srv/a.env":    "# comment\nA=1\nexport B='two words' # why\nC=\"$NAME!\"\nNAME\nUNSET\n\nD=x #y\n",
		"/srv/bad.env":  "A=1\n=x\n",
		"/srv/p.json":   `{"defaultAction":"SCMP_ACT_ALLOW"}`,
		"/srv/open.env": "A='x\n",
	}
	variables := map[string]string{"NAME": "web", "EMPTY": "", "HOME": "/home/u"}
	return service.Options{
		Dir:    "/srv",
		Lookup: func(name string) (string, bool) { value, ok := variables[name]; return value, ok },
		ReadFile: func(path string) ([]byte, error) {
			if data, ok := files[path]; ok {
				return []byte(data), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

func parse(t *testing.T, text, name string) service.Service {
	t.Helper()
	s, err := service.Parse([]byte(text), "s.yaml", name, surroundings())
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return s
}

func pointer[T any](v T) *T { return &v }

func TestParseReadsEveryKey(t *testing.T) {
	got := parse(t, `
x-common: &common
  read_only: true
  labels: {team: core}
services:
  db:
    <<: *common
    image: redis:7
    platform: linux/arm64
    command: redis-server --save "" 'a b' c\ d
    entrypoint: [/entry, "--x"]
    environment: {ONE: 1, NAME: null, GREETING: "hi ${NAME}, $$5", UNSET: null}
    env_file: [a.env, {path: missing.env, required: false}]
    user: redis:redis
    group_add: [audio, 44]
    working_dir: /data
    tty: true
    stdin_open: true
    stop_signal: SIGQUIT
    init: false
    volumes:
      - ./conf:/etc/redis:ro
      - ~/x:/x:rslave
      - data:/data:nocopy
      - /cache
      - {type: bind, source: /a, target: /b, read_only: true, bind: {propagation: shared}}
      - {type: volume, target: /v}
      - {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o1755}}
    tmpfs: ["/run:size=64m,mode=755", /tmp]
    secrets: [key, {source: token, target: /etc/token, uid: 999, gid: 1000, mode: 0440}]
    cap_add: [sys_nice, CAP_CHOWN]
    cap_drop: ALL
    security_opt: ["no-new-privileges:false", "seccomp=p.json", apparmor=box]
    mem_limit: 64m
    memswap_limit: 128m
    mem_reservation: 32m
    shm_size: 16m
    cpus: 0.5
    cpuset: "0"
    cpu_shares: 512
    pids_limit: 50
    oom_score_adj: 100
    ulimits: {nofile: {soft: 1024, hard: 2048}, core: 0, memlock: -1}
    sysctls: [net.core.somaxconn=1024]
    hostname: db1
    domainname: example.org
    extra_hosts: ["one=10.0.0.1", "two:::1"]
    network_mode: none
    annotations: {a: b}
    x-anything: [1]
secrets:
  key: {file: ./key.txt}
  token: {environment: TOKEN}
volumes: {data: {}}
`, "db")
	want := service.Service{
		Name:        "db",
		Source:      service.Source{Text: "docker://redis:7"},
		Platform:    "linux/arm64",
		Entrypoint:  []string{"/entry", "--x"},
		Command:     []string{"redis-server", "--save", "", "a b", "c d"},
		Environment: []string{"A=1", "B=two words", "C=web!", "NAME=web", "D=x", "ONE=1", "GREETING=hi web, $5"},
		User:        "redis:redis", GroupAdd: []string{"audio", "44"}, WorkingDir: "/data",
		Mounts: []service.Mount{
			{Kind: service.Bind, Source: "/srv/conf", Target: "/etc/redis", ReadOnly: true},
			{Kind: service.Bind, Source: "/home/u/x", Target: "/x", Propagation: "rslave"},
			{Kind: service.Volume, Source: "data", Target: "/data", NoCopy: true},
			{Kind: service.Volume, Target: "/cache"},
			{Kind: service.Bind, Source: "/a", Target: "/b", ReadOnly: true, Propagation: "shared"},
			{Kind: service.Volume, Target: "/v"},
			{Kind: service.Tmpfs, Target: "/t", Options: []string{"size=1048576", "mode=1755"}},
			{Kind: service.Tmpfs, Target: "/run", Options: []string{"size=64m", "mode=755"}},
			{Kind: service.Tmpfs, Target: "/tmp"},
		},
		Secrets: []service.Secret{
			{Name: "key", File: "/srv/key.txt", Target: "/run/secrets/key", UID: -1, GID: -1},
			{Name: "token", Variable: "TOKEN", Target: "/etc/token", UID: 999, GID: 1000, Mode: 0o440},
		},
		ReadOnly: true,
		CapAdd:   []string{"CAP_SYS_NICE", "CAP_CHOWN"}, CapDrop: []string{"ALL"},
		NoNewPrivileges: pointer(false), SeccompProfile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), AppArmorProfile: "box",
		Limits: cgroup.Limits{
			MemoryBytes: pointer(int64(64 << 20)), MemorySwapBytes: pointer(int64(128 << 20)), CPUs: pointer(0.5), Cpuset: "0", Pids: pointer(int64(50)),
		},
		MemoryReservation: 32 << 20, ShmSize: 16 << 20, CPUShares: 512, OOMScoreAdj: pointer(100),
		Ulimits: []service.Ulimit{{Name: "nofile", Soft: 1024, Hard: 2048}, {Name: "core"}, {Name: "memlock", Soft: 1<<64 - 1, Hard: 1<<64 - 1}},
		Sysctls: map[string]string{"net.core.somaxconn": "1024"}, Hostname: "db1", Domainname: "example.org",
		ExtraHosts: []service.Host{{Name: "one", Address: "10.0.0.1"}, {Name: "two", Address: "::1"}},
		Terminal:   true, StopSignal: "SIGQUIT",
		Labels: map[string]string{"team": "core"}, Annotations: map[string]string{"a": "b"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseReadsOneServiceWithItsSource(t *testing.T) {
	tests := map[string]service.Source{
		"x-sandbox: {rootfs: ./tree}":  {Text: "/srv/tree", Dir: "/srv"},
		"x-sandbox: {binary: bin/srv}": {Text: "binary:/srv/bin/srv", Dir: "/srv"},
		"x-sandbox: {host: true}":      {Text: "host:", Dir: "/srv"},
		"x-sandbox: {base: \"oci:layout\", files: [\"a:/b:0640\", {target: /c, content: x, uid: 1, gid: 2}]}": {
			Text: "oci:layout", Dir: "/srv",
			Files: []service.File{{Path: "/srv/a", Target: "/b", Mode: 0o640}, {Content: "x", Target: "/c", UID: 1, GID: 2}},
		},
	}
	for text, want := range tests {
		if got := parse(t, text, "").Source; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}

func TestParseTellsEveryProblemWithItsPlace(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"unknown key", "comand: x", `s.yaml:1:1: key "comand" is not known; did you mean command?`},
		{"key of an environment", "ports: [80]", `s.yaml:1:1: key "ports" cannot be used in a bundle: it is of an environment of several services`},
		{"unknown key far below", "deploy:\n  resources:\n    limits: {mem: 1m}", `s.yaml:3:14: key "mem" is not known; there are cpus, memory, pids`},
		{"two problems", "mem_limit: many\ncpus: 0", "s.yaml:1:12: mem_limit: cannot read \"many\" as a size"},
		{"bad size", "shm_size: -1", "s.yaml:1:11: shm_size must be a size"},
		{"capability", "cap_add: [SYS_NICER]", `s.yaml:1:11: cap_add: "SYS_NICER" is no capability; did you mean CAP_SYS_NICE?`},
		{"twice", "user: a\nuser: b", `s.yaml:2:1: key "user" is there twice`},
		{"no YAML", "a: [", "s.yaml: "},
		{"empty", "", "s.yaml: it is empty"},
		{"two documents", "user: a\n---\nuser: b", "it has more than one document"},
		{"no mapping", "- a", "s.yaml:1:1: it must be a mapping"},
		{"relative target", "volumes: ['a:b']", `"a:b" is not [SOURCE:]TARGET`},
		{"volume name", "volumes: ['..x:/b']", `"..x" is no name of a volume`},
		{"volume option", "volumes: ['a:/b:z']", `option "z"`},
		{"same target", "volumes: ['a:/b', 'c:/b/']", `two mounts have the target "/b"`},
		{"undefined secret", "secrets: [x]", `secrets: "x" is not defined; write secrets: {x: {file: PATH}}`},
		{"privileged", "privileged: true", "a sandbox that may do everything is none"},
		{"init", "init: true", "sandboxrun run --init"},
		{"two sources", "image: a\nx-sandbox: {host: true}", "both name a source"},
		{"two own sources", "x-sandbox: {host: true, rootfs: a}", "is enough"},
		{"network", "network_mode: bridge", `network_mode "bridge"`},
		{"net sysctl of the host", "network_mode: host\nsysctls: {net.core.somaxconn: 1}", "host's network"},
		{"extra host", "extra_hosts: [a=host-gateway]", "is not NAME=ADDRESS"},
		{"security_opt", "security_opt: [label=disable]", "is not supported"},
		{"missing profile", "security_opt: [seccomp=none.json]", "cannot read the seccomp profile"},
		{"missing env_file", "env_file: none.env", "env_file: open /srv/none.env"},
		{"bad env_file", "env_file: bad.env", "bad.env: line 2"},
		{"open quotation", "env_file: open.env", "line 1: a quotation"},
		{"command", "command: a 'b", "middle of a quotation"},
		{"interpolation", "user: ${NAME", "without }"},
		{"required variable", "user: ${NONE:?set it}", "variable NONE is not set: set it"},
		{"null byte", "user: \"a\\0b\"", "null byte"},
		{"merge of a list", "<<: [1]", "only mappings can be merged"},
		{"mode", "x-sandbox: {files: ['a:/b:999']}", "no mode"},
		{"file without source", "x-sandbox: {files: [{target: /a}]}", "needs target"},
		{"list for a word", "user: [a]", "user must be one value"},
		{"ulimit", "ulimits: {nofile: x}", "ulimits.nofile must be a whole number"},
		{"bool", "read_only: 1", "read_only must be true or false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := service.Parse([]byte(tt.text), "s.yaml", "", surroundings())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseTellsAllProblemsAtOnce(t *testing.T) {
	_, err := service.Parse([]byte("mem_limit: many\ncpus: 0\nfoo: 1"), "s.yaml", "", surroundings())
	if err == nil || strings.Count(err.Error(), "s.yaml:") != 3 {
		t.Errorf("error %v, want three", err)
	}
}

func TestParseChoosesByName(t *testing.T) {
	const two = "services: {a: {user: x}, b: {user: y}}"
	if got := parse(t, two, "b"); got.User != "y" || got.Name != "b" {
		t.Errorf("got %+v", got)
	}
	if got := parse(t, "services: {a: {user: x}}", ""); got.Name != "a" {
		t.Errorf("got %+v", got)
	}
	for _, c := range [][2]string{{two, ""}, {two, "c"}, {"user: x", "a"}} {
		if _, err := service.Parse([]byte(c[0]), "s.yaml", c[1], surroundings()); !errors.Is(err, service.ErrNoService) {
			t.Errorf("%s#%s: error %v, want ErrNoService", c[0], c[1], err)
		}
	}
}

// TestParseIsBounded: aliases of aliases must not be blown up.
func TestParseIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := range 9 {
		fmt.Fprintf(&b, "x-%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 9), i)
	}
	for name, text := range map[string]string{
		"aliases": b.String(),
		"depth":   strings.Repeat("x: {", 70) + strings.Repeat("}", 70),
		"size":    "x-a: " + strings.Repeat("a", 2<<20),
	} {
		if _, err := service.Parse([]byte(text), "s.yaml", "", surroundings()); err == nil || !strings.Contains(err.Error(), "large") {
			t.Errorf("%s: error %v, want one about the size", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"services: {a: {image: b, command: c d}}\nsecrets: {x: {file: y}}", "volumes: ['a:/b:ro', /c]", "<<: &a {user: ${NAME:-x}}", "x-a: &a [*a]",
		"x-sandbox: {files: [{target: /a, content: b}]}", "ulimits: {nofile: {soft: 1}}", "environment: [A=$$, B]", "? [a]\n: b",
	} {
		f.Add([]byte(seed), "")
		f.Add([]byte(seed), "a")
	}
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		s, err := service.Parse(data, "s.yaml", name, surroundings())
		again, errAgain := service.Parse(data, "s.yaml", name, surroundings())
		if (err == nil) != (errAgain == nil) || !reflect.DeepEqual(s, again) {
			t.Fatalf("the same bytes give %+v, %v and %+v, %v", s, err, again, errAgain)
		}
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error says nothing")
			}
			return
		}
		for _, m := range s.Mounts {
			if m.Kind == service.Volume && strings.ContainsAny(m.Source, "/\x00") {
				t.Fatalf("volume %q is no safe name", m.Source)
			}
		}
		for _, secret := range s.Secrets {
			if strings.ContainsAny(secret.Name, "/\x00") || strings.HasPrefix(secret.Name, ".") {
				t.Fatalf("secret %q is no safe name", secret.Name)
			}
		}
	})
}
