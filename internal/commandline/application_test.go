package commandline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestExitCodesTellWhoIsToBlame(t *testing.T) {
	for err, want := range map[error]int{
		Usagef("no"):                             ExitUsage,
		fmt.Errorf("read: %w", Usagef("no")):     ExitUsage,
		fmt.Errorf("pull: %w", context.Canceled): ExitInterrupted,
		errors.New("no"):                         ExitFailure,
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v gives %d, want %d", err, got, want)
		}
	}
}

func TestRootsAreAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	byDefault := func(func(string) string) (string, error) { return "/by/default", nil }
	for _, tt := range []struct {
		args       []string
		root, data string
	}{
		{nil, StateRoot(os.Geteuid(), os.Getenv), "/by/default"},
		{[]string{"--root", "r", "--data-root", "../d"}, filepath.Join(dir, "r"), filepath.Join(filepath.Dir(dir), "d")},
		{[]string{"--root", "/r", "--data-root", "/d"}, "/r", "/d"},
	} {
		var out, errs bytes.Buffer
		app := NewApp("test", &out, &errs, CompanionFlags("things"))
		app.Action = func(c *cli.Context) error {
			root, err := Root(c)
			if err != nil || root != tt.root {
				t.Errorf("%q: root %q, %v; want %q", tt.args, root, err, tt.root)
			}
			data, err := DataRoot(c, byDefault)
			if err != nil || data != tt.data {
				t.Errorf("%q: data root %q, %v; want %q", tt.args, data, err, tt.data)
			}
			return nil
		}
		if err := app.Run(append([]string{"sandboxrun"}, tt.args...)); err != nil {
			t.Error(err)
		}
	}
}

// Errors are printed by the caller, once: the library says and exits nothing.
func TestWrongCommandLinesAreTheCallersToTell(t *testing.T) {
	var out, errs bytes.Buffer
	sub := &cli.Command{Name: "sub", Subcommands: []*cli.Command{{Name: "below", Flags: []cli.Flag{&cli.BoolFlag{Name: "b"}}}}}
	for _, args := range [][]string{{"--nope"}, {"sub", "--nope"}, {"sub", "below", "--nope"}} {
		err := NewApp("test", &out, &errs, CompanionFlags("things"), sub).Run(append([]string{"sandboxrun"}, args...))
		if !errors.Is(err, ErrUsage) || out.Len()+errs.Len() > 0 {
			t.Errorf("%q: %v, and it prints %q", args, err, out.String()+errs.String())
		}
	}
}
