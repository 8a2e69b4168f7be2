package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// printed makes logs of two instances whose lines take turns, a second apart.
func printed(t *testing.T) (dir string, begin time.Time) {
	t.Helper()
	dir = t.TempDir()
	now := clock()
	begin = now()
	web, db := New(dir, "web-1", Options{Now: now, MaxSize: 200}), New(dir, "db-1", Options{Now: now})
	for i := range 5 {
		fmt.Fprintf(web.Stdout(), "w%d\n", i)
		fmt.Fprintf(db.Stderr(), "d%d\n", i)
	}
	for _, w := range []*Writer{web, db} {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir, begin
}

func TestRead(t *testing.T) {
	dir, begin := printed(t)
	w := func(i int) string { return fmt.Sprintf("web-1 stdout w%d", i) }
	d := func(i int) string { return fmt.Sprintf("db-1 stderr d%d", i) }
	second := func(n int) time.Time { return begin.Add(time.Duration(n) * time.Second) }
	tests := map[string]struct {
		query Query
		want  []string
	}{
		"all, in order":                  {Query{Tail: -1}, []string{w(0), d(0), w(1), d(1), w(2), d(2), w(3), d(3), w(4), d(4)}},
		"of one":                         {Query{Tail: -1, Instances: []string{"db-1"}}, []string{d(0), d(1), d(2), d(3), d(4)}},
		"of a stranger":                  {Query{Tail: -1, Instances: []string{"x"}}, nil},
		"the last of each":               {Query{Tail: 1}, []string{w(4), d(4)}},
		"the last three, over two files": {Query{Tail: 3, Instances: []string{"web-1"}}, []string{w(2), w(3), w(4)}},
		"more than there are":            {Query{Tail: 99, Instances: []string{"web-1"}}, []string{w(0), w(1), w(2), w(3), w(4)}},
		"none":                           {Query{Tail: 0}, nil},
		"since":                          {Query{Tail: -1, Since: second(7)}, []string{w(3), d(3), w(4), d(4)}},
		"until":                          {Query{Tail: -1, Until: second(3)}, []string{w(0), d(0), w(1)}},
		"since and until":                {Query{Tail: -1, Since: second(4), Until: second(5)}, []string{d(1), w(2)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { requireLines(t, readAll(t, dir, test.query), test.want...) })
	}
	enough := errors.New("enough")
	if err := Read(t.Context(), dir, Query{Tail: -1}, func(Entry) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("Read() = %v", err)
	}
	requireLines(t, readAll(t, filepath.Join(dir, "none"), Query{Tail: -1}))
	if err := Read(t.Context(), filepath.Join(dir, "none"), Query{Tail: -1, Follow: true}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("following nothing: %v", err)
	}
}

func TestDamagedLogs(t *testing.T) {
	dir := t.TempDir()
	good := string(appendEntry(nil, Entry{Time: time.Unix(5, 0), Stream: Stdout, Line: []byte("good")}))
	damaged := "web-1 sandboxrun a line of the log is damaged"
	tests := map[string]struct {
		text string
		want []string
	}{
		"half a line at the end": {good + good[:20], []string{"web-1 stdout good"}},
		"nonsense":               {"nonsense\n" + good, []string{damaged, "web-1 stdout good"}},
		"zeros":                  {strings.Repeat("\x00", 2*maxEncoded) + "\n" + good, []string{damaged, "web-1 stdout good"}},
		"another stream":         {strings.Replace(good, "stdout", "stdin", 1) + good, []string{damaged, "web-1 stdout good"}},
		"nothing":                {"", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "web-1.log"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			requireLines(t, readAll(t, dir, Query{Tail: -1}), test.want...)
		})
	}
}

// TestFollow follows services that print, rotate their files quickly, and appear
// late. No line is missed or told twice.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	const lines = 3000
	first := New(dir, "web-1", Options{MaxSize: 20 << 10, MaxFiles: 50})
	fmt.Fprintf(first.Stdout(), "before\nlast before\n")
	ended := make(chan struct{})
	var following sync.WaitGroup
	seen := map[string]int{}
	begun := make(chan struct{})
	following.Go(func() {
		err := Read(t.Context(), dir, Query{Tail: 1, Follow: true, Ended: ended}, func(e Entry) error {
			if string(e.Line) == "last before" {
				close(begun)
				return nil
			}
			if want := fmt.Sprintf("%s %d", e.Instance, seen[e.Instance]); string(e.Line) != want {
				return fmt.Errorf("line %q, want %q", e.Line, want)
			}
			seen[e.Instance]++
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	var printing sync.WaitGroup
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		w := first
		if name != "web-1" {
			w = New(dir, name, Options{MaxSize: 20 << 10, MaxFiles: 50})
		}
		printing.Go(func() {
			for i := range lines {
				fmt.Fprintf(w.Stdout(), "%s %d\n", name, i)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	printing.Wait()
	close(ended)
	following.Wait()
	for _, name := range []string{"web-1", "web-2", "db-1"} {
		if seen[name] != lines {
			t.Errorf("%d lines of %s were seen", seen[name], name)
		}
	}
}

// TestReadWhileRotating reads again and again what a service prints meanwhile, over
// many files: each time without a gap.
func TestReadWhileRotating(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	var printing sync.WaitGroup
	defer printing.Wait()
	printing.Go(func() {
		defer close(done)
		w := New(dir, "web-1", Options{MaxSize: 500, MaxFiles: 100})
		defer w.Close()
		for i := range 400 {
			fmt.Fprintf(w.Stdout(), "%d\n", i)
		}
	})
	reads, most := 0, 0
	for !isClosed(done) {
		next := 0
		err := Read(t.Context(), dir, Query{Tail: -1}, func(e Entry) error {
			if want := fmt.Sprint(next); string(e.Line) != want {
				return fmt.Errorf("line %s after %d others", e.Line, next)
			}
			next++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		reads, most = reads+1, max(most, next)
	}
	t.Logf("%d reads of up to %d lines", reads, most)
}

func TestFollowEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	dir := t.TempDir()
	go func() { done <- Read(ctx, dir, Query{Follow: true}, func(Entry) error { return nil }) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Read() = %v", err)
	}
}
