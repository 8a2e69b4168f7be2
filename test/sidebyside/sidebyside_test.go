package sidebyside_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const environments = 50

// script is each environment's test: it asks each service by the names inside,
// says that it is done, and ends when the test lets go of a lock.
const script = `
set -e
"$WORKLOAD" get "http://$WEB_8080_ADDR/" >"$DIR/$SANDBOXRUN_ENV.answer"
for service in web:8080 api:8080 db:5432; do
	"$SANDBOXRUN" --root "$ROOT" env exec -p "$SANDBOXRUN_ENV" web /workload get "http://$service/" >>"$DIR/$SANDBOXRUN_ENV.answer"
done
mv "$DIR/$SANDBOXRUN_ENV.answer" "$DIR/$SANDBOXRUN_ENV.done"
flock --shared "$DIR/go" true
`

func TestFiftyEnvironmentsAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: environments of ordinary users are not there yet")
	}
	program := existing(t, "SANDBOXRUN_BIN", "../../bin/sandboxrun")
	workload := filepath.Join(existing(t, "SANDBOXRUN_BUNDLES", "../../bin/bundles"), "workload/rootfs/bin/workload")
	dir := t.TempDir()
	root, data := filepath.Join(dir, "root"), filepath.Join(dir, "data")
	hold, err := os.OpenFile(filepath.Join(dir, "go"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := unix.Flock(int(hold.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	interfaces := interfaceNames(t)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	outputs := make([]strings.Builder, environments)
	failures := make([]error, environments)
	ended := make(chan struct{})
	began := time.Now()
	for i := range environments {
		cmd := exec.CommandContext(ctx, program, "--root", root, "--data-root", data, "env", "test", "-f", "compose.yaml", "-p", name(i), "--", "sh", "-c", script)
		cmd.Env = append(os.Environ(), "WORKLOAD="+workload, "SANDBOXRUN="+program, "ROOT="+root, "DIR="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = time.Minute
		all.Go(func() { failures[i] = cmd.Run() })
	}
	go func() {
		all.Wait()
		close(ended)
	}()
	waitForAll(ctx, t, dir, ended)
	t.Logf("%d environments of three services were up and answered after %v", environments, time.Since(began).Round(time.Millisecond))
	if err := unix.Flock(int(hold.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	<-ended
	t.Logf("all were gone after %v", time.Since(began).Round(time.Millisecond))

	for i, err := range failures {
		if err != nil {
			t.Errorf("%s: %v\n%s", name(i), err, &outputs[i])
			continue
		}
		answers, err := os.ReadFile(filepath.Join(dir, name(i)+".done"))
		if err != nil {
			t.Error(err)
			continue
		}
		var hostnames []string
		for line := range strings.Lines(string(answers)) {
			if hostname, ok := strings.CutPrefix(strings.TrimSpace(line), "hostname "); ok {
				hostnames = append(hostnames, hostname)
			}
		}
		if want := []string{"web", "web", "api", "db"}; !slices.Equal(hostnames, want) {
			t.Errorf("%s: answers of %q, want %q:\n%s", name(i), hostnames, want, answers)
		}
	}
	checkNothingIsLeft(t, root, data)
	if after := interfaceNames(t); !slices.Equal(after, interfaces) {
		t.Errorf("the host's interfaces were %v and are %v", interfaces, after)
	}
}

func name(i int) string { return fmt.Sprintf("sidebyside-%d", i) }

// waitForAll returns when every environment's test has asked its services, or
// when all environments have ended.
func waitForAll(ctx context.Context, t *testing.T, dir string, ended <-chan struct{}) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		done, err := filepath.Glob(filepath.Join(dir, "*.done"))
		if err != nil {
			t.Fatal(err)
		}
		if len(done) == environments {
			return
		}
		select {
		case <-again.C:
		case <-ended:
			return
		case <-ctx.Done():
			t.Errorf("after %v only %d of %d environments have answered", 5*time.Minute, len(done), environments)
			return
		}
	}
}

// existing returns the absolute path that a variable names, or of make's own.
func existing(t *testing.T, variable, otherwise string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		path = otherwise
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("needs what make build and make samples make: %v", err)
	}
	return path
}

// checkNothingIsLeft looks at what the kernel does not clean.
func checkNothingIsLeft(t *testing.T, root, data string) {
	t.Helper()
	for _, dir := range []string{filepath.Join(root, "environments"), filepath.Join(root, "environment-locks"), filepath.Join(data, "environments")} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range entries {
			t.Errorf("%s is left", filepath.Join(dir, e.Name()))
		}
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // somebody else's, which went
			return nil
		case err != nil:
			return err
		case entry.IsDir() && strings.Contains(entry.Name(), "sidebyside-"):
			t.Errorf("cgroup %s is left", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "sidebyside-") {
		t.Errorf("a mount is left:\n%s", mounts)
	}
}

func interfaceNames(t *testing.T) []string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	return names
}
