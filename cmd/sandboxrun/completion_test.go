package main

import (
	"bytes"
	"strings"
	"testing"
)

// Each visible command and flag is in each script.
func TestCompletionKnowsEverything(t *testing.T) {
	var out bytes.Buffer
	inv := &invocation{streams: stdio{nil, &out, &out}}
	app := inv.app()
	commands := completions(app)
	for shell, write := range map[string]func([]completedCommand) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion} {
		script := write(commands)
		if strings.Count(script, "'")%2 != 0 {
			t.Errorf("%s: a quote is not closed", shell)
		}
		for _, command := range app.Commands {
			if !command.Hidden && !strings.Contains(script, command.Name) {
				t.Errorf("%s: no command %q", shell, command.Name)
			}
			for _, flag := range command.VisibleFlags() {
				name := dashes(flag.Names()[0]) + flag.Names()[0]
				if shell == "fish" {
					name = " -l " + flag.Names()[0]
				}
				if !strings.Contains(script, name) {
					t.Errorf("%s: no flag %s of %s", shell, name, command.Name)
				}
			}
		}
		if strings.Contains(script, "kernel-memory") {
			t.Errorf("%s: a hidden flag is shown", shell)
		}
	}
}

func TestProcessesAreFiltered(t *testing.T) {
	const table = "UID        PID CMD\nroot         1 init\nroot       12 a b\n\nroot        13 c\n"
	tests := []struct {
		output string
		pids   []int
		want   string // "": an error
	}{
		{table, []int{12, 13}, "UID        PID CMD\nroot       12 a b\nroot        13 c\n"},
		{table, nil, "UID        PID CMD\n"},
		{"UID CMD\nroot x\n", []int{1}, ""},
		{"CMD PID\na b 1\n", []int{1}, ""},
		{"CMD PID\na\n", []int{1}, ""},
		{"", nil, ""},
	}
	for _, tt := range tests {
		var out bytes.Buffer
		err := filterProcesses(&out, tt.output, tt.pids)
		if (err != nil) != (tt.want == "") || err == nil && out.String() != tt.want {
			t.Errorf("filterProcesses(%q, %v) = %q, %v; want %q", tt.output, tt.pids, out.String(), err, tt.want)
		}
	}
}
