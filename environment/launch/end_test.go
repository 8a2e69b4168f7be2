package launch

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// TestCancelledLaunch cancels at random moments, and where the supervisor never
// answers.
func TestCancelledLaunch(t *testing.T) {
	opts := testOptions(t, "cancelled", neverAnswer)
	for range 15 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.Int64N(int64(30*time.Millisecond))))
		_, err := Launch(ctx, opts)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		requireNothing(t, opts.Roots)
	}
}

// TestDeadRestIsRemoved kills a supervisor and launches again.
func TestDeadRestIsRemoved(t *testing.T) {
	opts := testOptions(t, "dead", serve)
	l, err := Launch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	l.Kill()
	old := filepath.Join(l.Record.Paths().Logs, "web.log")
	if err := os.WriteFile(old, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if alive, err := opts.Roots.Alive(opts.Plan.Name); err != nil || alive {
		t.Errorf("Alive() = %v, %v after its supervisor was killed", alive, err)
	}
	l, err = Launch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the dead environment's log is there: %v", err)
	}
	stopAndRemove(t, l)
}

// TestRestOfAnotherDataRoot wants it left alone, and told once.
func TestRestOfAnotherDataRoot(t *testing.T) {
	opts := testOptions(t, "elsewhere", serve)
	l, err := Launch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	l.Kill()
	other := opts
	other.Roots.Data = filepath.Join(t.TempDir(), "data")
	_, err = Launch(t.Context(), other)
	if !errors.Is(err, environment.ErrOtherDataRoot) || strings.Count(err.Error(), "another data root") != 1 {
		t.Errorf("error %v", err)
	}
	if _, err := opts.Roots.Load(opts.Plan.Name); err != nil {
		t.Error(err)
	}
}

// TestManyLaunchesOfOneName wants one winner, and errors that say why.
func TestManyLaunchesOfOneName(t *testing.T) {
	opts := testOptions(t, "contended", serve)
	var launching sync.WaitGroup
	launched := make([]*Launched, 6)
	errs := make([]error, len(launched))
	for i := range launched {
		launching.Go(func() { launched[i], errs[i] = Launch(t.Context(), opts) })
	}
	launching.Wait()
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			defer stopAndRemove(t, launched[i])
		case !errors.Is(err, environment.ErrExists) || !strings.Contains(err.Error(), "use another by -p"):
			t.Errorf("error %v", err)
		}
	}
	if winners != 1 {
		t.Errorf("%d of %d won", winners, len(errs))
	}
}

// TestRemoveDuringLaunch ends environments by force while they are launched: whoever
// launches hears of it, and nothing is left.
func TestRemoveDuringLaunch(t *testing.T) {
	opts := testOptions(t, "raced", serve)
	for range 10 {
		var racing sync.WaitGroup
		racing.Go(func() {
			if l, err := Launch(t.Context(), opts); err == nil {
				<-l.Done()
			}
		})
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(30 * time.Millisecond))))
		<-timer.C
		// It may come before the launch has begun.
		for range 2 {
			if err := opts.Roots.Remove(t.Context(), opts.Plan.Name, environment.RemoveOptions{Kill: true}); err != nil {
				t.Error(err)
			}
		}
		done := make(chan struct{})
		go func() { racing.Wait(); close(done) }()
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			case <-time.After(20 * time.Millisecond):
				if err := opts.Roots.Remove(t.Context(), opts.Plan.Name, environment.RemoveOptions{Kill: true}); err != nil {
					t.Error(err)
				}
			}
		}
		if err := opts.Roots.Remove(t.Context(), opts.Plan.Name, environment.RemoveOptions{}); err != nil {
			t.Error(err)
		}
		requireNothing(t, opts.Roots)
	}
}

// TestKilledLauncher kills the process that launches at random moments, with and
// without DieWithParent: what is left is either alive and whole, or for GC.
func TestKilledLauncher(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 6
	}
	for _, dies := range []bool{true, false} {
		opts := testOptions(t, "killed", serve)
		opts.Plan.Services = []plan.Service{{Name: "web", Ports: []plan.Port{{HostIP: loopback, Target: 80, Protocol: "tcp"}}}}
		opts.DieWithParent = dies
		lived := 0
		for range rounds {
			if killLauncher(t, opts, time.Duration(rand.Int64N(int64(60*time.Millisecond)))) {
				lived++
			}
		}
		t.Logf("DieWithParent %v: %d of %d lived on", dies, lived, rounds)
	}
}

// killLauncher tells whether the environment lived on.
func killLauncher(t *testing.T, opts Options, after time.Duration) bool {
	t.Helper()
	text, err := json.Marshal(order{Roots: opts.Roots, Plan: opts.Plan, DieWithParent: opts.DieWithParent})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(opts.Executable, "launch", string(text))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(after)
	<-timer.C
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	return settle(t, opts)
}

// settle waits until nothing of a killed launch is on its way, removes what is left and
// tells whether the environment was alive until then. One that is to die with its
// launcher is not stopped: its lock has to become free by itself.
func settle(t *testing.T, opts Options) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client := control.NewClient(opts.Roots.Of(opts.Plan.Name).Control)
	_, err := client.Status(ctx) // of a supervisor that is coming up, its answer or its end
	alive := err == nil && !opts.DieWithParent
	if alive {
		if err := client.Stop(ctx, control.StopRequest{Reason: "test"}, nil); err != nil {
			t.Error(err)
		}
	}
	record, loadErr := opts.Roots.Load(opts.Plan.Name)
	for {
		found, err := opts.Roots.GC(ctx, environment.GCOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(opts.Roots.Of(opts.Plan.Name).Lock); errors.Is(err, fs.ErrNotExist) && len(found) == 0 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the dead environment's lock is still held")
		}
	}
	if loadErr == nil {
		if left, err := environment.Audit(ctx, record, environment.RemoveOptions{}); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	requireNothing(t, opts.Roots)
	return alive
}
