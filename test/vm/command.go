package main

import (
	"fmt"
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
	fmt.Fprintf(&script, "exec %s\n", quoteAll(c.args))
	return script.String()
}

// quoteAll returns words as the shell reads them.
func quoteAll(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	return strings.Join(quoted, " ")
}

// quote makes word one word of the shell, whatever is in it.
func quote(word string) string {
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
