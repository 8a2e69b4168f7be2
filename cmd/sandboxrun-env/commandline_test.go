package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/internal/commandline"
)

func TestFlagsMayFollowArguments(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"x env logs web -ft", "x env logs -ft web"},
		{"x env logs web -tn 5", "x env logs -tn 5 web"},
		{"x env up web -d --scale web=2", "x env up -d --scale web=2 web"},
		{"x env -f a -p b down -t 1", "x env -f a -p b down -t 1"},
		{"x env exec -T web ls -l", "x env exec -T web ls -l"},
		{"x env test -p a -- go test -v", "x env test -p a -- go test -v"},
		{"x env test go test -p 1 ./...", "x env test go test -p 1 ./..."},
	} {
		inv := &invocation{}
		if got := strings.Join(commandline.FlagsFirst(inv.app(), strings.Fields(tt.in), "exec", "test"), " "); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestWrongCommandLinesGive2(t *testing.T) {
	for _, line := range []string{
		"nonsense", "env nonsense", "env up --nope", "env up --scale web", "env up --scale web=-1", "env up --wait-timeout x", "env up --timeout x", "env up -d --report x",
		"env up -d --die-with-parent", "env up --wait --exit-code-from web", "env up --pull sometimes", "env up --ttl 0", "env up --format yaml", "env test",
		"env test --logs some -- x", "env test --in a --sandbox -- x", "env test --stop-timeout x -- x", "env down x", "env down -v --keep-volumes", "env ps --format yaml", "env logs --tail x",
		"env logs --since x", "env exec web", "env stats --format x", "env wait", "env port web", "env port web x", "env port --protocol sctp web 80", "env events --since x",
		"env inspect a b", "env config --format table", "env config x", "env ls x", "env gc x", "--log-level x env ls",
	} {
		var out, errs bytes.Buffer
		args := append([]string{"sandboxrun", "--root", t.TempDir(), "--data-root", t.TempDir()}, strings.Fields(line)...)
		if code := run(t.Context(), args, stdio{strings.NewReader(""), &out, &errs}); code != commandline.ExitUsage || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q gives %d and says %q", line, code, errs.String())
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	inv := &invocation{}
	for _, c := range inv.envCommand().Subcommands {
		if c.Usage == "" || !strings.Contains(c.Description, "EXAMPLES:\n   sandboxrun env "+c.Name) {
			t.Errorf("env %s has no example: %q", c.Name, c.Description)
		}
	}
}
