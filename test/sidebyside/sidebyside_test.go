package sidebyside_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/test/built"
	"github.com/sandboxrun/sandboxrun/test/environments"
	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

const count = 50

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
	environments.RequireRoot(t)
	program := built.MadeProgram(t)
	workload := filepath.Join(built.MadeBundles(t), "workload/rootfs/bin/workload")
	dir := t.TempDir()
	roots := environment.Roots{State: filepath.Join(dir, "root"), Data: filepath.Join(dir, "data")}
	hold, err := os.OpenFile(filepath.Join(dir, "go"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := unix.Flock(int(hold.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	interfaces, err := leftovers.Interfaces()
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	outputs := make([]strings.Builder, count)
	failures := make([]error, count)
	ended := make(chan struct{})
	began := time.Now()
	for i := range count {
		cmd := environments.Command(ctx, program, roots, "test", "-f", "compose.yaml", "-p", name(i), "--", "sh", "-c", script)
		cmd.Env = append(os.Environ(), "WORKLOAD="+workload, "SANDBOXRUN="+program, "ROOT="+roots.State, "DIR="+dir)
		cmd.Stdout, cmd.Stderr = &outputs[i], &outputs[i]
		all.Go(func() { failures[i] = cmd.Run() })
	}
	go func() {
		all.Wait()
		close(ended)
	}()
	waitForAll(ctx, t, dir, ended)
	t.Logf("%d environments of three services were up and answered after %v", count, time.Since(began).Round(time.Millisecond))
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
	for _, what := range slices.Concat(environments.Trace{Roots: roots, Prefix: prefix()}.Left(), environments.InRoots(roots)) {
		t.Errorf("left: %s", what)
	}
	if after, err := leftovers.Interfaces(); err != nil || !slices.Equal(after, interfaces) {
		t.Errorf("the host's interfaces were %v and are %v, %v", interfaces, after, err)
	}
}

// prefix begins the names of this process's environments, and no others'.
func prefix() string { return fmt.Sprintf("sidebyside%x-", os.Getpid()) }

func name(i int) string { return prefix() + strconv.Itoa(i) }

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
		if len(done) == count {
			return
		}
		select {
		case <-again.C:
		case <-ended:
			return
		case <-ctx.Done():
			t.Errorf("after %v only %d of %d environments have answered", 5*time.Minute, len(done), count)
			return
		}
	}
}
