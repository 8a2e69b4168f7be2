package image_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/rootfs/image"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
	"github.com/sandboxrun/sandboxrun/rootfs/unpack"
)

// Variables by which the test binary is told to load an image and end: into which
// data root, from where.
const (
	rootVariable   = "SANDBOXRUN_TEST_LOAD_ROOT"
	sourceVariable = "SANDBOXRUN_TEST_LOAD_SOURCE"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(rootVariable); root != "" {
		if err := loadAsChild(root, os.Getenv(sourceVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func loadAsChild(root, source string) error {
	s, err := store.Open(root)
	if err != nil {
		return err
	}
	src, err := image.ParseSource(source, "/")
	if err != nil {
		return err
	}
	_, err = image.Load(context.Background(), s, src, image.Options{Anonymous: true, Unpack: unpack.Options{OwnAll: os.Geteuid() != 0}})
	return err
}

// manyFiles is an image of three layers with some hundred files each.
func manyFiles(t testing.TB) built {
	t.Helper()
	var layers []map[string]string
	for l := range 3 {
		files := map[string]string{}
		for i := range 300 {
			files[fmt.Sprintf("usr/d%d/f%d", i%20, i)] = fmt.Sprintf("%d %d %d", l, i, rand.Uint64())
		}
		layers = append(layers, files)
	}
	return build(t, manifest.Host(), nil, layers...)
}

// TestKilledLoads kills a load at 100 moments, spread over its time. The store is
// sound after each, without repair; the load after the last one succeeds and leaves nothing
// behind.
func TestKilledLoads(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some 10 s")
	}
	// A killed process loses nothing of what the kernel has: no disk is needed, and
	// some thousand fsyncs would take minutes on a busy one.
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm")
	}
	b := manyFiles(t)
	host := serve(t, func(next http.Handler) http.Handler { return slowly(next) }, map[string]built{"a:1": b})
	layout := writeDir(t, layoutFiles(t, map[string]built{"": b}))
	for _, source := range []string{"docker://" + host + "/a:1", "oci:" + layout} {
		t.Run(source[:4], func(t *testing.T) {
			whole := min(runLoad(t, open(t), source, 0), runLoad(t, open(t), source, 0))
			s := open(t)
			killed, tries := 0, 0
			for i := 0; killed < 50 && i < 200; i++ {
				if runLoad(t, s, source, time.Duration(rand.Int64N(int64(whole)))+1) < 0 {
					killed++
					tries++
				} else {
					tries = 0
				}
				// What is killed is gone on from twice; then, and after a load that was
				// quicker than its end, a store begins anew.
				begin := tries%3 == 0
				findings, err := s.Fsck(t.Context(), false, nil)
				if err != nil || len(findings) > 0 {
					t.Fatalf("moment %d: fsck: %+v, %v", i, findings, err)
				}
				if begin {
					s = open(t)
				}
			}
			if killed < 50 {
				t.Errorf("only %d were killed before they ended", killed)
			}
			img, err := load(t, s, source, quick())
			if err != nil {
				t.Fatal(err)
			}
			if len(img.Layers) != 3 {
				t.Errorf("got %+v", img)
			}
			requireSound(t, s)
		})
	}
}

// slowly gives a pull so many moments at which it can be killed.
func slowly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(&slowWriter{w}, r)
	})
}

type slowWriter struct{ http.ResponseWriter }

func (s *slowWriter) Write(b []byte) (int, error) {
	written := 0
	for len(b) > 0 {
		n, err := s.ResponseWriter.Write(b[:min(len(b), 2048)])
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
		if f, ok := s.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		<-time.After(2 * time.Millisecond)
	}
	return written, nil
}

// runLoad loads source in a process of its own and kills it after a time, 0 for
// not at all. It returns how long it took, or a negative time if it was killed.
func runLoad(t *testing.T, s *store.Store, source string, kill time.Duration) time.Duration {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program)
	command.Env = append(os.Environ(), rootVariable+"="+s.Root(), sourceVariable+"="+source)
	command.Stderr = os.Stderr
	begin := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if kill > 0 {
		timer := time.AfterFunc(kill, func() { _ = command.Process.Kill() }) // it may have ended
		defer timer.Stop()
	}
	err = command.Wait()
	if err != nil && command.ProcessState.ExitCode() >= 0 {
		t.Fatalf("load: %v", err)
	}
	if err != nil {
		return -1
	}
	return time.Since(begin)
}
