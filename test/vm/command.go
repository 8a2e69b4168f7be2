package main

import (
	"fmt"
	"slices"
	"strings"
)

// command is what a guest runs, as root.
type command struct {
	args []string
	dir  string   // absolute, in the guest
	env  []string // NAME=VALUE, over what the guest sets
}

// script returns the shell script that becomes the command.
func (c command) script() string {
	var script strings.Builder
	for _, setting := range c.env {
		fmt.Fprintf(&script, "export %s\n", quote(setting))
	}
	fmt.Fprintf(&script, "cd %s || exit 125\n", quote(c.dir))
	words := slices.Collect(func(yield func(string) bool) {
		for _, arg := range c.args {
			if !yield(quote(arg)) {
				return
			}
		}
	})
	fmt.Fprintf(&script, "exec %s\n", strings.Join(words, " "))
	return script.String()
}

// quote makes word one word of the shell, whatever is in it.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
