package security_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/test/built"
	"github.com/sandboxrun/sandboxrun/test/environments"
)

// descriptorsFile is an environment in which all that can be run in a sandbox prints its descriptors.
const descriptorsFile = `
services:
  plain: &plain
    x-sandbox: {binary: ./attacker}
    command: [descriptors]
  inited:
    <<: *plain
    init: true
  inside:
    <<: *plain
    command: [sleep]
    volumes: ["./shared:/shared"]
    healthcheck: {test: [CMD, /attacker, descriptors-to, /shared/health], start_interval: 20ms, start_period: 20s}
    post_start: [{command: [/attacker, descriptors-to, /shared/hook]}]
    stop_grace_period: 0s
`

// TestServicesSeeTheirStreamsAlone: an environment's supervisor holds namespaces, sockets and locks of the host, and its
// caller leaves more open. Services, and what is run in them later, get none of it.
func TestServicesSeeTheirStreamsAlone(t *testing.T) {
	requireRoot(t)
	root := hostDirectory(t)
	// Not t.TempDir: the control socket needs a short path.
	dir, err := os.MkdirTemp(shared.dir, "env-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	program, err := built.Program(dir, "env", "images")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(shared.attacker, filepath.Join(dir, "attacker")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(descriptorsFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "shared"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"health", "hook"} {
		touch(t, filepath.Join(dir, "shared", name))
	}
	roots := environment.Roots{State: filepath.Join(dir, "state"), Data: filepath.Join(dir, "data")}
	name := shared.nonce + "-descriptors"
	call := func(command string, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 4*deadline)
		defer cancel()
		all := append([]string{command, "-p", name, "--file", filepath.Join(dir, "compose.yaml")}, args...)
		cmd := environments.Command(ctx, program, roots, all...)
		cmd.ExtraFiles = []*os.File{root, root, root, root, root}
		o := finish(ctx, cmd)
		if o.code != 0 {
			t.Fatalf("env %s: %v", command, o)
		}
		return o.stdout
	}
	t.Cleanup(func() {
		for _, what := range (environments.Trace{Roots: roots, Name: name}).Left() {
			t.Errorf("left: %s", what)
		}
	})
	t.Cleanup(func() { call("down", "-q", "-t", "0") })
	call("up", "-q", "-d", "--wait")
	said := map[string]string{
		"exec":         call("exec", "-T", "inside", "/attacker", "descriptors"),
		"health check": readString(t, filepath.Join(dir, "shared", "health")),
		"hook":         readString(t, filepath.Join(dir, "shared", "hook")),
	}
	for _, service := range []string{"plain", "inited"} {
		call("wait", service)
		said[service] = call("logs", "--no-log-prefix", service)
	}
	streams := regexp.MustCompile(`^0 (pipe:\S+|/dev/null)\n1 (pipe:\S+|/dev/null)\n2 (pipe:\S+|/dev/null)\n$`)
	for who, said := range said {
		// Each health check begins the file anew.
		if line, _, _ := strings.Cut(said, "\n0 "); !streams.MatchString(strings.TrimSuffix(line, "\n") + "\n") {
			t.Errorf("%s sees:\n%s", who, said)
		}
	}
}
